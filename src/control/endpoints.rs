//! Endpoints that are set aside, as an operator sees them: once for all cores.
//!
//! Each core finds out for itself that an endpoint cannot be reached (`upstream/balance.rs`), and tells it. The first
//! one that does makes an event, and so does the first one that reaches the endpoint again. Nothing here decides
//! where a request goes, and it never knows more endpoints than the configuration has.

use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::name::Name;
use crate::base::time::Instant;
use crate::gateway::Gateway;
use crate::observe::event::Event;
use crate::upstream::turns::{Turn, Unproven};

/// The endpoints that are set aside.
#[derive(Default)]
pub(super) struct Endpoints {
    aside: Vec<(Name, Address)>,
    /// Whose handshakes came to nothing, and when that was told.
    unproven: Vec<(Unproven, Instant)>,
}

/// A handshake that comes to nothing again and again is told so often.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);

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

    /// Takes whose handshake came to nothing, and tells it unless it was told lately.
    pub(super) fn unproven(
        &mut self,
        unproven: &Unproven,
        now: Instant,
        tell: impl Fn(&Event<'_>),
    ) {
        self.unproven.retain(|(_, told)| now.since(*told) < TOLD_AGAIN_AFTER);
        if self.unproven.iter().any(|(known, _)| known == unproven) {
            return;
        }
        let Unproven { upstream, endpoint, why } = unproven;
        let (upstream, address) = (upstream.as_str(), &*endpoint.to_string());
        tell(&Event::OriginUnproven { upstream, address, why, advice: advice(why) });
        self.unproven.push((unproven.clone(), now));
    }

    /// A new configuration is in force: an upstream that is not as it was begins anew.
    pub(super) fn keep(&mut self, old: &Gateway, new: &Gateway) {
        // Whoever mended it wants to know whether it is.
        self.unproven.clear();
        self.aside.retain(|(name, _)| {
            let of = |gateway: &Gateway| {
                gateway.upstreams.iter().find(|upstream| upstream.name == *name).cloned()
            };
            of(old).zip(of(new)).is_some_and(|(old, new)| Arc::ptr_eq(&old, &new))
        });
    }
}

/// What there is to do about it, where that is clear.
fn advice(why: &str) -> &'static str {
    match why {
        "issuer_unknown" => "none of `tls.roots` signed its certificate: name the root that did",
        "name_mismatch" => {
            "its certificate has not the name that is asked for: set `tls.name` to one that it has"
        }
        "certificate_ended" => "its certificate has ended: renew it there",
        "certificate_not_yet_valid" => {
            "its certificate holds only later: see the clocks of both machines"
        }
        "pin_mismatch" => "its key is none of `tls.pin`",
        "certificate_refused" => {
            "its certificate is of a kind that no server may have; one that signs others is, if it was made for itself"
        }
        "no_tls" => "it does not speak TLS at this port",
        "no_common_version" => {
            "it speaks none of the versions that are asked for: see `tls.min_version`"
        }
        "alert_certificate_required"
        | "alert_bad_certificate"
        | "alert_unknown_ca"
        | "alert_certificate_expired" => "it does not believe us: see `tls.certificate`",
        "alert_unrecognized_name" => {
            "it knows no host of the name that is asked for: set `tls.name`"
        }
        _ => "its own log may say more",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
