//! `--fix` and `--revert`: changes that are safe, with what was there before kept in a file.
//!
//! What is to be undone is written down before anything is changed, so that a stop in the middle loses nothing. It
//! never takes back what somebody else has changed since, and never follows a link where it writes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::doctor::files::{
    LIMITS, LIMITS_PATH, SETTINGS_PATH, UNIT, UNIT_PATH, place, setting, settings,
};
use crate::cli::doctor::finding::{Change, Finding};
use crate::cli::doctor::host::Host;
use crate::cli::doctor::read::Tree;

/// Where it is written what `--revert` needs.
pub const JOURNAL_PATH: &str = "/var/lib/ringway/doctor.json";

/// What was changed, and what was there before.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Journal {
    settings: Vec<Changed>,
    files: Vec<Written>,
    /// Folders that were made, outermost first.
    folders: Vec<String>,
}

/// A kernel setting that was changed.
#[derive(Serialize, Deserialize)]
struct Changed {
    name: String,
    before: String,
    after: String,
}

/// A file that was written.
#[derive(Serialize, Deserialize)]
struct Written {
    path: String,
    /// `None`: there was no file.
    before: Option<String>,
    after: String,
}

/// What was done, line by line, and whether all of it worked.
#[derive(Default)]
pub struct Done {
    /// For standard output.
    pub lines: Vec<String>,
    /// What failed.
    pub failures: Vec<String>,
}

impl Done {
    /// Takes down what came of a step; whether all went well so far.
    fn note(&mut self, did: &str, what: &str, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => self.lines.push(format!("{did:8} {what}")),
            Err(error) => self.failures.push(format!("{what}: {}", reason(&error))),
        }
        self.failures.is_empty()
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied; it needs root".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => {
            "read-only; in a container it is whoever starts it who can change this".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Makes the changes that the findings name.
pub fn fix(tree: &Tree, host: &Host, findings: &[Finding]) -> Done {
    let mut done = Done::default();
    let changes: Vec<Change> = findings.iter().filter_map(|finding| finding.change).collect();
    if changes.is_empty() {
        let why = if host.container {
            "in a container whoever starts it decides; `ringway doctor` shows the commands"
        } else {
            "no finding has a fix that is safe by itself"
        };
        done.lines.push(format!("nothing to change: {why}"));
        return done;
    }
    let mut journal = match read(tree) {
        Ok(journal) => journal.unwrap_or_default(),
        Err(why) => {
            done.failures.push(why);
            return done;
        }
    };
    plan(tree, &changes, &mut journal);
    if !done.note(
        "wrote",
        &format!("{JOURNAL_PATH} (what --revert needs)"),
        keep(tree, &mut journal),
    ) {
        return done;
    }
    // What was written before and is wanted no more may be somebody else's by now.
    for written in journal.files.iter().filter(|written| wants(&changes, &written.path)) {
        let folders = written.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let result = fs::create_dir_all(tree.path(folders))
            .and_then(|()| replace(&tree.path(&written.path), &written.after));
        done.note("wrote", &written.path, result);
    }
    let is_now = |changed: &&Changed| changes.contains(&Change::Setting(name_of(&changed.name)));
    for changed in journal.settings.iter().filter(is_now) {
        let Changed { name, before, after } = changed;
        done.note("set", &format!("{name}: {before} -> {after}"), set(tree, name, after));
    }
    if done.failures.is_empty() {
        done.lines.push(next(&changes));
    }
    done
}

/// What a person does next.
fn next(changes: &[Change]) -> String {
    let mut steps = Vec::new();
    if changes.iter().any(|change| matches!(change, Change::Setting("net.core.somaxconn"))) {
        steps.push("restart the gateway: its listeners take the longer queue then");
    }
    if changes.contains(&Change::Limits) {
        steps.push("log in again for the limit of open files");
    }
    if changes.contains(&Change::Unit) {
        steps.push("systemctl daemon-reload && systemctl enable --now ringway");
    }
    if steps.is_empty() {
        "in force now".to_owned()
    } else {
        format!("next     {}", steps.join("; "))
    }
}

/// Whether the changes write this file.
fn wants(changes: &[Change], path: &str) -> bool {
    match path {
        SETTINGS_PATH => changes.iter().any(|change| matches!(change, Change::Setting(_))),
        LIMITS_PATH => changes.contains(&Change::Limits),
        _ => changes.contains(&Change::Unit),
    }
}

fn name_of(name: &str) -> &'static str {
    setting(name).map_or("", |setting| setting.name)
}

