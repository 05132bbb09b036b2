//! Bounds of the control group, as containers and units of systemd have them, against what the gateway needs.
//!
//! It never takes a quota for a set of CPUs: a quota stops threads in the middle of their work.

use crate::cli::doctor::command::drop_in;
use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Item};
use crate::cli::doctor::host::{Host, bytes};
use crate::cli::doctor::process::counted;

const CPU: Item = Item {
    name: "cgroup_cpu",
    wanted: "no quota of CPU time, or as much as there are workers",
    why: "When the time of a period (100 ms) is used up, all threads stop until the next: with more workers than the quota has CPUs that comes early, and shows as a long tail of latencies.",
    verify: "cat /sys/fs/cgroup/cgroup.controllers (there is one: v2)",
    risk: "Fewer workers use fewer CPUs at once.",
};

const MEMORY: Item = Item {
    name: "cgroup_memory",
    wanted: "",
    why: "When it is used up the kernel ends the process. Idle clients take about 2 KiB each, a request in flight one to three buffers of 72 KiB, TLS some 10 KiB a connection more.",
    verify: "process_resident_memory_bytes in /metrics",
    risk: "What one group may have others may miss.",
};

const PIDS: Item = Item {
    name: "cgroup_pids",
    wanted: "",
    why: "Each worker is a thread, and the control side has some of its own: signals, log, keys, the admin listener's connections.",
    verify: "cat /proc/self/cgroup",
    risk: "None: threads are made at start, not for requests.",
};

/// What a process without clients needs, with room. Unit: bytes. It was measured at 6 MiB and some for each worker.
const MEMORY_BASE: u64 = 64 * 1024 * 1024;
/// For each worker: its free buffers and stacks. Unit: bytes.
const MEMORY_PER_WORKER: u64 = 32 * 1024 * 1024;
/// For each client that is let in: an idle one takes about 2 KiB, some are busy. Unit: bytes.
const MEMORY_PER_CLIENT: u64 = 4 * 1024;
/// Threads beside the workers: sixteen connections of the admin listener, and what the control side has.
const THREADS_BESIDE: u64 = 32;

pub(super) fn judge(host: &Host, demand: &Demand, out: &mut Vec<Finding>) {
    let workers = demand.workers_on(&host.process.cpus) as u64;
    out.push(cpu(host, workers));
    out.push(memory(host, demand, workers));
    out.push(pids(host, workers));
}

const UNSEEN: &str = "no control groups are seen";

fn cpu(host: &Host, workers: u64) -> Finding {
    let Some(place) = &host.group.cpu else { return CPU.unknown(UNSEEN) };
    let verify = format!("cat {place}/cpu.stat, twice (nr_throttled grows)");
    let Some(milli) = host.group.cpu_milli else { return CPU.ok("no quota").seen_by(verify) };
    let stopped = match host.group.throttled {
        Some(times @ 1..) => format!("; stopped {times} times"),
        _ => String::new(),
    };
    let value = format!(
        "{}.{} CPUs for {}{stopped}",
        milli / 1000,
        milli % 1000 / 100,
        counted(workers, "worker")
    );
    let fitting = milli.div_ceil(1000).max(1);
    let found = match workers > fitting {
        true => CPU.advice(value, format!("workers = {fitting}   # in the configuration")),
        false => CPU.ok(value),
    };
    found.seen_by(verify)
}

fn memory(host: &Host, demand: &Demand, workers: u64) -> Finding {
    let base = MEMORY_BASE + MEMORY_PER_WORKER.saturating_mul(workers);
    let needed = base.saturating_add(demand.clients.saturating_mul(MEMORY_PER_CLIENT));
    let wanted = format!(
        "{} or more for {} clients; {} to start",
        bytes(needed),
        demand.clients,
        bytes(base)
    );
    let all = host.memory_bytes;
    let bound = host.group.memory_bytes;
    let Some(most) = bound.into_iter().chain(all).min() else {
        return MEMORY.unknown(UNSEEN).wanted(wanted);
    };
    let group = &host.group;
    let (bound, peak, killed) = match group.is_old {
        true => ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
        false => ("memory.max", "memory.peak", "memory.events"),
    };
    let whose = match &group.memory {
        None => "the whole host; no control groups are seen",
        Some(_) if Some(most) == all => "the whole host",
        Some(_) => bound,
    };
    let verify = match &group.memory {
        Some(place) => format!("cd {place} && cat {peak} {killed}; {}", MEMORY.verify),
        None => MEMORY.verify.to_owned(),
    };
    let killed = group.killed.unwrap_or(0);
    let value = match killed {
        0 => format!("{} ({whose})", bytes(most)),
        times => format!(
            "{} ({whose}); {} killed for want of it",
            bytes(most),
            counted(times, "process").replace("processs", "processes")
        ),
    };
    let command = match host.container {
        true => format!(
            "docker run --memory {} … (Kubernetes: resources.limits.memory)",
            needed.next_power_of_two()
        ),
        false => {
            "# more memory (MemoryMax= of the unit), or a lower connections_max in [listen.limits]"
                .to_owned()
        }
    };
    let found = if most < base || killed > 0 {
        MEMORY.problem(value, command)
    } else if most < needed {
        MEMORY.advice(value, command)
    } else {
        MEMORY.ok(value)
    };
    found.wanted(wanted).seen_by(verify)
}

fn pids(host: &Host, workers: u64) -> Finding {
    let needed = workers + THREADS_BESIDE;
    let wanted = format!("{needed} or more for {}", counted(workers, "worker"));
    let Some(place) = &host.group.tasks else { return PIDS.unknown(UNSEEN).wanted(wanted) };
    let found = match host.group.pids {
        None => PIDS.ok("no bound"),
        Some(most) if most >= needed => PIDS.ok(most.to_string()),
        Some(most) => PIDS.problem(
            most.to_string(),
            match host.container {
                true => format!("docker run --pids-limit {} …", needed.next_power_of_two()),
                false => drop_in("tasks", &format!("TasksMax={}", needed.next_power_of_two())),
            },
        ),
    };
    found.wanted(wanted).seen_by(format!("cat {place}/pids.current {place}/pids.max"))
}
