//! Passwords as they are kept, and the desk at which cores have one checked: Argon2 (RFC 9106) in PHC strings.
//!
//! Checking takes tens of milliseconds and megabytes on purpose, so that a core must never do it: it brings the
//! password to the desk, a bounded queue, and asks again later; threads of the control side take from there
//! (`control/hashing.rs`). A queue that is full says so at once. The text of a password is wiped when it was
//! checked, stands in no error and no `Debug`, and is remembered by cores as a keyed hash only (`basic.rs`). What a
//! hash may cost is bounded where the file is read: a line must not stop the gateway.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crossbeam::channel::{Receiver, Sender, bounded};

use crate::base::limits::{
    PASSWORD_MEMORY_KIB_MAX, PASSWORD_PASSES_MAX, PASSWORD_QUEUE_MAX, PASSWORD_WORK_KIB_MAX,
};
use crate::base::shared::Word;

/// What `ringway hash-password` makes: Argon2id with 19 MiB, two passes and one lane (OWASP's first choice).
pub const USUAL: Cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
/// Bytes of a hash that is made.
const HASH_BYTES: usize = 32;
/// The most lanes; each takes its turn, there is one thread.
const LANES_MAX: u32 = 16;

/// What a check costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory. Unit: KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// A password as it is kept: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    algorithm: Algorithm,
    version: Version,
    cost: Cost,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Kept {
    /// Reads a PHC string.
    ///
    /// # Errors
    /// What is wrong with it; never its text.
    pub fn parse(text: &str) -> Result<Kept, &'static str> {
        let malformed = "this is not a PHC string of Argon2: `ringway hash-password` makes one";
        let mut parts = text.strip_prefix('$').ok_or(malformed)?.split('$');
        let algorithm = match parts.next() {
            Some("argon2id") => Algorithm::Argon2id,
            Some("argon2i") => Algorithm::Argon2i,
            Some("argon2d") => Algorithm::Argon2d,
            _ => return Err("passwords are kept as Argon2: `ringway hash-password` makes a line"),
        };
        let mut part = || parts.next().ok_or(malformed);
        let (version, params) = match part()? {
            "v=19" => (Version::V0x13, part()?),
            "v=16" => (Version::V0x10, part()?),
            // Before there were versions.
            params => (Version::V0x10, params),
        };
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| malformed);
        let (salt, hash) = (bytes(part()?)?, bytes(part()?)?);
        let cost = cost(params).ok_or(malformed)?;
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
            return Err("the salt has 8 to 64 bytes, the hash 16 to 64");
        }
        if parts.next().is_some() {
            return Err(malformed);
        }
        if !cost.is_bounded() {
            return Err(
                "this hash costs too much: at most 256 MiB, 32 passes and 1 GiB of both together",
            );
        }
        let kept = Kept { algorithm, version, cost, salt: salt.into(), hash: hash.into() };
        kept.argon2().map(|_| kept.clone()).ok_or(malformed)
    }

    /// Keeps a password.
    ///
    /// # Errors
    /// The cost is one that Argon2 does not know, or that is not taken here.
    pub fn make(password: &[u8], salt: &[u8], cost: Cost) -> Result<String, &'static str> {
        let kept = Kept {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            cost,
            salt: salt.into(),
            hash: vec![0; HASH_BYTES].into(),
        };
        let argon2 = kept.argon2().filter(|_| cost.is_bounded());
        let argon2 = argon2.ok_or("Argon2 does not know such a cost, or it is too much")?;
        let mut hash = [0; HASH_BYTES];
        let made = argon2.hash_password_into(password, salt, &mut hash);
        made.map_err(|_| "a salt has at least 8 bytes")?;
        let Cost { memory_kib, passes, lanes } = cost;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}"))
    }

    /// Whether this is the password. Takes long and much memory: never on a core.
    pub fn is(&self, password: &[u8]) -> bool {
        let mut hash = vec![0; self.hash.len()];
        let done =
            self.argon2().map(|argon2| argon2.hash_password_into(password, &self.salt, &mut hash));
        matches!(done, Some(Ok(())))
            && constant_time::verify_slices_are_equal(&hash, &self.hash).is_ok()
    }

    /// What a check costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn argon2(&self) -> Option<Argon2<'static>> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(self.hash.len())).ok()?;
        Some(Argon2::new(self.algorithm, self.version, params))
    }
}

impl Cost {
    fn is_bounded(self) -> bool {
        let work = u64::from(self.memory_kib) * u64::from(self.passes);
        self.memory_kib <= PASSWORD_MEMORY_KIB_MAX
            && self.passes <= PASSWORD_PASSES_MAX
            && self.lanes <= LANES_MAX
            && work <= PASSWORD_WORK_KIB_MAX
    }
}

/// `m=19456,t=2,p=1`.
fn cost(text: &str) -> Option<Cost> {
    let mut parts = text.split(',');
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
    let cost = Cost { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
    parts.next().is_none().then_some(cost)
}

/// What came of a check, in its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody has come to it yet.
    Pending,
    /// It is the password.
    Right,
    /// It is not.
    Wrong,
    /// Nobody will come to it.
    Lost,
}

const RIGHT: u64 = 1;
const WRONG: u64 = 2;
const LOST: u64 = 3;

/// A check that a core waits for.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Word>);

impl Ticket {
    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        match self.0.load() {
            0 => Outcome::Pending,
            RIGHT => Outcome::Right,
            WRONG => Outcome::Wrong,
            _ => Outcome::Lost,
        }
    }
}

/// A password to check.
pub struct Job {
    kept: Arc<Kept>,
    /// Whether `kept` is that of the user; else the check only takes its time.
    own: bool,
    password: Box<[u8]>,
    word: Arc<Word>,
}

