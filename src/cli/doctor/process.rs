//! Threads and open files: what the process may have, against what the configuration lets in.
//!
//! The sums are those by which the gateway itself starts (`control/cpus.rs`), never a second version of them.

use crate::cli::doctor::command::{drop_in, set_for_all};
use crate::cli::doctor::demand::{Demand, UNIT_LIMIT};
use crate::cli::doctor::files::{LIMITS_PATH, UNIT_PATH};
use crate::cli::doctor::finding::{Change, Finding, Item};
use crate::cli::doctor::host::Host;
use crate::compile::Workers;
use crate::control::cpus::connections_of_one;

const WORKERS: Item = Item {
    name: "workers",
    wanted: "at most one for each CPU that the process may use",
    why: "Each worker is a thread that is pinned to a CPU of its own. More of them share CPUs and are not pinned.",
    verify: "grep Cpus_allowed_list /proc/self/status; the event `started`",
    risk: "None; a reload does not change the number of workers, a restart does.",
};

const NOFILE: Item = Item {
    name: "nofile",
    wanted: "",
    why: "A connection is an open file. Ringway raises its soft limit to the hard one; of that, less 48, three quarters are for clients and the rest for origins.",
    verify: "grep 'open files' /proc/$(pidof -s ringway)/limits; process_open_fds in /metrics",
    risk: "None for others: only this process may have more.",
};

const FILES: Item = Item {
    name: "file_max",
    wanted: "fs.file-max and fs.nr_open above the limit of open files that is wanted",
    why: "fs.nr_open bounds the limit of one process, fs.file-max the open files of the whole host.",
    verify: "cat /proc/sys/fs/file-nr (in use, free, most)",
    risk: "Kernel memory: about 1 KiB for each file that is really open.",
};

const UNIT: Item = Item {
    name: "unit",
    wanted: "a unit of systemd with the limits and the confinement of tuning/ringway.service",
    why: "It checks the configuration before a start, reloads without a cut, leaves time to drain, raises the limit of open files and takes away what a gateway does not need.",
    verify: "systemd-analyze verify ringway.service; systemd-analyze security ringway.service",
    risk: "None until it is started: --fix writes it and does not enable it. It expects /usr/local/bin/ringway and /etc/ringway.",
};

/// A line of the configuration.
const AUTO: &str = "workers = \"auto\"   # in the configuration";

/// Below this a small site already runs out: what a login has without any setting, and a bit more.
const NOFILE_LEAST: u64 = 4096;

pub(super) fn judge(host: &Host, demand: &Demand, out: &mut Vec<Finding>) {
    out.push(workers(host, demand));
    out.push(nofile(host, demand));
    out.push(files(host, demand));
    out.push(unit(host, demand));
}

fn workers(host: &Host, demand: &Demand) -> Finding {
    let cpus = &host.process.cpus;
    if cpus.is_empty() {
        return WORKERS.unknown("/proc/PID/status says nothing about CPUs");
    }
    let count = demand.workers_on(cpus);
    let value = format!("{count} on {}", counted(cpus.len() as u64, "CPU"));
    match &demand.workers {
        Workers::Cores(cores) => match cores.iter().find(|core| !cpus.contains(core)) {
            Some(core) => WORKERS.problem(format!("CPU {core} may not be used"), AUTO).because(
                "The gateway does not start with a CPU that taskset or a cpuset keeps from it.",
            ),
            None => WORKERS.ok(value),
        },
        _ if count > cpus.len() => WORKERS.advice(value, AUTO),
        _ => WORKERS.ok(value),
    }
}

fn nofile(host: &Host, demand: &Demand) -> Finding {
    let needed = demand.descriptors();
    let asked =
        if demand.clients_are_written { "connections_max asks" } else { "the default asks" };
    let wanted = format!("{needed} or more: {asked} for {} clients", demand.clients);
    let counts = host.systemd && !host.container && host.process.id.is_none();
    let units = host.unit.as_deref().and_then(unit_limit).filter(|_| counts);
    let (hard, whose) = match (units, host.process.nofile) {
        // The unit's limit is what the gateway gets, whatever this shell has.
        (Some(limit), _) => (limit, "LimitNOFILE of ringway.service".to_owned()),
        (None, None) => return NOFILE.unknown("/proc/PID/limits says nothing").wanted(wanted),
        (None, Some((_, hard))) => match host.process.id {
            Some(id) => (hard, format!("process {id}")),
            None => (hard, "this shell; --pid looks at a running gateway".to_owned()),
        },
    };
    let limit = demand.limit();
    let workers = demand.workers_on(&host.process.cpus);
    let clients = connections_of_one(hard, workers).saturating_mul(workers);
    let value = match hard {
        u64::MAX => format!("no limit ({whose})"),
        hard => format!("{hard} ({whose}), for {clients} clients"),
    };
    if hard >= needed {
        return NOFILE.ok(value).wanted(wanted);
    }
    let command = match (host.container, host.systemd) {
        (true, _) => format!("docker run --ulimit nofile={limit} …"),
        (_, true) => drop_in("nofile", &format!("LimitNOFILE={limit}")),
        _ if host.limits_are_written && limit == UNIT_LIMIT => {
            format!("su -l ringway   # {LIMITS_PATH} is there, and counts at its next login")
        }
        _ => format!("echo 'ringway hard nofile {limit}' > {LIMITS_PATH}"),
    };
    let found = match hard < NOFILE_LEAST || demand.clients_are_written {
        true => NOFILE.problem(value, command),
        false => NOFILE.advice(value, command),
    };
    let found = found.wanted(wanted).because(FULL);
    // Under systemd the unit decides, in a container whoever starts it: there the file has no say. With a limit above
    // the kernel's own a login would fail (pam_limits).
    let is_granted = host.number("fs.nr_open").is_none_or(|most| most >= UNIT_LIMIT);
    let is_enough = limit == UNIT_LIMIT && !host.limits_are_written;
    match host.container || host.systemd || !is_granted || !is_enough {
        true => found,
        false => found.fixable(Change::Limits),
    }
}

