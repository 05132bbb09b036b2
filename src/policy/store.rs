//! Responses that a machine keeps, and how its cores share them without a lock.
//!
//! Every core finds responses in a map of its own, and all maps point to the same immutable [`Stored`]. What a
//! core stores, and what it removes, it tells the others through a bounded queue for each of them; a core reads
//! its queue before each look into its map, and at its tick. So a removal holds on a core before the next
//! request is answered there, and nobody is woken for it. Whose queue is full when a removal is to be told
//! forgets all it has: a removal is never lost, a stored response may be.
//!
//! **Room.** One word counts what all responses weigh; a response is counted once, however many maps point to
//! it. Where there is no room the core that needs some lets its own least worthy ones go. A word in the
//! response itself ends it for every core at that moment, so that its room is free at once; the memory follows
//! when the other cores let go. What is ended and not yet let go is counted, too, and nothing is stored while it
//! is more than a quarter of the budget.
//!
//! **Races.** Who fetches remembers [`Machine::moment`] of its key before it asks. An invalidation first moves
//! that on and then removes; a fetch stores first, tells the others, and then looks whether the moment is still
//! the same; if not, it removes what it stored. Whichever is later sees the other: an answer that was asked for
//! before an invalidation is never found after it.

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::base::limits::{
    CACHE_KEYS_MAX, CACHE_MEMORY, CACHE_NEWS_MAX, CACHE_TAGS_MAX, CACHE_VARIANTS_MAX,
};
use crate::base::s3_fifo::S3Fifo;
use crate::base::shared::Word;
use crate::http::coding::Coding;
use crate::http::head::Request;
use crate::policy::claims::Claims;
use crate::policy::stored::{Key, Stored};

/// Cores that can be told; further ones have the store to themselves.
const SEATS: usize = 1024;
/// Words by which races with invalidations are told; keys share them by their hash.
const MOMENTS: usize = 1024;

/// What all cores of a process share of the store.
pub struct Machine {
    budget: Word,
    /// What responses that can be found weigh.
    used: Word,
    /// What responses in memory weigh.
    held: Word,
    purges: Word,
    moments: Box<[Word]>,
    /// Made when the first core has a store: without a cache there is none.
    seats: OnceLock<Box<[OnceLock<Seat>]>>,
    /// Who fetches what.
    pub claims: Claims,
    seed: SharedSeed,
}

/// Where one core hears of the others' doings.
struct Seat {
    news: ArrayQueue<News>,
    /// Not zero when a removal found the queue full.
    overrun: Word,
}

/// What one core tells another.
enum News {
    Stored(Arc<Stored>),
    /// Ended already: its memory is to be let go.
    Ended(Arc<Stored>),
    Removed(Arc<Key>),
    Purged(Arc<Purge>),
}

/// What an operator removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything.
    All,
    /// All variants of one address: authority, path and query.
    Key(Box<[u8]>),
    /// All addresses that begin so.
    Prefix(Box<[u8]>),
    /// All that have this tag.
    Tag(Box<[u8]>),
}

impl Purge {
    /// All variants of the address that begins with a host, which has no case.
    pub fn key(address: &[u8]) -> Self {
        Self::Key(with_lower_host(address))
    }

    /// All addresses that begin so.
    pub fn prefix(address: &[u8]) -> Self {
        Self::Prefix(with_lower_host(address))
    }
}

fn with_lower_host(address: &[u8]) -> Box<[u8]> {
    let mut address: Box<[u8]> = address.into();
    let host = address.iter().position(|byte| *byte == b'/').unwrap_or(address.len());
    address[..host].make_ascii_lowercase();
    address
}

/// Several removals at once: one walk through a map for all of them, so that thousands of them cost no core
/// thousands of walks.
#[derive(Default)]
struct Purges<'a> {
    all: bool,
    keys: HashSet<&'a [u8]>,
    prefixes: Vec<&'a [u8]>,
    tags: HashSet<&'a [u8]>,
}

