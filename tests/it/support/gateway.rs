//! Our own binary, started on a free port with a configuration text, and stopped when the test ends.
//!
//! The text may say `@LISTEN@`, `@PORT@` (of that), `@ADMIN@`, `@DIR@` and, for each name given to `with`, `@name@`. What a test
//! does not write itself is added in front: two workers, one listener, an admin listener, an access log in
//! the test's folder. The process is killed on drop and never outlives its test. `RINGWAY_TEST_DRIVER` set to
//! `epoll` or `io_uring` passes `--driver`, so that the whole suite can be run once on each.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use super::eventually;
use super::seccomp::Filter;
use super::wire::{Response, Wire};

/// A running Ringway.
pub struct Gateway {
    child: Child,
    stderr: Arc<Mutex<String>>,
    stdout: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    names: Vec<(String, String)>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: Folder,
    /// Connections that only take descriptors.
    fillers: Mutex<Vec<TcpStream>>,
    _ports: [Port; 2],
}

/// What is needed to start one.
pub struct Setup {
    text: String,
    names: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    driver: Option<String>,
    readerless: bool,
    filter: Option<Filter>,
    descriptors: Option<u64>,
    files: Vec<(String, String)>,
}

/// Everything goes to `app`.
pub const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
"#;

/// The gateway with this configuration; see the essay for what may stand in it.
pub fn gateway(text: &str) -> Setup {
    Setup {
        text: text.to_string(),
        names: Vec::new(),
        environment: Vec::new(),
        driver: None,
        readerless: false,
        filter: None,
        descriptors: None,
        files: Vec::new(),
    }
}

impl Setup {
    /// `@name@` in the configuration stands for `value`.
    pub fn with(mut self, name: &str, value: impl Display) -> Setup {
        self.names.push((name.to_string(), value.to_string()));
        self
    }

    /// How many files and sockets it may have open, soft and hard, from its start.
    pub fn descriptors(mut self, count: u64) -> Setup {
        self.descriptors = Some(count);
        self
    }

    /// Puts a filter of system calls in force.
    pub fn filtered(mut self, filter: Filter) -> Setup {
        self.filter = Some(filter);
        self
    }

    /// Passes `--driver`, whatever the environment says.
    pub fn driver(mut self, name: &str) -> Setup {
        self.driver = Some(name.to_string());
        self
    }

    /// Nobody reads its standard output: writing there is EPIPE from the start.
    pub fn without_reader(mut self) -> Setup {
        self.readerless = true;
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// A file in the test's folder, beside the configuration (`@DIR@/name`).
    pub fn file(mut self, name: &str, content: &str) -> Setup {
        self.files.push((name.to_string(), content.to_string()));
        self
    }

    /// Starts it and waits until `/readyz` says 200.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let mut gateway = self.spawn();
        gateway.wait_until_ready();
        gateway
    }

    /// Starts it and does not wait.
    pub fn spawn(self) -> Gateway {
        let folder = Folder::new();
        let ports = [Port::reserve(), Port::reserve()];
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0].number));
        let admin = SocketAddr::from(([127, 0, 0, 1], ports[1].number));
        let mut names = self.names;
        names.push(("LISTEN".into(), address.to_string()));
        names.push(("PORT".into(), address.port().to_string()));
        names.push(("ADMIN".into(), admin.to_string()));
        names.push(("DIR".into(), folder.path().display().to_string()));
        for (name, content) in &self.files {
            fs::write(folder.path().join(name), fill(content, &names)).unwrap();
        }
        let config = folder.path().join("ringway.toml");
        fs::write(&config, fill(&complete(&self.text), &names)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.arg("run").arg("-c").arg(&config);
        let driver = self.driver.or_else(|| std::env::var("RINGWAY_TEST_DRIVER").ok());
        command.args(driver.map(|driver| format!("--driver={driver}")));
        if let Some(count) = self.descriptors {
            few_descriptors(&mut command, count);
        }
        if let Some(filter) = self.filter {
            filter.apply(&mut command);
        }
        command.envs(self.environment).current_dir(folder.path());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary can be started");
        let pipe = child.stdout.take().expect("piped above");
        let (stdout, out_reader) = match self.readerless {
            true => collect(std::io::empty()),
            false => collect(pipe),
        };
        let (stderr, err_reader) = collect(child.stderr.take().expect("piped above"));
        Gateway {
            child,
            stderr,
            stdout,
            readers: vec![out_reader, err_reader],
            names,
            address,
            admin,
            folder,
            fillers: Mutex::default(),
            _ports: ports,
        }
    }
}

