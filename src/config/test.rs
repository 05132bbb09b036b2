//! `[[test]]`: what a client sends, what upstreams answer, and what must come of it.
//!
//! Tests are read for `check` and `ringway test` only: a mistake in one never stops a gateway, and none
//! costs a running one anything. A test that expects nothing cannot fail, and is an error.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::limits::TEST_REQUESTS_MAX;
use crate::config::codes;
use crate::config::defaults::DURATION_MAX;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::json::to_json;
use crate::config::language::{TEST, TEST_ANSWER, TEST_EXPECT, TEST_REQUEST, TEST_SENT, TEST_STEP};
use crate::config::reader::{Reader, text_of, wrong_type};
use crate::config::span::{Span, Spanned, Text};
use crate::config::tree::{Entry, Kind, Log, Node};

/// A test of the configuration.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: Text,
    /// The table.
    pub span: Span,
    /// What upstreams answer in every step that does not say otherwise.
    pub upstreams: Vec<Told>,
    /// Its requests, in order; at least one.
    pub steps: Vec<Step>,
}

/// One request of a test.
#[derive(Clone, Debug)]
pub struct Step {
    /// The table.
    pub span: Span,
    /// When it is sent; `None`: when the step before is over.
    pub at: Option<Duration>,
    /// How many times.
    pub repeat: usize,
    /// The request.
    pub request: Request,
    /// What upstreams answer here.
    pub upstreams: Vec<Told>,
    /// What must come of it.
    pub expect: Expect,
}

/// What a client sends.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// What Host says.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Content>,
    /// Claims of its token, if it has one.
    pub claims: Option<Map<String, Value>>,
    /// The other end of its connection; `None`: some client.
    pub from: Option<IpAddr>,
}

/// A body.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// These bytes.
    Text(String),
    /// This value.
    Json(Value),
}

impl Content {
    /// As it is sent.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Json(value) => value.to_string(),
        }
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Text(text) => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            Self::Json(_) => true,
        }
    }
}

/// What one upstream answers.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub upstream: Text,
    /// In the order of the file; the first that fits is taken, whole targets before patterns.
    pub rules: Vec<Rule>,
}

/// What is answered to some requests.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which; `None`: all.
    pub to: Option<Line>,
    /// One after the other; the last one stays. At least one.
    pub answers: Vec<Answer>,
}

/// `"GET /users/42"`: a method, if it matters, and a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The method; `None`: any.
    pub method: Option<String>,
    /// Path and query; at the end of an answer's key `*` stands for anything.
    pub target: String,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Content>,
    /// How long it takes.
    pub after: Duration,
    /// What happens in its place.
    pub fail: Option<Failure>,
}

/// What happens in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection is refused.
    Refuse,
    /// It is reset once the request is read.
    Reset,
    /// Nothing is ever sent.
    Silence,
    /// It ends in the middle of the body.
    Cut,
}

/// What must come of a request.
#[derive(Clone, Debug)]
pub struct Expect {
    /// The status.
    pub status: Option<Spanned<u16>>,
    /// The body.
    pub body: Option<Spanned<Content>>,
    /// Header fields, names in lower case.
    pub headers: Vec<(Text, Wish)>,
    /// All that these upstreams received.
    pub sent: Vec<(Text, Vec<Sent>)>,
    /// Upstreams that were not asked.
    pub not_sent: Vec<Text>,
    /// The fault of the access log, or `none`.
    pub fault: Option<Text>,
    /// How long it may take.
    pub within: Option<Spanned<Duration>>,
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This value.
    Is(String),
    /// Anything, but there.
    Present,
    /// Not there.
    Absent,
}

/// A request that an upstream must have received.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Method and target.
    pub line: Line,
    /// Fields, names in lower case.
    pub headers: Vec<(Text, Wish)>,
    /// The body.
    pub body: Option<Content>,
}

/// Reads one `[[test]]`.
pub(super) fn read(node: &Node, log: &Log) -> Option<Test> {
    let reader = Reader::open(&TEST, node, log)?;
    if reader.node("name").is_none() {
        reader.missing("name", "write `name = \"what it shows\"`");
    }
    let name = reader.text("name");
    let upstreams = read_upstreams(&reader);
    let steps = match (reader.entry("steps"), reader.entry("request")) {
        (Some(steps), Some(request)) => {
            let message = "a test has `request` and `expect`, or `steps`";
            let diagnostic = Diagnostic::error(codes::BAD_TEST, steps.key.span, message);
            log.push(diagnostic.also(request.key.span, "and here is a request"));
            return None;
        }
        (Some(_), None) => read_steps(&reader),
        (None, _) => {
            let request = read_request(&reader);
            let expect = read_expect(&reader);
            let (at, repeat, upstreams) = (None, 1, Vec::new());
            vec![Step {
                span: node.span,
                at,
                repeat,
                upstreams,
                request: request?,
                expect: expect?,
            }]
        }
    };
    if steps.is_empty() {
        return None;
    }
    Some(Test { name: name?, span: node.span, upstreams, steps })
}

