//! A message without what a version of HTTP or a hop adds to it: for comparing what was meant.
//!
//! The reason phrase, the version, the order and case of field names and the framing of the body do not count
//! (RFC 9110 §2.5, §5.1, §6.4); the content, every other field and the trailers do.

use super::wire::find;

/// Fields that belong to one connection, or that say how the client came: each has tests of its own.
const OF_A_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "te",
    "via",
    "forwarded",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// What a message means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Method and target, or the status.
    pub first: String,
    pub fields: Vec<(String, String)>,
    pub body: String,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The messages of a text: interim answers and the last one.
    ///
    /// # Panics
    /// The text is no HTTP/1.1.
    pub fn all(text: &str, is_head: bool) -> Vec<Message> {
        let mut rest = text;
        let mut all = Vec::new();
        while let Some(end) = find(rest.as_bytes(), b"\r\n\r\n") {
            let head = &rest[..end];
            rest = &rest[end + 4..];
            let mut message = Message::of_head(head);
            if !message.first.starts_with('1') {
                let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
                if chunked && !is_head {
                    message.unchunk(rest);
                } else {
                    message.body = rest.to_string();
                }
                rest = "";
            }
            all.push(message);
        }
        all
    }

    /// A message whose head alone is given.
    pub fn of_head(head: &str) -> Message {
        let mut lines = head.split("\r\n");
        let first = lines.next().expect("a first line");
        let mut words = first.split(' ');
        let first = match words.next().expect("a word") {
            version if version.starts_with("HTTP/") => words.next().expect("a status").to_string(),
            method => format!("{method} {}", words.next().expect("a target")),
        };
        Message { first, fields: fields(lines), ..Message::default() }
    }

    fn unchunk(&mut self, mut rest: &str) {
        loop {
            let (size, after) =
                rest.split_once("\r\n").unwrap_or_else(|| panic!("a chunk in {rest:?}"));
            let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).expect("hex");
            rest = after;
            if size == 0 {
                break self.trailers = fields(rest.split("\r\n").take_while(|l| !l.is_empty()));
            }
            self.body.push_str(&rest[..size]);
            rest = &rest[size + 2..];
        }
    }

    /// Whether this is what was expected; a value that ends with `*` stands for all that begin so.
    pub fn is_as(&self, expected: &Message) -> bool {
        let alike = |have: &[(String, String)], want: &[(String, String)]| {
            have.len() == want.len()
                && have.iter().zip(want).all(|((name, value), (wanted, pattern))| {
                    name == wanted
                        && match pattern.strip_suffix('*') {
                            Some(start) => value.starts_with(start),
                            None => value == pattern,
                        }
                })
        };
        self.first == expected.first
            && self.body == expected.body
            && alike(&self.fields, &expected.fields)
            && alike(&self.trailers, &expected.trailers)
    }
}

/// The fields of these lines, without those that `Connection` names (RFC 9110 §7.6.1).
fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let (name, value) = line.split_once(':').expect("a field line");
        (name.to_ascii_lowercase(), value.trim().to_string())
    };
    let mut fields: Vec<_> = lines.filter(|line| !line.is_empty()).map(parse).collect();
    let options = fields.iter().filter(|(name, _)| name == "connection");
    let options: String = options.map(|(_, value)| format!("{value},")).collect();
    let is_named = |name: &str| options.split(',').any(|o| o.trim().eq_ignore_ascii_case(name));
    fields.retain(|(name, _)| !OF_A_HOP.contains(&name.as_str()) && !is_named(name));
    // The order among fields of one name counts, that of names does not.
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}
