//! `--fix` and `--revert`: changes that are safe, with what was there before kept in a file (`journal.rs`).
//!
//! What is to be undone is written down before anything is changed, so that a stop in the middle loses nothing; what
//! can be known to fail is known before. It never takes back what somebody else has changed since.

use std::io;

use crate::cli::doctor::files::{
    LIMITS, LIMITS_PATH, SETTINGS_PATH, UNIT, UNIT_PATH, UNIT_WANTED_PATH, place, setting, settings,
};
use crate::cli::doctor::finding::{Change, Finding};
use crate::cli::doctor::host::Host;
use crate::cli::doctor::journal::{self, Changed, JOURNAL_PATH, Journal, Open, Written};
use crate::cli::doctor::place::{
    make_folders, may_set, missing_folders, ours, remove, replace, set, standing,
};
use crate::cli::doctor::read::Tree;
use crate::cli::doctor::start::overruled;

/// Who may read a file that is written.
const READABLE: u32 = 0o644;

/// What was done, line by line, and whether all of it worked.
#[derive(Default)]
pub struct Done {
    /// For standard output.
    pub lines: Vec<String>,
    /// What failed.
    pub failures: Vec<String>,
}

impl Done {
    /// Takes down what came of a step; whether it went well.
    fn note(&mut self, did: &str, what: &str, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => {
                self.lines.push(format!("{did:8} {what}"));
                true
            }
            Err(error) => {
                self.failures.push(format!("{what}: {}", reason(&error)));
                false
            }
        }
    }

    /// Nothing was done because of this.
    fn failed(why: impl Into<Vec<String>>) -> Self {
        Self { lines: Vec::new(), failures: why.into() }
    }
}

/// An error in words, with what to do about it.
pub fn reason(error: &io::Error) -> String {
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
    let changes: Vec<Change> = findings.iter().filter_map(|finding| finding.change).collect();
    if changes.is_empty() {
        let why = if host.container {
            "in a container whoever starts it decides; `ringway doctor` shows the commands"
        } else {
            "no finding has a fix that is safe by itself"
        };
        return Done { lines: vec![format!("nothing to change: {why}")], failures: Vec::new() };
    }
    let mut open = match journal::begin(tree) {
        Ok(open) => open,
        Err(why) => return Done::failed([why]),
    };
    let troubles = plan(tree, &changes, &mut open.journal);
    if !troubles.is_empty() {
        open.drop_unwritten(tree);
        let nothing = "nothing was changed".to_owned();
        return Done::failed([troubles, vec![nothing]].concat());
    }
    let mut done = Done::default();
    let kept = open.keep(tree);
    if !done.note("wrote", &format!("{JOURNAL_PATH} (what --revert needs)"), kept) {
        open.drop_unwritten(tree);
        return done;
    }
    carry_out(tree, &changes, &open.journal, &mut done);
    if done.failures.is_empty() {
        let is_set = |name: &&'static str| changes.contains(&Change::Setting(name));
        let names = open.journal.settings.iter().map(|changed| name_of(&changed.name));
        done.lines.extend(overruled(tree, names.filter(is_set)));
        done.lines.push(next(&changes));
    } else {
        done.failures.push("what was done is undone by `ringway doctor --revert`".to_owned());
    }
    done
}

/// Writes the files and sets the settings.
fn carry_out(tree: &Tree, changes: &[Change], journal: &Journal, done: &mut Done) {
    // What was written before and is wanted no more may be somebody else's by now.
    for written in journal.files.iter().filter(|written| wants(changes, &written.path)) {
        let Written { path, after, .. } = written;
        let result =
            make_folders(tree, path).and_then(|()| replace(tree, path, &ours(after, READABLE)));
        done.note("wrote", path, result);
    }
    let is_now = |changed: &&Changed| changes.contains(&Change::Setting(name_of(&changed.name)));
    for changed in journal.settings.iter().filter(is_now) {
        let Changed { name, before, after } = changed;
        done.note("set", &format!("{name}: {before} -> {after}"), set(tree, name, after));
    }
}

