//! The file contents that a configuration refers to, read through the same seam as its text.
//!
//! Compilation never touches the disk itself, so that a test needs none. A file is read once, however
//! often it is named.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::{Surroundings, unreadable};

/// Files, as far as they were asked for.
pub struct Assets<'a> {
    around: &'a dyn Surroundings,
    read: RefCell<HashMap<PathBuf, Result<String, String>>>,
    listed: RefCell<HashMap<PathBuf, Rc<[String]>>>,
}

impl<'a> Assets<'a> {
    /// Nothing read yet.
    pub fn of(around: &'a dyn Surroundings) -> Self {
        Self { around, read: RefCell::default(), listed: RefCell::default() }
    }

    /// The wall clock. Unit: seconds since 1970; 0 where nobody asks.
    pub fn wall_secs(&self) -> u64 {
        self.around.wall_secs()
    }

    /// The certificates of the system's roots, in DER.
    pub fn system_roots(&self) -> Vec<Vec<u8>> {
        self.around.system_roots()
    }

    /// The names of what is in a folder; none where there is no such folder.
    pub fn names(&self, folder: &Path) -> Rc<[String]> {
        let list = || self.around.folder(folder).unwrap_or_default().into();
        self.listed.borrow_mut().entry(folder.to_path_buf()).or_insert_with(list).clone()
    }

    /// The text of a file of at most `bytes_max`, or in words why there is none.
    ///
    /// # Errors
    /// Missing, unreadable, not UTF-8 or longer than `bytes_max`.
    pub fn text(&self, path: &Path, bytes_max: usize) -> Result<String, String> {
        let read = || self.around.file(path, bytes_max as u64).map_err(|error| unreadable(&error));
        self.read.borrow_mut().entry(path.to_path_buf()).or_insert_with(read).clone()
    }
}
