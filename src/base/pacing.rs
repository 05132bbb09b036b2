//! Bandwidth: when the next bytes may go, of one response and of all responses of a route together.
//!
//! The arithmetic is that of `base/gcra.rs` turned round: what was written moves a time on, and whoever wants to
//! write again waits until that time is no further ahead than `PACING_AHEAD`. So nothing is ever refused and no byte is
//! held: what waits is the next read. In any span of time at most `rate × (time + PACING_AHEAD)` and one piece go.
//! The time of all responses is one shared word: each piece takes its place behind those before it, so that all
//! who write get the same share; a response takes the place of its first piece before it writes that, so that many
//! short ones go no faster than a long one. It never asks for the time.

use std::time::Duration;

use crate::base::limits::{BUFFER_BYTES, CELL_TRIES_MAX, PACING_AHEAD, PACING_PIECE_BYTES_MIN};
use crate::base::shared::Word;
use crate::base::time::Instant;

/// Bytes in a second, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(u64);

impl ByteRate {
    /// So many bytes a second; none is one.
    pub fn new(bytes_per_second: u64) -> ByteRate {
        ByteRate(bytes_per_second.max(1))
    }

    /// Bytes a second.
    pub fn bytes_per_second(self) -> u64 {
        self.0
    }

    /// What is read at once: a part of what may go in the time that may be ahead, so that pieces are small where
    /// the rate is.
    pub fn piece_bytes(self) -> usize {
        let ahead = u128::from(self.0) * PACING_AHEAD.as_nanos() / 1_000_000_000;
        (ahead as usize).clamp(PACING_PIECE_BYTES_MIN, BUFFER_BYTES)
    }

    /// How long so many bytes take, rounded up.
    fn span(self, bytes: usize) -> u64 {
        let nanos = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(self.0));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// The time of one response.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    rate: ByteRate,
    /// When what was written would have gone at the rate. Unit: nanoseconds.
    paid_until: u64,
}

impl Pacing {
    /// Nothing was written yet.
    pub fn new(rate: ByteRate) -> Pacing {
        Pacing { rate, paid_until: 0 }
    }

    /// The rate.
    pub fn rate(&self) -> ByteRate {
        self.rate
    }

    /// Takes note of bytes written at `now`; says when the next may go.
    pub fn wrote(&mut self, bytes: usize, now: Instant) -> Instant {
        self.paid_until = after(self.paid_until, self.rate.span(bytes), now);
        resume(self.paid_until)
    }
}

/// The time of all responses of a route, on all cores.
#[derive(Debug)]
pub struct SharedPacing {
    rate: ByteRate,
    paid_until: Word,
}

impl SharedPacing {
    /// Nothing was written yet.
    pub fn new(rate: ByteRate) -> SharedPacing {
        SharedPacing { rate, paid_until: Word::new(0) }
    }

    /// The rate.
    pub fn rate(&self) -> ByteRate {
        self.rate
    }

    /// Takes a place for bytes that are not written yet, behind those before; says when they may go.
    pub fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let span = self.rate.span(bytes);
        let behind = self.wrote(bytes, now).as_nanos();
        Instant::from_nanos(behind.saturating_sub(span))
    }

    /// Gives back what was reserved and not written: whoever comes next takes the place, and whoever waits behind it
    /// keeps his own.
    pub fn give_back(&self, bytes: usize) {
        let span = self.rate.span(bytes);
        for _ in 0..CELL_TRIES_MAX {
            let seen = self.paid_until.load();
            if self.paid_until.replace(seen, seen.saturating_sub(span)) {
                return;
            }
        }
    }

    /// Takes note of bytes written at `now`; says when the next may go.
    pub fn wrote(&self, bytes: usize, now: Instant) -> Instant {
        let span = self.rate.span(bytes);
        for _ in 0..CELL_TRIES_MAX {
            let seen = self.paid_until.load();
            let next = after(seen, span, now);
            if self.paid_until.replace(seen, next) {
                return resume(next);
            }
        }
        // Lost to others again and again: the bytes are counted all the same.
        self.paid_until.add(span);
        resume(self.paid_until.load())
    }
}

fn after(paid_until: u64, span: u64, now: Instant) -> u64 {
    paid_until.max(now.as_nanos()).saturating_add(span)
}

