//! The same bytes, however they are cut, give the same result: for a client's whole connection, and for
//! an origin's answer.
//!
//! A worker on a network without delays gets the bytes in given pieces; each piece is taken in completely
//! before the next is sent, so that pieces are exactly what the program reads. Compared is what reached
//! the origin, what reached the client, and how the connection ended. What may differ is listed where it
//! is compared, each with its reason, and never more than that. Fuzz targets share this file.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam::channel::bounded;
use ringway::base::address::Address;
use ringway::base::buffer::BufferPool;
use ringway::base::ids::WorkerId;
use ringway::base::random::Rng;
use ringway::compile::compile;
use ringway::config::{self, Surroundings};
use ringway::gateway::Gateway;
use ringway::observe::metrics::CoreMetrics;
use ringway::observe::plan::LabelBook;
use ringway::policy::slots::Slots;
use ringway::runtime::simulated::{
    Bound, Faults, Simulated, SimulatedStream, Simulation, address_of,
};
use ringway::runtime::{Listener, Runtime, Stream};
use ringway::serve::Core;
use ringway::serve::shard::Shard;
use ringway::worker::Worker;
use ringway::worker::mailbox::{NewListener, mailbox};

use crate::wire::{Body, Head, Length};

const GATEWAY: &str = "10.9.0.1:80";
const ORIGIN: &str = "10.8.0.1:80";

const CONFIG: &str = r#"
[[listen]]
address = "10.9.0.1:80"
protocols = ["http/1.1"]
[observe]
access_log = "off"
[admin]
address = "off"
[upstream.one]
endpoints = ["10.8.0.1:80"]
[[route]]
match = "/{*rest}"
forward = "one"
[[route]]
match = "GET /merge"
[route.merge]
user   = { get = "one /user", keep = ["name", "team"] }
orders = { get = "one /orders?of={part.user.id}", pick = "items", drop = "[*].note" }
shops  = { get = "one /shops/{each}", each = { of = "{part.orders[*].shop}", at_once = 2 }, keep = "name", else = {} }
people = { get = "one /people?id={each*}", each = { of = "{part.orders[*].by}", batch = 2, at_once = 2, by = "id" }, else = 0 }
more   = { get = "one /more", flatten = true }
lost   = { get = "one /lost", else = [] }
"#;

/// What the origin of the merge says, by target; anything else is a 503.
const MERGED: &[(&str, &str)] = &[
    ("/user", r#"{"id":42,"name":"Ada","secret":1,"team":{"id": 1.0}}"#),
    (
        "/orders?of=42",
        r#"{"items":[{"shop":7,"by":"a","note":{}},{"shop":"x/y","by":"b"},{"shop":7,"by":"c"},{"shop":1,"by":"d"}]}"#,
    ),
    ("/shops/7", r#"{"id":7,"name":"Ink"}"#),
    ("/shops/x%2Fy", r#"{"name" : "Tea"}"#),
    ("/people?id=a&id=b", r#"[{"id":"b","n":2},{"id":"a","n":1}]"#),
    ("/people?id=c&id=d", r#"[{"id":"d","n":4},{"id":"z"}]"#),
    ("/more", r#"{"at":"now", "user":0}"#),
];

const MERGED_ANSWER: &str = r#"{"user":{"name":"Ada","team":{"id": 1.0}},"orders":[{"shop":7,"by":"a"},{"shop":"x/y","by":"b"},{"shop":7,"by":"c"},{"shop":1,"by":"d"}],"shops":{"7":{"name":"Ink"},"x/y":{"name":"Tea"},"1":{}},"people":{"a":{"id":"a","n":1},"b":{"id":"b","n":2},"c":0,"d":{"id":"d","n":4}},"at":"now","lost":[]}"#;

const MERGED_PARTIAL: &str = "shops;status;failed=1, people;missing;failed=1, lost;status";

struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path, _: u64) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn folder(&self, _: &Path) -> std::io::Result<Vec<String>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn gateway() -> Arc<Gateway> {
    static COMPILED: OnceLock<Arc<Gateway>> = OnceLock::new();
    let compiled = || {
        let (config, found) = config::parse(&[("ringway.toml", CONFIG)], &Nothing);
        let book = &mut LabelBook::default();
        let (compiled, found) = compile(&config, found, &Nothing, 7, book, None);
        compiled.unwrap_or_else(|| panic!("{}", found.render())).gateway
    };
    COMPILED.get_or_init(compiled).clone()
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// A message as its receiver read it.
#[derive(Clone, PartialEq, Eq)]
struct Message {
    first: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<String>,
    whole: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, fields, body, trailers, whole } = self;
        let body = String::from_utf8_lossy(body);
        write!(f, "{first:?} {fields:?} {body:?} {trailers:?} whole: {whole}")
    }
}

/// How a connection ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Reset,
    Open,
}

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    delivered: Vec<Message>,
    answers: Vec<Message>,
    /// Bytes at the client that are no message.
    rest: Vec<u8>,
    end: End,
}

/// What the origin does with its first request; later ones are answered simply.
#[derive(Clone, Copy)]
struct Script<'a> {
    pieces: &'a [&'a [u8]],
    /// Whether it closes behind its answer.
    closes: bool,
}

