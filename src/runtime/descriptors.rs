//! How many files and sockets the process may have open.
//!
//! It never lowers a limit: it takes what the hard limit allows, as nginx and HAProxy do.

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
