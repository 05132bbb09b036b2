//! The event loop of one thread: starts requests when they are due, reads what comes, and records both.
//!
//! Never two threads on one connection, and never a wait without an end: the run ends at its length plus one timeout at
//! the latest.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{Timespec, epoll};

use crate::bounds::{CONNECT_FAILURES_MAX, READ_BYTES};
use crate::h1::{self, Happened};
use crate::h2c;
use crate::pace::Schedule;
use crate::plan::Plan;
use crate::record::{Failure, Record, Times};
use crate::wire::Wire;

/// How often waits are looked at for their end, nanoseconds.
const SWEEP_NS: u64 = 20_000_000;

/// Requests as they go out.
pub enum Requests {
    H1(Vec<h1::Ready>),
    H2(Vec<h2c::Ready>),
}

impl Requests {
    pub fn new(plan: &Plan) -> Result<Requests, String> {
        let all = plan.mix.requests.iter();
        Ok(match plan.http2 {
            false => {
                Requests::H1(all.map(|request| h1::Ready::new(request, &plan.authority)).collect())
            }
            true => {
                let scheme = if plan.tls.is_some() { "https" } else { "http" };
                let ready = all.map(|request| h2c::Ready::new(request, scheme, &plan.authority));
                Requests::H2(ready.collect::<Result<_, _>>()?)
            }
        })
    }
}

enum Session {
    H1(h1::Connection),
    H2(h2c::Connection),
}

#[derive(Default)]
struct Entry {
    session: Option<Session>,
    served: u64,
    in_flight: usize,
    /// Its places that wait for the connection's end, after `churn` requests.
    parked: usize,
    armed_for_write: bool,
}

struct Thread<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    epoll: OwnedFd,
    entries: Vec<Entry>,
    /// Places for a request: a connection stands here once for each of its free streams.
    free: VecDeque<usize>,
    schedule: Schedule,
    record: Record,
    started: Instant,
    turn: usize,
    number: u64,
    in_flight: usize,
    connect_failures: u32,
    scratch: Vec<u8>,
    sink: Vec<Happened>,
}

/// Runs one thread's share, `index` of `plan.threads`.
pub fn run(
    plan: &Plan,
    requests: &Requests,
    index: usize,
    started: Instant,
) -> Result<Record, String> {
    let connections = share(plan.connections, plan.threads, index);
    let streams = if plan.http2 { plan.streams } else { 1 };
    let count = share(plan.requests_max as usize, plan.threads, index) as u64;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let places = (0..streams).flat_map(|_| 0..connections);
    let mut thread = Thread {
        plan,
        requests,
        epoll,
        entries: (0..connections).map(|_| Entry::default()).collect(),
        free: places.collect(),
        schedule: Schedule::new(plan.rate, plan.length, count, (index, plan.threads)),
        record: Record::new(plan.mix.expect.clone(), plan.warm.as_nanos() as u64),
        started,
        turn: index * plan.mix.requests.len() / plan.threads,
        number: (index as u64) << 40,
        in_flight: 0,
        connect_failures: 0,
        scratch: vec![0; READ_BYTES],
        sink: Vec::new(),
    };
    thread.run()?;
    Ok(thread.record)
}

/// What thread `index` of `threads` does of so many.
fn share(all: usize, threads: usize, index: usize) -> usize {
    all / threads + usize::from(index < all % threads)
}

