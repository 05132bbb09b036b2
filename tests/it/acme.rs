//! Certificates from a real authority (`pebble`): obtained, shared, renewed, and what happens when it says no.
//!
//! The authority looks at challenges over sockets, as any does; clients check what they are shown by its root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::certs::Authority;
use crate::support::eventually;
use crate::support::gateway::{Folder, Gateway, Port, Setup, gateway, ringway};
use crate::support::pebble::{EXTERNAL_SECRET, Pebble, Settings, patiently};

/// One gateway's listeners, and what all of them share.
const CONFIG: &str = r#"
[acme]
terms_agreed = true
email = "ops@a.test"
directory = "@directory@"
ca = "@ca@"
storage = "@storage@"
challenge = "@challenge@"
@more@

[[listen]]
address = "127.0.0.1:@http@"
redirect = "https"

[[listen]]
address = "127.0.0.1:@tls@"
[listen.tls]
certificates = [@certificates@]

[[route]]
match = "/{*rest}"
respond = { body = "served" }
"#;

/// Where a gateway listens.
struct Ports {
    http: Port,
    tls: Port,
}

impl Ports {
    fn new() -> Ports {
        Ports { http: Port::reserve(), tls: Port::reserve() }
    }

    fn settings(&self) -> Settings {
        Settings::new(self.http.number, self.tls.number)
    }
}

/// A gateway at these ports that asks this authority.
struct House<'a> {
    pebble: &'a Pebble,
    ports: &'a Ports,
    storage: &'a Path,
    challenge: &'a str,
    certificates: &'a str,
    more: &'a str,
}

impl<'a> House<'a> {
    fn new(pebble: &'a Pebble, ports: &'a Ports, storage: &'a Path) -> House<'a> {
        let (challenge, certificates) = ("tls-alpn-01", "{ acme = [\"a.test\"] }");
        House { pebble, ports, storage, challenge, certificates, more: "" }
    }

    fn text(&self) -> String {
        CONFIG.replace("@certificates@", self.certificates).replace("@more@", self.more)
    }

    fn setup(&self) -> Setup {
        gateway(&self.text())
            .with("directory", self.pebble.directory())
            .with("ca", self.pebble.ca())
            .with("storage", self.storage.display())
            .with("challenge", self.challenge)
            .with("http", self.ports.http.number)
            .with("tls", self.ports.tls.number)
    }

    #[track_caller]
    fn start(&self) -> Gateway {
        self.setup().start()
    }

    /// Waits until a client is served at a host.
    #[track_caller]
    fn is_served(&self, host: &str, gateway: &Gateway) {
        patiently(&format!("{host} is served; {}", self.storage.display()), || {
            let (good, text) = self.pebble.ask(host, self.ports.tls.number);
            if good {
                assert_eq!(text, "served");
            }
            let said = gateway.stderr();
            assert!(!said.contains("panicked"), "{said}");
            good
        });
    }
}

fn stored(storage: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(storage.join("certificates")).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

fn all_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, out) } else { out.push(path) }
    }
}

/// The status line of a request without TLS.
fn plain(ports: &Ports, target: &str) -> String {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"])
        .arg(format!("http://127.0.0.1:{}{target}", ports.http.number))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_certificate_is_obtained_over_http_in_front_of_redirections() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(Settings { nonces_refused: 20, ..ports.settings() });
    let house = House { challenge: "http-01", ..House::new(&pebble, &ports, storage.path()) };
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    assert!(pebble.orders() >= 1, "{}", pebble.log());
    let mut files = Vec::new();
    all_files(storage.path(), &mut files);
    assert!(files.len() >= 4, "account, certificate, state, lock: {files:?}");
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    // What is not in flight is a request like any other.
    assert_eq!(plain(&ports, "/.well-known/acme-challenge/abc"), "308");
    let end = gateway.metric("ringway_acme_not_after_timestamp_seconds", &["name=\"a.test\""]);
    let got = gateway.metric("ringway_acme_last_success_timestamp_seconds", &["name=\"a.test\""]);
    assert!(end > got && got > 1_700_000_000.0, "{end} {got}");
    let said = gateway.stderr();
    assert!(said.contains("a certificate for a.test was obtained"), "{said}");
    let account = fs::read_dir(storage.path().join("accounts")).unwrap().next().unwrap().unwrap();
    let account: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(account.path()).unwrap()).unwrap();
    let key = account["credentials"]["key_pkcs8"].as_str().unwrap();
    assert!(!said.contains(key) && !said.contains("PRIVATE KEY"), "{said}");
}

