//! One worker per chosen core, each with its own listener, on either driver.
//!
//! Which connection lands on which core is the kernel's business; tests only need that all cores get some.

use crate::support::eventually;
use crate::support::gateway::{FORWARD, gateway};
use crate::support::origin::Origin;

#[test]
fn every_worker_serves_connections_of_its_own() {
    let origin = Origin::saying("x");
    let gateway = gateway(&format!("workers = 2\n{FORWARD}")).with("app", origin.address).start();
    let served = |worker: &str| gateway.metric("ringway_worker_requests_total", &[worker]);
    // Each connection's hash is a fair coin; waiting for both sides of it ends.
    eventually("both workers to serve", || {
        gateway.get("/").expect(200);
        served("worker=\"0\"") > 0.0 && served("worker=\"1\"") > 0.0
    });
    assert!(origin.connections() >= 2, "each core has a pool of its own");
}

#[test]
fn workers_are_pinned_to_the_cores_of_the_list() {
    let config = "workers = \"0\"\n[[route]]\nmatch = \"/\"\nrespond = { status = 200 }\n";
    let gateway = gateway(config).start();
    gateway.get("/").expect(200);
    let threads = gateway.threads();
    assert!(threads.iter().any(|(_, cpus)| cpus == "0"), "{threads:?}");
}

#[test]
fn both_drivers_serve() {
    let origin = Origin::saying("served");
    for driver in ["epoll", "auto"] {
        let gateway = gateway(FORWARD).driver(driver).with("app", origin.address).start();
        assert_eq!(gateway.get("/").expect(200).text(), "served", "{driver}");
    }
}
