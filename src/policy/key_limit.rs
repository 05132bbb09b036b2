//! Limits that lines of a file of keys carry: so much for this key, exact on the whole machine.
//!
//! Keys with the same limit share a table of cells, each with a cell of its own; the table outlives a file that is
//! read again, so that nobody gets a new burst by a change of somebody else's line. A key is known there by its
//! keyed hash, which nobody can choose. A limit never grants more than its rule (`base/gcra.rs`), and what clients
//! are told is what other limits tell them (`rate_limit.rs`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::gcra::{Grant, Rule};
use crate::base::limits::{KEY_LIMIT_TABLE_MIN, KEY_LIMITS_MAX, LIMIT_BURST_MAX, LIMIT_RATE_MAX};
use crate::base::shared::Cells;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::policy::limit_key::{Line, seconds_up};

/// So many requests in this time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimit {
    /// Requests.
    pub count: u64,
    /// The time.
    pub period: Duration,
    /// At once, after a pause.
    pub burst: u64,
}

/// The tables of a file, one for each limit that stands in it.
#[derive(Default)]
pub struct KeyLimits(Vec<Table>);

struct Table {
    limit: KeyLimit,
    rule: Rule,
    keys: usize,
    /// Keys that the cells have room for.
    room: usize,
    cells: Option<Arc<Cells>>,
}

impl fmt::Debug for KeyLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|table| table.limit)).finish()
    }
}

impl KeyLimit {
    /// `100/s`, with `burst` as it is written; without one it is one second's worth, at least 1.
    pub fn parse(rate: &str, burst: Option<&str>) -> Option<KeyLimit> {
        let (count, period) = rate.split_once('/')?;
        let count: u64 = count.parse().ok().filter(|count| (1..=LIMIT_RATE_MAX).contains(count))?;
        let seconds = match period {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let burst = match burst {
            Some(burst) => burst.parse().ok()?,
            None => (count / seconds).max(1),
        };
        let period = Duration::from_secs(seconds);
        (1..=LIMIT_BURST_MAX).contains(&burst).then_some(KeyLimit { count, period, burst })
    }
}

impl KeyLimits {
    /// The place of a limit, for one key more; `None` when the file has too many different ones, or this one is
    /// beyond what can be counted.
    pub fn place(&mut self, limit: KeyLimit) -> Option<u16> {
        let known = self.0.iter().position(|table| table.limit == limit);
        let place = match known {
            Some(place) => place,
            None => {
                let rule = Rule::new(limit.count, limit.period, limit.burst)?;
                self.0.push(Table { limit, rule, keys: 0, room: 0, cells: None });
                self.0.len() - 1
            }
        };
        self.0[place].keys += 1;
        (place < KEY_LIMITS_MAX).then_some(place as u16)
    }

    /// Makes the cells, or takes over those of the file as it was `before`, as far as they have room.
    pub fn settle(&mut self, before: Option<&KeyLimits>) {
        for table in &mut self.0 {
            let mut known = before.into_iter().flat_map(|before| &before.0);
            let known = known.find(|known| known.limit == table.limit);
            let known = known.filter(|known| known.room >= table.keys);
            let known = known.and_then(|known| Some((known.cells.clone()?, known.room)));
            let (cells, room) = known.unwrap_or_else(|| {
                let room = table.keys.next_power_of_two().max(KEY_LIMIT_TABLE_MIN);
                (Arc::new(Cells::new(table.rule, room, 0)), room)
            });
            (table.cells, table.room) = (Some(cells), room);
        }
    }

    /// Charges the key with this keyed hash; `None` for a place that is none.
    pub fn take(&self, place: u16, mark: &[u8; 32], now: Instant) -> Option<Grant> {
        let cells = self.0.get(usize::from(place))?.cells.as_ref()?;
        let (hash, _) = mark.split_first_chunk::<8>()?;
        Some(cells.take(u64::from_ne_bytes(*hash), 1, now))
    }

