//! Lists that come from files: read once here, so that a wrong one is a mistake of the configuration, and
//! watched by the control side from then on.
//!
//! A list that did not change keeps its cell over a reload, and with it what cores remember. Its text never
//! stands in a diagnostic: only the number of a line and what is wrong there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::limits::LIST_FILE_BYTES_MAX;
use crate::base::name::Name;
use crate::compile::codes;
use crate::compile::policy::Making;
use crate::config::Span;
use crate::config::diagnostic::Diagnostic;
use crate::gateway::carry::{CarriedList, KeyDigest};
use crate::policy::file_cell::{FileCell, LineError, List};

/// A list that is watched.
#[derive(Clone, Debug)]
pub struct WatchedList {
    /// The name of the table that names it.
    pub name: Name,
    /// Where it is.
    pub path: PathBuf,
    /// What it is loaded into.
    pub list: List,
    /// SHA-256 of the text that is loaded.
    pub digest: KeyDigest,
}

/// The lists of a configuration, by file.
#[derive(Default)]
pub struct Lists {
    /// What the next version takes over.
    pub carried: HashMap<PathBuf, CarriedList>,
    /// What is to be watched.
    pub watched: Vec<WatchedList>,
}

/// How one kind of list is read and told apart.
pub struct Kind<T> {
    /// Reads it; what it counts goes on from the list before.
    pub parse: fn(&str, Option<&T>) -> Result<T, LineError>,
    /// Its variant.
    pub wrap: fn(Arc<FileCell<T>>) -> List,
    /// The cell of a list of this kind.
    pub unwrap: fn(&List) -> Option<&Arc<FileCell<T>>>,
}

impl Lists {
    /// The list at `path`, from this version, the last one, or the file.
    pub fn read<T>(
        &mut self,
        kind: &Kind<T>,
        name: &Name,
        (path, span): (&Path, Span),
        making: &Making<'_>,
    ) -> Option<Arc<FileCell<T>>> {
        if let Some(known) = self.carried.get(path).and_then(|known| (kind.unwrap)(&known.list)) {
            return Some(known.clone());
        }
        let text = match making.assets.text(path, LIST_FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(why) => {
                let message = format!("cannot read `{}`: {why}", path.display());
                making.report.error(codes::ASSET_UNREADABLE, span, message);
                return None;
            }
        };
        let digest = KeyDigest::of(text.as_bytes());
        let last = making.last.and_then(|last| last.carry.lists.get(path));
        let last = last.and_then(|last| Some((last, (kind.unwrap)(&last.list)?.clone())));
        let holds =
            |last: &CarriedList| last.digest == digest && last.generation == last.list.generation();
        let cell = match last {
            Some((last, cell)) if holds(last) => cell,
            last => {
                let before = last.as_ref().map(|(_, cell)| cell.current());
                let before = before.as_ref().and_then(|before| before.as_deref());
                let list = match (kind.parse)(&text, before) {
                    Ok(list) => list,
                    Err(error) => {
                        let message = format!("`{}`, {error}", path.display());
                        making.report.push(Diagnostic::error(codes::BAD_LIST, span, message));
                        return None;
                    }
                };
                match last {
                    Some((_, cell)) => {
                        cell.publish(list);
                        cell
                    }
                    None => Arc::new(FileCell::new(list)),
                }
            }
        };
        let list = (kind.wrap)(cell.clone());
        let generation = list.generation();
        self.carried.insert(path.into(), CarriedList { list: list.clone(), digest, generation });
        self.watched.push(WatchedList { name: name.clone(), path: path.into(), list, digest });
        Some(cell)
    }
}
