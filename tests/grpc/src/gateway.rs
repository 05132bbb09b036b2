//! The gateway, started as its users start it, on ports of its own; it ends with its test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::PATIENCE;

/// A running Ringway.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    _ports: [Port; 2],
}

/// Starts `RINGWAY` (the built binary) with this configuration, in which `@LISTEN@` is its address.
pub fn start(text: &str) -> Gateway {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("ringway-grpc-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let ports = [Port::reserve(), Port::reserve()];
    let [address, admin] =
        [&ports[0], &ports[1]].map(|port| SocketAddr::from(([127, 0, 0, 1], port.number)));
    let log = folder.join("access.log");
    let listen = match text.contains("[[listen]]") {
        true => "",
        false => "[[listen]]\naddress = \"@LISTEN@\"\n",
    };
    let text = format!(
        "workers = 2\n[admin]\naddress = \"{admin}\"\n[observe]\naccess_log = {log:?}\n{listen}{text}"
    );
    let config = folder.join("ringway.toml");
    fs::write(&config, text.replace("@LISTEN@", &address.to_string())).expect("a file");
    let binary =
        std::env::var("RINGWAY").expect("RINGWAY names the built binary: use tests/grpc/run");
    let mut child = Command::new(binary)
        .args(["run", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be started");
    let stderr = BufReader::new(child.stderr.take().expect("piped above"));
    std::thread::spawn(move || {
        stderr.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
    });
    let gateway = Gateway { child, address, admin, folder, _ports: ports };
    eventually("the gateway to be ready", || gateway.admin("/readyz").starts_with("HTTP/1.1 200"));
    gateway
}

impl Gateway {
    /// What the admin listener answers, head and body; empty while there is none.
    pub fn admin(&self, target: &str) -> String {
        let mut text = String::new();
        if let Ok(mut wire) = TcpStream::connect(self.admin) {
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
            let _ =
                wire.write_all(request.as_bytes()).and_then(|()| wire.read_to_string(&mut text));
        }
        text
    }

    /// The sum of the samples of a metric whose labels have all of these in them.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin("/metrics");
        let samples = page.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name)
                && labels.iter().all(|label| line.contains(label))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The first `count` lines of the access log, waited for.
    pub fn log(&self, count: usize) -> Vec<String> {
        let read = || fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        eventually("the access log", || read().matches('\n').count() >= count);
        read().lines().map(str::to_owned).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Asks again and again until the answer is yes.
pub fn eventually(what: &str, mut question: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !question() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// A port that no other test of this machine uses meanwhile, as `tests/it` reserves them.
struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    fn reserve() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let locks = std::env::temp_dir().join("ringway-it-ports");
        fs::create_dir_all(&locks).expect("a folder");
        for _ in 0..20_000 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let start = std::process::id().wrapping_mul(37).wrapping_add(step);
            let number = 12_000 + (start % 20_000) as u16;
            let lock = File::create(locks.join(number.to_string())).expect("a file");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port between 12000 and 32000");
    }
}
