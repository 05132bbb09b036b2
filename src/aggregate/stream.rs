//! In which form an answer goes out, and the texts of the forms that tell of each part as it arrives.
//!
//! The document streams as far as it is complete, in the order of the file; newline-delimited JSON and server-sent
//! events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>) take parts as they come. A form
//! is never chosen that the client did not name in full (RFC 9110 §12.5.1). Values keep their bytes but for
//! CR and LF between tokens, the only ones that JSON may hold: they would end a line.

use crate::aggregate::partial;
use crate::aggregate::plan::{PartOutcome, Plan};
use crate::base::limits::SERVER_TIMING_BYTES_MAX;
use crate::exchange::attempt::{Attempt, Hedge};
use crate::http::head::Request;
use crate::http::{Method, Version, accept, chars};

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In one, with its length.
    Whole,
    /// The same document, as far as it is complete.
    Document,
    /// A line of JSON for each part, with this media type.
    Lines(&'static str),
    /// An event for each part.
    Events,
}

/// The forms that a client has to name; of equal weights the first counts.
const NAMED: [(&str, Form); 3] = [
    ("application/x-ndjson", Form::Lines("application/x-ndjson")),
    ("application/jsonl", Form::Lines("application/jsonl")),
    ("text/event-stream", Form::Events),
];

impl Form {
    /// The form for this request.
    pub fn of(plan: &Plan, request: Request<'_>) -> Self {
        if !plan.stream {
            return Self::Whole;
        }
        let weight = |kind| accept::weight(request.all_named(b"accept"), kind).unwrap_or(0);
        // The document is what the route is for: another form has to be wanted more.
        let (mut best, mut form) = (weight("application/json"), None);
        for (kind, named) in NAMED {
            if weight(kind) > best {
                (best, form) = (weight(kind), Some(named));
            }
        }
        let plain = request.head.version == Version::Http10 || request.head.method == Method::Head;
        form.unwrap_or(if plain { Self::Whole } else { Self::Document })
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Whole | Self::Document => "application/json",
            Self::Lines(kind) => kind,
            Self::Events => "text/event-stream",
        }
    }

    /// What stands behind the last part, so that an answer that was cut off cannot pass for a whole one.
    pub fn done(self) -> &'static [u8] {
        match self {
            Self::Whole | Self::Document => b"",
            Self::Lines(_) => b"{\"done\":true}\n",
            Self::Events => b"event: done\ndata: {\"done\":true}\n\n",
        }
    }

    /// What stands behind a part.
    pub fn behind(self) -> &'static [u8] {
        if self == Self::Events { b"}\n\n" } else { b"}\n" }
    }

    /// What stands in front of a part's value, which is there unless the view hides the part.
    pub fn before(
        self,
        plan: &Plan,
        index: usize,
        outcome: &PartOutcome<'_>,
        shown: bool,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        if self == Self::Events {
            out.extend_from_slice(b"event: part\ndata: ");
        }
        out.extend_from_slice(b"{\"part\":");
        let key = &plan.parts[index].key_text;
        out.extend_from_slice(&key[1..key.len() - 1]);
        if let Some((fault, count)) = partial::failure(outcome) {
            for piece in [b",\"error\":\"", fault.word().as_bytes(), b"\""] {
                out.extend_from_slice(piece);
            }
            if matches!(outcome, PartOutcome::Stale(..)) {
                out.extend_from_slice(b",\"stale\":true");
            }
            if let Some(count) = count {
                out.extend_from_slice(b",\"failed\":");
                out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
            }
        }
        if shown {
            out.extend_from_slice(b",\"value\":");
        }
        out
    }
}

