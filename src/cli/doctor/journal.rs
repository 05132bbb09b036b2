//! What `--fix` remembers for `--revert`: a file in a folder that is nobody else's.
//!
//! It never trusts one that somebody else could have written: what it says is written to where root's files are. So it
//! does not lie in /var/lib/ringway, which is the gateway's own (ACME keeps keys there).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::doctor::files::{LIMITS_PATH, SETTINGS_PATH, UNIT_PATH, setting};
use crate::cli::doctor::mend::reason;
use crate::cli::doctor::place::{self, Plain, make_folders, missing_folders, ours, replace};
use crate::cli::doctor::read::Tree;

/// Where it is.
pub const JOURNAL_PATH: &str = "/var/lib/ringway-doctor/journal.json";
const FOLDER: &str = "/var/lib/ringway-doctor";

/// What was changed, and what was there before.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Kernel settings.
    pub settings: Vec<Changed>,
    /// Files.
    pub files: Vec<Written>,
    /// Folders that were made, outermost first.
    pub folders: Vec<String>,
}

/// A kernel setting that was changed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// What comes back.
    pub before: String,
    /// What it was set to.
    pub after: String,
}

/// A file that was written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Where.
    pub path: String,
    /// What comes back; `None`: there was no file.
    pub before: Option<Plain>,
    /// The text that was written.
    pub after: String,
}

/// The journal in use by us alone.
pub struct Open {
    /// What it says.
    pub journal: Journal,
    /// Held until the end, so that two at once do not take what the other made for what was there before.
    _lock: File,
    /// Folders that were made for it.
    made: Vec<String>,
}

/// The journal, empty where there is none yet.
///
/// # Errors
/// In words: it is not ours, in use, or not what `--fix` wrote.
pub fn begin(tree: &Tree) -> Result<Open, String> {
    owned(tree)?;
    let made = missing_folders(tree, JOURNAL_PATH);
    let opened = make_folders(tree, JOURNAL_PATH)
        .map_err(|error| said(FOLDER, &error))
        .and_then(|()| open(tree, made.clone()));
    if opened.is_err() {
        tidy(tree, &made);
    }
    opened
}

/// The journal; `None`: there is none.
///
/// # Errors
/// As of `begin`.
pub fn resume(tree: &Tree) -> Result<Option<Open>, String> {
    match fs::symlink_metadata(tree.path(JOURNAL_PATH)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(said(JOURNAL_PATH, &error)),
        Ok(_) => {}
    }
    owned(tree)?;
    open(tree, Vec::new()).map(Some)
}

fn open(tree: &Tree, made: Vec<String>) -> Result<Open, String> {
    let err = |error: io::Error| said(FOLDER, &error);
    trusted(tree, FOLDER)?;
    let lock = File::open(tree.path(FOLDER)).map_err(err)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err("another `ringway doctor` is at work here".to_owned());
        }
        Err(TryLockError::Error(error)) => return Err(err(error)),
    }
    let journal = read(tree)?.unwrap_or_default();
    Ok(Open { journal, _lock: lock, made })
}

fn said(what: &str, error: &io::Error) -> String {
    format!("{what}: {}", reason(error))
}

/// Whoever owns the folder of another host's files could lead us elsewhere while we write.
fn owned(tree: &Tree) -> Result<(), String> {
    if tree.is_ours() {
        return Ok(());
    }
    let whose = |path: &Path| fs::metadata(path).map(|found| found.uid());
    let root = tree.path("/");
    // Of a process' own folder the owner is the process' user.
    match (whose(&root), whose(Path::new("/proc/self"))) {
        (Ok(root), Ok(ours)) if root == ours => Ok(()),
        _ => Err(format!("{} is somebody else's: nothing is written there", root.display())),
    }
}

/// Whether only the owner of the host's files could have made this.
fn trusted(tree: &Tree, path: &str) -> Result<(), String> {
    let root = fs::metadata(tree.path("/")).map_err(|error| said("/", &error))?;
    let found = fs::symlink_metadata(tree.path(path)).map_err(|error| said(path, &error))?;
    if !found.is_symlink() && found.uid() == root.uid() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(format!("{path} is not trusted: somebody else owns it, may write to it, or it is a link"))
}

fn read(tree: &Tree) -> Result<Option<Journal>, String> {
    let found = place::standing(tree, JOURNAL_PATH).map_err(|error| said(JOURNAL_PATH, &error))?;
    let Some(Plain { text, .. }) = found else { return Ok(None) };
    trusted(tree, JOURNAL_PATH)?;
    let journal: Journal = serde_json::from_str(&text)
        .map_err(|error| format!("{JOURNAL_PATH} is not what --fix wrote: {error}"))?;
    if is_ours(&journal) {
        return Ok(Some(journal));
    }
    Err(format!("{JOURNAL_PATH} names what --fix never changes"))
}

/// Whether it names only what `--fix` changes.
fn is_ours(journal: &Journal) -> bool {
    const FILES: [&str; 3] = [SETTINGS_PATH, LIMITS_PATH, UNIT_PATH];
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let may_be_set = |changed: &Changed| {
        setting(&changed.name).is_some() && is_number(&changed.before) && is_number(&changed.after)
    };
    let above = |folder: &String| {
        let is_above = |path: &&str| Path::new(path).ancestors().any(|at| at == Path::new(folder));
        folder != "/" && FILES.iter().chain([&JOURNAL_PATH]).any(is_above)
    };
    journal.settings.iter().all(may_be_set)
        && journal.files.iter().all(|written| FILES.contains(&written.path.as_str()))
        && journal.folders.iter().all(above)
}

impl Open {
    /// Writes it down.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&mut self, tree: &Tree) -> io::Result<()> {
        let known = |folder: &String| self.journal.folders.contains(folder);
        // Outermost first: what it lies in was made before all else.
        let made: Vec<String> = self.made.iter().filter(|folder| !known(folder)).cloned().collect();
        self.journal.folders.splice(0..0, made);
        self.made.clear();
        let text = serde_json::to_string_pretty(&self.journal).map_err(io::Error::other)?;
        // What stood in a file that only its owner may read is in it.
        replace(tree, JOURNAL_PATH, &ours(&(text + "\n"), 0o600))
    }

    /// Gives it up with nothing written down: the folders that were made for it go, too.
    pub fn drop_unwritten(self, tree: &Tree) {
        tidy(tree, &self.made);
    }

    /// Ends it: all is undone.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn end(self, tree: &Tree) -> io::Result<()> {
        place::remove(tree, JOURNAL_PATH)?;
        tidy(tree, &self.journal.folders);
        Ok(())
    }
}

/// Removes folders, innermost first. One that somebody else uses by now is not empty, and stays.
fn tidy(tree: &Tree, folders: &[String]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(tree.path(folder));
    }
}
