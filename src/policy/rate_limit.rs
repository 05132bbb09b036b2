//! Rate limits: so many requests per key, exact for the whole machine.
//!
//! The decision is `base/gcra.rs`, the memory `base/shared.rs`: one word per key, shared by all cores and
//! by all routes that name the limit. This file renders the key and the cost, asks, and tells the client with
//! `Retry-After` (RFC 9110 §10.2.3) and the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10).
//! It never stores a key, only its hash, and it never grants when the key cannot be made.
//!
//! **Several limits** of one stage (before authentication, or behind it) are looked at first and charged only
//! when all agree: a request that one refuses has spent nothing of the others. Two requests that race for the
//! last place of one limit may both have been looked at before either was charged; then the later one is
//! refused all the same and what it was charged by the limits before stays spent. Giving it back was refused:
//! between the two moments others have built on the later time, and the rule could be broken. So racing can
//! only make limits stricter. A limit in **dry run** is asked and charged like the others and never refuses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::SharedSeed;

use crate::base::gcra::Grant;
use crate::base::limits::LIMITS_PER_ROUTE_MAX;
use crate::base::name::Name;
use crate::base::shared::Cells;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::marks::{LimitMarks, LimitSaid};
use crate::exchange::template::{RenderError, Sink, Template};
use crate::policy::fleet::{Away, Fleet, Spent, StoreHash, StoreKey, StoreLine};
use crate::policy::limit_key::{Digits, KeyHash, Line, quoted, seconds_up};
use crate::policy::{Env, Verdict, refuse};

/// What a request spends of a limit.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The number, as the request gives it; `None`: every request costs the `default`.
    pub from: Option<Template>,
    /// What is spent when the request gives none, or nothing that begins like a number. At least 1.
    pub default: u64,
    /// The most that is spent. At most the burst, or the request could never pass.
    pub max: u64,
}

impl Default for Cost {
    fn default() -> Self {
        Self { from: None, default: 1, max: 1 }
    }
}

impl Cost {
    fn of(&self, x: &Exchange) -> u64 {
        let Some(from) = &self.from else { return self.default };
        let mut digits = Digits::default();
        let said = match from.render(x, &mut digits) {
            Ok(()) => digits.number(),
            Err(_) => None,
        };
        said.unwrap_or(self.default).clamp(1, self.max)
    }
}

/// A compiled limit of one route.
#[derive(Clone)]
pub struct RateLimit {
    name: Name,
    /// Its place in the configuration.
    place: u16,
    key: Template,
    cost: Cost,
    dry_run: bool,
    /// What makes it one of the fleet.
    fleet: Option<Arc<Fleet>>,
    cells: Arc<Cells>,
    seed: SharedSeed,
    /// The value of RateLimit-Policy: it never changes.
    policy_field: Box<[u8]>,
    /// The value of RateLimit up to the number of remaining requests.
    state_prefix: Box<[u8]>,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a limit is made from besides its cells.
pub struct RateLimitRules {
    /// Its name.
    pub name: Name,
    /// Its place in the configuration.
    pub place: u16,
    /// What is counted apart; a template of kind `Plain`.
    pub key: Template,
    /// What a request spends.
    pub cost: Cost,
    /// Whether it only tells what it would refuse.
    pub dry_run: bool,
    /// What makes it one of the fleet; `None`: it is this machine's.
    pub fleet: Option<Arc<Fleet>>,
}

impl RateLimit {
    /// A limit counted in `cells`. Routes that name the same limit hand in the same cells; so does a reload
    /// that changes neither name, rate, burst nor key.
    pub fn new(rules: RateLimitRules, cells: Arc<Cells>) -> RateLimit {
        let RateLimitRules { name, place, key, cost, dry_run, fleet } = rules;
        let quoted = quoted(name.as_str());
        let rule = cells.rule();
        let (burst, window) = (rule.burst(), seconds_up(rule.window()));
        let policy_field = format!("{quoted};q={burst};w={window}").into_bytes().into();
        let state_prefix = format!("{quoted};r=").into_bytes().into();
        let seed = SharedSeed::from_u64(cells.seed());
        RateLimit {
            name,
            place,
            key,
            cost,
            dry_run,
            fleet,
            cells,
            seed,
            policy_field,
            state_prefix,
        }
    }

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the key or the cost holds a claim, so that the limit can only stand behind authentication.
    pub fn needs_identity(&self) -> bool {
        self.key.needs_identity() || self.cost.from.as_ref().is_some_and(Template::needs_identity)
    }

