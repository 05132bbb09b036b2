//! A simulated connection: two pipes, and the kernel's part in moving bytes through them.
//!
//! Side 0 connected, side 1 accepted; side `s` writes into pipe `s` and reads from the other. Bytes never
//! overtake each other within a direction. A close with unread bytes, or bytes that arrive at a closed
//! side, become a reset, as in Linux (RFC 1122 §4.2.2.13, RFC 9112 §9.6).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::base::buffer::Buf;
use crate::runtime::simulated::World;
use crate::runtime::simulated::pipe::{Ended, Operation, Parcel, Pipe};

/// Between two parts of a write that was cut short. Unit: nanoseconds.
const WRITE_AGAIN_MAX: u64 = 50_000;

/// A connection between two hosts.
pub(super) struct Link {
    pub(super) world: Rc<World>,
    pipes: [RefCell<Pipe>; 2],
}

impl Link {
    pub(super) fn new(world: &Rc<World>) -> Rc<Self> {
        let faults = &world.faults;
        let wide = faults.pipe_bytes_max.saturating_sub(faults.pipe_bytes_min) as u64;
        let pipe = || {
            let bytes_max = faults.pipe_bytes_min + world.up_to(wide) as usize;
            RefCell::new(Pipe::new(bytes_max))
        };
        Rc::new(Self { world: world.clone(), pipes: [pipe(), pipe()] })
    }

    /// The pipe that `side` writes into.
    pub(super) fn outward(&self, side: usize) -> &RefCell<Pipe> {
        &self.pipes[side]
    }

    /// The pipe that `side` reads from.
    pub(super) fn inward(&self, side: usize) -> &RefCell<Pipe> {
        &self.pipes[1 - side]
    }

    /// Puts a parcel on its way from `side`.
    fn send(self: &Rc<Self>, side: usize, parcel: Parcel) {
        let now = self.world.now();
        let arrival = {
            let latency = self.world.latency();
            let mut pipe = self.outward(side).borrow_mut();
            let arrival = pipe.last_arrival.max(now + latency);
            pipe.push(arrival, parcel);
            arrival
        };
        if arrival <= now {
            return self.deliver(side);
        }
        let link = self.clone();
        self.world.executor.plan(arrival, move || link.deliver(side));
    }

    /// Takes in what has arrived of what `side` sent.
    fn deliver(self: &Rc<Self>, side: usize) {
        let (now, world) = (self.world.now(), &self.world);
        let (mut bounced, mut reset) = (false, false);
        let watchers = {
            let mut pipe = self.outward(side).borrow_mut();
            while let Some(parcel) = pipe.pop(now) {
                match parcel {
                    Parcel::Bytes(_) if pipe.reader_gone => bounced = true,
                    Parcel::Bytes(bytes) if pipe.ended.is_none() => {
                        world.executor.note(bytes.len() as u64);
                        pipe.arrived.extend(bytes);
                    }
                    Parcel::Bytes(_) => {}
                    Parcel::End => {
                        pipe.ended.get_or_insert(Ended::Orderly);
                    }
                    Parcel::Reset => {
                        reset = true;
                        // A reader that has seen the end stays with it.
                        if pipe.ended.is_none() {
                            pipe.ended = Some(Ended::Reset);
                            if world.chance(world.faults.resets_destroy) {
                                pipe.arrived.clear();
                            }
                        }
                    }
                }
            }
            if pipe.is_readable() { std::mem::take(&mut pipe.watchers) } else { Vec::new() }
        };
        watchers.into_iter().for_each(std::task::Waker::wake);
        self.pump_reads(1 - side);
        if reset {
            self.inward(side).borrow_mut().broken = true;
            self.pump_writes(1 - side);
        }
        if bounced {
            self.send(1 - side, Parcel::Reset);
        }
        self.pump_writes(side);
    }

