//! A host as the doctor sees it: readings as plain values, and how they are read out of the kernel's texts.
//!
//! It never touches a file: `read.rs` brings the texts, so that a test can make up any host. A reading that is not
//! there is `None` and becomes "unknown", never a guess.

use std::collections::{BTreeMap, BTreeSet};

use crate::runtime::probe::{Refusal, RingFlags};

/// All readings.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The kernel's release: `6.1.0-31-amd64`.
    pub kernel: Option<String>,
    /// What came of trying to set up a ring.
    pub ring: Ring,
    /// Kernel settings by their names (sysctl(8)), as text.
    pub settings: BTreeMap<&'static str, String>,
    /// Gateways that run here.
    pub gateways: Vec<u32>,
    /// Of the process looked at: our own, or the one that `--pid` names.
    pub process: Process,
    /// Counters of the kernel's network code, by their names.
    pub counters: BTreeMap<String, u64>,
    /// Packets thrown away because a CPU's queue of packets was full, since the start of the host.
    pub packets_dropped: Option<u64>,
    /// Closed TCP connections whose ports are kept for a minute (TIME_WAIT).
    pub time_wait: Option<u64>,
    /// The clock of the kernel in use.
    pub clocksource: Option<String>,
    /// Those that it has.
    pub clocksources: Option<String>,
    /// Ways to choose the frequency of CPUs, each once.
    pub governors: Vec<String>,
    /// Huge pages for everybody: always, madvise or never.
    pub huge_pages: Option<String>,
    /// NUMA nodes that are online.
    pub nodes: Vec<Node>,
    /// Network cards; loopback and made-up ones are not among them.
    pub cards: Vec<Card>,
    /// Bounds of the control group.
    pub group: Group,
    /// Memory of the host. Unit: bytes.
    pub memory_bytes: Option<u64>,
    /// Whether this is a container, as far as one can see.
    pub container: bool,
    /// Whether systemd runs the host.
    pub systemd: bool,
    /// The text of ringway.service, where there is one.
    pub unit: Option<String>,
    /// Whether the limits for logins of `ringway` are as --fix writes them.
    pub limits_are_written: bool,
}

/// What came of trying to set up a ring.
#[derive(Clone, Debug, Default)]
pub enum Ring {
    /// Not tried: the readings are another host's.
    #[default]
    Untried,
    /// A ring with these flags.
    Made(RingFlags),
    /// No ring, and why.
    Refused(Refusal),
    /// The process that is looked at has one.
    Held,
    /// It has none.
    NotHeld,
    /// It is somebody else's, and does not show.
    Hidden,
}

/// A process and its bounds.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number, where `--pid` named it.
    pub id: Option<u32>,
    /// Files and sockets it may have open: soft and hard.
    pub nofile: Option<(u64, u64)>,
    /// Memory it may lock. Unit: bytes.
    pub memlock: Option<u64>,
    /// 0: no filter of system calls, 1: strict, 2: a filter.
    pub seccomp: Option<u64>,
    /// CPUs it may use.
    pub cpus: Vec<usize>,
    /// Whether it may do what kernel.io_uring_disabled = 1 refuses to others (CAP_SYS_ADMIN).
    pub is_admin: bool,
}

/// A network card.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// For each queue of arriving packets, whether RPS spreads them in software.
    pub arriving: Vec<bool>,
    /// For each queue of leaving packets, whether XPS binds it to CPUs; `None` where the driver has no such thing.
    pub leaving: Vec<Option<bool>>,
    /// Its interrupts that ever came.
    pub interrupts: Vec<Interrupt>,
    /// The NUMA node it is near to; negative: none.
    pub node: Option<i64>,
}

/// An interrupt and the CPUs that take it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// CPUs that take it.
    pub cpus: Vec<usize>,
}

/// A NUMA node and its CPUs.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its number.
    pub id: usize,
    /// CPUs near to its memory.
    pub cpus: Vec<usize>,
}

/// Bounds of the control group, the narrowest on the way to the root.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Where the bounds of each kind are read, and counted what they cost; `None`: they cannot be seen.
    pub cpu: Option<String>,
    /// The same for memory.
    pub memory: Option<String>,
    /// The same for threads and processes.
    pub tasks: Option<String>,
    /// Whether they are those of cgroup v1.
    pub is_old: bool,
    /// CPUs' worth of time, in thousandths; `None`: no bound.
    pub cpu_milli: Option<u64>,
    /// How often the group was stopped because its time was used up.
    pub throttled: Option<u64>,
    /// Memory. Unit: bytes.
    pub memory_bytes: Option<u64>,
    /// Processes that were killed for want of memory.
    pub killed: Option<u64>,
    /// Threads and processes.
    pub pids: Option<u64>,
}

/// The kernel settings that are looked at.
pub const SETTINGS: &[&str] = &[
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "kernel.io_uring_group",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
];

impl Host {
    /// A kernel setting as text, with one space between its parts.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A kernel setting as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }

