//! Priorities within a connection of HTTP/2 (RFC 9218): in which order DATA of several responses comes.
//!
//! The client takes no more than it is told to: the window of its connection is small, and grows by steps after all
//! answers have begun. What it sees is the order in which we chose. Nothing here waits for a length of time.

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::h2_wire::{
    Answer, DATA, END_STREAM, Frame, H2Wire, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::origin::{Origin, Step, answer};

const PRIORITY_UPDATE: u8 = 16;
const BODY_BYTES: usize = 100_000;
/// What a connection takes at first (RFC 9113 §6.9.2).
const FIRST_WINDOW: usize = 65_535;

fn house() -> (Origin, Gateway) {
    // The origin says how urgent it is where the path does.
    let origin = Origin::script(|request| {
        let body = vec![b'x'; BODY_BYTES];
        let said = request.target.strip_prefix("/says/").map(|said| ("priority", said));
        vec![Step::Send(answer(200, said.as_slice(), &body))]
    });
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    (origin, gateway)
}

/// A client whose streams take all, and whose connection takes nothing any more.
struct Client {
    wire: H2Wire,
    next: u32,
}

impl Client {
    fn new(gateway: &Gateway) -> Client {
        let mut wire = H2Wire::silent(gateway.address);
        let large = [0, 1, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &large)].concat());
        let mut client = Client { wire, next: 1 };
        // The window of the connection is used up by an answer that goes on at the very end.
        client.ask("/first", "u=7");
        let mut left = FIRST_WINDOW;
        while left > 0 {
            left -= client.data().payload.len();
        }
        client
    }

    fn ask(&mut self, path: &str, priority: &str) -> u32 {
        let stream = self.next;
        self.next += 2;
        let said = [("priority", priority)];
        self.wire.get(stream, path, if priority.is_empty() { &[] } else { &said });
        stream
    }

    /// Waits until so many answers have begun.
    fn await_heads(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.wire.expect(HEADERS)));
    }

    fn data(&mut self) -> Frame {
        self.wire.expect(DATA)
    }

    /// Opens the window by steps, until these streams have ended: in which order they did.
    fn order(&mut self, streams: &[u32], step: u32) -> Vec<u32> {
        self.flow(streams, step)
            .into_iter()
            .filter_map(|(stream, ended)| ended.then_some(stream))
            .collect()
    }

    /// The same, with all that came before: whose DATA, and whether it was the last.
    fn flow(&mut self, streams: &[u32], step: u32) -> Vec<(u32, bool)> {
        let (mut flow, mut ended, mut left) = (Vec::new(), 0, 0);
        while ended < streams.len() {
            if left == 0 {
                self.wire.send(frame(WINDOW_UPDATE, 0, 0, &step.to_be_bytes()));
                left = step as usize;
            }
            let frame = self.data();
            left -= frame.payload.len();
            if !streams.contains(&frame.stream) {
                continue;
            }
            let is_last = frame.flags & END_STREAM != 0;
            ended += usize::from(is_last);
            flow.push((frame.stream, is_last));
        }
        flow
    }
}