fn resume(paid_until: u64) -> Instant {
    let ahead = u64::try_from(PACING_AHEAD.as_nanos()).unwrap_or(0);
    Instant::from_nanos(paid_until.saturating_sub(ahead))
}

const _: () = assert!(PACING_AHEAD.as_nanos() < Duration::from_secs(1).as_nanos());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever waits as he is told never goes faster, over every span, and gets the whole rate in the end.
        #[test]
        fn what_goes_is_the_rate_within_the_bound(
            rate in 1_000u64..1_000_000_000,
            pieces in prop::collection::vec(1usize..=BUFFER_BYTES, 2..80),
            late in prop::collection::vec(0u64..3_000_000, 80),
        ) {
            let rate = ByteRate::new(rate);
            let mut pacing = Pacing::new(rate);
            let start = Instant::from_nanos(5_000_000_000);
            let (mut now, mut sent) = (start, Vec::new());
            for (bytes, late) in pieces.iter().zip(&late) {
                sent.push((now, *bytes));
                let next = pacing.wrote(*bytes, now);
                now = now.max(next) + Duration::from_nanos(*late);
            }
            for (first, (from, _)) in sent.iter().enumerate() {
                let mut bytes = 0u128;
                for (to, piece) in &sent[first..] {
                    bytes += *piece as u128;
                    let span = to.since(*from) + PACING_AHEAD;
                    let most = u128::from(rate.bytes_per_second()) * span.as_nanos() / 1_000_000_000;
                    prop_assert!(bytes <= most + 2 * BUFFER_BYTES as u128);
                }
            }
        }

        /// Lateness below what may be ahead is caught up.
        #[test]
        fn a_little_lateness_costs_nothing(late in 0u64..40_000_000) {
            let rate = ByteRate::new(1_000_000);
            let mut pacing = Pacing::new(rate);
            let start = Instant::from_nanos(1_000_000_000);
            let mut now = start;
            for number in 0..1000 {
                let late = if number % 6 == 0 { late } else { 0 };
                now = now.max(pacing.wrote(10_000, now)) + Duration::from_nanos(late);
            }
            let took = now.since(start);
            prop_assert!(took <= Duration::from_millis(10_100), "{took:?}");
        }
    }

    #[test]
    fn all_who_write_get_the_same_share() {
        let all = SharedPacing::new(ByteRate::new(1_000_000));
        let mut turns = [0u32; 3];
        let mut resumes = [Instant::from_nanos(1_000_000_000); 3];
        for _ in 0..300 {
            let next = (0..3).min_by_key(|who| resumes[*who]).expect("three");
            turns[next] += 1;
            resumes[next] = all.wrote(10_000, resumes[next]);
        }
        assert!(turns.iter().all(|count| (95..=105).contains(count)), "{turns:?}");
    }

    #[test]
    fn beginners_wait_for_each_other_and_a_place_that_is_given_back_is_free() {
        let all = SharedPacing::new(ByteRate::new(1_000_000));
        let now = Instant::from_nanos(1_000_000_000);
        let starts: Vec<Duration> = (0..20).map(|_| all.reserve(10_000, now).since(now)).collect();
        let expected = |place: u64| Duration::from_millis((place * 10).saturating_sub(50));
        assert_eq!(starts, (0..20).map(expected).collect::<Vec<_>>());
        (0..18).for_each(|_| all.give_back(10_000));
        assert_eq!(all.reserve(10_000, now).since(now), expected(2));
        (0..100).for_each(|_| all.give_back(10_000));
        let whole = all.reserve(10_000, now);
        assert_eq!(whole, resume(now.as_nanos()), "nothing is saved up beyond what may be ahead");
    }

    #[test]
    fn pieces_are_small_where_the_rate_is() {
        assert_eq!(ByteRate::new(1).piece_bytes(), PACING_PIECE_BYTES_MIN);
        assert_eq!(ByteRate::new(1 << 30).piece_bytes(), BUFFER_BYTES);
        let mebibyte = ByteRate::new(1 << 20).piece_bytes();
        assert!((50_000..55_000).contains(&mebibyte), "{mebibyte}");
    }
}