    /// What is counted apart, for `explain`.
    pub fn key(&self) -> &Template {
        &self.key
    }

    /// What a request spends, for `explain`.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// What this request would spend.
    pub fn cost_of(&self, x: &Exchange) -> u64 {
        self.cost.of(x)
    }

    /// Whether it only tells what it would refuse.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The cells, for the next version of the gateway.
    pub fn cells(&self) -> &Arc<Cells> {
        &self.cells
    }

    /// What makes it one of the fleet, for `explain`.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Whether each request waits for the store. A dry run never does.
    fn waits(&self) -> bool {
        !self.dry_run && self.fleet.as_ref().is_some_and(|fleet| fleet.exact)
    }

    /// What is done with a request, as the store is up or away.
    fn standing(&self, up: bool) -> Standing {
        match self.fleet.as_ref().filter(|_| !up).map(|fleet| fleet.away) {
            None | Some(Away::Local) => Standing::Counts,
            Some(Away::Allow) => Standing::Passes,
            Some(Away::Deny) => Standing::Refuses,
        }
    }

    /// What the key of this request is called in the store.
    fn store_key(&self, x: &Exchange) -> Option<StoreKey> {
        let mut key = StoreHash::new();
        self.key.render(x, &mut key).ok()?;
        Some(key.finish())
    }

    /// The hash of a key without placeholders.
    fn constant_hash(&self) -> u64 {
        let mut key = KeyHash::new(&self.seed);
        let whole = key.put(self.key.constant().unwrap_or_default());
        debug_assert!(whole, "a hash takes any text");
        key.finish()
    }

    /// What such a key is called in the store.
    fn constant_store_key(&self) -> StoreKey {
        let mut key = StoreHash::new();
        let whole = key.put(self.key.constant().unwrap_or_default());
        debug_assert!(whole, "a hash takes any text");
        key.finish()
    }

    /// Tells the store what was spent here.
    fn lend(&self, key: Option<StoreKey>, question: &Question, line: &mut StoreLine) {
        let (Some(fleet), true) = (&self.fleet, line.up) else {
            line.decided_alone += u64::from(self.fleet.is_some());
            return;
        };
        let (limit, fleet, cells) = (self.name.clone(), fleet.clone(), self.cells.clone());
        let spent = Spent { limit, fleet, cells, hash: question.hash, cost: question.cost };
        let told = key.is_some_and(|key| line.tell(key, spent));
        line.decided_alone += u64::from(!told);
    }

    /// The hash of what this request is counted under.
    fn hash(&self, x: &Exchange) -> Result<u64, RenderError> {
        let mut key = KeyHash::new(&self.seed);
        self.key.render(x, &mut key)?;
        Ok(key.finish())
    }

    fn no_key(&self, x: &mut Exchange, error: RenderError) -> Verdict {
        x.reason = "limit_key_missing";
        let fault = error.fault();
        if fault.kind == FaultKind::Unauthorized {
            // A 401 must say how to do better (RFC 9110 §11.6.1).
            x.reply_fields.add("www-authenticate", b"Bearer error=\"invalid_token\"");
        }
        Verdict::Refuse(fault)
    }

    /// What clients are told of a limit that is enforced.
    fn tell(&self, x: &mut Exchange, grant: &Grant) {
        if self.dry_run {
            return;
        }
        x.reply_fields.add("ratelimit-policy", &self.policy_field);
        let mut value = Line::default();
        value.put(&self.state_prefix);
        value.put(itoa::Buffer::new().format(grant.remaining).as_bytes());
        value.put(b";t=");
        value.put(itoa::Buffer::new().format(seconds_up(grant.whole_after)).as_bytes());
        if let Some(value) = value.whole() {
            x.reply_fields.add("ratelimit", value);
        }
    }
}

/// What is done with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Counts,
    Passes,
    Refuses,
}

/// One limit in a question to the store.
pub struct StoreArgument {
    /// What the key is called there.
    pub name: Vec<u8>,
    /// The time between two requests, as the script reads it.
    pub interval: Box<str>,
    /// The burst.
    pub burst: Box<str>,
    /// What the request costs.
    pub cost: Box<str>,
}

/// What the store said.
#[derive(Clone, Copy)]
pub enum StoreSaid {
    /// Which limit refuses, counted from 1, or 0; then how far each time lies ahead, in microseconds.
    Numbers([i64; 1 + LIMITS_PER_ROUTE_MAX], usize),
    /// Nothing in time.
    Away,
}

