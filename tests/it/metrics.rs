//! What the admin listener says: alive, ready, and counts that add up.
//!
//! Names are OpenTelemetry's HTTP semantic conventions in Prometheus' spelling; the text is checked against
//! the exposition format (version 0.0.4), never against a golden page, because its numbers are times.

use std::collections::HashMap;

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::origin::{Origin, answer};

const DURATION: &str = "http_server_request_duration_seconds";

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

#[test]
fn livez_and_readyz_answer_on_the_admin_listener_alone() {
    let origin = Origin::saying("the origin's");
    let gateway = forwarding_to(&origin);
    gateway.admin("/livez").expect(200);
    gateway.admin("/readyz").expect(200);
    gateway.admin("/nothing").expect(404);
    assert_eq!(gateway.get("/livez").expect(200).text(), "the origin's");
}

#[test]
fn every_request_is_counted_once_whatever_core_served_it() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    for _ in 0..40 {
        gateway.get("/").expect(200);
    }
    let count = format!("{DURATION}_count");
    crate::support::eventually("40 requests counted", || gateway.metric(&count, &[]) >= 40.0);
    assert_eq!(gateway.metric(&count, &["http_response_status_code=\"200\""]), 40.0);
}

#[test]
fn statuses_are_told_apart() {
    let origin = Origin::answering(answer(404, &[], b""));
    let gateway = forwarding_to(&origin);
    for _ in 0..3 {
        gateway.get("/").expect(404);
    }
    let count = format!("{DURATION}_count");
    crate::support::eventually("3 requests counted", || {
        gateway.metric(&count, &["http_response_status_code=\"404\""]) == 3.0
    });
    assert_eq!(gateway.metric(&count, &["http_response_status_code=\"200\""]), 0.0);
}

#[test]
fn a_head_that_was_refused_is_no_get() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GARBAGE\r\n\r\n");
    client.response().expect(400);
    let count = format!("{DURATION}_count");
    let of = |method: &str| {
        let method = format!("http_request_method=\"{method}\"");
        gateway.metric(&count, &[&method, "http_response_status_code=\"400\""])
    };
    crate::support::eventually("the refusal is counted", || of("_OTHER") == 1.0);
    assert_eq!(of("GET"), 0.0);
}

#[test]
fn the_page_is_valid_exposition_text() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect(200);
    let page = gateway.admin("/metrics").expect(200);
    let kind = page.field("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = page.text();
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(types.insert(name, kind).is_none(), "{name} is declared twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        *seen.entry(series).or_default() += 1;
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = types.contains_key(name) || base.is_some_and(|base| types.contains_key(base));
        assert!(known, "a sample before its TYPE: {line}");
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "series shown twice: {twice:?}");
    assert!(!types.is_empty());
}

#[test]
fn buckets_of_a_histogram_never_fall_and_end_at_the_count() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    for _ in 0..20 {
        gateway.get("/").expect(200);
    }
    let text = gateway.admin("/metrics").expect(200).text();
    let mut last: HashMap<String, f64> = HashMap::new();
    for line in text.lines().filter(|line| line.contains("_bucket{")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let (start, rest) = series.split_once("le=\"").expect("a bucket has a bound");
        let (bound, end) = rest.split_once('"').unwrap();
        let before = last.insert(format!("{start}{end}"), value).unwrap_or(0.0);
        assert!(value >= before, "{line}");
        if bound == "+Inf" {
            last.remove(&format!("{start}{end}"));
        }
    }
    assert!(last.is_empty(), "no +Inf bucket: {last:?}");
}

#[test]
fn our_own_overhead_is_shown_from_20_microseconds_up() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect(200);
    let text = gateway.admin("/metrics").expect(200).text();
    let overhead = text.lines().filter(|l| l.contains("overhead") && l.contains("_bucket{"));
    assert!(
        overhead
            .clone()
            .any(|line| line.contains("le=\"0.00002\"") || line.contains("le=\"2e-05\"")),
        "{text}"
    );
}

#[test]
fn an_admin_listener_set_to_off_is_not_there() {
    let config = format!("[admin]\naddress = \"off\"\n{FORWARD}");
    let origin = Origin::saying("x");
    let mut gateway = gateway(&config).with("app", origin.address).spawn();
    crate::support::eventually("the listener", || {
        assert!(!gateway.has_ended(), "{}", gateway.stderr());
        crate::support::wire::Wire::try_connect(gateway.address).is_some()
    });
    gateway.get("/").expect(200);
    assert!(crate::support::wire::Wire::try_connect(gateway.admin).is_none());
}
