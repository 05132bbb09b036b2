//! Several files as one configuration: `include`, folders, merging by table.
//!
//! The outside world comes in through [`Surroundings`], so that a test needs no disk. Files have no
//! order of precedence: the same name in two of them is an error that points at both, never an override.
//! Only the main file may include others, so there are no cycles to find.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::json::from_json;
use crate::config::secret::mask_literals;
use crate::config::span::{FileId, Span, Text};
use crate::config::substitute::substitute;
use crate::config::tree::{Entry, Kind, Log, Node, from_toml};

/// What a configuration may ask of the world around it.
pub trait Surroundings {
    /// The wall clock, to say which certificates have ended. Unit: seconds since 1970; 0 where nobody asks.
    fn wall_secs(&self) -> u64 {
        0
    }
    /// The certificates of the system's roots, in DER; none where there are none.
    fn system_roots(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file, at most `bytes_max` of it long; longer ones are an error.
    fn file(&self, path: &Path, bytes_max: u64) -> io::Result<String>;
    /// The names of what is in a folder, in any order; an error if it is none.
    fn folder(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// Largest file of a configuration. Unit: bytes. 10,000 routes of ten lines are about 4 MB.
pub const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most files of one configuration; one for each service of a large house, tenfold.
const FILES_MAX: usize = 4096;

/// Reads a file, or all `*.toml` and `*.json` of a folder, and what they include, into one tree.
pub(super) fn load(path: &Path, around: &dyn Surroundings, log: &Log) -> Vec<Entry> {
    let mut root = Vec::new();
    if let Ok(names) = around.folder(path) {
        let mut names: Vec<String> = names.into_iter().filter(|name| is_config(name)).collect();
        names.sort();
        if names.is_empty() {
            let file = log.add(&path.display().to_string(), String::new());
            let message = "this folder has no `.toml` or `.json` file";
            log.error(codes::UNREADABLE, Span::whole(file), message);
        }
        let count = names.len().min(FILES_MAX);
        for name in &names[..count] {
            add_file(&mut root, &path.join(name), around, log);
        }
        if names.len() > FILES_MAX {
            too_many(&root, log);
        }
    } else {
        add_file(&mut root, path, around, log);
    }
    include(&mut root, around, log);
    root
}

/// The same for texts that were read already.
pub(super) fn read(files: &[(&str, &str)], around: &dyn Surroundings, log: &Log) -> Vec<Entry> {
    let mut root = Vec::new();
    for (name, text) in files {
        let entries = read_text(name, (*text).to_owned(), around, log);
        merge(&mut root, entries, log);
    }
    include(&mut root, around, log);
    root
}

fn is_config(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".toml") || name.ends_with(".json"))
}

fn add_file(root: &mut Vec<Entry>, path: &Path, around: &dyn Surroundings, log: &Log) {
    let name = path.display().to_string();
    match around.file(path, FILE_BYTES_MAX) {
        Ok(text) => merge(root, read_text(&name, text, around, log), log),
        Err(error) => {
            let file = log.add(&name, String::new());
            let message = format!("this file cannot be read: {}", unreadable(&error));
            let diagnostic = Diagnostic::error(codes::UNREADABLE, Span::whole(file), message);
            log.push(match error.kind() {
                io::ErrorKind::NotFound => diagnostic.help(
                    "name a file or folder with `-c`; without it `ringway.toml` here and `/etc/ringway` are tried; `ringway demo` writes one to begin with",
                ),
                io::ErrorKind::PermissionDenied => {
                    diagnostic.help("let the user that the gateway runs as read it: `chgrp`, `chmod 0640`")
                }
                _ => diagnostic,
            });
        }
    }
}

/// Why a file cannot be read, without words that differ between systems where we know better ones.
pub fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "this process may not read it".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => error.to_string(),
    }
}

fn read_text(name: &str, text: String, around: &dyn Surroundings, log: &Log) -> Vec<Entry> {
    let file = log.add(name, text.clone());
    for range in mask_literals(&text) {
        log.mask(Span::new(file, range));
    }
    let mut entries = if name.ends_with(".json") {
        from_json(file, &text, log)
    } else {
        from_toml(file, &text, log)
    };
    for entry in &mut entries {
        substitute(&mut entry.node, around, log);
    }
    entries
}