/// What a person does next.
fn next(changes: &[Change]) -> String {
    let mut steps = Vec::new();
    if changes.iter().any(|change| matches!(change, Change::Setting("net.core.somaxconn"))) {
        steps.push("restart the gateway: its listeners take the longer queue then");
    }
    if changes.contains(&Change::Limits) {
        steps.push("log in again as `ringway` for the limit of open files");
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

/// Adds the changes to what the journal has already; what was there before the first change stays. What stands in
/// the way comes back, in words.
fn plan(tree: &Tree, changes: &[Change], journal: &mut Journal) -> Vec<String> {
    let mut troubles = Vec::new();
    for change in changes {
        let Change::Setting(name) = change else { continue };
        let (Some(wanted), Some(before)) = (setting(name), tree.setting(name)) else { continue };
        if let Err(error) = may_set(tree, name) {
            troubles.push(format!("{}: {}", place(name), reason(&error)));
        }
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
        match standing(tree, path) {
            Ok(before) => {
                let after = after.to_owned();
                let written = Written { path: path.to_owned(), before, after };
                remember(journal, written);
            }
            Err(error) => troubles.push(format!("{path}: {}", reason(&error))),
        }
        for folder in missing_folders(tree, path) {
            if !journal.folders.contains(&folder) {
                journal.folders.push(folder);
            }
        }
    }
    troubles
}

/// Takes down what stands in the place of a file, unless it is what we wrote there.
fn remember(journal: &mut Journal, written: Written) {
    match journal.files.iter_mut().find(|known| known.path == written.path) {
        Some(known) => {
            let now = written.before.as_ref().map(|plain| &plain.text);
            if now != Some(&known.after) {
                known.before = written.before;
            }
            known.after = written.after;
        }
        None => journal.files.push(written),
    }
}

/// Undoes what the journal names.
pub fn revert(tree: &Tree) -> Done {
    let mut done = Done::default();
    let mut open: Open = match journal::resume(tree) {
        Ok(Some(open)) => open,
        Ok(None) => {
            done.lines.push(format!("nothing to undo: there is no {JOURNAL_PATH}"));
            return done;
        }
        Err(why) => return Done::failed([why]),
    };
    open.journal.settings.retain(|changed| !undo_setting(tree, changed, &mut done));
    open.journal.files.retain(|written| !undo_file(tree, written, &mut done));
    if !done.failures.is_empty() {
        // What could not be undone can be tried again.
        let _ = open.keep(tree);
        return done;
    }
    let result = open.end(tree);
    done.note("removed", JOURNAL_PATH, result);
    if done.lines.iter().any(|line| line.ends_with(UNIT_PATH)) {
        done.lines.push("next     systemctl daemon-reload".to_owned());
    }
    done
}

/// Whether the setting is done with: as before, or somebody else's.
fn undo_setting(tree: &Tree, changed: &Changed, done: &mut Done) -> bool {
    let Changed { name, before, after } = changed;
    match tree.setting(name) {
        Some(now) if now == *after => {
            let result = set(tree, name, before);
            done.note("set", &format!("{name}: {after} -> {before}"), result)
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
    let now = standing(tree, path);
    if now.as_ref().is_ok_and(|now| now == before) {
        return true;
    }
    // What cannot be looked at is not what we wrote.
    if !matches!(&now, Ok(Some(now)) if now.text == *after) {
        done.lines.push(format!("left     {path}: somebody has changed it since"));
        return true;
    }
    if path == UNIT_PATH && before.is_none() && tree.has_link(UNIT_WANTED_PATH) {
        done.failures.push(format!(
            "{path}: it is in use; run `systemctl disable --now ringway`, then --revert again"
        ));
        return false;
    }
    match before {
        Some(plain) => done.note("restored", path, replace(tree, path, plain)),
        None => done.note("removed", path, remove(tree, path)),
    }
}
