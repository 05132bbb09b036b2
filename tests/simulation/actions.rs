//! What happens in one simulated world, drawn from its seed: who asks what, what origins do, what breaks.
//!
//! Everything is decided here before the world begins, so that a failing seed can be read; what happens
//! when is the schedule's business. A plan never asks for anything that no real peer could do.

use std::fmt;
use std::time::Duration;

use ringway::base::random::Rng;
use ringway::runtime::simulated::Faults;

use crate::wire::{self, Pieces};

/// The dice of a plan.
pub struct Dice(Rng);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Rng::new(seed))
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    pub fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most - least + 1)
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, weighted: &[(u32, T)]) -> T {
        let mut at = self.below(weighted.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in weighted {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return *what,
            }
        }
        unreachable!("the sum of weights is the bound")
    }

    fn millis(&mut self, most: u32) -> Duration {
        Duration::from_micros(u64::from(self.below(most * 1000 + 1)))
    }
}

/// How rough a world is, and so what its model demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Bytes are cut and late, peers are correct: every request must be answered by its origin.
    Calm,
    /// No time passes on the way, so that bytes which an origin sends unasked are there before the next
    /// request: none of them may ever reach a client.
    Prompt,
    /// Peers misbehave, the network too.
    Rough,
    /// The same, and the process drains in the middle.
    Draining,
}

/// What an origin does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Length,
    Chunked,
    UntilClose,
    Slow,
    Interim,
    Trailers,
    Close,
    NoContent,
    NotModified,
    /// Promises to keep the connection and closes it.
    CloseKept,
    /// The same, a moment later.
    CloseKeptLater,
    /// A second answer behind the one that was asked for.
    Poison,
    /// The same, a moment later.
    PoisonLater,
    Silent,
    ResetMidHead,
    CutMidHead,
    ResetMidBody,
    CutMidBody,
    CutMidChunk,
    ResetUntilClose,
    NoAnswer,
    Garbage,
    Early,
    EarlyClose,
    Stall,
}

const ACTS: &[(Act, &str)] = &[
    (Act::Length, "length"),
    (Act::Chunked, "chunked"),
    (Act::UntilClose, "untilclose"),
    (Act::Slow, "slow"),
    (Act::Interim, "interim"),
    (Act::Trailers, "trailers"),
    (Act::Close, "close"),
    (Act::NoContent, "nocontent"),
    (Act::NotModified, "notmodified"),
    (Act::CloseKept, "closekept"),
    (Act::CloseKeptLater, "closekeptlater"),
    (Act::Poison, "poison"),
    (Act::PoisonLater, "poisonlater"),
    (Act::Silent, "silent"),
    (Act::ResetMidHead, "resetmidhead"),
    (Act::CutMidHead, "cutmidhead"),
    (Act::ResetMidBody, "resetmidbody"),
    (Act::CutMidBody, "cutmidbody"),
    (Act::CutMidChunk, "cutmidchunk"),
    (Act::ResetUntilClose, "resetuntilclose"),
    (Act::NoAnswer, "noanswer"),
    (Act::Garbage, "garbage"),
    (Act::Early, "early"),
    (Act::EarlyClose, "earlyclose"),
    (Act::Stall, "stall"),
];

/// An act, the size of the answer's body, and the part of a merge that it holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub act: Act,
    pub size: usize,
    pub part: char,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ACTS.iter().find(|(act, _)| *act == self.act).map_or("", |(_, name)| name);
        write!(f, "{name}-{}-{}", self.size, self.part)
    }
}

impl Script {
    pub fn parse(text: &str) -> Option<Script> {
        let mut words = text.split('-');
        let name = words.next()?;
        let act = ACTS.iter().find(|(_, known)| *known == name)?.0;
        let size = words.next()?.parse().ok()?;
        Some(Script { act, size, part: words.next()?.chars().next()? })
    }

    /// Whether a correct origin could do this: then the client gets it whole.
    pub fn is_correct(self) -> bool {
        let index = |act: Act| ACTS.iter().position(|(known, _)| *known == act);
        index(self.act) <= index(Act::PoisonLater)
    }

