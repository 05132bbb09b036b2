//! The kernel, io_uring and what may stand in its way, the clock, huge pages.
//!
//! It never tries anything: whether a ring can be had was found out before (`runtime/probe.rs`).

use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Item};
use crate::cli::doctor::host::{Host, Ring, bytes};
use crate::cli::doctor::process::drop_in;
use crate::runtime::probe::{Driver, RingFlags};

const KERNEL: Item = Item {
    name: "kernel",
    wanted: "Linux 6.1 or later",
    why: "io_uring's cheapest set-up (DEFER_TASKRUN) is there since 6.1, a weaker one since 5.19; 5.10 is the oldest on which Ringway uses io_uring at all. Elsewhere it runs on epoll.",
    verify: "uname -r; ringway version -v",
    risk: "A new kernel is a reboot, and everything on the host meets it.",
};

const IO_URING: Item = Item {
    name: "io_uring",
    wanted: "a ring with single_issuer and defer_taskrun",
    why: "One system call carries many operations. Without io_uring Ringway runs on epoll: slower, otherwise the same.",
    verify: "ringway version -v; the event driver_fallback at start",
    risk: "io_uring has had privilege escalations: on hosts that run strangers' programs epoll may be the better choice.",
};

const SECCOMP: Item = Item {
    name: "seccomp",
    wanted: "no filter of system calls, or one that lets io_uring pass",
    why: "Docker's, containerd's and Kubernetes' default profiles refuse io_uring_setup since the end of 2023.",
    verify: "grep Seccomp /proc/self/status (0: no filter, 2: a filter)",
    risk: "A profile that allows more protects less. Allow these three calls and nothing else; never `unconfined`.",
};

const MEMLOCK: Item = Item {
    name: "memlock",
    wanted: "1 MiB for each worker before Linux 5.12; since then it does not count",
    why: "Old kernels count the memory of rings against the limit of locked memory.",
    verify: "ulimit -l (KiB)",
    risk: "A program may lock so much memory that it cannot be swapped out.",
};

const CLOCK: Item = Item {
    name: "clocksource",
    wanted: "tsc, arch_sys_counter, or a hypervisor's clock that is read without a system call",
    why: "Ringway asks for the time several times a request. With hpet, acpi_pm or xen each is a system call, or a slow read of a device.",
    verify: "cat /sys/devices/system/clocksource/*/available_clocksource; dmesg | grep -i clocksource",
    risk: "The kernel gave tsc up for a reason, which dmesg names: an unstable one makes time jump.",
};

const HUGE_PAGES: Item = Item {
    name: "huge_pages",
    wanted: "anything: Ringway switches them off for itself",
    why: "Huge pages made an idle process 21 MiB in place of 6 in our tests, so Ringway tells the kernel not to use them for it (prctl PR_SET_THP_DISABLE).",
    verify: "grep THP_enabled /proc/$(pidof ringway)/status (0: off for it)",
    risk: "None: there is nothing to change.",
};

/// Oldest kernel on which SO_REUSEPORT, and so more than one worker, works.
const REUSEPORT: (u32, u32) = (3, 9);
/// Oldest kernel on which io_uring is used.
const RINGS: (u32, u32) = (5, 10);
/// From here on rings are not counted against the limit of locked memory.
const RINGS_UNCOUNTED: (u32, u32) = (5, 12);
/// The kernel with all that is wanted.
const BEST: (u32, u32) = (6, 1);
/// What the rings of one worker may weigh on kernels that count them. Unit: bytes.
const RING_BYTES: u64 = 1024 * 1024;

/// Clocks that are read without a system call (vDSO).
const FAST_CLOCKS: [&str; 4] =
    ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"];

pub(super) fn judge(host: &Host, demand: &Demand, out: &mut Vec<Finding>) {
    out.push(kernel(host));
    out.push(io_uring(host));
    out.push(seccomp(host));
    out.push(memlock(host, demand));
    out.push(clock(host));
    out.push(match &host.huge_pages {
        Some(value) => HUGE_PAGES.ok(value),
        None => HUGE_PAGES.ok("the kernel has none"),
    });
}

