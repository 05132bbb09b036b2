//! Endpoints that are set aside, as an operator sees them: once for all cores.
//!
//! Each core finds out for itself that an endpoint cannot be reached (`upstream/balance.rs`), and tells it. The first
//! one that does makes an event, and so does the first one that reaches the endpoint again. Nothing here decides
//! where a request goes, and it never knows more endpoints than the configuration has.

use std::sync::Arc;

use crate::base::address::Address;
use crate::base::name::Name;
use crate::gateway::Gateway;
use crate::observe::event::Event;
use crate::upstream::turns::Turn;

/// The endpoints that are set aside.
#[derive(Default)]
pub(super) struct Endpoints {
    aside: Vec<(Name, Address)>,
}

impl Endpoints {
    /// Takes what a core says, and tells what is new.
    pub(super) fn take(&mut self, turn: &Turn, tell: impl Fn(&Event<'_>)) {
        let Turn { upstream, endpoint, aside } = turn;
        let same = |known: &(Name, Address)| known.0 == *upstream && known.1 == *endpoint;
        let known = self.aside.iter().position(same);
        let (upstream_name, address) = (upstream.as_str(), &*endpoint.to_string());
        match (known, aside) {
            (None, Some((why, pause))) => {
                self.aside.push((upstream.clone(), endpoint.clone()));
                let (upstream, pause) = (upstream_name, *pause);
                tell(&Event::EndpointAside { upstream, address, why, pause });
            }
            (Some(index), None) => {
                self.aside.swap_remove(index);
                tell(&Event::EndpointBack { upstream: upstream_name, address });
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// A new configuration is in force: an upstream that is not as it was begins anew.
    pub(super) fn keep(&mut self, old: &Gateway, new: &Gateway) {
        self.aside.retain(|(name, _)| {
            let of = |gateway: &Gateway| {
                gateway.upstreams.iter().find(|upstream| upstream.name == *name).cloned()
            };
            of(old).zip(of(new)).is_some_and(|(old, new)| Arc::ptr_eq(&old, &new))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn several_cores_make_one_event() {
        let aside = Some(("connection_refused", Duration::from_secs(1)));
        let turn = |aside| Turn {
            upstream: Name::new("app"),
            endpoint: Address::Tcp("10.0.0.1:80".parse().expect("an address")),
            aside,
        };
        let told = Cell::new(0);
        let mut endpoints = Endpoints::default();
        for (turn, expected) in
            [(aside, 1), (aside, 1), (None, 2), (None, 2), (aside, 3), (aside, 3), (None, 4)]
                .map(|(aside, expected)| (turn(aside), expected))
        {
            endpoints.take(&turn, |_| told.set(told.get() + 1));
            assert_eq!(told.get(), expected);
        }
    }
}
