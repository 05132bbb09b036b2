//! Cores and affinity: which CPUs this process may use, and pinning a thread to one.
//!
//! It never widens the affinity that the process was started with (taskset, cgroup cpuset).

use std::io;

/// The CPUs that this process may run on, in order.
#[expect(unsafe_code, reason = "sched_getaffinity(2) has no wrapper in std")]
pub fn allowed() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for writes of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result != 0 {
        return vec![0];
    }
    // SAFETY: CPU_ISSET reads within the set for indices below CPU_SETSIZE.
    let is_set = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_set).collect()
}

/// Pins the calling thread to one CPU.
///
/// # Errors
/// EINVAL when the CPU does not exist or is not allowed.
#[expect(unsafe_code, reason = "sched_setaffinity(2) has no wrapper in std")]
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero cpu_set_t is a valid empty set, and `cpu` is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: the pointer is valid for reads of the size given; 0 names the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's number of the calling thread.
#[expect(unsafe_code, reason = "gettid(2) has no wrapper in std")]
pub fn thread_id() -> u64 {
    // SAFETY: it takes nothing and cannot fail.
    let id = unsafe { libc::gettid() };
    u64::from(id.unsigned_abs())
}

/// Whether a thread of this process with this number is still there.
pub fn thread_exists(id: u64) -> bool {
    std::path::Path::new("/proc/self/task").join(id.to_string()).exists()
}