#[test]
fn a_certificate_is_obtained_over_tls_and_challenges_end_with_the_order() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(Settings { external: true, ..ports.settings() });
    let authority = Authority::new();
    authority.server("b", "DNS:b.test");
    let folder = authority.folder();
    let certificates = format!(
        "{{ cert = \"{folder}/b.pem\", key = \"{folder}/b.key\" }}, {{ acme = [\"a.test\", \"A2.test\"] }}"
    );
    let more = format!(
        "key_type = \"p384\"\nexternal_account = {{ key_id = \"kid-1\", secret = \"{EXTERNAL_SECRET}\" }}"
    );
    let house = House {
        certificates: &certificates,
        more: &more,
        ..House::new(&pebble, &ports, storage.path())
    };
    let gateway = house.start();
    let port = ports.tls.number;
    // Other names are served from the first moment on.
    let (good, text) =
        authority.curl(&format!("--resolve b.test:{port}:127.0.0.1 https://b.test:{port}/"));
    assert!(good && text == "served", "{text}");
    house.is_served("a.test", &gateway);
    house.is_served("a2.test", &gateway);
    assert_eq!(pebble.orders(), 1, "two names, one order");
    // Who asks for a challenge that is not in flight is shown no certificate.
    let challenge = format!("-connect 127.0.0.1:{port} -servername a.test -alpn acme-tls/1");
    let (good, text) = authority.s_client(&challenge, "");
    assert!(!good && text.contains("no application protocol"), "{text}");
    assert!(!gateway.stderr().contains(EXTERNAL_SECRET), "{}", gateway.stderr());
    let text = fs::read_to_string(&stored(storage.path())[0]).unwrap();
    fs::write(authority.path("a.pem"), text).unwrap();
    let said = authority.openssl("x509 -in a.pem -noout -text");
    assert!(said.contains("P-384"), "{said}");
}

#[test]
fn it_is_renewed_and_a_kept_connection_never_notices() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(Settings { validity: 24, ..ports.settings() });
    let house = House::new(&pebble, &ports, storage.path());
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    let authority = Authority::new();
    fs::copy(pebble.root(), authority.path("root.pem")).unwrap();
    let how = format!("-connect 127.0.0.1:{} -servername a.test", ports.tls.number);
    let mut kept = authority.keep_open(&how);
    let mut ask = || {
        let text = kept.ask("GET /kept HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(text.contains("HTTP/1.1 200") && text.ends_with("served"), "{text}");
    };
    ask();
    let first = fs::read_to_string(&stored(storage.path())[0]).unwrap();
    let before = gateway.stderr().matches(" is in force").count();
    patiently("the next certificate in force", || {
        ask();
        gateway.stderr().matches(" is in force").count() > before
    });
    assert_ne!(fs::read_to_string(&stored(storage.path())[0]).unwrap(), first);
    assert_eq!(stored(storage.path()).len(), 1, "it takes the place of the old one");
    ask();
    let (good, text) = pebble.ask("a.test", ports.tls.number);
    assert!(good && text == "served", "{text}");
    let said = gateway.stderr();
    assert!(said.matches("was obtained").count() >= 2, "{said}");
}

