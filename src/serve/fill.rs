//! What a response from an origin means for the store, while it is on its way to the client.
//!
//! The head is judged before anything of it is sent: it may be the origin's word that what is stored is still
//! good (RFC 9111 §4.3.4), a failure that what is stored may stand in for (RFC 5861 §4), or a response to keep.
//! A body is copied as it passes, and nothing is stored before its end was seen: what broke off, and what is a
//! part, never stands for a whole (§3.3, §3.4).

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::base::limits::{BULK_BUFFER_BYTES, CACHE_TAGS_MAX, CACHE_VARY_FIELDS_MAX};
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::http::caching::directives::RequestControl;
use crate::http::caching::{self, Asking, Freshness, Times, Use, WhyNot};
use crate::http::framing::BodyLength;
use crate::http::head::Response;
use crate::http::{Method, Status};
use crate::policy::cache::Cache;
use crate::policy::cache_status::{CacheStatus, Forwarded};
use crate::policy::store::Moment;
use crate::policy::stored::{self, Key, Making, Stored, Vary};
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::cache_room::Room;
use crate::serve::collapse::Lead;
use crate::serve::freshen;

/// What is asked of an origin, and why.
pub struct Errand {
    /// The key.
    pub key: Arc<Key>,
    /// What is stored under it, and is not good enough.
    pub stored: Option<Arc<Stored>>,
    /// What the client says of freshness.
    pub control: RequestControl,
    /// What of the request matters for storing.
    pub asking: Asking,
    /// Why the origin is asked.
    pub why: Forwarded,
}

/// What became of the origin's answer.
#[derive(Default)]
pub enum End {
    /// It goes to the client.
    #[default]
    Relayed,
    /// What is stored is still good, and goes to the client.
    Validated(Arc<Stored>),
    /// The origin failed, and what is stored stands in.
    Failed(Status),
}

/// A fetch for the store.
pub struct Fill<'a, R: Runtime> {
    core: &'a Core<R>,
    cache: &'a Cache,
    /// What is asked.
    pub errand: &'a Errand,
    lead: Option<&'a Lead<'a>>,
    moment: Cell<Moment>,
    sent: Instant,
    saving: RefCell<Option<Saving>>,
    /// What became of the answer.
    pub end: RefCell<End>,
    /// Bytes counted in the core's room.
    counted: Cell<usize>,
}

/// A response that is being received.
struct Saving {
    status: Status,
    head: Vec<u8>,
    freshness: Freshness,
    vary: Vary,
    tags: Box<[Box<[u8]>]>,
    body: Vec<u8>,
}

/// A core stops copying when what it receives at once weighs as much of the budget.
const RECEIVING_SHARE: usize = 4;

impl<'a, R: Runtime> Fill<'a, R> {
    /// A fetch that begins now.
    pub fn new(
        core: &'a Core<R>,
        cache: &'a Cache,
        errand: &'a Errand,
        lead: Option<&'a Lead<'a>>,
    ) -> Self {
        Self {
            core,
            cache,
            errand,
            lead,
            moment: Cell::new(cache.machine.moment(errand.key.hash)),
            sent: core.runtime.now(),
            saving: RefCell::default(),
            end: RefCell::default(),
            counted: Cell::new(0),
        }
    }

    /// The conditions with which the origin is asked about what is stored (RFC 9111 §4.3.1): complete lines.
    pub fn conditions(&self, method: Method) -> Vec<u8> {
        let Some(stored) = self.errand.stored.as_ref().filter(|_| method == Method::Get) else {
            return Vec::new();
        };
        conditions(stored)
    }

    /// Judges a final head; `false` keeps it, and what follows it, from the client.
    pub fn takes_head(&self, x: &mut Exchange, response: Response<'_>) -> bool {
        let status = response.head.status;
        let Errand { stored, why, .. } = self.errand;
        let told =
            CacheStatus { forwarded: Some(*why), origin: Some(status), ..CacheStatus::default() };
        self.drop_saving();
        if *why == Forwarded::Method {
            self.note_unsafe(response);
            let stored = self.stands_for_get(x, response) && self.save(x, response).is_ok();
            return self.tell(x, CacheStatus { stored, ..told });
        }
        if x.head.method == Method::Head {
            return !self.note_head(x, response) && self.tell(x, told);
        }
        match stored {
            Some(stored) if status == Status(304) && stored.can_be_validated() => {
                self.validated(x, stored, response);
                return false;
            }
            Some(stored) if status.0 >= 500 && self.may_stand_in(stored) => {
                *self.end.borrow_mut() = End::Failed(status);
                return false;
            }
            _ => {}
        }
        let refused = match self.save(x, response) {
            Ok(()) => "",
            Err(why) => {
                // A whole answer that is not kept ends what was kept before it (RFC 9111 §4.3.3).
                if status.0 < 500 && status != Status(206) && status != Status(304) {
                    self.room(|room| {
                        stored.iter().for_each(|stored| room.store.end(stored));
                    });
                }
                self.land(false);
                why.word()
            }
        };
        self.tell(x, CacheStatus { stored: refused.is_empty(), detail: refused, ..told })
    }

