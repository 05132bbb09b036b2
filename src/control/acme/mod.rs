//! Certificates that are obtained and renewed while the process runs (RFC 8555), on a thread of their own.
//!
//! Replicas share a folder: whoever gets its lock obtains, all others read, and every replica answers the challenges that
//! lie there. A certificate is taken into use by the watch over files, as any other; this thread never touches what
//! cores show. It never asks an authority more often than `schedule` says, whoever restarts or reloads: what came of
//! attempts lies in the folder, too.

mod ca;
mod schedule;
mod store;
mod web;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::base::limits::{ACME_LIMITED_PAUSE_SECS, ACME_LOOK_EVERY};
use crate::base::random::Rng;
use crate::compile::{AcmeOrder, AcmePlan};
use crate::control::acme::ca::{Dialogue, Trouble, unwritable};
use crate::control::acme::schedule::{Cause, Held};
use crate::control::acme::store::{Past, Store};
use crate::control::tell::Tell;
use crate::observe::event::Event;
use crate::observe::prometheus::Obtained;
use crate::runtime::{clock, entropy};
use crate::tls::certificate::hex;
use crate::tls::challenge::Challenge;

/// How many looks for challenges there are between two looks at certificates.
const LOOKS_PER_ROUND: u32 = 4;

/// The thread, and what it found out.
pub struct Acme {
    wake: Option<Sender<()>>,
    next: Arc<Mutex<Option<Next>>>,
    tell: Tell,
    board: Arc<Board>,
}

/// What is to be obtained from now on, if anything is. Only the last one counts.
struct Next(Option<AcmePlan>);

/// What metrics show.
#[derive(Default)]
pub struct Board(Mutex<Vec<Obtained>>);

impl Board {
    /// A line for each certificate.
    pub fn lines(&self) -> Vec<Obtained> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, lines: Vec<Obtained>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }
}

impl Acme {
    /// Nothing to obtain yet.
    pub fn new(tell: Tell, board: Arc<Board>) -> Self {
        Self { wake: None, next: Arc::default(), tell, board }
    }

    /// What is to be obtained from now on; the thread starts with the first plan.
    pub fn follow(&mut self, plan: Option<&AcmePlan>) {
        if self.wake.is_none() && plan.is_none() {
            return;
        }
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Next(plan.cloned()));
        // One wake is enough for all plans that came meanwhile.
        let gone = self
            .wake
            .as_ref()
            .is_none_or(|wake| matches!(wake.try_send(()), Err(TrySendError::Disconnected(()))));
        if gone && let Err(error) = self.start() {
            let why = &format!("no thread can be started: {error}");
            let again_in = Duration::ZERO;
            self.tell.event(&Event::AcmeFailed { hosts: "any host", why, again_in });
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let (wake, woken) = bounded(1);
        let (tell, board, next) = (self.tell.clone(), self.board.clone(), self.next.clone());
        let thread = std::thread::Builder::new().name("ringway-acme".to_owned());
        thread.spawn(move || {
            let rng = Rng::new(entropy::seed());
            Keeper { woken, next, tell, board, rng, work: None }.run();
        })?;
        self.wake = Some(wake);
        Ok(())
    }
}

/// What the thread works on.
struct Work {
    plan: AcmePlan,
    store: Option<Store>,
    certificates: Vec<Certificate>,
    /// The challenges that cores answer.
    in_flight: Vec<Challenge>,
}

/// One certificate as it was seen last.
struct Certificate {
    order: AcmeOrder,
    held: Option<Held>,
    past: Past,
    /// What tells whether its two files changed since.
    seen: Option<[Stamp; 2]>,
}

type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

impl Certificate {
    /// Notes that an attempt begins, as if it had failed already: a process that dies in the middle of each one must
    /// not ask without end. It shows as well whether the storage can be written, before anything is asked.
    fn write_ahead(&self, store: &Store, now: u64, dice: u64) -> io::Result<()> {
        let mut past = self.past.clone();
        past.failures = past.failures.saturating_add(1);
        past.again_at = now + schedule::pause(Cause::Away, past.failures, None, dice);
        store.keep_past(&self.order.name, &past)
    }
}

struct Keeper {
    woken: Receiver<()>,
    next: Arc<Mutex<Option<Next>>>,
    tell: Tell,
    board: Arc<Board>,
    rng: Rng,
    work: Option<Work>,
}

