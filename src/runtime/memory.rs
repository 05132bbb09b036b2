//! What memory the kernel gives to the process: small pages, never huge ones.
//!
//! An allocator that asks for huge pages (mimalloc does) makes the kernel hand out and clear 2 MiB for the
//! first byte of each: an idle process had 21 MiB in place of 6, 10,000 idle connections took twice their
//! size, and a burst spent half of its time on clearing pages that nobody used.

/// Keeps huge pages away from this process, where the kernel knows how (Linux 3.15, prctl(2)).
#[expect(unsafe_code, reason = "prctl(2) has no wrapper in std")]
pub fn use_small_pages() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this call takes numbers only. A kernel that refuses it leaves all as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}
