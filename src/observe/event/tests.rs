//! Each event as a person reads it and as JSON.

use super::*;

fn wall() -> Wall {
    Wall::from_micros(1_764_000_000_123_456)
}

fn at(secs: u64) -> Instant {
    Instant::from_nanos(secs * 1_000_000_000)
}

#[test]
fn a_person_reads_a_sentence() {
    let mut log = EventLog::new(Format::Plain);
    let event = Event::KeysFailed { set: "local", why: "connection refused", kept: 2 };
    let line = log.line(&event, at(0), wall()).expect("the first is told");
    assert_eq!(
        line,
        "2025-11-24T16:00:00.123456Z error keys of local could not be fetched, the 2 old keys \
         stay: connection refused\n"
    );
}

#[test]
fn a_collector_reads_json() {
    let mut log = EventLog::new(Format::Json);
    let event = Event::WorkerDied { worker: 3, why: "index \"7\"\nforged: line" };
    let line = log.line(&event, at(0), wall()).expect("the first is told");
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value[field::EVENT], "worker_died");
    assert_eq!(value[field::LEVEL], "error");
    assert_eq!(value[field::MESSAGE], "worker 3 died: index \"7\" forged: line");
}

#[test]
fn texts_from_outside_are_bounded_and_cannot_forge_a_line() {
    let mut log = EventLog::new(Format::Plain);
    let why = "\r\n\x1b[2J".repeat(10_000);
    let event = Event::KeysFailed { set: "a", why: &why, kept: 0 };
    let line = log.line(&event, at(0), wall()).expect("the first is told");
    assert!(line.len() < EVENT_TEXT_BYTES_MAX + 100);
    assert_eq!(line.chars().filter(|character| character.is_control()).count(), 1);
}

#[test]
fn a_flood_of_one_kind_is_counted_and_another_kind_still_passes() {
    let mut log = EventLog::new(Format::Plain);
    let noisy = Event::WorkerTrouble { worker: 1, what: "a noise" };
    let told = (0..100).filter(|_| log.line(&noisy, at(1), wall()).is_some()).count();
    assert_eq!(told, EVENTS_PER_WINDOW_MAX as usize);
    let quiet = Event::WorkerRestarted { worker: 0 };
    assert!(log.line(&quiet, at(1), wall()).is_some());
    let later = log.line(&noisy, at(62), wall()).expect("a new window");
    assert!(later.ends_with("a noise (80 more like this not shown)\n"), "{later}");
}

#[test]
fn every_kind_has_its_own_number_and_a_sentence() {
    let (why, pause) = ("because", Duration::from_secs(30));
    let all = [
        Event::Started { version: "0.1", config: "a.toml", workers: 2, driver: "io_uring" },
        Event::Stopped { requests: 1 },
        Event::ListenerBound { listener: "main", address: ":80" },
        Event::AdminBound { address: ":1" },
        Event::ReloadInstalled { version: 2, routes: 3, took: pause },
        Event::ReloadRefused { version: 2, errors: 1, first: why },
        Event::WorkerDied { worker: 0, why },
        Event::WorkerRestarted { worker: 0 },
        Event::DriverFallback { wanted: "io_uring", taken: "epoll", cause: why, fix: "x" },
        Event::KeysFetched { set: "local", keys: 1 },
        Event::KeysFailed { set: "local", why, kept: 0 },
        Event::DrainBegun { connections: 2, deadline: pause },
        Event::DrainOver { left: 0, took: pause },
        Event::LogFailing { target: "stdout", why },
        Event::LogRecovered { target: "stdout", lines_lost: 1 },
        Event::LogReopened { target: "a.log" },
        Event::WorkerTrouble { worker: 0, what: why },
        Event::ProxyHeaderRefused { worker: 0, listener: ":80", peer: "192.0.2.1", why },
        Event::ShortageBegun { why },
        Event::ShortageOver,
        Event::ConnectionsRefused { listener: "main", count: 2, bound: "x", client: None },
        Event::EndpointAside { upstream: "app", address: "10.0.0.1:80", why, pause },
        Event::EndpointBack { upstream: "app", address: "10.0.0.1:80" },
        Event::ListLoaded { list: "a", file: "b", entries: 1 },
        Event::ListFailed { list: "a", file: "b", why },
        Event::CertificateEnds {
            listener: "0.0.0.0:443",
            name: "a.test",
            left: Duration::from_secs(90_000),
        },
        Event::StoreAway { address: "10.0.0.30:6379", why },
        Event::StoreBack { address: "10.0.0.30:6379", took: pause },
        Event::SpansFailing { collector: "http://127.0.0.1:4318/v1/traces", why },
        Event::SpansRecovered { collector: "http://127.0.0.1:4318/v1/traces", lost: 2 },
        Event::LogKept { target: "a.log", why },
        Event::AcmeBegun { hosts: "a.test", from: "https://ca", challenge: "http-01", held: false },
        Event::AcmeObtained { hosts: "a.test", holds: pause },
        Event::AcmeFailed { hosts: "a.test", why, again_in: pause },
        Event::AcmeNotRenewed { hosts: "a.test", why, again_in: pause, left: pause },
        Event::OriginUnproven { upstream: "app", address: "10.0.0.1:443", why, advice: "x" },
    ];
    assert_eq!(all.len(), KINDS);
    for (number, event) in all.iter().enumerate() {
        assert_eq!(event.kind().2, number, "{event:?}");
        assert!(event.to_string().len() > 8, "{event:?}");
    }
}
