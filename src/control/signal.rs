//! Signals, as values: TERM and INT stop, HUP reloads, USR1 opens logs again.
//!
//! A signal handler never does more than write one byte (signal-hook's own).

use std::io;
use std::thread;

use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Drain, then end; the second time, end at once.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Open log files again.
    ReopenLogs,
}

/// Starts to listen for signals.
///
/// # Errors
/// When a handler or the thread cannot be set up.
pub fn listen() -> io::Result<Receiver<Asked>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let (sender, receiver) = bounded(16);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let asked = match signal {
                SIGHUP => Asked::Reload,
                SIGUSR1 => Asked::ReopenLogs,
                _ => Asked::Stop,
            };
            if sender.send(asked).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