impl Gateway {
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let admin = self.admin;
        eventually("/readyz to say 200", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status} before it was ready:\n{}", self.stderr());
            }
            Wire::try_connect(admin).is_some_and(|mut wire| {
                wire.send("GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
                wire.try_response("GET").is_ok_and(|response| response.status == 200)
            })
        });
    }

    /// A new connection to the first listener.
    #[track_caller]
    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// One `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.get_with(target, &[])
    }

    /// One `GET` with further fields on a connection of its own.
    #[track_caller]
    pub fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        let mut wire = self.connect();
        wire.get(target, fields)
    }

    /// One `GET` to the admin listener.
    #[track_caller]
    pub fn admin(&self, target: &str) -> Response {
        Wire::connect(self.admin).get(target, &[])
    }

    /// The sum of every sample of this metric whose line also has all of `labels` in it; 0 when absent.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin("/metrics");
        assert_eq!(page.status, 200, "/metrics");
        let text = page.text();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter(|line| {
            line.split(['{', ' ']).next() == Some(name)
                && labels.iter().all(|label| line.contains(label))
        });
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// The first `count` lines of the access log, waited for.
    #[track_caller]
    pub fn access_log(&self, count: usize) -> Vec<Value> {
        let path = self.folder.path().join("access.log");
        let read = || fs::read_to_string(&path).unwrap_or_default();
        eventually(&format!("{count} access log lines"), || read().matches('\n').count() >= count);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"))
        };
        // Each core hands its own pages over: only the times say which request came first.
        let mut lines: Vec<Value> = read().lines().map(parse).collect();
        lines.sort_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()));
        lines
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Writes another configuration (with the same additions in front) over the first one.
    pub fn rewrite(&self, text: &str) {
        let path = self.folder.path().join("ringway.toml");
        let beside = self.folder.path().join("ringway.toml.new");
        fs::write(&beside, fill(&complete(text), &self.names)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `HUP`, `TERM`, …
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.child.id()))
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// For each thread of the process: its name and the CPUs it may use (proc_pid_status(5)).
    pub fn threads(&self) -> Vec<(String, String)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let value = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim().to_string()
        };
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status"));
        let of = |text: String| (value(&text, "Name:"), value(&text, "Cpus_allowed_list:"));
        tasks.filter_map(|task| status(task.unwrap()).ok().map(of)).collect()
    }

    /// Ends one thread of the process by exit(2), which gives nothing back that it holds.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[track_caller]
    pub fn end_thread(&self, name: &str) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let named = |task: &fs::DirEntry| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.map(|task| task.unwrap()).find(named).expect("a thread of that name");
        make_thread_exit(task.file_name().to_str().unwrap().parse().unwrap());
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the gateway to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status.expect("eventually saw it")
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What the process has in memory now, shared pages by their share.
    ///
    /// Unit: KiB. Source: `Pss` of proc_pid_smaps(5).
    pub fn memory_kib(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(rollup).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).expect("Pss");
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Lets the process open only so many files and sockets more (prlimit(2)). The admin listener and the
    /// access log need some, too: what a test wants from them it must have asked before.
    pub fn limit_descriptors(&self, more: u64) {
        let folder = format!("/proc/{}/fd", self.child.id());
        let number = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap()
        };
        // What the test runner left open for its children to inherit has a high number and is not counted.
        let seen = || {
            let all = fs::read_dir(&folder).unwrap().map(number);
            let mut seen: Vec<u64> = all.filter(|number| *number < 200).collect();
            seen.sort_unstable();
            seen
        };
        // The kernel gives the lowest number that is free, if it is below the limit: with gaps among those in use,
        // one that is closed might be of no use. Connections to the admin listener fill them.
        eventually("descriptors without gaps", || {
            let (before, now) = (seen(), seen());
            let has_gaps = now.last().is_some_and(|last| *last >= now.len() as u64);
            if before == now && has_gaps {
                self.fillers.lock().unwrap().push(TcpStream::connect(self.admin).unwrap());
                eventually("something to change", || seen() != now);
            }
            before == now && !has_gaps
        });
        self.set_descriptors(seen().len() as u64 + more);
    }

    pub fn unlimit_descriptors(&self) {
        self.set_descriptors(4096);
    }

    #[expect(unsafe_code, reason = "prlimit(2) has no wrapper in std")]
    fn set_descriptors(&self, count: u64) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointers are valid for the calls.
        let done = unsafe {
            libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit);
            limit.rlim_cur = count.min(limit.rlim_max);
            libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(done, 0, "prlimit");
    }

    /// The largest resident memory the process ever had.
    ///
    /// Unit: KiB. Source: `VmHWM` of proc_pid_status(5).
    pub fn memory_peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the gateway's stderr\n{}----", self.stderr());
        }
    }
}

