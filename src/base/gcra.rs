//! The cell-rate arithmetic behind every rate limit (GCRA, ITU-T I.371 §6; "leaky bucket as a meter").
//!
//! A key's whole state is one number: its theoretical arrival time (TAT). A request is granted when the
//! TAT, moved on by one charge, lies no further ahead than the burst allows. A TAT is kept in 48 bits,
//! beside a tag in one atomic word (`base/shared.rs`): in nanoseconds, as long as a spent burst comes back
//! within nine hours, else in the smallest power of two of nanoseconds that fits; rates above 244,000/s
//! use fractions of a nanosecond, so that the rounding of the interval stays small.
//!
//! It must never grant more than `burst + rate × time`. Rounding therefore always goes against the
//! client: the interval is rounded up, and where the clock is coarser than a nanosecond, and so rounded
//! down, one tick more is charged for each request, which pays for that over any span.
//! Floating point was refused: its rounding cannot be pointed in one direction.

use std::time::Duration;

use crate::base::limits::{GCRA_EVICTION_MARGIN, GCRA_SKEW_MAX, LIMIT_BURST_MAX, LIMIT_RATE_MAX};
use crate::base::time::Instant;

/// Bits of a TAT; its clock turns in 2^48 ticks (78 hours of nanoseconds).
pub(crate) const TAT_BITS: u32 = 48;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;

/// An eighth of a turn: nothing live lies further ahead, and nothing that is past is kept for two of them.
pub(crate) const EPOCH_BITS: u32 = TAT_BITS - 3;

/// Intervals under this many nanoseconds are counted in fractions of one.
const FINE_BELOW_NANOS: u64 = 4096;
/// The finest tick: 2^-9 ns. A finer one would bring `GCRA_SKEW_MAX` beyond an eighth of a turn.
const SHIFT_MAX: i32 = 9;
/// The coarsest tick: 2^30 ns, about a second.
const SHIFT_MIN: i32 = -30;

/// The rule of one limit: how many requests in which time, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A nanosecond is 2^shift ticks.
    shift: i32,
    /// What one request costs. Unit: ticks.
    charge: u64,
    /// How far ahead a TAT may lie. Unit: ticks.
    ahead_max: u64,
    /// `ahead_max`, and what a core that reads an older time may see beyond it. Unit: ticks.
    live_max: u64,
    /// How long a TAT must be past before its place is given to another key. Unit: ticks.
    margin: u64,
    burst: u64,
}

/// What a rule says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whether it may pass.
    pub granted: bool,
    /// Requests that could follow at once.
    pub remaining: u64,
    /// When refused: how long until one would be granted; zero otherwise.
    pub retry_after: Duration,
    /// How long until the whole burst is there again.
    pub whole_after: Duration,
}

impl Rule {
    /// `count` requests per `period`, and `burst` at once after a pause.
    ///
    /// `None` when a number is zero or beyond its bound (`LIMIT_RATE_MAX` per period, `LIMIT_BURST_MAX`),
    /// when the interval between two requests would be under a nanosecond, or when a spent burst would
    /// take over a thousand years to come back.
    pub fn new(count: u64, period: Duration, burst: u64) -> Option<Rule> {
        Self::owing(count, period, burst, 1)
    }

    /// The same for a count that others move, too: a TAT may come to lie `debt_max` bursts ahead, and nothing
    /// passes before what is beyond the first of them is paid back.
    pub fn owing(count: u64, period: Duration, burst: u64, debt_max: u64) -> Option<Rule> {
        let period_nanos = u64::try_from(period.as_nanos()).ok()?;
        let fits = (1..=LIMIT_RATE_MAX).contains(&count) && (1..=LIMIT_BURST_MAX).contains(&burst);
        if !fits || period_nanos < count {
            return None;
        }
        let finest = if period_nanos / count < FINE_BELOW_NANOS { SHIFT_MAX } else { 0 };
        let at = |shift| Self::at(shift, count, period_nanos, burst, debt_max);
        (SHIFT_MIN..=finest).rev().find_map(at)
    }