const SIMPLE: &[u8] =
    b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 2\r\n\r\nok";

const NOTHING: &[u8] = b"HTTP/1.1 204 No Content\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";

/// A future that needs no time and nobody else.
fn now<F: Future>(future: F) -> Option<F::Output> {
    let future = pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A gateway of one core, an origin that collects, and a client's connection.
struct Bench {
    simulation: Simulation,
    pool: BufferPool,
    origin: Rc<RefCell<Vec<Seen>>>,
    client: SimulatedStream,
    got: Vec<u8>,
    end: End,
}

/// One connection at the origin.
struct Seen {
    stream: Rc<SimulatedStream>,
    bytes: Vec<u8>,
    messages: Vec<Message>,
    reading: Option<(Head, Body)>,
    closed: bool,
}

impl Bench {
    fn new() -> Bench {
        let simulation = Simulation::new(1, Faults::none());
        worker(&simulation, simulation.host(address_of(1)));
        let origin: Rc<RefCell<Vec<Seen>>> = Rc::default();
        collect(&simulation.host(address_of(2)), simulation.bind(&address(ORIGIN)), &origin);
        simulation.settle();
        let host = simulation.host(address_of(3));
        let connected = now(host.connect(&address(GATEWAY)));
        let client = connected.expect("nothing delays").expect("the worker listens");
        simulation.settle();
        let pool = BufferPool::new(4);
        Bench { simulation, pool, origin, client, got: Vec::new(), end: End::Open }
    }

    fn put(&self, stream: &SimulatedStream, bytes: &[u8]) {
        for piece in bytes.chunks(60_000) {
            let mut buf = self.pool.take().expect("one at a time");
            assert!(buf.put(piece));
            // A peer that does not read any more does not matter here.
            let _ = now(stream.write_all(buf));
            self.simulation.settle();
        }
    }

    /// What is there to be read; how the stream ended if it did.
    fn take(pool: &BufferPool, stream: &SimulatedStream, into: &mut Vec<u8>) -> Option<End> {
        while !stream.is_quiet() {
            let buf = pool.take().expect("one at a time");
            match now(stream.read(buf, usize::MAX))? {
                (Ok(0), _) => return Some(End::Orderly),
                (Err(_), _) => return Some(End::Reset),
                (Ok(_), buf) => into.extend_from_slice(buf.data()),
            }
        }
        None
    }

    /// Lets everything happen that needs no time; origins answer.
    fn settle(&mut self, script: &mut Option<Script<'_>>) {
        loop {
            self.simulation.settle();
            if self.end == End::Open
                && let Some(end) = Self::take(&self.pool, &self.client, &mut self.got)
            {
                self.end = end;
            }
            let Some(index) = self.asked() else { break };
            let answer = script.take();
            let head = self.origin.borrow()[index].is_head();
            let simple = if head { &[NOTHING] } else { &[SIMPLE] };
            let pieces = answer.map_or(&simple[..], |script| script.pieces);
            for piece in pieces {
                self.put(&self.origin.borrow()[index].stream, piece);
            }
            if answer.is_some_and(|script| script.closes) {
                let seen = &mut self.origin.borrow_mut()[index];
                seen.closed = true;
                seen.stream.shutdown_write();
            }
        }
    }

    /// A connection at the origin on which one more request is whole.
    fn asked(&self) -> Option<usize> {
        let mut origin = self.origin.borrow_mut();
        for (index, seen) in origin.iter_mut().enumerate() {
            if !seen.closed && Self::take(&self.pool, &seen.stream, &mut seen.bytes).is_some() {
                seen.closed = true;
            }
            if seen.read() {
                return Some(index);
            }
        }
        None
    }

    fn finish(mut self, script: &mut Option<Script<'_>>) -> Outcome {
        // Longer than any timeout.
        for _ in 0..100 {
            self.settle(script);
            if self.end != End::Open {
                break;
            }
            self.simulation.pass(Duration::from_secs(2));
        }
        let delivered = self.origin.borrow_mut().drain(..).flat_map(Seen::messages).collect();
        let (answers, rest) = answers(std::mem::take(&mut self.got), self.end);
        assert_eq!(self.simulation.panics(), Vec::<String>::new());
        Outcome { delivered, answers, rest, end: self.end }
    }
}

impl Seen {
    /// Takes one request apart; whether it is whole.
    fn read(&mut self) -> bool {
        if self.reading.is_none() {
            let Some(head) = Head::take(&mut self.bytes) else { return false };
            let head = head.unwrap_or_else(|what| panic!("an origin got {what}"));
            let length = head.length(Length::Exact(0));
            let length = length.unwrap_or_else(|what| panic!("an origin got {what}"));
            self.reading = Some((head, Body::new(length)));
        }
        let Some((_, body)) = &mut self.reading else { return false };
        let whole = body.feed(&mut self.bytes);
        let whole = whole.unwrap_or_else(|what| panic!("an origin got {what}"));
        if whole && let Some((head, body)) = self.reading.take() {
            self.messages.push(message(head, body, true));
        }
        whole
    }

    fn is_head(&self) -> bool {
        self.messages.last().is_some_and(|message| message.first.starts_with("HEAD "))
    }

    fn messages(mut self) -> Vec<Message> {
        if let Some((head, body)) = self.reading.take() {
            self.messages.push(message(head, body, false));
        }
        self.messages
    }
}

fn message(head: Head, body: Body, whole: bool) -> Message {
    let Head { first, fields } = head;
    Message { first, fields, body: body.bytes, trailers: body.trailers, whole }
}

fn worker(simulation: &Simulation, runtime: Simulated) {
    let shard = Shard {
        rng: Rng::new(11),
        slots: Slots::new(12),
        log: None,
        path: Default::default(),
        tokens: Default::default(),
    };
    let metrics = Arc::new(CoreMetrics::default());
    let core = Rc::new(Core::new(WorkerId(0), runtime.clone(), gateway(), metrics, shard));
    let (_, ear) = mailbox::<Bound>(bounded(16).0);
    let address = Arc::new(address(GATEWAY));
    let socket = simulation.bind(&address);
    let listener = NewListener { address, socket, open: Arc::default() };
    runtime.spawn(Worker::new(core, ear, 16).run(vec![listener]));
}

fn collect(host: &Simulated, bound: Bound, seen: &Rc<RefCell<Vec<Seen>>>) {
    let listener = host.listen(&address(ORIGIN), bound).expect("simulated");
    let seen = seen.clone();
    host.spawn(async move {
        while let Some(Ok(stream)) = listener.accept().await {
            let (stream, bytes, messages) = (Rc::new(stream), Vec::new(), Vec::new());
            seen.borrow_mut().push(Seen { stream, bytes, messages, reading: None, closed: false });
        }
    });
}

/// The answers in what a client got. Which of them answers HEAD is not known here: the benches ask so that
/// it does not matter.
fn answers(mut got: Vec<u8>, end: End) -> (Vec<Message>, Vec<u8>) {
    let mut answers = Vec::new();
    while let Some(head) = Head::take(&mut got) {
        // Behind a refused HEAD, whose length is not that of its body, the rest is compared as bytes.
        let Ok(head) = head else { break };
        let bodiless = matches!(head.status(), Some(100..200 | 204 | 304));
        let Ok(length) = head.length(Length::UntilClose) else { break };
        let mut body = Body::new(if bodiless { Length::Exact(0) } else { length });
        let Ok(fed) = body.feed(&mut got) else { break };
        let whole = fed || body.ends_with_connection() && end == End::Orderly;
        // Whether 100 (Continue) is sent depends on whether the body was there already (RFC 9110 §10.1.1).
        if head.status() != Some(100) {
            answers.push(message(head, body, whole));
        }
        if !fed {
            break;
        }
    }
    (answers, got)
}

fn sent(pieces: &[&[u8]]) -> Outcome {
    let mut bench = Bench::new();
    for piece in pieces {
        bench.put(&bench.client, piece);
        bench.settle(&mut None);
    }
    bench.client.shutdown_write();
    bench.finish(&mut None)
}

fn answered(pieces: &[&[u8]], closes: bool) -> Outcome {
    let mut bench = Bench::new();
    let script = &mut Some(Script { pieces, closes });
    for path in ["/first", "/second"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        bench.put(&bench.client, request.as_bytes());
        bench.settle(script);
        // An answer that is not whole by now never will be.
        if bench.end == End::Open {
            bench.simulation.pass(Duration::from_secs(100));
            bench.settle(script);
        }
    }
    bench.client.shutdown_write();
    bench.finish(script)
}

impl Message {
    fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.0 == name);
        field.map(|field| field.1.as_str())
    }

    /// Whether the gateway made it because something was wrong.
    fn is_refusal(&self) -> bool {
        self.field("proxy-status").is_some()
    }

    fn without(&self, name: &str) -> Message {
        let mut message = self.clone();
        message.fields.retain(|field| field.0 != name);
        message
    }
}

