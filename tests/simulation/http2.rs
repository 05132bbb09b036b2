//! Origins in HTTP/2 that fall silent, on the simulated clock: who is asked by PING, when, and what comes of it.
//!
//! The origin is frames of its own making and never the library that the gateway uses (RFC 9113 §6.7).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway::base::address::Address;
use ringway::base::buffer::BufferPool;
use ringway::base::ids::WorkerId;
use ringway::base::random::Rng;
use ringway::base::shared::Occupancy;
use ringway::observe::metrics::CoreMetrics;
use ringway::observe::plan::LabelBook;
use ringway::policy::slots::Slots;
use ringway::runtime::simulated::{Faults, Simulated, Simulation, Step, address_of};
use ringway::runtime::{Listener, Runtime};
use ringway::serve::Core;
use ringway::serve::connection::{self, Downstream, Open};
use ringway::serve::shard::Shard;

use crate::wire::{Head, Pieces, Wire};
use crate::world::{FIRST, ORIGINS, address, compiled};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const END: u8 = 5;
const PREFACE_BYTES: usize = 24;

/// What an origin does on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes everything and says nothing more.
    Mute,
    /// Answers PINGs and no request.
    Slow,
    /// Answers everything, and ends no stream.
    Endless,
    /// Answers everything.
    Prompt,
}

/// What origins saw.
#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    requests: Cell<usize>,
    pings: Cell<usize>,
    resets: Cell<usize>,
}

struct Stage {
    simulation: Simulation,
    core: Rc<Core<Simulated>>,
    seen: Rc<Seen>,
}

fn text() -> String {
    format!(
        "[[listen]]\naddress = \"{FIRST}\"\n[observe]\naccess_log = \"off\"\n[admin]\naddress = \"off\"\n\
         [default]\ntimeout = \"20m\"\n\
         [upstream.one]\nendpoints = [\"{}\"]\nhttp2 = true\npool = {{ idle_timeout = \"10m\" }}\n\
         timeout = {{ connect = \"1s\", first_byte = \"20m\", idle = \"20m\" }}\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"one\"\n",
        ORIGINS[0]
    )
}

impl Stage {
    /// A core in front of an origin that behaves so on its first connections, and then promptly.
    fn new(manners: &'static [Manner]) -> Stage {
        let simulation = Simulation::new(7, Faults::none());
        let runtime = simulation.host(address_of(1));
        let compiled = compiled(&text(), &mut LabelBook::default(), None);
        let shard = Shard {
            rng: Rng::new(7),
            slots: Slots::new(7),
            log: None,
            path: Default::default(),
            tokens: Default::default(),
        };
        let metrics = Arc::new(CoreMetrics::default());
        let gateway = compiled.gateway.clone();
        let core = Rc::new(Core::new(WorkerId(0), runtime.clone(), gateway, metrics, shard));
        core.settle();
        runtime.spawn(core.deadlines.clone().sweep(runtime.clone()));
        let at = address(FIRST);
        let listener = runtime.listen(&at, simulation.bind(&at)).expect("a simulated socket");
        runtime.spawn(accept_all(core.clone(), listener, at));
        let seen = Rc::new(Seen::default());
        start(&simulation, manners, &seen);
        Stage { simulation, core, seen }
    }

    /// A client that asks once; what it was answered, when it is.
    fn ask(&self, method: &str) -> Rc<RefCell<Option<Head>>> {
        let answer: Rc<RefCell<Option<Head>>> = Rc::default();
        let host = self.simulation.host(address_of(200));
        let (told, request) = (answer.clone(), format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        host.clone().spawn(async move {
            let stream = host.connect(&address(FIRST)).await.expect("a connection");
            let mut wire = Wire::new(stream, &host, &BufferPool::new(8));
            wire.send(request.as_bytes(), Pieces::WHOLE).await.expect("it is taken");
            let head = wire.head().await.expect("an answer").expect("a head");
            *told.borrow_mut() = Some(head);
        });
        answer
    }

    /// Lets the world go on until there is an answer; how long that took.
    fn until_answered(&self, answer: &Rc<RefCell<Option<Head>>>) -> (u16, Duration) {
        let begun = self.simulation.now();
        while answer.borrow().is_none() {
            assert!(self.simulation.step() != Step::Stuck, "nothing will ever happen");
            assert!(self.simulation.now().since(begun) < Duration::from_secs(3600), "no answer");
        }
        let status = answer.borrow().as_ref().and_then(Head::status).expect("a status");
        assert_eq!(self.simulation.panics(), Vec::<String>::new());
        (status, self.simulation.now().since(begun))
    }
}

fn start(simulation: &Simulation, manners: &'static [Manner], seen: &Rc<Seen>) {
    let (host, at) = (simulation.host(address_of(100)), address(ORIGINS[0]));
    let listener = host.listen(&at, simulation.bind(&at)).expect("a simulated socket");
    let seen = seen.clone();
    host.clone().spawn(async move {
        let pool = BufferPool::new(64);
        while let Some(Ok(stream)) = listener.accept().await {
            let number = seen.connections.get();
            seen.connections.set(number + 1);
            let manner = manners.get(number).copied().unwrap_or(Manner::Prompt);
            let (wire, seen) = (Wire::new(stream, &host, &pool), seen.clone());
            host.spawn(async move {
                let _ = serve(wire, manner, &seen).await;
            });
        }
    });
}

fn frame(kind: u8, flags: u8, stream: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags];
    bytes.extend(stream);
    bytes.extend(payload);
    bytes
}