    /// The rule counted in ticks of 2^-shift nanoseconds, if it fits the clock.
    fn at(shift: i32, count: u64, period_nanos: u64, burst: u64, debt_max: u64) -> Option<Rule> {
        let (fine, coarse) = if shift >= 0 { (shift as u32, 0) } else { (0, shift.unsigned_abs()) };
        let period = u128::from(period_nanos) << fine;
        let interval = period.div_ceil(u128::from(count) << coarse);
        let charge = u64::try_from(interval).ok()? + u64::from(coarse > 0);
        let ahead_max = charge.checked_mul(burst)?;
        let ticks_of = |span: Duration| shifted(span.as_nanos() as u64, shift);
        let owed = ahead_max.checked_mul(debt_max)?;
        let live_max = owed.checked_add(ticks_of(GCRA_SKEW_MAX))?;
        let margin = ticks_of(GCRA_EVICTION_MARGIN);
        let rule = Rule { shift, charge, ahead_max, live_max, margin, burst };
        (live_max + margin < 1 << EPOCH_BITS).then_some(rule)
    }

    /// The burst. Unit: requests.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How long a spent burst takes to come back whole.
    pub fn window(&self) -> Duration {
        self.span(self.ahead_max)
    }

    /// The moment `now` in ticks, rounded down, not yet cut to the bits of a TAT.
    pub(crate) fn ticks(&self, now: Instant) -> u64 {
        shifted(now.as_nanos(), self.shift)
    }

    /// How far a stored TAT lies ahead of `now`; `None` when it is past. Both on this rule's clock, which
    /// turns: what lies further ahead than any TAT can is a past one.
    pub(crate) fn ahead(&self, tat: u64, now: u64) -> Option<u64> {
        let ahead = tat.wrapping_sub(now) & TAT_MASK;
        (ahead != 0 && ahead <= self.live_max).then_some(ahead)
    }

    /// Whether a TAT has been past for so long that no core can take it for a live one.
    pub(crate) fn forgettable(&self, tat: u64, now: u64) -> bool {
        self.ahead(tat, now.wrapping_sub(self.margin)).is_none()
    }

    /// A TAT that lies this far ahead, or as far as one may. Unit: ticks.
    pub(crate) fn ahead_of(&self, span: Duration) -> u64 {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(1 << 62 >> SHIFT_MAX);
        shifted(nanos, self.shift).saturating_add(1).min(self.live_max)
    }

    /// A TAT `ahead` ticks before which it is `now`.
    pub(crate) fn tat(&self, ahead: u64, now: u64) -> u64 {
        now.wrapping_add(ahead) & TAT_MASK
    }

    /// What is said of a count whose TAT lies `ahead`, the request's cost charged already if it was granted.
    pub(crate) fn said(&self, ahead: u64, cost: u64, granted: bool) -> Grant {
        if !granted {
            return self.refused(ahead, cost);
        }
        let remaining = self.ahead_max.saturating_sub(ahead) / self.charge;
        let whole_after = self.span(ahead);
        Grant { granted, remaining, retry_after: Duration::ZERO, whole_after }
    }

    /// One request of this `cost`, `ahead` ticks before the TAT: the TAT to store when it is granted, and
    /// what is said. A cost is at least 1 and at most the burst, or the request could never pass.
    pub(crate) fn take(&self, ahead: u64, now: u64, cost: u64) -> (Option<u64>, Grant) {
        let after = ahead + self.charge_of(cost);
        if after > self.ahead_max {
            return (None, self.refused(ahead, cost));
        }
        let remaining = (self.ahead_max - after) / self.charge;
        let whole_after = self.span(after);
        let grant = Grant { granted: true, remaining, retry_after: Duration::ZERO, whole_after };
        (Some(now.wrapping_add(after) & TAT_MASK), grant)
    }