/// Takes `include` out of the tree and merges what it names.
fn include(root: &mut Vec<Entry>, around: &dyn Surroundings, log: &Log) {
    let Some(at) = root.iter().position(|entry| entry.key.value == "include") else { return };
    let main = root.remove(at);
    let patterns: Vec<Text> = match &main.node.kind {
        Kind::Array(list) => list.iter().filter_map(|node| pattern(node, log)).collect(),
        _ => pattern(&main.node, log).into_iter().collect(),
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in &patterns {
        let found = matching(pattern, around, log);
        if found.is_empty() && !pattern.value.contains(['*', '?']) {
            let message = format!("`{}` is no file that can be read", pattern.value);
            log.error(codes::INCLUDE, pattern.span, message);
        } else if found.is_empty() {
            let message = format!("no file matches `{}`", pattern.value);
            log.push(Diagnostic::warning(codes::INCLUDES_NOTHING, pattern.span, message));
        }
        files.extend(found);
    }
    files.dedup();
    files.truncate(FILES_MAX + 1);
    if files.len() > FILES_MAX {
        too_many(std::slice::from_ref(&main), log);
        files.truncate(FILES_MAX);
    }
    for path in files {
        add_file(root, &path, around, log);
        while let Some(at) = root.iter().position(|entry| entry.key.value == "include") {
            let nested = root.remove(at);
            let message = "only the main file includes others";
            let diagnostic = Diagnostic::error(codes::INCLUDE, nested.key.span, message);
            log.push(diagnostic.also(main.key.span, "this file is included from here"));
        }
    }
}

fn too_many(entries: &[Entry], log: &Log) {
    let span = entries.first().map_or(Span::whole(FileId(0)), |entry| entry.key.span);
    log.error(codes::INCLUDE, span, format!("a configuration has at most {FILES_MAX} files"));
}

fn pattern(node: &Node, log: &Log) -> Option<Text> {
    match &node.kind {
        Kind::Text(text) => Some(Text::new(text.clone(), node.span)),
        _ => {
            super::reader::wrong_type(log, node, "a text or a list of texts", "");
            None
        }
    }
}

/// The files that a pattern names, sorted; relative to the file that holds the pattern.
fn matching(pattern: &Text, around: &dyn Surroundings, log: &Log) -> Vec<PathBuf> {
    let base = {
        let sources = log.sources();
        let name = sources.file(pattern.span.file).map_or("", |file| file.name.as_str());
        Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default()
    };
    let path = base.join(&pattern.value);
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let Some(last) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    if folder.to_string_lossy().contains(['*', '?']) {
        let message = "`*` and `?` may stand in the last segment only";
        log.error(codes::INCLUDE, pattern.span, message);
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    let mut names: Vec<String> = around.folder(here).unwrap_or_default();
    names.retain(|name| matches_glob(last.as_bytes(), name.as_bytes()) && !name.starts_with('.'));
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Whether a name matches a pattern of `*` and `?`; linear in practice, at most pattern × name steps.
fn matches_glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Adds a file's tables to the tree: lists are joined, tables are united, the same name twice is an error.
fn merge(root: &mut Vec<Entry>, entries: Vec<Entry>, log: &Log) {
    for entry in entries {
        let Some(known) = root.iter_mut().find(|known| known.key.value == entry.key.value) else {
            root.push(entry);
            continue;
        };
        match (&mut known.node.kind, entry.node.kind) {
            (Kind::Array(list), Kind::Array(more)) if entry.key.value != "include" => {
                list.extend(more);
            }
            (Kind::Table(table), Kind::Table(more)) => unite(table, more, &entry.key, log),
            _ => log.push(duplicate(&entry.key, &known.key, &format!("`{}`", entry.key.value))),
        }
    }
}

fn unite(table: &mut Vec<Entry>, more: Vec<Entry>, parent: &Text, log: &Log) {
    for entry in more {
        match table.iter().find(|known| known.key.value == entry.key.value) {
            None => table.push(entry),
            Some(known) => {
                let what = format!("`{}.{}`", parent.value, entry.key.value);
                log.push(duplicate(&entry.key, &known.key, &what));
            }
        }
    }
}

fn duplicate(again: &Text, first: &Text, what: &str) -> Diagnostic {
    Diagnostic::error(codes::DUPLICATE, again.span, format!("{what} is written twice"))
        .label("here again")
        .also(first.span, "first written here")
}

#[cfg(test)]
mod tests;