impl StoreSaid {
    fn ahead(&self, place: usize) -> Duration {
        match self {
            Self::Numbers(numbers, count) if place + 1 < *count => {
                Duration::from_micros(u64::try_from(numbers[place + 1]).unwrap_or(0))
            }
            _ => Duration::ZERO,
        }
    }
}

/// The limits of one stage of a route, in the order of the file; at most `LIMITS_PER_ROUTE_MAX`.
#[derive(Clone, Debug)]
pub struct Limits(Box<[RateLimit]>);

/// One limit's question: under which hash, for how much.
#[derive(Clone, Copy, Default)]
struct Question {
    hash: u64,
    cost: u64,
    /// Whether the limit is to be charged.
    asked: bool,
}

impl Limits {
    /// These limits together.
    pub fn new(limits: Vec<RateLimit>) -> Limits {
        debug_assert!(limits.len() <= LIMITS_PER_ROUTE_MAX, "checked when the file was read");
        Limits(limits.into())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &RateLimit> {
        self.0.iter()
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        let questions = match self.questions(x) {
            Ok(questions) => questions,
            Err(refused) => return refused,
        };
        let up = env.slots.store.up;
        let waits = up && self.0.iter().any(RateLimit::waits);
        // One limit alone needs no look before it is charged.
        if (self.0.len() > 1 || waits)
            && let Some((limit, grant)) = self.refusing(&questions, up, env)
        {
            return self.refused(limit, &grant, x);
        }
        if waits {
            return Verdict::AskStore;
        }
        self.spend(x, env, &questions, up, None)
    }

    /// What each limit is asked; `Err` is a refusal for want of a key.
    fn questions(&self, x: &mut Exchange) -> Result<[Question; LIMITS_PER_ROUTE_MAX], Verdict> {
        let mut questions = [Question::default(); LIMITS_PER_ROUTE_MAX];
        for (limit, question) in self.0.iter().zip(&mut questions) {
            match limit.hash(x) {
                Ok(hash) => *question = Question { hash, cost: limit.cost.of(x), asked: true },
                Err(_) if limit.dry_run => {}
                Err(error) => {
                    x.limits.add(limit.place, LimitSaid::Refused);
                    return Err(limit.no_key(x, error));
                }
            }
        }
        Ok(questions)
    }

    /// What the store is asked for this request; `None` without a key.
    pub fn arguments(&self, x: &Exchange) -> Option<Vec<StoreArgument>> {
        let waiting = self.0.iter().filter(|limit| limit.waits());
        let one = |limit: &RateLimit| {
            let fleet = limit.fleet.as_ref()?;
            let mut name = Vec::with_capacity(64);
            limit.store_key(x)?.write(&limit.name, &mut name);
            Some(StoreArgument {
                name,
                interval: fleet.interval.clone(),
                burst: fleet.burst.clone(),
                cost: limit.cost.of(x).to_string().into(),
            })
        };
        waiting.map(one).collect()
    }

    /// Decides about a request for which the store was asked.
    pub fn settle(&self, x: &mut Exchange, env: &mut Env<'_>, said: &StoreSaid) -> Verdict {
        let questions = match self.questions(x) {
            Ok(questions) => questions,
            Err(refused) => return refused,
        };
        let StoreSaid::Numbers(numbers, _) = said else {
            return self.spend(x, env, &questions, false, None);
        };
        let waiting = || self.0.iter().zip(&questions).filter(|(limit, _)| limit.waits());
        for (place, (limit, question)) in waiting().enumerate() {
            limit.cells.raise(question.hash, said.ahead(place), env.now);
        }
        let refuser = usize::try_from(numbers[0]).ok().and_then(|number| number.checked_sub(1));
        if let Some(place) = refuser
            && let Some((limit, question)) = waiting().nth(place)
        {
            let grant = limit.cells.said(said.ahead(place), question.cost, false);
            return self.refused(limit, &grant, x);
        }
        self.spend(x, env, &questions, true, Some(said))
    }

    /// Charges all; those that asked the `said` store are charged there.
    fn spend(
        &self,
        x: &mut Exchange,
        env: &mut Env<'_>,
        questions: &[Question],
        up: bool,
        said: Option<&StoreSaid>,
    ) -> Verdict {
        let mut asked = 0;
        for (limit, question) in self.0.iter().zip(questions) {
            if !question.asked {
                x.limits.add(limit.place, LimitSaid::WouldRefuse);
                continue;
            }
            match limit.standing(up) {
                Standing::Counts => {}
                Standing::Refuses if !limit.dry_run => return self.without_store(limit, x),
                Standing::Refuses | Standing::Passes => {
                    env.slots.store.decided_alone += 1;
                    x.limits.add(limit.place, LimitSaid::Allowed);
                    continue;
                }
            }
            let grant = match said.filter(|_| limit.waits()) {
                Some(said) => {
                    asked += 1;
                    limit.cells.said(said.ahead(asked - 1), question.cost, true)
                }
                None => limit.cells.take(question.hash, question.cost, env.now),
            };
            if grant.granted && limit.fleet.is_some() && !(limit.waits() && said.is_some()) {
                limit.lend(limit.store_key(x), question, &mut env.slots.store);
            }
            match (grant.granted, limit.dry_run) {
                (true, _) => x.limits.add(limit.place, LimitSaid::Allowed),
                (false, true) => x.limits.add(limit.place, LimitSaid::WouldRefuse),
                (false, false) => return self.refused(limit, &grant, x),
            }
            limit.tell(x, &grant);
        }
        Verdict::Continue
    }

    /// The refusal of a limit that lets nobody pass while the store is away.
    fn without_store(&self, limit: &RateLimit, x: &mut Exchange) -> Verdict {
        x.limits.add(limit.place, LimitSaid::Refused);
        x.reason = "limit_store_away";
        x.reply_fields.add("retry-after", b"1");
        let kind = FaultKind::LimitStoreAway;
        Verdict::Refuse(Fault { kind, side: Side::Gateway, again: Again::Never })
    }

    /// The first limit that would refuse, and what it says; nothing is charged.
    fn refusing(
        &self,
        questions: &[Question],
        up: bool,
        env: &Env<'_>,
    ) -> Option<(&RateLimit, Grant)> {
        let enforced = self.0.iter().zip(questions).filter(|(limit, _)| !limit.dry_run);
        let enforced = enforced.filter(|(limit, _)| limit.standing(up) == Standing::Counts);
        let mut said =
            enforced.map(|(limit, ask)| (limit, limit.cells.look(ask.hash, ask.cost, env.now)));
        said.find(|(_, grant)| !grant.granted)
    }

    fn refused(&self, limit: &RateLimit, grant: &Grant, x: &mut Exchange) -> Verdict {
        x.limits.add(limit.place, LimitSaid::Refused);
        x.reason = "rate_limited";
        let mut digits = itoa::Buffer::new();
        let seconds = digits.format(seconds_up(grant.retry_after).max(1));
        x.reply_fields.add("retry-after", seconds.as_bytes());
        limit.tell(x, grant);
        refuse(FaultKind::RateLimited)
    }

    /// Decides about one attempt at an upstream; its limits have keys without placeholders. One of the fleet is
    /// leased here, whatever its mode: an attempt does not wait.
    ///
    /// # Errors
    /// The attempt may not be made, and when one may.
    pub fn on_attempt(
        &self,
        marks: &mut LimitMarks,
        now: Instant,
        line: &mut StoreLine,
    ) -> Result<(), Duration> {
        let up = line.up;
        let counts = |limit: &RateLimit| limit.standing(up) == Standing::Counts;
        if self.0.len() > 1 {
            let enforced = self.0.iter().filter(|limit| !limit.dry_run && counts(limit));
            let look = |limit: &RateLimit| limit.cells.look(limit.constant_hash(), 1, now);
            if let Some(limit) = enforced.into_iter().find(|limit| !look(limit).granted) {
                marks.add(limit.place, LimitSaid::Refused);
                return Err(look(limit).retry_after);
            }
        }
        for limit in &self.0 {
            let grant = match limit.standing(up) {
                Standing::Counts => limit.cells.take(limit.constant_hash(), 1, now),
                standing => {
                    let granted = standing == Standing::Passes;
                    line.decided_alone += 1;
                    limit.cells.said(Duration::ZERO, 1, granted)
                }
            };
            if grant.granted && limit.fleet.is_some() && counts(limit) {
                let question = Question { hash: limit.constant_hash(), cost: 1, asked: true };
                limit.lend(Some(limit.constant_store_key()), &question, line);
            }
            match (grant.granted, limit.dry_run) {
                (true, _) => marks.add(limit.place, LimitSaid::Allowed),
                (false, true) => marks.add(limit.place, LimitSaid::WouldRefuse),
                (false, false) => {
                    marks.add(limit.place, LimitSaid::Refused);
                    return Err(grant.retry_after);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
