//! Names and passwords in `Authorization: Basic` (RFC 7617), the passwords kept as Argon2.
//!
//! A core never hashes: it remembers credentials that were checked by a keyed hash, for a while and until the file
//! changes, and has new ones checked at the desk (`password.rs`), waiting meanwhile. Nobody learns whether a user
//! exists: a name that does not is checked like one that does, against somebody's hash. A flood of wrong passwords is
//! bounded four times: by the queue, by how many checks one core and one network may have waiting, and by how many wrong
//! ones a network may bring. Who is known already never waits behind such a flood. A password never stands in
//! an error, a log or a field, and the name of a user only once the password was right.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use foldhash::SharedSeed;

use crate::base::limits::{
    BASIC_BYTES_MAX, BASIC_USERS_MAX, PASSWORD_ABANDONED_AFTER, PASSWORDS_PENDING_MAX,
    PASSWORDS_PENDING_PER_NETWORK_MAX,
};
use crate::base::name::Name;
use crate::base::shared::{Cells, unique};
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::identity::Identity;
use crate::exchange::template::Sink;
use crate::http::names::FieldName;
use crate::policy::bearer::credentials;
use crate::policy::file_cell::{FileCell, LineError, lines};
use crate::policy::limit_key::{KeyHash, seconds_up};
use crate::policy::password::{Desk, Kept, Outcome, Ticket};
use crate::policy::{Env, Verdict, refuse};

/// The users of one file.
#[derive(Debug, Default)]
pub struct UserBook {
    users: HashMap<Box<str>, User>,
    /// The hashes again, for those who are not there.
    hashes: Vec<Arc<Kept>>,
}

#[derive(Debug)]
struct User {
    name: Arc<str>,
    kept: Arc<Kept>,
}

impl UserBook {
    /// Reads a file of users: `NAME:$argon2id$…` a line.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<UserBook, LineError> {
        let mut book = UserBook::default();
        for (line, entry) in lines(text) {
            let wrong = |why| LineError { line, why };
            let (name, kept) =
                entry.split_once(':').ok_or(wrong("a line is `NAME:$argon2id$…`"))?;
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(wrong("in front of the colon stands a name"));
            }
            let kept = Arc::new(Kept::parse(kept).map_err(wrong)?);
            book.hashes.push(kept.clone());
            if book.users.insert(name.into(), User { name: name.into(), kept }).is_some() {
                return Err(wrong("this user is there already"));
            }
            if book.users.len() > BASIC_USERS_MAX {
                return Err(wrong("the file has too many users"));
            }
        }
        Ok(book)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Somebody's hash, always the same for one name, so that a name that is not there takes as long as one that is.
    fn stand_in(&self, mark: &[u8]) -> Option<Arc<Kept>> {
        let number = mark.first_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let index = number.checked_rem(self.hashes.len() as u64)?;
        self.hashes.get(index as usize).cloned()
    }
}

/// What one table says.
pub struct BasicRules {
    /// The name in the configuration.
    pub name: Name,
    /// What browsers show.
    pub realm: Box<str>,
    /// The users.
    pub book: Arc<FileCell<UserBook>>,
    /// How long what was checked is remembered.
    pub ttl: Duration,
    /// How many wrong passwords a network may bring.
    pub failures: Arc<Cells>,
    /// Where passwords are checked.
    pub desk: Arc<Desk>,
}

struct Inner {
    rules: BasicRules,
    challenge: Box<[u8]>,
    seed: SharedSeed,
    /// What this policy remembers is apart from what others remember.
    space: u64,
}

/// The compiled policy. Clones share everything.
#[derive(Clone)]
pub struct Basic {
    inner: Arc<Inner>,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("name", &self.inner.rules.name).finish_non_exhaustive()
    }
}

/// What a core remembers of credentials that were checked.
#[derive(Clone)]
pub(crate) struct Known {
    /// The user, where the password was right, and the hash that said so.
    right: Option<(Arc<str>, Arc<Kept>)>,
    /// The generation of the file.
    generation: u64,
    until: Instant,
}