/// A folder under the system's temporary one, removed with its content.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringway-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A TCP port that no other test of this machine uses meanwhile.
///
/// Below the range the kernel gives to outgoing connections (ip_local_port_range starts at 32768), and
/// held by a lock file: our listeners use SO_REUSEPORT, so two gateways on one port would not notice.
pub struct Port {
    pub number: u16,
    _lock: File,
}

impl Port {
    pub fn reserve() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let locks = std::env::temp_dir().join("ringway-it-ports");
        fs::create_dir_all(&locks).unwrap();
        for _ in 0..20_000 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let start = std::process::id().wrapping_mul(37).wrapping_add(step);
            let number = 12_000 + u16::try_from(start % 20_000).expect("below 20,000");
            let lock = File::create(locks.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port between 12000 and 32000");
    }
}

/// Runs the binary with these arguments to its end: exit code, standard output, standard error.
pub fn ringway(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the built binary can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 for people");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Lets what `command` starts have so many open files.
#[expect(unsafe_code, reason = "setrlimit(2) has no wrapper in std")]
fn few_descriptors(command: &mut Command, count: u64) {
    use std::os::unix::process::CommandExt;
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the pointer is valid for reads, and the call is safe between fork and exec.
    let install = move || match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: the closure makes one system call; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(install) };
}

/// A test's configuration with every part that it does not have itself added.
fn complete(text: &str) -> String {
    // Keys of the root table come before any table of TOML.
    let tables = text.lines().position(|line| line.trim_start().starts_with('['));
    let lines: Vec<&str> = text.lines().collect();
    let (root, tables) = lines.split_at(tables.unwrap_or(lines.len()));
    let has = |start: &str| lines.iter().any(|line| line.trim_start().starts_with(start));
    let mut out = format!("{}\n", root.join("\n"));
    for (start, added) in [
        ("workers", "workers = 2\n"),
        ("[[listen]]", "[[listen]]\naddress = \"@LISTEN@\"\n"),
        ("[admin]", "[admin]\naddress = \"@ADMIN@\"\n"),
        ("[observe]", "[observe]\naccess_log = \"@DIR@/access.log\"\n"),
    ] {
        if !has(start) {
            out.push_str(added);
        }
    }
    out + &tables.join("\n") + "\n"
}

fn fill(text: &str, names: &[(String, String)]) -> String {
    names
        .iter()
        .fold(text.to_string(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

/// Reads a pipe to its end on a thread, so that the child never blocks on it.
fn collect(pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (text, reader)
}

/// Stops a thread that waits in a system call, and lets it make exit(2) instead of going on.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "ptrace(2) has no wrapper in std")]
fn make_thread_exit(thread: libc::pid_t) {
    const SYSCALL_BYTES: u64 = 2;
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the thread belongs to a child of this process; `registers` is valid for both calls, and the
    // instruction before the one where a waiting thread stands is its system call.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, thread, nothing, nothing), 0, "seize");
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, thread, nothing, nothing), 0, "interrupt");
        assert_eq!(libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL), thread, "waitpid");
        let mut registers: libc::user_regs_struct = std::mem::zeroed();
        assert_eq!(
            libc::ptrace(libc::PTRACE_GETREGS, thread, nothing, &raw mut registers),
            0,
            "getregs"
        );
        registers.rip -= SYSCALL_BYTES;
        registers.rax = libc::SYS_exit as u64;
        registers.orig_rax = u64::MAX;
        registers.rdi = 0;
        assert_eq!(
            libc::ptrace(libc::PTRACE_SETREGS, thread, nothing, &raw mut registers),
            0,
            "setregs"
        );
        assert_eq!(libc::ptrace(libc::PTRACE_DETACH, thread, nothing, nothing), 0, "detach");
    }
}
