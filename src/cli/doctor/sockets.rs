//! What the kernel gives to sockets: queues, ports, buffers, and the table of connections of its firewall.
//!
//! It never asks for more than a reason is known for: what the kernel tunes by itself is left alone.

use crate::cli::doctor::command::{set, set_for_all};
use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::files::setting;
use crate::cli::doctor::finding::{Change, Finding, Item};
use crate::cli::doctor::host::{Host, bytes, list};
use crate::cli::doctor::machine::ranges;
use crate::cli::doctor::process::counted;
use crate::net::listener::BACKLOG;

const SOMAXCONN: Item = Item {
    name: "somaxconn",
    wanted: "4096 or more",
    why: "Ringway asks for a queue of 4096 connections that wait to be accepted; the kernel cuts it to this. Each worker has a queue of its own.",
    verify: "ss -ltn (Send-Q of the listeners, after a restart of the gateway)",
    risk: "Other programs that ask for long queues get them, too: memory only while connections wait.",
};

const ACCEPT_QUEUE: Item = Item {
    name: "accept_queue",
    wanted: "no connection that found a full queue",
    why: "A client whose connection finds the queue full waits a second or more and tries again. Counted for all programs since the start of this host (of this network namespace).",
    verify: "nstat -az TcpExtListenOverflows; ss -ltn (Recv-Q near Send-Q: it happens now)",
    risk: "None: it is a reading. If it grows while Ringway serves, a worker is stopped or busy for too long.",
};

const SYN_QUEUE: Item = Item {
    name: "syn_queue",
    wanted: "net.ipv4.tcp_syncookies = 1",
    why: "When handshakes under way fill their queue, as in a SYN flood, cookies let real clients pass. Without them they are dropped. While cookies are on, tcp_max_syn_backlog has no say.",
    verify: "nstat -az TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop",
    risk: "Connections that are made by a cookie lose some TCP options; only while the queue is full.",
};

const PORTS: Item = Item {
    name: "port_range",
    wanted: "twice as many ports as connections to one endpoint",
    why: "A connection to an endpoint takes a local port, and keeps it for a minute after we close it. Kept connections make this rare.",
    verify: "ss -tan state time-wait | wc -l; ringway_upstream_connect_failures_total",
    risk: "Programs of yours that listen inside the wider range may find their port taken by a connection.",
};

const RESERVED: Item = Item {
    name: "reserved_ports",
    wanted: "no port that we listen on among those for connections",
    why: "The kernel may give the port of a listener to some connection while the gateway is down; then it does not start again: address in use.",
    verify: "sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports",
    risk: "None: connections use the other ports.",
};

const REUSE: Item = Item {
    name: "tw_reuse",
    wanted: "1 or 2 (2 is the kernel's default since 4.19: loopback only)",
    why: "A port in TIME_WAIT can be used again for a new connection to the same endpoint after a second, guarded by timestamps.",
    verify: "sysctl net.ipv4.tcp_tw_reuse; ss -tan state time-wait | wc -l",
    risk: "1 relies on TCP timestamps at both ends; the kernel's documentation advises care.",
};

const BUFFERS: Item = Item {
    name: "tcp_buffers",
    wanted: "the kernel's own sizes: 4 MiB or more at the top, 1 MiB or less to begin with",
    why: "The kernel sizes buffers by itself between these bounds, and Ringway leaves it to that. A low top slows large answers over long distances; a high beginning costs memory on each connection.",
    verify: "sysctl net.ipv4.tcp_rmem net.ipv4.tcp_wmem; ss -tim",
    risk: "Memory: a busy connection may hold as much as the top.",
};

const SLOW_START: Item = Item {
    name: "slow_start",
    wanted: "net.ipv4.tcp_slow_start_after_idle = 0",
    why: "A kept connection that was idle for a moment otherwise begins slowly again. It matters for answers above some 14 KB over long distances.",
    verify: "ss -ti (cwnd of an idle connection stays)",
    risk: "A burst after a pause may meet a network that has become worse meanwhile.",
};

const CONGESTION: Item = Item {
    name: "congestion",
    wanted: "cubic or bbr",
    why: "cubic is the kernel's default; bbr suffers less from losses that are no congestion, as in mobile networks. Which is better depends on the way to your clients.",
    verify: "sysctl net.ipv4.tcp_available_congestion_control; ss -ti",
    risk: "All connections of the host change; compare under your own traffic.",
};

const CONNTRACK: Item = Item {
    name: "conntrack",
    wanted: "room for twice as many connections as clients, or no tracking",
    why: "Where a stateful firewall or NAT is on, each connection takes a place in a table, two with its origin's. A full table drops packets of everybody.",
    verify: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; dmesg | grep conntrack",
    risk: "Kernel memory: about 400 bytes a place that is taken, 8 for one that is not. Rules without tracking (notrack) for our ports cost nothing. The file for the next start counts only if nf_conntrack is loaded by then (modules-load.d).",
};