/// Credentials that are being checked.
pub(crate) struct Pending {
    space: u64,
    mark: [u8; 32],
    network: u64,
    right: Option<(Arc<str>, Arc<Kept>)>,
    generation: u64,
    ticket: Ticket,
    /// When a request last looked for it.
    looked: Instant,
}

/// What credentials come to.
enum Look {
    Right(Arc<str>),
    Refused(FaultKind, &'static str),
    Wait,
    /// So many wrong ones came from there that no more are looked at for a while.
    Limited(Duration),
    /// Too many are waiting.
    Full,
}

impl Basic {
    /// From its rules.
    pub fn new(rules: BasicRules) -> Basic {
        let realm: String = rules.realm.chars().filter(|c| *c != '"' && *c != '\\').collect();
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"").into_bytes().into();
        let seed = SharedSeed::from_u64(rules.failures.seed());
        Basic { inner: Arc::new(Inner { rules, challenge, seed, space: unique() }) }
    }

    /// The rules.
    pub fn rules(&self) -> &BasicRules {
        &self.inner.rules
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        x.reason = "";
        match self.look(x, env) {
            Look::Right(user) => {
                let before = x.identity.take();
                x.identity = Some(Identity::of_user(user).and(before));
                Verdict::Continue
            }
            Look::Wait => {
                // Should the time of the request be over first.
                x.reason = "password_unchecked";
                Verdict::Wait
            }
            Look::Refused(kind, reason) => {
                x.reason = reason;
                if kind == FaultKind::Unauthorized {
                    x.reply_fields.add("www-authenticate", &self.inner.challenge);
                }
                refuse(kind)
            }
            Look::Limited(after) => {
                x.reason = "password_failures";
                let seconds = seconds_up(after).max(1);
                x.reply_fields.add("retry-after", itoa::Buffer::new().format(seconds).as_bytes());
                refuse(FaultKind::RateLimited)
            }
            Look::Full => {
                x.reason = "password_queue_full";
                x.reply_fields.add("retry-after", b"1");
                let kind = FaultKind::ConnectionLimitReached;
                Verdict::Refuse(Fault { kind, side: Side::Gateway, again: Again::Never })
            }
        }
    }

    fn look(&self, x: &Exchange, env: &mut Env<'_>) -> Look {
        let request = x.request();
        let malformed = Look::Refused(FaultKind::HttpRequestError, "credentials_malformed");
        let mut fields = request.head.fields.all(FieldName::Authorization, request.raw);
        let text = fields.next().and_then(|value| credentials(value, b"basic"));
        if fields.next().is_some() {
            return malformed;
        }
        let Some(text) = text else {
            return Look::Refused(FaultKind::Unauthorized, "password_missing");
        };
        if text.len() > BASIC_BYTES_MAX {
            return malformed;
        }
        let mark = self.inner.rules.desk.mark(text);
        let Ok(mark) = <[u8; 32]>::try_from(mark.as_ref()) else { return malformed };
        if let Some(known) = self.recall(&mark, env) {
            return known;
        }
        self.settle(env);
        if let Some(known) = self.recall(&mark, env) {
            return known;
        }
        let space = self.inner.space;
        let same = |one: &&mut Pending| one.space == space && one.mark == mark;
        if let Some(one) = env.slots.pending.iter_mut().find(same) {
            one.looked = env.now;
            return Look::Wait;
        }
        match decoded(text) {
            Some(decoded) => self.bring(&decoded, mark, x, env),
            None => malformed,
        }
    }

    /// What is known of these credentials, if that still holds.
    fn recall(&self, mark: &[u8; 32], env: &mut Env<'_>) -> Option<Look> {
        let Inner { rules, space, .. } = &*self.inner;
        let known = env.slots.passwords().find(*space, mark)?;
        let generation = rules.book.generation();
        if env.now < known.until && known.generation == generation {
            return Some(match &known.right {
                Some((user, _)) => Look::Right(user.clone()),
                None => Look::Refused(FaultKind::Unauthorized, "password_wrong"),
            });
        }
        let mut known = known.clone();
        let book = rules.book.current();
        // A file that changed elsewhere changes nothing for this user.
        let same = known.right.as_ref().is_some_and(|(user, kept)| {
            let user = book.as_ref().and_then(|book| book.users.get(&**user));
            user.is_some_and(|user| *user.kept == **kept)
        });
        let still = same && env.now < known.until;
        env.slots.passwords().remove(*space, mark);
        let user = known.right.as_ref().filter(|_| still).map(|(user, _)| user.clone())?;
        known.generation = generation;
        env.slots.passwords().insert(*space, mark, known, WEIGHT);
        Some(Look::Right(user))
    }

