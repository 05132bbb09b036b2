//! Whose turn it is among the responses of one connection, when it cannot take all of them (RFC 9218 §10).
//!
//! The `h2` crate sends what it has in the order it got it. So a response whose turn it is not gives it nothing: it stands
//! in a line, and keeps no promise of room that others could have. The most urgent goes first; of equal ones those that are
//! no use in part go one after the other, and others share. Who cannot go himself (his own window is closed) holds up
//! nobody. A connection on which no priority was ever said pays for none of this, and its streams never wait here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::base::limits::{
    H2_GRACE_TURNS, H2_PRIORITY_UPDATES_MAX, H2_STREAM_WINDOW_BYTES, H2_TURN_CALLS_MAX,
};
use crate::http::h2::priority::{Priority, Signal, URGENCIES};

/// The line of a connection.
pub struct Turns {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Whether anybody said a priority.
    matters: bool,
    /// Those that wait; never more than there are streams.
    line: Vec<Place>,
    recent: Option<Recent>,
    /// What frames said last, of streams that have not heard of it.
    updates: VecDeque<(u32, Signal)>,
    /// What the client takes of all streams. Unit: bytes.
    window: i64,
    /// What left. Unit: bytes.
    moved: usize,
    /// Counts turns.
    served: u64,
    /// The last turn of those that go one after the other, by urgency.
    groups: [u64; URGENCIES],
}

/// Urgency, then who has waited longer, then who was asked for first.
type Rank = (u8, u64, u32);

struct Place {
    stream: u32,
    rank: Rank,
    waker: Waker,
    /// Whether it has asked for room, and will be told by the protocol.
    asks: bool,
    /// Whether it cannot go although it may.
    is_stalled: bool,
    /// How often it was called and did not come.
    calls: u8,
}

/// Who went last, and may have more in a moment.
struct Recent {
    stream: u32,
    priority: Priority,
    grace: u8,
}

/// A response's own.
pub struct Turn {
    turns: Rc<Turns>,
    stream: u32,
    signal: Signal,
    served: u64,
    in_line: bool,
}

impl Turns {
    /// Nobody waits.
    pub fn new() -> Rc<Self> {
        let window = i64::from(H2_STREAM_WINDOW_BYTES);
        Rc::new(Self { inner: RefCell::new(Inner { window, ..Inner::default() }) })
    }

    /// The client takes so much more. Unit: bytes.
    pub fn grow(&self, bytes: u32) {
        self.inner.borrow_mut().window += i64::from(bytes);
    }

    /// So much left. Unit: bytes.
    pub fn left(&self, bytes: usize) {
        let inner = &mut *self.inner.borrow_mut();
        inner.window -= bytes as i64;
        inner.moved += bytes;
    }

    /// A frame says how urgent a stream is.
    pub fn update(&self, stream: u32, signal: Signal) {
        let inner = &mut *self.inner.borrow_mut();
        inner.matters = true;
        inner.updates.retain(|(other, _)| *other != stream);
        if inner.updates.len() >= H2_PRIORITY_UPDATES_MAX {
            inner.updates.pop_front();
        }
        inner.updates.push_back((stream, signal));
        if let Some(place) = inner.line.iter().find(|place| place.stream == stream) {
            place.waker.wake_by_ref();
        }
    }

    /// Calls whose turn it is. `is_full` says that the protocol waits for the client to read.
    pub fn settle(&self, is_full: bool) {
        let inner = &mut *self.inner.borrow_mut();
        if !inner.matters {
            return;
        }
        let may_send = !is_full && inner.window > 0;
        while let Some(first) = inner.first() {
            if first.asks {
                if !may_send {
                    return;
                }
                // There is room for all together, so that it has none of its own.
                first.is_stalled = true;
            } else if first.calls < H2_TURN_CALLS_MAX {
                first.calls += 1;
                return first.waker.wake_by_ref();
            } else {
                first.is_stalled = true;
            }
        }
    }
}

impl Inner {
    fn first(&mut self) -> Option<&mut Place> {
        self.line.iter_mut().filter(|place| !place.is_stalled).min_by_key(|place| place.rank)
    }

    fn stand(&mut self, stream: u32, rank: Rank, waker: &Waker, asks: bool) {
        let place = Place { stream, rank, waker: waker.clone(), asks, is_stalled: false, calls: 0 };
        match self.line.iter_mut().find(|place| place.stream == stream) {
            Some(known) => *known = place,
            None => self.line.push(place),
        }
        if self.matters {
            // What they were promised is wanted here.
            let behind = |place: &&Place| place.asks && place.rank > rank && !place.is_stalled;
            self.line.iter().filter(behind).for_each(|place| place.waker.wake_by_ref());
        }
    }

