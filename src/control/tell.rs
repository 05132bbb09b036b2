//! Tells operators what happens: events, to standard error, from any thread of the control side.
//!
//! The data path never tells anything here.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::event::{Event, EventLog, Format, Level};
use crate::runtime::clock;

/// A handle to the one log of events.
#[derive(Clone, Debug)]
pub struct Tell {
    log: Arc<Mutex<EventLog>>,
    quiet: bool,
}

impl Tell {
    /// Events in this format; a quiet one leaves out what is as it should be.
    pub fn new(format: Format, quiet: bool) -> Self {
        Self { log: Arc::new(Mutex::new(EventLog::new(format))), quiet }
    }

    /// Tells an event.
    pub fn event(&self, event: &Event<'_>) {
        if self.quiet && event.level() == Level::Info {
            return;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // If standard error is gone there is nobody left to tell.
        let _ = log.tell(event, clock::now(), clock::wall(), &mut io::stderr());
    }
}
