//! Places where `--fix` and `--revert` write: what stands there, and how it is replaced as a whole.
//!
//! It never follows a link where it writes, and never replaces what it could not put back: anything but a text file.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::limits::DOCTOR_FILE_BYTES_MAX;
use crate::cli::doctor::files;
use crate::cli::doctor::read::Tree;

/// A text file, with all that is needed to put it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// What it holds.
    pub text: String,
    /// Who may read it, write it, run it.
    pub mode: u32,
    /// Whose it is.
    pub owner: u32,
    /// Its group.
    pub group: u32,
}

fn in_the_way(what: &str) -> io::Error {
    io::Error::other(format!("{what} stands there, which could not be put back: look at it first"))
}

/// The path as one of ours. On another host's files a link anywhere on the way would lead out of them.
fn at(tree: &Tree, path: &str) -> io::Result<PathBuf> {
    let is_link = |folder: &&Path| {
        fs::symlink_metadata(tree.path(&folder.to_string_lossy())).is_ok_and(|at| at.is_symlink())
    };
    let mut folders = Path::new(path).ancestors().skip(1).filter(|at| at.parent().is_some());
    match folders.find(is_link) {
        Some(link) if !tree.is_ours() => {
            Err(io::Error::other(format!("{} is a link and leads elsewhere", link.display())))
        }
        _ => Ok(tree.path(path)),
    }
}

/// The text file that stands at `path`; `None`: nothing does.
///
/// # Errors
/// Something else stands there, or it cannot be looked at.
pub fn standing(tree: &Tree, path: &str) -> io::Result<Option<Plain>> {
    let at = at(tree, path)?;
    let found = match fs::symlink_metadata(&at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if found.is_symlink() {
        return Err(in_the_way("a link"));
    }
    if !found.is_file() {
        return Err(in_the_way("no file"));
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(at)?;
    let found = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(DOCTOR_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCTOR_FILE_BYTES_MAX {
        return Err(in_the_way("a file too large"));
    }
    let text = String::from_utf8(bytes).map_err(|_| in_the_way("a file that is no text"))?;
    Ok(Some(Plain { text, mode: found.mode() & 0o7777, owner: found.uid(), group: found.gid() }))
}

/// Folders above `path` that are not there, outermost first.
pub fn missing_folders(tree: &Tree, path: &str) -> Vec<String> {
    let missing = |folder: &&Path| !tree.path(&folder.to_string_lossy()).exists();
    let above = Path::new(path).ancestors().skip(1).filter(missing);
    let mut all: Vec<String> = above.map(|folder| folder.display().to_string()).collect();
    all.reverse();
    all
}

/// Makes the folders above `path` that are not there: open to all and writable for us, whatever the umask says.
///
/// # Errors
/// One could not be made.
pub fn make_folders(tree: &Tree, path: &str) -> io::Result<()> {
    at(tree, path)?;
    for folder in missing_folders(tree, path) {
        let folder = tree.path(&folder);
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A file of ours, with this text.
pub fn ours(text: &str, mode: u32) -> Plain {
    Plain { text: text.to_owned(), mode, owner: u32::MAX, group: u32::MAX }
}

/// Puts a file in the place of another at once; its folder is told to the disk, too.
///
/// # Errors
/// It could not be written; then what stood there still does.
pub fn replace(tree: &Tree, path: &str, plain: &Plain) -> io::Result<()> {
    let at = at(tree, path)?;
    let beside = PathBuf::from(format!("{}.new", at.display()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let put = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(plain.text.as_bytes())?;
        let made = file.metadata()?;
        // Of a file of ours neither is said: it is whose it is by being made.
        if plain.owner != u32::MAX && (plain.owner, plain.group) != (made.uid(), made.gid()) {
            fchown(&file, Some(plain.owner), Some(plain.group))?;
        }
        file.set_permissions(Permissions::from_mode(plain.mode))?;
        file.sync_all()?;
        fs::rename(&beside, &at)
    };
    if let Err(error) = put() {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    // It stands there already: a folder that cannot be told so is no failure.
    let _ = at.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// Removes a file.
///
/// # Errors
/// It could not be removed.
pub fn remove(tree: &Tree, path: &str) -> io::Result<()> {
    fs::remove_file(at(tree, path)?)
}

fn open_setting(tree: &Tree, name: &str, truncate: bool) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .truncate(truncate)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(at(tree, &files::place(name))?)
}

/// Whether a kernel setting can be set; nothing is changed.
///
/// # Errors
/// Why it cannot.
pub fn may_set(tree: &Tree, name: &str) -> io::Result<()> {
    open_setting(tree, name, false).map(drop)
}

/// Sets a kernel setting.
///
/// # Errors
/// It cannot be set, or not to this value.
pub fn set(tree: &Tree, name: &str, value: &str) -> io::Result<()> {
    open_setting(tree, name, true)?.write_all(format!("{value}\n").as_bytes())
}
