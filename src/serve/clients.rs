//! The client connections of one core: which of them are idle, and the oldest of those first.
//!
//! Under pressure (a bound on connections is reached, descriptors run out) the connection that has been
//! idle longest is closed to make room, as nginx does with its reusable connections; HTTP lets a server
//! close an idle connection at any time (RFC 9112 §9.5). A connection that is busy, or on which bytes wait
//! to be read, is never given up; one that only waits to be closed is, whatever its client sends. Becoming idle and becoming busy again is a few moves of numbers in one
//! table: nothing is allocated and nothing is searched, whatever the number of connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::address::Address;
use crate::base::limits::GIVE_UP_LOOKS_MAX;
use crate::base::shared::Admission;
use crate::runtime::deadline::Deadlines;
use crate::runtime::{Runtime, Stream};
use crate::serve::connection::Downstream;

const NONE: u32 = u32::MAX;

/// The client connections of one core.
pub struct Clients<R: Runtime> {
    table: RefCell<Table<R>>,
}

struct Table<R: Runtime> {
    seats: Vec<Seat<R>>,
    free: Vec<u32>,
    /// The idle connections of each listener, in the order in which they became idle.
    lines: Vec<Line>,
    turn: u64,
    idle: usize,
}

struct Line {
    address: Arc<Address>,
    oldest: u32,
    newest: u32,
    seats: usize,
}

struct Seat<R: Runtime> {
    /// `None` when nobody sits here.
    connection: Option<Rc<Downstream<R>>>,
    /// `None` once the connection is given up: from then on it is not counted.
    admission: Option<Admission>,
    state: State,
    line: u32,
    older: u32,
    newer: u32,
    /// Larger is later.
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    /// It waits, with this slot of the deadlines.
    Idle(u32),
    /// It is closed as soon as its client has read the answer; nothing that comes is looked at.
    Closing(u32),
    GivenUp,
}

impl State {
    /// The deadline that ends its wait, if it may be given up.
    fn slot(self) -> Option<u32> {
        match self {
            Self::Idle(slot) | Self::Closing(slot) => Some(slot),
            Self::Busy | Self::GivenUp => None,
        }
    }
}

/// Whose idle connections may be given up.
#[derive(Clone, Copy)]
pub enum Whose<'a> {
    /// Those of this listener.
    Listener(&'a Arc<Address>),
    /// Those of all.
    All,
}

impl<R: Runtime> Default for Clients<R> {
    fn default() -> Self {
        let (seats, free, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { table: RefCell::new(Table { seats, free, lines, turn: 0, idle: 0 }) }
    }
}

impl<R: Runtime> Clients<R> {
    /// A connection opens; it is busy until it says otherwise. Returns its seat.
    pub fn sit(&self, connection: Rc<Downstream<R>>, admission: Admission) -> u32 {
        let mut table = self.table.borrow_mut();
        let line = table.line_of(connection.address());
        table.lines[line as usize].seats += 1;
        let seat = Seat {
            connection: Some(connection),
            admission: Some(admission),
            state: State::Busy,
            line,
            older: NONE,
            newer: NONE,
            since: 0,
        };
        match table.free.pop() {
            Some(index) => {
                table.seats[index as usize] = seat;
                index
            }
            None => {
                table.seats.push(seat);
                (table.seats.len() - 1) as u32
            }
        }
    }

    /// The connection is closed.
    pub fn rise(&self, index: u32) {
        let mut table = self.table.borrow_mut();
        if table.seats[index as usize].state.slot().is_some() {
            table.unlink(index);
        }
        let line = table.seats[index as usize].line as usize;
        table.lines[line].seats -= 1;
        let seat = &mut table.seats[index as usize];
        seat.state = State::Busy;
        let gone = (seat.connection.take(), seat.admission.take());
        table.free.push(index);
        drop(table);
        drop(gone);
    }

    /// The connection waits for its next request, with this slot of the deadlines.
    pub fn idle(&self, index: u32, slot: u32) {
        let mut table = self.table.borrow_mut();
        if table.seats[index as usize].state == State::Busy {
            table.seats[index as usize].state = State::Idle(slot);
            table.link(index);
        }
    }

