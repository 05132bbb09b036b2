//! What is special about a call of gRPC, as far as it goes from room to room.
//!
//! All of it is absent for every other request. It is never believed of a request that does not say by its media type
//! that it is such a call (grpc/doc/PROTOCOL-HTTP2.md, whose trailers are those of RFC 9113 §8.1).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::base::time::Instant;
use crate::http::grpc_web;

/// Marks of a call.
#[derive(Clone, Debug)]
pub struct Grpc {
    /// Whether it is a call of gRPC, in HTTP/2.
    pub is_call: bool,
    /// How it is translated, where it came in gRPC-Web to a route that does so.
    pub web: Option<grpc_web::Call>,
    /// When its client stops waiting, where it said so: for the end of the call, not for its beginning only.
    pub deadline: Instant,
    /// How long both sides may be silent, where it is a call that is sent on.
    pub silence: Option<Silence>,
    /// How it ended, once that is known; what is no code of gRPC is `UNKNOWN`.
    pub status: Option<u8>,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { is_call: false, web: None, deadline: Instant::NEVER, silence: None, status: None }
    }
}

impl Grpc {
    /// Whether it is a call, in whatever form.
    pub fn is_any(&self) -> bool {
        self.is_call || self.web.is_some()
    }
}

/// Silence of a call in both directions at once: one side may listen for hours while the other speaks.
#[derive(Clone, Debug)]
pub struct Silence {
    since: Rc<Cell<Instant>>,
    max: Duration,
}

impl Silence {
    /// From `now` on it may last as long as `max`.
    pub fn new(now: Instant, max: Duration) -> Self {
        Self { since: Rc::new(Cell::new(now)), max }
    }

    /// Somebody said something.
    pub fn broken(&self, now: Instant) {
        self.since.set(now);
    }

    /// How long it may last. Unit: time.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// When it will have lasted too long.
    pub fn until(&self) -> Instant {
        self.since.get() + self.max
    }
}