    /// What is said to a request of this `cost` that comes `ahead` ticks before the TAT and may not pass.
    pub(crate) fn refused(&self, ahead: u64, cost: u64) -> Grant {
        let over = (ahead + self.charge_of(cost)).saturating_sub(self.ahead_max).max(1);
        let retry_after = self.span(over);
        let remaining = self.ahead_max.saturating_sub(ahead) / self.charge;
        Grant { granted: false, remaining, retry_after, whole_after: self.span(ahead) }
    }

    /// What a request of this cost is charged. Unit: ticks.
    fn charge_of(&self, cost: u64) -> u64 {
        self.charge * cost.clamp(1, self.burst)
    }

    /// Ticks as a duration, rounded up.
    fn span(&self, ticks: u64) -> Duration {
        let nanos = match u32::try_from(self.shift) {
            Ok(fine) => ticks.div_ceil(1 << fine),
            Err(_) => ticks << self.shift.unsigned_abs(),
        };
        Duration::from_nanos(nanos)
    }
}

/// `nanos × 2^shift`, rounded down. Bits beyond 64 are lost, which a clock that turns allows.
fn shifted(nanos: u64, shift: i32) -> u64 {
    if shift >= 0 { nanos << shift } else { nanos >> shift.unsigned_abs() }
}

