//! Calls of parts in flight on one core, so that identical ones are made once.
//!
//! The first to ask leads: it makes the call in its own exchange, and whoever asks the same meanwhile waits
//! for its end, each within its own deadline. A leader whose client goes away, or whose exchange ends
//! early, leaves the call to those who wait: one of them leads then. Nobody waits for a leader that is gone,
//! and nobody is given an answer that belongs to one user (RFC 9111 §4).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::aggregate::PartFault;
use crate::base::limits::{PART_FLIGHTS_MAX, PART_UNSHARED_MAX};
use crate::base::lru::Lru;
use crate::serve::part_answer::Kept;

/// How a call ended for those who waited for it.
#[derive(Clone)]
pub enum Landing {
    /// It is theirs, too.
    Shared(Kept),
    /// It failed.
    Failed(PartFault),
    /// It failed, with a problem document that is passed on.
    Problem(PartFault, Rc<[u8]>),
    /// The answer belongs to one request: each makes its own call.
    Unshared,
    /// The leader is gone: one of them leads.
    Abandoned,
}

/// A call that others may wait for.
#[derive(Default)]
pub struct Flight {
    landing: RefCell<Option<Landing>>,
    waiting: RefCell<Vec<Option<Waker>>>,
    followers: Cell<usize>,
}

/// All calls in flight that others may join.
#[derive(Default)]
pub struct Flights {
    /// Made when first needed.
    flying: RefCell<Option<Lru<Rc<Flight>>>>,
    /// Parts whose last answer was one request's own: nobody waits for the next one.
    unshared: RefCell<Option<Lru<()>>>,
    seed: u64,
}

/// Which part in a call is whose.
pub enum Role<'a> {
    /// To make the call for all.
    Leads(Lead<'a>),
    /// To wait for it.
    Follows(Rc<Flight>),
    /// To make it for oneself.
    Alone,
}

/// The duty to end a flight. Dropped before, it abandons those who wait.
pub struct Lead<'a> {
    flights: &'a Flights,
    key: &'a [u8],
    flight: Rc<Flight>,
}

impl Flights {
    /// None in flight. The `seed` keeps keys from being chosen that fall together.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Joins the call with this key; `part` is what all calls of its part have in common.
    pub fn join<'a>(&'a self, key: &'a [u8], part: &[u8]) -> Role<'a> {
        let mut flying = self.flying.borrow_mut();
        let flying =
            flying.get_or_insert_with(|| Lru::new(PART_FLIGHTS_MAX, usize::MAX, self.seed));
        if let Some(flight) = flying.find(0, key) {
            let unshared = self
                .unshared
                .borrow_mut()
                .as_mut()
                .is_some_and(|list| list.find(0, part).is_some());
            return if unshared { Role::Alone } else { Role::Follows(flight.clone()) };
        }
        if flying.len() == PART_FLIGHTS_MAX {
            return Role::Alone;
        }
        let flight = Rc::new(Flight::default());
        flying.insert(0, key, flight.clone(), 0);
        Role::Leads(Lead { flights: self, key, flight })
    }

    /// Whether such a call is in flight.
    pub fn has(&self, key: &[u8]) -> bool {
        self.flying.borrow_mut().as_mut().is_some_and(|flying| flying.find(0, key).is_some())
    }

    /// Remembers whether answers of this part are for one request only.
    pub fn note(&self, part: &[u8], shared: bool) {
        let mut unshared = self.unshared.borrow_mut();
        match (&mut *unshared, shared) {
            (None, true) => {}
            (Some(list), true) => list.remove(0, part),
            (list, false) => {
                let list =
                    list.get_or_insert_with(|| Lru::new(PART_UNSHARED_MAX, usize::MAX, self.seed));
                list.insert(0, part, (), 0);
            }
        }
    }

    fn end(&self, key: &[u8]) {
        if let Some(flying) = &mut *self.flying.borrow_mut() {
            flying.remove(0, key);
        }
    }
}

