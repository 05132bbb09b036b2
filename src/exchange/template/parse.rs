//! Parsing of templates: text to pieces, or an error that points at the place.
//!
//! It runs when a configuration is compiled and never on a request's path. A placeholder that is not
//! understood is an error; it is never kept as a literal.

use std::fmt;

use crate::base::span::Span;
use crate::exchange::client_cert::CertField;
use crate::exchange::template::elements::Elements;
use crate::exchange::template::of_request::OfRequest;
use crate::exchange::template::{
    Absent, Piece, Placeholder, Position, Source, TemplateKind, encode,
};

/// The first words that a placeholder may have, for "did you mean".
pub const SOURCES: &[&str] =
    &["jwt", "key", "basic", "path", "query", "header", "request", "client", "client_cert", "part"];

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Where in the text the mistake begins. Unit: bytes.
    pub offset: usize,
    /// How far it reaches. Unit: bytes; at least 1 but at the end of the text.
    pub len: usize,
    /// What it is.
    pub kind: TemplateErrorKind,
}

/// The mistakes that one can make in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateErrorKind {
    /// `{` without its `}`.
    Unclosed,
    /// `}` without its `{`.
    Unopened,
    /// `{}`.
    Empty,
    /// The first word is none of [`SOURCES`].
    UnknownSource {
        /// The word as written.
        name: String,
    },
    /// The route's pattern has no parameter of this name.
    UnknownParam {
        /// The name as written, without star.
        name: String,
    },
    /// `{client.…}` with something else than `address` or `network`.
    UnknownClient {
        /// The word as written.
        name: String,
    },
    /// `{client_cert.…}` with something that no certificate says.
    UnknownOfCert {
        /// The word as written.
        name: String,
    },
    /// `{request.…}` with something else than `host`, `method`, `path` or `scheme`.
    UnknownOfRequest {
        /// The word as written.
        name: String,
    },
    /// `{jwt}`, `{query.}`, `{jwt.a..b}`: a name is missing.
    NameMissing {
        /// The source that lacks it.
        source: &'static str,
    },
    /// A name with a space, a brace or, for a field, anything that is not a token.
    NameMalformed {
        /// The name as written.
        name: String,
    },
    /// `{part.…}` where no parts are.
    PartOutside,
    /// `{each*}` where it is neither the whole value of a pair nor a value in JSON.
    ElementsUnfit,
    /// `{view}` as a segment of a path, where a client without a view has none.
    ViewInPath,
    /// `{x?|text}`: absent and default at once.
    AbsentTwice,
    /// The default cannot stand here (a dot segment or a control byte).
    DefaultUnfit,
    /// A target does not begin with `/`, a Location neither with that nor with `http(s)://`.
    NotAbsolute,
    /// A placeholder in the scheme or authority of a Location.
    AuthorityVaries,
    /// A placeholder in the middle of a JSON escape.
    EscapeOpen,
    /// A byte that cannot stand in this place as it is.
    TextUnfit {
        /// The character.
        character: char,
    },
}

impl TemplateError {
    fn new(offset: usize, len: usize, kind: TemplateErrorKind) -> Self {
        Self { offset, len, kind }
    }

