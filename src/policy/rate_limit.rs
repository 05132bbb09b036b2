//! Rate limits: so many requests per key, exact for the whole machine.
//!
//! The decision is `base/gcra.rs`, the memory `base/shared.rs`: one word per key, shared by all cores and
//! by all routes that name the limit. This file renders the key, asks, and tells the client with
//! `Retry-After` (RFC 9110 §10.2.3) and the RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10).
//! It never stores a key, only its hash, and it never grants when the key cannot be made.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::base::gcra::Grant;
use crate::base::name::Name;
use crate::base::shared::Cells;
use crate::exchange::Exchange;
use crate::exchange::fault::FaultKind;
use crate::exchange::template::{RenderError, Sink, Template};
use crate::policy::{Env, Verdict, refuse};

/// A compiled limit of one route.
#[derive(Clone)]
pub struct RateLimit {
    name: Name,
    key: Template,
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

impl RateLimit {
    /// The limit `name`, counted in `cells` by `key` (a template of kind `Plain`). Routes that name the
    /// same limit hand in the same cells; so does a reload that changes neither name, rate, burst nor key.
    pub fn new(name: Name, key: Template, cells: Arc<Cells>) -> RateLimit {
        let quoted = quoted(name.as_str());
        let rule = cells.rule();
        let (burst, window) = (rule.burst(), seconds_up(rule.window()));
        let policy_field = format!("{quoted};q={burst};w={window}").into_bytes().into();
        let state_prefix = format!("{quoted};r=").into_bytes().into();
        let seed = SharedSeed::from_u64(cells.seed());
        RateLimit { name, key, cells, seed, policy_field, state_prefix }
    }

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the key holds a claim, so that the limit can only stand behind authentication.
    pub fn needs_identity(&self) -> bool {
        self.key.needs_identity()
    }

    /// What is counted apart, for `explain`.
    pub fn key(&self) -> &Template {
        &self.key
    }

    /// The cells, for the next version of the gateway.
    pub fn cells(&self) -> &Arc<Cells> {
        &self.cells
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        let mut key = KeyHash::new(&self.seed);
        if let Err(error) = self.key.render(x, &mut key) {
            return self.no_key(x, error);
        }
        let grant = self.cells.take(key.finish(), env.now);
        self.tell(x, &grant);
        if grant.granted {
            return Verdict::Continue;
        }
        x.reason = "rate_limited";
        refuse(FaultKind::RateLimited)
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

    fn tell(&self, x: &mut Exchange, grant: &Grant) {
        if !grant.granted {
            let mut digits = itoa::Buffer::new();
            let seconds = digits.format(seconds_up(grant.retry_after).max(1));
            x.reply_fields.add("retry-after", seconds.as_bytes());
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

/// A rendered key, hashed while it is rendered. How the renderer cuts the text never matters, so that
/// one text is one key.
struct KeyHash<'a> {
    hasher: FoldHasher<'a>,
    block: [u8; BLOCK],
    filled: usize,
    bytes: u64,
}

/// Bytes hashed at once. A number of the hash only; it never decides about a key.
const BLOCK: usize = 128;

impl<'a> KeyHash<'a> {
    fn new(seed: &'a SharedSeed) -> Self {
        let hasher = FoldHasher::with_seed(0, seed);
        Self { hasher, block: [0; BLOCK], filled: 0, bytes: 0 }
    }

    fn finish(mut self) -> u64 {
        self.hasher.write(&self.block[..self.filled]);
        self.hasher.write_u64(self.bytes);
        self.hasher.finish()
    }
}

impl Sink for KeyHash<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> bool {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK - self.filled);
            self.block[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == BLOCK {
                self.hasher.write(&self.block);
                self.filled = 0;
            }
        }
        true
    }
}

/// A field value made in place.
struct Line {
    text: [u8; 160],
    len: usize,
    whole: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { text: [0; 160], len: 0, whole: true }
    }
}

impl Line {
    fn put(&mut self, bytes: &[u8]) {
        match self.text.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.whole = false,
        }
    }

    fn whole(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.text[..self.len])
    }
}

/// A name as a structured-field string (RFC 9651 §3.3.3); what cannot stand in one becomes `_`.
fn quoted(name: &str) -> String {
    let fine = |char: char| char.is_ascii_graphic() && char != '"' && char != '\\' || char == ' ';
    let text: String = name.chars().map(|char| if fine(char) { char } else { '_' }).collect();
    format!("\"{text}\"")
}

