//! How many requests at once an origin can take, found out from how long it takes: a gradient.
//!
//! Once in a while, when the limit is at its floor for a window, the time that a request takes then is the
//! *base*: what the origin needs without a queue. Each window's mean time is compared with it: `gradient =
//! base × (1 + slack) / mean`, within 0.5 and 2, and the next limit is `limit × gradient + √limit`. The root is
//! the room to grow; where the origin does not get slower it lets the limit rise. This is Envoy's gradient
//! controller (its `adaptive_concurrency` filter); Netflix' gradient2, which compares with a long average
//! instead of a measured base, was refused: under a lasting overload the average becomes the overload.
//!
//! It never asks for the time, and one step is a function of what was before and of one window.

use std::time::Duration;

/// What an adaptive limit keeps to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientRules {
    /// The least limit; also the one at which the base is measured.
    pub min: u64,
    /// The most.
    pub max: u64,
}

/// How much slower than its base an origin may be before the limit sinks; Envoy's default buffer.
const SLACK: f64 = 0.25;

/// What was found out so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// The limit in force.
    pub limit: u64,
    /// What a request takes without a queue; `None` before it was measured.
    pub base: Option<Duration>,
}

/// What one window showed.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The mean time of the requests that ended in it.
    pub mean: Duration,
    /// How many were in flight at its end.
    pub in_flight: u64,
    /// Whether the limit was at its floor all through it, to measure the base.
    pub at_floor: bool,
}

impl Gradient {
    /// The next state.
    #[must_use]
    pub fn step(self, window: Window, rules: GradientRules) -> Gradient {
        let base = match self.base {
            Some(base) if !window.at_floor => base,
            _ => window.mean,
        };
        if window.at_floor {
            return Gradient { limit: self.limit, base: Some(base) };
        }
        // What is not used says nothing of what could be.
        if window.in_flight * 2 < self.limit && window.mean <= base.mul_f64(1.0 + SLACK) {
            return Gradient { limit: self.limit, base: Some(base) };
        }
        let limit = self.limit as f64;
        let mean = window.mean.as_secs_f64().max(f64::MIN_POSITIVE);
        let gradient = (base.as_secs_f64() * (1.0 + SLACK) / mean).clamp(0.5, 2.0);
        // The limit rises by the root alone: a gradient above 1 says that there is room, not how much.
        let next = limit * gradient.min(1.0) + limit.sqrt();
        let limit = (next.round() as u64).clamp(rules.min, rules.max);
        Gradient { limit, base: Some(base) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::random::Rng;

    /// An origin that serves `seats` requests at once in `base` each and lets the others wait their turn.
    struct Origin {
        seats: u64,
        base: Duration,
    }

    impl Origin {
        fn mean(&self, in_flight: u64, rng: &mut Rng) -> Duration {
            let queued = (in_flight as f64 / self.seats as f64).max(1.0);
            let noise = 0.95 + f64::from(rng.below(100)) / 1000.0;
            self.base.mul_f64(queued * noise)
        }
    }

    const RULES: GradientRules = GradientRules { min: 4, max: 10_000 };

    /// Plays `windows` windows under a demand, the base measured anew every 300.
    fn play(origin: &Origin, demand: u64, from: Gradient, windows: usize, seed: u64) -> Gradient {
        let mut rng = Rng::new(seed);
        (0..windows).fold(from, |state, number| {
            let at_floor = number % 300 == 0;
            let limit = if at_floor { RULES.min } else { state.limit };
            let in_flight = demand.min(limit);
            let mean = origin.mean(in_flight, &mut rng);
            state.step(Window { mean, in_flight, at_floor }, RULES)
        })
    }

    const NEW: Gradient = Gradient { limit: 4, base: None };

    proptest! {
        /// However many seats the origin has: the limit comes to them, and no further than the slack and
        /// the room to grow above.
        #[test]
        fn the_limit_comes_to_what_the_origin_can_take(
            seats in 8u64..2_000,
            base_millis in 1u64..500,
            seed in any::<u64>(),
        ) {
            let origin = Origin { seats, base: Duration::from_millis(base_millis) };
            let state = play(&origin, u64::MAX, NEW, 1_000, seed);
            let most = seats as f64 * 1.45 + 3.0 * (seats as f64).sqrt() + 4.0;
            prop_assert!(state.limit >= seats, "{} of {seats}", state.limit);
            prop_assert!((state.limit as f64) < most, "{} of {seats}", state.limit);
        }

        /// An origin that loses most of its seats is followed down, and up again when it has them back.
        #[test]
        fn a_change_of_the_origin_is_followed(seats in 40u64..1_000, seed in any::<u64>()) {
            let base = Duration::from_millis(20);
            let well = play(&Origin { seats, base }, u64::MAX, NEW, 1_000, seed);
            let ill = play(&Origin { seats: seats / 4, base }, u64::MAX, well, 100, seed);
            prop_assert!(ill.limit < seats * 3 / 4, "{} of {seats}", ill.limit);
            let again = play(&Origin { seats, base }, u64::MAX, ill, 1_000, seed);
            prop_assert!(again.limit >= seats);
        }

        #[test]
        fn the_limit_keeps_its_bounds(means in prop::collection::vec(1u64..10_000_000, 1..200)) {
            let rules = GradientRules { min: 3, max: 50 };
            let mut state = Gradient { limit: 3, base: None };
            for micros in means {
                let mean = Duration::from_micros(micros);
                let at_floor = micros % 7 == 0;
                state = state.step(Window { mean, in_flight: state.limit, at_floor }, rules);
                prop_assert!((3..=50).contains(&state.limit));
            }
        }
    }

    #[test]
    fn a_limit_that_nobody_uses_does_not_rise() {
        let origin = Origin { seats: 100, base: Duration::from_millis(5) };
        assert!(play(&origin, 2, NEW, 1_000, 1).limit <= 8);
    }
}