impl Keeper {
    /// Until the process drops its side.
    fn run(mut self) {
        let mut looks: u32 = 0;
        loop {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Next(plan)) = next {
                self.take(plan);
                looks = 0;
            }
            let now = clock::wall().as_secs();
            if let Some(work) = &mut self.work {
                work.answer_challenges(now);
            }
            if looks.is_multiple_of(LOOKS_PER_ROUND) {
                self.round(now);
            }
            looks = looks.wrapping_add(1);
            match self.woken.recv_timeout(ACME_LOOK_EVERY) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, plan: Option<AcmePlan>) {
        if let Some(before) = self.work.take() {
            // What the next plan has in flight it publishes itself.
            let _ = before.plan.challenges.publish(&[]);
        }
        self.work = plan.map(|plan| {
            let one = |order: &AcmeOrder| Certificate {
                order: order.clone(),
                held: None,
                past: Past::default(),
                seen: None,
            };
            let certificates = plan.orders.iter().map(one).collect();
            Work { plan, store: None, certificates, in_flight: Vec::new() }
        });
        if self.work.is_none() {
            self.board.show(Vec::new());
        }
    }

    /// Looks at every certificate, and obtains those that are due.
    fn round(&mut self, now: u64) {
        let Some(work) = &mut self.work else { return };
        if work.store.is_none() {
            work.store = Store::open(&work.plan.storage).ok();
        }
        for index in 0..work.certificates.len() {
            work.look(index);
            if work.due_at(index, now) > now {
                continue;
            }
            let dice = self.rng.bits();
            let Some(came) = work.attempt(index, dice, &self.tell) else { continue };
            self.board.show(work.lines());
            let hosts = &work.certificates[index].order.hosts.join(", ");
            match came {
                Came::Obtained { until } => {
                    let holds = Duration::from_secs(until.saturating_sub(now));
                    self.tell.event(&Event::AcmeObtained { hosts, holds });
                }
                Came::Failed { why, again_in, held_for } => {
                    let again_in = Duration::from_secs(again_in);
                    self.tell.event(&match held_for {
                        None => Event::AcmeFailed { hosts, why: &why, again_in },
                        Some(left) => {
                            let left = Duration::from_secs(left);
                            Event::AcmeNotRenewed { hosts, why: &why, again_in, left }
                        }
                    });
                }
            }
            if !self.woken.is_empty() {
                // Another plan waits: what is due may be something else.
                return;
            }
        }
        self.board.show(work.lines());
    }
}

/// What came of an attempt.
enum Came {
    Obtained { until: u64 },
    Failed { why: String, again_in: u64, held_for: Option<u64> },
}

impl Work {
    /// Has cores answer what lies in the storage.
    fn answer_challenges(&mut self, now: u64) {
        let Some(store) = &self.store else { return };
        let lying = store.challenges_in_flight(now);
        if lying != self.in_flight {
            // One whose certificate cannot be made fails at the authority, which says so.
            let _ = self.plan.challenges.publish(&lying);
            self.in_flight = lying;
        }
    }

    /// Reads what the storage has for a certificate, if it changed.
    fn look(&mut self, index: usize) {
        let Some(store) = &self.store else { return };
        let one = &mut self.certificates[index];
        let name = one.order.name.as_str();
        let seen = [stamp(&store.certificate_path(name)), stamp(&store.past_path(name))];
        if one.seen == Some(seen) {
            return;
        }
        one.seen = Some(seen);
        one.held = held(store, name);
        if seen[1].is_some() {
            one.past = store.past(name);
        }
    }

    fn due_at(&self, index: usize, now: u64) -> u64 {
        let one = &self.certificates[index];
        schedule::due_at(one.held, self.plan.renew_before, one.past.again_at, now)
    }