/// Ports without which hosts with many origins run short; the kernel's default range has 28,232.
const PORTS_LEAST: u64 = 16_384;
/// What a buffer may grow to at least. Unit: bytes. The kernel's default top is 4 MiB (sending) or 6 MiB.
const BUFFER_TOP_LEAST: u64 = 4 * 1024 * 1024;
/// What a buffer may begin with at most. Unit: bytes. The kernel's defaults are 16 and 128 KiB.
const BUFFER_FIRST_MOST: u64 = 1024 * 1024;

pub(super) fn judge(host: &Host, demand: &Demand, out: &mut Vec<Finding>) {
    out.push(somaxconn(host));
    out.push(accept_queue(host));
    out.push(syn_queue(host));
    out.push(ports(host, demand));
    out.push(reserved(host, demand));
    out.push(reuse(host));
    out.push(buffers(host));
    out.push(slow_start(host));
    out.push(congestion(host));
    out.push(conntrack(host, demand));
}

/// Lets `--fix` make the change where it can.
fn with_change(host: &Host, found: Finding, name: &'static str) -> Finding {
    if host.container { found } else { found.fixable(Change::Setting(name)) }
}

fn unread(item: &Item) -> Finding {
    item.unknown("/proc/sys says nothing")
}

fn somaxconn(host: &Host) -> Finding {
    const NAME: &str = "net.core.somaxconn";
    match host.number(NAME) {
        None => unread(&SOMAXCONN),
        Some(length) if length >= u64::from(BACKLOG.unsigned_abs()) => {
            SOMAXCONN.ok(length.to_string())
        }
        Some(length) => {
            let found = SOMAXCONN.advice(length.to_string(), set(host, NAME, BACKLOG));
            with_change(host, found, NAME)
        }
    }
}

fn accept_queue(host: &Host) -> Finding {
    match host.counters.get("ListenOverflows") {
        None => ACCEPT_QUEUE.unknown("/proc/net/netstat says nothing"),
        Some(0) => ACCEPT_QUEUE.ok("none"),
        Some(count) => ACCEPT_QUEUE.advice(
            format!("{} found it full", counted(*count, "connection")),
            "nstat -az TcpExtListenOverflows   # twice, while Ringway serves: does it grow?",
        ),
    }
}

fn syn_queue(host: &Host) -> Finding {
    const NAME: &str = "net.ipv4.tcp_syncookies";
    let wanted = setting(NAME).map_or("1", |setting| setting.value);
    match host.number(NAME) {
        Some(1) => SYN_QUEUE.ok("cookies when it is full"),
        Some(0) => {
            let queue = host.setting("net.ipv4.tcp_max_syn_backlog").unwrap_or("unknown");
            let value = format!("no cookies; a queue of {queue}");
            with_change(host, SYN_QUEUE.problem(value, set(host, NAME, wanted)), NAME)
        }
        Some(_) => SYN_QUEUE
            .advice("cookies always", set(host, NAME, wanted))
            .because("With 2 they are used although there is room: it is meant for tests."),
        None => unread(&SYN_QUEUE),
    }
}

