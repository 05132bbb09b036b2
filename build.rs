//! Notes the commit and the compiler for `ringway version -v`. It never fails a build.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_string())
    };
    if let Some(commit) = said("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=RINGWAY_COMMIT={commit}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    if let Some(version) = said(&rustc, &["--version"]) {
        println!("cargo:rustc-env=RINGWAY_RUSTC={version}");
    }
}