    /// Remembers what came of checks, whoever waits for them; gives up those that nobody waits for any more, be it
    /// that their clients are gone or that a reload took their policy away.
    fn settle(&self, env: &mut Env<'_>) {
        let Inner { rules, space, .. } = &*self.inner;
        let mut at = 0;
        while at < env.slots.pending.len() {
            let one = &env.slots.pending[at];
            let outcome = one.ticket.outcome();
            let abandoned = env.now.since(one.looked) >= PASSWORD_ABANDONED_AFTER;
            if !abandoned && (outcome == Outcome::Pending || one.space != *space) {
                at += 1;
                continue;
            }
            let one = env.slots.pending.swap_remove(at);
            if one.space != *space {
                continue;
            }
            let right = one.right.filter(|_| outcome == Outcome::Right);
            if outcome == Outcome::Wrong {
                rules.failures.take(one.network, 1, env.now);
            }
            if matches!(outcome, Outcome::Right | Outcome::Wrong) {
                let until = env.now + rules.ttl;
                let known = Known { right, generation: one.generation, until };
                env.slots.passwords().insert(*space, &one.mark, known, WEIGHT);
            }
        }
    }

    /// Has a password checked.
    fn bring(&self, decoded: &Decoded, mark: [u8; 32], x: &Exchange, env: &mut Env<'_>) -> Look {
        let Inner { rules, space, seed, .. } = &*self.inner;
        let mut network = KeyHash::new(seed);
        let hashed = network.put(x.client.network().to_string().as_bytes());
        debug_assert!(hashed, "a hash takes any text");
        let network = network.finish();
        let grant = rules.failures.look(network, 1, env.now);
        if !grant.granted {
            return Look::Limited(grant.retry_after);
        }
        let waiting = &env.slots.pending;
        let of_network = waiting.iter().filter(|one| one.network == network).count();
        if waiting.len() >= PASSWORDS_PENDING_MAX || of_network >= PASSWORDS_PENDING_PER_NETWORK_MAX
        {
            return Look::Full;
        }
        let generation = rules.book.generation();
        let book = rules.book.current();
        let Some(book) = book.as_ref() else { return Look::Full };
        let user = book.users.get(decoded.user());
        let right = user.map(|user| (user.name.clone(), user.kept.clone()));
        let stand_in = || book.stand_in(rules.desk.mark(decoded.user().as_bytes()).as_ref());
        let kept = user.map(|user| user.kept.clone()).or_else(stand_in);
        let Some(kept) = kept else {
            // A file without users has nothing to tell.
            return Look::Refused(FaultKind::Unauthorized, "password_wrong");
        };
        let Some(ticket) = rules.desk.bring(kept, user.is_some(), decoded.password()) else {
            return Look::Full;
        };
        let (space, looked) = (*space, env.now);
        let pending = Pending { space, mark, network, right, generation, ticket, looked };
        env.slots.pending.push(pending);
        Look::Wait
    }
}

/// What remembered credentials weigh: their hash, and two counted references.
const WEIGHT: usize = 128;

/// `user:password`, wiped when it is dropped.
struct Decoded {
    text: Vec<u8>,
    colon: usize,
}

impl Decoded {
    fn user(&self) -> &str {
        std::str::from_utf8(&self.text[..self.colon]).unwrap_or_default()
    }

    fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        self.text.fill(0);
        std::hint::black_box(&self.text);
    }
}