    /// Obtains a certificate, unless somebody else does, or has.
    fn attempt(&mut self, index: usize, dice: u64, tell: &Tell) -> Option<Came> {
        let opened = match self.store.take() {
            Some(store) => Ok(store),
            None => Store::open(&self.plan.storage),
        };
        let begun = clock::wall().as_secs();
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                let trouble = Trouble::away(unwritable(&self.plan, &error));
                return Some(self.failed(index, trouble, dice, begun));
            }
        };
        let store = self.store.insert(store);
        let _lock = match store.lock() {
            Ok(Some(lock)) => lock,
            Ok(None) => return None,
            Err(error) => {
                let trouble = Trouble::away(unwritable(&self.plan, &error));
                return Some(self.failed(index, trouble, dice, begun));
            }
        };
        // Whoever had the lock before may have obtained it, or failed.
        store.clear_challenges();
        self.look(index);
        if self.due_at(index, begun) > begun {
            return None;
        }
        let store = self.store.as_ref()?;
        if let Err(error) = self.certificates[index].write_ahead(store, begun, dice) {
            let trouble = Trouble::away(unwritable(&self.plan, &error));
            return Some(self.failed(index, trouble, dice, begun));
        }
        let account = &account_name(&self.plan.directory);
        let dialogue = Dialogue { plan: &self.plan, store, account };
        let Certificate { order, held, past, .. } = &self.certificates[index];
        if past.failures == 0 {
            tell.event(&Event::AcmeBegun {
                hosts: &order.hosts.join(", "),
                from: &self.plan.directory,
                challenge: self.plan.challenge.word(),
                held: held.is_some(),
            });
        }
        let got = dialogue.obtain(order).and_then(|text| {
            let kept = store.keep_certificate(&order.name, &text);
            // The authority has given one, and counts it: the next is not asked for within seconds.
            kept.map_err(|error| Trouble::refused(unwritable(&self.plan, &error)))
        });
        self.in_flight.clear();
        let now = clock::wall().as_secs();
        Some(match got {
            Ok(()) => self.succeeded(index, now),
            Err(trouble) => self.failed(index, trouble, dice, now),
        })
    }

    fn succeeded(&mut self, index: usize, now: u64) -> Came {
        let one = &mut self.certificates[index];
        one.past =
            Past { failures_total: one.past.failures_total, last_success: now, ..Past::default() };
        if let Some(store) = &self.store {
            one.held = held(store, &one.order.name);
            let due = schedule::due_at(one.held, self.plan.renew_before, 0, now);
            if due <= now {
                // A clock that is wrong, ours or the authority's, is no reason to ask without end.
                one.past.again_at = now + ACME_LIMITED_PAUSE_SECS;
            }
            // What cannot be kept is known to this replica at least.
            let _ = store.keep_past(&one.order.name, &one.past);
        }
        let until = one.held.map_or(now, |held| held.not_after);
        Came::Obtained { until }
    }

    fn failed(&mut self, index: usize, trouble: Trouble, dice: u64, now: u64) -> Came {
        let one = &mut self.certificates[index];
        let past = &mut one.past;
        past.failures = past.failures.saturating_add(1);
        past.failures_total = past.failures_total.saturating_add(1);
        let again_in = schedule::pause(trouble.cause, past.failures, trouble.asked, dice);
        past.again_at = now + again_in;
        // Without a bound the file would be too large to be read, and the pause forgotten.
        let why = ca::cut(&trouble.why).to_owned();
        past.why.clone_from(&why);
        if let Some(store) = &self.store {
            let _ = store.keep_past(&one.order.name, past);
        }
        let held_for = one.held.map(|held| held.not_after.saturating_sub(now));
        Came::Failed { why, again_in, held_for: held_for.filter(|left| *left > 0) }
    }

    fn lines(&self) -> Vec<Obtained> {
        let one = |one: &Certificate| Obtained {
            name: one.order.hosts.first().cloned().unwrap_or_default(),
            not_after: one.held.map(|held| held.not_after),
            last_success: one.past.last_success,
            failures: one.past.failures_total,
        };
        self.certificates.iter().map(one).collect()
    }
}

/// How long a stored certificate holds; nothing for one that cannot be used.
fn held(store: &Store, name: &str) -> Option<Held> {
    let facts = store.certificate(name).ok()?.facts;
    let mut dice = [0; 8];
    dice.copy_from_slice(&facts.sha256[..8]);
    let dice = u64::from_be_bytes(dice);
    Some(Held { not_before: facts.not_before, not_after: facts.not_after, dice })
}

/// The file of the account at an authority.
fn account_name(directory: &str) -> String {
    let host = directory.split('/').nth(2).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let host: String = host.chars().map(plain).collect();
    format!("{host}-{}", hex(&digest(&SHA256, directory.as_bytes()).as_ref()[..6]))
}