/// First and last local port for connections.
fn range(host: &Host) -> Option<(u64, u64)> {
    let (first, last) = host.setting("net.ipv4.ip_local_port_range")?.split_once(' ')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn ports(host: &Host, demand: &Demand) -> Finding {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    let Some((first, last)) = range(host) else { return unread(&PORTS) };
    let count = (last + 1).saturating_sub(first);
    let kept = demand.kept_per_endpoint * demand.workers_on(&host.process.cpus) as u64;
    let waiting = host.time_wait.unwrap_or(0);
    let value = format!("{first} to {last}: {count} ports, {waiting} in TIME_WAIT");
    let wanted = format!(
        "twice the {kept} connections that are kept to one endpoint, and {PORTS_LEAST} or more"
    );
    let command = set(host, NAME, "10240 65535");
    let found = if kept == 0 {
        PORTS.ok(value)
    } else if count < kept {
        PORTS.problem(value, command)
    } else if count < kept * 2 || count < PORTS_LEAST || waiting * 2 > count {
        PORTS.advice(value, command)
    } else {
        PORTS.ok(value)
    };
    let found = found.wanted(wanted);
    match &demand.unshared {
        Some(upstream) => found.because(format!(
            "Connections of upstream `{upstream}` begin with a PROXY header and serve one client each: {} a second to one endpoint are the most.",
            count / 60
        )),
        None => found,
    }
}

fn reserved(host: &Host, demand: &Demand) -> Finding {
    const NAME: &str = "net.ipv4.ip_local_reserved_ports";
    if demand.source.is_none() {
        return RESERVED.ok("no configuration, so no ports are known");
    }
    let Some((first, last)) = range(host) else { return unread(&RESERVED) };
    let mut kept = list(host.setting(NAME).unwrap_or_default());
    let exposed = |port: &&u16| {
        (first..=last).contains(&u64::from(**port)) && !kept.contains(&usize::from(**port))
    };
    let exposed: Vec<u16> = demand.ports.iter().filter(exposed).copied().collect();
    if exposed.is_empty() {
        return RESERVED.ok("none of ours");
    }
    kept.extend(exposed.iter().map(|port| usize::from(*port)));
    kept.sort_unstable();
    let shown: Vec<String> = exposed.iter().map(u16::to_string).collect();
    RESERVED.advice(
        format!("{} may be taken by a connection", shown.join(", ")),
        set(host, NAME, ranges(&kept)),
    )
}

fn reuse(host: &Host) -> Finding {
    const NAME: &str = "net.ipv4.tcp_tw_reuse";
    match host.number(NAME) {
        None => unread(&REUSE),
        Some(0) => REUSE.advice("0", set(host, NAME, 2)),
        Some(value) => REUSE.ok(value.to_string()),
    }
}

fn buffers(host: &Host) -> Finding {
    let three = |name| {
        let mut numbers = host.setting(name)?.split(' ').map(|number| number.parse::<u64>().ok());
        Some([numbers.next()??, numbers.next()??, numbers.next()??])
    };
    // Beginning and top as the kernel has them.
    let names =
        [("net.ipv4.tcp_rmem", 131_072, 6_291_456), ("net.ipv4.tcp_wmem", 16_384, 4_194_304)];
    let (Some(read), Some(write)) = (three(names[0].0), three(names[1].0)) else {
        return unread(&BUFFERS);
    };
    let told = |[_, first, top]: [u64; 3]| format!("{} to {}", bytes(first), bytes(top));
    let value = format!("reading {}, writing {}", told(read), told(write));
    // On a small host the kernel itself stays below: a 128th of the memory that is free for it at the start.
    let least = host.memory_bytes.map_or(BUFFER_TOP_LEAST, |all| (all / 256).min(BUFFER_TOP_LEAST));
    let mut commands = Vec::new();
    for ((name, usual, most), [smallest, first, top]) in names.into_iter().zip([read, write]) {
        let wanted_first = if first > BUFFER_FIRST_MOST { usual } else { first };
        let wanted_top = if top < least { most } else { top };
        if (wanted_first, wanted_top) != (first, top) {
            commands.push(set(host, name, format!("{smallest} {wanted_first} {wanted_top}")));
        }
    }
    if commands.is_empty() { BUFFERS.ok(value) } else { BUFFERS.advice(value, commands.join("\n")) }
}

fn slow_start(host: &Host) -> Finding {
    const NAME: &str = "net.ipv4.tcp_slow_start_after_idle";
    match host.number(NAME) {
        None => unread(&SLOW_START),
        Some(0) => SLOW_START.ok("0"),
        Some(value) => {
            let found = SLOW_START.advice(value.to_string(), set(host, NAME, 0));
            with_change(host, found, NAME)
        }
    }
}

fn congestion(host: &Host) -> Finding {
    const NAME: &str = "net.ipv4.tcp_congestion_control";
    match host.setting(NAME) {
        None => unread(&CONGESTION),
        Some(name) if name == "cubic" || name.starts_with("bbr") => CONGESTION.ok(name),
        Some(name) => {
            let found = CONGESTION.advice(name, set(host, NAME, "cubic"));
            if name == "dctcp" { found.because(DCTCP) } else { found }
        }
    }
}

const DCTCP: &str = "dctcp is for networks of one owner whose switches mark packets; towards the Internet it takes more than its share (RFC 8257, section 5).";

fn conntrack(host: &Host, demand: &Demand) -> Finding {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    const BUCKETS: &str = "net.netfilter.nf_conntrack_buckets";
    let Some(most) = host.number(NAME) else { return CONNTRACK.ok("not in use") };
    let count = host.number("net.netfilter.nf_conntrack_count").unwrap_or(0);
    let needed = demand.clients.saturating_mul(2);
    let value = format!("{count} of {most} places taken");
    let wanted = format!("{needed} places for {} clients, or no tracking", demand.clients);
    let places = most.max(needed).saturating_mul(2).next_power_of_two();
    // More places in the same number of lists are longer lists to search for each packet.
    let mut command = set_for_all(host, NAME, places);
    if host.number(BUCKETS).is_some_and(|buckets| buckets < places) {
        command = format!("{command}\n{}", set_for_all(host, BUCKETS, places));
    }
    let found = if count > most / 5 * 4 {
        CONNTRACK.problem(value, command)
    } else if most < needed {
        CONNTRACK.advice(value, command)
    } else {
        CONNTRACK.ok(value)
    };
    found.wanted(wanted)
}
