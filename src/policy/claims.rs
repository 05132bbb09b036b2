//! Who fetches which key, on the whole machine: one word a key, so that one fetch answers all who ask.
//!
//! A word holds a tag of the key's hash and one of two states: somebody fetches, or the last answer was not
//! one to share. Who claims a key leads; who finds it claimed waits, never for longer than it wants to. Two keys that meet in one word never wait for each other: the
//! second is fetched alone.

use crate::base::shared::Word;

/// Words: with a thousand fetches in flight two meet once in a hundred.
const WORDS: usize = 16 * 1024;
const FETCHING: u64 = 1;
const UNSHARED: u64 = 2;
const STATES: u64 = 3;

/// All claims.
pub struct Claims(Box<[Word]>);

impl Default for Claims {
    fn default() -> Self {
        Self((0..WORDS).map(|_| Word::new(0)).collect())
    }
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Whoever asked leads now, and must say how it ended.
    Leads,
    /// Somebody else leads.
    Taken,
    /// Nobody should wait for anybody.
    Alone,
}

impl Claims {
    fn word(&self, hash: u64) -> &Word {
        &self.0[(hash >> 20) as usize % WORDS]
    }

    /// Claims a key.
    pub fn claim(&self, hash: u64) -> Claim {
        let (word, tag) = (self.word(hash), hash & !STATES);
        let seen = word.load();
        match (seen & STATES, seen & !STATES == tag) {
            (FETCHING, true) => Claim::Taken,
            (FETCHING, false) | (UNSHARED, true) => Claim::Alone,
            _ if word.replace(seen, tag | FETCHING) => Claim::Leads,
            _ => Claim::Taken,
        }
    }

    /// Claims a key that nobody fetches, whatever its last answer was: for who waits for nobody.
    pub fn seize(&self, hash: u64) -> bool {
        let word = self.word(hash);
        let seen = word.load();
        seen & STATES != FETCHING && word.replace(seen, hash & !STATES | FETCHING)
    }

    /// Whether somebody fetches it.
    pub fn is_taken(&self, hash: u64) -> bool {
        self.word(hash).load() == hash & !STATES | FETCHING
    }

    /// Ends a claim; `shared` says whether the answer was one for all who waited.
    pub fn end(&self, hash: u64, shared: bool) {
        let tag = hash & !STATES;
        let after = if shared { 0 } else { tag | UNSHARED };
        self.word(hash).replace(tag | FETCHING, after);
    }

    /// An answer that was fetched alone is one to share after all.
    pub fn note_shared(&self, hash: u64) {
        self.word(hash).replace(hash & !STATES | UNSHARED, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 0x1234_5678_9abc_def0;

    #[test]
    fn one_leads_and_the_others_wait() {
        let claims = Claims::default();
        assert_eq!((claims.claim(KEY), claims.claim(KEY)), (Claim::Leads, Claim::Taken));
        assert!(claims.is_taken(KEY));
        claims.end(KEY, true);
        assert!(!claims.is_taken(KEY));
        assert_eq!(claims.claim(KEY), Claim::Leads);
    }

    #[test]
    fn after_an_answer_that_is_not_shared_nobody_waits_until_one_is() {
        let claims = Claims::default();
        claims.claim(KEY);
        claims.end(KEY, false);
        assert_eq!((claims.claim(KEY), claims.claim(KEY)), (Claim::Alone, Claim::Alone));
        claims.note_shared(KEY);
        assert_eq!(claims.claim(KEY), Claim::Leads);
        assert!(!claims.seize(KEY));
        claims.end(KEY, false);
        assert!(claims.seize(KEY) && claims.is_taken(KEY), "a renewal asks nobody's leave");
    }

    #[test]
    fn keys_that_meet_do_not_wait_for_each_other() {
        let (claims, other) = (Claims::default(), KEY ^ 4);
        assert_eq!((claims.claim(KEY), claims.claim(other)), (Claim::Leads, Claim::Alone));
        claims.end(other, false);
        assert!(claims.is_taken(KEY), "nobody ends another key's claim");
        claims.end(KEY, false);
        assert_eq!(claims.claim(other), Claim::Leads, "a mark makes room for a fetch");
    }
}