#[test]
fn the_more_urgent_comes_first_whatever_was_asked_first() {
    let (_origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let streams = ["u=5", "u=0", "u=3", "u=1"].map(|said| client.ask("/", said));
    client.await_heads(4);
    let [fifth, first, third, second] = streams;
    assert_eq!(client.order(&streams, 10_000), [first, second, third, fifth]);
}

#[test]
fn those_that_are_of_no_use_in_part_go_one_after_the_other() {
    let (_origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let streams = ["u=2", "u=2", "u=2"].map(|said| client.ask("/", said));
    client.await_heads(3);
    assert_eq!(client.order(&streams, 10_000), streams);
}

#[test]
fn those_that_are_of_use_in_part_share() {
    let (_origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let streams = ["u=2, i", "u=2, i", "u=4"].map(|said| client.ask("/", said));
    client.await_heads(3);
    let flow = client.flow(&streams, 10_000);
    let changes = flow.windows(2).filter(|two| two[0].0 != two[1].0).count();
    assert!(changes > 10, "{flow:?}");
    assert_eq!(flow.last(), Some(&(streams[2], true)));
}

#[test]
fn a_frame_changes_it() {
    let (_origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let streams = ["u=1", "u=2", "u=3"].map(|said| client.ask("/", said));
    client.await_heads(3);
    let update = [&streams[2].to_be_bytes()[..], b"u=0"].concat();
    client.wire.send(frame(PRIORITY_UPDATE, 0, 0, &update));
    let [first, second, third] = streams;
    assert_eq!(client.order(&streams, 10_000), [third, first, second]);
    // It may come before its stream.
    let next = client.next + 2;
    let update = [&next.to_be_bytes()[..], b"u=0"].concat();
    client.wire.send(frame(PRIORITY_UPDATE, 0, 0, &update));
    let streams = ["u=1", "u=2"].map(|said| client.ask("/", said));
    client.await_heads(2);
    assert_eq!(client.order(&streams, 10_000), [streams[1], streams[0]]);
}

#[test]
fn an_origin_has_the_last_word_and_both_fields_pass() {
    let (origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let plain = client.ask("/", "u=3");
    let raised = client.ask("/says/u=0", "u=5");
    client.await_heads(2);
    assert_eq!(client.order(&[plain, raised], 10_000), [raised, plain]);
    let seen = origin.requests();
    let asked = seen.iter().find(|request| request.target == "/says/u=0").expect("asked");
    assert_eq!(asked.field("priority"), Some("u=5"));
    let answer = gateway.get("/says/u=0").expect(200);
    assert_eq!(answer.field("priority"), Some("u=0"));
}

#[test]
fn an_urgent_one_that_its_client_does_not_take_holds_up_nobody() {
    let (_origin, gateway) = house();
    let mut wire = H2Wire::silent(gateway.address);
    // Streams take nothing, the connection takes much.
    let none = [0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let much = 10_000_000_u32.to_be_bytes();
    wire.send(
        [PREFACE, &frame(SETTINGS, 0, 0, &none), &frame(WINDOW_UPDATE, 0, 0, &much)].concat(),
    );
    wire.get(1, "/", &[("priority", "u=0")]);
    wire.expect(HEADERS);
    for stream in [3, 5] {
        wire.get(stream, "/", &[("priority", "u=6")]);
        wire.send(frame(WINDOW_UPDATE, 0, stream, &much));
        assert_eq!(wire.answer(stream), Answer::Response(200, vec![b'x'; BODY_BYTES]));
    }
    wire.send(frame(WINDOW_UPDATE, 0, 1, &much));
    let mut bytes = 0;
    while bytes < BODY_BYTES {
        bytes += wire.expect(DATA).payload.len();
    }
}

#[test]
fn who_gives_an_urgent_one_up_gets_the_next() {
    let (_origin, gateway) = house();
    let mut client = Client::new(&gateway);
    let urgent = client.ask("/", "u=0");
    let other = client.ask("/", "u=4");
    client.await_heads(2);
    client.wire.send(frame(3, 0, urgent, &8_u32.to_be_bytes()));
    assert_eq!(client.order(&[other], 10_000), [other]);
}

#[test]
fn who_says_nothing_shares_as_ever() {
    let (_origin, gateway) = house();
    let mut wire = H2Wire::silent(gateway.address);
    let large = [0, 1, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
    wire.send([PREFACE, &frame(SETTINGS, 0, 0, &large)].concat());
    let mut client = Client { wire, next: 1 };
    let streams = ["", "", ""].map(|said| client.ask("/", said));
    client.wire.send(frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()));
    let mut bodies = [0; 3];
    let mut ended = 0;
    while ended < streams.len() {
        let frame = client.data();
        bodies[(frame.stream / 2) as usize] += frame.payload.len();
        ended += usize::from(frame.flags & END_STREAM != 0);
    }
    assert_eq!(bodies, [BODY_BYTES; 3]);
}

#[test]
fn clients_are_told_that_the_old_priorities_are_not_read() {
    let (_origin, gateway) = house();
    let mut wire = H2Wire::connect(gateway.address);
    let settings = wire.expect(SETTINGS).payload;
    assert!(settings.chunks(6).any(|one| one == [0, 9, 0, 0, 0, 1]), "{settings:?}");
}

#[test]
fn frames_that_are_wrong_end_the_connection_and_values_that_are_do_not() {
    // §7.1.
    let (_origin, gateway) = house();
    let of = |on: u32, stream: u32, value: &str| {
        frame(PRIORITY_UPDATE, 0, on, &[&stream.to_be_bytes()[..], value.as_bytes()].concat())
    };
    let long = format!("u=1, x={}", "y".repeat(500));
    for (bytes, code) in
        [(of(1, 1, "u=1"), 1), (of(0, 0, "u=1"), 1), (frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 1]), 6)]
    {
        let mut wire = H2Wire::connect(gateway.address);
        wire.send(bytes);
        assert_eq!(wire.farewell(), code);
    }
    let mut wire = H2Wire::connect(gateway.address);
    wire.polite = true;
    for value in ["u=99", "?!", "", &long] {
        wire.send(of(0, 1, value));
    }
    wire.send(frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()));
    wire.get(1, "/", &[("priority", "\u{fc}")]);
    wire.send(frame(WINDOW_UPDATE, 0, 1, &1_000_000_u32.to_be_bytes()));
    assert!(matches!(wire.answer(1), Answer::Response(200, _)));
}
