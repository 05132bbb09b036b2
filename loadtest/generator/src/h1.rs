//! One connection of HTTP/1.1: a request, its answer, the next request. Never two requests at once.

use std::io::ErrorKind;

use crate::answer::{Answer, Progress, Seen};
use crate::bounds::READS_IN_TURN_MAX;
use crate::plan::Request;
use crate::record::{Failure, Times};
use crate::wire::Wire;

/// What stands for the running number in a field's value; as wide as the number.
pub const UNIQUE: &str = "{unique}";
const UNIQUE_DIGITS: usize = 16;

/// What a connection has to tell; `which` is the place of the request among all.
pub enum Happened {
    Answered { which: usize, times: Times, seen: Seen },
    Failed { times: Option<Times>, kind: Failure, what: String },
}

/// A request as it goes out, once kept alive and once not.
pub struct Ready {
    kept: Vec<u8>,
    last: Vec<u8>,
    /// Where the running number stands in both.
    unique: Vec<usize>,
    body: Vec<u8>,
    head_only: bool,
}

impl Ready {
    pub fn new(request: &Request, authority: &str) -> Ready {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {authority}\r\n", request.method, request.path);
        let mut unique = Vec::new();
        for (name, value) in &request.fields {
            text += name;
            text += ": ";
            match value.split_once(UNIQUE) {
                None => text += value,
                Some((before, after)) => {
                    text += before;
                    unique.push(text.len());
                    text += &"0".repeat(UNIQUE_DIGITS);
                    text += after;
                }
            }
            text += "\r\n";
        }
        if !request.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", request.body.len());
        }
        let kept = format!("{text}\r\n").into_bytes();
        let last = format!("{text}Connection: close\r\n\r\n").into_bytes();
        Ready {
            kept,
            last,
            unique,
            body: request.body.clone(),
            head_only: request.method == "HEAD",
        }
    }
}

pub struct Connection {
    wire: Wire,
    head: Vec<u8>,
    /// Bytes sent of head and body together.
    sent: usize,
    answer: Answer,
    current: Option<(usize, Times)>,
}

impl Connection {
    pub fn new(wire: Wire) -> Connection {
        Connection { wire, head: Vec::new(), sent: 0, answer: Answer::default(), current: None }
    }

    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    pub fn times(&self) -> Option<Times> {
        self.current.map(|(_, times)| times)
    }

    /// Whether the event loop must say when the socket takes bytes again.
    pub fn wants_write(&self, requests: &[Ready]) -> bool {
        let unsent = self
            .current
            .is_some_and(|(which, _)| self.sent < self.head.len() + requests[which].body.len());
        unsent || self.wire.has_pending()
    }

    /// Sends a request as far as the socket takes it. False when the connection is over.
    pub fn start(
        &mut self,
        which: usize,
        requests: &[Ready],
        number: u64,
        last: bool,
        times: Times,
        sink: &mut Vec<Happened>,
    ) -> bool {
        let ready = &requests[which];
        self.head.clear();
        self.head.extend_from_slice(if last { &ready.last } else { &ready.kept });
        for at in &ready.unique {
            let digits = format!("{number:0width$}", width = UNIQUE_DIGITS);
            self.head[*at..*at + UNIQUE_DIGITS]
                .copy_from_slice(&digits.as_bytes()[..UNIQUE_DIGITS]);
        }
        self.sent = 0;
        self.answer.expect(ready.head_only);
        self.current = Some((which, times));
        self.write(requests, sink)
    }

    pub fn write(&mut self, requests: &[Ready], sink: &mut Vec<Happened>) -> bool {
        match self.wire.flush() {
            Ok(true) => {}
            Ok(false) => return true,
            Err(error) => return self.over(&error.to_string(), sink),
        }
        let Some((which, _)) = self.current else { return true };
        let body = &requests[which].body;
        while self.sent < self.head.len() + body.len() {
            let rest = match self.sent.checked_sub(self.head.len()) {
                None => &self.head[self.sent..],
                Some(at) => &body[at..],
            };
            match self.wire.write(rest) {
                Ok(count) => self.sent += count,
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        || error.kind() == ErrorKind::NotConnected =>
                {
                    return true;
                }
                Err(error) => return self.over(&error.to_string(), sink),
            }
        }
        true
    }

    /// Reads what has come. False when the connection is over.
    pub fn read(&mut self, scratch: &mut [u8], sink: &mut Vec<Happened>) -> bool {
        for _ in 0..READS_IN_TURN_MAX {
            let came = match self.wire.read(scratch) {
                Ok(0) => return self.closed(sink),
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) => return self.over(&error.to_string(), sink),
            };
            let Some((which, times)) = self.current else {
                sink.push(Happened::Failed {
                    times: None,
                    kind: Failure::Protocol,
                    what: "bytes that nobody asked for".into(),
                });
                return false;
            };
            match self.answer.feed(&scratch[..came]) {
                Ok(Progress::More) => {}
                Ok(Progress::Done { seen, used, keep_alive }) => {
                    self.current = None;
                    if used < came {
                        let what = "bytes behind the end of an answer".into();
                        sink.push(Happened::Failed {
                            times: Some(times),
                            kind: Failure::Protocol,
                            what,
                        });
                        return false;
                    }
                    sink.push(Happened::Answered { which, times, seen });
                    return keep_alive;
                }
                Err(what) => {
                    self.current = None;
                    let what = what.to_string();
                    sink.push(Happened::Failed {
                        times: Some(times),
                        kind: Failure::Protocol,
                        what,
                    });
                    return false;
                }
            }
        }
        true
    }

    /// The other side is done: the end of an answer, of an idle connection, or a fault.
    fn closed(&mut self, sink: &mut Vec<Happened>) -> bool {
        let Some((which, times)) = self.current.take() else { return false };
        match self.answer.closed() {
            Ok(seen) => sink.push(Happened::Answered { which, times, seen }),
            Err(what) => {
                let kind = self.kind_of_end();
                sink.push(Happened::Failed { times: Some(times), kind, what: what.to_string() });
            }
        }
        false
    }

    fn over(&mut self, what: &str, sink: &mut Vec<Happened>) -> bool {
        let kind = self.kind_of_end();
        let times = self.current.take().map(|(_, times)| times);
        // An idle connection that is reset harms nobody.
        if times.is_some() {
            sink.push(Happened::Failed { times, kind, what: what.to_string() });
        }
        false
    }

    fn kind_of_end(&self) -> Failure {
        match () {
            _ if !self.wire.is_established() => Failure::Connect,
            _ if self.wire.is_handshaking() => Failure::Handshake,
            _ => Failure::Closed,
        }
    }
}
