//! Endpoints that a core set aside or took back since its last tick, for the operator.
//!
//! The control side tells one event for all cores (`control/endpoints.rs`). It never grows beyond a bound, never
//! decides anything, and costs a request nothing unless a connection could not be made or an endpoint is well again.

use std::cell::RefCell;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::limits::ENDPOINT_TURNS_MAX;
use crate::base::name::Name;
use crate::upstream::{Endpoint, Upstream};

/// What became of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose it is.
    pub upstream: Name,
    /// Where it listens.
    pub endpoint: Address,
    /// Why it was set aside and for how long; `None` when it is used again.
    pub aside: Option<(&'static str, Duration)>,
}

/// An endpoint whose handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// Whose it is.
    pub upstream: Name,
    /// Where it listens.
    pub endpoint: Address,
    /// Why, in one word.
    pub why: &'static str,
}

/// The turns since the last tick, the last one of each endpoint.
#[derive(Default)]
pub struct Turns {
    list: RefCell<Vec<Turn>>,
    unproven: RefCell<Vec<Unproven>>,
}

impl Turns {
    /// The endpoint could not be connected to.
    pub fn aside(
        &self,
        upstream: &Upstream,
        endpoint: &Endpoint,
        why: &'static str,
        pause: Duration,
    ) {
        self.note(upstream, endpoint, Some((why, pause)));
    }

    /// The endpoint was connected to after it could not be.
    pub fn back(&self, upstream: &Upstream, endpoint: &Endpoint) {
        self.note(upstream, endpoint, None);
    }

    /// The endpoint's handshake came to nothing.
    pub fn unproven(&self, upstream: &Upstream, endpoint: &Endpoint, why: &'static str) {
        let mut list = self.unproven.borrow_mut();
        let same = |one: &Unproven| {
            one.why == why && one.upstream == upstream.name && one.endpoint == endpoint.address
        };
        if list.len() < ENDPOINT_TURNS_MAX && !list.iter().any(same) {
            let (upstream, endpoint) = (upstream.name.clone(), endpoint.address.clone());
            list.push(Unproven { upstream, endpoint, why });
        }
    }

    /// Hands out whose handshakes came to nothing.
    pub fn take_unproven(&self) -> Vec<Unproven> {
        self.unproven.take()
    }

    /// Hands them out.
    pub fn take(&self) -> Vec<Turn> {
        self.list.take()
    }

    fn note(
        &self,
        upstream: &Upstream,
        endpoint: &Endpoint,
        aside: Option<(&'static str, Duration)>,
    ) {
        let mut list = self.list.borrow_mut();
        let full = list.len() >= ENDPOINT_TURNS_MAX;
        let known = list
            .iter_mut()
            .find(|turn| turn.upstream == upstream.name && turn.endpoint == endpoint.address);
        match known {
            Some(turn) => turn.aside = aside,
            None if full => {}
            None => {
                let (upstream, endpoint) = (upstream.name.clone(), endpoint.address.clone());
                list.push(Turn { upstream, endpoint, aside });
            }
        }
    }
}