fn read_steps(reader: &Reader<'_>) -> Vec<Step> {
    let log = reader.log;
    if let Some(expect) = reader.entry("expect") {
        let message = "with `steps` each step has its own `expect`";
        log.error(codes::BAD_TEST, expect.key.span, message);
    }
    let nodes = reader.list("steps", "a list of tables");
    if let (true, Some(entry)) = (nodes.is_empty(), reader.entry("steps")) {
        log.error(codes::BAD_TEST, entry.key.span, "a test has at least one step");
    }
    let steps: Vec<Step> = nodes.iter().filter_map(|node| read_step(node, log)).collect();
    let count: usize = steps.iter().map(|step| step.repeat).sum();
    if let (true, Some(entry)) = (count > TEST_REQUESTS_MAX, reader.entry("steps")) {
        let message = format!("a test sends at most {TEST_REQUESTS_MAX} requests");
        log.error(codes::OUT_OF_RANGE, entry.key.span, message);
    }
    let mut last = Duration::ZERO;
    for step in &steps {
        if step.at.is_some_and(|at| at < last) {
            let message = "this step is to be sent before the one above it";
            log.error(codes::BAD_TEST, step.span, message);
        }
        last = last.max(step.at.unwrap_or_default());
    }
    steps
}

fn read_step(node: &Node, log: &Log) -> Option<Step> {
    let reader = Reader::open(&TEST_STEP, node, log)?;
    let at = reader.duration_in("at", Duration::ZERO, DURATION_MAX).map(|at| at.value);
    let repeat = reader.integer("repeat").map_or(1, |repeat| repeat.value as usize);
    let upstreams = read_upstreams(&reader);
    let (request, expect) = (read_request(&reader), read_expect(&reader));
    Some(Step { span: node.span, at, repeat, upstreams, request: request?, expect: expect? })
}

fn read_request(reader: &Reader<'_>) -> Option<Request> {
    if reader.node("request").is_none() {
        reader.missing("request", "write `request = { send = \"GET api.example.com/\" }`");
    }
    let reader = reader.table("request", &TEST_REQUEST)?;
    if reader.node("send").is_none() {
        reader.missing("send", "write `send = \"GET api.example.com/dashboard\"`");
    }
    let headers = names_and_values(&reader, "headers");
    let body = reader.node("body").and_then(|node| content(node, reader.log));
    let from = reader.text("from").and_then(|text| read_from(&text, reader.log));
    let claims = reader.node("jwt").and_then(|node| read_claims(node, reader.log));
    let (method, host, target) =
        reader.text("send").and_then(|text| read_send(&text, reader.log))?;
    let body = body.map(|body| body.value);
    Some(Request { method, host, target, headers, body, claims, from })
}

/// Takes `"GET api.example.com/dashboard?x=1"` apart: method, host, target.
fn read_send(text: &Text, log: &Log) -> Option<(String, String, String)> {
    let mut words = text.value.split_ascii_whitespace();
    let is_method = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    let (Some(method), Some(url), None) =
        (words.next().filter(is_method), words.next(), words.next())
    else {
        let message = "a request is a method, a blank, and where it goes";
        let diagnostic = Diagnostic::error(codes::BAD_TEST, text.span, message);
        log.push(diagnostic.help("write `GET api.example.com/dashboard?x=1`"));
        return None;
    };
    if let Some(wrong) = url.chars().find(|c| c.is_control() || !c.is_ascii() || *c == '#') {
        let message = format!("{wrong:?} cannot stand in a request target");
        let diagnostic = Diagnostic::error(codes::BAD_TEST, text.span, message);
        log.push(diagnostic.help("percent-encode it, as clients do"));
        return None;
    }
    let bare = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or(url);
    let (host, target) = bare.split_at(bare.find(['/', '?']).unwrap_or(bare.len()));
    let host = if host.is_empty() { "localhost" } else { host };
    let lead = if target.starts_with('/') { "" } else { "/" };
    Some((method.to_owned(), host.to_owned(), format!("{lead}{target}")))
}

