//! Whose turn it is: smooth weighted round robin, and least request of two.
//!
//! Neither allocates, and neither ever chooses an endpoint that the caller finds unusable.

use std::time::Duration;

use crate::base::limits::{ASIDE_MAX, ASIDE_MIN};
use crate::base::random::Rng;
use crate::base::time::Instant;
use crate::upstream::Upstream;

/// What a core knows of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointState {
    /// Attempts in flight on this core.
    pub in_flight: u32,
    /// Not to be chosen before this; the origin of time when it is well.
    pub aside_until: Instant,
    failures: u32,
}

impl EndpointState {
    /// Sets the endpoint aside for `ASIDE_MIN`, doubled with each failure in a row up to `ASIDE_MAX`.
    pub(super) fn set_aside(&mut self, now: Instant) -> Duration {
        let doubled = ASIDE_MIN.saturating_mul(1 << self.failures.min(16));
        let pause = doubled.min(ASIDE_MAX);
        // Requests that fail together are one piece of evidence.
        if self.aside_until <= now {
            self.failures += 1;
            self.aside_until = now + pause;
        }
        pause
    }

    /// Says whether there was something to restore.
    pub(super) fn restore(&mut self) -> bool {
        self.aside_until = Instant::ORIGIN;
        std::mem::take(&mut self.failures) > 0
    }
}

/// Smooth weighted round robin, as nginx has it: every endpoint gains its weight each turn, the richest
/// is chosen and pays the sum. The order is evenly interleaved: 5, 1, 1 gives a a b a c a a.
pub struct Turns {
    wealth: Box<[i64]>,
}

impl Turns {
    pub(super) fn new(upstream: &Upstream, rng: &mut Rng) -> Self {
        let count = upstream.endpoints.len();
        let mut turns = Self { wealth: vec![0; count].into_boxed_slice() };
        let start = if count > 1 { rng.below(count as u32) } else { 0 };
        for _ in 0..start {
            turns.next(upstream, |_| true);
        }
        turns
    }

    pub(super) fn next(
        &mut self,
        upstream: &Upstream,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut sum = 0;
        let mut richest: Option<usize> = None;
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            if !usable(index) {
                continue;
            }
            let weight = i64::from(endpoint.weight);
            sum += weight;
            self.wealth[index] += weight;
            if richest.is_none_or(|best| self.wealth[index] > self.wealth[best]) {
                richest = Some(index);
            }
        }
        if let Some(index) = richest {
            self.wealth[index] -= sum;
        }
        richest
    }
}

/// Of two endpoints drawn by weight, the one with fewer attempts in flight.
pub(super) fn least_of_two(
    upstream: &Upstream,
    states: &[EndpointState],
    rng: &mut Rng,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let first = draw(upstream, rng, &usable, None)?;
    let Some(second) = draw(upstream, rng, &usable, Some(first)) else { return Some(first) };
    Some(if states[second].in_flight < states[first].in_flight { second } else { first })
}

/// One usable endpoint other than `but`, drawn by weight.
fn draw(
    upstream: &Upstream,
    rng: &mut Rng,
    usable: impl Fn(usize) -> bool,
    but: Option<usize>,
) -> Option<usize> {
    let candidates = || {
        let all = upstream.endpoints.iter().enumerate();
        all.filter(|(index, _)| usable(*index) && Some(*index) != but)
    };
    let sum: u32 = candidates().map(|(_, endpoint)| u32::from(endpoint.weight)).sum();
    if sum == 0 {
        return None;
    }
    let mut left = rng.below(sum);
    for (index, endpoint) in candidates() {
        match left.checked_sub(u32::from(endpoint.weight)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}
