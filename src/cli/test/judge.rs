//! What came of a request beside what was expected: every difference, not only the first.
//!
//! It looks and compares; it never changes what was seen and never prints.

use serde_json::Value;

use crate::cli::test::difference::{self, shown};
use crate::cli::test::message::{Message, field};
use crate::cli::test::origin::Received;
use crate::cli::test::world::Seen;
use crate::config::Text;
use crate::config::test::{Content, Expect, Line, Sent, Wish};
use crate::config::units::shown_duration;

/// Lines about everything that is not as expected; none if all is.
pub(super) fn judge(expect: &Expect, seen: &Seen) -> Vec<String> {
    let mut told = Vec::new();
    for asked in seen.received.iter().filter(|received| !received.told) {
        let Received { upstream, method, target, .. } = asked;
        let target = shown(target);
        told.push(format!(
            "asked `{upstream}` ({method} {target}), about which this test says nothing"
        ));
    }
    match &seen.response {
        Some(response) => judge_response(expect, seen, response, &mut told),
        None => told.push(format!("the connection ended without an answer{}", behind(seen))),
    }
    judge_fault(expect, seen, &mut told);
    for (upstream, wanted) in &expect.sent {
        judge_sent(upstream, wanted, seen, &mut told);
    }
    for upstream in &expect.not_sent {
        for received in of(upstream, seen) {
            told.push(format!(
                "`{}` was not to be asked, but received {}",
                upstream.value,
                line_of(received)
            ));
        }
    }
    if let Some(within) = expect.within.as_ref().filter(|within| seen.took > within.value) {
        let wanted = shown_duration(within.value);
        told.push(format!("it took {:?}, and was to be over within {wanted}", seen.took));
    }
    told
}

/// The fault in brackets, to stand behind what it explains.
fn behind(seen: &Seen) -> String {
    let text = |name: &str| seen.line.get(name).and_then(Value::as_str);
    match (text("fault"), text("reason")) {
        (Some(fault), Some(reason)) if fault != reason => format!(" ({fault}: {reason})"),
        (Some(fault), _) => format!(" ({fault})"),
        _ => String::new(),
    }
}

fn judge_response(expect: &Expect, seen: &Seen, response: &Message, told: &mut Vec<String>) {
    let status = response.status().unwrap_or_default();
    if let Some(wanted) = expect.status.as_ref().filter(|wanted| wanted.value != status) {
        let wanted = wanted.value;
        told.push(format!("status: expected {wanted}, but it is {status}{}", behind(seen)));
    }
    if !response.whole && expect.fault.is_none() {
        told.push(format!(
            "the answer was cut after {} bytes{}",
            response.body.len(),
            behind(seen)
        ));
    }
    for (name, wish) in &expect.headers {
        let what = format!("header `{}`", name.value);
        told.extend(judge_field(&what, &response.fields, &name.value, wish));
    }
    if let Some(wanted) = &expect.body {
        told.extend(judge_body("body", &wanted.value, &response.body));
    }
}

fn judge_field(what: &str, fields: &[(String, String)], name: &str, wish: &Wish) -> Option<String> {
    let value = field(fields, name);
    match (wish, value) {
        (Wish::Is(wanted), Some(value)) if *wanted == value => None,
        (Wish::Present, Some(_)) | (Wish::Absent, None) => None,
        (Wish::Is(wanted), Some(value)) => {
            Some(format!("{what}: expected {wanted:?}, but it is {:?}", shown(&value)))
        }
        (Wish::Is(wanted), None) => {
            Some(format!("{what}: expected {wanted:?}, but it is not there"))
        }
        (Wish::Present, None) => Some(format!("{what}: it is not there")),
        (Wish::Absent, Some(value)) => {
            Some(format!("{what}: it was not to be there, but is {:?}", shown(&value)))
        }
    }
}

