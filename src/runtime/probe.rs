//! Which driver can this host run? The ladder of ring flags, and the reason where io_uring is refused.
//!
//! monoio's own detection looks at plain rings only, so a ring with better flags could fail later; here
//! every rung is really tried (RUNTIME.md A.1, A.9), down to an operation that completes. It never leaves a ring open.

use std::fmt;
use std::io;

use io_uring::IoUring;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring where the host allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// The driver that a core's event loop runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with these setup flags.
    IoUring(RingFlags),
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUring(RingFlags::DeferTaskrun) => {
                f.write_str("io_uring (single_issuer, defer_taskrun)")
            }
            Self::IoUring(RingFlags::CoopTaskrun) => f.write_str("io_uring (coop_taskrun)"),
            Self::IoUring(RingFlags::Plain) => f.write_str("io_uring (no setup flags)"),
            Self::Epoll => f.write_str("epoll"),
        }
    }
}

/// Setup flags of a ring, best first: the first two measured 17 % cheaper than none (RUNTIME.md D.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFlags {
    /// IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN (Linux 6.1).
    DeferTaskrun,
    /// IORING_SETUP_COOP_TASKRUN (Linux 5.19).
    CoopTaskrun,
    /// None.
    Plain,
}

impl RingFlags {
    /// A ring builder with these flags.
    pub fn builder(self) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        match self {
            Self::DeferTaskrun => {
                builder.setup_single_issuer().setup_defer_taskrun();
            }
            Self::CoopTaskrun => {
                builder.setup_coop_taskrun();
            }
            Self::Plain => {}
        }
        builder
    }
}

/// Why io_uring cannot be used here, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What refuses.
    pub cause: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.fix)
    }
}

/// The best flags with which this host sets up a ring that works.
///
/// # Errors
/// The reason why no ring can be had at all.
pub fn ring_flags() -> Result<RingFlags, Refusal> {
    let mut last = Failure { call: "io_uring_setup", error: io::ErrorKind::Unsupported.into() };
    for flags in [RingFlags::DeferTaskrun, RingFlags::CoopTaskrun, RingFlags::Plain] {
        match use_ring(flags) {
            Ok(()) if monoio::utils::detect_uring() => return Ok(flags),
            Ok(()) => {
                let cause = "this kernel's io_uring lacks an operation that Ringway needs".into();
                return Err(Refusal { cause, fix: "use Linux 5.10 or later" });
            }
            Err(failure) => last = failure,
        }
    }
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = !status.lines().any(|line| line == "Seccomp:\t0");
    Err(refusal(&last, disabled.as_deref(), filtered))
}

/// A system call that failed.
pub struct Failure {
    /// Its name.
    pub call: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

/// Makes a ring, waits for an operation that does nothing, and asks what else there is. A filter may let rings be
/// made and not be used: a worker on such a ring would hang at its first wait and look alive.
#[expect(unsafe_code, reason = "an entry may name memory, which this one does not")]
fn use_ring(flags: RingFlags) -> Result<(), Failure> {
    let failed = |call| move |error| Failure { call, error };
    let mut ring = flags.builder().build(8).map_err(failed("io_uring_setup"))?;
    let nothing = io_uring::opcode::Nop::new().build();
    // SAFETY: the operation names no memory. A ring of eight that is empty has room for it.
    let _ = unsafe { ring.submission().push(&nothing) };
    ring.submit_and_wait(1).map_err(failed("io_uring_enter"))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(failed("io_uring_register"))
}

/// Why no ring can be had: `disabled` is the text of kernel.io_uring_disabled, and `filtered` says whether a seccomp
/// filter may stand in the way.
pub fn refusal(failure: &Failure, disabled: Option<&str>, filtered: bool) -> Refusal {
    let disabled = disabled.map_or("0", str::trim);
    let Failure { call, error } = failure;
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled != "0" => Refusal {
            cause: format!("io_uring is switched off: kernel.io_uring_disabled = {disabled}"),
            fix: "run `sysctl -w kernel.io_uring_disabled=0`, or put this user into the group of kernel.io_uring_group",
        },
        Some(libc::EPERM | libc::EACCES) if !filtered => Refusal {
            cause: format!(
                "{call}(2) is forbidden, and by no seccomp filter: a security module (SELinux, AppArmor) or a sandbox does it"
            ),
            fix: "look for the refusal in the kernel's log (`dmesg`, `ausearch -m avc`) and allow io_uring there",
        },
        Some(libc::EPERM | libc::EACCES) => Refusal {
            cause: format!(
                "{call}(2) is forbidden, as by the default seccomp profile of Docker and Kubernetes"
            ),
            fix: "run the container with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register",
        },
        Some(libc::ENOSYS) => Refusal {
            cause: format!(
                "{call}(2) does not exist here: the kernel is older than 5.1, built without it, or a sandbox hides it"
            ),
            fix: "use Linux 6.1 or later outside of such a sandbox",
        },
        Some(libc::ENOMEM) => Refusal {
            cause: format!("{call}(2) may not lock enough memory"),
            fix: "raise `ulimit -l` (LimitMEMLOCK= in systemd)",
        },
        _ => Refusal {
            cause: format!("{call}(2) failed: {error}"),
            fix: "use `--driver epoll`, and tell us",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(errno: i32) -> Failure {
        Failure { call: "io_uring_setup", error: io::Error::from_raw_os_error(errno) }
    }

    fn said(errno: i32, disabled: Option<&str>) -> String {
        refusal(&failure(errno), disabled, true).to_string()
    }

    #[test]
    fn every_refusal_names_its_own_cause_and_fix() {
        assert!(said(libc::EPERM, Some("2\n")).contains("kernel.io_uring_disabled = 2"));
        assert!(said(libc::EPERM, Some("0\n")).contains("seccomp"));
        assert!(said(libc::EPERM, None).contains("seccomp"));
        let unfiltered = refusal(&failure(libc::EACCES), None, false);
        assert!(unfiltered.cause.contains("SELinux") && !unfiltered.fix.contains("seccomp"));
        assert!(said(libc::ENOSYS, None).contains("older than 5.1"));
        assert!(said(libc::ENOMEM, None).contains("ulimit -l"));
        assert!(said(libc::EIO, None).contains("failed"));
    }
}
