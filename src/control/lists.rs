//! Files of lists (revoked tokens, API keys, users) are looked at for changes here, and loaded again.
//!
//! One thread for all of them, which asks for each file's size, time and inode and reads only what changed.
//! It never takes a list away: while a file is gone or wrong the old list stays, and that is told once. A file that
//! is being written is let be until it rests, or half a list would be taken for all of it. It never waits for what
//! is no file (a pipe without a writer), and never tells what stands in a file. inotify was not taken: mounts of orchestrators replace files in ways
//! that it misses, and a stat a second costs nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::base::limits::{
    LIST_FILE_BYTES_MAX, LIST_FILE_LOOK_EVERY, LIST_FILE_RESTS_AFTER, LIST_FILE_UNREST_MAX,
};
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
        let mut files: Vec<Watch> = watched.into_iter().map(Watch::new).collect();
        let thread =
            std::thread::Builder::new().name("ringway-lists".to_owned()).spawn(move || {
                while stopped.load() == 0 {
                    let mut all_rest = true;
                    for file in &mut files {
                        all_rest &= file.look(&on_event);
                    }
                    let pause = if all_rest { LIST_FILE_LOOK_EVERY } else { LIST_FILE_RESTS_AFTER };
                    std::thread::park_timeout(pause);
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

/// A file that is watched.
struct Watch {
    list: WatchedList,
    /// In the state that was loaded, or is no list.
    done: Seen,
    /// In the state that could not be read, which was told.
    told: Seen,
    /// At the last look.
    met: Seen,
    /// At how many looks in a row it was another one.
    unrest: u32,
}

impl Watch {
    fn new(list: WatchedList) -> Self {
        Self { list, done: Seen::Never, told: Seen::Never, met: Seen::Never, unrest: 0 }
    }

    /// Loads the file if it has changed and rests, or never does; says whether it rests. At the first look it may
    /// have changed since it was compiled; what says the same as before is left alone.
    fn look(&mut self, on_event: &dyn Fn(&WatchedList, ListEvent)) -> bool {
        let now = Seen::At(stamp(&self.list.path));
        if self.done == now {
            self.unrest = 0;
            return true;
        }
        if self.moves(now) {
            return false;
        }
        let text = read(&self.list.path);
        if self.moves(Seen::At(stamp(&self.list.path))) {
            return false;
        }
        self.unrest = 0;
        let event = match text {
            Ok(text) => {
                (self.done, self.told) = (now, Seen::Never);
                self.take(&text)
            }
            // It may be the machine that could not, and not the file: the next look tries again.
            Err(_) if self.told == now => None,
            Err(error) => {
                self.told = now;
                Some(ListEvent::Failed { why: format!("it cannot be read: {}", error.kind()) })
            }
        };
        if let Some(event) = event {
            on_event(&self.list, event);
        }
        true
    }

    /// Whether the file is another one than at the last look. One that is never the same for long is taken as it
    /// is in the end: a list that grows all the time is a list, too.
    fn moves(&mut self, now: Seen) -> bool {
        let moves = self.met != now && self.unrest < LIST_FILE_UNREST_MAX;
        self.met = now;
        self.unrest += u32::from(moves);
        moves
    }

    fn take(&mut self, text: &str) -> Option<ListEvent> {
        let digest = KeyDigest::of(text.as_bytes());
        if digest == self.list.digest {
            return None;
        }
        Some(match self.list.list.load(text) {
            Ok(entries) => {
                self.list.digest = digest;
                ListEvent::Loaded { entries }
            }
            Err(error) => ListEvent::Failed { why: error.to_string() },
        })
    }
}

/// Opens a file to be read; what is none, and would be waited for, is an error.
///
/// # Errors
/// There is none, or it may not be read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = LIST_FILE_BYTES_MAX as u64;
    let read = open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if read as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::base::name::Name;
    use crate::policy::file_cell::{FileCell, List};
    use crate::policy::revocation::Revoked;

    /// Looks once; whether the file rests, and how many entries were loaded.
    fn look(watch: &mut Watch) -> (bool, Vec<usize>) {
        let loaded = RefCell::new(Vec::new());
        let rests = watch.look(&|_, event| match event {
            ListEvent::Loaded { entries } => loaded.borrow_mut().push(entries),
            ListEvent::Failed { why } => panic!("{why}"),
        });
        (rests, loaded.into_inner())
    }

    #[test]
    fn a_list_that_is_being_written_is_not_taken_for_all_of_it() {
        let path = std::env::temp_dir().join(format!("ringway-list-{}", std::process::id()));
        let list = List::Revoked(Arc::new(FileCell::new(Revoked::default())));
        let (name, digest) = (Name::new("idp"), KeyDigest::of(b"other"));
        let mut watch = Watch::new(WatchedList { name, path: path.clone(), list, digest });
        let write = |text: &str| fs::write(&path, text).expect("a file");
        write("jti:a\njti:b\n");
        assert_eq!((look(&mut watch), look(&mut watch)), ((false, vec![]), (true, vec![2])));
        assert_eq!(look(&mut watch), (true, vec![]), "nothing has changed");
        for half in ["", "jti:a\njt", "jti:a\njti:b"] {
            write(half);
            assert_eq!(look(&mut watch), (false, vec![]), "{half:?}");
        }
        write("jti:a\njti:b\njti:c\n");
        assert_eq!((look(&mut watch), look(&mut watch)), ((false, vec![]), (true, vec![3])));
        // One that grows at every look is loaded in the end.
        let lines = |count: usize| "sub:x\n".repeat(count);
        let grown = (1..=2 * LIST_FILE_UNREST_MAX as usize).find(|count| {
            write(&lines(*count));
            look(&mut watch) == (true, vec![1])
        });
        assert_eq!(grown, Some(LIST_FILE_UNREST_MAX as usize + 1));
        fs::remove_file(&path).expect("it is there");
    }
}