fn judge_body(what: &str, wanted: &Content, body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let wanted_value = match wanted {
        Content::Text(wanted) if wanted.as_bytes() == body => return Vec::new(),
        Content::Text(wanted) => serde_json::from_str(wanted).ok(),
        Content::Json(value) => Some(value.clone()),
    };
    match (wanted, wanted_value, parsed) {
        (Content::Json(wanted), _, Some(actual)) if *wanted == actual => Vec::new(),
        (Content::Text(wanted), Some(value), Some(actual)) if value == actual => {
            let at = wanted.bytes().zip(body).take_while(|(a, b)| a == *b).count();
            let line = format!("{what}: the same JSON in other bytes, from byte {at} on");
            with_lines(line, difference::lines(wanted, &text))
        }
        (_, Some(wanted), Some(actual)) => {
            let mut out: Vec<String> = difference::paths(&wanted, &actual)
                .iter()
                .map(|at| format!("{what} {at}"))
                .collect();
            let (wanted, actual) = (format!("{wanted:#}"), format!("{actual:#}"));
            out.extend(difference::lines(&wanted, &actual).iter().map(|line| format!("  {line}")));
            out
        }
        (Content::Json(wanted), ..) => {
            let line = format!("{what}: expected JSON, but it is not");
            with_lines(line, difference::lines(&format!("{wanted:#}"), &text))
        }
        (Content::Text(wanted), ..) => {
            let at = wanted.bytes().zip(body).take_while(|(a, b)| a == *b).count();
            let line = format!("{what}: it differs from byte {at} on");
            with_lines(line, difference::lines(wanted, &text))
        }
    }
}

fn with_lines(first: String, lines: Vec<String>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    std::iter::once(first).chain(lines).collect()
}

fn judge_fault(expect: &Expect, seen: &Seen, told: &mut Vec<String>) {
    let Some(wanted) = &expect.fault else { return };
    let fault = seen.fault().unwrap_or("none");
    if wanted.value != fault {
        told.push(format!("fault: expected {}, but it is {fault}", wanted.value));
    }
}

/// What an upstream received.
fn of<'s>(upstream: &'s Text, seen: &'s Seen) -> impl Iterator<Item = &'s Received> {
    seen.received.iter().filter(move |received| *received.upstream == *upstream.value)
}

fn line_of(received: &Received) -> String {
    format!("{} {}", received.method, shown(&received.target))
}

fn is_line(line: &Line, received: &Received) -> bool {
    line.target == received.target && line.method.as_ref().is_none_or(|m| *m == received.method)
}

fn text_of(line: &Line) -> String {
    match &line.method {
        Some(method) => format!("{method} {}", line.target),
        None => line.target.clone(),
    }
}

/// Each request that is wanted takes one that was received, the best there is; none may be left.
fn judge_sent(upstream: &Text, wanted: &[Sent], seen: &Seen, told: &mut Vec<String>) {
    let mut left: Vec<&Received> = of(upstream, seen).collect();
    let name = &upstream.value;
    for sent in wanted {
        let fits = |received: &&Received| is_line(&sent.line, received);
        let exact = |received: &&Received| fits(received) && differences(sent, received).is_empty();
        let at = left.iter().position(exact).or_else(|| left.iter().position(fits));
        let Some(at) = at else {
            told.push(format!(
                "sent to `{name}`: expected {}, but there is no such request",
                text_of(&sent.line)
            ));
            continue;
        };
        let received = left.remove(at);
        let lines = differences(sent, received);
        if !lines.is_empty() {
            told.push(format!("sent to `{name}`: {} came otherwise", line_of(received)));
            told.extend(lines.iter().map(|line| format!("  {line}")));
        }
    }
    for received in left {
        told.push(format!("sent to `{name}`: {} came, which is not expected", line_of(received)));
    }
}

fn differences(sent: &Sent, received: &Received) -> Vec<String> {
    let message = &received.message;
    let mut lines = Vec::new();
    for (name, wish) in &sent.headers {
        let what = format!("header `{}`", name.value);
        lines.extend(judge_field(&what, &message.fields, &name.value, wish));
    }
    if let Some(body) = &sent.body {
        lines.extend(judge_body("body", body, &message.body));
    }
    lines
}
