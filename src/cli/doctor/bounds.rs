//! The bounds of a process' control groups, v2 (the kernel's admin-guide/cgroup-v2.rst) and v1
//! (admin-guide/cgroup-v1, scheduler/sched-bwc.rst), as they are read.
//!
//! It never takes the nearest group's word alone: the narrowest bound on the way to the root is the one that binds.

use std::path::Path;

use crate::base::limits::DOCTOR_GROUP_DEPTH_MAX;
use crate::cli::doctor::host::{Group, counted, cpu_milli};
use crate::cli::doctor::read::Tree;

const MOUNT: &str = "/sys/fs/cgroup";

/// The bounds of the groups that `groups`, the text of /proc/PID/cgroup, names.
pub fn read(tree: &Tree, groups: &str) -> Group {
    if tree.exists(&format!("{MOUNT}/cgroup.controllers")) {
        return new(tree, groups);
    }
    // Some hosts have v1 for these three and v2 beside it, for nothing but to keep books.
    let old = |controller: &str| {
        let own = |line: &str| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            names.split(',').any(|name| name == controller).then(|| path.to_owned())
        };
        let mount = format!("{MOUNT}/{controller}");
        let path = groups.lines().find_map(own).unwrap_or_else(|| "/".to_owned());
        tree.exists(&mount).then(|| upwards(tree, &mount, &path))
    };
    let (cpu, memory, tasks) = (old("cpu"), old("memory"), old("pids"));
    let number = |text: String| text.trim().parse::<u64>().ok();
    let quota = |at: &String| {
        let of = |file: &str| tree.text(&format!("{at}/{file}")).and_then(number);
        of("cpu.cfs_quota_us")?.saturating_mul(1000).checked_div(of("cpu.cfs_period_us")?)
    };
    let narrowest = |places: &Option<Vec<String>>, file: &str| {
        let of = |at: &String| tree.text(&format!("{at}/{file}")).and_then(number);
        places.iter().flatten().filter_map(of).min()
    };
    Group {
        is_old: true,
        cpu_milli: cpu.iter().flatten().filter_map(quota).min(),
        throttled: nearest(tree, &cpu, "cpu.stat", "nr_throttled"),
        memory_bytes: narrowest(&memory, "memory.limit_in_bytes"),
        killed: nearest(tree, &memory, "memory.oom_control", "oom_kill"),
        pids: narrowest(&tasks, "pids.max"),
        cpu: first(cpu),
        memory: first(memory),
        tasks: first(tasks),
    }
}

fn new(tree: &Tree, groups: &str) -> Group {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let places = Some(upwards(tree, MOUNT, own));
    let narrowest = |file: &str, of: fn(&str) -> Option<u64>| {
        let texts = places.iter().flatten().filter_map(|at| tree.text(&format!("{at}/{file}")));
        texts.filter_map(|text| of(&text)).min()
    };
    let number = |text: &str| text.trim().parse().ok();
    let at = first(places.clone());
    Group {
        is_old: false,
        cpu_milli: narrowest("cpu.max", cpu_milli),
        throttled: nearest(tree, &places, "cpu.stat", "nr_throttled"),
        memory_bytes: narrowest("memory.max", number),
        killed: nearest(tree, &places, "memory.events", "oom_kill"),
        pids: narrowest("pids.max", number),
        cpu: at.clone(),
        memory: at.clone(),
        tasks: at,
    }
}

/// The folders of a group and of those above it that there are, nearest first. Seen from a namespace a group outside
/// of it begins with "/..": then the namespace's root is all we have.
fn upwards(tree: &Tree, mount: &str, own: &str) -> Vec<String> {
    let own = if own.contains("..") { "/" } else { own.trim_end() };
    let place = |path: &Path| format!("{mount}{}", path.display()).trim_end_matches('/').to_owned();
    let above = Path::new(own).ancestors().take(DOCTOR_GROUP_DEPTH_MAX);
    above.map(place).filter(|place| tree.exists(place)).collect()
}

fn first(places: Option<Vec<String>>) -> Option<String> {
    places?.into_iter().next()
}

/// A count of the nearest group that has it: those above count other processes, too.
fn nearest(tree: &Tree, places: &Option<Vec<String>>, file: &str, name: &str) -> Option<u64> {
    let count = |at: &String| counted(&tree.text(&format!("{at}/{file}"))?, name);
    places.iter().flatten().find_map(count)
}