impl<'a> Purges<'a> {
    fn of(purges: &'a [Arc<Purge>]) -> Self {
        let mut all = Self::default();
        for purge in purges {
            match &**purge {
                Purge::All => all.all = true,
                Purge::Key(key) => _ = all.keys.insert(key),
                Purge::Prefix(prefix) => all.prefixes.push(prefix),
                Purge::Tag(tag) => _ = all.tags.insert(tag),
            }
        }
        all
    }

    fn hit(&self, stored: &Stored) -> bool {
        let url = stored.key.url.of(&stored.key.bytes);
        self.all
            || self.keys.contains(url)
            || self.prefixes.iter().any(|prefix| url.starts_with(prefix))
            || !self.tags.is_empty() && stored.tags.iter().any(|tag| self.tags.contains(&**tag))
    }
}

/// When a fetch began, as removals count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64, u64);

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

impl Machine {
    /// A store without responses. The `seed` must be random: it keeps clients from choosing keys that fall together.
    pub fn new(seed: u64) -> Self {
        Self {
            budget: Word::new(CACHE_MEMORY),
            used: Word::new(0),
            held: Word::new(0),
            purges: Word::new(0),
            moments: (0..MOMENTS).map(|_| Word::new(0)).collect(),
            seats: OnceLock::new(),
            claims: Claims::default(),
            seed: SharedSeed::from_u64(seed),
        }
    }

    /// Sets what all responses may weigh. Unit: bytes.
    pub fn set_budget(&self, bytes: u64) {
        self.budget.store(bytes);
    }

    /// What all responses may weigh. Unit: bytes.
    pub fn budget(&self) -> u64 {
        self.budget.load()
    }

    /// What responses that can be found weigh. Unit: bytes.
    pub fn used(&self) -> u64 {
        self.used.load()
    }

    /// The hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, &self.seed);
        hasher.write(key);
        hasher.finish()
    }

    /// The moment at which a fetch of this key begins.
    pub fn moment(&self, hash: u64) -> Moment {
        Moment(self.purges.load(), self.moments[hash as usize % MOMENTS].load())
    }

    /// Removes responses on every core: none answers with one of them after this returned, but those that
    /// are being written.
    pub fn purge(&self, purge: &Purge) {
        self.purges.next();
        let purge = Arc::new(purge.clone());
        self.tell(None, || News::Purged(purge.clone()));
    }

    pub(super) fn take_room(&self, weight: usize) -> bool {
        let (budget, weight) = (self.budget.load(), weight as u64);
        !self.is_overfull() && self.used.add_below(weight, budget)
    }

    /// Whether more than a quarter of the budget is memory that was ended and not let go.
    fn is_overfull(&self) -> bool {
        let budget = self.budget.load();
        self.held.load() > budget + budget / 4
    }

    pub(super) fn hold(&self, weight: usize) {
        self.held.add(weight as u64);
    }

    pub(super) fn give_room(&self, weight: usize) {
        self.used.take_away(weight as u64);
    }

    pub(super) fn released(&self, weight: usize) {
        self.held.take_away(weight as u64);
    }

    fn seats(&self) -> &[OnceLock<Seat>] {
        self.seats.get().map_or(&[], |seats| seats)
    }

    /// Tells all cores but `own`.
    fn tell(&self, own: Option<usize>, news: impl Fn() -> News) {
        for (index, seat) in self.seats().iter().enumerate() {
            // Seats are taken from the first one on, and none is ever given up.
            let Some(seat) = seat.get() else { break };
            if own == Some(index) {
                continue;
            }
            if let Err(lost) = seat.news.push(news())
                && matches!(lost, News::Removed(_) | News::Purged(_))
            {
                seat.overrun.store(1);
            }
        }
    }
}

/// The responses of one key: what `Vary` tells apart, the newest first.
struct Kin(Vec<Arc<Stored>>);

impl Kin {
    fn is_of(&self, key: &[u8]) -> bool {
        self.0.first().is_some_and(|stored| *stored.key.bytes == *key)
    }

    fn weight(&self) -> usize {
        self.0.iter().map(|stored| stored.weight).sum()
    }
}