#[test]
fn replicas_share_a_store_and_ask_once_and_a_restart_asks_for_nothing() {
    let (ports, other, storage) = (Ports::new(), Ports::new(), Folder::new());
    let pebble = Pebble::start(ports.settings());
    let house = House::new(&pebble, &ports, storage.path());
    let neighbour = House::new(&pebble, &other, storage.path());
    let (first, second) = (house.start(), neighbour.start());
    house.is_served("a.test", &first);
    neighbour.is_served("a.test", &second);
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
    drop((first, second));
    let again = neighbour.start();
    let (good, text) = pebble.ask("a.test", other.tls.number);
    assert!(good && text == "served", "at once: {text}");
    assert_eq!(pebble.orders(), 1);
    assert!(!again.stderr().contains("asking"), "{}", again.stderr());
}

#[test]
fn a_replica_answers_the_challenges_of_another() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let (ports, other, storage) = (Ports::new(), Ports::new(), Folder::new());
        let pebble = Pebble::start(ports.settings());
        let nobody = Pebble::prepare(ports.settings());
        // The authority looks here, and this one has no authority to ask.
        let house = House { challenge, ..House::new(&nobody, &ports, storage.path()) };
        let answering = house.start();
        eventually("it has found nobody", || answering.stderr().contains("no certificate for"));
        let neighbour = House { challenge, ..House::new(&pebble, &other, storage.path()) };
        let asking = neighbour.start();
        neighbour.is_served("a.test", &asking);
        assert_eq!(pebble.orders(), 1, "{challenge}: {}", pebble.log());
    }
}

#[test]
fn an_authority_that_is_away_holds_nobody_up() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let mut pebble = Pebble::prepare(ports.settings());
    let authority = Authority::new();
    authority.server("b", "DNS:b.test");
    let folder = authority.folder();
    let certificates = format!(
        "{{ cert = \"{folder}/b.pem\", key = \"{folder}/b.key\" }}, {{ acme = [\"a.test\"] }}"
    );
    let house =
        House { certificates: &certificates, ..House::new(&pebble, &ports, storage.path()) };
    let gateway = house.start();
    let port = ports.tls.number;
    let curl = |host: &str| {
        authority.curl(&format!("--resolve {host}:{port}:127.0.0.1 https://{host}:{port}/"))
    };
    eventually("it is told", || gateway.stderr().contains("no certificate for a.test"));
    let said = gateway.stderr();
    assert!(said.contains(&pebble.directory()) && said.contains("refused"), "{said}");
    let (good, text) = curl("b.test");
    assert!(good && text == "served", "{text}");
    let (good, text) = curl("a.test");
    assert!(!good && text.contains("alert"), "refused, and shown nobody else's: {text}");
    assert!(
        gateway.metric("ringway_acme_failures_total", &["name=\"a.test\""]) >= 1.0,
        "{}",
        gateway.stderr()
    );
    drop(gateway);
    pebble.run();
    let house =
        House { certificates: &certificates, ..House::new(&pebble, &ports, storage.path()) };
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    assert_eq!(gateway.metric("ringway_acme_failures_total", &["name=\"a.test\""]), {
        let state = fs::read_dir(storage.path().join("state")).unwrap().next().unwrap().unwrap();
        let state: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(state.path()).unwrap()).unwrap();
        assert_eq!(state["failures"], 0);
        state["failures_total"].as_f64().unwrap()
    });
}

#[test]
fn what_the_authority_does_not_find_is_told_with_what_to_do() {
    let cases = [
        ("tls-alpn-01", "port 443 of a.test comes to this gateway"),
        ("http-01", "port 80 of a.test comes to a listener"),
    ];
    for (challenge, advice) in cases {
        let (ports, elsewhere, storage) = (Ports::new(), Ports::new(), Folder::new());
        let pebble = Pebble::start(elsewhere.settings());
        let house = House { challenge, ..House::new(&pebble, &ports, storage.path()) };
        let gateway = house.start();
        patiently("it is told", || gateway.stderr().contains("no certificate for a.test"));
        let text = gateway.stderr();
        let said = format!("a.test, by {challenge}: ");
        assert!(text.contains(&said) && text.contains("onnect"), "{text}");
        assert!(text.contains(advice), "{text}");
        assert_eq!(text.matches("no certificate for").count(), 1, "once: {text}");
        assert_eq!(pebble.orders(), 1);
        drop(gateway);
        // A restart is no way around the pause.
        let gateway = house.start();
        let port = ports.tls.number;
        let (good, _) = pebble.ask("a.test", port);
        assert!(!good);
        eventually("its past is known", || {
            gateway.metric("ringway_acme_failures_total", &["name=\"a.test\""]) == 1.0
        });
        assert_eq!(pebble.orders(), 1, "{}", gateway.stderr());
    }
}

