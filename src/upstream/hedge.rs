//! When a call is worth a second try beside the first: it has taken longer than nearly all of its kind.
//!
//! Dean and Barroso ("The Tail at Scale", 2013) send a second request when the first has been outstanding for
//! longer than the 95th percentile, and so cut the tail for a few percent of load. What one core has seen of
//! one kind of call is kept here: a histogram whose buckets are an eighth of their value wide, and in which
//! what is old weighs half with each `HEDGE_WINDOW`. A budget bounds the load whatever the origins do: it
//! is never overdrawn, so that slow origins are not asked twice by everybody. A fixed delay was the
//! choice refused: it is wrong on the day after the origin changed.

use std::time::Duration;

use crate::base::limits::{HEDGE_SAMPLES_MIN, HEDGE_WINDOW, HEDGES_SAVED_MAX};
use crate::http::Method;

/// What one core knows of one kind of call, and what it may still spend on it.
#[derive(Clone, Debug)]
pub struct Hedging {
    latencies: Latencies,
    budget: HedgeBudget,
}

/// Whether a method may be sent twice at once: it is safe (RFC 9110 §9.2.1).
pub fn is_safe(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}

impl Hedging {
    /// Nothing known yet. `percent` of all calls may be sent twice; 1 to 100.
    pub fn new(percent: u32) -> Self {
        Self { latencies: Latencies::default(), budget: HedgeBudget::new(percent) }
    }

    /// A call begins: it earns a part of a second try.
    pub fn call_begun(&mut self) {
        self.budget.earn();
    }

    /// A try was over after this time, or given up as too slow then.
    pub fn record(&mut self, took: Duration) {
        self.latencies.record(took);
    }

    /// After which time a call is late: the 95th percentile; `None` before `HEDGE_SAMPLES_MIN` were seen.
    pub fn late_after(&self) -> Option<Duration> {
        self.latencies.known().map(|known| known.p95)
    }

    /// Takes leave for a second try that would have this much time; refused when half of all calls take
    /// longer, or nothing is left to spend.
    pub fn take(&mut self, left: Duration) -> bool {
        let in_time = self.latencies.known().is_some_and(|known| left >= known.p50);
        in_time && self.budget.take()
    }
}

/// Second tries that one core may still make of one kind of call.
///
/// A call earns its part of one, a second try costs a whole one; at most `HEDGES_SAVED_MAX` are saved, and none is
/// there at the start.
#[derive(Clone, Copy, Debug)]
pub struct HedgeBudget {
    percent: u32,
    hundredths: u32,
}

/// What a second try costs. Unit: hundredths.
const WHOLE: u32 = 100;

impl HedgeBudget {
    /// Nothing saved; every call earns `percent` of a second try.
    pub fn new(percent: u32) -> Self {
        Self { percent: percent.min(WHOLE), hundredths: 0 }
    }

    /// A call earns its part.
    pub fn earn(&mut self) {
        self.hundredths = (self.hundredths + self.percent).min(HEDGES_SAVED_MAX * WHOLE);
    }

    /// Takes one second try if there is one.
    pub fn take(&mut self) -> bool {
        let left = self.hundredths.checked_sub(WHOLE);
        self.hundredths = left.unwrap_or(self.hundredths);
        left.is_some()
    }
}

/// Eight buckets for each doubling from 8 µs to 134 s, and one for each microsecond below.
const BUCKETS: usize = 200;
/// Steps of a doubling, as a power of two.
const STEP_BITS: u32 = 3;
/// Quantiles are found anew after so many samples.
const SAMPLES_PER_LOOK: u32 = 16;

/// How long calls took lately.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: [u16; BUCKETS],
    total: u32,
    since_look: u32,
    known: Option<Quantiles>,
}

/// What is late, and what is usual; never below the true value by more than nothing, nor above it by more than
/// an eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of all calls take no longer.
    pub p50: Duration,
    /// 95 of a hundred take no longer.
    pub p95: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, since_look: 0, known: None }
    }
}