    /// The unknown name, for "did you mean": compare it with [`SOURCES`] or the route's parameters.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            TemplateErrorKind::UnknownSource { name }
            | TemplateErrorKind::UnknownParam { name }
            | TemplateErrorKind::UnknownClient { name }
            | TemplateErrorKind::UnknownOfCert { name }
            | TemplateErrorKind::UnknownOfRequest { name } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TemplateErrorKind::Unclosed => f.write_str("`{` without `}`; write `{{` for a brace"),
            TemplateErrorKind::Unopened => f.write_str("`}` without `{`; write `}}` for a brace"),
            TemplateErrorKind::Empty => f.write_str("empty placeholder `{}`"),
            TemplateErrorKind::UnknownSource { name } => write!(
                f,
                "`{name}` is not a source of values; there are `jwt.…`, `key.owner`, `basic.user`, `path.…`, `query.…`, \
                 `header.…`, `request.host`, `client.address`, `client.network`, `client_cert.…`, `part.…` and `view`"
            ),
            TemplateErrorKind::UnknownParam { name } => {
                write!(f, "the route's pattern has no parameter `{name}`")
            }
            TemplateErrorKind::UnknownOfRequest { name } => {
                write!(
                    f,
                    "`request.{name}` is not known; there are `request.host`, `request.method`, `request.path` and `request.scheme`"
                )
            }
            TemplateErrorKind::UnknownClient { name } => {
                write!(
                    f,
                    "`client.{name}` is not known; there are `client.address` and `client.network`"
                )
            }
            TemplateErrorKind::UnknownOfCert { name } => {
                let known = CertField::ALL.map(|(name, _)| format!("`{name}`"));
                write!(f, "a certificate has no `{name}`; there are {}", known.join(", "))
            }
            TemplateErrorKind::NameMissing { source } => {
                write!(f, "a name is missing in `{{{source}.…}}`")
            }
            TemplateErrorKind::NameMalformed { name } => {
                write!(f, "`{name}` cannot be the name of a value")
            }
            TemplateErrorKind::PartOutside => f.write_str(
                "`{part.…}`, a value of another part's answer, stands in the parts of a `merge` only",
            ),
            TemplateErrorKind::ElementsUnfit => f.write_str(
                "`{each*}` is the whole value of a pair in a query, `?id={each*}`, or a text of its own in a `body`",
            ),
            TemplateErrorKind::ViewInPath => f.write_str(
                "a client that gets the whole answer has no view; write what stands in its place: `{view|full}`",
            ),
            TemplateErrorKind::AbsentTwice => f.write_str(
                "`?` and `|` exclude each other: a value with a default is never absent",
            ),
            TemplateErrorKind::DefaultUnfit => f.write_str("this default cannot stand here"),
            TemplateErrorKind::NotAbsolute => f.write_str("must begin with `/`"),
            TemplateErrorKind::AuthorityVaries => f.write_str(
                "no placeholder may stand before the path: the client could choose the host",
            ),
            TemplateErrorKind::EscapeOpen => {
                f.write_str("a placeholder cannot stand in the middle of a JSON escape")
            }
            TemplateErrorKind::TextUnfit { character } => {
                write!(f, "{character:?} cannot stand here")?;
                if *character == '#' {
                    return f.write_str("; a target has no fragment, write `%23`");
                }
                f.write_str("; percent-encode it in a target, leave it out of a field")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// The pieces of `text`.
pub(super) fn pieces(
    text: &str,
    kind: TemplateKind,
    params: &[&str],
) -> Result<Vec<Piece>, TemplateError> {
    let path_start = path_start(text, kind)?;
    let mut parser = Parser { text, kind, params, at: 0, literal: Vec::new(), pieces: Vec::new() };
    let mut place = Place { query: false, string: false, escape_left: 0 };
    while let Some(byte) = text.as_bytes().get(parser.at).copied() {
        let next = text.as_bytes().get(parser.at + 1).copied();
        let bare_json = kind == TemplateKind::Json && !place.string;
        match (byte, next) {
            (b'{' | b'}', Some(same)) if same == byte && !bare_json => {
                parser.literal.push(byte);
                parser.at += 2;
            }
            (b'{', next) if !bare_json || opens(next) => {
                if parser.at < path_start {
                    let kind = TemplateErrorKind::AuthorityVaries;
                    return Err(TemplateError::new(parser.at, 1, kind));
                }
                if place.escape_left > 0 {
                    let kind = TemplateErrorKind::EscapeOpen;
                    return Err(TemplateError::new(parser.at, 1, kind));
                }
                parser.placeholder(place.position(kind))?;
            }
            (b'}', _) if !bare_json => {
                return Err(TemplateError::new(parser.at, 1, TemplateErrorKind::Unopened));
            }
            _ => {
                place.pass(byte, kind);
                parser.character()?;
            }
        }
    }
    parser.end_literal();
    Ok(parser.pieces)
}

/// In JSON outside of strings: whether the byte behind `{` makes it a placeholder.
fn opens(next: Option<u8>) -> bool {
    next.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*' || byte == b'_')
}

/// Where the path of a target begins: no placeholder may stand before it.
fn path_start(text: &str, kind: TemplateKind) -> Result<usize, TemplateError> {
    let absolute = text.starts_with("http://") || text.starts_with("https://");
    match kind {
        TemplateKind::Target | TemplateKind::Location if text.starts_with('/') => Ok(1),
        TemplateKind::Location if absolute => {
            let host = text.find("//").map_or(0, |at| at + 2);
            let path = text[host..].find('/').map_or(text.len(), |at| host + at);
            if path == host || text[host..path].contains('?') {
                return Err(TemplateError::new(0, text.len(), TemplateErrorKind::NotAbsolute));
            }
            Ok(path)
        }
        TemplateKind::Target | TemplateKind::Location => {
            let len = text.chars().next().map_or(0, char::len_utf8);
            Err(TemplateError::new(0, len, TemplateErrorKind::NotAbsolute))
        }
        TemplateKind::Field | TemplateKind::Json | TemplateKind::Plain => Ok(0),
    }
}

/// `Place::escape_left` behind a backslash: what follows decides how long the escape is.
const ESCAPE_BEGUN: u8 = u8::MAX;

/// Where in the target or document the parser stands.
struct Place {
    query: bool,
    string: bool,
    /// Bytes that are still to come of a JSON escape.
    escape_left: u8,
}

impl Place {
    fn pass(&mut self, byte: u8, kind: TemplateKind) {
        match (kind, byte) {
            (TemplateKind::Target | TemplateKind::Location, b'?') => self.query = true,
            (TemplateKind::Json, b'u') if self.escape_left == ESCAPE_BEGUN => self.escape_left = 4,
            (TemplateKind::Json, _) if self.escape_left == ESCAPE_BEGUN => self.escape_left = 0,
            (TemplateKind::Json, _) if self.escape_left > 0 => self.escape_left -= 1,
            (TemplateKind::Json, b'\\') if self.string => self.escape_left = ESCAPE_BEGUN,
            (TemplateKind::Json, b'"') => self.string = !self.string,
            _ => {}
        }
    }

    fn position(&self, kind: TemplateKind) -> Position {
        match kind {
            TemplateKind::Target | TemplateKind::Location if self.query => Position::Query,
            TemplateKind::Target | TemplateKind::Location => Position::Path,
            TemplateKind::Field => Position::Field,
            TemplateKind::Json if self.string => Position::Json,
            TemplateKind::Json => Position::JsonValue,
            TemplateKind::Plain => Position::Plain,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    kind: TemplateKind,
    params: &'a [&'a str],
    at: usize,
    literal: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Parser<'_> {
    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.literal).into()));
        }
    }

    /// Takes one literal character, or refuses it when it would break the place it stands in.
    fn character(&mut self) -> Result<(), TemplateError> {
        let Some(character) = self.text[self.at..].chars().next() else {
            return Ok(());
        };
        let fine = match self.kind {
            TemplateKind::Target => character.is_ascii_graphic() && character != '#',
            TemplateKind::Location => character.is_ascii_graphic(),
            TemplateKind::Field => !character.is_ascii_control(),
            TemplateKind::Json | TemplateKind::Plain => true,
        };
        let (start, len) = (self.at, character.len_utf8());
        if !fine {
            let kind = TemplateErrorKind::TextUnfit { character };
            return Err(TemplateError::new(start, len, kind));
        }
        self.literal.extend_from_slice(&self.text.as_bytes()[start..start + len]);
        self.at += len;
        Ok(())
    }

    /// Reads `{…}` at the current place.
    fn placeholder(&mut self, position: Position) -> Result<(), TemplateError> {
        let open = self.at;
        let inside = &self.text[open + 1..];
        let close = match inside.find(['{', '}']) {
            Some(at) if inside.as_bytes()[at] == b'}' => at,
            _ => return Err(TemplateError::new(open, 1, TemplateErrorKind::Unclosed)),
        };
        let written = &inside[..close];
        let fail = |kind| TemplateError::new(open, close + 2, kind);
        let (name, default) = match written.split_once('|') {
            Some((name, text)) => (name, Some(text)),
            None => (written, None),
        };
        let (name, absent) = match (name.strip_suffix('?'), default) {
            (Some(_), Some(_)) => return Err(fail(TemplateErrorKind::AbsentTwice)),
            (Some(name), None) => (name, Absent::Nothing),
            (None, None) => (name, Absent::Refuse),
            (None, Some(text)) => {
                let escaped = encode::default(text, position);
                let escaped = escaped.map_err(|_| fail(TemplateErrorKind::DefaultUnfit))?;
                (name, Absent::Default(escaped))
            }
        };
        let next = inside.as_bytes().get(close + 1).copied();
        let source = match each(name, self.params) {
            Some(exploded) => {
                Elements::at(position, exploded, &self.literal, next).map(Source::Each)
            }
            None => source(name, self.params),
        };
        let source = source.map_err(fail)?;
        let parts =
            matches!(self.kind, TemplateKind::Target | TemplateKind::Field | TemplateKind::Json);
        if matches!(source, Source::Part { .. } | Source::Each(_)) && !parts {
            return Err(fail(TemplateErrorKind::PartOutside));
        }
        let absent = match (&source, absent) {
            (Source::View { .. }, Absent::Refuse) if position == Position::Path => {
                return Err(fail(TemplateErrorKind::ViewInPath));
            }
            // Nobody lacks a view: without one it is the whole answer.
            (Source::View { .. }, Absent::Refuse) => Absent::Nothing,
            (_, absent) => absent,
        };
        self.end_literal();
        let place = Span::new(open, open + close + 2);
        self.pieces.push(Piece::Value(Placeholder { source, position, absent, place }));
        self.at = open + close + 2;
        Ok(())
    }
}

