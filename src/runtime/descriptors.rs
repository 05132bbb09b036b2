//! How many files and sockets the process may have open, and some that are kept for the operator.
//!
//! It never lowers a limit: it takes what the hard limit allows, as nginx and HAProxy do.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Raises the soft limit of descriptors to the hard one; returns what holds afterwards.
#[expect(unsafe_code, reason = "getrlimit(2) and setrlimit(2) have no wrapper in std")]
pub fn raise_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the pointer is valid for reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        limit = wanted;
    }
    limit.rlim_cur
}

/// Descriptors that are held for nothing, to be given up by somebody who needs one when none is left: whoever watches
/// the process must get an answer just when it is short of them, or it is ended for being busy.
#[derive(Debug)]
pub struct Reserve {
    /// What the others are copies of: /dev/null, or nothing where it cannot be opened.
    nothing: Option<File>,
    spares: Mutex<Vec<OwnedFd>>,
    spares_max: usize,
}

impl Reserve {
    /// Holds `spares_max` descriptors, or as many as there are.
    pub fn new(spares_max: usize) -> Self {
        let nothing = File::open("/dev/null").ok();
        let reserve = Self { nothing, spares: Mutex::default(), spares_max };
        reserve.refill();
        reserve
    }

    /// Frees one descriptor; whether there was one to free.
    pub fn give_up(&self) -> bool {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop().is_some()
    }

    /// Takes descriptors until there are enough, or none is left.
    pub fn refill(&self) {
        let Some(nothing) = &self.nothing else { return };
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        while spares.len() < self.spares_max {
            let Ok(spare) = nothing.as_fd().try_clone_to_owned() else { return };
            spares.push(spare);
        }
    }

    /// Closes what `fd` is and keeps its place, without a moment in which somebody else might take it.
    #[expect(unsafe_code, reason = "dup3(2) has no wrapper in std")]
    pub fn take_back(&self, fd: OwnedFd) {
        let Some(nothing) = &self.nothing else { return };
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() >= self.spares_max {
            return;
        }
        // SAFETY: both descriptors are open and owned here; the second one becomes a copy of the first.
        if unsafe { libc::dup3(nothing.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) } >= 0 {
            spares.push(fd);
        }
    }
}

/// Whether an operation failed because the process, or the host, has no descriptors left.
pub fn is_shortage(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_taken_back_is_closed_and_its_place_is_kept() {
        use std::io::Read;
        use std::os::unix::net::UnixStream;
        let reserve = Reserve::new(2);
        assert!(reserve.give_up());
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let place = far.as_raw_fd();
        reserve.take_back(far.into());
        assert_eq!(near.read(&mut [0]).expect("the other end is closed"), 0);
        let spares = reserve.spares.lock().expect("not poisoned");
        assert_eq!(spares.len(), 2);
        assert_eq!(spares[1].as_raw_fd(), place);
        drop(spares);
        assert!(reserve.give_up() && reserve.give_up() && !reserve.give_up());
        reserve.refill();
        assert!(reserve.give_up() && reserve.give_up() && !reserve.give_up());
    }
}