/// The map of one core.
pub struct Store {
    kin: S3Fifo<Kin>,
    machine: Arc<Machine>,
    seat: usize,
    /// Responses that went because others needed their room, since it was last asked.
    evicted: u64,
}

impl Store {
    /// An empty map for the core with this number.
    pub fn new(machine: Arc<Machine>, seat: usize) -> Self {
        // Whoever tells walks the seats from the first one on: all before one's own are taken with it.
        let seats = machine.seats.get_or_init(|| (0..SEATS).map(|_| OnceLock::new()).collect());
        for place in seats.iter().take(seat + 1) {
            let fresh = || Seat { news: ArrayQueue::new(CACHE_NEWS_MAX), overrun: Word::new(0) };
            place.get_or_init(fresh);
        }
        let store = Self { kin: S3Fifo::new(CACHE_KEYS_MAX), machine, seat, evicted: 0 };
        // What a core before on this seat did not hear is of no use.
        if let Some(seat) = store.machine.seats().get(store.seat).and_then(OnceLock::get) {
            while seat.news.pop().is_some() {}
        }
        store
    }

    /// What is shared.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Hears what other cores did. To be called before each look.
    pub fn listen(&mut self) {
        let machine = self.machine.clone_if_news(self.seat);
        let Some(machine) = machine else { return };
        let Some(seat) = machine.seats().get(self.seat).and_then(OnceLock::get) else { return };
        if seat.overrun.load() != 0 {
            seat.overrun.store(0);
            while seat.news.pop().is_some() {}
            self.kin.retain(|_| false);
            return;
        }
        let mut purges = Vec::new();
        // Bounded by the queue: what is told meanwhile waits for the next look.
        for _ in 0..CACHE_NEWS_MAX {
            let news = seat.news.pop();
            if !purges.is_empty() && !matches!(news, Some(News::Purged(_))) {
                // What is stored behind them stays.
                self.apply(&purges);
                purges.clear();
            }
            match news {
                Some(News::Stored(stored)) => self.adopt(stored),
                Some(News::Ended(stored)) => self.let_go(&stored),
                Some(News::Removed(key)) => self.forget(key.hash, &key.bytes),
                Some(News::Purged(purge)) => purges.push(purge),
                None => return,
            }
        }
        self.apply(&purges);
    }

    /// The response that this request would get.
    pub fn find(&mut self, hash: u64, key: &[u8], request: Request<'_>) -> Option<Arc<Stored>> {
        let kin = self.kin.find(hash, |kin| kin.is_of(key))?;
        let mut chosen = kin.0.iter().filter(|stored| stored.is_alive());
        chosen.find(|stored| stored.is_chosen_by(request)).cloned()
    }

    /// Stores a response in place of one that is chosen by the same requests, on every core; `moment` is when
    /// it was asked for. `false` when there is no room for it, or it is out of date already.
    pub fn insert(&mut self, stored: &Arc<Stored>, moment: Moment) -> bool {
        if stored.tags.len() > CACHE_TAGS_MAX || !self.make_room(stored) {
            return false;
        }
        self.machine.tell(Some(self.seat), || News::Stored(stored.clone()));
        self.adopt(stored.clone());
        let in_time = self.machine.moment(stored.key.hash) == moment;
        if !in_time {
            self.remove(&stored.key);
        }
        in_time
    }

    /// Removes all responses of a key on every core (RFC 9111 §4.4).
    pub fn invalidate(&mut self, key: &Arc<Key>) {
        self.machine.moments[key.hash as usize % MOMENTS].next();
        self.listen();
        self.remove(key);
    }

    /// Ends one response on every core.
    pub fn end(&mut self, stored: &Arc<Stored>) {
        stored.end();
        self.let_go(stored);
        self.machine.tell(Some(self.seat), || News::Ended(stored.clone()));
    }

