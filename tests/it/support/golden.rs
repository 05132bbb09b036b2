//! Golden exchanges: files that say who sends what to whom, played over real sockets.
//!
//! A file is sections, each begun by a line `== …`, after a first comment that says what it shows:
//! `config`, `client sends`, `client gets`, and for each origin `NAME receives` and `NAME answers`, in the
//! order of its requests. In messages each line end is CRLF; the last line before the next section has none,
//! so an empty line there ends a message with CRLF; `\n` is a bare line feed. A `*` at the end of an expected line stands for
//! anything; `@NAME@` is that origin's address; `nothing` is what an origin receives that is not asked. Adding an exchange needs no Rust; `UPDATE_GOLDEN=1` writes
//! what really happened into the expected sections, never into the others, and the diff is the review.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::gateway::gateway;
use super::origin::{Origin, Step};
use super::wire::Wire;

/// Fields whose value is new in every exchange.
const VOLATILE: &[&str] =
    &["x-request-id", "traceparent", "date", "ratelimit", "retry-after", "x-request-deadline-ms"];

pub struct Golden {
    pub comment: String,
    pub sections: Vec<(String, String)>,
}

/// Plays one file; `Err` says what differed.
pub fn play(path: &Path) -> Result<(), String> {
    let golden = Golden::read(path);
    let origins = golden.origins();
    let mut setup = gateway(&golden.config());
    for (name, origin) in &origins {
        setup = setup.with(name, origin.address);
    }
    let addresses: Vec<_> = origins.iter().map(|(name, o)| (name.clone(), o.address)).collect();
    let gateway = setup.start();
    let mut wire = gateway.connect();
    let mut actual = golden.sections.clone();
    let gets = actual.iter_mut().filter(|(name, _)| name == "client gets");
    for ((_, got), sent) in gets.zip(golden.all("client sends")) {
        let sent = message(&fill(&sent, &addresses));
        let method = sent.split(' ').next().unwrap_or_default().to_string();
        *got = ask(&mut wire, &sent, &method)?;
    }
    for (name, origin) in &origins {
        let mut requests = origin.requests().into_iter();
        let receives = format!("{name} receives");
        for (_, got) in actual.iter_mut().filter(|(name, _)| *name == receives) {
            let request = requests.next();
            *got = request.map_or("nothing".into(), |r| String::from_utf8_lossy(&r.raw).into());
        }
        // Whether an origin without a section is asked may depend on who is quicker.
        let is_expected = !golden.all(&receives).is_empty();
        if let Some(further) = requests.next().filter(|_| is_expected) {
            return Err(format!("{name} got a request that no section expects: {further:?}"));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return update(path, &golden, &actual, &addresses);
    }
    let expectations = golden.sections.iter().zip(&actual);
    for ((name, expected), (_, got)) in expectations.filter(|((name, _), _)| is_expected(name)) {
        compare(name, &message(&fill(expected, &addresses)), got)?;
    }
    Ok(())
}

impl Golden {
    pub fn read(path: &Path) -> Golden {
        parse(&fs::read_to_string(path).unwrap())
    }

    pub fn config(&self) -> String {
        self.all("config").into_iter().next().expect("a config section")
    }

    /// The origins that its configuration names, each with its answers.
    pub fn origins(&self) -> Vec<(String, Origin)> {
        let config = self.config();
        let mut names: Vec<&str> = config.split('@').skip(1).step_by(2).collect();
        names.sort_unstable();
        names.dedup();
        let start = |name: &&str| (name.to_string(), start(self.all(&format!("{name} answers"))));
        names.iter().map(start).collect()
    }

    /// What stands in every section of this name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let mine = self.sections.iter().filter(|(n, _)| n == name);
        mine.map(|(_, content)| content.clone()).collect()
    }
}

fn is_expected(section: &str) -> bool {
    section == "client gets" || section.ends_with(" receives")
}

fn parse(text: &str) -> Golden {
    let mut golden = Golden { comment: String::new(), sections: Vec::new() };
    let mut lines: Vec<&str> = Vec::new();
    let mut name: Option<&str> = None;
    for line in text.lines().chain(["== end"]) {
        let Some(next) = line.strip_prefix("== ") else {
            lines.push(line);
            continue;
        };
        match name {
            None => golden.comment = lines.join("\n"),
            Some(name) => golden.sections.push((name.to_string(), lines.join("\n"))),
        }
        lines.clear();
        name = Some(next);
    }
    golden
}

fn start(answers: Vec<String>) -> Origin {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    Origin::script(move |_| match answers.lock().unwrap().next() {
        Some(answer) => vec![Step::Send(message(&answer).into_bytes())],
        None => vec![Step::Close],
    })
}

fn ask(wire: &mut Wire, sent: &str, method: &str) -> Result<String, String> {
    wire.seen.clear();
    wire.send(sent);
    wire.try_response(method)?;
    Ok(String::from_utf8_lossy(&wire.seen).into_owned())
}

/// A section's text as bytes on the wire: lines joined by CRLF, and the CRLF that ends an empty section
/// after the head's empty line.
pub fn message(section: &str) -> String {
    let text = section.replace('\n', "\r\n").replace("\\n", "\n");
    if text.ends_with("\r\n") && !text.contains("\r\n\r\n") { format!("{text}\r\n") } else { text }
}

pub fn fill(text: &str, addresses: &[(String, SocketAddr)]) -> String {
    addresses.iter().fold(text.to_string(), |text, (name, address)| {
        text.replace(&format!("@{name}@"), &address.to_string())
    })
}

fn compare(name: &str, expected: &str, got: &str) -> Result<(), String> {
    let (mut left, mut right) = (expected.split("\r\n"), got.split("\r\n"));
    loop {
        let (want, have) = (left.next(), right.next());
        let equal = match (want, have) {
            (None, None) => return Ok(()),
            (Some(want), Some(have)) => match want.strip_suffix('*') {
                Some(start) => have.starts_with(start),
                None => want == have,
            },
            _ => false,
        };
        if !equal {
            return Err(format!("{name}: expected line {want:?}, got {have:?}; all of it:\n{got}"));
        }
    }
}

fn update(
    path: &Path,
    golden: &Golden,
    actual: &[(String, String)],
    addresses: &[(String, SocketAddr)],
) -> Result<(), String> {
    let mut out = format!("{}\n", golden.comment);
    for (name, content) in actual {
        let mut content = content.clone();
        if is_expected(name) {
            let bare_line_feeds_shown = |line: &str| mask(line).replace('\n', "\\n");
            let lines: Vec<_> = content.split("\r\n").map(bare_line_feeds_shown).collect();
            content = lines.join("\n");
            // `message` adds the line end that an empty section after a head cannot show.
            if content.find("\n\n") == content.len().checked_sub(2) {
                content.pop();
            }
            for (name, address) in addresses {
                content = content.replace(&address.to_string(), &format!("@{name}@"));
            }
        }
        out.push_str(&format!("== {name}\n{content}\n"));
    }
    fs::write(path, out).map_err(|e| e.to_string())
}

fn mask(line: &str) -> String {
    let Some((name, _)) = line.split_once(':') else { return line.to_string() };
    let volatile = VOLATILE.iter().any(|known| name.eq_ignore_ascii_case(known));
    if volatile { format!("{name}: *") } else { line.to_string() }
}
