//! When requests are meant to start: at a fixed rate (open loop), or as soon as one has been answered (closed loop).
//!
//! An open loop is what users do: they come whether or not the last one has been served. A generator that waits for an
//! answer before it asks again stops asking exactly while the server stands still, so that a second of standstill is one
//! slow request in its figures, and not the thousand that users would have met (coordinated omission). Here the n-th
//! request has its start from the rate alone, `start + n / rate`, and its latency is counted from there, however late
//! the generator could send it.
//!
//! Never asks for the time; never forgets a start that has passed.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next request when there is a free connection.
    Closed,
    /// One request each `interval_ns`, in nanoseconds from the start; the first after `phase_ns`.
    Open { interval_ns: f64, phase_ns: f64 },
}

/// The starts of one thread. Instants are nanoseconds since the start of the run.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    next: u64,
    /// No start from here on.
    end_ns: u64,
    /// No more than this many.
    count_max: u64,
}

impl Schedule {
    /// The share of thread `of.0` among `of.1` threads: their starts interleave.
    pub fn new(rate: Option<f64>, end: Duration, count_max: u64, of: (usize, usize)) -> Schedule {
        let pace = match rate {
            None => Pace::Closed,
            Some(rate) => {
                let interval_ns = 1e9 / rate * of.1 as f64;
                Pace::Open { interval_ns, phase_ns: 1e9 / rate * of.0 as f64 }
            }
        };
        Schedule { pace, next: 0, end_ns: end.as_nanos() as u64, count_max }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.pace, Pace::Open { .. })
    }

    /// The start that the next request is meant to have, or None when all have been given out.
    pub fn due(&self, now_ns: u64) -> Option<u64> {
        let at = match self.pace {
            Pace::Closed => now_ns,
            Pace::Open { interval_ns, phase_ns } => {
                (phase_ns + interval_ns * self.next as f64) as u64
            }
        };
        (at < self.end_ns && self.next < self.count_max).then_some(at)
    }

    /// Takes the next start if its time has come.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let at = self.due(now_ns).filter(|at| *at <= now_ns)?;
        self.next += 1;
        Some(at)
    }

    /// Gives a start back that was taken and could not be used.
    pub fn give_back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn starts_of_an_open_loop_do_not_wait_for_answers() {
        let mut schedule = Schedule::new(Some(1000.0), SECOND, u64::MAX, (0, 1));
        // Nobody asked for half a second: the 500 starts that have passed are all still there, each with its own time.
        let starts: Vec<u64> = std::iter::from_fn(|| schedule.take(500_000_000)).collect();
        assert_eq!(starts.len(), 501);
        assert_eq!((starts[0], starts[1], starts[500]), (0, 1_000_000, 500_000_000));
        assert_eq!(schedule.due(500_000_000), Some(501_000_000));
    }

    #[test]
    fn threads_share_a_rate_without_meeting() {
        let starts = |thread| {
            let mut schedule = Schedule::new(Some(4.0), SECOND, u64::MAX, (thread, 2));
            std::iter::from_fn(|| schedule.take(u64::MAX)).collect::<Vec<u64>>()
        };
        assert_eq!(starts(0), [0, 500_000_000]);
        assert_eq!(starts(1), [250_000_000, 750_000_000]);
    }

    #[test]
    fn a_closed_loop_starts_now_until_its_end_or_its_count() {
        let mut schedule = Schedule::new(None, SECOND, 2, (0, 1));
        assert_eq!(
            (schedule.take(7), schedule.take(9), schedule.take(11)),
            (Some(7), Some(9), None)
        );
        let mut schedule = Schedule::new(None, SECOND, u64::MAX, (0, 1));
        assert_eq!(schedule.take(1_000_000_000), None);
        assert_eq!(schedule.take(3), Some(3));
    }
}