    /// Keeps a stored content in another coding, too, where there is room or others make some; it leaves with its
    /// response.
    pub fn keep_recoded(&mut self, stored: &Stored, coding: Coding, content: Vec<u8>) {
        let weight = content.len();
        while !self.machine.take_room(weight) {
            // What is made room for may itself be what goes.
            if self.machine.is_overfull() || !stored.is_alive() {
                return;
            }
            let Some(gone) = self.kin.evict() else { return };
            self.tell_gone(&gone);
        }
        if !stored.keep_recoded(coding, content) {
            self.machine.give_room(weight);
        }
    }

    /// How many responses went for want of room since this was last asked.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn remove(&mut self, key: &Arc<Key>) {
        self.forget(key.hash, &key.bytes);
        self.machine.tell(Some(self.seat), || News::Removed(key.clone()));
    }

    fn forget(&mut self, hash: u64, key: &[u8]) {
        if let Some(kin) = self.kin.remove(hash, |kin| kin.is_of(key)) {
            kin.0.iter().for_each(|stored| stored.end());
        }
    }

    fn apply(&mut self, purges: &[Arc<Purge>]) {
        if purges.is_empty() {
            return;
        }
        let purges = Purges::of(purges);
        // Ended ones are never found; their kin is let go as it is met.
        self.kin.retain(|kin| {
            kin.0.iter().filter(|stored| purges.hit(stored)).for_each(|stored| stored.end());
            kin.0.iter().any(|stored| stored.is_alive())
        });
    }

    /// Drops this very response from the map.
    fn let_go(&mut self, stored: &Arc<Stored>) {
        let mut empty = false;
        let of = |kin: &Kin| kin.is_of(&stored.key.bytes);
        self.kin.change(stored.key.hash, of, |kin| {
            // The last one stays in the map's hands for a moment: a kin without members has no key.
            empty = kin.0.len() == 1 && Arc::ptr_eq(&kin.0[0], stored);
            if !empty {
                kin.0.retain(|other| !Arc::ptr_eq(other, stored));
            }
            kin.weight()
        });
        if empty {
            self.kin.remove(stored.key.hash, of);
        }
    }

    /// Puts a response into this core's map.
    fn adopt(&mut self, stored: Arc<Stored>) {
        if !stored.is_alive() {
            return;
        }
        let (hash, key) = (stored.key.hash, stored.key.clone());
        let mut waiting = Some(stored);
        self.kin.change(
            hash,
            |kin| kin.is_of(&key.bytes),
            |kin| {
                let Some(stored) = waiting.take() else { return kin.weight() };
                kin.0.retain(|other| {
                    let stays = other.is_alive() && !stored.replaces(other);
                    if !stays {
                        other.end();
                    }
                    stays
                });
                kin.0.insert(0, stored);
                kin.0.drain(CACHE_VARIANTS_MAX.min(kin.0.len())..).for_each(|other| other.end());
                kin.weight()
            },
        );
        let Some(stored) = waiting else { return };
        let weight = stored.weight;
        let gone = self.kin.insert(hash, Kin(vec![stored]), weight);
        gone.into_iter().for_each(|gone| self.tell_gone(&gone));
    }

    /// Lets responses go until there is room for this one.
    fn make_room(&mut self, stored: &Stored) -> bool {
        while !stored.admit() {
            // Letting go of more does not help: what is ended is still in other cores' hands, for a moment.
            if self.machine.is_overfull() {
                return false;
            }
            // A response larger than all the room finds the map empty in the end.
            let Some(gone) = self.kin.evict() else { return false };
            self.tell_gone(&gone);
        }
        true
    }

    fn tell_gone(&mut self, gone: &Kin) {
        for stored in &gone.0 {
            if stored.is_alive() {
                self.evicted += 1;
            }
            stored.end();
            self.machine.tell(Some(self.seat), || News::Ended(stored.clone()));
        }
    }
}

impl Machine {
    /// The machine, if there is something to hear: without news a look costs two loads.
    fn clone_if_news(self: &Arc<Self>, seat: usize) -> Option<Arc<Self>> {
        let seat = self.seats().get(seat).and_then(OnceLock::get)?;
        (!seat.news.is_empty() || seat.overrun.load() != 0).then(|| self.clone())
    }
}

#[cfg(test)]
mod tests;
