//! CONNECT: refused unless a route names it, and then a tunnel to its upstream and nowhere else.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::gateway::gateway;
use crate::support::origin::{self, Origin};
use crate::support::tunnel::{Ends, FORWARD, echoes, expect_end, handshake, read, switched};
use crate::support::wire::{Response, Wire, request};

fn connect(authority: &str) -> String {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

#[track_caller]
fn refused_connect(mut client: Wire, bytes: &str, status: u16) -> Response {
    client.send(bytes);
    let refused = client.response().expect_problem(status);
    client.expect_close();
    refused
}

#[test]
fn connect_is_refused_unless_a_route_names_it() {
    let origin = Origin::saying("plain");
    let text = format!(
        "{FORWARD}[[route]]\nmatch = \"CONNECT db.test/\"\nforward = \"app\"\nname = \"db\"\n"
    );
    for text in [FORWARD, &text] {
        let gateway = gateway(text).with("app", origin.address).start();
        for authority in ["other.test:443", "127.0.0.1:22", "[::1]:80"] {
            refused_connect(gateway.connect(), &connect(authority), 501);
        }
    }
    assert!(origin.requests().is_empty());
    assert_eq!(origin.connections(), 0);
}

#[test]
fn connect_tunnels_to_the_routes_upstream_and_nowhere_else() {
    let (_port, refusing) = Origin::refusing();
    let (sender, opened) = channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |stream, _| {
        let _ = sender.lock().unwrap().send(stream);
    });
    let text = r#"
[upstream.db]
endpoints = ["@refusing@", "@db@"]
[[route]]
match = "CONNECT db.test/"
forward = "db"
"#;
    let gateway = gateway(text).with("db", origin.address).with("refusing", refusing).start();
    for _ in 0..2 {
        let mut client = gateway.connect();
        client.send(format!("{}early", connect("db.test:5432")));
        let mut stream = opened.recv_timeout(PATIENCE).expect("a connection");
        let head = client.try_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length").or(head.field("transfer-encoding")), None);
        assert_eq!(read(&mut stream, 5), b"early");
        echoes(&mut client, &mut stream);
        client.finish();
        expect_end(&mut stream);
    }
    let line = gateway.access_log(2).remove(0);
    assert_eq!((&line["method"], &line["host"]), (&json!("CONNECT"), &json!("db.test:5432")));
    assert_eq!((&line["status"], &line["closed_by"]), (&json!(200), &json!("downstream")));
    let with_content =
        "CONNECT db.test:1 HTTP/1.1\r\nHost: db.test:1\r\nContent-Length: 1\r\n\r\nx";
    refused_connect(gateway.connect(), with_content, 400);
}

/// Whoever speaks through a tunnel may speak before it opens; refused, its words are nobody's request.
#[test]
fn what_follows_a_refused_connect_is_never_read_as_http() {
    let (_port, refusing) = Origin::refusing();
    let origin = Origin::saying("plain");
    let text = format!(
        "{FORWARD}[jwt.idp]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
         [upstream.db]\nendpoints = [\"@refusing@\"]\n\
         [[route]]\nmatch = \"CONNECT db.test/\"\nforward = \"db\"\nname = \"db\"\n\
         [[route]]\nmatch = \"CONNECT shut.test/\"\nforward = \"db\"\nname = \"shut\"\njwt = \"idp\"\n"
    );
    let gateway = gateway(&text).with("app", origin.address).with("refusing", refusing).start();
    let smuggled = String::from_utf8(request("GET", "/smuggled", &[], b"")).expect("ASCII");
    for (authority, status) in [("db.test:1", 502), ("shut.test:1", 401), ("other.test:1", 501)] {
        refused_connect(gateway.connect(), &(connect(authority) + &smuggled), status);
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_client_that_is_gone_when_the_origin_switches_has_closed_the_tunnel() {
    let ends = Ends::new();
    let gateway = gateway(FORWARD).with("app", ends.origin.address).start();
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    let (mut stream, ..) = ends.next();
    origin::reset(client.stream());
    drop(client);
    stream.write_all(&switched("websocket")).unwrap();
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["fault"], &line["closed_by"]), (&json!("client_gone"), &json!("downstream")));
}
