//! The least that a client must move: bytes a second, over a window, while the gateway waits for it.
//!
//! A pause bound alone is not enough: a client that moves one byte just before each deadline would hold its
//! exchange for ever (a slow POST, a slow read). So waiting spends credit and bytes earn it. Only the time
//! in which the client is waited for counts: a stream of events whose client takes each at once never
//! spends any, however slow its origin is. It never asks for the time.

use std::time::Duration;

/// One direction of one body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Unit: bytes per second; zero asks for nothing.
    rate_min: u64,
    window: Duration,
    credit: Duration,
}

impl Pace {
    /// A body that must move `rate_min` bytes a second over a `window`; it begins with the credit of a
    /// whole one.
    pub fn new(rate_min: u64, window: Duration) -> Self {
        Self { rate_min, window, credit: window }
    }

    /// How long the next wait may take if nothing moves, at most `pause_max`.
    pub fn patience(&self, pause_max: Duration) -> Duration {
        if self.rate_min == 0 { pause_max } else { pause_max.min(self.credit) }
    }

    /// Takes note that `bytes` moved in a wait of `waited`.
    pub fn note(&mut self, waited: Duration, bytes: u64) {
        if self.rate_min > 0 {
            let secs = bytes as f64 / self.rate_min as f64;
            let earned = Duration::try_from_secs_f64(secs).unwrap_or(self.window);
            let credit = self.credit.saturating_add(earned).saturating_sub(waited);
            self.credit = credit.min(self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_moves_less_than_the_rate_runs_out_of_patience() {
        let mut pace = Pace::new(240, 30 * SECOND);
        let mut seconds = 0;
        while pace.patience(30 * SECOND) > Duration::ZERO {
            pace.note(SECOND, 100);
            seconds += 1;
            assert!(seconds < 100, "100 bytes a second are too few");
        }
        assert!(seconds > 30, "a window's worth of credit is there at the beginning");
    }

    #[test]
    fn whoever_keeps_the_rate_may_go_on_for_ever() {
        let mut pace = Pace::new(240, 30 * SECOND);
        for _ in 0..10_000 {
            pace.note(SECOND, 240);
        }
        assert_eq!(pace.patience(10 * SECOND), 10 * SECOND);
    }

    #[test]
    fn a_fast_beginning_buys_one_window_and_not_more() {
        let mut pace = Pace::new(240, 30 * SECOND);
        pace.note(SECOND, u64::MAX);
        assert_eq!(pace.patience(Duration::MAX), 30 * SECOND);
    }

    #[test]
    fn no_rate_asks_for_nothing() {
        let mut pace = Pace::new(0, SECOND);
        pace.note(100_000 * SECOND, 0);
        assert_eq!(pace.patience(5 * SECOND), 5 * SECOND);
    }
}
