//! `compress` of a route or of `[default]`: `true`, or a table.
//!
//! A list of types or codings that means nothing is told; nothing is ever compressed because of a slip.

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::language::COMPRESS;
use crate::config::reader::{Reader, wrong_type};
use crate::config::span::Text;
use crate::config::tree::{Kind, Node};

/// How answers are compressed.
#[derive(Clone, Debug)]
pub struct Compress {
    /// `zstd`, `br`, `gzip`, the preferred one first.
    pub codings: Vec<&'static str>,
    /// Shortest body. Unit: bytes. Default: 1 KiB.
    pub bytes_min: u64,
    /// Media types, in lower case, with `*`.
    pub types: Vec<String>,
    /// `authorization`, `cookie`, `set-cookie`: secrets beside which answers are compressed.
    pub allow: Vec<&'static str>,
}

/// The codings that can be made, in the order of preference.
pub const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];
/// Fields that keep an answer from being compressed.
const SECRETS: [&str; 3] = ["authorization", "cookie", "set-cookie"];

/// Reads `compress`; `None` inside: it is off.
pub(super) fn read(outer: &Reader<'_>) -> Option<Option<Compress>> {
    let node = outer.node("compress")?;
    match &node.kind {
        Kind::Text(text) if text == "none" => Some(None),
        Kind::Boolean(on) => Some(on.then(defaults::compress)),
        Kind::Table(_) => Some(Some(read_table(outer, node)?)),
        kind => {
            let advice = match kind {
                Kind::Text(word) if CODINGS.contains(&word.as_str()) => {
                    format!("write `compress = {{ codings = [\"{word}\"] }}`")
                }
                _ => "write `compress = true`".to_owned(),
            };
            wrong_type(outer.log, node, "`true`, \"none\" or a table", &advice);
            None
        }
    }
}

fn read_table(outer: &Reader<'_>, node: &Node) -> Option<Compress> {
    let reader = Reader::open(&COMPRESS, node, outer.log)?;
    let base = defaults::compress();
    let codings = reader.node("codings").map(|_| words(&reader, "codings", &CODINGS));
    let min = reader.bytes("min", 0, defaults::COMPRESS_MIN_CEILING);
    let types = reader.node("types").map(|_| read_types(&reader));
    Some(Compress {
        codings: codings.unwrap_or(base.codings),
        bytes_min: min.map_or(base.bytes_min, |min| min.value),
        types: types.unwrap_or(base.types),
        allow: words(&reader, "allow", &SECRETS),
    })
}

/// Some of these words, each once.
fn words(reader: &Reader<'_>, key: &str, known: &[&'static str]) -> Vec<&'static str> {
    let mut words = Vec::new();
    for text in reader.texts(key) {
        match known.iter().find(|known| **known == text.value) {
            Some(word) if words.contains(word) => {
                reader.error(codes::DUPLICATE, text.span, format!("`{word}` is here twice"));
            }
            Some(word) => words.push(*word),
            None => {
                let message = format!("`{}` is not one of the words allowed here", text.value);
                let diagnostic = Diagnostic::error(codes::BAD_CHOICE, text.span, message);
                reader.log.push(diagnostic.note(format!("valid here: {}", known.join(", "))));
            }
        }
    }
    if let Some(Node { kind: Kind::Array(list), span, .. }) = reader.node(key)
        && list.is_empty()
        && key == "codings"
    {
        let diagnostic = Diagnostic::error(codes::BAD_CHOICE, *span, "no coding is named");
        reader.log.push(diagnostic.help("name some, or write `compress = \"none\"`"));
    }
    words
}

fn read_types(reader: &Reader<'_>) -> Vec<String> {
    let texts = reader.texts("types");
    for text in texts.iter().filter(|text| !is_media_type(&text.value)) {
        refuse_type(reader, text);
    }
    texts.into_iter().map(|text| text.value.to_ascii_lowercase()).collect()
}

fn refuse_type(reader: &Reader<'_>, text: &Text) {
    let message = format!("`{}` is not a media type", text.value);
    let diagnostic = Diagnostic::error(codes::BAD_CHOICE, text.span, message);
    reader.log.push(diagnostic.help(
        "write `application/json`, `text/*`, `application/*+json` or `*/*`, without parameters",
    ));
}

/// `a/b`, `a/*`, `a/*+b`, `*/*`.
fn is_media_type(text: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    match text.split_once('/') {
        Some(("*", "*")) => true,
        Some((kind, "*")) => token(kind),
        Some((kind, name)) => match name.strip_prefix("*+") {
            Some(suffix) => token(kind) && token(suffix),
            None => token(kind) && token(name),
        },
        None => false,
    }
}