/// Compares two runs of a client's bytes.
fn compare_sent(whole: &Outcome, cut: &Outcome) -> Result<(), String> {
    let differ = |what: &str| Err(what.to_string());
    for (one, other) in whole.answers.iter().zip(&cut.answers) {
        if one == other {
            continue;
        }
        // A refused request whose body was all there leaves the connection in order; otherwise it closes.
        let same = one.without("connection") == other.without("connection");
        if one.is_refusal() && same {
            return Ok(());
        }
        return differ("other answers");
    }
    if whole.answers.len() != cut.answers.len() || whole.rest != cut.rest {
        return differ("more answers");
    }
    if whole.end != cut.end {
        return differ("another end");
    }
    // A request whose body turns out to be wrong has reached the origin or not; never as a whole.
    let delivered = |outcome: &Outcome| -> Vec<Message> {
        outcome.delivered.iter().filter(|message| message.whole).cloned().collect()
    };
    if delivered(whole) != delivered(cut) {
        return differ("other requests at the origin");
    }
    Ok(())
}

impl Message {
    /// A whole answer that an origin gave.
    fn is_good(&self) -> bool {
        self.whole && !self.is_refusal()
    }
}

/// Compares two runs of an origin's bytes.
fn compare_answered(whole: &Outcome, cut: &Outcome) -> Result<(), String> {
    for (one, other) in whole.answers.iter().zip(&cut.answers) {
        if one == other {
            continue;
        }
        // What is wrong behind the head is found out before the head is passed on, or afterwards; either way
        // the client sees that the answer is not good.
        if !one.is_good() && !other.is_good() {
            return Ok(());
        }
        return Err("other answers".into());
    }
    if whole.answers.len() != cut.answers.len() {
        return Err("more answers".into());
    }
    if whole.end != cut.end {
        return Err("another end".into());
    }
    Ok(())
}

