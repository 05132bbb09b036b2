//! What must hold: every answer belongs to its request, none is lost, none is counted twice.
//!
//! Clients and origins tell the model what they sent and saw; it knows the plan, and what excuses what.
//! It never looks at what the gateway believes until the end, when its own books are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::actions::{Act, Mood, Place, Plan, Request};
use crate::wire::{Gone, Head, digest, pattern};

/// The listener's idle timeout in every variant.
pub const IDLE: Duration = Duration::from_secs(3);

/// What is known of one request.
pub struct Record {
    request: Request,
    client: String,
    begun: bool,
    /// The version that every core had confirmed when it was sent.
    version_min: u64,
    deliveries: BTreeMap<char, u32>,
    answer: Option<u16>,
}

/// An answer as the client saw it.
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
    pub whole: bool,
}

/// How a connection was when it ended.
pub struct Over {
    /// `None` when the client ended it by itself.
    pub gone: Option<Gone>,
    pub second: bool,
    pub answered: usize,
    pub requests: usize,
    /// The last answer said that it is the last, or was not whole.
    pub last: bool,
    /// Since the last byte of an answer, or since the connection was made.
    pub quiet_for: Duration,
    pub stalled: bool,
    /// The client has said that it sends no more: it counts as gone while an origin is silent
    /// (`serve/watch.rs`).
    pub half_closed: bool,
    /// The answer that is missing ends with its connection and its origin broke off: the gateway must
    /// reset, and a reset may overtake all that was sent.
    pub reset_by_rule: bool,
}

/// All that is known.
pub struct Model {
    mood: Mood,
    resets: bool,
    aborts: bool,
    unreliable: bool,
    second_goes: bool,
    records: BTreeMap<String, Record>,
    malformed: usize,
    pub failures: Vec<String>,
    /// The newest version that was ordered, and the one that every core has confirmed.
    pub issued: u64,
    pub confirmed: u64,
    pub draining: bool,
    pub answered: usize,
}

impl Model {
    pub fn new(plan: &Plan) -> Model {
        let mut records = BTreeMap::new();
        for (number, connections) in plan.clients.iter().enumerate() {
            for request in connections.iter().flat_map(|connection| &connection.requests) {
                let record = Record {
                    request: request.clone(),
                    client: crate::world::client_address(number).to_string(),
                    begun: false,
                    version_min: 0,
                    deliveries: BTreeMap::new(),
                    answer: None,
                };
                records.insert(request.id.clone(), record);
            }
        }
        let faults = &plan.faults;
        let network = [faults.resets, faults.connects_refused, faults.connects_stalled];
        let later = plan.reloads.iter().map(|(_, variant)| variant.second);
        let malformed = plan.requests().filter(|one| one.place == Place::Malformed).count();
        Model {
            mood: plan.mood,
            resets: faults.resets > 0,
            aborts: faults.accepts_failed > 0,
            unreliable: network.iter().any(|chance| *chance > 0) || faults.accepts_failed > 0,
            second_goes: later.chain([plan.first.second]).any(|second| !second),
            records,
            malformed,
            failures: Vec::new(),
            issued: 1,
            confirmed: 1,
            draining: false,
            answered: 0,
        }
    }

    pub fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// A client begins to send a request.
    pub fn begun(&mut self, id: &str) {
        let confirmed = self.confirmed;
        if let Some(record) = self.records.get_mut(id) {
            record.begun = true;
            record.version_min = confirmed;
        }
    }

    /// An origin received the head of a request, for a part of a merge or (`'-'`) as a whole.
    pub fn delivered(&mut self, id: &str, part: char, head: &Head) {
        let Some(record) = self.records.get_mut(id) else {
            return self.fail(format!("an origin got a request that nobody sent: {id:?}"));
        };
        let deliveries = record.deliveries.entry(part).or_default();
        *deliveries += 1;
        let most = if record.request.method == "POST" { 1 } else { 2 };
        let (deliveries, client) = (*deliveries, record.client.clone());
        if deliveries > most {
            let method = record.request.method;
            self.fail(format!("{id}: {method} was delivered {deliveries} times"));
        }
        let record = &self.records[id];
        if !record.begun {
            self.fail(format!("{id}: delivered before it was sent"));
        } else if head.field("x-request-id") != Some(id) {
            self.fail(format!("{id}: delivered as {head:?}"));
        } else if part == '-' {
            let sent = String::from_utf8_lossy(&record.request.head).into_owned();
            let target = sent.split(' ').nth(1).unwrap_or_default();
            let first = format!("{} {target} HTTP/1.1", record.request.method);
            if head.first != first || head.field("x-forwarded-for") != Some(&client) {
                self.fail(format!("{id}: delivered as {head:?}"));
            }
        }
    }

