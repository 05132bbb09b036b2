//! Many connections: what an idle one costs, which bounds hold, and who gives way when there is no room.
//!
//! The bounds are those of the whole machine, so that tests of them use two workers unless the order of
//! becoming idle is the subject: a core gives up its own connections only.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::{Wire, request};
use crate::support::{Gate, PATIENCE, eventually};

const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/{*rest}"
forward = "app"
timeout = "60s"
"#;

/// An origin that holds `/held` until the gate opens.
fn holding(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::script(move |request| match request.target.as_str() {
        "/held" => vec![Step::Wait(held.clone()), Step::Send(ok("late but whole"))],
        _ => vec![Step::Send(ok("quick"))],
    })
}

/// Workers, limits of the listener, and the route to `app`.
fn limited(workers: usize, listen: &str) -> String {
    format!("workers = {workers}\n[[listen]]\naddress = \"@LISTEN@\"\n{listen}\n{FORWARD}")
}

/// A connection from this address of the loopback network.
fn connect_from(source: [u8; 4], gateway: &Gateway) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Wire::of(stream)
}

#[test]
fn the_connection_that_is_idle_longest_gives_way() {
    let origin = Origin::saying("x");
    let config = limited(1, "limits = { connections_max = 3 }");
    let gateway = gateway(&config).with("app", origin.address).start();
    let mut clients: Vec<Wire> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.get("/", &[]).expect(200);
    }
    // The first becomes the youngest; the second is now the oldest.
    clients[0].get("/", &[]).expect(200);
    gateway.connect().get("/", &[]).expect(200);
    clients[1].expect_close();
    clients[0].get("/", &[]).expect(200);
    clients[2].get("/", &[]).expect(200);
    assert_eq!(gateway.metric("ringway_connections_given_up_total", &[]), 1.0);
    assert_eq!(gateway.metric("ringway_connections_refused_total", &[]), 0.0);
}

/// One whose request was refused is open only so that its answer is read: it keeps nobody out.
#[test]
fn a_connection_that_is_being_closed_gives_way() {
    let origin = Origin::saying("x");
    let config = limited(1, "limits = { connections_max = 3 }");
    let gateway = gateway(&config).with("app", origin.address).start();
    let closing: Vec<Wire> = (0..3)
        .map(|_| {
            let mut client = gateway.connect();
            client.send("nonsense\r\n\r\n");
            client.response().expect(400);
            client
        })
        .collect();
    gateway.connect().get("/", &[]).expect(200);
    assert_eq!(gateway.metric("ringway_connections_refused_total", &[]), 0.0);
    drop(closing);
}

