//! The threads that check passwords: the other end of the desk (`policy/password.rs`).
//!
//! Few, because each check takes megabytes of memory and all of a processor on purpose, and a flood of wrong
//! passwords must leave the cores their time. They end when the last version of the gateway that has a desk is
//! gone. A check that panics must not end its thread: whoever waits for it is told that nobody will come.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam::channel::Receiver;

use crate::base::limits::PASSWORD_THREADS_MAX;
use crate::policy::password::Job;

/// Starts as many threads as a quarter of `cores`, at least one.
///
/// # Errors
/// A thread cannot be started.
pub fn start(taken: &Receiver<Job>, cores: usize) -> std::io::Result<()> {
    for _ in 0..(cores / 4).clamp(1, PASSWORD_THREADS_MAX) {
        let taken = taken.clone();
        thread::Builder::new().name("ringway-hash".to_owned()).spawn(move || {
            for job in taken {
                // The job's word says what came of it, even if it is dropped by a panic.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
            }
        })?;
    }
    Ok(())
}
