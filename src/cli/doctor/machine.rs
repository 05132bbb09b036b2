//! CPUs and network cards: frequency, NUMA, who takes which interrupt, who handles which packet.
//!
//! It never spreads anything by itself: what suits one card spoils another, so each is shown as a command.

use crate::cli::doctor::command::{quoted, set_for_all};
use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Item};
use crate::cli::doctor::host::{Card, Host};
use crate::cli::doctor::process::counted;
use crate::compile::Workers;

const GOVERNOR: Item = Item {
    name: "governor",
    wanted: "performance or schedutil",
    why: "A governor that saves power makes a CPU slow after each pause, and a gateway's load is made of pauses. With intel_pstate or amd-pstate `powersave` adapts by itself: there compare both.",
    verify: "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; turbostat",
    risk: "More power and heat. It lasts until the next start.",
};

const NUMA: Item = Item {
    name: "numa",
    wanted: "one node, or workers on the node of the network card",
    why: "Memory and cards of another node are farther away. Each worker keeps its memory to itself, so it matters only which CPUs the workers and the card's interrupts are on.",
    verify: "numastat -p $(pidof -s ringway); cat /sys/class/net/*/device/numa_node",
    risk: "Fewer CPUs serve: compare CPU time per request and the tail of latencies.",
};

const INTERRUPTS: Item = Item {
    name: "interrupts",
    wanted: "interrupts of a card's queues on several CPUs",
    why: "The CPU that takes a card's interrupt also does the kernel's work on its packets. With all of them on one CPU it is full while others are idle.",
    verify: "grep -E 'CPU|eth|virtio|mlx|ena' /proc/interrupts, twice; mpstat -P ALL 1 (%soft)",
    risk: "irqbalance, where it runs, moves them again: stop it or tell it (IRQBALANCE_BANNED_CPULIST).",
};

const RPS: Item = Item {
    name: "rps",
    wanted: "a queue of arriving packets for every two CPUs, or RPS",
    why: "Each queue of a card is handled by one CPU. Where there are fewer than CPUs, RPS hands packets on in software, at the price of waking the other CPU.",
    verify: "ethtool -l CARD; cat /sys/class/net/*/queues/rx-*/rps_cpus; mpstat -P ALL 1 (%soft)",
    risk: "It costs where a single CPU was not full. It lasts until the next start.",
};

const XPS: Item = Item {
    name: "xps",
    wanted: "each queue of leaving packets bound to CPUs, where a card has several",
    why: "Then a CPU sends by a queue of its own, without a lock that others want.",
    verify: "cat /sys/class/net/*/queues/tx-*/xps_cpus",
    risk: "None known; drivers set it by themselves. It lasts until the next start.",
};

const BACKLOG: Item = Item {
    name: "backlog",
    wanted: "no packet thrown away (second column of /proc/net/softnet_stat)",
    why: "Packets that a CPU cannot handle at once wait in a queue of net.core.netdev_max_backlog; beyond that they are lost and sent again. Counted since the start of the host.",
    verify: "cat /proc/net/softnet_stat, twice",
    risk: "A longer queue is also a longer wait.",
};

/// Governors that slow CPUs down in pauses.
const SAVING: [&str; 4] = ["powersave", "ondemand", "conservative", "userspace"];

pub(super) fn judge(host: &Host, demand: &Demand, out: &mut Vec<Finding>) {
    out.push(governor(host));
    out.push(numa(host, demand));
    out.push(interrupts(host));
    out.push(rps(host));
    out.push(xps(host));
    out.push(backlog(host));
}

fn governor(host: &Host) -> Finding {
    let value = host.governors.join(", ");
    match host.governors.iter().any(|name| SAVING.contains(&name.as_str())) {
        _ if host.governors.is_empty() => GOVERNOR
            .unknown("not to be seen here: a virtual machine's frequency is its host's affair"),
        true => GOVERNOR.advice(value, "cpupower frequency-set -g performance"),
        false => GOVERNOR.ok(value),
    }
}

fn numa(host: &Host, demand: &Demand) -> Finding {
    let nodes = &host.nodes;
    let cpus = &host.process.cpus;
    let used: Vec<usize> = match &demand.workers {
        Workers::Cores(cores) => cores.clone(),
        Workers::Count(count) => cpus.iter().take(*count).copied().collect(),
        Workers::Auto => cpus.clone(),
    };
    let is_used = |cpus: &[usize]| used.iter().any(|cpu| cpus.contains(cpu));
    let nodes_used = nodes.iter().filter(|node| is_used(&node.cpus)).count();
    let value = counted(nodes.len() as u64, "node");
    match nodes.len() {
        0 => return NUMA.unknown("/sys/devices/system/node cannot be read"),
        1 => return NUMA.ok(value),
        _ if nodes_used < 2 => return NUMA.ok(format!("{value}, the workers are on one")),
        _ => {}
    }
    let near = host.cards.iter().find_map(|card| Some((card, usize::try_from(card.node?).ok()?)));
    let node =
        near.and_then(|(_, id)| nodes.iter().find(|node| node.id == id)).unwrap_or(&nodes[0]);
    let place = near.map_or(String::new(), |(card, id)| format!("; {} is at node {id}", card.name));
    NUMA.advice(
        format!("{value}, the workers are on {nodes_used}{place}"),
        format!("workers = \"{}\"   # in the configuration", ranges(&node.cpus)),
    )
}

/// Cards and what `of` says about each, joined; `None` from all of them is no card worth a word.
fn each(
    host: &Host,
    of: impl Fn(&Card) -> Option<(String, Option<String>)>,
) -> (Vec<String>, Vec<String>) {
    let mut commands = Vec::new();
    let mut values = Vec::new();
    for card in &host.cards {
        let Some((value, command)) = of(card) else { continue };
        values.push(format!("{}: {value}", card.name));
        commands.extend(command);
    }
    (values, commands)
}