/// Adds the changes to what the journal has already; what was there before the first change stays.
fn plan(tree: &Tree, changes: &[Change], journal: &mut Journal) {
    for change in changes {
        let Change::Setting(name) = change else { continue };
        let (Some(wanted), Some(before)) = (setting(name), tree.setting(name)) else { continue };
        match journal.settings.iter_mut().find(|changed| changed.name == *name) {
            // Changed by somebody since: what they set is what is to come back.
            Some(known) if known.after != before => known.before = before,
            Some(_) => {}
            None => {
                let (name, after) = (wanted.name.to_owned(), wanted.value.to_owned());
                journal.settings.push(Changed { name, before, after });
            }
        }
    }
    let known = &journal.settings;
    let text = settings(|name| known.iter().any(|changed| changed.name == name));
    let files = [(SETTINGS_PATH, text.as_str()), (LIMITS_PATH, LIMITS), (UNIT_PATH, UNIT)];
    for (path, after) in files.into_iter().filter(|(path, _)| wants(changes, path)) {
        let before = tree.text(path);
        match journal.files.iter_mut().find(|written| written.path == path) {
            Some(known) => {
                if before.as_ref() != Some(&known.after) {
                    known.before = before;
                }
                known.after = after.to_owned();
            }
            None => journal.files.push(Written {
                path: path.to_owned(),
                before,
                after: after.to_owned(),
            }),
        }
        missing_folders(tree, path, &mut journal.folders);
    }
}

/// Adds the folders above `path` that are not there, outermost first.
fn missing_folders(tree: &Tree, path: &str, folders: &mut Vec<String>) {
    let above: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
    for folder in above.into_iter().rev() {
        let name = folder.display().to_string();
        if !tree.path(&name).exists() && !folders.contains(&name) {
            folders.push(name);
        }
    }
}

/// Undoes what the journal names.
pub fn revert(tree: &Tree) -> Done {
    let mut done = Done::default();
    let mut journal = match read(tree) {
        Ok(Some(journal)) => journal,
        Ok(None) => {
            done.lines.push(format!("nothing to undo: there is no {JOURNAL_PATH}"));
            return done;
        }
        Err(why) => {
            done.failures.push(why);
            return done;
        }
    };
    journal.settings.retain(|changed| !undo_setting(tree, changed, &mut done));
    journal.files.retain(|written| !undo_file(tree, written, &mut done));
    if !done.failures.is_empty() {
        // What could not be undone can be tried again.
        let _ = keep(tree, &mut journal);
        return done;
    }
    let result = fs::remove_file(tree.path(JOURNAL_PATH));
    done.note("removed", JOURNAL_PATH, result);
    for folder in journal.folders.iter().rev() {
        // One that somebody else uses by now is not empty, and stays.
        let _ = fs::remove_dir(tree.path(folder));
    }
    done
}

/// Whether the setting is done with: as before, or somebody else's.
fn undo_setting(tree: &Tree, changed: &Changed, done: &mut Done) -> bool {
    let Changed { name, before, after } = changed;
    match tree.setting(name) {
        Some(now) if now == *after => {
            let result = set(tree, name, before);
            let worked = result.is_ok();
            done.note("set", &format!("{name}: {after} -> {before}"), result);
            worked
        }
        Some(now) if now == *before => true,
        Some(now) => {
            done.lines.push(format!("left     {name}: somebody has set it to {now} since"));
            true
        }
        None => {
            done.lines.push(format!("left     {name}: it is not there any more"));
            true
        }
    }
}

/// Whether the file is done with: as before, or somebody else's.
fn undo_file(tree: &Tree, written: &Written, done: &mut Done) -> bool {
    let Written { path, before, after } = written;
    let now = tree.text(path);
    if now == *before {
        return true;
    }
    if now.as_ref() != Some(after) {
        done.lines.push(format!("left     {path}: somebody has changed it since"));
        return true;
    }
    let (what, result) = match before {
        Some(text) => ("restored", replace(&tree.path(path), text)),
        None => ("removed", fs::remove_file(tree.path(path))),
    };
    let worked = result.is_ok();
    done.note(what, path, result);
    worked
}

/// The journal; `None`: there is none.
fn read(tree: &Tree) -> Result<Option<Journal>, String> {
    match fs::symlink_metadata(tree.path(JOURNAL_PATH)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{JOURNAL_PATH}: {}", reason(&error))),
        Ok(_) => {}
    }
    let text = tree.text(JOURNAL_PATH).ok_or(format!("{JOURNAL_PATH} cannot be read"))?;
    let journal: Journal = serde_json::from_str(&text)
        .map_err(|error| format!("{JOURNAL_PATH} is not what --fix wrote: {error}"))?;
    let is_ours = |path: &String| [SETTINGS_PATH, LIMITS_PATH, UNIT_PATH].contains(&path.as_str());
    let known = journal.settings.iter().all(|changed| setting(&changed.name).is_some())
        && journal.files.iter().all(|written| is_ours(&written.path));
    if known {
        Ok(Some(journal))
    } else {
        Err(format!("{JOURNAL_PATH} names what --fix never changes"))
    }
}

/// Writes the journal; folders made for it are in it.
fn keep(tree: &Tree, journal: &mut Journal) -> io::Result<()> {
    missing_folders(tree, JOURNAL_PATH, &mut journal.folders);
    let path = tree.path(JOURNAL_PATH);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(journal).map_err(io::Error::other)?;
    replace(&path, &(text + "\n"))
}

/// Sets a kernel setting.
fn set(tree: &Tree, name: &str, value: &str) -> io::Result<()> {
    let path = tree.path(&place(name));
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?
        .write_all(format!("{value}\n").as_bytes())
}

/// Puts a file in the place of another at once, readable for all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let beside = PathBuf::from(format!("{}.new", path.display()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    // Whatever the umask says.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
