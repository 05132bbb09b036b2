//! What every behaviour test stands on: our real binary, scripted origins and a client made of raw bytes.
//!
//! The gateway under test is always the built program in a process of its own, reached by sockets; nothing
//! here ever calls into the crate, so a test sees exactly what a user's client or origin sees. Waiting is
//! always for an event (a line, an answer, a connection, an exit) under one generous deadline, never for a
//! length of time, so that a slow machine makes a test slow and not red.

pub mod certs;
pub mod edge;
pub mod faults;
pub mod gateway;
pub mod golden;
pub mod h2_origin;
pub mod h2_wire;
pub mod message;
pub mod origin;
pub mod pebble;
pub mod redis;
pub mod seccomp;
pub mod tokens;
pub mod tunnel;
pub mod wire;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long any single wait of a test may take before it is called a failure.
///
/// Unit: seconds. Far beyond anything that happens on a healthy machine, so that it is only met by a bug.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `question` until it says yes; panics with `what` when patience ends.
///
/// For events that announce themselves nowhere (a line in a file, a socket that opens). The pause only
/// keeps the machine free for the program under test, no result depends on its length.
#[track_caller]
pub fn eventually(what: &str, mut question: impl FnMut() -> bool) {
    let started = Instant::now();
    while !question() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A gate that a test opens when the scripted side may go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits for the gate to open, or for the end of patience: a test that panics must not leave its
    /// origin waiting for ever.
    pub fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap());
    }
}
