//! gRPC-Web, as browsers speak it, becomes gRPC and comes back (grpc/doc/PROTOCOL-WEB.md).
//!
//! The origin here speaks what a gateway that asks in HTTP/1.1 gets of gRPC: messages in chunks, the status behind them.
//! What is said between a real client and a real server stands in `tests/grpc`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::h2_wire::{DATA, END_STREAM, H2Wire, HEADERS, request};
use crate::support::origin::{Origin, Step, answer};
use crate::support::tokens::Signer;
use crate::support::wire::Response;

const WEB: &str = "application/grpc-web+proto";
const WEB_TEXT: &str = "application/grpc-web-text+proto";
const CALL: &str = "/greet.Greeter/Hello";

const ROUTE: &str = "[upstream.greeter]\nendpoints = [\"@greeter@\"]\n[[route]]\nmatch = \"/greet.Greeter/{call}\"\n\
    forward = \"greeter\"\ngrpc_web = true\n";

fn translating(origin: &Origin) -> Gateway {
    gateway(ROUTE).with("greeter", origin.address).start()
}

/// A message in its frame.
fn message(text: &str) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The frame of trailers that says all these lines.
fn trailers(lines: &str) -> Vec<u8> {
    let mut frame = message(lines);
    frame[0] = 0x80;
    frame
}

/// An answer of gRPC in HTTP/1.1: messages in a chunk each, trailers behind them.
fn grpc_answer(messages: &[&str], lines: &str) -> Vec<u8> {
    let mut bytes = grpc_head("application/grpc");
    messages.iter().for_each(|text| bytes.extend(chunk(&message(text))));
    bytes.extend_from_slice(format!("0\r\n{lines}\r\n").as_bytes());
    bytes
}

fn grpc_head(kind: &str) -> Vec<u8> {
    let lines = [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\ncontent-type: ",
        kind,
        "\r\nx-of: origin\r\n\r\n",
    ];
    lines.concat().into_bytes()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn greeter(messages: &'static [&str], lines: &'static str) -> Origin {
    Origin::answering(grpc_answer(messages, lines))
}

fn call(gateway: &Gateway, kind: &str, body: &[u8]) -> Response {
    gateway.connect().call("POST", CALL, &[("content-type", kind), ("x-grpc-web", "1")], body)
}

/// Decodes padded texts, one behind the other.
fn undone(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "{}", String::from_utf8_lossy(text));
    text.chunks(4).flat_map(|group| STANDARD.decode(group).expect("base64")).collect()
}

#[test]
fn a_call_becomes_grpc_and_its_trailers_the_last_frame() {
    let origin = greeter(&["hello", "world"], "Grpc-Status: 0\r\ngrpc-message: all%20well\r\n");
    let gateway = translating(&origin);
    let response = call(&gateway, WEB, &message("ada")).expect(200);
    assert_eq!(response.field("content-type"), Some(WEB));
    assert_eq!((response.field("trailer"), response.field("x-of")), (None, Some("origin")));
    let end = trailers("grpc-status: 0\r\ngrpc-message: all%20well\r\n");
    assert_eq!(response.body, [message("hello"), message("world"), end].concat());
    let seen = origin.request();
    assert_eq!(seen.all("content-type"), ["application/grpc+proto"]);
    assert_eq!(seen.all("te"), ["trailers"]);
    assert_eq!(seen.field("content-length"), Some("8"));
    assert_eq!((seen.target.as_str(), seen.body), (CALL, message("ada")));
}

