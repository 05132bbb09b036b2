//! Cores and affinity: which CPUs this process may use, pinning a thread to one, and work that gives way.
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

/// How far work that gives way stands behind a core: it gets a tenth of what a busy one has, and all of what is idle.
/// Unit: steps of setpriority(2).
const NICE: libc::c_int = 10;

/// Does `work` on a thread that gives way to the cores, and waits for it. Its CPU may be one that serves: at equal
/// rights what takes 100 ms would keep requests waiting for as long. A thread of its own, because whoever has stepped
/// back may not step forward again without privileges.
pub fn giving_way<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            step_back();
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(unsafe_code, reason = "setpriority(2) has no wrapper in std")]
fn step_back() {
    // SAFETY: it takes numbers only; 0 names the calling thread. Where it is refused, nothing is lost but the manners.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
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