/// What `name` (the placeholder without `?` and default) refers to.
fn source(name: &str, params: &[&str]) -> Result<Source, TemplateErrorKind> {
    if name.is_empty() {
        return Err(TemplateErrorKind::Empty);
    }
    if name.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err(TemplateErrorKind::NameMalformed { name: name.to_owned() });
    }
    if name == "view" && !names_param(name, params) {
        return Ok(Source::View { proven: false });
    }
    let Some((first, behind)) = name.split_once('.') else {
        return match SOURCES.iter().find(|source| **source == name) {
            Some(source) if !names_param(name, params) => {
                Err(TemplateErrorKind::NameMissing { source })
            }
            _ => param(name, params),
        };
    };
    let missing = |source| Err(TemplateErrorKind::NameMissing { source });
    match (first, behind) {
        ("jwt", path) if path.split('.').any(str::is_empty) => missing("jwt"),
        ("jwt", path) => Ok(Source::Claim(path.split('.').map(Box::from).collect())),
        ("key", "owner") => Ok(Source::KeyOwner),
        ("basic", "user") => Ok(Source::User),
        ("path", "") => missing("path"),
        ("path", name) => param(name, params),
        ("query", "") => missing("query"),
        ("query", name) => Ok(Source::Query(name.into())),
        ("header", "") => missing("header"),
        ("header", name) if !name.bytes().all(is_token) => {
            Err(TemplateErrorKind::NameMalformed { name: name.to_owned() })
        }
        ("header", name) => Ok(Source::Header(name.into())),
        ("request", name) => {
            let found = OfRequest::ALL.iter().find(|(known, _)| *known == name);
            let unknown = TemplateErrorKind::UnknownOfRequest { name: name.to_owned() };
            found.map(|(_, part)| Source::Request(*part)).ok_or(unknown)
        }
        ("client", "address") => Ok(Source::ClientAddress),
        ("client", "network") => Ok(Source::ClientNetwork),
        ("client", name) => Err(TemplateErrorKind::UnknownClient { name: name.to_owned() }),
        ("client_cert", name) => {
            let unknown = TemplateErrorKind::UnknownOfCert { name: name.to_owned() };
            CertField::named(name).map(Source::ClientCert).ok_or(unknown)
        }
        ("part", "") => missing("part"),
        ("part", path) => Ok(Source::Part { path: path.into(), slot: usize::MAX }),
        (first, _) => Err(TemplateErrorKind::UnknownSource { name: first.to_owned() }),
    }
}

/// Whether `name` is that of the elements of a call, and if so, whether with the star.
fn each(name: &str, params: &[&str]) -> Option<bool> {
    match name {
        "each" | "each*" if names_param("each", params) => None,
        "each" => Some(false),
        "each*" => Some(true),
        _ => None,
    }
}

fn names_param(name: &str, params: &[&str]) -> bool {
    params.iter().any(|param| param.trim_start_matches('*') == name)
}

/// The parameter written `name` or `*name`. The star may stand in the pattern, the template or both.
fn param(written: &str, params: &[&str]) -> Result<Source, TemplateErrorKind> {
    let name = written.trim_start_matches('*');
    let found = params.iter().position(|param| param.trim_start_matches('*') == name);
    let Some(index) = found else {
        return Err(TemplateErrorKind::UnknownParam { name: name.to_owned() });
    };
    let rest = written.starts_with('*') || params[index].starts_with('*');
    Ok(Source::Param { index, rest })
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