fn read_from(text: &Text, log: &Log) -> Option<IpAddr> {
    let address = text.value.parse().ok();
    if address.is_none() {
        let message = format!("`{}` is not an address", text.value);
        let diagnostic = Diagnostic::error(codes::BAD_ADDRESS, text.span, message);
        log.push(diagnostic.help("write `192.0.2.7` or `2001:db8::7`"));
    }
    address
}

fn read_claims(node: &Node, log: &Log) -> Option<Map<String, Value>> {
    match &node.kind {
        Kind::Text(none) if none == "none" => None,
        Kind::Table(_) => match to_json(node, log) {
            Some(Value::Object(claims)) => Some(claims),
            _ => None,
        },
        _ => {
            wrong_type(
                log,
                node,
                "a table of claims, or \"none\"",
                "write `jwt = { sub = \"42\" }`",
            );
            None
        }
    }
}

fn content(node: &Node, log: &Log) -> Option<Spanned<Content>> {
    let content = match &node.kind {
        Kind::Text(text) => Content::Text(text.clone()),
        _ => Content::Json(to_json(node, log)?),
    };
    Some(Spanned::new(content, node.span))
}

/// Fields that say how a message is sent, which a test does not.
const FRAMING: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];

fn names_and_values(reader: &Reader<'_>, key: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (mut name, value) in reader.fields(key) {
        if fields::check_name(&name, reader.log) & fields::check_value(&value, reader.log) {
            name.value.make_ascii_lowercase();
            if FRAMING.contains(&name.value.as_str()) {
                let message = format!("`{}` cannot be chosen here", name.value);
                let diagnostic = Diagnostic::error(codes::BAD_TEST, name.span, message);
                reader.log.push(diagnostic.help("it follows from the rest of the message"));
            }
            all.push((name.value, value.value));
        }
    }
    all
}

fn read_upstreams(reader: &Reader<'_>) -> Vec<Told> {
    let told = |entry: &Entry| {
        let rules = read_rules(&entry.node, reader.log);
        (!rules.is_empty()).then(|| Told { upstream: entry.key.clone(), rules })
    };
    reader.named("upstream").unwrap_or_default().iter().filter_map(told).collect()
}

/// One answer, several, or answers by path.
fn read_rules(node: &Node, log: &Log) -> Vec<Rule> {
    let Kind::Table(entries) = &node.kind else {
        return read_answers(node, log)
            .map(|answers| Rule { to: None, answers })
            .into_iter()
            .collect();
    };
    if !entries.iter().any(|entry| entry.key.value.contains('/')) {
        return read_answers(node, log)
            .map(|answers| Rule { to: None, answers })
            .into_iter()
            .collect();
    }
    let rule = |entry: &Entry| {
        let to = read_line(&entry.key, log)?;
        let answers = read_answers(&entry.node, log)?;
        if answers.iter().any(|answer| answer.fail == Some(Failure::Refuse)) {
            let message =
                "a connection is refused before anything is asked: this cannot go by path";
            let diagnostic = Diagnostic::error(codes::BAD_TEST, entry.node.span, message);
            log.push(diagnostic.help("write `fail = \"reset\"`, or refuse all of the upstream"));
        }
        Some(Rule { to: Some(to), answers })
    };
    let mut rules: Vec<Rule> = entries.iter().filter_map(rule).collect();
    let is_pattern = |rule: &Rule| rule.to.as_ref().is_some_and(|line| line.target.ends_with('*'));
    rules.sort_by_key(is_pattern);
    rules
}

fn read_answers(node: &Node, log: &Log) -> Option<Vec<Answer>> {
    let answers: Vec<Answer> = match &node.kind {
        Kind::Array(list) if list.is_empty() => {
            log.error(codes::BAD_TEST, node.span, "there is no answer in this list");
            return None;
        }
        Kind::Array(list) => list.iter().filter_map(|node| read_answer(node, log)).collect(),
        Kind::Table(_) => read_answer(node, log).into_iter().collect(),
        _ => {
            let advice = "write `{ body = '{\"name\":\"Ada\"}' }`";
            wrong_type(log, node, "an answer: a table or a list of tables", advice);
            return None;
        }
    };
    (!answers.is_empty()).then_some(answers)
}

