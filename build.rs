//! Notes the commit and the compiler for `ringway version -v`. It never fails a build.

use std::process::Command;

fn main() {
    // A path that is not there (a work tree, an archive) would mean a new build each time.
    for path in [".git/HEAD", ".git/refs/heads"] {
        if std::fs::exists(path).unwrap_or_default() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
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