#[test]
fn busy_connections_never_give_way_and_the_next_one_is_refused() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let config = limited(2, "limits = { connections_max = 3 }");
    let gateway = gateway(&config).with("app", origin.address).start();
    let mut busy: Vec<Wire> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut busy {
        client.send(request("GET", "/held", &[], b""));
    }
    origin.wait_for(3);
    gateway.connect().expect_close();
    assert_eq!(gateway.metric("ringway_connections_refused_total", &[]), 1.0);
    assert_eq!(gateway.metric("ringway_connections_given_up_total", &[]), 0.0);
    let told = "refused: limits.connections_max reached";
    eventually("the refusal to be told", || gateway.stderr().contains(told));
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().expect(200).text(), "late but whole");
    }
    drop(busy);
    eventually("room for one more", || {
        let mut next = gateway.connect();
        next.send_perhaps(request("GET", "/", &[], b""));
        next.try_response("GET").is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn a_client_address_has_a_bound_of_its_own() {
    let origin = Origin::saying("x");
    let config = limited(2, "limits = { connections_per_client_max = 2 }");
    let gateway = gateway(&config).with("app", origin.address).start();
    let mut mine: Vec<Wire> = (0..2).map(|_| connect_from([127, 0, 0, 1], &gateway)).collect();
    for client in &mut mine {
        client.get("/", &[]).expect(200);
    }
    connect_from([127, 0, 0, 1], &gateway).expect_close();
    connect_from([127, 0, 0, 2], &gateway).get("/", &[]).expect(200);
    let told = "refused: limits.connections_per_client_max reached, the last one by 127.0.0.1";
    eventually("the refusal to be told", || gateway.stderr().contains(told));
    drop(mine.pop());
    eventually("room for one more of the first", || {
        let mut next = connect_from([127, 0, 0, 1], &gateway);
        next.send_perhaps(request("GET", "/", &[], b""));
        next.try_response("GET").is_ok_and(|response| response.status == 200)
    });
    mine[0].get("/", &[]).expect(200);
}

#[test]
fn a_trusted_proxy_is_no_client() {
    let origin = Origin::saying("x");
    let listen = "trusted_proxies = [\"127.0.0.1\"]\nlimits = { connections_per_client_max = 1 }";
    let gateway = gateway(&limited(2, listen)).with("app", origin.address).start();
    let mut proxy: Vec<Wire> = (0..4).map(|_| connect_from([127, 0, 0, 1], &gateway)).collect();
    for connection in &mut proxy {
        connection.get("/", &[]).expect(200);
    }
    let _one = connect_from([127, 0, 0, 2], &gateway).get("/", &[]).expect(200);
}

#[test]
fn idle_connections_hold_no_buffer() {
    let origin = Origin::saying("x");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut clients: Vec<Wire> = (0..50).map(|_| gateway.connect()).collect();
    for client in clients.iter_mut().take(25) {
        client.get("/", &[]).expect(200);
    }
    eventually("no buffer to be in use", || gateway.metric("ringway_buffers_in_use", &[]) == 0.0);
    // Metrics of the two are counted at a core's tick.
    eventually("all to be open", || gateway.metric("ringway_connections_open", &[]) == 50.0);
    let kept = || gateway.metric("ringway_upstream_idle_connections", &[]);
    eventually("connections to the origin to be kept", || kept() > 0.0);
}

/// Opens connections, as many as the machine lets this test have, at most 10,000.
fn open_many(gateway: &Gateway, after: impl Fn(&mut Wire)) -> Vec<Wire> {
    let count = raise_descriptors().saturating_sub(500).min(10_000);
    let open = |_| {
        let mut client = gateway.connect();
        after(&mut client);
        client
    };
    (0..count).map(open).collect()
}

#[expect(unsafe_code, reason = "setrlimit(2) has no wrapper in std")]
fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are valid for the call.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    usize::try_from(limit.rlim_cur).unwrap()
}

/// What the clients raised the process' memory by, in the end.
///
/// Bound: 20 MiB for 10,000 (issue 3); our own goal is half of that, and the test stands in between so
/// that a debug build passes too.
fn expect_small(gateway: &Gateway, before_kib: u64, clients: &[Wire]) {
    let bound_kib = clients.len() as u64 * 2;
    eventually("all to be accepted", || {
        gateway.metric("ringway_connections_open", &[]) == clients.len() as f64
    });
    let mut raised_kib = u64::MAX;
    eventually("memory to be given back", || {
        raised_kib = gateway.memory_kib().saturating_sub(before_kib);
        raised_kib <= bound_kib
    });
    println!("{} connections: {raised_kib} KiB", clients.len());
    assert_eq!(gateway.metric("ringway_connections_open", &[]), clients.len() as f64);
}

#[test]
fn ten_thousand_clients_that_asked_once_raise_memory_by_at_most_20_mib() {
    let origin = Origin::saying("x");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.get("/").expect(200);
    let before_kib = gateway.memory_kib();
    let mut clients = open_many(&gateway, |client| {
        client.get("/", &[]).expect(200);
    });
    expect_small(&gateway, before_kib, &clients);
    clients[0].get("/", &[]).expect(200);
    clients.last_mut().expect("some").get("/", &[]).expect(200);
}

#[test]
fn ten_thousand_clients_that_never_spoke_raise_memory_by_at_most_20_mib() {
    let origin = Origin::saying("x");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.get("/").expect(200);
    let before_kib = gateway.memory_kib();
    let mut clients = open_many(&gateway, |_| {});
    expect_small(&gateway, before_kib, &clients);
    clients[0].get("/", &[]).expect(200);
}

#[test]
fn without_descriptors_the_established_are_served_and_new_ones_come_when_there_is_room() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let config = format!("workers = 1\n{FORWARD}");
    let gateway = gateway(&config).with("app", origin.address).start();
    let mut busy: Vec<Wire> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut busy {
        client.send(request("GET", "/held", &[], b""));
    }
    origin.wait_for(3);
    gateway.limit_descriptors(0);
    let is_told = || gateway.stderr().contains("raise LimitNOFILE");
    // An accept in flight on io_uring knows the old limit only: this client gets no connection to the origin,
    // and makes room as soon as it is idle. With epoll it waits as the next one does.
    let mut last = gateway.connect();
    last.send_perhaps(request("GET", "/", &[], b""));
    eventually("an answer, or the shortage", || last.has_something() || is_told());
    // The kernel takes this one into the queue; the gateway cannot accept it, and nothing here is idle.
    let mut waiting = gateway.connect();
    waiting.send(request("GET", "/", &[], b""));
    eventually("the shortage to be told", is_told);
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().expect(200).text(), "late but whole");
    }
    let answer = last.try_response("GET");
    assert!(answer.is_err() || answer.is_ok_and(|answer| matches!(answer.status, 200 | 503)));
    // Now they are idle, and the oldest of them gives way.
    assert_eq!(waiting.response().expect(200).text(), "quick");
    gateway.unlimit_descriptors();
    eventually("the end to be told", || gateway.stderr().contains("made again"));
    gateway.get("/").expect(200);
    assert_eq!(gateway.stderr().matches("raise LimitNOFILE").count(), 1, "told once");
    assert_eq!(gateway.stderr().matches("made again").count(), 1, "its end, too");
}