async fn serve(mut wire: Wire, manner: Manner, seen: &Seen) -> Result<(), crate::wire::Gone> {
    wire.send(&frame(SETTINGS, 0, &[0; 4], &[]), Pieces::WHOLE).await?;
    while wire.input.len() < PREFACE_BYTES {
        wire.more().await?;
    }
    wire.input.drain(..PREFACE_BYTES);
    loop {
        while wire.input.len() < 9 {
            wire.more().await?;
        }
        let length = usize::from(wire.input[1]) << 8 | usize::from(wire.input[2]);
        while wire.input.len() < 9 + length {
            wire.more().await?;
        }
        let whole: Vec<u8> = wire.input.drain(..9 + length).collect();
        let (kind, flags, stream, payload) = (whole[3], whole[4], &whole[5..9], &whole[9..]);
        let answer = match kind {
            HEADERS => {
                seen.requests.set(seen.requests.get() + 1);
                // `:status: 204` of the static table.
                match manner {
                    Manner::Mute | Manner::Slow => None,
                    Manner::Endless => Some(frame(HEADERS, END_HEADERS, stream, &[0x89])),
                    Manner::Prompt => Some(frame(HEADERS, END, stream, &[0x89])),
                }
            }
            PING if flags & ACK == 0 => {
                seen.pings.set(seen.pings.get() + 1);
                (manner != Manner::Mute).then(|| frame(PING, ACK, stream, payload))
            }
            RST_STREAM => {
                seen.resets.set(seen.resets.get() + 1);
                None
            }
            SETTINGS if flags & ACK == 0 => Some(frame(SETTINGS, ACK, stream, &[])),
            _ => None,
        };
        if let Some(answer) = answer {
            wire.send(&answer, Pieces::WHOLE).await?;
        }
    }
}

async fn accept_all(
    core: Rc<Core<Simulated>>,
    listener: <Simulated as Runtime>::Listener,
    at: Address,
) {
    let (at, occupancy) = (Arc::new(at), Arc::new(Occupancy::default()));
    while let Some(Ok(stream)) = listener.accept().await {
        let downstream = Downstream::new(stream, at.clone());
        if let Ok(admission) = occupancy.admit(u64::MAX, None) {
            let open = Open::new(core.clone(), downstream, admission);
            core.runtime.spawn(connection::serve(open));
        }
    }
}

#[test]
fn who_answers_no_ping_is_given_up_and_what_may_be_repeated_is_tried_again() {
    let stage = Stage::new(&[Manner::Mute]);
    let (status, took) = stage.until_answered(&stage.ask("GET"));
    assert_eq!((status, stage.seen.connections.get(), stage.seen.pings.get()), (204, 2, 1));
    let secs = took.as_secs();
    assert!((20..=22).contains(&secs), "ten seconds of silence, ten for the answer: {secs}");
    assert_eq!(stage.core.metrics.origin_h2.silent.read(), 1);
}

#[test]
fn what_may_not_be_repeated_fails_when_its_origin_is_silent() {
    let stage = Stage::new(&[Manner::Mute]);
    let (status, took) = stage.until_answered(&stage.ask("POST"));
    assert_eq!((status, stage.seen.requests.get()), (502, 1));
    assert!((20..=22).contains(&took.as_secs()));
    let (status, took) = stage.until_answered(&stage.ask("POST"));
    assert_eq!((status, took.as_secs()), (204, 0), "on a new connection");
}

#[test]
fn an_origin_that_takes_its_time_is_asked_seldom() {
    let stage = Stage::new(&[Manner::Slow]);
    let answer = stage.ask("GET");
    for (minutes, pings) in [(1, 2), (5, 2), (6, 3), (10, 3), (11, 4)] {
        let until = Duration::from_secs(60 * minutes);
        while stage.simulation.now().since(ringway::base::time::Instant::ORIGIN) < until {
            stage.simulation.pass(Duration::from_secs(5));
        }
        assert_eq!(stage.seen.pings.get(), pings, "after {minutes} minutes");
    }
    assert!(answer.borrow().is_none() && stage.seen.connections.get() == 1);
}

#[test]
fn an_unused_connection_is_asked_once_and_used_again() {
    let stage = Stage::new(&[]);
    stage.until_answered(&stage.ask("GET"));
    stage.simulation.pass(Duration::from_secs(500));
    assert_eq!(stage.seen.pings.get(), 1);
    stage.until_answered(&stage.ask("GET"));
    assert_eq!(stage.seen.connections.get(), 1);
    stage.simulation.pass(Duration::from_secs(700));
    assert_eq!(stage.core.metrics.origin_h2.open.read(), 0, "unused for too long");
}

#[test]
fn a_stream_that_its_origin_does_not_end_is_cancelled_after_a_while() {
    let stage = Stage::new(&[Manner::Endless]);
    for _ in 0..3 {
        assert_eq!(stage.until_answered(&stage.ask("GET")).0, 204);
    }
    stage.simulation.pass(Duration::from_secs(4));
    assert_eq!(stage.seen.resets.get(), 0, "its end may come by itself");
    stage.simulation.pass(Duration::from_secs(3));
    assert_eq!((stage.seen.resets.get(), stage.seen.connections.get()), (3, 1));
}
