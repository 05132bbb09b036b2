//! The cell-rate arithmetic behind every rate limit (GCRA, ITU-T I.371 §6; "leaky bucket as a meter").
//!
//! A key's whole state is one number: its theoretical arrival time (TAT). A request is granted when the
//! TAT, moved on by one charge, lies no further ahead than the burst allows. Time is counted in ticks of
//! about 1/4096 of the interval between two requests, so that a TAT fits 44 bits beside a tag in one
//! atomic word (`base/shared.rs`).
//!
//! It must never grant more than `burst + rate × time`. Rounding therefore always goes against the
//! client: the clock is rounded down, and one request costs one tick more than its exact share. That
//! tick pays for the rounded clock, also over the shortest span, and costs 1/4096 of the rate (more above
//! 244,000/s, where a tick cannot be shorter than a nanosecond: 0.1 % at 1,000,000/s).
//! Floating point was refused: its rounding cannot be pointed in one direction.

use std::time::Duration;

use crate::base::limits::{GCRA_EVICTION_MARGIN, GCRA_SKEW_MAX, LIMIT_BURST_MAX, LIMIT_RATE_MAX};
use crate::base::time::Instant;

/// Bits of a TAT. At 50/s one turn of this clock takes two and a half years.
pub const TAT_BITS: u32 = 44;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;

/// Ticks in the interval between two requests, unless that would make a tick shorter than a nanosecond.
const TICKS_PER_REQUEST: u64 = 4096;

/// The rule of one limit: how many requests in which time, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Ticks in 2^64 nanoseconds: a fixed-point factor, rounded down.
    ticks_per_nano: u64,
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
    /// or when the interval between two requests would be under a nanosecond.
    pub fn new(count: u64, period: Duration, burst: u64) -> Option<Rule> {
        let period_nanos = u64::try_from(period.as_nanos()).ok()?;
        let fits = (1..=LIMIT_RATE_MAX).contains(&count) && (1..=LIMIT_BURST_MAX).contains(&burst);
        if !fits || period_nanos < count {
            return None;
        }
        let ticks = (period_nanos / count).min(TICKS_PER_REQUEST);
        let factor = (u128::from(ticks * count) << 64) / u128::from(period_nanos);
        let ticks_per_nano = u64::try_from(factor).unwrap_or(u64::MAX);
        let charge = ticks + 1;
        let ahead_max = burst * charge;
        let ticks_of = |span: Duration| {
            let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
            scale(nanos, ticks_per_nano).min(1 << (TAT_BITS - 3))
        };
        let live_max = ahead_max + ticks_of(GCRA_SKEW_MAX);
        let margin = ticks_of(GCRA_EVICTION_MARGIN);
        Some(Rule { ticks_per_nano, charge, ahead_max, live_max, margin, burst })
    }

    /// The burst. Unit: requests.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How long a spent burst takes to come back whole.
    pub fn window(&self) -> Duration {
        self.span(self.ahead_max)
    }

    /// The moment `now` on this rule's clock, rounded down.
    pub(crate) fn ticks(&self, now: Instant) -> u64 {
        scale(now.as_nanos(), self.ticks_per_nano) & TAT_MASK
    }

    /// How far a stored TAT lies ahead of `now`; `None` when it is past. Both on this rule's clock, which
    /// turns: what lies further ahead than any TAT can is a past one.
    pub(crate) fn ahead(&self, tat: u64, now: u64) -> Option<u64> {
        let ahead = tat.wrapping_sub(now) & TAT_MASK;
        (ahead != 0 && ahead <= self.live_max).then_some(ahead)
    }

    /// Whether a TAT has been past for so long that no core can take it for a live one.
    pub(crate) fn forgettable(&self, tat: u64, now: u64) -> bool {
        self.ahead(tat, now.wrapping_sub(self.margin) & TAT_MASK).is_none()
    }

    /// One request, `ahead` ticks before the TAT: the TAT to store when it is granted, and what is said.
    pub(crate) fn take(&self, ahead: u64, now: u64) -> (Option<u64>, Grant) {
        let after = ahead + self.charge;
        if after > self.ahead_max {
            return (None, self.refused(ahead));
        }
        let remaining = (self.ahead_max - after) / self.charge;
        let whole_after = self.span(after);
        let grant = Grant { granted: true, remaining, retry_after: Duration::ZERO, whole_after };
        (Some(now.wrapping_add(after) & TAT_MASK), grant)
    }

    /// What is said to a request that comes `ahead` ticks before the TAT and may not pass.
    pub(crate) fn refused(&self, ahead: u64) -> Grant {
        let over = (ahead + self.charge).saturating_sub(self.ahead_max).max(1);
        let retry_after = self.span(over);
        Grant { granted: false, remaining: 0, retry_after, whole_after: self.span(ahead) }
    }

    /// Ticks as a duration, rounded up.
    fn span(&self, ticks: u64) -> Duration {
        let nanos = (u128::from(ticks) << 64).div_ceil(u128::from(self.ticks_per_nano));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// `nanos × factor / 2^64`, rounded down.
fn scale(nanos: u64, factor: u64) -> u64 {
    ((u128::from(nanos) * u128::from(factor)) >> 64) as u64
}

const _: () = assert!(
    LIMIT_BURST_MAX * (TICKS_PER_REQUEST + 1) < 1 << (TAT_BITS - 1),
    "the largest burst must lie within half a turn of the clock"
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
            let now = self.rule.ticks(now);
            let ahead = if self.begun { self.rule.ahead(self.tat, now).unwrap_or(0) } else { 0 };
            let (tat, grant) = self.rule.take(ahead, now);
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
        assert!(refused.retry_after > Duration::from_millis(20));
        assert!(refused.retry_after < Duration::from_micros(20_020));
        assert!(limit.take(start + refused.retry_after).granted);
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
    }

    #[test]
    fn a_stale_tat_is_past_after_the_clock_has_turned() {
        let rule = Rule::new(1_000_000, Duration::from_secs(1), 10).unwrap();
        let tat = rule.ticks(Instant::from_nanos(1_000_000));
        let turn = Duration::from_nanos(1 << TAT_BITS);
        let later = Instant::from_nanos(1_000_000) + turn / 2;
        assert_eq!(rule.ahead(tat, rule.ticks(later)), None);
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
            let interval = 1_000_000_000 / count;
            let mut now = 77u64;
            let mut granted = 0u64;
            let asked = 4_000u64;
            for _ in 0..asked {
                granted += u64::from(limit.take(Instant::from_nanos(now)).granted);
                now += interval / 2;
            }
            let promised = burst + (now - 77) * count / 1_000_000_000;
            prop_assert!(granted * 100 >= promised.min(asked) * 99 - 100);
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
