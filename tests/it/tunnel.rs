//! What an open tunnel carries, how it ends, and what reloads and drains leave of it.
//!
//! Origins are raw sockets that a test holds in its hands, so that both ends of a tunnel are seen at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::gateway;
use crate::support::origin::{self, ok};
use crate::support::tokens::Signer;
use crate::support::tunnel::{
    Ends, FORWARD, Opened, echoes, expect_end, expect_reset, handshake, open, open_one, read,
    switched,
};
use crate::support::wire::{Wire, request};

// ---- how a tunnel ends ---------------------------------------------------------------------------

#[test]
fn the_clients_half_close_is_carried_over_and_the_origin_goes_on() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    client.send(b"last words");
    client.finish();
    assert_eq!(read(&mut origin, 10), b"last words");
    expect_end(&mut origin);
    origin.write_all(b"and mine").unwrap();
    assert_eq!(client.read_some(8), b"and mine");
    drop(origin);
    client.expect_close();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["closed_by"], "downstream");
    assert_eq!(line.get("fault"), None, "{line}");
}

#[test]
fn the_origins_half_close_is_carried_over_and_the_client_goes_on() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    origin.write_all(b"last words").unwrap();
    origin.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_some(10), b"last words");
    client.expect_close();
    client.send(b"and mine");
    assert_eq!(read(&mut origin, 8), b"and mine");
    client.finish();
    expect_end(&mut origin);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["closed_by"], "upstream");
    assert_eq!(line.get("fault"), None, "{line}");
}

#[test]
fn a_reset_is_carried_over_as_a_reset() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    origin::reset(client.stream());
    drop(client);
    expect_reset(&mut origin);
    let (mut client, origin) = open_one(&gateway, &ends);
    origin::reset(&origin);
    drop(origin);
    expect_reset(client.stream());
    let log = gateway.access_log(2);
    assert_eq!(
        (&log[0]["fault"], &log[0]["fault_side"]),
        (&json!("client_gone"), &json!("downstream"))
    );
    assert_eq!(
        (&log[1]["fault"], &log[1]["fault_side"]),
        (&json!("connection_terminated"), &json!("upstream"))
    );
}

/// An origin that says its last words and closes while the client still speaks: the words arrive.
#[test]
fn last_words_arrive_although_the_client_goes_on_speaking() {
    let Opened { gateway, mut client, mut origin, .. } = open(FORWARD);
    let words = vec![b'w'; 1000];
    origin.write_all(&words).unwrap();
    drop(origin);
    for _ in 0..50 {
        client.send_perhaps(vec![b'c'; 1000]);
    }
    assert_eq!(client.until_close().len(), words.len());
    assert_eq!(gateway.access_log(1)[0]["closed_by"], "upstream");
}

fn idle_after(millis: u64) -> String {
    format!("{FORWARD}timeout = {{ total = \"10s\", tunnel_idle = \"{millis}ms\" }}\n")
}

#[test]
fn a_filter_by_status_finds_a_tunnel_by_what_its_fault_stands_for() {
    let only =
        "[observe]\naccess_log = { to = \"@DIR@/access.log\", only = { status = \"5xx\" } }\n";
    let Opened { gateway, mut client, mut origin, .. } =
        open(&(only.to_owned() + &idle_after(100)));
    echoes(&mut client, &mut origin);
    client.expect_close();
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["fault"]), (&json!(101), &json!("tunnel_idle")));
}

#[test]
fn silence_in_both_directions_ends_a_tunnel() {
    let Opened { gateway, mut client, mut origin, .. } = open(&idle_after(100));
    echoes(&mut client, &mut origin);
    client.expect_close();
    expect_end(&mut origin);
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["fault"]), (&json!(101), &json!("tunnel_idle")));
    assert_eq!((&line["fault_side"], &line["closed_by"]), (&json!("gateway"), &json!("gateway")));
}

#[test]
fn a_tunnel_in_which_only_one_side_speaks_is_alive_and_the_total_does_not_end_it() {
    let text = format!("{FORWARD}timeout = {{ total = \"1s\", tunnel_idle = \"1s\" }}\n");
    for origin_speaks in [true, false] {
        let Opened { gateway: _gateway, mut client, mut origin, .. } = open(&text);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            if origin_speaks {
                origin.write_all(b".").unwrap();
                assert_eq!(client.read_some(1), b".");
            } else {
                client.send(b".");
                assert_eq!(read(&mut origin, 1), b".");
            }
        }
        echoes(&mut client, &mut origin);
    }
}