fn seconds_up(span: std::time::Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::gcra::Rule;
    use crate::base::random::Rng;
    use crate::base::time::{Instant, Wall};
    use crate::exchange::template::TemplateKind;
    use crate::policy::Policy;
    use crate::policy::slots::Slots;

    fn limit(key: &str, count: u64, burst: u64) -> RateLimit {
        let rule = Rule::new(count, Duration::from_secs(1), burst).unwrap();
        let template = Template::parse(key, TemplateKind::Plain, &[]).unwrap();
        RateLimit::new(Name::new("per_client"), template, Arc::new(Cells::new(rule, 1024, 3)))
    }

    fn ask(limit: &RateLimit, x: &mut Exchange, millis: u64) -> Verdict {
        x.reply_fields.clear();
        let (mut rng, mut slots) = (Rng::new(1), Slots::new(1));
        let now = Instant::from_nanos(millis * 1_000_000);
        let wall = Wall::from_micros(0);
        limit.on_request(x, &mut Env { now, wall, rng: &mut rng, slots: &mut slots })
    }

    fn fields(x: &Exchange) -> String {
        String::from_utf8(x.reply_fields.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_spent_limit_is_429_and_says_when_to_come_back() {
        let limit = limit("{client.address}", 2, 3);
        let mut x = Exchange::default();
        assert_eq!(ask(&limit, &mut x, 1000), Verdict::Continue);
        let told =
            "ratelimit-policy: \"per_client\";q=3;w=2\r\nratelimit: \"per_client\";r=2;t=1\r\n";
        assert_eq!(fields(&x), told);
        ask(&limit, &mut x, 1000);
        assert_eq!(ask(&limit, &mut x, 1000), Verdict::Continue);
        let Verdict::Refuse(fault) = ask(&limit, &mut x, 1000) else { panic!("refused") };
        assert_eq!((fault.kind, x.reason), (FaultKind::RateLimited, "rate_limited"));
        assert!(fields(&x).starts_with("retry-after: 1\r\n"), "{}", fields(&x));
        assert!(fields(&x).ends_with("ratelimit: \"per_client\";r=0;t=2\r\n"), "{}", fields(&x));
        assert_eq!(ask(&limit, &mut x, 1500), Verdict::Continue);
    }

    #[test]
    fn addresses_are_counted_apart() {
        let limit = limit("{client.address}", 1, 1);
        let mut x = Exchange::default();
        assert_eq!(ask(&limit, &mut x, 1), Verdict::Continue);
        assert_ne!(ask(&limit, &mut x, 1), Verdict::Continue);
        x.client.address = [192, 0, 2, 1].into();
        assert_eq!(ask(&limit, &mut x, 1), Verdict::Continue);
    }

    #[test]
    fn a_key_with_a_claim_needs_a_proven_identity() {
        let limit = limit("{jwt.sub}", 1, 1);
        assert!(limit.needs_identity());
        let mut x = Exchange::default();
        let Verdict::Refuse(fault) = ask(&limit, &mut x, 1) else { panic!("refused") };
        assert_eq!(fault.kind, FaultKind::Unauthorized);
        assert!(matches!(Policy::limit(limit), Policy::RateLimit(_)));
    }

    #[test]
    fn routes_that_share_cells_share_the_budget() {
        let one = limit("everybody", 1, 2);
        let other = RateLimit::new(one.name.clone(), one.key.clone(), one.cells().clone());
        let mut x = Exchange::default();
        assert_eq!(ask(&one, &mut x, 1), Verdict::Continue);
        assert_eq!(ask(&other, &mut x, 1), Verdict::Continue);
        assert_ne!(ask(&one, &mut x, 1), Verdict::Continue);
        assert!(matches!(Policy::limit(other), Policy::ClientLimit(_)));
    }

    #[test]
    fn how_a_key_is_cut_does_not_matter() {
        let seed = SharedSeed::from_u64(1);
        let text: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let hash = |step: usize| {
            let mut key = KeyHash::new(&seed);
            text.chunks(step).for_each(|chunk| assert!(key.put(chunk)));
            key.finish()
        };
        let whole = hash(1000);
        for step in [1, 2, 7, 127, 128, 129, 500] {
            assert_eq!(hash(step), whole);
        }
    }
}