fn kernel(host: &Host) -> Finding {
    const UPGRADE: &str =
        "# install Linux 6.1 or later: Debian 12, Ubuntu 24.04 and RHEL 10 come with one";
    let Some(release) = &host.kernel else {
        return KERNEL.unknown("/proc/sys/kernel/osrelease cannot be read");
    };
    match host.version() {
        None => KERNEL.unknown(release),
        Some(version) if version >= BEST => KERNEL.ok(release),
        Some(version) if version >= REUSEPORT => KERNEL.advice(release, UPGRADE),
        Some(_) => KERNEL
            .problem(release, UPGRADE)
            .because("Several workers on one port need SO_REUSEPORT, which is there since 3.9."),
    }
}

const NEWER: &str = "# use Linux 6.1 or later";
const SWITCH_ON: &str = "sysctl -w kernel.io_uring_disabled=0";

fn io_uring(host: &Host) -> Finding {
    let old = host.version().is_some_and(|version| version < RINGS);
    let disabled = host.number("kernel.io_uring_disabled").unwrap_or(0);
    match &host.ring {
        Ring::Made(RingFlags::DeferTaskrun) => {
            IO_URING.ok(Driver::IoUring(RingFlags::DeferTaskrun).to_string())
        }
        Ring::Made(flags) => IO_URING.advice(Driver::IoUring(*flags).to_string(), NEWER),
        Ring::Refused(refusal) if disabled > 0 => IO_URING.advice(refusal.cause.clone(), SWITCH_ON),
        Ring::Refused(refusal) => {
            let found = IO_URING.advice(refusal.cause.clone(), format!("# {}", refusal.fix));
            // Of a filter that says that the call does not exist the kernel's error tells nothing.
            if host.process.seccomp == Some(2) && !old && refusal.fix.starts_with("use Linux") {
                found.because(HIDDEN)
            } else {
                found
            }
        }
        Ring::Untried if disabled > 0 => {
            IO_URING.advice(format!("not tried; kernel.io_uring_disabled = {disabled}"), SWITCH_ON)
        }
        Ring::Untried if old => IO_URING.advice("not tried; the kernel is too old", NEWER),
        Ring::Untried => IO_URING.unknown("not tried: these are the readings of another host"),
    }
}

const HIDDEN: &str = "This kernel is new enough and a filter of system calls is in force: it may be the filter that hides io_uring.";

fn seccomp(host: &Host) -> Finding {
    let refused = matches!(host.ring, Ring::Refused(_));
    let switched_off = host.number("kernel.io_uring_disabled").unwrap_or(0) != 0;
    let command = || match host.container {
        true => {
            "docker run --security-opt seccomp=ringway.json …   # made as tuning/README.md says"
                .to_owned()
        }
        false => {
            drop_in("io_uring", "SystemCallFilter=io_uring_setup io_uring_enter io_uring_register")
        }
    };
    match host.process.seccomp {
        None => SECCOMP.unknown("/proc/PID/status says nothing"),
        Some(0) => SECCOMP.ok("no filter"),
        Some(_) if refused && !switched_off => {
            SECCOMP.advice("a filter, and io_uring is refused", command())
        }
        Some(_) if matches!(host.ring, Ring::Made(_)) => {
            SECCOMP.ok("a filter that lets io_uring pass")
        }
        Some(_) => SECCOMP.unknown("a filter; whether it lets io_uring pass was not tried"),
    }
}

fn memlock(host: &Host, demand: &Demand) -> Finding {
    let Some(limit) = host.process.memlock else {
        return MEMLOCK.unknown("/proc/PID/limits says nothing");
    };
    let value = if limit == u64::MAX { "unlimited".to_owned() } else { bytes(limit) };
    let needed = RING_BYTES * demand.workers_on(&host.process.cpus) as u64;
    match host.version() {
        Some(version) if version < RINGS_UNCOUNTED && limit < needed => MEMLOCK.advice(
            value,
            match host.container {
                true => "docker run --ulimit memlock=67108864 …".to_owned(),
                false => drop_in("memlock", "LimitMEMLOCK=64M"),
            },
        ),
        _ => MEMLOCK.ok(value),
    }
}

fn clock(host: &Host) -> Finding {
    match host.clocksource.as_deref() {
        None => CLOCK.unknown("/sys/devices/system/clocksource cannot be read"),
        Some(name) if FAST_CLOCKS.contains(&name) => CLOCK.ok(name),
        Some(name) => CLOCK.advice(
            name,
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
    }
}