impl Latencies {
    /// Counts one more.
    pub fn record(&mut self, took: Duration) {
        if self.total >= HEDGE_WINDOW {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        self.counts[bucket(took)] += 1;
        self.total += 1;
        self.since_look += 1;
        if self.total >= HEDGE_SAMPLES_MIN
            && (self.known.is_none() || self.since_look >= SAMPLES_PER_LOOK)
        {
            self.since_look = 0;
            self.known = Some(Quantiles { p50: self.quantile(50), p95: self.quantile(95) });
        }
    }

    /// What is known, once there were enough.
    pub fn known(&self) -> Option<Quantiles> {
        self.known
    }

    /// The upper end of the bucket in which so many of a hundred lie.
    fn quantile(&self, percent: u32) -> Duration {
        let due = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen >= due
        });
        upper_end(place.unwrap_or(BUCKETS - 1))
    }
}

const _: () = assert!(HEDGE_WINDOW < u16::MAX as u32, "a bucket holds a whole window");
const _: () =
    assert!(HEDGE_WINDOW / 2 > HEDGE_SAMPLES_MIN + BUCKETS as u32, "halving leaves enough");

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < 1 << STEP_BITS {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEP_BITS;
    let step = (micros >> doubling) as usize & ((1 << STEP_BITS) - 1);
    let place = ((doubling as usize + 1) << STEP_BITS) + step;
    place.min(BUCKETS - 1)
}

/// Exclusive.
fn upper_end(place: usize) -> Duration {
    let steps = 1_u64 << STEP_BITS;
    let place = place as u64;
    if place < steps {
        return Duration::from_micros(place + 1);
    }
    let (doubling, step) = ((place >> STEP_BITS) - 1, place & (steps - 1));
    Duration::from_micros((steps + step + 1) << doubling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn every_time_lies_in_its_bucket_and_no_bucket_is_wider_than_an_eighth() {
        for time in
            (0..4_000).chain((0..27).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]))
        {
            let end = upper_end(bucket(micros(time)));
            assert!(micros(time) < end, "{time} in {end:?}");
            assert!(end <= micros(time + time / 8 + 1), "{time} in {end:?}");
        }
        assert_eq!(bucket(Duration::from_secs(86_400)), BUCKETS - 1);
        assert!((1..BUCKETS).all(|place| upper_end(place - 1) < upper_end(place)));
    }

    #[test]
    fn nothing_is_known_before_there_are_enough_samples() {
        let mut hedging = Hedging::new(100);
        for _ in 1..HEDGE_SAMPLES_MIN {
            hedging.call_begun();
            hedging.record(micros(1_000));
        }
        assert_eq!(hedging.late_after(), None);
        assert!(!hedging.take(Duration::from_secs(1)), "nobody knows what is late");
        hedging.record(micros(1_000));
        assert_eq!(hedging.late_after(), Some(micros(1_024)));
        assert!(hedging.take(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_late_follows_what_the_origin_does() {
        let mut latencies = Latencies::default();
        let mut known = |fast: u64, slow: u64| {
            for number in 0..4 * HEDGE_WINDOW {
                latencies.record(if number % 10 == 0 { micros(slow) } else { micros(fast) });
            }
            latencies.known().expect("enough")
        };
        let first = known(1_000, 50_000);
        assert_eq!(first.p50, micros(1_024));
        assert!((micros(50_000)..micros(57_000)).contains(&first.p95), "{first:?}");
        let then = known(100, 3_000);
        assert!(then.p50 < micros(115) && then.p95 < micros(3_400), "{then:?}");
    }

    #[test]
    fn no_second_try_with_less_time_left_than_half_of_all_calls_take() {
        let mut hedging = Hedging::new(100);
        for _ in 0..HEDGE_SAMPLES_MIN {
            hedging.call_begun();
            hedging.record(micros(10_000));
        }
        assert!(!hedging.take(micros(9_000)));
        assert!(hedging.take(micros(12_000)));
    }

    #[test]
    fn only_safe_methods_are_sent_twice() {
        assert!(is_safe(Method::Get) && is_safe(Method::Head) && is_safe(Method::Options));
        let unsafe_ones = [Method::Put, Method::Delete, Method::Post, Method::Patch, Method::Other];
        assert!(unsafe_ones.into_iter().all(|method| !is_safe(method)));
    }
}