/// Takes credentials apart (RFC 7617 §2): base64 with its padding, a name in UTF-8 without a colon, no control bytes.
fn decoded(text: &[u8]) -> Option<Decoded> {
    let text = STANDARD.decode(text).ok()?;
    let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    let decoded = Decoded { text, colon };
    let whole = colon < decoded.text.len() && std::str::from_utf8(&decoded.text[..colon]).is_ok();
    (whole && !decoded.text.iter().any(u8::is_ascii_control)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;
    use crate::base::gcra::Rule;
    use crate::base::random::Rng;
    use crate::base::time::Wall;
    use crate::http::h1::parse::{self, HeadLimits, Parsed};
    use crate::policy::password::Job;
    use crate::policy::slots::Slots;

    #[test]
    fn credentials_are_taken_apart_at_the_first_colon() {
        let of = |text: &str| {
            let decoded = decoded(STANDARD.encode(text).as_bytes())?;
            Some((decoded.user().to_owned(), String::from_utf8(decoded.password().into()).unwrap()))
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("ada:a:b"), pair("ada", "a:b"));
        assert_eq!(of("ä:"), pair("ä", ""));
        assert_eq!(of(":x"), pair("", "x"));
        for bad in ["ada", "", "a\nb:x", "a:x\u{7f}"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
        for bad in ["YWRh", "YTpi!", "YTpi=", "YTo", " YTpi", "\u{ff}"] {
            assert!(decoded(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_without_its_text() {
        let good = Kept::make(b"pw", b"0123456789abcdef", crate::policy::password::USUAL).unwrap();
        let book = UserBook::parse(&format!("# users\nada:{good}\nbob:{good}\n")).unwrap();
        assert_eq!(book.len(), 2);
        assert!(
            book.stand_in(&[7; 32]).is_some() && UserBook::default().stand_in(&[7; 32]).is_none()
        );
        for (text, line) in [
            (format!("ada {good}"), 1),
            (format!(":{good}"), 1),
            ("ada:plain-password".to_owned(), 1),
            ("ada:$2y$05$plain-password".to_owned(), 1),
            (format!("ada:{good}\nada:{good}"), 2),
        ] {
            let error = UserBook::parse(&text).expect_err(&text);
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("plain-password"));
        }
    }

    /// A desk that nobody works at, so that every check waits; what is given up is given up by whoever comes next.
    #[test]
    fn who_left_keeps_no_place() {
        let (desk, taken) = Desk::new(b"key");
        let good = Kept::make(b"pw", b"0123456789abcdef", crate::policy::password::USUAL).unwrap();
        let book = UserBook::parse(&format!("ada:{good}")).unwrap();
        let rule = Rule::new(1000, Duration::from_secs(1), 1000).unwrap();
        let basic = Basic::new(BasicRules {
            name: Name::new("staff"),
            realm: "staff".into(),
            book: Arc::new(FileCell::new(book)),
            ttl: Duration::from_secs(60),
            failures: Arc::new(Cells::new(rule, 16, 1)),
            desk: Arc::new(desk),
        });
        let (mut rng, mut slots) = (Rng::new(1), Slots::new(1));
        let mut ask = |password: &str, millis: u64| {
            let mut x = exchange(password);
            let (now, wall) = (Instant::from_nanos(millis * 1_000_000), Wall::from_micros(0));
            basic.on_request(&mut x, &mut Env { now, wall, rng: &mut rng, slots: &mut slots })
        };
        for number in 0..PASSWORDS_PENDING_PER_NETWORK_MAX {
            assert_eq!(ask(&number.to_string(), 0), Verdict::Wait);
        }
        assert!(matches!(ask("pw", 500), Verdict::Refuse(_)), "all places are taken");
        assert_eq!(ask("0", 900), Verdict::Wait, "this one still waits");
        assert_eq!(ask("pw", 1100), Verdict::Wait, "and the others are gone");
        let wanted = taken.try_iter().filter(Job::is_wanted).count();
        assert_eq!(wanted, 2, "what was given up is not checked");
    }

    fn exchange(password: &str) -> Exchange {
        let credentials = STANDARD.encode(format!("ada:{password}"));
        let head =
            format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Basic {credentials}\r\n\r\n");
        let mut x = Exchange::default();
        let mut buf = BufferPool::new(1).take().expect("within budget");
        assert!(buf.put(head.as_bytes()));
        let parsed = parse::request(buf.data(), 0, &HeadLimits::default(), &mut x.head);
        assert!(matches!(parsed, Ok(Parsed::Done)));
        x.bytes = Some(buf);
        x
    }
}
