//! Concurrency: how many at once, exact for the whole machine; a bounded line in front where one is wanted.
//!
//! The count is `base/seats.rs`, the line `base/queue.rs`, the adaptive limit `base/gradient.rs`; waiting is done
//! by `serve/seating.rs`. This file renders the key, takes the seat and words the refusal: 503 with
//! `Retry-After` (RFC 9110 §10.2.3, §15.6.4). It stands behind all other refusals, so that nobody who is
//! refused anyway holds a seat, and it never takes a seat ahead of somebody who waits on this core. The key is
//! judged before the seats are, and who waits is counted under his key.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::SharedSeed;

use crate::base::gradient::GradientRules;
use crate::base::limits::SEAT_RETRY_AFTER_SECS;
use crate::base::queue::{Queue, QueueLaw};
use crate::base::seats::{KeyPlace, KeyTaken, Seat, SeatAsk, Seats};
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::marks::LimitSaid;
use crate::exchange::template::Template;
use crate::policy::limit_key::KeyHash;
use crate::policy::{Env, Verdict};

/// What bounds who may be there at once.
#[derive(Clone, Debug)]
pub struct ConcurrencyRules {
    /// Its place among the limits of the configuration.
    pub place: u16,
    /// How many at once; of an adaptive limit the most.
    pub max: u64,
    /// What is counted apart besides, and how many of one key.
    pub key: Option<(Template, u64)>,
    /// How many may wait, on all cores; 0: nobody.
    pub queue: u64,
    /// How long they may.
    pub law: QueueLaw,
    /// Whether the limit is found out, and between which bounds.
    pub adaptive: Option<GradientRules>,
}

/// A compiled limit of one route or upstream.
#[derive(Clone)]
pub struct Concurrency {
    rules: ConcurrencyRules,
    seats: Arc<Seats>,
    seed: SharedSeed,
}

impl fmt::Debug for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Concurrency").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Concurrency {
    /// A limit that counts in `seats`, which survive reloads. `seed` must be random: it keeps clients from
    /// choosing keys that lie together.
    pub fn new(rules: ConcurrencyRules, seats: Arc<Seats>, seed: u64) -> Concurrency {
        Concurrency { rules, seats, seed: SharedSeed::from_u64(seed) }
    }

    /// The rules, for `explain`.
    pub fn rules(&self) -> &ConcurrencyRules {
        &self.rules
    }

    /// The seats, for the next version of the gateway.
    pub fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// Decides about a request: it gets a seat, may wait for one, or is refused.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        let key = match self.key_of(x) {
            Ok(key) => key,
            Err(fault) => return Verdict::Refuse(fault),
        };
        // Who waits is counted again when he begins to.
        let Ok(place) = self.count(key) else {
            return Verdict::Refuse(self.refuse(x, LimitSaid::Refused));
        };
        let queue = self.queue(env.slots);
        if queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            return Verdict::Queue;
        }
        match self.take(queue.as_ref()) {
            Some(seat) => {
                self.seat(x, seat.of_key(place), LimitSaid::Allowed);
                Verdict::Continue
            }
            None if queue.is_some() => Verdict::Queue,
            None => Verdict::Refuse(self.refuse(x, LimitSaid::Refused)),
        }
    }

    /// What this request is counted under besides.
    ///
    /// # Errors
    /// The key cannot be made.
    pub fn key_of(&self, x: &mut Exchange) -> Result<Option<(u64, u64)>, Fault> {
        let Some((template, key_max)) = &self.rules.key else { return Ok(None) };
        let mut key = KeyHash::new(&self.seed);
        match template.render(x, &mut key) {
            Ok(()) => Ok(Some((key.finish(), *key_max))),
            Err(error) => {
                x.reason = "limit_key_missing";
                Err(error.fault())
            }
        }
    }

    /// This core's line, where there may be one.
    pub fn queue(&self, slots: &mut crate::policy::slots::Slots) -> Option<Rc<Queue>> {
        (self.rules.queue > 0).then(|| slots.queue(self.seats.id()))
    }

    /// Counts one more of a key, who is about to be seated or to wait.
    ///
    /// # Errors
    /// It has as many as it may.
    pub fn count(&self, key: Option<(u64, u64)>) -> Result<Option<KeyPlace>, KeyTaken> {
        key.map_or(Ok(None), |(hash, key_max)| self.seats.count(hash, key_max))
    }

    /// Takes a seat, if there is one.
    pub fn take(&self, queue: Option<&Rc<Queue>>) -> Option<Seat> {
        let adaptive = self.rules.adaptive;
        let max = adaptive.map_or(self.rules.max, |rules| self.seats.limit(rules));
        self.seats.take(&SeatAsk { max, queue, adaptive })
    }

    /// Gives a request its seat.
    pub fn seat(&self, x: &mut Exchange, seat: Seat, said: LimitSaid) {
        x.limits.add(self.rules.place, said);
        x.seat = Some(seat);
    }

    /// Tells a request that it gets none.
    pub fn refuse(&self, x: &mut Exchange, said: LimitSaid) -> Fault {
        x.limits.add(self.rules.place, said);
        x.reason = word(said);
        let mut digits = itoa::Buffer::new();
        let seconds = digits.format(SEAT_RETRY_AFTER_SECS);
        x.reply_fields.add("retry-after", seconds.as_bytes());
        no_seat()
    }
}

/// Why somebody gets no seat, in the access log's one word.
pub fn word(said: LimitSaid) -> &'static str {
    if said == LimitSaid::Shed { "shed" } else { "no_seat" }
}

/// The fault of whoever gets no seat.
pub fn no_seat() -> Fault {
    let kind = FaultKind::ConcurrencyLimited;
    Fault { kind, side: Side::Gateway, again: Again::Never }
}