#[test]
fn a_receiver_that_takes_nothing_ends_a_tunnel_however_busy_the_other_direction_is() {
    let Opened { gateway, mut client, mut origin, .. } = open(&idle_after(300));
    let mut writer = origin.try_clone().unwrap();
    // The origin fills every buffer on the way; the client reads nothing and goes on speaking.
    let filling = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    let reading =
        std::thread::spawn(move || while origin.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
    while client.stream().write_all(b".").is_ok() {}
    filling.join().unwrap();
    reading.join().unwrap();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (&line["fault"], &line["fault_side"]),
        (&json!("tunnel_idle"), &json!("downstream"))
    );
}

#[test]
fn bytes_that_a_receiver_does_not_take_are_its_fault_and_no_silence() {
    for client_speaks in [true, false] {
        let Opened { gateway, mut client, origin, .. } = open(&idle_after(300));
        // One side fills every buffer on the way and the other says nothing at all.
        let (mut writer, side) = match client_speaks {
            true => (client.stream().try_clone().unwrap(), "upstream"),
            false => (origin.try_clone().unwrap(), "downstream"),
        };
        while writer.write_all(&[b'x'; 65536]).is_ok() {}
        let line = gateway.access_log(1).remove(0);
        assert_eq!((&line["fault"], &line["fault_side"]), (&json!("tunnel_idle"), &json!(side)));
    }
}

// ---- what it carries -----------------------------------------------------------------------------

#[test]
fn much_passes_both_ways_at_once_and_slow_readers_cost_one_buffer_each() {
    const BYTES: usize = 16 * 1024 * 1024;
    let Opened { gateway, client, origin, .. } = open(FORWARD);
    let mut client = client;
    let pattern = |from: u8| (0..BYTES).map(move |at| (at % 251) as u8 ^ from).collect::<Vec<u8>>();
    let (up, down) = (pattern(0), pattern(0xff));
    let spawn_write = |stream: TcpStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            (&stream).write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let client_writes = spawn_write(client.stream().try_clone().unwrap(), up.clone());
    let origin_writes = spawn_write(origin.try_clone().unwrap(), down.clone());
    // Nobody reads: both directions stand still, each with at most one buffer.
    eventually("both directions to hold their buffer", || {
        gateway.metric("ringway_buffers_in_use", &[]) >= 2.0
    });
    assert!(gateway.metric("ringway_buffers_in_use", &[]) <= 2.0);
    let mut origin = origin;
    let reads = std::thread::spawn(move || {
        let mut all = Vec::new();
        origin.read_to_end(&mut all).unwrap();
        all
    });
    let mut received = client.take_rest();
    client.stream().read_to_end(&mut received).unwrap();
    assert!(received == down, "what came down differs");
    assert!(reads.join().unwrap() == up, "what went up differs");
    client_writes.join().unwrap();
    origin_writes.join().unwrap();
    let line = gateway.access_log(1).remove(0);
    assert!(line["bytes_in"].as_u64() > Some(BYTES as u64), "{line}");
    assert!(line["bytes_out"].as_u64() > Some(BYTES as u64), "{line}");
    assert_eq!(gateway.metric("ringway_tunnel_bytes_total", &["=\"in\""]), BYTES as f64);
    assert_eq!(gateway.metric("ringway_tunnel_bytes_total", &["=\"out\""]), BYTES as f64);
}

#[test]
fn many_quiet_tunnels_hold_no_buffers() {
    const TUNNELS: usize = 300;
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut open: Vec<_> = (0..TUNNELS).map(|_| open_one(&gateway, &ends)).collect();
    assert_eq!(gateway.metric("ringway_tunnels_open", &[]), TUNNELS as f64);
    eventually("every buffer to be given back", || {
        gateway.metric("ringway_buffers_in_use", &[]) == 0.0
    });
    for (client, origin) in &mut open {
        echoes(client, origin);
    }
    drop(open);
    eventually("every tunnel to end", || gateway.metric("ringway_tunnels_open", &[]) == 0.0);
    assert_eq!(gateway.metric("ringway_tunnels_total", &[]), TUNNELS as f64);
}