fn told(item: &Item, (values, commands): (Vec<String>, Vec<String>), none: &str) -> Finding {
    match (values.is_empty(), commands.is_empty()) {
        (true, _) => item.ok(none),
        (_, true) => item.ok(values.join("; ")),
        _ => item.advice(values.join("; "), commands.join("\n")),
    }
}

fn interrupts(host: &Host) -> Finding {
    let seen = each(host, |card| {
        let mut cpus: Vec<usize> =
            card.interrupts.iter().flat_map(|irq| irq.cpus.clone()).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let first = card.interrupts.first()?;
        let value = format!(
            "{} on {} {}",
            counted(card.interrupts.len() as u64, "interrupt"),
            if cpus.len() == 1 { "CPU" } else { "CPUs" },
            ranges(&cpus)
        );
        let crowded = cpus.len() == 1 && host.process.cpus.len() > 1 && card.arriving.len() > 1;
        let spread = || {
            let pairs = card.interrupts.iter().zip(host.process.cpus.iter().cycle());
            let line = |(irq, cpu): (&crate::cli::doctor::host::Interrupt, &usize)| {
                format!("echo {cpu} > /proc/irq/{}/smp_affinity_list", irq.number)
            };
            pairs.map(line).collect::<Vec<String>>().join("\n")
        };
        Some((value, (crowded && first.cpus.len() == 1).then(spread)))
    });
    told(&INTERRUPTS, seen, "no card whose interrupts could be read")
}

fn rps(host: &Host) -> Finding {
    let cpus = &host.process.cpus;
    let seen = each(host, |card| {
        let queues = card.arriving.len();
        let spread = card.arriving.iter().any(|on| *on);
        let value = format!(
            "{} for {}{}",
            counted(queues as u64, "queue"),
            counted(cpus.len() as u64, "CPU"),
            if spread { ", RPS on" } else { "" }
        );
        let short = queues > 0 && queues * 2 < cpus.len() && !spread;
        let name = quoted(&card.name);
        let command = || {
            format!(
                "ethtool -L {name} combined {}   # where the card has more queues; otherwise:\nfor q in /sys/class/net/{name}/queues/rx-*; do echo {} > $q/rps_cpus; done",
                cpus.len(),
                mask(cpus)
            )
        };
        (queues > 0).then(|| (value, short.then(command)))
    });
    told(&RPS, seen, "no network card is seen")
}

fn xps(host: &Host) -> Finding {
    let seen = each(host, |card| {
        let known: Vec<bool> = card.leaving.iter().copied().flatten().collect();
        let value = match known.iter().filter(|on| **on).count() {
            _ if known.len() < 2 => counted(card.leaving.len() as u64, "queue"),
            bound => format!("{bound} of {} bound", counted(known.len() as u64, "queue")),
        };
        let name = quoted(&card.name);
        let command = || {
            format!(
                "ethtool -L {name} combined {}   # drivers bind queues again when their number is set",
                known.len()
            )
        };
        let unbound = known.len() > 1 && !known.contains(&true) && host.process.cpus.len() > 1;
        (!card.leaving.is_empty()).then(|| (value, unbound.then(command)))
    });
    told(&XPS, seen, "no network card is seen")
}

fn backlog(host: &Host) -> Finding {
    const NAME: &str = "net.core.netdev_max_backlog";
    let length = host.number(NAME).unwrap_or(1000);
    let told = |count| format!("{count} lost; a queue of {length}");
    match host.packets_dropped {
        None => BACKLOG.unknown("/proc/net/softnet_stat cannot be read"),
        Some(0) => BACKLOG.ok(format!("none; a queue of {length}")),
        // The count does not go back when the queue is longer: without an end to it, neither would the advice.
        Some(count) if length >= BACKLOG_MOST => BACKLOG
            .advice(
                told(count),
                "cat /proc/net/softnet_stat   # twice: does the second column grow?",
            )
            .because(CPU_BOUND),
        Some(count) => BACKLOG.advice(
            told(count),
            set_for_all(host, NAME, length.saturating_mul(4).min(BACKLOG_MOST)),
        ),
    }
}

/// The longest queue of packets that is asked for: at a million packets a second a CPU takes 16 ms for them.
const BACKLOG_MOST: u64 = 16_384;

const CPU_BOUND: &str =
    "With a queue this long it is the CPU that does not keep up: see `interrupts` and `rps`.";

/// "0-2,5" for 0, 1, 2, 5.
pub(super) fn ranges(cpus: &[usize]) -> String {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => out.push((cpu, cpu)),
        }
    }
    let item = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    out.iter().map(item).collect::<Vec<String>>().join(",")
}

/// The kernel's mask of CPUs: groups of eight hexadecimal digits, the highest first.
fn mask(cpus: &[usize]) -> String {
    let groups = cpus.iter().max().map_or(1, |most| most / 32 + 1);
    let group = |index: usize| {
        let bits = cpus
            .iter()
            .filter(|cpu| *cpu / 32 == index)
            .fold(0u32, |bits, cpu| bits | 1 << (cpu % 32));
        if groups == 1 { format!("{bits:x}") } else { format!("{bits:08x}") }
    };
    (0..groups).rev().map(group).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_written_as_the_kernel_writes_them() {
        assert_eq!(ranges(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(ranges(&[]), "");
        assert_eq!(mask(&[0, 1, 2, 3]), "f");
        assert_eq!(mask(&[0, 33]), "00000002,00000001");
        assert_eq!(mask(&[]), "0");
    }
}