/// A checked JSON value as the pieces of one line.
pub fn in_one_line(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Appends an entry of Server-Timing (<https://www.w3.org/TR/server-timing/>): how long all calls of a part
/// took together, and why it failed or that a second try was made. `attempts` are those of all parts. One that
/// would make the list too long is left out.
pub fn put_timing(
    plan: &Plan,
    index: usize,
    attempts: &[Attempt],
    outcome: &PartOutcome<'_>,
    out: &mut Vec<u8>,
) {
    let before = out.len();
    if before > 0 {
        out.extend_from_slice(b", ");
    }
    // A name is a token there; a part's may be any text.
    let spelt = |byte: u8| if chars::is_token(&[byte]) { byte } else { b'_' };
    out.extend(plan.parts[index].name.as_str().bytes().map(spelt));
    let own = || attempts.iter().filter(|attempt| attempt.part == Some(index as u16));
    let begun = own().map(|attempt| attempt.begun).min();
    let done = own().filter_map(|attempt| attempt.done).max();
    if let (Some(begun), Some(done)) = (begun, done) {
        let tenths = done.since(begun).as_micros() / 100;
        let mut number = itoa::Buffer::new();
        out.extend_from_slice(b";dur=");
        out.extend_from_slice(number.format(tenths / 10).as_bytes());
        out.extend_from_slice(b".");
        out.extend_from_slice(number.format(tenths % 10).as_bytes());
    }
    let told = match partial::failure(outcome) {
        Some((fault, _)) => Some(fault.word()),
        None => own().filter_map(|attempt| attempt.hedge).max().map(|hedge| match hedge {
            Hedge::Won => "hedge won",
            Hedge::Lost => "hedged",
        }),
    };
    if let Some(told) = told {
        for piece in [b";desc=\"", told.as_bytes(), b"\""] {
            out.extend_from_slice(piece);
        }
    }
    if out.len() > SERVER_TIMING_BYTES_MAX {
        out.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::partial::PartFault;
    use crate::aggregate::plan::{Part, Pass};
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::base::time::Instant;
    use crate::exchange::template::{Template, TemplateKind};
    use crate::http::h1::parse::{self, HeadLimits};
    use crate::http::head::RequestHead;

    fn plan(names: &[&str]) -> Plan {
        let parts = names.iter().map(|name| {
            let target = Template::parse("/", TemplateKind::Target, &[]).expect("fine");
            Part::new(Name::new(name), UpstreamId(0), target, Duration::ZERO)
        });
        let mut plan = Plan::new(parts.collect(), Pass::default());
        plan.stream = true;
        plan
    }

    fn form(plan: &Plan, line: &str, accept: &str) -> Form {
        let raw = format!("{line}\r\nHost: a\r\n{accept}\r\n");
        let mut head = RequestHead::default();
        let limits = HeadLimits::default();
        parse::request(raw.as_bytes(), 0, &limits, &mut head).expect("a head");
        Form::of(plan, Request { head: &head, raw: raw.as_bytes() })
    }

    #[test]
    fn a_form_is_named_or_it_is_the_document() {
        let plan = plan(&["a"]);
        let lines = Form::Lines("application/x-ndjson");
        for (accept, expected) in [
            ("", Form::Document),
            ("Accept: */*\r\n", Form::Document),
            ("Accept: application/json, application/x-ndjson\r\n", Form::Document),
            ("Accept: application/json;q=0.5\r\nAccept: application/x-ndjson\r\n", lines),
            ("Accept: application/x-ndjson, */*\r\n", lines),
            ("Accept: application/jsonl\r\n", Form::Lines("application/jsonl")),
            ("Accept: text/event-stream, application/jsonl;q=0.9\r\n", Form::Events),
            ("Accept: text/event-stream;q=0\r\n", Form::Document),
        ] {
            assert_eq!(form(&plan, "GET / HTTP/1.1", accept), expected, "{accept}");
        }
        assert_eq!(form(&plan, "GET / HTTP/1.0", ""), Form::Whole);
        assert_eq!(form(&plan, "HEAD / HTTP/1.1", ""), Form::Whole);
        let mut whole = plan;
        whole.stream = false;
        assert_eq!(form(&whole, "GET / HTTP/1.1", "Accept: text/event-stream\r\n"), Form::Whole);
    }

    #[test]
    fn a_part_is_one_line() {
        let plan = plan(&["a \"b\"\n"]);
        let lines = Form::Lines("application/x-ndjson");
        let failed = PartOutcome::Failed(PartFault::Timeout);
        let text = lines.before(&plan, 0, &failed, true);
        assert_eq!(text, br#"{"part":"a \"b\"\n","error":"timeout","value":"#);
        let stale = PartOutcome::Stale(b"7", PartFault::Timeout);
        let text = lines.before(&plan, 0, &stale, true);
        assert!(text.ends_with(br#","error":"timeout","stale":true,"value":"#), "{text:?}");
        let text = Form::Events.before(&plan, 0, &PartOutcome::Empty, false);
        assert_eq!(text, b"event: part\ndata: {\"part\":\"a \\\"b\\\"\\n\"");
        let value = in_one_line(b"{\r\n \"a\" :\n\n1}\n").collect::<Vec<_>>().concat();
        assert_eq!(value, b"{ \"a\" :1}");
    }

    #[test]
    fn timing_tells_of_time_and_failure_within_its_bound() {
        let plan = plan(&["user", "a b", "c"]);
        let at = |micros| Instant::ORIGIN + Duration::from_micros(micros);
        let attempt = Attempt {
            limits: Default::default(),
            part: Some(0),
            upstream: UpstreamId(0),
            endpoint: None,
            address: None,
            reused: false,
            http2: false,
            status: None,
            fault: None,
            why: "",
            begun: at(1_000),
            connected: None,
            answered: None,
            done: Some(at(13_390)),
            bytes: 0,
            hedge: None,
            cancelled: false,
        };
        let others = Attempt { part: Some(1), begun: at(0), ..attempt };
        let mut out = Vec::new();
        put_timing(&plan, 0, &[attempt, others], &PartOutcome::Empty, &mut out);
        let failed = PartOutcome::Failed(PartFault::Dependency);
        put_timing(&plan, 1, &[attempt], &failed, &mut out);
        assert_eq!(out, br#"user;dur=12.3, a_b;desc="dependency""#);
        let second = Attempt { begun: at(9_000), hedge: Some(Hedge::Won), ..attempt };
        let first = Attempt { cancelled: true, ..attempt };
        let mut out = Vec::new();
        put_timing(&plan, 0, &[first, second], &PartOutcome::Empty, &mut out);
        assert_eq!(out, br#"user;dur=12.3;desc="hedge won""#);
        let mut long = vec![b'x'; SERVER_TIMING_BYTES_MAX - 2];
        put_timing(&plan, 2, &[], &PartOutcome::Empty, &mut long);
        assert_eq!(long.len(), SERVER_TIMING_BYTES_MAX - 2);
    }
}