impl Lead<'_> {
    /// Whether somebody waits.
    pub fn is_followed(&self) -> bool {
        self.flight.followers.get() > 0
    }

    /// Tells those who wait how it ended.
    pub fn land(self, landing: Landing) {
        self.flight.landing.replace(Some(landing));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // First out of the list, so that whoever is woken finds no call that is over.
        self.flights.end(self.key);
        self.flight.landing.borrow_mut().get_or_insert(Landing::Abandoned);
        let waiting = self.flight.waiting.take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Flight {
    /// The end of the call.
    pub async fn landed(&self) -> Landing {
        self.followers.set(self.followers.get() + 1);
        let _counted = Counted(&self.followers);
        let mut place = None;
        poll_fn(|cx| {
            if let Some(landing) = &*self.landing.borrow() {
                return Poll::Ready(landing.clone());
            }
            let mut waiting = self.waiting.borrow_mut();
            let place = *place.get_or_insert_with(|| {
                waiting.push(None);
                waiting.len() - 1
            });
            match &mut waiting[place] {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

/// One who waits, counted as long as that lasts.
struct Counted<'a>(&'a Cell<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::Context;

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Landing>>>;

    fn follow(flights: &Flights) -> Waiting {
        let Role::Follows(flight) = flights.join(b"key", b"part") else {
            panic!("it is in flight")
        };
        let mut waiting: Waiting = Box::pin(async move { flight.landed().await });
        assert!(poll(&mut waiting).is_none());
        waiting
    }

    fn lead(flights: &Flights) -> Lead<'_> {
        let Role::Leads(lead) = flights.join(b"key", b"part") else { panic!("nobody leads") };
        lead
    }

    fn poll(waiting: &mut Waiting) -> Option<Landing> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(landing) => Some(landing),
            Poll::Pending => None,
        }
    }

    #[test]
    fn all_who_wait_are_told_and_the_next_leads_anew() {
        let flights = Flights::new(1);
        let first = lead(&flights);
        assert!(!first.is_followed() && flights.has(b"key") && !flights.has(b"other"));
        let mut waiting: Vec<Waiting> = (0..20).map(|_| follow(&flights)).collect();
        assert!(first.is_followed());
        first.land(Landing::Failed(PartFault::Connect));
        for one in &mut waiting {
            assert!(matches!(poll(one), Some(Landing::Failed(PartFault::Connect))));
        }
        assert!(!flights.has(b"key"));
        lead(&flights).land(Landing::Unshared);
    }

    #[test]
    fn a_leader_that_is_gone_leaves_the_lead_to_one_who_waits() {
        let flights = Flights::new(1);
        let first = lead(&flights);
        let (mut one, mut other) = (follow(&flights), follow(&flights));
        drop(first);
        assert!(matches!(poll(&mut one), Some(Landing::Abandoned)));
        assert!(matches!(poll(&mut other), Some(Landing::Abandoned)));
        let second = lead(&flights);
        let mut other = follow(&flights);
        second.land(Landing::Failed(PartFault::Reset));
        assert!(matches!(poll(&mut other), Some(Landing::Failed(PartFault::Reset))));
    }

    #[test]
    fn one_who_stops_waiting_is_not_counted() {
        let flights = Flights::new(1);
        let first = lead(&flights);
        drop(follow(&flights));
        assert!(!first.is_followed());
    }

    #[test]
    fn nobody_waits_for_answers_that_belong_to_one_request() {
        let flights = Flights::new(1);
        flights.note(b"part", false);
        let first = lead(&flights);
        assert!(matches!(flights.join(b"key", b"part"), Role::Alone));
        assert!(matches!(flights.join(b"key", b"another"), Role::Follows(_)));
        flights.note(b"part", true);
        assert!(matches!(flights.join(b"key", b"part"), Role::Follows(_)));
        drop(first);
    }

    #[test]
    fn flights_are_bounded() {
        let flights = Flights::new(1);
        let keys: Vec<[u8; 8]> = (0..PART_FLIGHTS_MAX as u64).map(u64::to_be_bytes).collect();
        let leads: Vec<Role<'_>> = keys.iter().map(|key| flights.join(key, b"part")).collect();
        assert!(leads.iter().all(|role| matches!(role, Role::Leads(_))));
        assert!(matches!(flights.join(b"one more", b"part"), Role::Alone));
        drop(leads);
        assert!(matches!(flights.join(b"one more", b"part"), Role::Leads(_)));
    }
}
