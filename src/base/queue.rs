//! Who waits on one core for a seat, and who is next: a bounded line that sheds what would come too late.
//!
//! The law is that of controlled delay (Nichols and Jacobson, RFC 8289) in the form that Facebook runs in front
//! of its services ("Fail at Scale", ACM Queue 2015). While the line was empty at some moment of the last
//! `interval`, it is a burst: the oldest is served first and each may wait for the interval. A line that has
//! stood all through an interval is no burst but an overload: from then on each waits for the `target` only and
//! the *newest* is served first, since whoever waited long is the one whose client has given up.
//!
//! A line belongs to one core and never waits for another. A seat freed on this core rings whoever is next; one
//! freed elsewhere is found by asking again: whoever is next asks every `SEAT_ASK_AGAIN`, everybody else looks
//! every `SEAT_LOOK_AGAIN` whether he is next by now. So no ring can be lost for longer than these, whatever is
//! cancelled between a ring and its answer. One wake-up list for all cores was refused: waking another core
//! costs 23 µs and needs a lock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::base::limits::{SEAT_ASK_AGAIN, SEAT_LOOK_AGAIN};
use crate::base::time::Instant;

/// How long somebody may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLaw {
    /// In a burst; also how long a line stands until it is an overload.
    pub interval: Duration,
    /// In an overload.
    pub target: Duration,
}

/// The line of one limit on one core.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Waiter>>,
    next_id: Cell<u64>,
    /// Since when somebody waits.
    standing_since: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    rung: bool,
    waker: Option<Waker>,
}

/// What somebody in the line is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// He is next: ask for a seat, and look again at this moment.
    Ask(Instant),
    /// Others are before him: look again at this moment.
    Wait(Instant),
    /// It took too long.
    Shed,
}

impl Queue {
    /// Somebody joins the line.
    pub fn enter(self: &Rc<Self>, now: Instant) -> QueuePlace {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.standing_since.set(Some(now));
        }
        waiting.push_back(Waiter { id, rung: false, waker: None });
        QueuePlace { queue: self.clone(), id, since: now }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// A seat may be free: both ends of the line are told, of which one is next.
    pub fn ring(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let last = waiting.len().wrapping_sub(1);
        for index in [0, last] {
            if let Some(waiter) = waiting.get_mut(index) {
                waiter.rung = true;
                if let Some(waker) = waiter.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    fn is_overloaded(&self, law: QueueLaw, now: Instant) -> bool {
        self.standing_since.get().is_some_and(|since| now.since(since) > law.interval)
    }

    fn is_next(&self, id: u64, overloaded: bool) -> bool {
        let waiting = self.waiting.borrow();
        let next = if overloaded { waiting.back() } else { waiting.front() };
        next.is_some_and(|waiter| waiter.id == id)
    }

    fn leave(&self, id: u64) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|waiter| waiter.id != id);
        if waiting.is_empty() {
            self.standing_since.set(None);
        }
    }
}

/// A place in a line; dropping it leaves the line, and whoever is next then is told.
#[derive(Debug)]
pub struct QueuePlace {
    queue: Rc<Queue>,
    id: u64,
    since: Instant,
}

impl QueuePlace {
    /// What to do at `now`.
    pub fn turn(&self, law: QueueLaw, now: Instant) -> Turn {
        let overloaded = self.queue.is_overloaded(law, now);
        let patience = if overloaded { law.target } else { law.interval };
        let until = self.since + patience;
        if now >= until {
            return Turn::Shed;
        }
        if self.queue.is_next(self.id, overloaded) {
            Turn::Ask(until.min(now + SEAT_ASK_AGAIN))
        } else {
            Turn::Wait(until.min(now + SEAT_LOOK_AGAIN))
        }
    }

