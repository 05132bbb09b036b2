//! What is recorded of one try at one endpoint: for the access log, metrics and per-part timings.
//!
//! A record never decides anything; it is written by `serve/attempt.rs` and read by `observe`.

use std::cell::RefCell;
use std::net::SocketAddr;

use crate::base::ids::{EndpointId, UpstreamId};
use crate::base::limits::ATTEMPTS_RECORDED_MAX;
use crate::base::time::Instant;
use crate::exchange::fault::FaultKind;
use crate::exchange::marks::LimitMarks;
use crate::http::Status;

/// One try at one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Which part of a merge it was for, by index in the plan; `None` for a forwarded request.
    pub part: Option<u16>,
    /// The upstream.
    pub upstream: UpstreamId,
    /// The endpoint chosen, if one was.
    pub endpoint: Option<EndpointId>,
    /// Its address; `None` for a Unix socket or when none was chosen.
    pub address: Option<SocketAddr>,
    /// Whether a kept connection was used.
    pub reused: bool,
    /// Whether it was a stream of HTTP/2.
    pub http2: bool,
    /// The origin's status, if it answered.
    pub status: Option<Status>,
    /// What went wrong, if anything did.
    pub fault: Option<FaultKind>,
    /// Why the origin's handshake came to nothing, in one word of a closed set, for the log; empty where it did not.
    pub why: &'static str,
    /// When the attempt began.
    pub begun: Instant,
    /// When a connection was ready.
    pub connected: Option<Instant>,
    /// When the response head was complete.
    pub answered: Option<Instant>,
    /// When the last byte of the body was here.
    pub done: Option<Instant>,
    /// Bytes of the response, head included.
    pub bytes: u64,
    /// What the limits of the upstream said.
    pub limits: LimitMarks,
    /// What became of it, if it was a second try beside one that was late.
    pub hedge: Option<Hedge>,
    /// Whether it was given up because its answer was not needed any more: another try's was here first, the
    /// merge had failed, or the client was gone.
    pub cancelled: bool,
}

/// What became of a second try beside one that was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hedge {
    /// Its answer was not used.
    Lost,
    /// It was.
    Won,
}

impl Hedge {
    /// Both, in the order of their numbers.
    pub const ALL: [Hedge; 2] = [Self::Lost, Self::Won];
}

/// All attempts of an exchange whose calls run side by side: each enters its own when it is over, or dropped.
#[derive(Debug, Default)]
pub struct Ledger(RefCell<Vec<Attempt>>);

impl Ledger {
    /// An empty one, written into this list.
    pub fn of(mut attempts: Vec<Attempt>) -> Self {
        attempts.clear();
        Self(RefCell::new(attempts))
    }

    /// Enters an attempt; beyond the bound it is left out.
    pub fn enter(&self, attempt: Attempt) {
        let mut attempts = self.0.borrow_mut();
        if attempts.len() < ATTEMPTS_RECORDED_MAX {
            attempts.push(attempt);
        }
    }

    /// Looks at all that were entered so far.
    pub fn read<T>(&self, look: impl FnOnce(&[Attempt]) -> T) -> T {
        look(&self.0.borrow())
    }

    /// The attempts, in order of beginning.
    pub fn close(self) -> Vec<Attempt> {
        let mut attempts = self.0.into_inner();
        attempts.sort_unstable_by_key(|attempt| (attempt.begun, attempt.part));
        attempts
    }
}
