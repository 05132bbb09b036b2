//! `pebble`, the test authority of Let's Encrypt, with `pebble-challtestsrv` as its DNS: every name is 127.0.0.1.
//!
//! It refuses a part of all good nonces and looks at challenges over real sockets. Nothing of it is kept: its roots are
//! made when it starts.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certs::Authority;
use super::gateway::Port;

/// A running authority.
pub struct Pebble {
    processes: Vec<Child>,
    authority: Authority,
    settings: Settings,
    port: Port,
    management: Port,
    dns: Port,
}

/// How it behaves.
pub struct Settings {
    /// Where it looks for challenges over HTTP.
    pub http: u16,
    /// Where it looks for challenges over TLS.
    pub tls: u16,
    /// How long its certificates hold. Unit: seconds.
    pub validity: u64,
    /// How many of a hundred good nonces it refuses.
    pub nonces_refused: u32,
    /// Whether accounts must be bound to the key `kid-1`.
    pub external: bool,
}

/// The HMAC key of `kid-1`.
pub const EXTERNAL_SECRET: &str =
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

impl Settings {
    pub fn new(http: u16, tls: u16) -> Settings {
        Settings { http, tls, validity: 90 * 86_400, nonces_refused: 0, external: false }
    }
}

/// Waits longer than `eventually`: pebble makes RSA keys when it starts, and clients have pauses.
#[track_caller]
pub fn patiently(what: &str, mut question: impl FnMut() -> bool) {
    let started = Instant::now();
    while !question() {
        assert!(started.elapsed() < Duration::from_secs(90), "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Pebble {
    /// An authority that answers.
    #[track_caller]
    pub fn start(settings: Settings) -> Pebble {
        let mut pebble = Pebble::prepare(settings);
        pebble.run();
        pebble
    }

    /// An authority whose address is known, and where nobody answers yet.
    #[track_caller]
    pub fn prepare(settings: Settings) -> Pebble {
        let authority = Authority::new();
        authority.server("server", "DNS:localhost,IP:127.0.0.1");
        let [port, management, dns] = [Port::reserve(), Port::reserve(), Port::reserve()];
        Pebble { processes: Vec::new(), authority, settings, port, management, dns }
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn run(&mut self) {
        let Settings { http, tls, validity, nonces_refused, external } = self.settings;
        let (port, management) = (self.port.number, self.management.number);
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "server.pem", "privateKey": "server.key", "httpPort": {http}, "tlsPort": {tls},
            "ocspResponderURL": "", "certificateValidityPeriod": {validity},
            "externalAccountBindingRequired": {external},
            "externalAccountMACKeys": {{"kid-1": "{EXTERNAL_SECRET}"}}}}}}"#
        );
        std::fs::write(self.authority.path("pebble.json"), config).unwrap();
        let dns = format!("127.0.0.1:{}", self.dns.number);
        let names = ["-dns01", &dns, "-http01", "", "-https01", "", "-tlsalpn01", ""];
        let more = ["-management", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"];
        self.spawn("pebble-challtestsrv", &[&names[..], &more].concat(), "dns.log");
        self.spawn("pebble", &["-config", "pebble.json", "-dnsserver", &dns], "pebble.log");
        let directory = self.directory();
        patiently("pebble answers", || self.curl(&directory).contains("newOrder"));
        let root = self.curl(&format!("https://127.0.0.1:{management}/roots/0"));
        assert!(root.contains("BEGIN CERTIFICATE"), "{root}");
        std::fs::write(self.root(), root).unwrap();
        let refused = format!("reject {nonces_refused}% of good nonces");
        assert!(self.log().contains(&refused), "{}", self.log());
    }

    fn spawn(&mut self, program: &str, arguments: &[&str], log: &str) {
        let log = File::create(self.authority.path(log)).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", self.settings.nonces_refused.to_string())
            .current_dir(self.authority.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
        self.processes.push(child);
    }

    fn curl(&self, url: &str) -> String {
        let output = Command::new("curl").args(["-sk", "--max-time", "5", url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port.number)
    }

    /// The root of its own server.
    pub fn ca(&self) -> String {
        self.authority.path("root.pem").display().to_string()
    }

    /// The root of what it gives.
    pub fn root(&self) -> PathBuf {
        self.authority.path("issued.pem")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.authority.path("pebble.log")).unwrap_or_default()
    }

    /// How often an order was asked for.
    pub fn orders(&self) -> usize {
        self.log().matches("POST /order-plz").count()
    }

    /// Asks for `https://HOST/` at a port of this machine, by the authority's root; whether that is good, and what came.
    pub fn ask(&self, host: &str, port: u16) -> (bool, String) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", "--cacert", "issued.pem", "--resolve"])
            .arg(format!("{host}:{port}:127.0.0.1"))
            .arg(format!("https://{host}:{port}/"))
            .current_dir(self.authority.folder())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
