//! What the wall clock shows, told from the monotonic one that was asked anyway.
//!
//! To ask a clock takes 23 ns, and a request needs both: moments between which something passes, and the time of
//! day for its record, its tokens and a Date (RFC 9110 §6.6.1). The time of day is therefore asked once in
//! `ASKED_EVERY` and counted on from there; a clock that is set is never followed later than that. The text of a
//! date is made once a second. The choice refused, to read it once in a tick, would show late whenever a tick is.

use std::cell::Cell;
use std::time::Duration;

use crate::base::time::{Instant, Wall};
use crate::http::date;

/// The wall clock is asked again after this: far below the second in which dates and tokens are counted, and
/// long beside the microseconds of a request.
const ASKED_EVERY: Duration = Duration::from_millis(10);

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub type Date = [u8; 29];

/// What one core knows of the time of day.
#[derive(Default)]
pub struct WallClock {
    asked: Cell<Option<(Instant, Wall)>>,
    date: Cell<Option<(u64, Date)>>,
}

impl WallClock {
    /// The time of day at `now`, which has just been; `ask` asks the clock.
    pub fn at(&self, now: Instant, ask: impl FnOnce() -> Wall) -> Wall {
        match self.asked.get() {
            Some((then, wall)) if now >= then && now.since(then) < ASKED_EVERY => {
                wall.after(now.since(then))
            }
            _ => {
                let wall = ask();
                self.asked.set(Some((now, wall)));
                wall
            }
        }
    }

    /// The date of this second since 1970.
    pub fn date(&self, secs: u64) -> Date {
        match self.date.get() {
            Some((known, date)) if known == secs => date,
            _ => {
                let date = date::imf_fixdate(secs);
                self.date.set(Some((secs, date)));
                date
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn the_time_of_day_is_counted_on_and_a_clock_that_is_set_is_followed() {
        let clock = WallClock::default();
        let shown = |millis, wall| clock.at(moment(millis), || Wall::from_micros(wall)).as_micros();
        assert_eq!(shown(100, 5_000_000), 5_000_000);
        assert_eq!(shown(103, 77), 5_003_000, "nobody is asked");
        assert_eq!(shown(110, 9_000_000), 9_000_000, "set forward");
        assert_eq!(shown(120, 1_000), 1_000, "set back");
        assert_eq!(shown(119, 2_000), 2_000, "a moment before the last one tells nothing");
    }

    #[test]
    fn a_date_is_that_of_its_second() {
        let clock = WallClock::default();
        for secs in [784_111_777, 784_111_777, 784_111_778, 784_111_777] {
            assert_eq!(clock.date(secs), date::imf_fixdate(secs));
        }
    }
}
