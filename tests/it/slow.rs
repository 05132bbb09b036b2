//! Slow and vanished clients, and streams that never end: what they hold is bounded, what moves goes on, and
//! an origin is not asked on behalf of nobody.
//!
//! Where time has to pass, a request that times out elsewhere says that it has: no test sleeps.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok, read_request, reset};
use crate::support::wire::{Wire, find, request};
use crate::support::{Gate, PATIENCE, eventually};

/// Routes to an origin; `/clock` takes 250 ms and then is a 504.
fn config(listener: &str) -> String {
    format!(
        "workers = 1\ndrain_timeout = \"500ms\"\n[[listen]]\naddress = \"@LISTEN@\"\n{listener}\n\
         [upstream.app]\nendpoints = [\"@app@\"]\n[upstream.silent]\nendpoints = [\"@silent@\"]\n\
         [[route]]\nmatch = \"/clock\"\nforward = \"silent\"\ntimeout = \"250ms\"\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\ntimeout = \"60s\"\nbody_max = \"2GiB\"\n"
    )
}

struct Scene {
    gateway: Gateway,
    _silent: Origin,
}

fn scene(origin: &Origin, listener: &str) -> Scene {
    let silent = Origin::silent();
    let gateway = gateway(&config(listener));
    let gateway = gateway.with("app", origin.address).with("silent", silent.address).start();
    Scene { gateway, _silent: silent }
}

impl Scene {
    /// Lets more time pass than any wait of these tests that is meant to end.
    fn let_time_pass(&self) {
        self.gateway.get("/clock").expect(504);
    }

    /// The log's line of the first request that was not the clock.
    #[track_caller]
    fn logged(&self, path: &str) -> serde_json::Value {
        let mut found = None;
        eventually(&format!("a log line of {path}"), || {
            let lines = self.gateway.access_log(1);
            found = lines.into_iter().find(|line| line["path"] == path);
            found.is_some()
        });
        found.expect("eventually saw it")
    }
}

/// An origin that answers nothing after `start` and says when its connection ends.
fn watching(start: &'static str) -> (Origin, mpsc::Receiver<()>, mpsc::Receiver<()>) {
    let ((asked, heard), (ended, end)) = (mpsc::channel(), mpsc::channel());
    let origin = Origin::raw(move |mut stream, _| {
        let mut rest = Vec::new();
        if let Ok(Some(_)) = read_request(&mut stream, &mut rest) {
            let _ = stream.write_all(start.as_bytes());
            let _ = asked.send(());
            let _ = stream.read(&mut [0]);
            let _ = ended.send(());
        }
    });
    (origin, heard, end)
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";

#[test]
fn a_client_that_leaves_while_the_origin_is_silent_is_noticed_and_the_origin_told() {
    for start in
        ["", "HTTP/1.1 103 Hm\r\n\r\n", EVENTS, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
    {
        for leave in [drop as fn(Wire), |mut wire| reset(wire.stream())] {
            let (origin, asked, ended) = watching(start);
            let scene = scene(&origin, "");
            let mut client = scene.gateway.connect();
            client.send(request("GET", "/slow", &[], b""));
            asked.recv_timeout(PATIENCE).unwrap();
            if !start.is_empty() {
                client.try_head().unwrap();
                client.take_rest();
            }
            leave(client);
            ended.recv_timeout(PATIENCE).expect("the origin's connection is closed");
            let line = scene.logged("/slow");
            assert_eq!(line["fault"], "client_gone", "{line}");
            assert_eq!(line["fault_side"], "downstream", "{line}");
            let status = if start.starts_with("HTTP/1.1 200") { 200 } else { 499 };
            assert_eq!(line["status"], status, "{line}");
        }
    }
}

#[test]
fn a_client_that_leaves_after_its_upload_is_noticed() {
    let (origin, asked, ended) = watching("");
    let scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst");
    scene.let_time_pass();
    client.send("secon");
    asked.recv_timeout(PATIENCE).unwrap();
    drop(client);
    ended.recv_timeout(PATIENCE).expect("the origin's connection is closed");
    assert_eq!(scene.logged("/slow")["fault"], "client_gone");
}

#[test]
fn a_client_that_pipelines_has_not_left() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |request| match request.target.as_str() {
        "/1" => vec![Step::Wait(held.clone()), Step::Send(ok("one"))],
        _ => vec![Step::Send(ok("two"))],
    });
    let scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/1", &[], b""));
    client.send(request("GET", "/2", &[], b""));
    origin.wait_for(1);
    scene.let_time_pass();
    client.expect_open();
    gate.open();
    assert_eq!(client.response().expect(200).text(), "one");
    assert_eq!(client.response().expect(200).text(), "two");
}