impl Thread<'_> {
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn run(&mut self) -> Result<(), String> {
        // Timers of a thread may be late by 50 us unless it says that it minds.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let end = self.plan.length.as_nanos() as u64;
        let last = end + self.plan.timeout.as_nanos() as u64;
        let mut events = Vec::with_capacity(256);
        let mut next_sweep = 0;
        // Whether a place was free all through the last wait: then a late start is this generator's own.
        let mut was_free = true;
        loop {
            let now = self.now();
            self.start_due(now, was_free)?;
            if now >= next_sweep {
                self.sweep(now);
                next_sweep = now + SWEEP_NS;
            }
            let due = self.schedule.due(now);
            if self.in_flight == 0 && due.is_none() || now >= last {
                break;
            }
            was_free = !self.free.is_empty();
            let wake = match due {
                Some(at) if was_free => at.min(next_sweep),
                _ => next_sweep,
            };
            let wait = wake.saturating_sub(self.now());
            let timeout = Timespec {
                tv_sec: (wait / 1_000_000_000) as i64,
                tv_nsec: (wait % 1_000_000_000) as i64,
            };
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(format!("epoll: {error}")),
            }
            for event in &events {
                self.ready(event.data.u64() as usize, event.flags)?;
            }
        }
        self.give_up(end);
        Ok(())
    }

    /// Starts what is due while there is a place for it.
    fn start_due(&mut self, now: u64, was_free: bool) -> Result<(), String> {
        // Each free place once: what fails at once comes back to the end of the queue.
        for _ in 0..self.free.len() {
            let Some(meant) = self.schedule.take(now) else { break };
            if was_free && self.schedule.is_open() {
                self.record.lag(meant, self.now());
            }
            let Some(at) = self.free.pop_front() else { break };
            self.start(at, meant)?;
        }
        Ok(())
    }

    fn start(&mut self, at: usize, meant: u64) -> Result<(), String> {
        let times = Times { meant, sent: self.now() };
        self.in_flight += 1;
        self.entries[at].in_flight += 1;
        if self.entries[at].session.is_none() {
            match self.connect(at) {
                Ok(session) => self.entries[at].session = Some(session),
                Err(error) => {
                    self.sink.push(Happened::Failed {
                        times: Some(times),
                        kind: Failure::Connect,
                        what: error.to_string(),
                    });
                    return self.settle(at, false);
                }
            }
        }
        let which = self.turn % self.plan.mix.requests.len();
        self.turn += 1;
        self.number += 1;
        let entry = &mut self.entries[at];
        entry.served += 1;
        let last = self.plan.churn > 0 && entry.served >= self.plan.churn;
        let alive = match (&mut entry.session, self.requests) {
            (Some(Session::H1(connection)), Requests::H1(requests)) => {
                connection.start(which, requests, self.number, last, times, &mut self.sink)
            }
            (Some(Session::H2(connection)), Requests::H2(requests)) => {
                connection.start(which, requests, self.number, times, &mut self.sink)
            }
            _ => false,
        };
        self.settle(at, alive)
    }

    fn connect(&mut self, at: usize) -> std::io::Result<Session> {
        let host = self
            .plan
            .authority
            .rsplit_once(':')
            .map_or(self.plan.authority.as_str(), |(host, _)| host);
        let wire = Wire::connect(
            self.plan.address,
            self.plan.tls.as_ref(),
            host.trim_matches(['[', ']']),
        )?;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &wire, data, epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
        self.entries[at].armed_for_write = true;
        self.entries[at].served = 0;
        self.record.connection();
        Ok(match self.plan.http2 {
            false => Session::H1(h1::Connection::new(wire)),
            true => Session::H2(h2c::Connection::new(wire)),
        })
    }

    fn ready(&mut self, at: usize, flags: epoll::EventFlags) -> Result<(), String> {
        let over = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        let readable = over || flags.contains(epoll::EventFlags::IN);
        let writable = flags.contains(epoll::EventFlags::OUT);
        let alive = match (&mut self.entries[at].session, self.requests) {
            (Some(Session::H1(connection)), Requests::H1(requests)) => {
                let mut alive = true;
                if readable {
                    alive = connection.read(&mut self.scratch, &mut self.sink);
                }
                // What TLS read may be what its sending waited for.
                alive && connection.write(requests, &mut self.sink)
            }
            (Some(Session::H2(connection)), Requests::H2(requests)) => {
                connection.ready(readable, writable, requests, &mut self.sink)
            }
            // Closed earlier in this round of events.
            _ => return Ok(()),
        };
        self.settle(at, alive)
    }

    /// Records what a connection told, gives its places back, and starts the next requests of a closed loop.
    fn settle(&mut self, at: usize, alive: bool) -> Result<(), String> {
        let mut alive = alive;
        if !self.sink.is_empty() {
            let now = self.now();
            let mut sink = std::mem::take(&mut self.sink);
            for happened in sink.drain(..) {
                let settled = match happened {
                    Happened::Answered { which, times, seen } => {
                        self.connect_failures = 0;
                        self.record.answer(self.plan.mix.requests[which].line, times, now, seen);
                        true
                    }
                    Happened::Failed { times, kind, what } => {
                        self.count_failure(kind, &what)?;
                        self.record.failure(kind, times, now, || what);
                        times.is_some()
                    }
                };
                if settled {
                    self.in_flight -= 1;
                    self.entries[at].in_flight -= 1;
                    self.entries[at].parked += 1;
                }
            }
            self.sink = sink;
        }
        let entry = &mut self.entries[at];
        let retires = self.plan.churn > 0 && entry.served >= self.plan.churn;
        if retires && entry.in_flight == 0 && entry.parked > 0 {
            alive = false;
        }
        if !alive && let Some(Session::H2(connection)) = &mut entry.session {
            let left = connection.in_flight();
            if left > 0 {
                connection.fail(Failure::Closed, "the connection ended", &mut self.sink);
                return self.settle(at, false);
            }
        }
        if !alive {
            // Dropping it closes it, and epoll forgets it with that.
            entry.session = None;
        }
        if alive && retires {
            return self.arm(at);
        }
        let back = std::mem::take(&mut self.entries[at].parked);
        self.free.extend(std::iter::repeat_n(at, back));
        self.arm(at)
    }

    fn count_failure(&mut self, kind: Failure, what: &str) -> Result<(), String> {
        if kind == Failure::Connect {
            self.connect_failures += 1;
            if self.connect_failures > CONNECT_FAILURES_MAX {
                return Err(format!(
                    "given up after {CONNECT_FAILURES_MAX} failures to connect: {what}"
                ));
            }
        }
        Ok(())
    }

    /// Asks epoll to say when the socket takes bytes, while there are any to send.
    fn arm(&mut self, at: usize) -> Result<(), String> {
        let entry = &mut self.entries[at];
        let wants = match (&entry.session, self.requests) {
            (Some(Session::H1(connection)), Requests::H1(requests)) => {
                connection.wants_write(requests)
            }
            (Some(Session::H2(connection)), _) => connection.wants_write(),
            _ => return Ok(()),
        };
        if wants == entry.armed_for_write {
            return Ok(());
        }
        entry.armed_for_write = wants;
        let flags = if wants {
            epoll::EventFlags::IN | epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::IN
        };
        let data = epoll::EventData::new_u64(at as u64);
        let changed = match &entry.session {
            Some(Session::H1(connection)) => {
                epoll::modify(&self.epoll, connection.wire(), data, flags)
            }
            Some(Session::H2(connection)) => {
                connection.with_wire(|w| epoll::modify(&self.epoll, w, data, flags))
            }
            None => Ok(()),
        };
        changed.map_err(|error| format!("epoll: {error}"))
    }

    /// Ends connections whose answer is overdue.
    fn sweep(&mut self, now: u64) {
        let timeout = self.plan.timeout.as_nanos() as u64;
        for at in 0..self.entries.len() {
            let oldest = match &self.entries[at].session {
                Some(Session::H1(connection)) => connection.times(),
                Some(Session::H2(connection)) => connection.oldest(),
                None => None,
            };
            if oldest.is_some_and(|times| now.saturating_sub(times.sent) > timeout) {
                self.end(at, "no answer in time");
            }
        }
    }

    /// Gives up whatever a connection waits for.
    fn end(&mut self, at: usize, what: &str) {
        match &mut self.entries[at].session {
            Some(Session::H1(connection)) => {
                let times = connection.times();
                self.sink.extend(times.map(|times| Happened::Failed {
                    times: Some(times),
                    kind: Failure::Timeout,
                    what: what.to_string(),
                }));
            }
            Some(Session::H2(connection)) => {
                connection.fail(Failure::Timeout, what, &mut self.sink)
            }
            None => {}
        }
        // Only failures to connect end a run early.
        let _ = self.settle(at, false);
    }

    /// The run is over: what is still in flight, and what no place was free for.
    fn give_up(&mut self, end: u64) {
        for at in 0..self.entries.len() {
            if self.entries[at].in_flight > 0 {
                self.end(at, "no answer at the end of the run");
            }
        }
        while self.schedule.is_open()
            && let Some(meant) = self.schedule.take(end)
        {
            self.record.unsent(meant, end);
        }
    }
}