    fn leave(&mut self, stream: u32) {
        if let Some(at) = self.line.iter().position(|place| place.stream == stream) {
            self.line.swap_remove(at);
        }
    }

    fn forget(&mut self, stream: u32) {
        if self.recent.as_ref().is_some_and(|recent| recent.stream == stream) {
            self.recent = None;
        }
    }
}

impl Recent {
    fn goes_before(&self, stream: u32, priority: Priority) -> bool {
        let same = self.priority.urgency == priority.urgency;
        let one_by_one = !self.priority.incremental && !priority.incremental;
        self.priority.urgency < priority.urgency || (same && one_by_one && self.stream < stream)
    }
}

impl Turn {
    /// That of a stream, of which its request says so much.
    pub fn new(turns: &Rc<Turns>, stream: u32, said: Option<Signal>) -> Self {
        if said.is_some() {
            turns.inner.borrow_mut().matters = true;
        }
        let signal = said.unwrap_or_default();
        Self { turns: turns.clone(), stream, signal, served: 0, in_line: false }
    }

    /// Its response says this (RFC 9218 §8).
    pub fn merge(&mut self, response: Signal) {
        self.signal = self.signal.or_rather(response);
        self.turns.inner.borrow_mut().matters = true;
    }

    /// Whether it may ask for room now; it stands in line otherwise.
    pub fn is_mine(&mut self, cx: &Context<'_>) -> bool {
        let turns = self.turns.clone();
        let inner = &mut *turns.inner.borrow_mut();
        if !inner.matters {
            return true;
        }
        if let Some(at) = inner.updates.iter().position(|(stream, _)| *stream == self.stream) {
            self.signal = inner.updates.remove(at).map_or(self.signal, |(_, signal)| signal);
        }
        let rank = self.rank(inner);
        let before = |place: &Place| !place.is_stalled && place.rank < rank;
        let is_behind = inner.line.iter().any(|place| place.stream != self.stream && before(place));
        let priority = self.signal.priority();
        let waits_for_recent = !is_behind
            && inner.recent.as_mut().is_some_and(|recent| {
                let waits = recent.grace > 0 && recent.goes_before(self.stream, priority);
                recent.grace -= u8::from(waits);
                waits
            });
        if waits_for_recent {
            cx.waker().wake_by_ref();
        }
        if is_behind || waits_for_recent {
            self.in_line = true;
            inner.stand(self.stream, rank, cx.waker(), false);
            return false;
        }
        true
    }

    /// It asked for room and got none.
    pub fn waits(&mut self, cx: &Context<'_>) {
        let turns = self.turns.clone();
        let inner = &mut *turns.inner.borrow_mut();
        let rank = self.rank(inner);
        self.in_line = true;
        inner.stand(self.stream, rank, cx.waker(), true);
    }

    /// It sent something; `is_last` says that nothing follows.
    pub fn took(&mut self, is_last: bool) {
        let turns = self.turns.clone();
        let inner = &mut *turns.inner.borrow_mut();
        if std::mem::take(&mut self.in_line) {
            inner.leave(self.stream);
        }
        if !inner.matters {
            return;
        }
        let (stream, priority) = (self.stream, self.signal.priority());
        inner.served += 1;
        match priority.incremental {
            true => self.served = inner.served,
            false => inner.groups[usize::from(priority.urgency) % URGENCIES] = inner.served,
        }
        if is_last {
            inner.forget(stream);
        } else {
            inner.recent = Some(Recent { stream, priority, grace: H2_GRACE_TURNS });
        }
    }

    /// Something that falls as long as others move while it stands in line, and 0 when it does not.
    pub fn ahead(&self) -> usize {
        let inner = self.turns.inner.borrow();
        let mut places = inner.line.iter().filter(|place| place.stream == self.stream);
        let is_behind = places.next().is_some_and(|place| !place.asks);
        if is_behind { usize::MAX - inner.moved } else { 0 }
    }