#[test]
fn a_client_that_pipelined_and_left_is_noticed() {
    let (origin, asked, ended) = watching("");
    let scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/1", &[], b""));
    client.send(request("GET", "/2", &[], b""));
    asked.recv_timeout(PATIENCE).unwrap();
    scene.let_time_pass();
    drop(client);
    ended.recv_timeout(PATIENCE).expect("the origin's connection is closed");
    assert_eq!(scene.logged("/1")["fault"], "client_gone");
}

#[test]
fn a_response_that_flows_is_not_cut_for_a_client_that_sends_nothing_more() {
    let origin = Origin::script(|_| vec![Step::Send(ok(&"x".repeat(30_000_000)))]);
    let scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/large", &[], b""));
    client.try_head().unwrap();
    client.finish();
    let mut count = client.take_rest().len();
    scene.let_time_pass();
    count += client.until_close().len();
    assert_eq!(count, 30_000_000);
}

#[test]
fn a_client_that_does_not_read_holds_a_bounded_number_of_buffers() {
    let (stuck, heard) = mpsc::channel();
    let origin = Origin::raw(move |mut stream, _| {
        let mut rest = Vec::new();
        let _ = read_request(&mut stream, &mut rest);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let block = vec![b'x'; 64 * 1024];
        while stream.write(&block).is_ok_and(|n| n > 0) {}
        let _ = stuck.send(());
    });
    let scene = scene(&origin, "");
    let clients: Vec<Wire> = (0..4)
        .map(|_| {
            let mut client = scene.gateway.connect();
            client.send(request("GET", "/large", &[], b""));
            client
        })
        .collect();
    for _ in &clients {
        heard.recv_timeout(PATIENCE).expect("the origin's writes come to a stand");
    }
    let mut held = 0.0;
    eventually("the gauge", || {
        held = scene.gateway.metric("ringway_buffers_in_use", &[]);
        held > 0.0
    });
    let most = 4.0 * BUFFERS_PER_DOWNLOAD;
    assert!(held <= most, "{held} buffers for 4 clients that do not read");
}

/// What docs/limits.md promises, in buffers of 64 KiB: the request's head, and a piece of 256 KiB on its way.
const BUFFERS_PER_DOWNLOAD: f64 = 5.0;

#[test]
fn streams_that_wait_for_their_next_event_hold_one_buffer() {
    let (origin, asked, _ended) = watching(EVENTS);
    let scene = scene(&origin, "");
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = scene.gateway.connect();
        client.send(request("GET", "/events", &[], b""));
        asked.recv_timeout(PATIENCE).unwrap();
        client.try_head().unwrap();
        clients.push(client);
    }
    eventually("no more than the request's head is kept", || {
        scene.gateway.metric("ringway_buffers_in_use", &[]) <= 8.0
    });
}

#[test]
fn a_slow_reader_that_goes_on_reading_is_served_to_the_end() {
    let origin = Origin::script(|_| vec![Step::Send(ok(&"x".repeat(20_000_000)))]);
    let scene = scene(&origin, "timeout = { body = \"1s\" }");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/large", &[], b""));
    client.try_head().unwrap();
    let mut count = client.take_rest().len();
    let mut block = vec![0; 300_000];
    // Longer than `timeout.body` in all, and never still for so long.
    for _ in 0..10 {
        scene.let_time_pass();
        count += client.stream().read(&mut block).unwrap();
    }
    count += client.until_close_of(20_000_000 - count);
    assert_eq!(count, 20_000_000);
}

