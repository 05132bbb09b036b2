//! The public smuggling corpus against our gateway: every `must` case has to pass.
//!
//! The corpus and its runner live outside the project (`../shared`, or the folder named by
//! `RINGWAY_SHARED`). A missing corpus is a failure and never a skip: an unseen hole is a hole.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::gateway::{FORWARD, Port, gateway};

#[test]
fn the_public_smuggling_corpus_passes_whole() {
    let port = Port::reserve();
    let gateway = gateway(FORWARD).with("app", format!("127.0.0.1:{}", port.number)).start();
    let output = Command::new("bash")
        .arg(shared().join("corpora/smuggling/run.sh"))
        .arg(gateway.address.to_string())
        .arg(port.number.to_string())
        .arg("public")
        .output()
        .expect("bash and python3 are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{text}{errors}");
}

/// Where the shared material is: beside the project in CI, elsewhere for a work tree.
fn shared() -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("RINGWAY_SHARED").map(PathBuf::from);
    let places = [named, Some(project.join("../shared")), Some("/work/shared".into())];
    let found = places.into_iter().flatten().find(|place| place.join("corpora/smuggling").is_dir());
    found.expect("the smuggling corpus: set RINGWAY_SHARED or put `shared` beside the project")
}
