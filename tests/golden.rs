//! Golden texts: an input and the output it must give, side by side as files.
//!
//! `UPDATE_GOLDEN=1` rewrites the outputs; the diff is the review. A golden test never depends on the
//! machine: files and variables come from the folder and from the table below. Golden exchanges need
//! sockets and are played by `tests/it`.

#[path = "golden/doctor.rs"]
mod doctor;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringway::cli::{explain, test};
use ringway::compile::compile;
use ringway::config::{self, Surroundings};
use ringway::observe::plan::LabelBook;

/// A folder of golden files: what an input ends with, and what makes its output.
struct Family {
    folder: &'static str,
    inputs: &'static [&'static str],
    output: fn(folder: &Path, name: &str) -> String,
}

/// Every error that a configuration can have, one file each.
const CONFIG_ERRORS: Family =
    Family { folder: "config_errors", inputs: &["toml", "json"], output: config_errors };

/// What would happen to a request; `gateway.conf` is the configuration of all.
const EXPLAIN: Family = Family { folder: "explain", inputs: &["ask"], output: explanation };

/// What `ringway test` prints.
const TESTS: Family = Family { folder: "tests", inputs: &["toml"], output: tested };

#[test]
fn every_outcome_of_a_test_is_worded_as_agreed() {
    TESTS.check();
}

#[test]
fn every_explanation_is_worded_as_agreed() {
    EXPLAIN.check();
}

#[test]
fn every_configuration_error_is_worded_as_agreed() {
    CONFIG_ERRORS.check();
}

#[test]
fn every_code_has_a_golden_error() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("the codes");
    let source = read("src/config/codes.rs") + &read("src/compile/codes.rs");
    let folder = root().join("tests/golden/config_errors");
    let outputs: String = files(&folder)
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| fs::read_to_string(path).expect("a text"))
        .collect();
    let codes = source.split('"').skip(1).step_by(2).filter(|word| word.len() == 5);
    let missing: Vec<&str> = codes.filter(|code| !outputs.contains(&format!("[{code}]"))).collect();
    assert!(missing.is_empty(), "no golden error has {missing:?}");
}

#[test]
fn the_reference_page_is_the_one_of_the_language() {
    let path = root().join("docs/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, config::reference()).expect("the page can be written");
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(page == config::reference(), "UPDATE_GOLDEN=1 rewrites docs/configuration.md");
}

/// The diagnostics of one file, read as if its folder were the working folder.
fn config_errors(folder: &Path, name: &str) -> String {
    let around = Folder(folder.to_path_buf());
    let (config, read) = config::load_with_tests(Path::new(name), &around);
    let (_, diagnostics) = compile(&config, read, &around, 0, &mut LabelBook::default(), None);
    diagnostics.render()
}

/// What `ringway explain` says: the first line is the request, the others are its options.
fn explanation(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(name)).expect("a request");
    let mut lines = text.lines();
    let request = lines.next().expect("a request");
    let (mut headers, mut claims, mut from) = (Vec::new(), Vec::new(), None);
    for line in lines {
        match line.split_once(' ').expect("an option and its value") {
            ("-H", value) => headers.push(value.to_owned()),
            ("--jwt", value) => claims.push(value.to_owned()),
            ("--from", value) => from = Some(value.parse().expect("an address")),
            (other, _) => panic!("{other} is not an option"),
        }
    }
    let around = Folder(folder.to_path_buf());
    let path = Path::new("gateway.conf");
    let asked = explain::Asked { headers: &headers, claims: &claims, from };
    let said = explain::with(path, request, asked, &around);
    format!("{}{}exit code {}\n", said.out, said.err, said.code)
}

/// What `ringway test` says.
fn tested(folder: &Path, name: &str) -> String {
    let around = Folder(folder.to_path_buf());
    let said = test::with(Path::new(name), test::Wishes::default(), &around);
    format!("{}{}exit code {}\n", said.out, said.err, said.code)
}

impl Family {
    fn check(&self) {
        let folder = root().join("tests/golden").join(self.folder);
        let update = std::env::var_os("UPDATE_GOLDEN").is_some();
        let mut wrong = Vec::new();
        let mut count = 0;
        for path in files(&folder) {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !extension.is_some_and(|extension| self.inputs.contains(&extension)) {
                continue;
            }
            count += 1;
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            let actual = (self.output)(&folder, name);
            let beside = path.with_extension("txt");
            if update {
                fs::write(&beside, &actual).expect("the golden file can be written");
            }
            let expected = fs::read_to_string(&beside).unwrap_or_default();
            if actual != expected || actual.is_empty() {
                wrong.push(format!("== {name}: expected\n{expected}== but it is\n{actual}"));
            }
        }
        assert!(count > 0, "no golden files in {}", folder.display());
        assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 rewrites\n{}", wrong.join("\n"));
    }
}

/// The world of a golden file: its folder, and two variables.
struct Folder(PathBuf);

impl Surroundings for Folder {
    /// In January 2027, whenever the test runs.
    fn wall_secs(&self) -> u64 {
        1_800_000_000
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "TOKEN_SECRET" => Some("from the environment".into()),
            _ => None,
        }
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<String> {
        fs::read_to_string(self.0.join(path)).map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn folder(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.0.join(path))?;
        Ok(entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of golden files");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}