#[test]
fn a_reader_that_stands_still_is_cut_off() {
    let origin = Origin::script(|_| vec![Step::Send(ok(&"x".repeat(30_000_000)))]);
    let scene = scene(&origin, "timeout = { body = \"200ms\" }");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/large", &[], b""));
    let line = scene.logged("/large");
    assert_eq!(line["fault"], "client_gone", "{line}");
    // What the kernel held for it is gone as well: megabytes that nothing counts any more.
    let mut block = vec![0; 1 << 20];
    let end = loop {
        match client.stream().read(&mut block) {
            Ok(0) => panic!("an end in order, behind all that the kernel held"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_sender_that_creeps_is_refused_and_one_that_keeps_the_rate_is_not() {
    let origin = Origin::saying("took it");
    let body = "timeout = { body = \"1s\" }\nlimits = { body_rate_min = \"1KiB\" }";
    let scene = scene(&origin, body);
    for (piece, status) in [(1, 408), (1_000, 200)] {
        let mut client = scene.gateway.connect();
        let pieces = 20;
        client.send(format!(
            "POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            pieces * piece
        ));
        for _ in 0..pieces {
            client.send_perhaps("x".repeat(piece));
            scene.let_time_pass();
            if status == 408 && client.has_something() {
                break;
            }
        }
        client.response().expect(status);
    }
    assert_eq!(scene.logged("/up")["fault"], "request_timeout");
}

/// An origin of events: one at once, and one more for each word that the test sends.
fn events() -> (Origin, mpsc::Sender<()>) {
    let (say, said) = mpsc::channel::<()>();
    let said = std::sync::Mutex::new(said);
    let origin = Origin::raw(move |mut stream, _| {
        let mut rest = Vec::new();
        if read_request(&mut stream, &mut rest).is_ok_and(|request| request.is_some()) {
            let _ = stream.write_all(EVENTS.as_bytes());
            while said.lock().unwrap().recv().is_ok() {
                let _ = stream.write_all(b"8\r\ndata: n\n\r\n");
            }
        }
    });
    (origin, say)
}

#[track_caller]
fn see(client: &mut Wire, what: &[u8]) {
    let mut seen = Vec::new();
    while find(&seen, what).is_none() {
        seen.extend(client.read_some(1));
    }
}

#[test]
fn events_come_one_by_one_and_outlive_a_reload_and_every_timeout_but_idle() {
    let (origin, say) = events();
    let scene =
        scene(&origin, "timeout = { head = \"200ms\", body = \"200ms\", idle = \"200ms\" }");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/events", &[], b""));
    client.try_head().unwrap();
    see(&mut client, b"data: 1\n");
    for round in 0..6 {
        scene.let_time_pass();
        if round == 3 {
            let before = scene.gateway.metric("ringway_config_version", &[]);
            scene.gateway.rewrite(&config("").replace("60s", "61s"));
            scene.gateway.signal("HUP");
            eventually("the reload", || {
                scene.gateway.metric("ringway_config_version", &[]) > before
            });
        }
        say.send(()).unwrap();
        see(&mut client, b"data: n\n");
    }
}

#[test]
fn a_drain_leaves_a_stream_until_its_deadline_and_cuts_it_visibly() {
    let (origin, say) = events();
    let mut scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/events", &[], b""));
    client.try_head().unwrap();
    see(&mut client, b"data: 1\n");
    scene.gateway.signal("TERM");
    eventually("new connections to be refused", || {
        Wire::try_connect(scene.gateway.address).is_none()
    });
    say.send(()).unwrap();
    see(&mut client, b"data: n\n");
    let rest = client.until_close();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut stream looked whole");
    scene.gateway.wait_for_exit();
    assert_eq!(scene.logged("/events")["fault"], "http_response_timeout");
}

#[test]
fn a_long_poll_is_answered_when_it_is_answered() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("news"))]);
    let scene =
        scene(&origin, "timeout = { head = \"200ms\", body = \"200ms\", idle = \"200ms\" }");
    let mut client = scene.gateway.connect();
    client.send(request("GET", "/poll", &[], b""));
    origin.wait_for(1);
    scene.let_time_pass();
    scene.let_time_pass();
    gate.open();
    assert_eq!(client.response().expect(200).text(), "news");
}

#[test]
fn a_slow_head_takes_no_connection_of_the_origin() {
    let origin = Origin::saying("x");
    let scene = scene(&origin, "");
    let mut client = scene.gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: te");
    scene.let_time_pass();
    assert_eq!(origin.connections(), 0);
    client.send("st\r\n\r\n");
    client.response().expect(200);
    let _ = client.stream().shutdown(Shutdown::Both);
}