    /// Copies a piece of the body.
    pub fn takes_piece(&self, piece: &[u8]) {
        let mut slot = self.saving.borrow_mut();
        let Some(saving) = &mut *slot else { return };
        let receiving = self.core.cache.receiving.get() + piece.len();
        let room = self.cache.machine.budget() as usize / RECEIVING_SHARE;
        if saving.body.len() + piece.len() > self.cache.object_bytes_max || receiving > room {
            drop(slot);
            self.drop_saving();
            self.land(false);
            return;
        }
        self.core.cache.receiving.set(receiving);
        self.counted.set(self.counted.get() + piece.len());
        saving.body.extend_from_slice(piece);
    }

    /// The body has ended as it should: the response is stored.
    pub fn takes_end(&self) {
        let Some(saving) = self.saving.take() else { return };
        self.uncount();
        let Saving { status, mut head, freshness, vary, tags, mut body } = saving;
        if status != Status(204) {
            head.extend_from_slice(b"content-length: ");
            head.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        body.shrink_to_fit();
        let (key, body) = (self.errand.key.clone(), Arc::new(body));
        let now = self.core.runtime.wall().as_secs();
        let making = Making { key, status, head, body, freshness, vary, tags, now };
        self.store(&Arc::new(Stored::new(making, self.cache.machine.clone())));
    }

    /// The fetch has ended without an answer. What broke off in the middle of a content that all could have had is left
    /// to those who wait, one of whom fetches next; an origin that does not answer is no reason to wait for each other.
    pub fn fails(&self) {
        let broke_off = self.saving.borrow().is_some();
        self.drop_saving();
        self.land(broke_off);
    }

    /// Whether what is stored may stand in for an error of the origin (RFC 5861 §4).
    fn may_stand_in(&self, stored: &Stored) -> bool {
        let now = self.core.runtime.now();
        let usable = stored.freshness.usable(&self.errand.control, now);
        matches!(usable, Use::IfError | Use::WhileRevalidating | Use::Fresh)
    }

    fn store(&self, stored: &Arc<Stored>) {
        let kept = self.room(|room| room.store.insert(stored, self.moment.get()));
        let now = self.core.runtime.now();
        let usable = stored.freshness.usable(&RequestControl::default(), now);
        let shared = kept && matches!(usable, Use::Fresh | Use::WhileRevalidating);
        if shared {
            self.cache.machine.claims.note_shared(stored.key.hash);
        }
        self.land(shared);
    }

    /// Begins to keep a response, if it may be kept.
    fn save(&self, x: &Exchange, response: Response<'_>) -> Result<(), WhyNot> {
        let freshness = self.cache.assess(&self.errand.asking, response, &self.times())?;
        let bytes_max = self.cache.object_bytes_max;
        let body = match response.head.body {
            BodyLength::Exact(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            _ => 0,
        };
        if body > bytes_max {
            return Err(WhyNot::Size);
        }
        let vary = stored::vary_of(response, x.request(), CACHE_VARY_FIELDS_MAX);
        let vary = vary.ok_or(WhyNot::Vary)?;
        let tags = stored::tags_of(response, &self.cache.tags);
        let mut out = self.core.buffer().map_err(|_| WhyNot::Size)?;
        let head = freshen::stored_head(&mut out, response, self.core.runtime.wall().as_secs());
        let head = head.filter(|_| tags.len() <= CACHE_TAGS_MAX).ok_or(WhyNot::Size)?;
        // What an origin announces is not yet here: room is made for so much as one read may bring.
        let (status, body) =
            (response.head.status, Vec::with_capacity(body.min(BULK_BUFFER_BYTES)));
        *self.saving.borrow_mut() = Some(Saving { status, head, freshness, vary, tags, body });
        Ok(())
    }

    fn times(&self) -> Times {
        let runtime = &self.core.runtime;
        Times { sent: self.sent, received: runtime.now(), wall: runtime.wall() }
    }

    /// The origin says that what is stored is good: its fields are brought up to date.
    fn validated(&self, x: &Exchange, stored: &Arc<Stored>, response: Response<'_>) {
        let merged = self.freshened(x, stored, response);
        let fresh = merged.unwrap_or_else(|| {
            // What it says now forbids to keep it: it answers this once.
            self.room(|room| room.store.end(stored));
            self.land(false);
            stored.clone()
        });
        *self.end.borrow_mut() = End::Validated(fresh);
    }

    /// A new stored response from an old one and a head without content; stored, if it may be.
    fn freshened(
        &self,
        x: &Exchange,
        stored: &Arc<Stored>,
        response: Response<'_>,
    ) -> Option<Arc<Stored>> {
        let mut out = self.core.buffer().ok()?;
        let now = self.core.runtime.wall().as_secs();
        let head = freshen::merged_head(&mut out, stored, response, now)?;
        let (times, cache) = (self.times(), self.cache);
        let fresh = freshen::read(&head, |merged| {
            let freshness = cache.assess(&self.errand.asking, merged, &times).ok()?;
            let vary = stored::vary_of(merged, x.request(), CACHE_VARY_FIELDS_MAX)?;
            Some((freshness, vary, stored::tags_of(merged, &cache.tags)))
        });
        let (freshness, vary, tags) = fresh.flatten()?;
        let (key, body, status) = (stored.key.clone(), stored.body.clone(), stored.status);
        let making = Making { key, status, head, body, freshness, vary, tags, now };
        let fresh = Arc::new(Stored::new(making, self.cache.machine.clone()));
        // Their content is one, and is not to be counted twice: the old one goes first.
        self.room(|room| room.store.end(stored));
        self.store(&fresh);
        Some(fresh)
    }

    /// An answer to HEAD tells of what is stored for GET (RFC 9111 §4.3.5); `true` if what is stored, brought up
    /// to date, is the answer.
    fn note_head(&self, x: &Exchange, response: Response<'_>) -> bool {
        let Some(stored) = &self.errand.stored else { return false };
        if response.head.status != Status(200) {
            return false;
        }
        if !freshen::is_of(stored, response) {
            self.room(|room| room.store.end(stored));
            return false;
        }
        let Some(fresh) = self.freshened(x, stored, response) else { return false };
        *self.end.borrow_mut() = End::Validated(fresh);
        true
    }

    /// An unsafe method that succeeded ends what is stored of its target, and of what its answer names (§4.4).
    fn note_unsafe(&self, response: Response<'_>) {
        if !(200..400).contains(&response.head.status.0) {
            return;
        }
        let key = &self.errand.key;
        let named = [&b"location"[..], b"content-location"].into_iter();
        let named = named.flat_map(|name| response.head.fields.named(name, response.raw));
        let others = named.filter_map(|target| self.cache.key_of(&key.bytes, key.url, target));
        let others: Vec<(Vec<u8>, Span)> = others.collect();
        self.room(|room| {
            room.store.invalidate(key);
            for (bytes, url) in others {
                let hash = self.cache.machine.hash(&bytes);
                room.store.invalidate(&Arc::new(Key { bytes: bytes.into(), url, hash }));
            }
        });
    }

    /// Whether an answer to POST says that it is what GET would be answered, and for how long (RFC 9110 §9.3.3).
    fn stands_for_get(&self, x: &Exchange, response: Response<'_>) -> bool {
        let key = &self.errand.key;
        let mut named = response.head.fields.named(b"content-location", response.raw);
        let own = named.next().and_then(|target| self.cache.key_of(&key.bytes, key.url, target));
        let same = own.is_some_and(|(bytes, _)| *bytes == *key.bytes);
        let stands = x.head.method == Method::Post
            && response.head.status == Status(200)
            && same
            && caching::is_explicit(response, &self.times());
        if stands {
            // What was stored before is invalid by now; this came after.
            self.moment.set(self.cache.machine.moment(key.hash));
        }
        stands
    }

    fn tell(&self, x: &mut Exchange, told: CacheStatus) -> bool {
        let mut value = Vec::with_capacity(64);
        told.write(&mut |piece| value.extend_from_slice(piece));
        x.cached = Some(told.word());
        x.reply_fields.add("cache-status", &value);
        true
    }

    fn room<T>(&self, act: impl FnOnce(&mut Room) -> T) -> T {
        self.core.cache.with(&self.cache.machine, self.core.seat(), act)
    }

    fn land(&self, shared: bool) {
        if let Some(lead) = self.lead {
            lead.land(shared);
        }
    }

    fn drop_saving(&self) {
        self.saving.take();
        self.uncount();
    }

    fn uncount(&self) {
        let receiving = &self.core.cache.receiving;
        receiving.set(receiving.get() - self.counted.take());
    }
}

impl<R: Runtime> Drop for Fill<'_, R> {
    fn drop(&mut self) {
        self.drop_saving();
    }
}

/// The conditions that ask about a stored response: complete lines.
pub fn conditions(stored: &Stored) -> Vec<u8> {
    let mut lines = Vec::new();
    let etag = stored.validators().etag;
    let asked = [(&b"if-none-match: "[..], etag), (b"if-modified-since: ", stored.modified())];
    for (name, value) in asked {
        for piece in value.map(|value| [name, value, b"\r\n"]).into_iter().flatten() {
            lines.extend_from_slice(piece);
        }
    }
    lines
}
