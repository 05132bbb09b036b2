//! The cell in which cores find the current keys of an issuer, and in which they say that one is missing.
//!
//! Cores read it, the control thread writes it (`control/keys.rs`); neither ever waits for the other.
//! However many unknown key ids clients invent, one fetch is asked for per `KEY_FETCH_INTERVAL`
//! (RFC 8725 §3.8 and §3.10: what a token names is never fetched, and never often).

use std::fmt;
use std::sync::Arc;
use std::thread::{Thread, ThreadId};

use arc_swap::ArcSwapOption;

use crate::base::limits::{KEY_FETCH_INTERVAL, KEY_FETCH_WAIT_MAX};
use crate::base::shared::Word;
use crate::base::time::Instant;
use crate::policy::jwks::KeySet;

/// Where cores find the current keys of one issuer, and tell that they miss one. Shared by all cores; a
/// reload that does not change the issuer carries it on. Whoever reads it never waits for who writes it.
#[derive(Default)]
pub struct KeyCell {
    keys: ArcSwapOption<KeySet>,
    /// The generation of `keys`, zero before the first, so that a remembered token costs one load.
    generation: Word,
    /// When a core last asked for a fetch, in nanoseconds, times two; plus one while it is outstanding.
    asked: Word,
    /// Who fetches; `None` for fixed keys.
    fetcher: ArcSwapOption<Thread>,
}

impl fmt::Debug for KeyCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCell").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl KeyCell {
    /// A cell whose keys are yet to be loaded: its routes answer 503 until then.
    pub fn empty() -> KeyCell {
        KeyCell::default()
    }

    /// A cell with keys that do not change.
    pub fn fixed(keys: KeySet) -> KeyCell {
        let cell = KeyCell::default();
        cell.publish(keys);
        cell
    }

    /// Whether there are keys.
    pub fn is_loaded(&self) -> bool {
        self.generation.load() != 0
    }

    /// Replaces the keys. Tokens that the old ones verified are verified again.
    pub fn publish(&self, keys: KeySet) {
        let generation = keys.generation();
        self.keys.store(Some(Arc::new(keys)));
        self.generation.store(generation);
    }

    /// The current keys, or `None` before the first.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// The generation of the current keys; zero before the first.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load()
    }

    /// Says who fetches.
    pub fn set_fetcher(&self, thread: Thread) {
        self.fetcher.store(Some(Arc::new(thread)));
    }

    /// Says that this thread fetches no more; another one that took over stays.
    pub fn clear_fetcher(&self, thread: ThreadId) {
        let seen = self.fetcher.load();
        if seen.as_ref().is_some_and(|fetcher| fetcher.id() == thread) {
            self.fetcher.compare_and_swap(&seen, None);
        }
    }

    /// Called by a core that misses a key: whether waiting for a fetch is worth it. However many unknown
    /// ids come, one fetch is asked for per `KEY_FETCH_INTERVAL`.
    pub fn request_refresh(&self, now: Instant) -> bool {
        let fetcher = self.fetcher.load();
        let Some(fetcher) = fetcher.as_ref() else {
            return false;
        };
        let seen = self.asked.load();
        let since = now.since(Instant::from_nanos(seen >> 1));
        if seen & 1 == 1 && since < KEY_FETCH_WAIT_MAX {
            return true;
        }
        if seen != 0 && since < KEY_FETCH_INTERVAL {
            return false;
        }
        if self.asked.replace(seen, now.as_nanos().max(1) << 1 | 1) {
            fetcher.unpark();
        }
        true
    }

    /// Whether a fetch that was asked for at this moment or later is over.
    pub(crate) fn was_fetched_since(&self, moment: Instant) -> bool {
        let seen = self.asked.load();
        seen != 0 && seen & 1 == 0 && Instant::from_nanos(seen >> 1) >= moment
    }

    /// Whether a fetch is asked for.
    pub fn refresh_is_wanted(&self) -> bool {
        self.asked.load() & 1 == 1
    }

    /// Called by the fetcher when a fetch that began after it was asked for is over, whatever came of it.
    pub fn refresh_is_done(&self) {
        let seen = self.asked.load();
        self.asked.replace(seen, seen & !1);
    }
}