fn read_answer(node: &Node, log: &Log) -> Option<Answer> {
    let reader = Reader::open(&TEST_ANSWER, node, log)?;
    let fail = reader.choice("fail").map(|word| match word.value {
        "refuse" => Failure::Refuse,
        "reset" => Failure::Reset,
        "silence" => Failure::Silence,
        _ => Failure::Cut,
    });
    let status = reader.integer("status").map_or(200, |status| status.value as u16);
    let body = reader.node("body").and_then(|node| content(node, log));
    if let (204 | 304, Some(body)) = (status, &body) {
        let message = format!("an answer with status {status} has no body (RFC 9110 §15)");
        log.error(codes::BAD_TEST, body.span, message);
    }
    let after = reader.duration_in("after", Duration::ZERO, DURATION_MAX);
    Some(Answer {
        status,
        headers: names_and_values(&reader, "headers"),
        body: body.map(|body| body.value),
        after: after.map_or(Duration::ZERO, |after| after.value),
        fail,
    })
}

fn read_expect(reader: &Reader<'_>) -> Option<Expect> {
    if reader.node("expect").is_none() {
        reader.missing("expect", "write `expect = { status = 200 }`");
    }
    let reader = reader.table("expect", &TEST_EXPECT)?;
    let log = reader.log;
    if matches!(reader.section.keys.iter().filter(|key| reader.node(key.name).is_some()).count(), 0)
        && !reader.is_misspelt(&["status", "body", "header", "sent", "not_sent", "fault", "within"])
    {
        let message = "this expects nothing: such a test cannot fail";
        log.push(
            Diagnostic::error(codes::BAD_TEST, reader.place, message)
                .help("name a status, a body, header fields, or what upstreams were sent"),
        );
    }
    let sent = reader.named("sent").unwrap_or_default();
    Some(Expect {
        status: reader.integer("status").map(|status| status.map(|status| status as u16)),
        body: reader.node("body").and_then(|node| content(node, log)),
        headers: wishes(&reader, "header"),
        sent: sent.iter().map(|entry| (entry.key.clone(), read_sent(&entry.node, log))).collect(),
        not_sent: reader.texts("not_sent"),
        fault: reader.text("fault"),
        within: reader.duration("within"),
    })
}

fn wishes(reader: &Reader<'_>, key: &str) -> Vec<(Text, Wish)> {
    let wish = |entry: &Entry| {
        let wish = match &entry.node.kind {
            Kind::Text(text) => Wish::Is(text.clone()),
            Kind::Boolean(true) => Wish::Present,
            Kind::Boolean(false) => Wish::Absent,
            _ => {
                let expected = "a text, `true` for \"is there\", or `false` for \"is not there\"";
                wrong_type(reader.log, &entry.node, expected, "");
                return None;
            }
        };
        let mut name = entry.key.clone();
        name.value.make_ascii_lowercase();
        fields::check_name(&name, reader.log).then_some((name, wish))
    };
    reader.named(key).unwrap_or_default().iter().filter_map(wish).collect()
}

fn read_sent(node: &Node, log: &Log) -> Vec<Sent> {
    match &node.kind {
        Kind::Array(list) => list.iter().filter_map(|node| read_one_sent(node, log)).collect(),
        _ => read_one_sent(node, log).into_iter().collect(),
    }
}

fn read_one_sent(node: &Node, log: &Log) -> Option<Sent> {
    let Kind::Table(_) = &node.kind else {
        let text = text_of(node, log, "a text like \"GET /users/42\", or a table")?;
        let line = read_line(&text, log)?;
        return Some(Sent { line, headers: Vec::new(), body: None });
    };
    let reader = Reader::open(&TEST_SENT, node, log)?;
    if reader.node("path").is_none() {
        reader.missing("path", "write `path = \"GET /users/42\"`");
    }
    let headers = wishes(&reader, "headers");
    let body = reader.node("body").and_then(|node| content(node, log)).map(|body| body.value);
    let line = reader.text("path").and_then(|text| read_line(&text, log))?;
    Some(Sent { line, headers, body })
}

/// Takes `"GET /users/42"` apart.
fn read_line(text: &Text, log: &Log) -> Option<Line> {
    let (method, target) = match text.value.split_once(' ') {
        Some((method, target)) => (Some(method), target.trim()),
        None => (None, text.value.as_str()),
    };
    let is_method = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    if !target.starts_with('/') || target.contains(' ') || !method.is_none_or(is_method) {
        let message = "this is not a method and a path";
        let diagnostic = Diagnostic::error(codes::BAD_TEST, text.span, message);
        log.push(diagnostic.help("write `GET /users/42`, or `/users/42` for any method"));
        return None;
    }
    Some(Line { method: method.map(str::to_owned), target: target.to_owned() })
}