impl Job {
    /// Checks it, unless its ticket was given up: a flood of those who leave must not keep the others waiting.
    /// Takes long: never on a core.
    pub fn run(mut self) {
        if !self.is_wanted() {
            return;
        }
        let right = self.kept.is(&self.password) & self.own;
        self.wipe();
        self.word.store(if right { RIGHT } else { WRONG });
    }

    /// Whether its ticket is still held.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.word) > 1
    }

    fn wipe(&mut self) {
        self.password.fill(0);
        std::hint::black_box(&self.password);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.wipe();
        self.word.replace(0, LOST);
    }
}

/// Where cores bring passwords; one for the process, carried over reloads.
pub struct Desk {
    jobs: Sender<Job>,
    /// What cores remember credentials by.
    key: hmac::Key,
    /// One where checks are done at once: tests of a configuration have no other threads and no time that passes.
    at_once: Word,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("waiting", &self.jobs.len()).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk, and the other end of its queue. `key` must be random.
    pub fn new(key: &[u8]) -> (Desk, Receiver<Job>) {
        let (jobs, taken) = bounded(PASSWORD_QUEUE_MAX);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        (Desk { jobs, key, at_once: Word::new(0) }, taken)
    }

    /// Has checks done at once, by who asks.
    pub fn check_at_once(&self) {
        self.at_once.store(1);
    }

    /// What credentials are remembered by.
    pub fn mark(&self, credentials: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, credentials)
    }

    /// Has a password checked against `kept`, or, unless it is the user's `own`, seemingly so; `None` when too
    /// many are waiting.
    pub fn bring(&self, kept: Arc<Kept>, own: bool, password: &[u8]) -> Option<Ticket> {
        let word: Arc<Word> = Arc::default();
        let job = Job { kept, own, password: password.into(), word: word.clone() };
        if self.at_once.load() == 1 {
            job.run();
            return Some(Ticket(word));
        }
        self.jobs.try_send(job).ok().map(|()| Ticket(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the reference implementation (`argon2` of Debian 12).
    const REFERENCE: [(&str, &str); 2] = [
        (
            "hunter2 ä",
            "$argon2id$v=19$m=1024,t=2,p=1$c29tZXNhbHQxNmJ5dGVzIQ$NO1pvN5EjyZbneeouSFrqsi17nzt5PsGsTP76dRG+DY",
        ),
        (
            "pw",
            "$argon2i$v=19$m=1024,t=3,p=2$c29tZXNhbHQxNmJ5dGVzIQ$xvSU86WTxZa5BAHQpRH/Lb1OHnzyQNou95c2SceyB0U",
        ),
    ];
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    #[test]
    fn what_the_reference_made_is_known() {
        for (password, text) in REFERENCE {
            let kept = Kept::parse(text).unwrap();
            assert!(kept.is(password.as_bytes()), "{text}");
            assert!(!kept.is(b"hunter2") && !kept.is(b""), "{text}");
        }
    }

    #[test]
    fn what_is_made_is_known_again() {
        let text = Kept::make(b"secret", b"0123456789abcdef", CHEAP).unwrap();
        let kept = Kept::parse(&text).unwrap();
        assert!(kept.is(b"secret") && !kept.is(b"Secret"));
        assert!(!format!("{kept:?}").contains("salt"));
        assert!(Kept::make(b"x", b"0123456789abcdef", Cost { memory_kib: 1, ..CHEAP }).is_err());
        assert!(Kept::make(b"x", b"short", CHEAP).is_err());
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused_without_its_text() {
        let good = REFERENCE[0].1;
        for bad in [
            "",
            "hunter2",
            "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
            "$apr1$x$y",
            "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
            &good.replace("m=1024", "m=999999999"),
            &good.replace("t=2", "t=999"),
            &good.replace("t=2", "t=0"),
            &good.replace("m=1024,t=2", "m=262144,t=32"),
            &good.replace("p=1", "p=17"),
            &good.replace("v=19", "v=20"),
            &good.replace("p=1", "p=1,x=2"),
            &good.replace("c29tZXNhbHQxNmJ5dGVzIQ", "c29"),
            &format!("{good}$more"),
            &good.replace('+', "*"),
        ] {
            let error = Kept::parse(bad).expect_err(bad);
            assert!(bad.len() < 3 || !error.contains(bad));
        }
    }

    #[test]
    fn the_desk_takes_so_many_and_no_more_and_loses_nobody_silently() {
        let (desk, taken) = Desk::new(b"key");
        let kept = Arc::new(Kept::parse(REFERENCE[0].1).unwrap());
        let own = |own, password: &str| desk.bring(kept.clone(), own, password.as_bytes());
        let (right, wrong) = (own(true, REFERENCE[0].0).unwrap(), own(true, "x").unwrap());
        let stranger = own(false, REFERENCE[0].0).unwrap();
        assert_eq!(right.outcome(), Outcome::Pending);
        taken.try_iter().for_each(Job::run);
        assert_eq!(
            [right, wrong, stranger].map(|ticket| ticket.outcome()),
            [Outcome::Right, Outcome::Wrong, Outcome::Wrong]
        );
        let mut tickets: Vec<Ticket> =
            (0..PASSWORD_QUEUE_MAX).map(|_| own(true, "x").unwrap()).collect();
        assert!(own(true, "x").is_none(), "it is full");
        let job = taken.recv().unwrap();
        assert!(job.is_wanted());
        drop(tickets.swap_remove(0));
        assert!(!job.is_wanted(), "its ticket was given up");
        desk.check_at_once();
        assert_eq!(own(true, REFERENCE[0].0).unwrap().outcome(), Outcome::Right);
        drop((desk, taken));
        assert!(tickets.iter().all(|ticket| ticket.outcome() == Outcome::Lost));
    }
}
