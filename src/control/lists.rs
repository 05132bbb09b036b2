//! Files of lists (revoked tokens, API keys, users) are looked at for changes here, and loaded again.
//!
//! One thread for all of them, which asks for each file's size, time and inode and reads only what changed.
//! It never takes a list away: while a file is gone or wrong the old list stays, and that is told once. It
//! never tells what stands in a file. inotify was not taken: mounts of orchestrators replace files in ways
//! that it misses, and a stat a second costs nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::base::limits::{LIST_FILE_BYTES_MAX, LIST_FILE_LOOK_EVERY};
use crate::base::shared::Word;
use crate::compile::WatchedList;
use crate::gateway::carry::KeyDigest;

/// What happened to a list, for the log.
#[derive(Clone, Debug)]
pub enum ListEvent {
    /// It was loaded.
    Loaded {
        /// Entries.
        entries: usize,
    },
    /// It was not; the old one stays.
    Failed {
        /// Why.
        why: String,
    },
}

/// The thread that watches. Dropping it stops it.
pub struct Lists {
    stop: Arc<Word>,
    thread: JoinHandle<()>,
}

impl Lists {
    /// Starts watching; `None` when there is nothing to watch.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        watched: Vec<WatchedList>,
        on_event: impl Fn(&WatchedList, ListEvent) + Send + 'static,
    ) -> io::Result<Option<Lists>> {
        if watched.is_empty() {
            return Ok(None);
        }
        let stop: Arc<Word> = Arc::default();
        let stopped = stop.clone();
        let mut files: Vec<(WatchedList, Seen)> =
            watched.into_iter().map(|one| (one, Seen::Never)).collect();
        let thread =
            std::thread::Builder::new().name("ringway-lists".to_owned()).spawn(move || {
                while stopped.load() == 0 {
                    for (watched, stamp) in &mut files {
                        look(watched, stamp, &on_event);
                    }
                    std::thread::park_timeout(LIST_FILE_LOOK_EVERY);
                }
            })?;
        Ok(Some(Lists { stop, thread }))
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.stop.store(1);
        self.thread.thread().unpark();
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// What was seen of a file the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody looked.
    Never,
    /// It was there in this state, or it was not there.
    At(Option<Stamp>),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), bytes: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// Loads a file that has changed. At the first look it may have changed since it was compiled; what says the
/// same as before is left alone.
fn look(watched: &mut WatchedList, seen: &mut Seen, on_event: &dyn Fn(&WatchedList, ListEvent)) {
    let now = Seen::At(stamp(&watched.path));
    if *seen == now {
        return;
    }
    *seen = now;
    let event = match read(&watched.path) {
        Err(error) => ListEvent::Failed { why: format!("it cannot be read: {}", error.kind()) },
        Ok(text) => {
            let digest = KeyDigest::of(text.as_bytes());
            if digest == watched.digest {
                return;
            }
            match watched.list.load(&text) {
                Ok(entries) => {
                    watched.digest = digest;
                    ListEvent::Loaded { entries }
                }
                Err(error) => ListEvent::Failed { why: error.to_string() },
            }
        }
    };
    on_event(watched, event);
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = LIST_FILE_BYTES_MAX as u64;
    let read = File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if read as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}