const FULL: &str =
    "Where it is reached idle clients are closed, the oldest first, and new ones wait.";

/// The hard limit of open files that a unit gives; the last line of it counts.
fn unit_limit(text: &str) -> Option<u64> {
    let line =
        |line: &'static str| text.lines().rev().find_map(move |at| at.trim().strip_prefix(line));
    let hard = line("LimitNOFILE=")?.rsplit(':').next().unwrap_or_default().trim();
    Some(if hard == "infinity" { u64::MAX } else { hard.parse().unwrap_or(0) })
}

fn files(host: &Host, demand: &Demand) -> Finding {
    let (Some(all), Some(one)) = (host.number("fs.file-max"), host.number("fs.nr_open")) else {
        return FILES.unknown("/proc/sys/fs cannot be read");
    };
    let value = format!("{all} and {one}");
    let needed = demand.descriptors();
    match (all < needed.saturating_mul(2), one < needed) {
        (false, false) => FILES.ok(value),
        (true, _) => {
            FILES.advice(value, set_for_all(host, "fs.file-max", needed.saturating_mul(4)))
        }
        _ => FILES.advice(value, set_for_all(host, "fs.nr_open", demand.limit())),
    }
}

fn unit(host: &Host, demand: &Demand) -> Finding {
    if !host.systemd {
        return UNIT.ok("no systemd here");
    }
    let Some(text) = &host.unit else {
        let found = UNIT.advice(
            "there is no ringway.service",
            format!("cp tuning/ringway.service {UNIT_PATH}   # from the sources; --fix has it inside\nsystemctl daemon-reload && systemctl enable --now ringway"),
        );
        return if host.container { found } else { found.fixable(Change::Unit) };
    };
    let limit = unit_limit(text);
    if limit.is_none_or(|limit| limit < demand.descriptors()) {
        let found =
            limit.map_or("no LimitNOFILE=".to_owned(), |limit| format!("LimitNOFILE={limit}"));
        return UNIT.advice(found, drop_in("nofile", &format!("LimitNOFILE={}", demand.limit())));
    }
    if text.contains("SystemCallFilter=") && !text.contains("io_uring_setup") {
        return UNIT.advice(
            "SystemCallFilter= without io_uring",
            drop_in("io_uring", "SystemCallFilter=io_uring_setup io_uring_enter io_uring_register"),
        );
    }
    let drain = demand.drain_seconds;
    if stop_seconds(text).is_some_and(|patience| patience <= drain) {
        return UNIT
            .advice(
                format!("systemd ends it while it drains: drain_timeout is {drain} s"),
                drop_in("stop", &format!("TimeoutStopSec={}", drain.saturating_add(10))),
            )
            .because("After TimeoutStopSec= whatever is in flight is cut off.");
    }
    UNIT.ok("ringway.service")
}

/// How long systemd waits for the end, in seconds; `None`: for ever, or it cannot be told.
fn stop_seconds(text: &str) -> Option<u64> {
    /// DefaultTimeoutStopSec= (systemd-system.conf(5)).
    const USUAL: u64 = 90;
    let lines = || text.lines().rev().map(str::trim);
    let either =
        |line: &&str| ["TimeoutStopSec=", "TimeoutSec="].iter().any(|name| line.starts_with(name));
    let Some(line) = lines().find(either) else { return Some(USUAL) };
    let seconds = |word: &str| {
        let digits = word.trim_end_matches(|char: char| !char.is_ascii_digit());
        let number: u64 = digits.parse().ok()?;
        match &word[digits.len()..] {
            "" | "s" | "sec" => Some(number),
            "m" | "min" => number.checked_mul(60),
            "h" | "hr" => number.checked_mul(3600),
            _ => None,
        }
    };
    let total =
        line.split_once('=')?.1.split_ascii_whitespace().map(seconds).sum::<Option<u64>>()?;
    // 0 is systemd's word for ever.
    Some(total).filter(|total| *total > 0)
}

/// "1 CPU", "2 CPUs".
pub(super) fn counted(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_unit_says_of_its_end_is_read_as_systemd_reads_it() {
        assert_eq!(stop_seconds("[Service]\nTimeoutStopSec=40\n"), Some(40));
        assert_eq!(stop_seconds("TimeoutStopSec=40\nTimeoutStopSec=1min 30s\n"), Some(90));
        assert_eq!(stop_seconds("TimeoutStopSec=infinity\n"), None);
        assert_eq!(stop_seconds("TimeoutSec=0\n"), None);
        assert_eq!(stop_seconds("TimeoutStopSec=5 parsecs\n"), None);
        assert_eq!(stop_seconds("[Service]\n"), Some(90));
    }
}
