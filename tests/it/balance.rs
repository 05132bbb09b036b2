//! Who of several endpoints gets a request, and that a dead one costs nobody an answer.
//!
//! Counts are asserted within bounds that the algorithm promises, never by luck of the draw.

use crate::support::gateway::gateway;
use crate::support::origin::Origin;

const ROUTE: &str = "\n[[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";

#[test]
fn requests_are_spread_over_the_endpoints() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let config = format!("[upstream.app]\nendpoints = [\"@a@\", \"@b@\"]\n{ROUTE}");
    let gateway = gateway(&config).with("a", a.address).with("b", b.address).start();
    let mut client = gateway.connect();
    for _ in 0..200 {
        client.get("/", &[]).expect(200);
    }
    let (a, b) = (a.requests().len(), b.requests().len());
    assert_eq!(a + b, 200);
    assert!(a >= 50 && b >= 50, "{a} to one, {b} to the other");
}

#[test]
fn weights_are_honoured() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let config = format!(
        "[upstream.app]\nendpoints = [{{ address = \"@a@\", weight = 3 }}, {{ address = \"@b@\", weight = 1 }}]\n\
         balance = \"round_robin\"\n{ROUTE}"
    );
    let gateway = gateway(&config).with("a", a.address).with("b", b.address).start();
    let mut client = gateway.connect();
    for _ in 0..400 {
        client.get("/", &[]).expect(200);
    }
    assert_eq!((a.requests().len(), b.requests().len()), (300, 100));
}

#[test]
fn round_robin_takes_turns() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let config = format!(
        "[upstream.app]\nendpoints = [\"@a@\", \"@b@\"]\nbalance = \"round_robin\"\n{ROUTE}"
    );
    let gateway = gateway(&config).with("a", a.address).with("b", b.address).start();
    let mut client = gateway.connect();
    let answers: Vec<String> = (0..6).map(|_| client.get("/", &[]).expect(200).text()).collect();
    assert!(answers == ["a", "b", "a", "b", "a", "b"] || answers == ["b", "a", "b", "a", "b", "a"]);
}

#[test]
fn a_dead_endpoint_costs_no_answer() {
    let (_port, dead) = Origin::refusing();
    let alive = Origin::saying("alive");
    let config = format!("[upstream.app]\nendpoints = [\"@dead@\", \"@alive@\"]\n{ROUTE}");
    let gateway = gateway(&config).with("dead", dead).with("alive", alive.address).start();
    let mut client = gateway.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/", &[]).expect(200).text(), "alive");
    }
}

#[test]
fn an_upstream_whose_endpoints_all_died_recovers_with_them() {
    let (port, address) = Origin::refusing();
    let config = format!("[upstream.app]\nendpoints = [\"@app@\"]\n{ROUTE}");
    let gateway = gateway(&config).with("app", address).start();
    let mut client = gateway.connect();
    client.get("/", &[]).expect_problem(502);
    let aside = format!("endpoint {address} of app is set aside, at first for ");
    crate::support::eventually("the operator to be told", || gateway.stderr().contains(&aside));
    assert!(!gateway.stderr().contains("is used again"));
    let _alive = Origin::script_at(address, |_| {
        vec![crate::support::origin::Step::Send(crate::support::origin::ok("back"))]
    });
    crate::support::eventually("the upstream to be tried again", || {
        client.get("/", &[]).status == 200
    });
    let back = format!("endpoint {address} of app is used again");
    crate::support::eventually("the operator to be told", || gateway.stderr().contains(&back));
    assert_eq!(gateway.stderr().matches(&aside).count(), 1, "{}", gateway.stderr());
    drop(port);
}

#[test]
fn idle_connections_to_an_origin_are_used_again() {
    let origin = Origin::saying("x");
    let config = format!("[upstream.app]\nendpoints = [\"@app@\"]\n{ROUTE}");
    let gateway = gateway(&config).with("app", origin.address).start();
    for _ in 0..50 {
        gateway.get("/").expect(200);
    }
    let connections = origin.connections();
    assert!(connections <= 2, "{connections} connections for one request at a time on two cores");
}
