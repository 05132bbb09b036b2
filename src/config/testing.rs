//! A world without a disk for the tests of this room; it never touches the real one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::config::include::Surroundings;

#[derive(Default)]
pub(super) struct World {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl World {
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }
}

impl Surroundings for World {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn folder(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = path.to_str().filter(|path| *path != ".").unwrap_or("");
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let inside = self.files.keys().filter_map(|file| file.strip_prefix(&prefix));
        let names: Vec<String> =
            inside.filter(|name| !name.contains('/')).map(Into::into).collect();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }
}