#[test]
fn a_tunnel_is_logged_when_it_is_over_and_its_connections_are_never_used_again() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    echoes(&mut client, &mut origin);
    assert_eq!(gateway.metric("http_server_active_requests", &[]), 1.0);
    client.finish();
    expect_end(&mut origin);
    drop(origin);
    client.expect_close();
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["route"]), (&json!(101), &json!("all")));
    assert_eq!((&line["method"], &line["path"]), (&json!("GET"), &json!("/chat")));
    assert_eq!((&line["upgrade"], &line["closed_by"]), (&json!("websocket"), &json!("downstream")));
    let bytes = |name: &str| line[name].as_u64().unwrap();
    assert_eq!(bytes("bytes_in"), handshake(&[]).len() as u64 + 4);
    assert!(bytes("bytes_out") > 100);
    assert_eq!(line["attempts"][0]["status"], 101);
    let labels = ["http_response_status_code=\"101\""];
    assert_eq!(gateway.metric("http_server_request_duration_seconds_count", &labels), 1.0);
    assert_eq!(gateway.metric("http_server_active_requests", &[]), 0.0);
    // The next request dials.
    let mut next = gateway.connect();
    next.send(request("GET", "/", &[], b""));
    let (mut origin, _, _) = ends.next();
    origin.write_all(&ok("new")).unwrap();
    next.response().expect(200);
    assert_eq!(ends.origin.connections(), 2);
}

// ---- policies, reload, drain ---------------------------------------------------------------------

#[test]
fn a_handshake_passes_the_policies_of_its_route() {
    let ends = Ends::new();
    let text = r#"
[upstream.app]
endpoints = ["@app@"]
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
issuer = "https://idp.test"
audience = "dashboard"
[limit.handshakes]
rate = "1/m"
burst = 2
key = "all"
[[route]]
match = "/chat"
forward = "app"
jwt = "idp"
limit = "handshakes"
"#;
    let gateway = gateway(text).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    client.response().expect_problem(401);
    let signer = Signer::hs256("k", "0123456789abcdef0123456789abcdef");
    let token = format!("Bearer {}", signer.sign(&crate::support::tokens::claims("42")));
    client.send(handshake(&[("Authorization", &token)]));
    let (mut origin, _, _) = ends.next();
    origin.write_all(&switched("websocket")).unwrap();
    assert_eq!(client.try_head().expect("a head").status, 101);
    echoes(&mut client, &mut origin);
    let mut second = gateway.connect();
    second.send(handshake(&[("Authorization", &token)]));
    second.response().expect_problem(429);
}

#[test]
fn a_reload_leaves_tunnels_alone() {
    let Opened { gateway, mut client, mut origin, ends } = open(FORWARD);
    gateway.rewrite("[[route]]\nmatch = \"/\"\nrespond = { body = \"new\" }\n");
    gateway.signal("HUP");
    eventually("the new version", || gateway.metric("ringway_config_version", &[]) >= 2.0);
    assert_eq!(gateway.get("/").text(), "new");
    assert_eq!(gateway.get("/chat").status, 404);
    echoes(&mut client, &mut origin);
    drop(ends);
    client.finish();
    expect_end(&mut origin);
    drop(origin);
    client.expect_close();
    eventually("the tunnel's line, with its route's old name", || {
        let log = gateway.access_log(1);
        log.iter().any(|line| line["route"] == "all" && line["status"] == 101)
    });
}

#[test]
fn a_drain_leaves_tunnels_alone_until_its_deadline_and_then_records_them() {
    let text = format!("drain_timeout = \"1s\"\n{FORWARD}");
    let Opened { mut gateway, mut client, mut origin, .. } = open(&text);
    gateway.signal("TERM");
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
    echoes(&mut client, &mut origin);
    client.expect_close();
    expect_end(&mut origin);
    assert!(gateway.wait_for_exit().success());
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["fault"]), (&json!(101), &json!("gateway_stopping")));
}

#[test]
fn a_drain_ends_when_the_last_tunnel_does() {
    let text = format!("drain_timeout = \"1h\"\n{FORWARD}");
    let Opened { mut gateway, mut client, mut origin, .. } = open(&text);
    gateway.signal("TERM");
    eventually("new connections to be refused", || Wire::try_connect(gateway.address).is_none());
    echoes(&mut client, &mut origin);
    drop((client, origin));
    assert!(gateway.wait_for_exit().success());
}