    /// An origin received the whole body of a forwarded request.
    pub fn delivered_body(&mut self, id: &str, body: &[u8]) {
        let Some(record) = self.records.get(id) else { return };
        if record.request.content() != body {
            let (got, sent) = (digest(body), digest(&record.request.content()));
            self.fail(format!("{id}: the body {sent} was delivered as {got}"));
        }
    }

    /// A client received an answer, in answer to `id` by its place on the connection.
    pub fn answered(&mut self, id: &str, answer: &Answer) {
        self.answered += 1;
        let Some(record) = self.records.get_mut(id) else { return };
        let status = answer.head.status();
        let before = std::mem::replace(&mut record.answer, status);
        let record = &self.records[id];
        let text = answer.head.fields.iter().any(|(_, value)| value.contains("POISON"));
        let wrong = if !record.begun {
            Some("an answer to a request that was not sent".into())
        } else if before.is_some() {
            Some("a second answer".into())
        } else if text || answer.body.starts_with(b"POISON") {
            Some("what an origin sent unasked".into())
        } else if record.request.place == Place::Malformed && status != Some(408) {
            (status != Some(400) || !answer.head.closes()).then(|| "not refused".into())
        } else if status == Some(408)
            && answer.head.closes()
            && answer
                .head
                .field("x-request-id")
                .is_none_or(|known| !self.records.contains_key(known))
        {
            // A head that did not end in time never said its id: the gateway made one of its own.
            (self.mood == Mood::Calm || self.mood == Mood::Prompt).then(|| "not slow".into())
        } else if answer.head.field("x-request-id") != Some(id) {
            Some("the answer to another request".into())
        } else {
            self.judge(record, answer).err()
        };
        if let Some(wrong) = wrong {
            let Answer { head, body, whole } = answer;
            let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let Request { script, method, place, upload, .. } = &record.request;
            let asked = format!("{method} {place:?} {script} {upload:?}");
            self.fail(format!("{id} ({asked}): {wrong}: {head:?} whole={whole} {body:?}"));
        }
    }

    fn judge(&self, record: &Record, answer: &Answer) -> Result<(), String> {
        let request = &record.request;
        let status = answer.head.status().unwrap_or_default();
        let expect = |held: bool, what: &str| if held { Ok(()) } else { Err(what.to_string()) };
        if let Some(error) = answer.head.field("proxy-status") {
            return self.judge_refusal(record, error, status);
        }
        if !answer.whole {
            let excused = !request.script.is_correct() || self.resets || self.draining;
            expect(excused, "cut short although nothing was wrong")?;
        }
        let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
        match request.place {
            Place::Forward | Place::Small => {
                let wanted = match request.script.act {
                    Act::NoContent => 204,
                    Act::NotModified => 304,
                    _ => 200,
                };
                expect(status == wanted, "another status")?;
                expect(answer.head.field("x-sim-id") == Some(&request.id), "another id")?;
                let size = if bodiless { 0 } else { request.script.size };
                let body = pattern(&request.id, size);
                expect(body.starts_with(&answer.body), "another body")?;
                expect(!answer.whole || body == answer.body, "a part that passes for the whole")?;
                let got = answer.head.field("x-sim-request").unwrap_or_default();
                let whole = request.script.is_early() || got == digest(&request.content());
                expect(whole, "the origin read another body")
            }
            Place::Merge if status == 200 && answer.whole => self.judge_merge(request, answer),
            Place::Merge => expect(status == 200, "another status"),
            Place::Fixed => {
                let text = String::from_utf8_lossy(&answer.body);
                if bodiless || !answer.whole {
                    return expect(status == 200, "another status");
                }
                let version = text.strip_prefix("version ").and_then(|text| text.parse().ok());
                let within = |v: u64| (record.version_min..=self.issued).contains(&v);
                expect(version.is_some_and(within), "a version that is not in force")
            }
            Place::Moved => {
                let to = format!("/elsewhere/{}", request.id);
                expect(answer.head.field("location") == Some(&to), "another place")
            }
            Place::Missing | Place::Malformed => Err("an answer that nobody gives".into()),
        }
    }

    /// An answer that the gateway made because something failed.
    fn judge_refusal(&self, record: &Record, error: &str, status: u16) -> Result<(), String> {
        let request = &record.request;
        let rough = matches!(self.mood, Mood::Rough | Mood::Draining);
        let allowed = match status {
            404 => request.place == Place::Missing,
            413 => request.place == Place::Small && request.upload.size() > 64,
            408 => rough,
            502..=504 => self.upstream_may_fail(request),
            _ => false,
        };
        if allowed { Ok(()) } else { Err(format!("refused with {status} {error}")) }
    }