    /// Whether the answer does not wait for the request's body.
    pub fn is_early(self) -> bool {
        matches!(self.act, Act::Early | Act::EarlyClose)
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Forward,
    Merge,
    Fixed,
    Moved,
    Missing,
    /// A route whose bodies are bounded at 64 bytes.
    Small,
    /// A request that every recipient must refuse.
    Malformed,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    None,
    Length(usize),
    Chunked(usize),
    /// Content-Length, after 100 (Continue).
    Expect(usize),
}

impl Upload {
    pub fn size(self) -> usize {
        match self {
            Upload::None => 0,
            Upload::Length(size) | Upload::Chunked(size) | Upload::Expect(size) => size,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: String,
    pub method: &'static str,
    pub place: Place,
    pub script: Script,
    pub upload: Upload,
    pub version10: bool,
    /// Says `Connection: close`.
    pub close: bool,
    pub pieces: Pieces,
    /// How long after the one before (or its answer) it is sent.
    pub pause: Duration,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

impl Request {
    /// What an origin must have received of the body.
    pub fn content(&self) -> Vec<u8> {
        wire::pattern(&self.id, self.upload.size())
    }

    /// Whether the standard lets a proxy repeat it, and it can be repeated.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "DELETE" | "PUT") && self.upload == Upload::None
    }

    fn write(&mut self, dice: &mut Dice) {
        let version = if self.version10 { "1.0" } else { "1.1" };
        let Request { id, method, script, .. } = self;
        let target = match self.place {
            Place::Forward => format!("/forward/{id}?s={script}"),
            Place::Small => format!("/small/{id}?s={script}"),
            Place::Merge => format!("/merge/{id}/{script}"),
            Place::Fixed => format!("/fixed/{id}"),
            Place::Moved => format!("/moved/{id}"),
            Place::Missing => format!("/nothing/{id}"),
            Place::Malformed => format!("/forward/{id}"),
        };
        let mut head = format!("{method} {target} HTTP/{version}\r\nHost: sim.test\r\n");
        if self.place == Place::Malformed {
            head.push_str("Host: other.test\r\n");
        } else {
            head.push_str(&format!("X-Request-Id: {id}\r\n"));
        }
        for n in 0..dice.below(4) {
            head.push_str(&format!("X-Pad-{n}: {}\r\n", "p".repeat(dice.below(60) as usize)));
        }
        match (self.version10, self.close) {
            (true, false) => head.push_str("Connection: keep-alive\r\n"),
            (false, true) => head.push_str("Connection: close\r\n"),
            _ => {}
        }
        let content = self.content();
        match self.upload {
            Upload::None => {}
            Upload::Length(size) => head.push_str(&format!("Content-Length: {size}\r\n")),
            Upload::Expect(size) => {
                head.push_str(&format!("Expect: 100-continue\r\nContent-Length: {size}\r\n"));
            }
            Upload::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        self.head = head.into_bytes();
        self.body = match self.upload {
            Upload::Chunked(_) => chunked(&content, dice),
            _ => content,
        };
    }
}

fn chunked(content: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let size = dice.between(1, rest.len().min(5000) as u32) as usize;
        let extension = if dice.one_in(6) { ";a=b" } else { "" };
        out.extend_from_slice(format!("{size:x}{extension}\r\n").as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(if dice.one_in(5) { b"0\r\nx-trailer: t\r\n\r\n" } else { b"0\r\n\r\n" });
    out
}

/// How a client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// When everything is answered.
    Close,
    /// Says that it sends no more, reads on.
    HalfClose,
    /// After that many bytes were sent, at once.
    Abort(usize),
    /// The same, by a reset.
    Reset(usize),
    /// After that many bytes were sent it is silent until the gateway closes.
    Stall(usize),
    /// When that many answers are there; others may be on their way.
    CloseAfter(usize),
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Connection {
    pub start: Duration,
    /// Whether it goes to the second listener.
    pub second: bool,
    pub pipelined: bool,
    pub requests: Vec<Request>,
    pub ending: Ending,
}

/// A change of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Variant {
    /// Whether the second listener is there.
    pub second: bool,
    /// Whether `/forward` leads to the other upstream.
    pub swapped: bool,
    /// Changes the first upstream's rules, so that its pools begin anew.
    pub pool_idle_max: u32,
}

/// Everything that is decided before the world begins.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub mood: Mood,
    pub faults: Faults,
    pub workers: usize,
    pub first: Variant,
    pub reloads: Vec<(Duration, Variant)>,
    pub drain_at: Option<Duration>,
    pub clients: Vec<Vec<Connection>>,
}

impl Plan {
    pub fn draw(seed: u64) -> Plan {
        let dice = &mut Dice::new(seed ^ 0x51a7_1e57);
        let mood = dice.pick(&[
            (30, Mood::Calm),
            (15, Mood::Prompt),
            (45, Mood::Rough),
            (10, Mood::Draining),
        ]);
        let faults = faults(mood, dice);
        let workers = dice.pick(&[(3, 1), (1, 2)]);
        let first = variant(dice);
        let reloads = (0..dice.pick(&[(3, 0), (2, 1), (2, 3)]))
            .map(|_| (dice.millis(1500), variant(dice)))
            .collect();
        let drain_at = (mood == Mood::Draining).then(|| dice.millis(800));
        let clients = (0..dice.between(1, 5)).map(|n| client(n, mood, dice)).collect();
        Plan { seed, mood, faults, workers, first, reloads, drain_at, clients }
    }

    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.clients.iter().flatten().flat_map(|connection| &connection.requests)
    }
}

fn variant(dice: &mut Dice) -> Variant {
    Variant {
        second: !dice.one_in(4),
        swapped: dice.one_in(3),
        pool_idle_max: dice.pick(&[(3, 8), (1, 1), (1, 0)]),
    }
}

fn faults(mood: Mood, dice: &mut Dice) -> Faults {
    let per_mille = |dice: &mut Dice, most: u32| {
        if dice.one_in(3) { 0 } else { dice.below(most + 1) }
    };
    let mut faults = Faults {
        short_reads: per_mille(dice, 600),
        told_late: per_mille(dice, 600),
        cancelled_late: per_mille(dice, 1000),
        timer_late_max: Duration::from_micros(u64::from(dice.below(1000))),
        ..Faults::none()
    };
    if mood == Mood::Prompt {
        return faults;
    }
    faults.short_writes = per_mille(dice, 500);
    faults.pipe_bytes_min = dice.pick(&[(1, 100), (1, 2000), (2, 100_000)]);
    faults.pipe_bytes_max = faults.pipe_bytes_min * 2;
    faults.latency_max = dice.millis(3);
    faults.delayed = per_mille(dice, 100);
    faults.delay_max = dice.millis(60);
    if faults.pipe_bytes_min < 1000 {
        // Every few bytes wait for a round trip: long ones would make any timeout too short.
        faults.latency_max = faults.latency_max.min(Duration::from_micros(300));
        faults.delayed = faults.delayed.min(10);
    }
    if mood != Mood::Calm {
        faults.resets = dice.pick(&[(3, 0), (1, 5), (1, 30)]);
        faults.resets_destroy = per_mille(dice, 1000);
        faults.connects_refused = dice.pick(&[(3, 0), (1, 50), (1, 300)]);
        faults.connects_stalled = dice.pick(&[(4, 0), (1, 50)]);
        faults.accepts_failed = dice.pick(&[(4, 0), (1, 100)]);
    }
    faults
}

fn client(number: u32, mood: Mood, dice: &mut Dice) -> Vec<Connection> {
    let connections = dice.between(1, 3);
    (0..connections).map(|n| connection(&format!("c{number}n{n}"), mood, dice)).collect()
}

fn connection(name: &str, mood: Mood, dice: &mut Dice) -> Connection {
    let pipelined = dice.one_in(3);
    let count = dice.pick(&[(3, 1), (4, 2), (3, 4), (1, 8)]);
    let requests: Vec<Request> =
        (0..count).map(|n| request(&format!("{name}r{n}"), mood, dice)).collect();
    let sent: usize = requests.iter().map(|one| one.head.len() + one.body.len()).sum();
    let cut = dice.below(sent as u32 + 1) as usize;
    let ending = match mood {
        Mood::Calm | Mood::Prompt => Ending::Close,
        Mood::Rough | Mood::Draining => dice.pick(&[
            (12, Ending::Close),
            (2, Ending::HalfClose),
            (2, Ending::Abort(cut)),
            (2, Ending::Reset(cut)),
            (1, Ending::Stall(cut)),
            (1, Ending::CloseAfter(cut % (count + 1))),
        ]),
    };
    Connection { start: dice.millis(300), second: dice.one_in(4), pipelined, requests, ending }
}

fn act(mood: Mood, dice: &mut Dice) -> Act {
    let correct = [
        (6, Act::Length),
        (6, Act::Chunked),
        (1, Act::UntilClose),
        (2, Act::Slow),
        (1, Act::Interim),
        (1, Act::Trailers),
        (1, Act::Close),
        (1, Act::NoContent),
        (1, Act::NotModified),
    ];
    let wrong = [
        (3, Act::CloseKept),
        (3, Act::CloseKeptLater),
        (1, Act::Silent),
        (1, Act::ResetMidHead),
        (1, Act::CutMidHead),
        (2, Act::ResetMidBody),
        (2, Act::CutMidBody),
        (2, Act::CutMidChunk),
        (1, Act::ResetUntilClose),
        (2, Act::NoAnswer),
        (1, Act::Garbage),
        (2, Act::Early),
        (2, Act::EarlyClose),
        (1, Act::Stall),
    ];
    let prompt =
        [(2, Act::CloseKept), (2, Act::CloseKeptLater), (3, Act::Poison), (3, Act::PoisonLater)];
    match mood {
        Mood::Calm => dice.pick(&correct),
        Mood::Prompt if dice.one_in(2) => dice.pick(&prompt),
        Mood::Rough | Mood::Draining if dice.one_in(3) => dice.pick(&wrong),
        _ => dice.pick(&correct),
    }
}

fn request(id: &str, mood: Mood, dice: &mut Dice) -> Request {
    let rough = matches!(mood, Mood::Rough | Mood::Draining);
    let size = dice.pick(&[(1, 0), (4, 50), (4, 1000), (2, 5000), (1, 20_000), (1, 90_000)]);
    let size = if size > 0 { dice.between(1, size) as usize } else { 0 };
    let place = dice.pick(&[
        (14, Place::Forward),
        (4, Place::Merge),
        (2, Place::Fixed),
        (1, Place::Moved),
        (1, Place::Missing),
        (1, Place::Small),
        (1, Place::Malformed),
    ]);
    let part = dice.pick(&[(1, 'a'), (1, 'b'), (1, 'c')]);
    let script = Script { act: act(mood, dice), size, part };
    let mut method = dice.pick(&[(6, "GET"), (4, "POST"), (1, "HEAD"), (1, "PUT"), (1, "DELETE")]);
    let version10 = dice.one_in(12);
    let mut upload = Upload::None;
    if place == Place::Merge || place == Place::Malformed {
        method = "GET";
    } else if place == Place::Small {
        method = "POST";
    }
    if matches!(method, "POST" | "PUT") {
        let size = dice.pick(&[(1, 0), (4, 60), (3, 1000), (2, 9000), (1, 80_000)]);
        let size = if size > 0 { dice.between(1, size) as usize } else { 0 };
        upload = match dice.below(5) {
            0 | 1 => Upload::Length(size),
            2 if !version10 && size > 0 => Upload::Expect(size),
            _ if version10 => Upload::Length(size),
            _ => Upload::Chunked(size),
        };
    }
    let bytes_max = dice.pick(&[(4, usize::MAX), (2, 1500), (1, 100), (1, 7)]);
    let pause = if dice.one_in(3) { dice.millis(3) } else { Duration::ZERO };
    let pieces = Pieces { bytes_max, pause };
    let pause = dice.pick(&[(6, 0), (3, 20), (1, 400)]);
    let mut pause = if pause > 0 { dice.millis(pause) } else { Duration::ZERO };
    if rough && dice.one_in(40) {
        // Around the listener's idle timeout.
        pause = Duration::from_millis(2990) + dice.millis(20);
    }
    let mut request = Request {
        id: id.to_string(),
        method,
        place,
        script,
        upload,
        version10,
        close: dice.one_in(15),
        pieces,
        pause,
        head: Vec::new(),
        body: Vec::new(),
    };
    request.write(dice);
    request
}
