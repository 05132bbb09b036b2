//! Looks whether files are there whose presence closes routes (`maintenance.file`).
//!
//! On the control thread, at each of its rounds, and before a new version reaches any core; a core never asks a
//! disk, it reads a word. A file that cannot be looked at (no permission for its folder) counts as not there:
//! closing must be done on purpose.

use crate::compile::Watched;

/// Looks at each file once.
pub fn look(watched: &[Watched]) {
    for Watched { path, there } in watched {
        let is_there = u64::from(path.exists());
        if there.load() != is_there {
            there.store(is_there);
        }
    }
}
