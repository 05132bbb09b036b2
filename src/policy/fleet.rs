//! Limits that hold for the whole fleet: what the store is asked, and what is done while it is away.
//!
//! The count of a fleet lies in Redis (or Valkey), one key for each key of a limit: its theoretical arrival time,
//! as in `base/gcra.rs`, on the store's own clock. A script looks at all limits of a request and charges all or
//! none of them, so that one call decides. Whoever talks to the store is `serve/store.rs`; this file says in
//! which words, and never performs I/O. Keys go there as hashes (SHA-256, cut to 128 bits), never as they are.
//!
//! **Exact**: each request asks and waits. **Leased**: a request is decided here, by this machine's own count,
//! and told to the store afterwards, together with others; the answer says how far the fleet's time lies ahead
//! and the machine's is moved up to it. So a machine lends itself at most a burst, for at most
//! `STORE_TELL_AFTER` and a round trip, and what was lent is paid back before anybody passes again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use aws_lc_rs::digest;

use crate::base::limits::STORE_KEYS_UNTOLD_MAX;
use crate::base::name::Name;
use crate::base::shared::Cells;
use crate::exchange::template::Sink;

/// What one machine does while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Counts by itself.
    Local,
    /// Lets everybody pass.
    Allow,
    /// Lets nobody pass.
    Deny,
}

/// What makes a limit one of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Whether each request waits for the store.
    pub exact: bool,
    /// What happens while it is away.
    pub away: Away,
    /// The time between two requests, as the script reads it. Unit: microseconds.
    pub interval: Box<str>,
    /// The burst, as the script reads it.
    pub burst: Box<str>,
}

impl Fleet {
    /// A limit of `count` in a period of so many microseconds.
    pub fn new(exact: bool, away: Away, count: u64, period_micros: f64, burst: u64) -> Fleet {
        // Rounded up to a millionth, against the client as everywhere.
        let interval = (period_micros / count as f64 * 1e6).ceil() / 1e6;
        let (interval, burst) = (format!("{interval:.6}").into(), burst.to_string().into());
        Fleet { exact, away, interval, burst }
    }
}

/// What a key is called in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey([u8; 16]);

impl StoreKey {
    /// Its name behind that of its limit.
    pub fn write(&self, limit: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ringway:");
        out.extend_from_slice(limit.as_str().as_bytes());
        out.push(b':');
        for byte in self.0 {
            out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
            out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
        }
    }
}

/// A key that is digested while it is rendered.
pub(crate) struct StoreHash(digest::Context);

impl StoreHash {
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn finish(self) -> StoreKey {
        let digest = self.0.finish();
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        StoreKey(key)
    }
}

impl Sink for StoreHash {
    fn put(&mut self, bytes: &[u8]) -> bool {
        self.0.update(bytes);
        true
    }
}

/// The script: all limits of a request at once, all charged or none.
///
/// `ARGV[1]` says whether it may refuse; then interval, burst and cost of each key. The answer is the number of
/// the first limit that refuses, or 0, and how far each key's time lies ahead, in microseconds. A hundredth of a
/// microsecond is given for what binary fractions lose.
pub const SCRIPT: &str = "\
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1735689600) * 1000000 + tonumber(t[2])
local reply = {0}
local ahead = {}
for i = 1, #KEYS do
  local tat = tonumber(redis.call('GET', KEYS[i]) or '0')
  ahead[i] = math.max(tat - now, 0)
  local interval = tonumber(ARGV[3 * i - 1])
  local most = interval * tonumber(ARGV[3 * i]) + 0.01
  if ARGV[1] == '1' and reply[1] == 0 and ahead[i] + interval * tonumber(ARGV[3 * i + 1]) > most then
    reply[1] = i
  end
end
for i = 1, #KEYS do
  if reply[1] == 0 then
    ahead[i] = ahead[i] + tonumber(ARGV[3 * i - 1]) * tonumber(ARGV[3 * i + 1])
    redis.call('SET', KEYS[i], string.format('%.3f', now + ahead[i]), 'PX', math.ceil(ahead[i] / 1000) + 1)
  end
  reply[i + 1] = math.ceil(ahead[i])
end
return reply
";

/// What was spent of one key and not yet told to the store.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The limit's name.
    pub limit: Name,
    /// How the script counts.
    pub fleet: Arc<Fleet>,
    /// The machine's own count.
    pub cells: Arc<Cells>,
    /// The hash of the key there.
    pub hash: u64,
    /// How much.
    pub cost: u64,
}

/// What policies and whoever talks to the store share on one core.
#[derive(Default)]
pub struct StoreLine {
    /// Whether the store answers.
    pub up: bool,
    spent: HashMap<(u64, StoreKey), Spent>,
    /// Who is told that there is something to tell.
    pub waker: Option<Waker>,
    /// Requests decided without the store, since this was last taken.
    pub decided_alone: u64,
}

impl fmt::Debug for StoreLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLine").field("up", &self.up).finish_non_exhaustive()
    }
}

impl StoreLine {
    /// Takes note of what was spent; `false` when too many keys are untold, and this one is not.
    pub fn tell(&mut self, key: StoreKey, spent: Spent) -> bool {
        let untold = self.spent.len();
        let place = (spent.cells.seed(), key);
        if let Some(known) = self.spent.get_mut(&place) {
            known.cost = known.cost.saturating_add(spent.cost);
            return true;
        }
        if untold >= STORE_KEYS_UNTOLD_MAX {
            return false;
        }
        self.spent.insert(place, spent);
        if untold == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        true
    }

    /// Whether there is something to tell.
    pub fn is_untold(&self) -> bool {
        !self.spent.is_empty()
    }

    /// Takes what there is to tell.
    pub fn take(&mut self) -> impl Iterator<Item = (StoreKey, Spent)> + '_ {
        self.spent.drain().map(|((_, key), spent)| (key, spent))
    }

    /// Forgets it: the store was away, and what was spent then is not told later.
    pub fn forget(&mut self) {
        self.spent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_rounded_up_and_written_out() {
        let fleet = Fleet::new(true, Away::Local, 3, 1e6, 7);
        assert_eq!((&*fleet.interval, &*fleet.burst), ("333333.333334", "7"));
        assert_eq!(&*Fleet::new(true, Away::Local, 1_000_000_000, 1e6, 1).interval, "0.001000");
    }

    #[test]
    fn a_key_goes_to_the_store_as_its_digest_only() {
        let mut hash = StoreHash::new();
        assert!(hash.put(b"ab") && hash.put(b"c"));
        let mut out = Vec::new();
        hash.finish().write(&Name::new("per_user"), &mut out);
        // The first half of SHA-256("abc"), FIPS 180-4.
        assert_eq!(out, b"ringway:per_user:ba7816bf8f01cfea414140de5dae2223");
    }
}