#[test]
fn a_stored_certificate_that_is_damaged_is_told_and_obtained_again() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(ports.settings());
    let house = House::new(&pebble, &ports, storage.path());
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    drop(gateway);
    let path = stored(storage.path()).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 3]).unwrap();
    let gateway = house.start();
    let said = gateway.stderr();
    assert!(said.contains("W0232") && said.contains("cannot be used"), "{said}");
    house.is_served("a.test", &gateway);
    assert_eq!(pebble.orders(), 2);
}

#[test]
fn a_host_that_joins_a_certificate_takes_none_from_the_others() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(ports.settings());
    let house = House::new(&pebble, &ports, storage.path());
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    let more = House { certificates: "{ acme = [\"a.test\", \"c.test\"] }", ..house };
    gateway.rewrite(&more.text());
    gateway.signal("HUP");
    patiently("c.test is served", || {
        let (good, text) = pebble.ask("a.test", ports.tls.number);
        assert!(good && text == "served", "{text}");
        pebble.ask("c.test", ports.tls.number).0
    });
    assert_eq!(pebble.orders(), 2);
}

#[test]
fn a_storage_that_cannot_be_written_is_told_before_anything_is_asked() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(ports.settings());
    fs::write(storage.path().join("file"), "in the way").unwrap();
    let inside = storage.path().join("file/store");
    let gateway = House::new(&pebble, &ports, &inside).start();
    eventually("it is told", || gateway.stderr().contains("no certificate for a.test"));
    let said = gateway.stderr();
    assert!(said.contains("file/store cannot be written") && said.contains("`storage`"), "{said}");
    assert_eq!(pebble.orders(), 0);
}

/// A process that dies while it asks leaves neither a lock nor a challenge, and its next one does not ask at once.
#[test]
fn a_holder_that_dies_blocks_nobody() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let pebble = Pebble::start(ports.settings());
    let house = House::new(&pebble, &ports, storage.path());
    let gateway = house.start();
    let challenges = storage.path().join("challenges");
    let lying = || fs::read_dir(&challenges).is_ok_and(|mut files| files.next().is_some());
    eventually("a challenge lies there", lying);
    gateway.signal("KILL");
    drop(gateway);
    assert!(lying(), "it had no time to take it away");
    let gateway = house.start();
    house.is_served("a.test", &gateway);
    assert!(!lying());
    assert_eq!(pebble.orders(), 2, "{}", pebble.log());
}

#[test]
fn check_says_what_would_be_obtained_and_asks_nobody() {
    let (ports, storage) = (Ports::new(), Folder::new());
    let nobody = Pebble::prepare(ports.settings());
    let house = House::new(&nobody, &ports, storage.path());
    let mut text = house.text();
    let words = [
        ("directory", nobody.directory()),
        ("ca", nobody.ca()),
        ("storage", "store".to_owned()),
        ("challenge", "http-01".to_owned()),
        ("http", ports.http.number.to_string()),
        ("tls", ports.tls.number.to_string()),
    ];
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), &value);
    }
    fs::write(storage.path().join("ringway.toml"), text).unwrap();
    let (code, out, err) = ringway(storage.path(), &["check"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("a.test: would be obtained from") && out.contains("by http-01"),
        "{out}{err}"
    );
    assert!(!storage.path().join("store").exists(), "nothing is made");
}
