//! Plays every file of `tests/golden/exchanges`; `support/golden.rs` says what one looks like.
//!
//! It never judges anything itself: the files do.

use std::path::Path;

use crate::support::golden;

#[test]
fn every_golden_exchange_happens_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exchanges");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let play = |file: &std::path::PathBuf| {
        golden::play(file).err().map(|why| format!("{}: {why}", file.display()))
    };
    let failures: Vec<String> = files.iter().filter_map(play).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
