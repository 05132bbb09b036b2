//! `[observe]`: what is written down about requests, and where.
//!
//! The format is JSON; a log line never holds a token, a cookie or a query value unless a later version
//! adds a key that asks for it.

use std::path::PathBuf;

use crate::config::language::{ACCESS_LOG, OBSERVE};
use crate::config::reader::{Reader, text_of, wrong_type};
use crate::config::span::Spanned;
use crate::config::tree::{Kind, Log, Node};

/// What is written down.
#[derive(Clone, Debug)]
pub struct Observe {
    /// Where the access log goes. Default: standard output.
    pub access_log: Spanned<LogTarget>,
}

impl Default for Observe {
    fn default() -> Self {
        Self { access_log: Spanned::built_in(LogTarget::Stdout) }
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// Reads `[observe]`.
pub(super) fn read(node: &Node, log: &Log) -> Option<Observe> {
    let reader = Reader::open(&OBSERVE, node, log)?;
    let access_log = reader.node("access_log").and_then(|node| read_access_log(node, log));
    Some(access_log.map(|access_log| Observe { access_log }).unwrap_or_default())
}

fn read_access_log(node: &Node, log: &Log) -> Option<Spanned<LogTarget>> {
    match &node.kind {
        Kind::Text(_) => read_target(node, log),
        Kind::Table(_) => {
            let reader = Reader::open(&ACCESS_LOG, node, log)?;
            // The only format is JSON; asking checks the word.
            reader.choice("format");
            if reader.node("to").is_none() {
                reader.missing("to", "write `{ to = \"stdout\", format = \"json\" }`");
            }
            read_target(reader.node("to")?, log)
        }
        _ => {
            wrong_type(log, node, "a text or a table", "write `access_log = \"stdout\"`");
            None
        }
    }
}

fn read_target(node: &Node, log: &Log) -> Option<Spanned<LogTarget>> {
    let text = text_of(node, log, "a text")?;
    Some(text.map(|text| match text.as_str() {
        "off" => LogTarget::Off,
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        path => LogTarget::File(PathBuf::from(path)),
    }))
}
