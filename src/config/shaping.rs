//! What becomes of a part's answer: `pick`, `keep`, `drop`, `rename`, `flatten`.
//!
//! Paths are kept as texts with their places and never taken apart here: `compile` does, and points into them.

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::reader::Reader;
use crate::config::span::{Spanned, Text};
use crate::config::tree::{Kind, Node};

/// How an answer is shaped; in this order.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    /// The path of the value that is taken from the answer.
    pub pick: Option<Text>,
    /// Paths that stay; all others go. Empty: everything stays.
    pub keep: Vec<Text>,
    /// Paths that go.
    pub drop: Vec<Text>,
    /// Paths of members, and their new names.
    pub rename: Vec<(Text, Text)>,
    /// Whether the members stand in the answer themselves, and where that is said.
    pub flatten: Option<Spanned<bool>>,
}

/// Reads the keys of a part that shape its answer.
pub(super) fn read(reader: &Reader<'_>) -> Shaping {
    let list = |key: &str| {
        let texts = reader.texts(key);
        if let Some(Node { kind: Kind::Array(list), span, .. }) = reader.node(key)
            && list.is_empty()
        {
            let message = format!("`{key}` names nothing");
            let diagnostic = Diagnostic::error(codes::BAD_PART, *span, message);
            reader.log.push(diagnostic.help("name paths, or leave the key out"));
        }
        texts
    };
    let rename = reader.fields("rename");
    for (_, name) in rename.iter().filter(|(_, name)| name.value.is_empty()) {
        reader.error(codes::BAD_PART, name.span, "a new name is missing");
    }
    Shaping {
        pick: reader.text("pick"),
        keep: list("keep"),
        drop: list("drop"),
        rename,
        flatten: reader.boolean("flatten"),
    }
}