#[test]
fn base64_is_undone_and_made_in_pieces_of_any_size() {
    let origin = greeter(&["hello", "", "world!!"], "grpc-status: 0\r\n");
    let gateway = translating(&origin);
    // Two padded texts one behind the other, cut where it hurts.
    let text = [STANDARD.encode(message("ad")), STANDARD.encode("a and more")].concat();
    for size in [1, 2, 3, 5, 7, text.len()] {
        let mut wire = gateway.connect();
        let head = format!(
            "POST {CALL} HTTP/1.1\r\nhost: a\r\ncontent-type: {WEB_TEXT}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        wire.send(head);
        text.as_bytes().chunks(size).for_each(|piece| wire.send(chunk(piece)));
        wire.send("0\r\n\r\n");
        let response = wire.response().expect(200);
        assert_eq!(response.field("content-type"), Some(WEB_TEXT));
        let end = trailers("grpc-status: 0\r\n");
        let all = [message("hello"), message(""), message("world!!"), end].concat();
        assert_eq!(undone(&response.body), all, "{size}");
    }
    let seen = origin.requests();
    assert_eq!(seen.len(), 6);
    for request in seen {
        assert_eq!(request.field("content-type"), Some("application/grpc+proto"));
        assert_eq!(request.body, [message("ad"), b"a and more".to_vec()].concat());
    }
    // With a length, which is that of the text and never sent on.
    call(&gateway, WEB_TEXT, text.as_bytes()).expect(200);
    let last = origin.requests().pop().expect("one more");
    assert_eq!((last.field("content-length"), last.body.len()), (None, 17));
}

#[test]
fn the_form_of_the_answer_is_the_one_that_is_asked_for() {
    let origin = greeter(&["hi"], "grpc-status: 0\r\n");
    let gateway = translating(&origin);
    let all = [message("hi"), trailers("grpc-status: 0\r\n")].concat();
    let body = STANDARD.encode(message("ada"));
    let fields = [("content-type", WEB_TEXT), ("accept", "application/grpc-web+proto")];
    let binary = gateway.connect().call("POST", CALL, &fields, body.as_bytes()).expect(200);
    assert_eq!((binary.field("content-type"), &binary.body), (Some(WEB), &all));
    let fields = [("content-type", WEB), ("accept", "application/grpc-web-text")];
    let text = gateway.connect().call("POST", CALL, &fields, &message("ada")).expect(200);
    assert_eq!((text.field("content-type"), undone(&text.body)), (Some(WEB_TEXT), all));
}

#[test]
fn what_is_no_base64_is_refused_in_the_clients_own_language() {
    let origin = greeter(&["hi"], "grpc-status: 0\r\n");
    let gateway = translating(&origin);
    for body in ["AAA", "A===", "AAAA AAAA", "AA-_"] {
        let response = call(&gateway, WEB_TEXT, body.as_bytes()).expect(200);
        assert_eq!(response.field("grpc-status"), Some("13"), "{body}");
        assert_eq!(response.field("content-type"), Some(WEB_TEXT));
    }
    let lines = gateway.access_log(4);
    assert_eq!(
        (&lines[0]["fault"], &lines[0]["reason"]),
        (&"http_request_error".into(), &"base64".into())
    );
}

#[test]
fn a_status_in_the_head_stays_there() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: none\r\ncontent-length: 0\r\n\r\n";
    let origin = Origin::answering(head);
    let gateway = translating(&origin);
    let response = call(&gateway, WEB, &message("ada")).expect(200);
    assert_eq!(response.field("content-type"), Some(WEB));
    assert_eq!(
        (response.field("grpc-status"), response.field("grpc-message")),
        (Some("5"), Some("none"))
    );
    assert!(response.body.is_empty());
}

