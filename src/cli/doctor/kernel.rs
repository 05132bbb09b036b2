//! The kernel, io_uring and what may stand in its way, the clock, huge pages.
//!
//! It never tries anything: whether a ring can be had was found out before (`runtime/probe.rs`).

use crate::cli::doctor::command::drop_in;
use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Item};
use crate::cli::doctor::host::{Host, Ring, bytes};
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
    verify: "grep THP_enabled /proc/$(pidof -s ringway)/status (0: off for it)",
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

/// Clocks that are read without a system call (vDSO), the best first.
const FAST_CLOCKS: [&str; 4] =
    ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"];
/// Where the kernel's clock is chosen.
const CLOCK_PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

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

/// The commands that let the gateway have rings, and nobody else who is not an administrator.
fn let_in(host: &Host) -> String {
    if host.container {
        return "sysctl -w kernel.io_uring_disabled=0   # on the machine that runs the container"
            .to_owned();
    }
    let group = "$(getent group io_uring | cut -d: -f3)";
    let keys = format!("kernel.io_uring_group={group} kernel.io_uring_disabled=1");
    let join = match host.systemd {
        true => drop_in("io_uring_group", "SupplementaryGroups=io_uring"),
        false => "usermod -aG io_uring ringway".to_owned(),
    };
    format!(
        "getent group io_uring || groupadd --system io_uring\nsysctl -w {keys}\nprintf '%s\\n' {keys} > /etc/sysctl.d/62-ringway-io_uring.conf   # for the next start\n{join}"
    )
}

fn io_uring(host: &Host) -> Finding {
    let old = host.version().is_some_and(|version| version < RINGS);
    let disabled = host.number("kernel.io_uring_disabled").unwrap_or(0);
    match &host.ring {
        // An administrator may, but the gateway is none.
        Ring::Made(flags) if disabled == 1 && host.process.is_admin => IO_URING
            .advice(format!("{}, for root only", Driver::IoUring(*flags)), let_in(host))
            .because(GROUP_ONLY),
        Ring::Made(RingFlags::DeferTaskrun) => {
            IO_URING.ok(Driver::IoUring(RingFlags::DeferTaskrun).to_string())
        }
        Ring::Made(flags) => IO_URING.advice(Driver::IoUring(*flags).to_string(), NEWER),
        Ring::Refused(refusal) if disabled > 0 => {
            IO_URING.advice(refusal.cause.clone(), let_in(host))
        }
        Ring::Refused(refusal) => {
            let found = IO_URING.advice(refusal.cause.clone(), format!("# {}", refusal.fix));
            // Of a filter that says that the call does not exist the kernel's error tells nothing.
            if host.process.seccomp == Some(2) && !old && refusal.fix.starts_with("use Linux") {
                found.because(HIDDEN)
            } else {
                found
            }
        }
        Ring::Held | Ring::NotHeld | Ring::Hidden => io_uring_of(host, disabled),
        Ring::Untried if disabled > 0 => {
            let value = format!("not tried; kernel.io_uring_disabled = {disabled}");
            IO_URING.advice(value, let_in(host))
        }
        Ring::Untried if old => IO_URING.advice("not tried; the kernel is too old", NEWER),
        Ring::Untried => IO_URING.unknown("not tried: these are the readings of another host"),
    }
}

/// Of a process that runs: what it has, whatever we ourselves could have.
fn io_uring_of(host: &Host, disabled: u64) -> Finding {
    let id = host.process.id.unwrap_or_default();
    match host.ring {
        Ring::Held => IO_URING.ok(format!("process {id} has rings")),
        Ring::NotHeld if disabled > 0 => {
            let value =
                format!("process {id} has no ring; kernel.io_uring_disabled = {disabled}");
            IO_URING.advice(value, let_in(host))
        }
        Ring::NotHeld => IO_URING.advice(
            format!("process {id} has no ring"),
            "# its event driver_fallback names the cause and the fix, unless it was started with --driver epoll",
        ),
        _ => IO_URING.unknown(format!("process {id} is somebody else's: look as root")),
    }
}

const GROUP_ONLY: &str = "kernel.io_uring_disabled = 1 refuses io_uring to all but administrators and the group that kernel.io_uring_group names, and the gateway does not run as root.";

const HIDDEN: &str = "This kernel is new enough and a filter of system calls is in force: it may be the filter that hides io_uring.";

fn seccomp(host: &Host) -> Finding {
    let refused = matches!(host.ring, Ring::Refused(_) | Ring::NotHeld);
    let switched_off = host.number("kernel.io_uring_disabled").unwrap_or(0) != 0;
    match host.process.seccomp {
        None => SECCOMP.unknown("/proc/PID/status says nothing"),
        Some(0) => SECCOMP.ok("no filter"),
        Some(_) if refused && !switched_off => match host.ring {
            Ring::NotHeld => SECCOMP.advice("a filter, and no ring", allow(host)),
            _ => SECCOMP.advice("a filter, and io_uring is refused", allow(host)),
        },
        Some(_) if matches!(host.ring, Ring::Made(_) | Ring::Held) => {
            SECCOMP.ok("a filter that lets io_uring pass")
        }
        Some(_) => SECCOMP.unknown("a filter; whether it lets io_uring pass was not tried"),
    }
}

/// The commands that let io_uring pass a filter. A list of calls where there was none would let nothing else pass.
fn allow(host: &Host) -> String {
    const CALLS: &str = "SystemCallFilter=io_uring_setup io_uring_enter io_uring_register";
    if host.container {
        return "docker run --security-opt seccomp=ringway.json …   # made as tuning/README.md says"
            .to_owned();
    }
    match host.unit.as_deref().is_some_and(|unit| unit.contains("\nSystemCallFilter=")) {
        true => drop_in("io_uring", CALLS),
        false => {
            "# whoever started the process set it: allow io_uring_setup, io_uring_enter and io_uring_register there"
                .to_owned()
        }
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
    let Some(name) = host.clocksource.as_deref() else {
        return CLOCK.unknown("/sys/devices/system/clocksource cannot be read");
    };
    if FAST_CLOCKS.contains(&name) {
        return CLOCK.ok(name);
    }
    let all = host.clocksources.as_deref().unwrap_or("tsc");
    let has = |fast: &&&str| all.split_ascii_whitespace().any(|one| one == **fast);
    match FAST_CLOCKS.iter().find(has) {
        Some(fast) => CLOCK.advice(
            name,
            format!(
                "echo {fast} > {CLOCK_PATH}   # clocksource={fast} on the kernel's command line keeps it"
            ),
        ),
        None => CLOCK.advice(name, "# this host has no faster one: dmesg | grep -i clocksource says why"),
    }
}