    /// What the client is told: the limit goes by the quoted `name` of the table of keys.
    pub fn tell(&self, place: u16, name: &[u8], grant: &Grant, x: &mut Exchange) {
        let Some(table) = self.0.get(usize::from(place)) else { return };
        let mut policy = Line::default();
        for piece in [
            name,
            b";q=",
            itoa::Buffer::new().format(table.limit.burst).as_bytes(),
            b";w=",
            itoa::Buffer::new().format(seconds_up(table.rule.window())).as_bytes(),
        ] {
            policy.put(piece);
        }
        let mut state = Line::default();
        for piece in [
            name,
            b";r=",
            itoa::Buffer::new().format(grant.remaining).as_bytes(),
            b";t=",
            itoa::Buffer::new().format(seconds_up(grant.whole_after)).as_bytes(),
        ] {
            state.put(piece);
        }
        for (field, line) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Some(value) = line.whole() {
                x.reply_fields.add(field, value);
            }
        }
        if !grant.granted {
            let seconds = seconds_up(grant.retry_after).max(1);
            x.reply_fields.add("retry-after", itoa::Buffer::new().format(seconds).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(texts: &[&str], before: Option<&KeyLimits>) -> KeyLimits {
        let mut limits = KeyLimits::default();
        for text in texts {
            limits.place(KeyLimit::parse(text, Some("2")).unwrap()).unwrap();
        }
        limits.settle(before);
        limits
    }

    #[test]
    fn keys_of_one_limit_are_counted_apart_and_survive_a_new_file() {
        let now = Instant::from_nanos(1_000_000_000);
        let (one, two) = ([1; 32], [2; 32]);
        let before = limits(&["1/h", "1/h"], None);
        let granted = |limits: &KeyLimits, key| limits.take(0, key, now).unwrap().granted;
        assert!(granted(&before, &one) && granted(&before, &one) && granted(&before, &two));
        assert!(!granted(&before, &one) && granted(&before, &two));
        let after = limits(&["1/h"], Some(&before));
        assert!(!granted(&after, &one), "a new file is no new burst");
        assert!(granted(&limits(&["1/d"], Some(&before)), &one), "another limit is one");
        assert!(after.take(1, &one, now).is_none());
    }

    #[test]
    fn a_file_that_shrinks_and_grows_again_is_no_new_burst() {
        let now = Instant::from_nanos(1_000_000_000);
        let many = vec!["1/h"; KEY_LIMIT_TABLE_MIN + 1];
        let before = limits(&many, None);
        let granted = |limits: &KeyLimits| limits.take(0, &[1; 32], now).unwrap().granted;
        assert!(granted(&before) && granted(&before) && !granted(&before));
        let fewer = limits(&["1/h"], Some(&before));
        let more = limits(&[&many[..], &["1/h"]].concat(), Some(&fewer));
        assert!(!granted(&fewer) && !granted(&more));
    }

    #[test]
    fn a_limit_is_a_rate_and_a_burst() {
        let limit =
            |rate, burst| KeyLimit::parse(rate, burst).map(|limit| (limit.count, limit.burst));
        assert_eq!(limit("100/s", None), Some((100, 100)));
        assert_eq!(limit("100/h", None), Some((100, 1)));
        assert_eq!(limit("5000/d", Some("50")), Some((5000, 50)));
        for bad in ["", "100", "0/s", "/s", "1/w", "1.5/s", "-1/s"] {
            assert_eq!(limit(bad, None), None, "{bad}");
        }
        assert_eq!(limit("1/s", Some("0")), None);
        assert_eq!(limit("1/s", Some("many")), None);
    }

    #[test]
    fn a_file_has_only_so_many_different_limits() {
        let mut limits = KeyLimits::default();
        for count in 1..=KEY_LIMITS_MAX as u64 {
            let limit = KeyLimit { count, period: Duration::from_secs(60), burst: 1 };
            assert!(limits.place(limit).is_some());
            assert!(limits.place(limit).is_some(), "the same again is none more");
        }
        let limit = KeyLimit { count: 1, period: Duration::from_secs(1), burst: 1 };
        assert!(limits.place(limit).is_none());
    }
}
