//! Copies of requests for a second upstream.
//!
//! A copy never slows or fails the request it was made of, and its answer is never seen.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::{Gate, eventually};

fn mirroring(origin: &Origin, shadow: std::net::SocketAddr, mirror: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[upstream.shadow]\nendpoints = [\"@shadow@\"]\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"api\"\nmirror = {mirror}\n\
         request_headers = {{ set = {{ x-edited = \"yes\" }} }}\n"
    );
    gateway(&text).with("api", origin.address).with("shadow", shadow).start()
}

const MIRRORED: &str = "ringway_mirrored_requests_total";

#[test]
fn the_second_upstream_gets_what_the_first_one_gets() {
    let origin = Origin::saying("\"real\"");
    let shadow = Origin::script(|_| vec![Step::Send(answer(500, &[], b"shadow"))]);
    let gateway = mirroring(&origin, shadow.address, "\"shadow\"");
    let mut client = gateway.connect();
    let response = client.call("POST", "/a?x=1", &[("X-Own", "1")], b"the body").expect(200);
    assert_eq!(response.text(), "\"real\"");
    let chunked = [("Transfer-Encoding", "chunked")];
    client.call("PUT", "/b", &chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").expect(200);
    client.get("/c", &[]).expect(200);
    let copies = shadow.wait_for(3);
    let originals = origin.requests();
    for original in &originals {
        let copy = copies.iter().find(|copy| copy.target == original.target).expect("a copy");
        assert_eq!((&copy.method, &copy.body), (&original.method, &original.body));
        for name in ["host", "x-own", "x-edited", "x-forwarded-for", "x-request-id"] {
            assert_eq!(copy.field(name), original.field(name), "{name}");
        }
    }
    eventually("three copies to be counted", || gateway.metric(MIRRORED, &["answered"]) == 3.0);
    let attempts = "ringway_upstream_attempts_total";
    assert_eq!(gateway.metric(attempts, &["upstream=\"shadow\""]), 3.0);
    // What the client is told of its request is not what the second upstream said.
    assert_eq!(
        gateway.metric("http_server_request_duration_seconds_count", &["code=\"500\""]),
        0.0
    );
}

#[test]
fn a_second_upstream_that_is_away_or_silent_is_never_noticed() {
    let origin = Origin::saying("\"real\"");
    let (_port, refusing) = Origin::refusing();
    let gateway = mirroring(&origin, refusing, "\"shadow\"");
    for _ in 0..20 {
        gateway.connect().call("POST", "/a", &[], b"body").expect(200);
    }
    eventually("failed copies to be counted", || gateway.metric(MIRRORED, &["failed"]) == 20.0);
    let silent = Origin::silent();
    let gateway = mirroring(&origin, silent.address, "{ to = \"shadow\", timeout = \"10s\" }");
    let mut client = gateway.connect();
    // On one core 64 copies wait for their answers; the others are left out.
    for _ in 0..80 {
        client.get("/a", &[]).expect(200);
    }
    assert_eq!(gateway.metric(MIRRORED, &["left_out"]), 16.0);
}

#[test]
fn bodies_beyond_the_bound_and_other_paths() {
    let origin = Origin::saying("\"real\"");
    let shadow = Origin::script(|_| vec![Step::Send(ok("{}"))]);
    let mirror = "{ to = \"shadow /copies/{path.rest}\", body_max = \"10B\" }";
    let gateway = mirroring(&origin, shadow.address, mirror);
    let mut client = gateway.connect();
    client.call("POST", "/a", &[], b"0123456789a").expect(200);
    let chunked = [("Transfer-Encoding", "chunked")];
    client.call("POST", "/b", &chunked, b"6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n").expect(200);
    client.call("POST", "/c?q=1", &[], b"0123456789").expect(200);
    let copies = shadow.wait_for(1);
    assert_eq!(copies[0].target, "/copies/c?q=1");
    assert_eq!(copies[0].body, b"0123456789");
    eventually("two to be left out", || gateway.metric(MIRRORED, &["left_out"]) == 2.0);
    assert_eq!(shadow.requests().len(), 1);
}

#[test]
fn copies_take_neither_seats_nor_limits_of_requests() {
    let gate = Gate::new();
    let (origin, held) = (Origin::saying("real"), gate.clone());
    let shadow = Origin::script(move |request| match request.field("x-copy") {
        Some(_) => vec![Step::Wait(held.clone()), Step::Send(ok("copy"))],
        None => vec![Step::Send(ok("asked for"))],
    });
    let text = "[limit.few]\nrate = \"1/h\"\nburst = 1\nkey = \"all\"\n[upstream.api]\nendpoints = [\"@api@\"]\n\
        [upstream.shadow]\nendpoints = [\"@shadow@\"]\nconcurrency = 1\nlimit = \"few\"\n\
        [[route]]\nmatch = \"/copied\"\nforward = \"api\"\nmirror = \"shadow\"\n\
        request_headers = { set = { x-copy = \"yes\" } }\n\
        [[route]]\nmatch = \"/own\"\nforward = \"shadow\"\n";
    let gateway = gateway(text).with("api", origin.address).with("shadow", shadow.address).start();
    for _ in 0..3 {
        gateway.get("/copied").expect(200);
    }
    shadow.wait_for(3);
    assert_eq!(gateway.get("/own").expect(200).text(), "asked for");
    gateway.get("/own").expect_problem(503);
    gate.open();
    eventually("three copies to be counted", || gateway.metric(MIRRORED, &["answered"]) == 3.0);
}

#[test]
fn a_share_of_requests_is_copied() {
    let origin = Origin::saying("\"real\"");
    let shadow = Origin::saying("{}");
    let gateway = mirroring(&origin, shadow.address, "{ to = \"shadow\", share = \"25%\" }");
    let mut client = gateway.connect();
    for _ in 0..400 {
        client.get("/a", &[]).expect(200);
    }
    let copied =
        || gateway.metric(MIRRORED, &["answered"]) + gateway.metric(MIRRORED, &["left_out"]);
    // Of 400 draws at 25 %: beyond these bounds once in some billions of runs.
    eventually("about a quarter to be copied", || (50.0..=160.0).contains(&copied()));
}
