//! What policies remember on one core: the tokens that were verified.
//!
//! Slots belong to one core and are never shared; they survive a reload, and what a reload made stale is
//! known by its space (`Jwt::space`), not by emptying them. Bounded in entries and in bytes.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use serde_json::Value;

use crate::base::limits::{
    LIMIT_LABELS_MAX, PASSWORDS_REMEMBERED_BYTES_MAX, PASSWORDS_REMEMBERED_MAX,
    REVOCATIONS_BYTES_MAX, REVOCATIONS_REMEMBERED_MAX, TOKENS_REMEMBERED_BYTES_MAX,
    TOKENS_REMEMBERED_MAX, UNKNOWN_KIDS_BYTES_MAX, UNKNOWN_KIDS_MAX, VERDICTS_REMEMBERED_BYTES_MAX,
    VERDICTS_REMEMBERED_MAX,
};
use crate::base::lru::Lru;
use crate::base::queue::Queue;
use crate::base::time::Instant;
use crate::policy::auth_request::{Asking, Remembered as Verdict};
use crate::policy::basic::{Known, Pending};
use crate::policy::fleet::StoreLine;

/// The memory of one core's policies.
pub struct Slots {
    /// Verified tokens; the space is the policy that verified them.
    pub(crate) tokens: Lru<Remembered>,
    /// Key ids that no fetch brought: the generation of the keys they are not among, and since when. The
    /// space is the policy's.
    pub(crate) unknown_kids: Lru<(u64, Instant)>,
    /// Credentials that were checked, by their keyed hash; made when the first are.
    passwords: Option<Box<Lru<Known>>>,
    /// Those that are being checked; at most `PASSWORDS_PENDING_MAX`.
    pub(crate) pending: Vec<Pending>,
    /// Verdicts of services that are asked; made when the first are.
    verdicts: Option<Box<Lru<Verdict>>>,
    /// Those that are asked for; at most `VERDICTS_ASKED_MAX`.
    pub(crate) asking: Vec<Asking>,
    /// Tokens that a store was asked about: whether they are revoked, and until when that holds.
    revocations: Option<Box<Lru<(bool, Instant)>>>,
    /// Room for the key of a verdict.
    pub(crate) auth_key: Vec<u8>,
    seed: u64,
    /// Tokens found among those verified before, since this was last taken.
    pub(crate) tokens_found: u64,
    /// Tokens whose signature had to be checked, since this was last taken.
    pub(crate) tokens_checked: u64,
    /// What is shared with whoever talks to the store of the fleet.
    pub store: StoreLine,
    /// Who waits on this core, by the number of the seats waited for.
    queues: HashMap<u64, Rc<Queue>>,
}

/// What is remembered of a verified token besides its text.
#[derive(Clone)]
pub(crate) struct Remembered {
    /// The generation of the key set that verified it.
    pub generation: u64,
    /// The generation of the list of revoked tokens that does not hold it.
    pub listed: u64,
    /// First second at which it is valid.
    pub valid_from: u64,
    /// First second at which it is not valid any more.
    pub valid_until: u64,
    /// Its claims.
    pub claims: Rc<Value>,
}

impl Slots {
    /// Empty memory. `seed` must be random: it keeps clients from choosing tokens that fall together.
    pub fn new(seed: u64) -> Slots {
        let tokens = Lru::new(TOKENS_REMEMBERED_MAX, TOKENS_REMEMBERED_BYTES_MAX, seed);
        let unknown_kids = Lru::new(UNKNOWN_KIDS_MAX, UNKNOWN_KIDS_BYTES_MAX, seed);
        Slots {
            tokens,
            unknown_kids,
            passwords: None,
            pending: Vec::new(),
            verdicts: None,
            asking: Vec::new(),
            revocations: None,
            auth_key: Vec::new(),
            seed,
            tokens_found: 0,
            tokens_checked: 0,
            queues: HashMap::new(),
            store: StoreLine::default(),
        }
    }

    /// The credentials that were checked.
    pub(crate) fn passwords(&mut self) -> &mut Lru<Known> {
        let seed = self.seed;
        let made = || Lru::new(PASSWORDS_REMEMBERED_MAX, PASSWORDS_REMEMBERED_BYTES_MAX, seed);
        self.passwords.get_or_insert_with(|| Box::new(made()))
    }

    /// The tokens that a store was asked about.
    pub(crate) fn revocations(&mut self) -> &mut Lru<(bool, Instant)> {
        let seed = self.seed;
        let made = || Lru::new(REVOCATIONS_REMEMBERED_MAX, REVOCATIONS_BYTES_MAX, seed);
        self.revocations.get_or_insert_with(|| Box::new(made()))
    }

    /// The verdicts of services that were asked.
    pub(crate) fn verdicts(&mut self) -> &mut Lru<Verdict> {
        let seed = self.seed;
        let made = || Lru::new(VERDICTS_REMEMBERED_MAX, VERDICTS_REMEMBERED_BYTES_MAX, seed);
        self.verdicts.get_or_insert_with(|| Box::new(made()))
    }

    /// The line for these seats; made when first asked for. Lines that nobody holds any more go when there are
    /// many: a reload can only add a name.
    pub fn queue(&mut self, seats: u64) -> Rc<Queue> {
        if self.queues.len() > LIMIT_LABELS_MAX && !self.queues.contains_key(&seats) {
            self.queues.retain(|_, queue| Rc::strong_count(queue) > 1 || !queue.is_empty());
        }
        self.queues.entry(seats).or_default().clone()
    }

    /// Takes the counts of tokens found and tokens checked since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.tokens_found), std::mem::take(&mut self.tokens_checked))
    }

    /// How many verified tokens are remembered.
    pub fn tokens_remembered(&self) -> usize {
        self.tokens.len()
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("tokens", &self.tokens.len()).finish()
    }
}
