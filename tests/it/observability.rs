//! The shipped dashboard and alert rules, against a real scrape by Debian's Prometheus.
//!
//! A dashboard that names a metric which does not exist shows nothing, and nobody notices until it is needed. Where
//! Prometheus is not installed (`tests/run` does it) the test that needs it fails and says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::eventually;
use crate::support::gateway::{Folder, Gateway, Port, gateway};
use crate::support::origin::Origin;
use crate::support::wire::Wire;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability").join(name)
}

/// Every expression of the dashboard, its variables filled in.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(shipped("dashboard.json")).expect("the dashboard");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let panels = document["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let expression = |target: &Value| {
        let text = target["expr"].as_str().expect("an expression");
        let text = text.replace("$__rate_interval", "1m");
        text.replace("$job", ".*").replace("$instance", ".*")
    };
    targets.map(expression).collect()
}

/// Words of a text that can only be metrics of ours.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["ringway_", "http_server_", "http_client_", "process_"]
            .iter()
            .any(|start| word.starts_with(start))
    };
    words.filter(ours).map(str::to_owned).collect()
}

fn watched() -> (Gateway, Origin) {
    let origin = Origin::saying("{}");
    let text = "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nname = \"a\"\nmatch = \"/a\"\nforward = \"api\"\n\
        [[route]]\nname = \"m\"\nmatch = \"/m\"\n[route.merge]\np = { get = \"api /p\", cache = { ttl = \"1m\" } }\n\
        bad = { get = \"api /p\", pick = \"none.such\", else = 0 }\n";
    let gateway = gateway(text).with("api", origin.address).start();
    for target in ["/a", "/m", "/none"] {
        gateway.get(target);
    }
    (gateway, origin)
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_a_scrape_has() {
    let (gateway, _origin) = watched();
    let page = gateway.admin("/metrics").expect(200).text();
    let mut known = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a kind");
        let ends: &[&str] =
            if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        known.extend(ends.iter().map(|end| format!("{name}{end}")));
    }
    let alerts = fs::read_to_string(shipped("alerts.yml")).expect("the alerts");
    // What a runbook says in words is not an expression.
    let alerts: String =
        alerts.lines().filter(|line| !line.contains("runbook:")).collect::<Vec<_>>().join("\n");
    let named: BTreeSet<String> = metrics(&(dashboard().join("\n") + &alerts));
    let named: Vec<&String> = named.iter().filter(|name| name.as_str() != "http_route").collect();
    assert!(named.len() > 30, "{named:?}");
    let labels = ["http_response_status_code", "http_request_method"];
    // A series for each certificate, and none where nothing speaks TLS; tests/it/tls.rs reads it.
    known.insert("ringway_certificate_not_after_timestamp_seconds".to_owned());
    let unknown: Vec<_> = named
        .into_iter()
        .filter(|name| !known.contains(*name) && !labels.contains(&name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "no scrape has {unknown:?}");
}

/// A Prometheus of the test's own, ended with it.
struct Prometheus {
    child: Child,
    port: Port,
    _folder: Folder,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MISSING: &str = "apt-get install prometheus (tests/run does it)";

impl Prometheus {
    fn scraping(gateway: &Gateway) -> Prometheus {
        let (folder, port) = (Folder::new(), Port::reserve());
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\n\
             scrape_configs: [{{ job_name: ringway, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
            shipped("alerts.yml").display(),
            gateway.admin
        );
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        Prometheus { child, port, _folder: folder }
    }

    /// What its API answers; `None` while it does not.
    fn ask(&self, target: &str) -> Option<Value> {
        let address = ([127, 0, 0, 1], self.port.number).into();
        let mut wire = Wire::try_connect(address)?;
        wire.send(format!("GET /api/v1/{target} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"));
        let response = wire.try_response("GET").ok()?;
        let answer: Value = serde_json::from_slice(&response.body).ok()?;
        (response.status == 200 && answer["status"] == "success").then(|| answer["data"].clone())
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn prometheus_scrapes_a_gateway_loads_the_rules_and_answers_every_panel() {
    let checked =
        Command::new("promtool").arg("check").arg("rules").arg(shipped("alerts.yml")).output();
    let checked = checked.expect(MISSING);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let (gateway, _origin) = watched();
    let prometheus = Prometheus::scraping(&gateway);
    eventually("Prometheus to have scraped the gateway", || {
        let data = prometheus.ask("query?query=ringway_build_info");
        data.is_some_and(|data| data["result"].as_array().is_some_and(|list| !list.is_empty()))
    });
    let targets = prometheus.ask("targets").expect("targets");
    assert_eq!(targets["activeTargets"][0]["health"], "up", "{targets}");
    let rules = prometheus.ask("rules").expect("rules");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() >= 12);
    eventually("every rule to be evaluated well", || {
        let rules = prometheus.ask("rules").expect("rules");
        let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
        rules.iter().all(|rule| rule["health"] == "ok")
    });
    for expression in dashboard() {
        let target = format!("query?query={}", encoded(&expression));
        assert!(prometheus.ask(&target).is_some(), "Prometheus cannot answer {expression}");
    }
}

#[test]
fn the_page_of_metrics_is_as_promtool_wants_it() {
    use std::io::Write;
    let (gateway, _origin) = watched();
    let page = gateway.admin("/metrics").expect(200).text();
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    tool.stdin.take().expect("piped").write_all(page.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.trim().is_empty(), "{said}");
}