#[track_caller]
fn same(data: &[u8], pieces: &[&[u8]], compared: Result<(), String>, one: &Outcome, two: &Outcome) {
    if let Err(what) = compared {
        let shown = String::from_utf8_lossy(data);
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        panic!("{what}\nbytes: {shown:?}\npieces: {sizes:?}\nwhole: {one:#?}\ncut: {two:#?}");
    }
}

/// The splits that are tried: byte by byte, and in two at each of `cuts`.
fn splits(data: &[u8], cuts: impl Iterator<Item = usize>) -> Vec<Vec<&[u8]>> {
    let mut splits = vec![data.chunks(1).collect::<Vec<_>>()];
    splits.extend(cuts.map(|cut| {
        let (one, two) = data.split_at(cut);
        vec![one, two]
    }));
    splits
}

/// A client's bytes, whole, byte by byte and in two at each of `cuts`.
pub fn client_bytes(data: &[u8], cuts: impl Iterator<Item = usize>) {
    let whole = sent(&[data]);
    for pieces in splits(data, cuts) {
        let cut = sent(&pieces);
        same(data, &pieces, compare_sent(&whole, &cut), &whole, &cut);
    }
}

/// An origin's bytes, as [`client_bytes`].
pub fn origin_bytes(data: &[u8], closes: bool, cuts: impl Iterator<Item = usize>) {
    let whole = answered(&[data], closes);
    for pieces in splits(data, cuts) {
        let cut = answered(&pieces, closes);
        same(data, &pieces, compare_answered(&whole, &cut), &whole, &cut);
    }
}

