//! A list that comes from a file: cores read it, the control thread puts the next one in its place.
//!
//! Neither ever waits for the other, and a list that cannot be read never replaces one that could. The
//! generation is one word, so that what was decided by the old list is known with one load.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::base::shared::{Word, unique};
use crate::policy::api_key::KeyBook;
use crate::policy::basic::UserBook;
use crate::policy::revocation::Revoked;

/// Where cores find the current list. Shared by all cores; a reload keeps it.
pub struct FileCell<T> {
    list: ArcSwapOption<T>,
    generation: Word,
}

/// A line of a list that cannot be read. Never carries the line: it may hold what is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineError {
    /// From one.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl<T> FileCell<T> {
    /// A cell with its first list.
    pub fn new(list: T) -> FileCell<T> {
        let cell = FileCell { list: ArcSwapOption::empty(), generation: Word::default() };
        cell.publish(list);
        cell
    }

    /// Replaces the list.
    pub fn publish(&self, list: T) {
        self.list.store(Some(Arc::new(list)));
        self.generation.store(unique());
    }

    /// The current list.
    pub fn current(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        self.list.load()
    }

    /// Changes with every list.
    pub fn generation(&self) -> u64 {
        self.generation.load()
    }
}

impl<T> fmt::Debug for FileCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCell").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The lines of a list that say something, with their numbers: blank lines and those that begin with `#` are
/// left out.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// A list of any kind, for those who only load it.
#[derive(Clone, Debug)]
pub enum List {
    /// Revoked tokens and subjects.
    Revoked(Arc<FileCell<Revoked>>),
    /// API keys.
    Keys(Arc<FileCell<KeyBook>>),
    /// Users and their passwords.
    Users(Arc<FileCell<UserBook>>),
}

impl List {
    /// Changes with every text that is loaded.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Revoked(cell) => cell.generation(),
            Self::Keys(cell) => cell.generation(),
            Self::Users(cell) => cell.generation(),
        }
    }

    /// Reads `text` and replaces the list; how many entries it has.
    ///
    /// # Errors
    /// A line cannot be read: the old list stays.
    pub fn load(&self, text: &str) -> Result<usize, LineError> {
        match self {
            Self::Revoked(cell) => {
                let list = Revoked::parse(text)?;
                let entries = list.len();
                cell.publish(list);
                Ok(entries)
            }
            Self::Users(cell) => {
                let list = UserBook::parse(text)?;
                let entries = list.len();
                cell.publish(list);
                Ok(entries)
            }
            Self::Keys(cell) => {
                let list = KeyBook::parse(text, cell.current().as_deref())?;
                let entries = list.len();
                cell.publish(list);
                Ok(entries)
            }
        }
    }
}
