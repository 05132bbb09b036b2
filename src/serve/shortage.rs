//! When descriptors or memory of the machine run out: what is idle is given up, and the operator is told
//! once that it began and once that it is over.
//!
//! It is never a reason to end: accepting waits a little and tries again, a request that cannot get a
//! connection to its origin is answered 503, and what is established is served on. accept(2) and socket(2)
//! name the errors: EMFILE (this process), ENFILE, ENOMEM, ENOBUFS (the machine).

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use crate::base::limits::GIVE_UP_BATCH_MAX;
use crate::base::time::Instant;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::clients::Whose;

/// A shortage is over when nothing has failed for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// What a core knows of a shortage.
#[derive(Default)]
pub struct Shortage {
    last: Cell<Option<Instant>>,
    why: RefCell<Option<io::Error>>,
    told: Cell<bool>,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It began: why.
    Begun(String),
    /// It is over.
    Over,
}

/// Whether an error means that this machine is short of something, and says nothing of a peer.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

impl Shortage {
    /// Something failed for want of descriptors or memory.
    pub fn note(&self, now: Instant, error: io::Error) {
        self.last.set(Some(now));
        if !self.told.get() {
            *self.why.borrow_mut() = Some(error);
        }
    }

    /// What is new; asked at the core's tick.
    pub fn news(&self, now: Instant) -> Option<News> {
        let last = self.last.get()?;
        if let Some(error) = self.why.take() {
            self.told.set(true);
            return Some(News::Begun(error.to_string()));
        }
        (now.since(last) >= OVER_AFTER).then(|| {
            self.last.set(None);
            self.told.set(false);
            News::Over
        })
    }
}

/// Gives up what is idle so that a client can be accepted: clients that are idle longest, a few at once
/// when many are idle; without any the connection to an origin that was kept longest. `false` when nothing
/// is idle here.
pub fn make_room_for_client<R: Runtime>(core: &Core<R>) -> bool {
    let batch = (core.clients.idle_count() / 8).clamp(1, GIVE_UP_BATCH_MAX);
    let given_up = (0..batch).take_while(|_| give_up_client(core, Whose::All)).count();
    given_up > 0 || core.installed().give_up_oldest()
}

/// Gives up one idle connection so that an origin can be connected to: first one to an origin, which no
/// client sees.
pub fn make_room_for_origin<R: Runtime>(core: &Core<R>) -> bool {
    core.installed().give_up_oldest() || give_up_client(core, Whose::All)
}

/// Gives up the client connection that is idle longest.
pub fn give_up_client<R: Runtime>(core: &Core<R>, whose: Whose<'_>) -> bool {
    let given_up = core.clients.give_up_oldest(whose, &core.deadlines);
    if given_up {
        core.metrics.connections_given_up.add(1);
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn emfile() -> io::Error {
        io::Error::from_raw_os_error(libc::EMFILE)
    }

    #[test]
    fn a_shortage_is_told_once_and_its_end_once() {
        let shortage = Shortage::default();
        assert_eq!(shortage.news(at(0)), None);
        shortage.note(at(1), emfile());
        shortage.note(at(2), emfile());
        assert!(
            matches!(shortage.news(at(3)), Some(News::Begun(why)) if why.contains("open files"))
        );
        shortage.note(at(900), emfile());
        assert_eq!(shortage.news(at(1500)), None, "it failed less than a second ago");
        assert_eq!(shortage.news(at(1900)), Some(News::Over));
        assert_eq!(shortage.news(at(5000)), None);
        shortage.note(at(6000), emfile());
        assert!(matches!(shortage.news(at(6001)), Some(News::Begun(_))), "a new one is told again");
    }

    #[test]
    fn what_a_peer_did_is_no_shortage() {
        assert!(is_shortage(&emfile()));
        assert!(!is_shortage(&io::ErrorKind::ConnectionAborted.into()));
    }
}