    fn rank(&self, inner: &Inner) -> Rank {
        let Priority { urgency, incremental } = self.signal.priority();
        let turn = match incremental {
            true => self.served,
            false => inner.groups[usize::from(urgency) % URGENCIES],
        };
        (urgency, turn, self.stream)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let inner = &mut *self.turns.inner.borrow_mut();
        inner.forget(self.stream);
        if self.in_line {
            inner.leave(self.stream);
            if inner.matters
                && let Some(first) = inner.first()
            {
                first.waker.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(turns: &Rc<Turns>, stream: u32, said: &str) -> Turn {
        Turn::new(turns, stream, Some(Signal::parse(said.as_bytes())).filter(|_| !said.is_empty()))
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn nobody_waits_where_nothing_was_said() {
        let turns = Turns::new();
        let mut both = [turn(&turns, 1, ""), turn(&turns, 3, "")];
        both[0].waits(&cx());
        both[1].waits(&cx());
        assert!(both.iter_mut().all(|turn| turn.is_mine(&cx())));
    }

    #[test]
    fn the_more_urgent_goes_first_and_the_stalled_holds_up_nobody() {
        let turns = Turns::new();
        let (mut late, mut soon) = (turn(&turns, 1, "u=5"), turn(&turns, 3, "u=1"));
        assert!(late.is_mine(&cx()));
        late.waits(&cx());
        assert!(soon.is_mine(&cx()), "whatever came first");
        soon.waits(&cx());
        assert!(!late.is_mine(&cx()));
        turns.settle(true);
        assert!(!late.is_mine(&cx()), "the connection is what holds it up");
        turns.settle(false);
        assert!(late.is_mine(&cx()), "its own window is closed");
        soon.took(true);
        assert!(late.is_mine(&cx()));
    }

    #[test]
    fn a_window_of_the_connection_that_is_used_up_makes_all_wait() {
        let turns = Turns::new();
        turns.left(65_535);
        let (mut late, mut soon) = (turn(&turns, 1, "u=5"), turn(&turns, 3, "u=1"));
        soon.waits(&cx());
        turns.settle(false);
        assert!(!late.is_mine(&cx()));
        assert_eq!(late.ahead(), usize::MAX - 65_535);
        assert_eq!(soon.ahead(), 0);
        turns.grow(10);
        turns.settle(false);
        assert!(late.is_mine(&cx()));
    }

    #[test]
    fn equals_share_or_go_one_after_the_other() {
        let turns = Turns::new();
        let mut order = Vec::new();
        let said = ["u=3", "u=3", "u=3, i", "u=3, i"];
        let mut all: Vec<Turn> = said
            .iter()
            .enumerate()
            .map(|(at, said)| turn(&turns, at as u32 * 2 + 1, said))
            .collect();
        for _ in 0..9 {
            all.iter_mut().for_each(|turn| turn.waits(&cx()));
            let next = all.iter_mut().position(|turn| turn.is_mine(&cx())).expect("somebody's");
            order.push(next);
            all[next].took(false);
        }
        assert_eq!(order, [0, 2, 3, 0, 2, 3, 0, 2, 3], "the second waits for the first to end");
    }

    #[test]
    fn who_is_about_to_have_more_is_waited_for_a_moment() {
        let turns = Turns::new();
        let (mut late, mut soon) = (turn(&turns, 1, "u=5"), turn(&turns, 3, "u=1"));
        soon.took(false);
        let waited = (0..100).take_while(|_| !late.is_mine(&cx())).count();
        assert_eq!(waited, usize::from(H2_GRACE_TURNS));
        soon.took(false);
        drop(soon);
        assert!(late.is_mine(&cx()), "it is over");
    }

    #[test]
    fn a_frame_changes_what_the_request_said() {
        let turns = Turns::new();
        let (mut one, mut other) = (turn(&turns, 1, "u=5"), turn(&turns, 3, "u=1"));
        turns.update(1, Signal::parse(b"u=0"));
        other.waits(&cx());
        assert!(one.is_mine(&cx()));
        one.waits(&cx());
        assert!(!other.is_mine(&cx()));
        for stream in 0..1000 {
            turns.update(stream, Signal::default());
        }
        assert_eq!(turns.inner.borrow().updates.len(), H2_PRIORITY_UPDATES_MAX);
    }

    #[test]
    fn who_is_called_and_does_not_come_loses_the_turn() {
        let turns = Turns::new();
        let (mut late, mut soon) = (turn(&turns, 1, "u=5"), turn(&turns, 3, "u=1"));
        let mut first = turn(&turns, 5, "u=0");
        first.waits(&cx());
        assert!(!soon.is_mine(&cx()) && !late.is_mine(&cx()));
        drop(first);
        for _ in 0..=H2_TURN_CALLS_MAX {
            assert!(!late.is_mine(&cx()));
            turns.settle(false);
        }
        assert!(late.is_mine(&cx()));
    }
}