    /// The connection is kept open only for its client's sake, with this slot of the deadlines, until it rises:
    /// it may be given up like an idle one, whatever its client sends.
    pub fn closing(&self, index: u32, slot: u32) {
        let mut table = self.table.borrow_mut();
        if table.seats[index as usize].state == State::Busy {
            table.seats[index as usize].state = State::Closing(slot);
            table.link(index);
        }
    }

    /// The connection waits no more; `false` when it was given up meanwhile and must be closed.
    pub fn busy(&self, index: u32) -> bool {
        let mut table = self.table.borrow_mut();
        if matches!(table.seats[index as usize].state, State::Idle(_)) {
            table.unlink(index);
            table.seats[index as usize].state = State::Busy;
        }
        table.seats[index as usize].state == State::Busy
    }

    /// Gives the oldest idle connection up: its wait ends and it closes within this turn of the event loop.
    /// It is not counted any more. `false` when there is none.
    pub fn give_up_oldest(&self, whose: Whose<'_>, deadlines: &Deadlines) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(index) = table.oldest(whose) else { return false };
        table.unlink(index);
        let seat = &mut table.seats[index as usize];
        let state = std::mem::replace(&mut seat.state, State::GivenUp);
        let Some(slot) = state.slot() else { return false };
        let admission = seat.admission.take();
        drop(table);
        drop(admission);
        deadlines.elapse(slot);
        true
    }

    /// Connections that may be given up.
    pub fn idle_count(&self) -> usize {
        self.table.borrow().idle
    }
}

impl<R: Runtime> Table<R> {
    fn line_of(&mut self, address: &Arc<Address>) -> u32 {
        let known = self.lines.iter().position(|line| Arc::ptr_eq(&line.address, address));
        let index = known.unwrap_or_else(|| {
            let line = Line { address: address.clone(), oldest: NONE, newest: NONE, seats: 0 };
            // A listener that is gone leaves its place, so that reloads do not grow the list.
            match self.lines.iter().position(|line| line.seats == 0) {
                Some(index) => {
                    self.lines[index] = line;
                    index
                }
                None => {
                    self.lines.push(line);
                    self.lines.len() - 1
                }
            }
        });
        index as u32
    }

    /// The oldest connection that is quiet.
    fn oldest(&self, whose: Whose<'_>) -> Option<u32> {
        let is_whose = |line: &&Line| match whose {
            Whose::Listener(address) => Arc::ptr_eq(&line.address, address),
            Whose::All => true,
        };
        let firsts = self.lines.iter().filter(is_whose).map(|line| self.oldest_of(line));
        firsts.flatten().min_by_key(|index| self.seats[*index as usize].since)
    }

    fn oldest_of(&self, line: &Line) -> Option<u32> {
        let mut index = line.oldest;
        for _ in 0..GIVE_UP_LOOKS_MAX {
            let seat = self.seats.get(index as usize)?;
            // One that is not quiet is about to be busy, or has been closed by its client.
            let closing = matches!(seat.state, State::Closing(_));
            if closing
                || seat.connection.as_ref().is_some_and(|connection| connection.stream.is_quiet())
            {
                return Some(index);
            }
            index = seat.newer;
        }
        None
    }

    fn link(&mut self, index: u32) {
        self.turn += 1;
        self.idle += 1;
        let line = &mut self.lines[self.seats[index as usize].line as usize];
        let older = std::mem::replace(&mut line.newest, index);
        if older == NONE {
            line.oldest = index;
        } else {
            self.seats[older as usize].newer = index;
        }
        let seat = &mut self.seats[index as usize];
        (seat.older, seat.newer, seat.since) = (older, NONE, self.turn);
    }

    fn unlink(&mut self, index: u32) {
        self.idle -= 1;
        let Seat { line, older, newer, .. } = self.seats[index as usize];
        match older {
            NONE => self.lines[line as usize].oldest = newer,
            older => self.seats[older as usize].newer = newer,
        }
        match newer {
            NONE => self.lines[line as usize].newest = older,
            newer => self.seats[newer as usize].older = older,
        }
    }
}