    /// Finishes the reads of `side` that can be finished.
    pub(super) fn pump_reads(self: &Rc<Self>, side: usize) {
        let world = &self.world;
        loop {
            let mut pipe = self.inward(side).borrow_mut();
            if !pipe.is_readable() {
                break;
            }
            let Some(read) = pipe.reads.pop_front() else { break };
            let result = if pipe.arrived.is_empty() {
                match pipe.ended {
                    Some(Ended::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
                    _ => Ok(0),
                }
            } else {
                Ok(take_in(world, &mut pipe, &read))
            };
            drop(pipe);
            read.finish(result);
        }
        self.pump_writes(1 - side);
    }

    /// Sends what there is room for of what `side` writes.
    pub(super) fn pump_writes(self: &Rc<Self>, side: usize) {
        let world = &self.world;
        loop {
            let mut pipe = self.outward(side).borrow_mut();
            let room = pipe.room();
            let Some(write) = pipe.writes.front().cloned() else { return };
            let failed = match (pipe.broken, pipe.writer_done) {
                (true, _) => Some(io::ErrorKind::ConnectionReset),
                (_, true) => Some(io::ErrorKind::BrokenPipe),
                _ => None,
            };
            if let Some(kind) = failed {
                pipe.writes.pop_front();
                drop(pipe);
                write.finish(Err(kind.into()));
                continue;
            }
            if room == 0 {
                return;
            }
            let (bytes, whole, short) = take_out(world, &write, room);
            if whole {
                pipe.writes.pop_front();
            }
            drop(pipe);
            let count = bytes.len();
            self.send(side, Parcel::Bytes(bytes));
            if whole {
                write.finish(Ok(count));
            }
            if world.chance(world.faults.resets) {
                world.network.note(|disturbed| disturbed.resets += 1);
                self.cut();
            }
            if short && !whole {
                let link = self.clone();
                let at = world.now() + world.up_to(WRITE_AGAIN_MAX);
                world.executor.plan(at, move || link.pump_writes(side));
                return;
            }
        }
    }

    /// The network breaks the connection: a reset reaches both sides.
    fn cut(self: &Rc<Self>) {
        for side in 0..2 {
            if self.world.chance(500) {
                self.outward(side).borrow_mut().lose_transit();
            }
            self.send(side, Parcel::Reset);
        }
    }

    /// `side` sends the end and goes on reading.
    pub(super) fn end_writing(self: &Rc<Self>, side: usize) {
        let first = !std::mem::replace(&mut self.outward(side).borrow_mut().writer_done, true);
        if first {
            self.send(side, Parcel::End);
            self.pump_writes(side);
        }
    }

    /// `side` closes, by a reset if it must or wants to.
    pub(super) fn close(self: &Rc<Self>, side: usize, abruptly: bool) {
        let (unread, dropped) = {
            let mut pipe = self.inward(side).borrow_mut();
            pipe.reader_gone = true;
            pipe.watchers.clear();
            let unread = !pipe.arrived.is_empty();
            pipe.arrived.clear();
            (unread, std::mem::take(&mut pipe.reads))
        };
        drop(dropped);
        let dropped = std::mem::take(&mut self.outward(side).borrow_mut().writes);
        drop(dropped);
        if abruptly || unread {
            let mut pipe = self.outward(side).borrow_mut();
            pipe.writer_done = true;
            if self.world.chance(500) && self.world.faults.resets_destroy > 0 {
                pipe.lose_transit();
            }
            drop(pipe);
            self.send(side, Parcel::Reset);
        } else {
            self.end_writing(side);
        }
        self.pump_writes(1 - side);
    }

    /// Takes back an operation whose future was dropped. It may be too late: until the cancellation is
    /// through, the kernel goes on with it, and what it reads is lost.
    pub(super) fn cancel(self: &Rc<Self>, side: usize, operation: &Rc<Operation>) {
        if operation.0.borrow().done.is_some() {
            let lost = matches!(&operation.0.borrow().done, Some(Ok(n)) if *n > 0);
            self.world.network.note(|disturbed| disturbed.reads_lost += u64::from(lost));
            return;
        }
        operation.0.borrow_mut().waker = None;
        if !self.world.chance(self.world.faults.cancelled_late) {
            return self.take_back(side, operation);
        }
        let (link, operation) = (self.clone(), operation.clone());
        let at = self.world.now() + self.world.up_to(1_000_000);
        self.world.executor.plan(at, move || link.take_back(side, &operation));
    }

    fn take_back(&self, side: usize, operation: &Rc<Operation>) {
        self.inward(side).borrow_mut().reads.retain(|other| !Rc::ptr_eq(other, operation));
        self.outward(side).borrow_mut().writes.retain(|other| !Rc::ptr_eq(other, operation));
    }
}

/// Moves arrived bytes into a read's buffer.
fn take_in(world: &World, pipe: &mut Pipe, read: &Operation) -> usize {
    let mut in_flight = read.0.borrow_mut();
    let bytes_max = in_flight.bytes_max;
    in_flight.buf.as_mut().map_or(0, |buf| fill(world, pipe, buf, bytes_max))
}

/// Moves arrived bytes into a buffer.
pub(super) fn fill(world: &World, pipe: &mut Pipe, buf: &mut Buf, bytes_max: usize) -> usize {
    let mut count = pipe.arrived.len().min(bytes_max).min(buf.spare());
    if count > 1 && world.chance(world.faults.short_reads) {
        count = 1 + world.up_to(count as u64 - 1) as usize;
    }
    for (into, byte) in buf.spare_mut().iter_mut().zip(pipe.arrived.drain(..count)) {
        *into = byte;
    }
    buf.fill(count);
    world.executor.note(count as u64);
    count
}

/// Takes up to `room` bytes out of a write's buffer: the bytes, whether the write is done, whether it was cut.
fn take_out(world: &World, write: &Operation, room: usize) -> (Box<[u8]>, bool, bool) {
    let mut in_flight = write.0.borrow_mut();
    let Some(buf) = &mut in_flight.buf else { return (Box::default(), true, false) };
    let mut count = buf.len().min(room);
    let short = count > 1 && world.chance(world.faults.short_writes);
    if short {
        count = 1 + world.up_to(count as u64 - 1) as usize;
    }
    let bytes = buf.data()[..count].into();
    buf.consume(count);
    let done = buf.is_empty() || in_flight.in_part;
    (bytes, done, short)
}