    /// Completes when the place was rung since it was last waited for.
    pub async fn rung(&self) {
        poll_fn(|cx| {
            let mut waiting = self.queue.waiting.borrow_mut();
            let Some(waiter) = waiting.iter_mut().find(|waiter| waiter.id == self.id) else {
                return Poll::Ready(());
            };
            if std::mem::take(&mut waiter.rung) {
                return Poll::Ready(());
            }
            waiter.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.queue.leave(self.id);
        self.queue.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake};

    use super::*;

    const LAW: QueueLaw =
        QueueLaw { interval: Duration::from_millis(100), target: Duration::from_millis(10) };

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    fn is_next(place: &QueuePlace, millis: u64) -> bool {
        matches!(place.turn(LAW, at(millis)), Turn::Ask(_))
    }

    #[test]
    fn a_burst_is_served_in_order_and_each_may_wait_for_the_interval() {
        let queue = Rc::new(Queue::default());
        let first = queue.enter(at(0));
        let second = queue.enter(at(1));
        assert!(is_next(&first, 99) && !is_next(&second, 99));
        drop(first);
        assert!(is_next(&second, 99));
        assert_eq!(second.turn(LAW, at(101)), Turn::Shed);
    }

    #[test]
    fn a_line_that_stands_serves_the_newest_and_sheds_whoever_waited_for_the_target() {
        let queue = Rc::new(Queue::default());
        let _first = queue.enter(at(0));
        let old = queue.enter(at(90));
        let new = queue.enter(at(100));
        assert!(!is_next(&new, 100), "not yet more than an interval");
        assert_eq!(old.turn(LAW, at(101)), Turn::Shed);
        assert!(is_next(&new, 101));
        assert_eq!(new.turn(LAW, at(110)), Turn::Shed);
    }

    #[test]
    fn a_line_that_was_empty_for_a_moment_is_a_burst_again() {
        let queue = Rc::new(Queue::default());
        let first = queue.enter(at(0));
        assert_eq!(first.turn(LAW, at(200)), Turn::Shed);
        drop(first);
        assert!(queue.is_empty());
        let next = queue.enter(at(201));
        assert!(is_next(&next, 290), "it may wait for the interval again");
    }

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Counted(std::sync::atomic::AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Polls the wait for a ring once; whether it is over.
    fn is_rung(place: &QueuePlace, counted: &Arc<Counted>) -> bool {
        let waker = Waker::from(counted.clone());
        let ring = std::pin::pin!(place.rung());
        ring.poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn woken(counted: &Arc<Counted>) -> u32 {
        counted.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let queue = Rc::new(Queue::default());
        let place = queue.enter(at(0));
        queue.ring();
        let counted = Arc::new(Counted::default());
        assert!(is_rung(&place, &counted));
        assert!(!is_rung(&place, &counted), "one ring is one");
    }

    #[test]
    fn a_ring_that_meets_somebody_who_leaves_goes_on_to_the_next() {
        let queue = Rc::new(Queue::default());
        let counts: Vec<Arc<Counted>> = (0..4).map(|_| Arc::default()).collect();
        let mut places: VecDeque<QueuePlace> = (0..4).map(|n| queue.enter(at(n))).collect();
        for (place, counted) in places.iter().zip(&counts) {
            assert!(!is_rung(place, counted));
        }
        queue.ring();
        assert_eq!((woken(&counts[0]), woken(&counts[3])), (1, 1), "either may be next");
        // The first was told and is cancelled before it asks: the second is told by that.
        drop(places.pop_front());
        assert_eq!(woken(&counts[1]), 1);
        assert!(is_next(&places[0], 50));
        // So it goes until nobody is left.
        drop(places.pop_front());
        assert_eq!(woken(&counts[2]), 1);
        places.clear();
        assert!(queue.is_empty());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn nobody_sleeps_for_longer_than_it_takes_to_look_again() {
        let queue = Rc::new(Queue::default());
        let places: Vec<QueuePlace> = (0..10).map(|n| queue.enter(at(n))).collect();
        for place in &places {
            let (Turn::Ask(until) | Turn::Wait(until)) = place.turn(LAW, at(10)) else {
                panic!("nobody is shed yet");
            };
            assert!(until <= at(10) + SEAT_LOOK_AGAIN);
        }
    }
}