/// What the origin says to the request for a merge's part.
fn merged_reply(first: &str) -> Vec<u8> {
    let target = first.split(' ').nth(1).unwrap_or("");
    let known = MERGED.iter().find(|(known, _)| *known == target);
    let (status, body) = known.map_or(("503 Down", "down"), |(_, body)| ("200 OK", body));
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A merge with references, `each`, batches and parts that fail: in whatever order the origin answers, and in
/// whatever pieces its answers come, the client gets the same bytes.
pub fn merge_answers(seed: u64) {
    let (bench, mut dice) = (Bench::new(), Rng::new(seed));
    bench.put(&bench.client, b"GET /merge HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut open: Vec<(usize, Vec<u8>)> = Vec::new();
    loop {
        bench.simulation.settle();
        while let Some(index) = bench.asked() {
            let first = bench.origin.borrow()[index].messages.last().map(|one| one.first.clone());
            open.push((index, merged_reply(&first.unwrap_or_default())));
        }
        if open.is_empty() {
            break;
        }
        let chosen = dice.below(open.len() as u32) as usize;
        let (index, left) = &mut open[chosen];
        // Whole in one case of three.
        let most = if dice.below(3) == 0 { left.len() } else { left.len().min(40) };
        let piece: Vec<u8> = left.drain(..1 + dice.below(most as u32) as usize).collect();
        let stream = bench.origin.borrow()[*index].stream.clone();
        bench.put(&stream, &piece);
        if left.is_empty() {
            open.swap_remove(chosen);
        }
    }
    bench.client.shutdown_write();
    let outcome = bench.finish(&mut None);
    let [answer] = &outcome.answers[..] else { panic!("seed {seed}: {outcome:#?}") };
    assert_eq!(String::from_utf8_lossy(&answer.body), MERGED_ANSWER, "seed {seed}");
    assert_eq!(answer.field("gateway-partial"), Some(MERGED_PARTIAL), "seed {seed}");
}

/// A few places to cut at that the bytes themselves choose, for fuzzing.
pub fn chosen(data: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let len = data.len();
    let sum: usize = data.iter().map(|byte| usize::from(*byte)).sum();
    (0..3).map(move |n| (sum / (n + 1) + n * len / 3) % len.max(1)).filter(move |_| len > 1)
}