#[test]
fn every_message_of_a_stream_arrives_when_it_is_sent() {
    let gates = [Gate::new(), Gate::new()];
    let [first, second] = gates.clone();
    let origin = Origin::script(move |_| {
        vec![
            Step::Send(grpc_head("application/grpc+proto")),
            Step::Send(chunk(&message("one"))),
            Step::Wait(first.clone()),
            Step::Send(chunk(&message("second"))),
            Step::Wait(second.clone()),
            Step::Send(b"0\r\ngrpc-status: 0\r\n\r\n".to_vec()),
        ]
    });
    let gateway = translating(&origin);
    let mut wire = gateway.connect();
    let body = STANDARD.encode(message("ada"));
    let head = format!(
        "POST {CALL} HTTP/1.1\r\nhost: a\r\ncontent-type: {WEB_TEXT}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.send(head);
    assert_eq!(wire.try_head().expect("a head").status, 200);
    assert_eq!(undone(&wire.read_chunk()), message("one"));
    gates[0].open();
    assert_eq!(undone(&wire.read_chunk()), message("second"));
    gates[1].open();
    assert_eq!(undone(&wire.read_chunk()), trailers("grpc-status: 0\r\n"));
    assert!(wire.read_chunk().is_empty());
}

#[test]
fn a_client_of_http_2_is_translated_like_any_other() {
    let origin = greeter(&["hello"], "grpc-status: 0\r\n");
    let gateway = translating(&origin);
    let mut client = H2Wire::connect(gateway.address);
    let fields = [("content-type", WEB)];
    client.headers(1, &request("POST", CALL, &fields), false);
    client.data(1, &message("ada"), true);
    client.expect(HEADERS);
    let mut body = Vec::new();
    loop {
        let frame = client.expect(DATA);
        body.extend_from_slice(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(body, [message("hello"), trailers("grpc-status: 0\r\n")].concat());
    let seen = origin.request();
    assert_eq!(
        (seen.field("content-type"), &seen.body),
        (Some("application/grpc+proto"), &message("ada"))
    );
}

#[test]
fn errors_of_ours_can_be_read_by_a_page_of_another_origin() {
    let secret = "0123456789abcdef0123456789abcdef";
    let (_port, nobody) = Origin::refusing();
    let text = format!(
        "{ROUTE}cors = {{ origins = \"https://app.example.com\", expose = [\"x-of\", \"grpc-message\"] }}\n\
         [jwt.key]\nsecret = \"{secret}\"\n[[route]]\nmatch = \"/secret.Service/{{call}}\"\nforward = \"greeter\"\ngrpc_web = true\njwt = \"key\"\n"
    );
    let gateway = gateway(&text).with("greeter", nobody).start();
    let fields = [("origin", "https://app.example.com"), ("content-type", WEB_TEXT)];
    let response = gateway.connect().call("POST", CALL, &fields, b"").expect(200);
    assert_eq!(
        (response.field("grpc-status"), response.field("content-type")),
        (Some("14"), Some(WEB_TEXT))
    );
    assert_eq!(
        response.field("access-control-expose-headers"),
        Some("x-of, grpc-message, grpc-status, grpc-status-details-bin")
    );
    let preflight = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web"),
    ];
    gateway.connect().call("OPTIONS", CALL, &preflight, b"").expect(204);
    // Without a token; and with one that proves nothing.
    let target = "/secret.Service/Call";
    let refused = gateway.connect().call("POST", target, &[("content-type", WEB)], b"").expect(200);
    assert_eq!(refused.field("grpc-status"), Some("16"));
    let forged = Signer::hs256("k", "fedcba9876543210fedcba9876543210");
    let (name, value) =
        crate::support::tokens::bearer(&forged.sign(&crate::support::tokens::claims("1")));
    let fields = [("content-type", WEB), (name, value.as_str())];
    let refused = gateway.connect().call("POST", target, &fields, b"").expect(200);
    assert_eq!(refused.field("grpc-status"), Some("16"));
}

#[test]
fn nothing_else_is_translated() {
    let origin = Origin::answering(answer(
        200,
        &[("content-type", "text/plain"), ("x-of", "origin")],
        b"plain",
    ));
    let gateway = translating(&origin);
    // Other requests of the route.
    let plain = gateway
        .connect()
        .call("POST", CALL, &[("content-type", "application/json")], b"{}")
        .expect(200);
    assert_eq!((plain.field("content-type"), plain.text().as_str()), (Some("text/plain"), "plain"));
    let get = gateway.get_with(CALL, &[("content-type", WEB)]).expect(200);
    assert_eq!(get.text(), "plain");
    // An answer that is no gRPC passes as it is: libraries read its status of HTTP.
    let other = call(&gateway, WEB_TEXT, STANDARD.encode(message("a")).as_bytes()).expect(200);
    assert_eq!((other.field("content-type"), other.text().as_str()), (Some("text/plain"), "plain"));
    let seen = origin.requests();
    assert_eq!(seen[0].field("content-type"), Some("application/json"));
    assert_eq!((seen[1].field("content-type"), seen[1].field("te")), (Some(WEB), None));
    assert_eq!(seen[2].body, message("a"));
}
