//! One fetch for all who ask for the same: those of this core wait for each other, and one of each core for the
//! core that leads (RFC 9111 §4 calls it collapsed forwarding).
//!
//! Whoever waits is woken when the fetch ends, looks into the store again, and goes on by itself if nothing is
//! there for it. Nobody waits for a leader that is gone, nor longer than `CACHE_FLIGHT_WAIT`. Another core is
//! never woken and never waited for: one request of each core looks every few milliseconds.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::base::limits::CACHE_FLIGHTS_MAX;
use crate::base::time::Instant;
use crate::policy::claims::Claim;
use crate::policy::store::Machine;
use crate::runtime::Runtime;
use crate::serve::Core;

/// How often a core looks whether another one has ended its fetch.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Fetches of this core that others wait for.
#[derive(Default)]
pub struct Flights {
    flying: RefCell<Vec<(u64, Rc<Flight>)>>,
}

/// A fetch that others wait for.
#[derive(Default)]
pub struct Flight {
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// Which part in a fetch is whose.
pub enum Role<'a> {
    /// To fetch for all.
    Leads(Lead<'a>),
    /// To wait for this core's fetch.
    Follows(Rc<Flight>),
    /// To watch another core's fetch, for all of this core.
    Watches(Lead<'a>),
    /// To fetch for oneself.
    Alone,
}

/// The duty to end a fetch. Dropped before, it leaves the key to those who wait.
pub struct Lead<'a> {
    flights: &'a Flights,
    machine: Arc<Machine>,
    hash: u64,
    flight: Rc<Flight>,
    /// Whether the claim is this core's.
    claimed: Cell<bool>,
}

impl Flights {
    /// Joins the fetch of a key.
    pub fn join(&self, machine: &Arc<Machine>, hash: u64) -> Role<'_> {
        let mut flying = self.flying.borrow_mut();
        if let Some((_, flight)) = flying.iter().find(|(other, _)| *other == hash) {
            return Role::Follows(flight.clone());
        }
        if flying.len() == CACHE_FLIGHTS_MAX {
            return Role::Alone;
        }
        let claim = machine.claims.claim(hash);
        if claim == Claim::Alone {
            return Role::Alone;
        }
        let flight = Rc::new(Flight::default());
        flying.push((hash, flight.clone()));
        let claimed = Cell::new(claim == Claim::Leads);
        let lead = Lead { flights: self, machine: machine.clone(), hash, flight, claimed };
        if claim == Claim::Leads { Role::Leads(lead) } else { Role::Watches(lead) }
    }

    /// Leads a fetch that nobody else makes, whether or not its answer will be one to share.
    pub fn lead(&self, machine: &Arc<Machine>, hash: u64) -> Option<Lead<'_>> {
        let mut flying = self.flying.borrow_mut();
        let is_free =
            flying.len() < CACHE_FLIGHTS_MAX && flying.iter().all(|(other, _)| *other != hash);
        if !is_free || !machine.claims.seize(hash) {
            return None;
        }
        let (flight, claimed) = (Rc::new(Flight::default()), Cell::new(true));
        flying.push((hash, flight.clone()));
        Some(Lead { flights: self, machine: machine.clone(), hash, flight, claimed })
    }
}

impl Lead<'_> {
    /// Tells those who wait that it is over, and whether the answer is for all of them.
    pub fn land(&self, shared: bool) {
        if self.claimed.replace(false) {
            self.machine.claims.end(self.hash, shared);
        }
        self.flights.flying.borrow_mut().retain(|(_, other)| !Rc::ptr_eq(other, &self.flight));
        self.flight.over.set(true);
        self.flight.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until the core that leads has ended, or until then.
    pub async fn watch<R: Runtime>(&self, core: &Core<R>, until: Instant) {
        while self.machine.claims.is_taken(self.hash) && core.runtime.now() < until {
            core.runtime.sleep_until(core.runtime.now() + LOOK_EVERY).await;
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.flight.over.get() {
            self.land(true);
        }
    }
}

impl Flight {
    /// Waits for the end of the fetch.
    pub async fn over(&self) {
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn is_over(flight: &Flight) -> bool {
        pin!(flight.over()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_first_leads_and_the_others_of_its_core_follow() {
        let (flights, machine) = (Flights::default(), Arc::new(Machine::new(1)));
        let Role::Leads(lead) = flights.join(&machine, 8) else { panic!("nobody leads") };
        let Role::Follows(flight) = flights.join(&machine, 8) else { panic!("it is led") };
        assert!(!is_over(&flight));
        lead.land(true);
        assert!(is_over(&flight) && matches!(flights.join(&machine, 8), Role::Leads(_)));
    }

    #[test]
    fn one_of_another_core_watches_and_its_fellows_follow_it() {
        let (one, other) = (Flights::default(), Flights::default());
        let machine = Arc::new(Machine::new(1));
        let Role::Leads(lead) = one.join(&machine, 8) else { panic!("nobody leads") };
        let Role::Watches(watch) = other.join(&machine, 8) else { panic!("the other core leads") };
        assert!(matches!(other.join(&machine, 8), Role::Follows(_)));
        drop(watch);
        assert!(machine.claims.is_taken(8), "who watches ends nobody's fetch");
        lead.land(false);
        assert!(matches!(other.join(&machine, 8), Role::Alone), "the answer was not for all");
    }

    #[test]
    fn a_leader_that_is_gone_leaves_the_key_to_those_who_wait() {
        let (flights, machine) = (Flights::default(), Arc::new(Machine::new(1)));
        let Role::Leads(lead) = flights.join(&machine, 8) else { panic!("nobody leads") };
        let Role::Follows(flight) = flights.join(&machine, 8) else { panic!("it is led") };
        drop(lead);
        assert!(is_over(&flight) && matches!(flights.join(&machine, 8), Role::Leads(_)));
    }
}