    /// Whether an origin, or the network on the way to it, is excuse enough for a 502, 503 or 504.
    fn upstream_may_fail(&self, request: &Request) -> bool {
        if !matches!(request.place, Place::Forward | Place::Small | Place::Merge) {
            return false;
        }
        // A part that says "not modified" to a question that was not conditional has no value.
        let no_value = request.place == Place::Merge && request.script.act == Act::NotModified;
        // A kept connection that closes while a request is on its way: only some may be repeated.
        let stale = self.mood != Mood::Calm && !request.is_repeatable();
        self.unreliable || !request.script.is_correct() || no_value || stale
    }

    fn judge_merge(&self, request: &Request, answer: &Answer) -> Result<(), String> {
        let document: Value =
            serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}"))?;
        let partial = answer.head.field("gateway-partial");
        let empty =
            |part: char| request.script.act == Act::NoContent && request.script.part == part;
        for part in ['a', 'b', 'c'] {
            let value = &document[part.to_string()];
            let stands_in = part == 'c' && *value == "none";
            if stands_in {
                let excused = self.upstream_may_fail(request) || empty('c');
                if !excused || (partial.is_none() && !empty('c')) {
                    return Err("a part is missing without reason".into());
                }
            } else if !(empty(part) && value.is_null()) {
                let id = value["id"].as_str() == Some(&request.id);
                if !id || value["part"].as_str() != Some(&part.to_string()) {
                    return Err(format!("another part {part}"));
                }
            }
        }
        let keys = document.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
        if keys != Some(vec!["a".into(), "b".into(), "c".into()]) {
            return Err("other keys".into());
        }
        Ok(())
    }

    /// A connection could not be made.
    pub fn unconnected(&mut self, second: bool) {
        if !(self.unreliable || self.draining || second && self.second_goes) {
            self.fail("a connection was refused although nothing was wrong");
        }
    }

    /// A connection is over; were its requests rightly left without an answer?
    pub fn over(&mut self, name: &str, over: &Over) {
        if over.answered >= over.requests || over.last || self.draining {
            return;
        }
        let Some(gone) = over.gone else { return };
        let reset = gone == Gone::Reset && (self.resets || over.reset_by_rule);
        // Out of descriptors, the gateway lets the connections go that are idle longest (`serve/shortage.rs`);
        // a request may be on its way.
        let aborted = self.aborts && (over.answered == 0 || gone == Gone::End);
        let idle = over.quiet_for + Duration::from_millis(100) >= IDLE;
        if reset
            || aborted
            || idle
            || over.stalled
            || over.half_closed
            || over.second && self.second_goes
        {
            return;
        }
        let Over { answered, requests, .. } = over;
        self.fail(format!("{name}: {answered} of {requests} answered, then {gone:?}"));
    }

    /// Compares with the access log, at the end: one line for each exchange, none twice.
    pub fn compare(&mut self, lines: &[Value], finished: u64) {
        if finished != lines.len() as u64 {
            self.fail(format!("{finished} requests counted, {} lines logged", lines.len()));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut nameless = 0;
        let mut wrong = Vec::new();
        for line in lines {
            let id = line["request_id"].as_str().unwrap_or_default();
            let Some(record) = self.records.get(id).filter(|record| record.begun) else {
                nameless += 1;
                continue;
            };
            *counts.entry(id).or_default() += 1;
            let logged = line["status"].as_u64();
            if record.answer.is_some_and(|seen| logged != Some(u64::from(seen))) {
                wrong.push(format!("{id}: answered {:?}, logged as {line}", record.answer));
            }
            let attempts = line["attempts"].as_array().map_or(0, Vec::len);
            let deliveries: u32 = record.deliveries.values().sum();
            // Parts that were cancelled because a required one failed leave no record of their attempts.
            let cancels = record.request.place == Place::Merge && logged != Some(200);
            if (attempts as u32) < deliveries && !cancels {
                wrong.push(format!("{id}: delivered {deliveries} times, logged as {line}"));
            }
        }
        for (id, record) in &self.records {
            let count = counts.get(id.as_str()).copied().unwrap_or_default();
            let certain = (record.answer.is_some() && record.request.place != Place::Malformed)
                || !record.deliveries.is_empty();
            // A refusal of an unfinished head has no id.
            let refused_early = record.answer == Some(408);
            if count > 1 || count == 0 && certain && !refused_early {
                wrong.push(format!("{id}: {count} lines in the log"));
            }
        }
        let begun = self.records.values().filter(|record| record.begun).count();
        let whole = counts.values().sum::<usize>();
        if nameless > self.malformed + (begun - whole.min(begun)) {
            wrong.push(format!("{nameless} lines belong to nobody"));
        }
        self.failures.extend(wrong);
    }
}
