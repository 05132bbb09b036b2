//! From files and the environment to a compiled configuration, or to diagnostics.
//!
//! It never prints and never decides what happens next: `run`, `check` and a reload all read the
//! configuration here, and each does its own with the result.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::compile::{self, Compiled};
use crate::config::diagnostic::Severity;
use crate::config::{self, Config, Diagnostics, Surroundings};
use crate::observe::plan::LabelBook;
use crate::runtime::{clock, entropy};

/// The machine's own files and environment.
pub struct Machine;

impl Surroundings for Machine {
    fn wall_secs(&self) -> u64 {
        clock::wall().as_secs()
    }

    fn system_roots(&self) -> Vec<Vec<u8>> {
        let found = rustls_native_certs::load_native_certs();
        found.certs.into_iter().map(|root| root.to_vec()).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
        if read as u64 > bytes_max {
            let why = format!("larger than {bytes_max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(text)
    }

    fn folder(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Where the configuration is looked for when nobody says.
const DEFAULT_PATHS: [&str; 2] = ["ringway.toml", "/etc/ringway"];

/// The path given, or the first default that exists; the first default when none does.
pub fn path(given: Option<&Path>) -> PathBuf {
    if let Some(path) = given {
        return path.to_path_buf();
    }
    let found = DEFAULT_PATHS.iter().map(Path::new).find(|path| path.exists());
    found.unwrap_or(Path::new(DEFAULT_PATHS[0])).to_path_buf()
}

/// Reads the configuration at `path`.
pub fn read(path: &Path) -> (Config, Diagnostics) {
    config::load(path, &Machine)
}

/// A configuration that was read: compiled if it is good, and all that is to be said about it.
pub struct Loaded {
    /// The configuration, if it has no errors.
    pub compiled: Option<Compiled>,
    /// Errors and warnings, rendered; empty when there are none.
    pub diagnostics: String,
    /// How many errors there are.
    pub errors: usize,
    /// What the first of them says.
    pub first_error: String,
}

/// Reads and compiles the configuration at `path`; what did not change is shared with `last`.
pub fn compile(path: &Path, book: &mut LabelBook, last: Option<&Compiled>) -> Loaded {
    let (compiled, found) = compiled(path, book, last);
    let text = if found.is_empty() { String::new() } else { found.render() };
    let first = found.sorted().into_iter().find(|found| found.severity == Severity::Error);
    let first_error = first.map(|error| error.message.clone()).unwrap_or_default();
    Loaded { compiled, diagnostics: text, errors: found.count(Severity::Error), first_error }
}

/// The same, with the diagnostics as they are.
pub fn compiled(
    path: &Path,
    book: &mut LabelBook,
    last: Option<&Compiled>,
) -> (Option<Compiled>, Diagnostics) {
    let (config, found) = read(path);
    compile::compile(&config, found, &Machine, entropy::seed(), book, last)
}