    /// Major and minor version of the kernel.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.kernel.as_deref()?.split(['.', '-']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// "0-2,5" as 0, 1, 2, 5; what is no number is passed over, and numbers are bounded by the largest port: the kernel's
/// 8192 CPUs are fewer.
pub fn list(text: &str) -> Vec<usize> {
    let mut all = BTreeSet::new();
    for item in text.trim().split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            all.extend(first..=last.min(usize::from(u16::MAX)));
        }
    }
    all.into_iter().collect()
}

/// Whether a set of capabilities, as /proc/PID/status has it, holds CAP_SYS_ADMIN.
pub fn is_admin(mask: &str) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & SYS_ADMIN != 0)
}

/// Whether a mask of CPUs ("00000000,00000003") names any.
pub fn names_any(mask: &str) -> bool {
    mask.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
}

/// The row of /proc/PID/limits that begins with `name`: soft and hard; no bound is the largest number.
pub fn limit(limits: &str, name: &str) -> Option<(u64, u64)> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = rest.split_ascii_whitespace();
    let mut number = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    Some((number()?, number()?))
}

/// The value of a line "Name: value" of /proc/PID/status and of files like it.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(rest.trim())
}

/// The number behind a word in lines "word number", as in cpu.stat and memory.events.
pub fn counted(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The counters of /proc/net/netstat: pairs of lines, names above and values below.
pub fn counters(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let names = pair[0].split_ascii_whitespace().skip(1);
        let values = pair[1].split_ascii_whitespace().skip(1);
        all.extend(names.zip(values).filter_map(|(name, value)| {
            value.parse().ok().map(|value: u64| (name.to_owned(), value))
        }));
    }
    all
}

/// The second column of /proc/net/softnet_stat, hexadecimal, summed.
pub fn dropped(text: &str) -> u64 {
    let second = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(second).fold(0, u64::saturating_add)
}

/// How often each interrupt of /proc/interrupts came, on all CPUs together.
pub fn interrupts(text: &str) -> BTreeMap<u32, u64> {
    let cpus = text.lines().next().map_or(0, |line| line.split_ascii_whitespace().count());
    let row = |line: &str| {
        let (number, counts) = line.trim_start().split_once(':')?;
        let counts = counts.split_ascii_whitespace().take(cpus);
        let sum = counts.filter_map(|count| count.parse::<u64>().ok()).fold(0, u64::saturating_add);
        Some((number.parse().ok()?, sum))
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// The word in brackets: `always [madvise] never`.
pub fn chosen(text: &str) -> Option<&str> {
    Some(text.split_once('[')?.1.split_once(']')?.0)
}

/// cpu.max: "200000 100000" is two CPUs' worth of time, in thousandths; "max 100000" is no bound.
pub fn cpu_milli(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.saturating_mul(1000).checked_div(period)
}

/// 1048576 as "1.0 MiB".
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = count.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    match (unit, tenths % 10) {
        (0, _) | (_, 0) => format!("{} {}", tenths / 10, UNITS[unit]),
        (_, rest) => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(list("\n"), [0_usize; 0]);
        assert_eq!(list("33010-33012,33011"), [33_010, 33_011, 33_012]);
        assert!(is_admin("000001ffffffffff") && !is_admin("0000000000000400"));
        assert!(names_any("00000000,00000003\n") && !names_any("00000000,00000000\n"));
        let limits = "Limit   Soft  Hard  Units\nMax open files            1024                 524288               files\nMax locked memory         unlimited  unlimited bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some((1024, 524_288)));
        assert_eq!(limit(limits, "Max locked memory"), Some((u64::MAX, u64::MAX)));
        assert_eq!(field("Seccomp:\t2\nSeccomp_filters:\t1\n", "Seccomp"), Some("2"));
        assert_eq!(counted("nr_periods 3\nnr_throttled 2\n", "nr_throttled"), Some(2));
        let netstat = "TcpExt: A ListenOverflows\nTcpExt: 1 7\nIpExt: B\nIpExt: 2\n";
        assert_eq!(counters(netstat)["ListenOverflows"], 7);
        assert_eq!(dropped("00 0000000a 0\n00 00000001 0\n"), 11);
        let text = " CPU0 CPU1\n 41: 14864 2 PCI-MSIX virtio3-rx\nNMI: 0 0 x\n";
        assert_eq!(interrupts(text), BTreeMap::from([(41, 14_866)]));
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(cpu_milli("150000 100000\n"), Some(1500));
        assert_eq!(cpu_milli("max 100000\n"), None);
    }

    #[test]
    fn nonsense_is_no_reading_and_no_panic() {
        assert_eq!(limit("Max open files", "Max open files"), None);
        assert_eq!(cpu_milli("5 0"), None);
        assert_eq!(list("9-1,x,-,18446744073709551616"), [0_usize; 0]);
        assert!(list("0-99999999999").len() == 65_536);
        assert_eq!(dropped("zz\n\n"), 0);
        assert!(counters("one line").is_empty() && interrupts("").is_empty());
    }

    #[test]
    fn bytes_are_read_by_people() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(64 * 1024), "64 KiB");
        assert_eq!(bytes(1536 * 1024), "1.5 MiB");
    }
}
