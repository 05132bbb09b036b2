//! A process that may have few open files from its start, as one without LimitNOFILE has, and more clients than that.
//!
//! It serves as many as it can, refuses the rest in words, goes on answering its operator, and is as before when the rush is
//! over. It never ends and never stops accepting for good.

use crate::support::gateway::{FORWARD, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::{Wire, request};
use crate::support::{Gate, eventually};

/// What a limit of 128 leaves for clients: three quarters of what is not kept back (docs/limits.md).
const CLIENTS: usize = (128 - 48) / 4 * 3;

fn holding(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::script(move |request| match request.target.as_str() {
        "/held" => vec![Step::Wait(held.clone()), Step::Send(ok("late but whole"))],
        _ => vec![Step::Send(ok("quick"))],
    })
}

#[test]
fn idle_clients_beyond_the_limit_give_way_and_the_operator_is_answered() {
    let origin = Origin::saying("quick");
    let config = format!("workers = 1\n{FORWARD}");
    let gateway = gateway(&config).descriptors(128).with("app", origin.address).start();
    let mut clients = Vec::new();
    for _ in 0..4 * CLIENTS {
        let mut client = gateway.connect();
        client.get("/", &[]).expect(200);
        clients.push(client);
        assert_eq!(gateway.admin("/livez").status, 200);
    }
    assert!(gateway.metric("ringway_connections_open", &[]) <= CLIENTS as f64);
    let given_up = gateway.metric("ringway_connections_given_up_total", &[]);
    assert!(given_up >= 3.0 * CLIENTS as f64, "{given_up}");
    // The newest was kept, and the oldest was closed.
    clients.last_mut().unwrap().get("/", &[]).expect(200);
    assert!(clients[0].until_close().is_empty());
}

#[test]
fn requests_that_take_every_descriptor_leave_the_operator_an_answer() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let config = format!("workers = 1\n{FORWARD}");
    let gateway = gateway(&config).descriptors(128).with("app", origin.address).start();
    // Each takes a descriptor here and one towards its origin: more than there are.
    let mut clients: Vec<Wire> = (0..CLIENTS).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send_perhaps(request("GET", "/held", &[], b""));
    }
    eventually("the shortage to be told", || gateway.stderr().contains("raise LimitNOFILE"));
    for _ in 0..20 {
        assert_eq!(gateway.admin("/livez").status, 200);
        assert_eq!(gateway.admin("/readyz").status, 200);
    }
    gateway.signal("USR1");
    eventually("the order for the log", || {
        gateway.stderr().contains("goes on where it was")
            || gateway.stderr().contains("opened again")
    });
    gate.open();
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    drop(clients);
    eventually("the end to be told", || {
        gateway.get("/").status == 200 && gateway.stderr().contains("made again")
    });
    eventually("the log to be opened again", || {
        gateway.stderr().contains("access.log opened again")
    });
}