#[test]
fn an_origin_that_cannot_be_connected_to_for_want_of_descriptors_is_a_503() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let config = format!("workers = 1\n{FORWARD}");
    let gateway = gateway(&config).with("app", origin.address).start();
    let (mut held, mut client) = (gateway.connect(), gateway.connect());
    client.get("/", &[]).expect(200);
    // It takes the only connection to the origin.
    held.send(request("GET", "/held", &[], b""));
    origin.wait_for(2);
    assert_eq!(origin.connections(), 1);
    gateway.limit_descriptors(0);
    client.get("/", &[]).expect_problem(503);
    gate.open();
    assert_eq!(held.response().expect(200).text(), "late but whole");
    gateway.unlimit_descriptors();
    client.get("/", &[]).expect(200);
}

#[test]
fn idle_connections_to_origins_give_way_when_descriptors_run_out() {
    let (first, second) = (Origin::saying("first"), Origin::saying("second"));
    let config = "workers = 1\n[upstream.a]\nendpoints = [\"@a@\"]\n[upstream.b]\nendpoints = [\"@b@\"]\n\
         [[route]]\nmatch = \"/a\"\nforward = \"a\"\n[[route]]\nmatch = \"/b\"\nforward = \"b\"\n";
    let gateway = gateway(config).with("a", first.address).with("b", second.address).start();
    let mut client = gateway.connect();
    client.get("/a", &[]).expect(200);
    eventually("the connection to be kept", || {
        gateway.metric("ringway_upstream_idle_connections", &[]) == 1.0
    });
    gateway.limit_descriptors(0);
    assert_eq!(client.get("/b", &[]).expect(200).text(), "second");
    gateway.unlimit_descriptors();
}

#[test]
fn a_client_that_is_given_up_is_closed_and_not_reset() {
    let origin = Origin::saying("x");
    let config = limited(1, "limits = { connections_max = 1 }");
    let gateway = gateway(&config).with("app", origin.address).start();
    let mut idle = gateway.connect();
    idle.get("/", &[]).expect(200);
    gateway.connect().get("/", &[]).expect(200);
    assert!(idle.until_close().is_empty());
    assert!(idle.stream().as_raw_fd() >= 0);
}