const _: () = assert!(
    (GCRA_SKEW_MAX.as_nanos() + GCRA_EVICTION_MARGIN.as_nanos()) << SHIFT_MAX < 1 << EPOCH_BITS,
    "the skew must be far from a turn of the finest clock"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A limiter of one key, as plain as can be.
    struct One {
        rule: Rule,
        tat: u64,
        begun: bool,
    }

    impl One {
        fn take(&mut self, now: Instant) -> Grant {
            self.take_of(now, 1)
        }

        fn take_of(&mut self, now: Instant, cost: u64) -> Grant {
            let now = self.rule.ticks(now);
            let ahead = if self.begun { self.rule.ahead(self.tat, now).unwrap_or(0) } else { 0 };
            let (tat, grant) = self.rule.take(ahead, now, cost);
            if let Some(tat) = tat {
                self.tat = tat;
                self.begun = true;
            }
            grant
        }
    }

    fn one(count: u64, period: Duration, burst: u64) -> One {
        One { rule: Rule::new(count, period, burst).unwrap(), tat: 0, begun: false }
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let mut limit = one(50, Duration::from_secs(1), 100);
        let start = Instant::from_nanos(5_000_000_000);
        let at_once = (0..200).filter(|_| limit.take(start).granted).count();
        assert_eq!(at_once, 100);
        let refused = limit.take(start);
        assert_eq!(refused.retry_after, Duration::from_millis(20));
        assert!(!limit.take(start + Duration::from_nanos(19_999_999)).granted);
        assert!(limit.take(start + refused.retry_after).granted);
    }

    #[test]
    fn a_request_that_costs_more_spends_as_much_as_so_many_others() {
        let mut limit = one(10, Duration::from_secs(1), 10);
        let now = Instant::from_nanos(7);
        assert_eq!(limit.take_of(now, 4).remaining, 6);
        let refused = limit.take_of(now, 7);
        assert_eq!((refused.granted, refused.remaining), (false, 6));
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert!(limit.take_of(now + refused.retry_after, 7).granted);
        let mut whole = one(10, Duration::from_secs(1), 10);
        assert_eq!(whole.take_of(now, u64::MAX).remaining, 0);
    }

    #[test]
    fn remaining_counts_down_to_nothing() {
        let mut limit = one(1, Duration::from_secs(1), 3);
        let now = Instant::from_nanos(1);
        let left: Vec<u64> = (0..3).map(|_| limit.take(now).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        assert!(!limit.take(now).granted);
    }

    #[test]
    fn nonsense_is_no_rule() {
        let second = Duration::from_secs(1);
        assert!(Rule::new(0, second, 1).is_none());
        assert!(Rule::new(1, second, 0).is_none());
        assert!(Rule::new(1, Duration::ZERO, 1).is_none());
        assert!(Rule::new(LIMIT_RATE_MAX + 1, second, 1).is_none());
        assert!(Rule::new(1, second, LIMIT_BURST_MAX + 1).is_none());
        assert!(Rule::new(1_000_000_000, second, LIMIT_BURST_MAX).is_some());
        assert!(Rule::new(1, Duration::from_secs(86_400 * 365), LIMIT_BURST_MAX).is_none());
    }

    #[test]
    fn a_client_that_keeps_the_pace_is_never_refused() {
        for (count, period, burst) in
            [(1, 1, 1), (50, 1, 1), (1, 3_600, 1), (1_000_000, 1, 1), (3, 1, 2)]
        {
            let mut limit = one(count, Duration::from_secs(period), burst);
            let interval = (period * 1_000_000_000).div_ceil(count);
            let refused =
                (0..10_000).filter(|n| !limit.take(Instant::from_nanos(n * interval)).granted);
            assert_eq!(refused.count(), 0, "{count} per {period} s");
        }
    }

    #[test]
    fn a_spent_burst_of_days_is_counted_more_coarsely() {
        let mut limit = one(1, Duration::from_secs(86_400), 30);
        let start = Instant::from_nanos(123_456_789);
        assert_eq!((0..40).filter(|_| limit.take(start).granted).count(), 30);
        let day = start + Duration::from_secs(86_400);
        assert!(!limit.take(day).granted);
        assert!(limit.take(day + Duration::from_micros(2)).granted);
    }

    #[test]
    fn a_past_tat_is_past_for_seven_eighths_of_a_turn() {
        let rule = Rule::new(50, Duration::from_secs(1), 10).unwrap();
        let tat = 1_000_000;
        for eighth in 0..7u64 {
            assert_eq!(rule.ahead(tat, tat + (eighth << EPOCH_BITS)), None);
        }
    }

    proptest! {
        /// Over every window between two grants, not only from the start.
        #[test]
        fn never_more_than_rate_times_time_plus_burst(
            count in 1u64..2_000_000,
            period_millis in 1u64..100_000,
            burst in 1u64..40,
            gaps in prop::collection::vec(0u64..3_000, 1..200),
        ) {
            let period = Duration::from_millis(period_millis);
            prop_assume!(period.as_nanos() as u64 >= count);
            let mut limit = one(count, period, burst);
            let interval = (period.as_nanos() as u64 / count).max(1);
            let mut now = Instant::from_nanos(12_345);
            let mut granted: Vec<u128> = Vec::new();
            for gap in gaps {
                now = now + Duration::from_nanos(gap * interval / 1000);
                if limit.take(now).granted {
                    granted.push(u128::from(now.as_nanos()));
                }
            }
            for (first, from) in granted.iter().enumerate() {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let passed = (last - first + 1) as u128;
                    let allowed = u128::from(burst) * period.as_nanos() + (to - from) * u128::from(count);
                    prop_assert!(passed * period.as_nanos() <= allowed);
                }
            }
        }

        /// A client that always asks gets at least 99 % of what the rule promises.
        #[test]
        fn at_least_ninety_nine_percent_is_granted(count in 1u64..500_000, burst in 1u64..50) {
            let mut limit = one(count, Duration::from_secs(1), burst);
            let step = 1_000_000_000 / count / 400;
            let mut now = 77u64;
            let mut granted = 0u64;
            let asked = 40_000u64;
            for _ in 0..asked {
                granted += u64::from(limit.take(Instant::from_nanos(now)).granted);
                now += step;
            }
            let promised = burst + (now - 77) * count / 1_000_000_000;
            prop_assert!(granted * 100 >= promised.min(asked) * 99 - 100, "{granted} of {promised}");
        }

        /// Waiting as long as it was told is enough, and the clock's turn does not matter.
        #[test]
        fn retry_after_is_enough(count in 1u64..1_000_000, burst in 1u64..20, start in 0u64..u64::MAX / 4) {
            let mut limit = one(count, Duration::from_secs(1), burst);
            let start = Instant::from_nanos(start);
            while limit.take(start).granted {}
            let wait = limit.take(start).retry_after;
            prop_assert!(limit.take(start + wait).granted);
        }
    }
}
