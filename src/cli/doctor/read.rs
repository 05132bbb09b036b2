//! Reads a host: /proc, /sys and /etc below a root, each file and folder bounded.
//!
//! It never writes, never waits (only regular files are read) and never fails: what cannot be read is not there. What
//! steers a terminal is never let through, whoever wrote it there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::limits::{DOCTOR_ENTRIES_MAX, DOCTOR_FILE_BYTES_MAX};
use crate::cli::doctor::bounds;
use crate::cli::doctor::files::{LIMITS, LIMITS_PATH, UNIT_PATH, place};
use crate::cli::doctor::host::{
    Card, Host, Interrupt, Node, Process, Ring, SETTINGS, chosen, counters, dropped, field,
    interrupts, is_admin, limit, list, names_any,
};
use crate::runtime::probe::{Failure, RingFlags, refusal, ring_flags};

/// Where ringway.service may stand, the one that counts first (systemd.unit(5)).
const UNIT_PLACES: [&str; 5] = [
    UNIT_PATH,
    "/run/systemd/system/ringway.service",
    "/usr/local/lib/systemd/system/ringway.service",
    "/usr/lib/systemd/system/ringway.service",
    "/lib/systemd/system/ringway.service",
];

/// The kernel's clock.
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";

/// The first namespace of processes, which all hosts begin with (PROC_PID_INIT_INO of the kernel): in another one we
/// are in a container, of whatever make.
const HOSTS_PROCESSES: &str = "pid:[4026531836]";

/// The files of a host below a root.
pub struct Tree {
    root: PathBuf,
    /// Whether it is the host that we run on, so that a ring can be tried.
    is_ours: bool,
}

impl Tree {
    /// The host that we run on, or one whose files stand below `root`.
    pub fn new(root: Option<&Path>) -> Self {
        Self { root: root.unwrap_or(Path::new("/")).to_path_buf(), is_ours: root.is_none() }
    }

    /// A path of the host as one of ours.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether it is the host that we run on.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// The text of a file, unless it is too large or not to be read.
    pub fn text(&self, path: &str) -> Option<String> {
        // A pipe would make the opening wait.
        let open = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(self.path(path));
        let file: File = open.ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(DOCTOR_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        let shown = |char: char| match char {
            '\n' | '\t' => char,
            steers if steers.is_control() => char::REPLACEMENT_CHARACTER,
            plain => plain,
        };
        (bytes.len() as u64 <= DOCTOR_FILE_BYTES_MAX)
            .then(|| String::from_utf8_lossy(&bytes).chars().map(shown).collect())
    }

    /// The text without what is white at its ends, in one line.
    fn word(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim().replace('\n', " "))
    }

    fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    /// The names in a folder, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else { return Vec::new() };
        let entries = entries.take(DOCTOR_ENTRIES_MAX).flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.contains(char::is_control));
        // rx-2 before rx-10.
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Whether something stands there.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Whether a link stands there, wherever it leads.
    pub fn has_link(&self, path: &str) -> bool {
        fs::read_link(self.path(path)).is_ok()
    }

    /// All readings; of the process `pid`, or of our own.
    pub fn host(&self, pid: Option<u32>) -> Host {
        let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
        let status = self.text(&format!("/proc/{process}/status")).unwrap_or_default();
        let limits = self.text(&format!("/proc/{process}/limits")).unwrap_or_default();
        let groups = self.text(&format!("/proc/{process}/cgroup")).unwrap_or_default();
        let memory = self.text("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemTotal")
            .and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
        let sockets = self.text("/proc/net/sockstat").unwrap_or_default();
        let mut host = Host {
            kernel: self.word("/proc/sys/kernel/osrelease"),
            ring: Ring::Untried,
            settings: SETTINGS
                .iter()
                .filter_map(|name| Some((*name, self.setting(name)?)))
                .collect(),
            gateways: self.gateways(),
            process: Process {
                id: pid,
                nofile: limit(&limits, "Max open files"),
                memlock: limit(&limits, "Max locked memory").map(|(soft, _)| soft),
                seccomp: field(&status, "Seccomp").and_then(|mode| mode.parse().ok()),
                is_admin: field(&status, "CapEff").is_some_and(is_admin),
                cpus: field(&status, "Cpus_allowed_list").map(list).unwrap_or_default(),
            },
            counters: self
                .text("/proc/net/netstat")
                .map(|text| counters(&text))
                .unwrap_or_default(),
            packets_dropped: self.text("/proc/net/softnet_stat").map(|text| dropped(&text)),
            time_wait: field(&sockets, "TCP")
                .and_then(|line| line.split_once(" tw ")?.1.split(' ').next()?.parse().ok()),
            clocksource: self.word(&format!("{CLOCK}/current_clocksource")),
            clocksources: self.text(&format!("{CLOCK}/available_clocksource")),
            governors: self.governors(),
            huge_pages: self
                .text("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| chosen(&text).map(str::to_owned)),
            nodes: self.nodes(),
            cards: self.cards(),
            group: bounds::read(self, &groups),
            memory_bytes: kib.map(|kib| kib.saturating_mul(1024)),
            container: self.is_container(&groups),
            systemd: self.exists("/run/systemd/system"),
            unit: self.unit(),
            limits_are_written: self.text(LIMITS_PATH).is_some_and(|text| text == LIMITS),
        };
        host.ring = match pid.filter(|_| self.is_ours) {
            Some(pid) => self.held(pid),
            None => self.ring(&host),
        };
        host
    }

    /// Processes of our name, but for this one.
    fn gateways(&self) -> Vec<u32> {
        let numbers = self.names("/proc").into_iter().filter_map(|name| name.parse().ok());
        let is_ours = |id: &u32| {
            *id != std::process::id()
                && self.word(&format!("/proc/{id}/comm")).is_some_and(|name| name == "ringway")
        };
        numbers.filter(is_ours).collect()
    }

    /// A kernel setting, its parts one space apart.
    pub fn setting(&self, name: &str) -> Option<String> {
        let text = self.text(&place(name))?;
        Some(text.split_ascii_whitespace().collect::<Vec<&str>>().join(" "))
    }

    /// Tries a ring; of another host a file may say what came of it: `ok`, or the name of an error.
    fn ring(&self, host: &Host) -> Ring {
        if self.is_ours {
            return ring_flags().map_or_else(Ring::Refused, Ring::Made);
        }
        let errno = match self.word("/io_uring_setup").as_deref() {
            Some("ok") => return Ring::Made(RingFlags::DeferTaskrun),
            Some("coop_taskrun") => return Ring::Made(RingFlags::CoopTaskrun),
            Some("EPERM") => libc::EPERM,
            Some("EACCES") => libc::EACCES,
            Some("ENOSYS") => libc::ENOSYS,
            Some("ENOMEM") => libc::ENOMEM,
            _ => return Ring::Untried,
        };
        let disabled = host.setting("kernel.io_uring_disabled");
        let filtered = host.process.seccomp != Some(0);
        let error = io::Error::from_raw_os_error(errno);
        let failure = Failure { call: "io_uring_setup", error };
        Ring::Refused(refusal(&failure, disabled, filtered))
    }

    /// Whether a process holds a ring: what it runs on, whatever we ourselves could have.
    fn held(&self, pid: u32) -> Ring {
        let folder = format!("/proc/{pid}/fd");
        if fs::read_dir(self.path(&folder)).is_err() {
            return Ring::Hidden;
        }
        let is_ring = |name: &String| {
            let link = fs::read_link(self.path(&format!("{folder}/{name}")));
            link.is_ok_and(|link| link.as_os_str() == "anon_inode:[io_uring]")
        };
        let is_held = self.names(&folder).iter().any(is_ring);
        if is_held { Ring::Held } else { Ring::NotHeld }
    }

    fn governors(&self) -> Vec<String> {
        let cpus = self.names("/sys/devices/system/cpu");
        let path = |cpu: &String| format!("/sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor");
        let mut all: Vec<String> = cpus.iter().filter_map(|cpu| self.word(&path(cpu))).collect();
        all.sort();
        all.dedup();
        all
    }

    fn nodes(&self) -> Vec<Node> {
        let online = self.word("/sys/devices/system/node/online").unwrap_or_default();
        let cpus = |id: usize| {
            let text = self.text(&format!("/sys/devices/system/node/node{id}/cpulist"));
            text.map(|text| list(&text)).unwrap_or_default()
        };
        let nodes = list(&online).into_iter().take(DOCTOR_ENTRIES_MAX);
        nodes.map(|id| Node { id, cpus: cpus(id) }).collect()
    }

    /// Cards that are devices: loopback, bridges and the like have none.
    fn cards(&self) -> Vec<Card> {
        let counts =
            self.text("/proc/interrupts").map(|text| interrupts(&text)).unwrap_or_default();
        let card = |name: String| {
            let folder = format!("/sys/class/net/{name}");
            if !self.exists(&format!("{folder}/device")) {
                return None;
            }
            let queues = self.names(&format!("{folder}/queues"));
            let mask =
                |queue: &String, file: &str| self.text(&format!("{folder}/queues/{queue}/{file}"));
            let is = |kind: &'static str| move |queue: &&String| queue.starts_with(kind);
            // A virtio device stands one step below the PCI device that has the interrupts.
            let places =
                [format!("{folder}/device/msi_irqs"), format!("{folder}/device/../msi_irqs")];
            let numbers =
                places.iter().map(|place| self.names(place)).find(|names| !names.is_empty());
            let numbers =
                numbers.unwrap_or_default().into_iter().filter_map(|name| name.parse().ok());
            let came = |number: &u32| counts.get(number).is_some_and(|count| *count > 0);
            Some(Card {
                arriving: queues
                    .iter()
                    .filter(is("rx-"))
                    .map(|queue| mask(queue, "rps_cpus").is_some_and(|mask| names_any(&mask)))
                    .collect(),
                leaving: queues
                    .iter()
                    .filter(is("tx-"))
                    .map(|queue| mask(queue, "xps_cpus").map(|mask| names_any(&mask)))
                    .collect(),
                interrupts: numbers.filter(came).map(|number| self.interrupt(number)).collect(),
                node: self.number(&format!("{folder}/device/numa_node")),
                name,
            })
        };
        self.names("/sys/class/net").into_iter().filter_map(card).collect()
    }

    fn interrupt(&self, number: u32) -> Interrupt {
        let files = ["effective_affinity_list", "smp_affinity_list"];
        let cpus = files.iter().find_map(|file| self.text(&format!("/proc/irq/{number}/{file}")));
        Interrupt { number, cpus: cpus.map(|cpus| list(&cpus)).unwrap_or_default() }
    }

    fn is_container(&self, groups: &str) -> bool {
        const WORDS: [&str; 5] = ["docker", "kubepods", "containerd", "libpod", "lxc"];
        // Of Docker, of Podman, of LXC and systemd-nspawn, of Kubernetes.
        const MARKS: [&str; 4] = [
            "/.dockerenv",
            "/run/.containerenv",
            "/run/systemd/container",
            "/run/secrets/kubernetes.io",
        ];
        let processes = fs::read_link(self.path("/proc/self/ns/pid"));
        MARKS.iter().any(|path| self.exists(path))
            || WORDS.iter().any(|word| groups.contains(word))
            || processes.is_ok_and(|link| link.as_os_str() != HOSTS_PROCESSES)
    }

    /// The unit and what is added to it, in systemd's order: by the names of files, whichever folder they are in, and
    /// of one name the first (systemd.unit(5)).
    fn unit(&self) -> Option<String> {
        let mut text = UNIT_PLACES.iter().find_map(|path| self.text(path))?;
        let mut added: BTreeMap<String, String> = BTreeMap::new();
        for folder in UNIT_PLACES.map(|place| format!("{place}.d")) {
            let names = self.names(&folder).into_iter();
            for name in names.filter(|name| name.ends_with(".conf")) {
                let path = format!("{folder}/{name}");
                added.entry(name).or_insert(path);
            }
        }
        for path in added.values() {
            text.push('\n');
            text.push_str(&self.text(path).unwrap_or_default());
        }
        Some(text)
    }
}
