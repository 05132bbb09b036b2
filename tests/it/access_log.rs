//! One JSON line for each request: what happened, on whose side, how long each stage took.
//!
//! And the two fields that tie our line to everybody else's: `x-request-id` and `traceparent` (W3C Trace
//! Context level 1 §3.2). A line never holds a credential or a query's secret.

use crate::support::gateway::{FORWARD, gateway};
use crate::support::origin::{Origin, Step};
use crate::support::wire::request;

#[test]
fn a_forwarded_request_is_one_line_with_everything_about_it() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let response = gateway.get_with("/a/b?q=1", &[("X-Request-Id", "abc-123")]).expect(200);
    assert_eq!(response.field("x-request-id"), Some("abc-123"));
    let lines = gateway.access_log(1);
    let line = &lines[0];
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["method"], "GET", "{line}");
    assert_eq!(line["request_id"], "abc-123", "{line}");
    assert_eq!(line["upstream"], "app", "{line}");
    assert_eq!(line["address"], origin.address.to_string(), "{line}");
    assert_eq!(line["route"], "/{*rest}", "the route as it was written: {line}");
    assert_eq!((&line["path"], &line["host"]), (&"/a/b".into(), &"test".into()), "{line}");
    assert!(line["time"].as_str().is_some_and(|time| time.contains('T')), "RFC 3339: {line}");
    assert!(line["client"].as_str().is_some_and(|client| client.contains("127.0.0.1")), "{line}");
    assert!(
        line["bytes_in"].as_u64() > Some(20) && line["bytes_out"].as_u64() > Some(20),
        "{line}"
    );
    assert!(line["fault"].is_null(), "{line}");
    assert!(line["duration_ms"].is_number() && line["overhead_ms"].is_number(), "{line}");
    for stage in ["head", "target", "connected", "answered"] {
        assert!(line["stages_ms"][stage].is_number(), "{stage}: {line}");
    }
    assert_eq!(line["attempts"].as_array().map(Vec::len), Some(1), "{line}");
    assert!(!line.to_string().contains("q=1"), "queries often hold secrets: {line}");
}

#[test]
fn every_request_of_a_connection_has_its_line_in_order() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    for n in 0..50 {
        client.get("/", &[("X-Request-Id", &format!("n{n}"))]).expect(200);
    }
    let ids: Vec<_> = gateway
        .access_log(50)
        .iter()
        .map(|line| line["request_id"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(ids, (0..50).map(|n| format!("n{n}")).collect::<Vec<_>>());
}

#[test]
fn a_fault_is_named_with_its_side() {
    let origin = Origin::script(|_| vec![Step::Close]);
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.get("/").expect(502);
    let mut client = gateway.connect();
    client.send("GARBAGE\r\n\r\n");
    client.response().expect(400);
    let lines = gateway.access_log(2);
    assert_eq!(lines[0]["fault"], "connection_terminated", "{}", lines[0]);
    assert_eq!(lines[0]["fault_side"], "upstream", "{}", lines[0]);
    assert_eq!(lines[1]["fault"], "http_request_error", "{}", lines[1]);
    assert_eq!(lines[1]["fault_side"], "downstream", "{}", lines[1]);
}

/// What cannot be read at all has no path and no method to be found by: its id and its reason are all there is.
#[test]
fn a_refused_head_says_why_and_under_which_id() {
    let origin = Origin::saying("hello");
    let listen = "[[listen]]\naddress = \"@LISTEN@\"\nprotocols = [\"http/1.1\"]\n";
    let gateway = gateway(&format!("{listen}{FORWARD}")).with("app", origin.address).start();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "b".repeat(100_000));
    let cases: [(&[u8], u16, &str); 10] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls_handshake"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", 400, "proxy_header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", 400, "proxy_header"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http2"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "no_host"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "space_in_name"),
        (many.as_bytes(), 431, "fields_max"),
        (long.as_bytes(), 431, "head_bytes_max"),
        (b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "dot_segment"),
    ];
    let mut ids = Vec::new();
    for (bytes, status, reason) in cases {
        let mut client = gateway.connect();
        client.send(bytes);
        let response = client.response();
        assert_eq!(response.status, status, "{reason}");
        let id = response.field("x-request-id").unwrap_or_else(|| panic!("an id: {reason}"));
        assert!(response.text().contains(id), "{reason}: {}", response.text());
        ids.push(id.to_string());
    }
    let lines = gateway.access_log(cases.len());
    for ((_, _, reason), id) in cases.iter().zip(&ids) {
        let line = lines.iter().find(|line| line["request_id"] == **id).expect("a line of this id");
        assert_eq!(line["reason"], *reason, "{line}");
        assert_ne!(line["trace_id"], "0".repeat(32), "{line}");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_refused_head_is_logged_with_what_could_be_read_of_it() {
    let origin = Origin::saying("hello");
    let config =
        format!("[[listen]]\naddress = \"@LISTEN@\"\ntimeout = {{ head = \"150ms\" }}\n{FORWARD}");
    let gateway = gateway(&config).with("app", origin.address).start();
    let cases: [(&str, &str, [&str; 3]); 9] = [
        ("GET /a?k=secret HTTP/1.1\r\nHost: b:80\r\nX : y\r\n\r\n", "400", ["GET", "b:80", "/a"]),
        ("PUT /a HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n", "400", ["PUT", "", "/a"]),
        ("GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "400", ["GET", "", "/a"]),
        ("GET http://b/a HTTP/1.1\r\nHost: c\r\nX\r\n\r\n", "400", ["GET", "b", "/a"]),
        ("GET /a\\b?k=secret HTTP/1.1\r\nHost: b\r\n\r\n", "400", ["GET", "", "/a\\b"]),
        ("GET http://u:secret@b/a HTTP/1.1\r\nHost: b\r\n\r\n", "400", ["GET", "", ""]),
        ("GET /a HTTP/2.0\r\nHost: b\r\n\r\n", "505", ["GET", "", "/a"]),
        ("GET /a HTTP/1.1\r\nHost: b\r\nX: y", "408", ["GET", "b", "/a"]),
        ("\x16\x03\x01", "400", ["", "", ""]),
    ];
    for (number, (bytes, status, [method, host, path])) in cases.into_iter().enumerate() {
        let mut client = gateway.connect();
        client.send(bytes);
        assert_eq!(client.response().status.to_string(), status, "{bytes}");
        let lines = gateway.access_log(number + 1);
        let line = &lines[number];
        assert_eq!(line["method"], method, "{line}");
        assert_eq!(line["host"], host, "{line}");
        assert_eq!(line["path"], path, "{line}");
        assert_eq!(line["bytes_in"], bytes.len(), "{line}");
        assert!(line["route"].is_null() && !line.to_string().contains("secret"), "{line}");
    }
}

#[test]
fn a_broken_body_and_a_handshake_with_content_say_why() {
    let origin = Origin::script(|request| match request.target.as_str() {
        "/broken" => vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_vec()),
            Step::Close,
        ],
        _ => vec![Step::Send(crate::support::origin::ok("hello"))],
    });
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let chunked = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
        Content-Length: 1\r\n\r\nx";
    let broken = "GET /broken HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases: [(String, u16, &str); 9] = [
        (chunked("5x\r\n"), 400, "chunk_size"),
        (chunked("fffffffffffffffff\r\n"), 400, "chunk_size_too_large"),
        (chunked("5;\0\r\n"), 400, "chunk_extension"),
        (chunked(&format!("5;{}\r\n", "a".repeat(20_000))), 400, "chunk_extension_too_long"),
        (chunked("1\r\nab\r\n"), 400, "chunk_data_end"),
        (chunked("0\r\nno colon\r\n\r\n"), 400, "trailer"),
        (chunked(&format!("0\r\nx: {}\r\n\r\n", "a".repeat(20_000))), 400, "trailer_too_long"),
        (upgrade.into(), 400, "handshake_with_body"),
        (broken.into(), 502, "chunk_size"),
    ];
    for (number, (bytes, status, reason)) in cases.iter().enumerate() {
        let mut client = gateway.connect();
        client.send_perhaps(bytes);
        assert_eq!(client.response().status, *status, "{reason}");
        let lines = gateway.access_log(number + 1);
        assert_eq!(lines[number]["reason"], *reason, "{}", lines[number]);
    }
}

#[test]
fn a_client_that_goes_away_is_logged_too() {
    let gate = crate::support::Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Close]);
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(request("GET", "/gone", &[], b""));
    origin.wait_for(1);
    drop(client);
    gate.open();
    let lines = gateway.access_log(1);
    assert!(lines[0]["fault"].is_string(), "{}", lines[0]);
}

#[test]
fn each_part_of_a_merge_has_its_own_times() {
    let origin = Origin::script(|request| {
        vec![Step::Send(if request.target == "/bad" {
            b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            crate::support::origin::ok("1")
        })]
    });
    let config = r#"
[upstream.app]
endpoints = ["@app@"]
[[route]]
match = "GET /d"
[route.merge]
good = { get = "app /good" }
bad  = { get = "app /bad", else = 0 }
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    gateway.get("/d").expect(200);
    let line = &gateway.access_log(1)[0];
    let attempts = line["attempts"].as_array().expect("attempts");
    let of = |part: &str| attempts.iter().find(|attempt| attempt["part"] == part).expect("a part");
    assert_eq!((&of("good")["status"], &of("bad")["status"]), (&200.into(), &500.into()), "{line}");
    for part in ["good", "bad"] {
        assert!(of(part)["start_ms"].is_number() && of(part)["duration_ms"].is_number(), "{line}");
    }
}

#[test]
fn secrets_of_a_request_never_reach_the_log() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let fields = [("Authorization", "Bearer sesame-open"), ("Cookie", "session=sesame-cookie")];
    gateway.get_with("/", &fields).expect(200);
    let line = gateway.access_log(1)[0].to_string();
    assert!(!line.contains("sesame"), "{line}");
}

#[test]
fn hostile_text_cannot_forge_a_line() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let mut client = gateway.connect();
    client.send(b"GET /\"x\\u0000%0a HTTP/1.1\r\nHost: test\r\nX-Request-Id: a\"b\\c\r\nUser-Agent: \xff\"\r\n\r\n");
    client.response();
    assert_eq!(gateway.access_log(1).len(), 1, "one line, and it parses");
}

#[test]
fn a_request_without_an_id_gets_one_that_the_origin_sees_too() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let response = gateway.get("/").expect(200);
    let seen = origin.request();
    let id = seen.field("x-request-id").expect("made by the gateway");
    assert!(id.len() >= 16, "{id}");
    assert_eq!(response.field("x-request-id"), Some(id));
    assert_eq!(gateway.access_log(1)[0]["request_id"], id);
}

#[test]
fn an_id_that_is_no_plain_short_text_is_not_believed() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let long = "x".repeat(1000);
    for id in [long.as_str(), "a b", "<script>", ""] {
        gateway.get_with("/", &[("X-Request-Id", id)]).expect(200);
    }
    for request in origin.requests() {
        let id = request.field("x-request-id").expect("one id");
        assert!(id.len() <= 128 && !id.is_empty() && !id.contains([' ', '<']), "{id}");
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero.
fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let is_hex = |text: &&str, length: usize| {
        text.len() == length
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    matches!(&parts[..], ["00", trace, span, flags]
        if is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)
            && trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'))
}

#[test]
fn a_trace_is_continued_with_a_new_span() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    gateway.get_with("/", &[("traceparent", parent), ("tracestate", "a=1,b=2")]).expect(200);
    let seen = origin.request();
    let ours = seen.field("traceparent").expect("one traceparent");
    assert!(is_traceparent(ours), "{ours}");
    assert_eq!(ours[..36], parent[..36], "the same trace");
    assert!(ours.ends_with("-01"), "the caller's sampling: {ours}");
    assert_eq!(seen.field("tracestate"), Some("a=1,b=2"));
}

#[test]
fn a_missing_or_broken_trace_starts_a_new_one() {
    let origin = Origin::saying("hello");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    gateway.get("/").expect(200);
    for broken in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "nonsense",
    ] {
        gateway.get_with("/", &[("traceparent", broken)]).expect(200);
    }
    let seen = origin.requests();
    for request in &seen {
        let value = request.field("traceparent").expect("one traceparent");
        assert!(is_traceparent(value), "{value}");
        assert!(!value.contains("00f067aa0ba902b7"), "nothing of a broken one is kept: {value}");
    }
}

#[test]
fn a_request_that_cannot_be_sent_is_its_clients_mistake_and_no_attempt() {
    let origin = Origin::saying("x");
    for hedge in ["", "hedge = true\n"] {
        let text = format!(
            "[upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/api/{{*rest}}\"\n\
             forward = \"app /v2/{{*rest}}\"\n{hedge}"
        );
        let gateway = gateway(&text).with("app", origin.address).start();
        let before = origin.connections();
        gateway.get("/api//b").expect_problem(400);
        let line = gateway.access_log(1).remove(0);
        assert!(line["fault_side"] == "downstream" && line["reason"] == "target_unfit", "{line}");
        assert_eq!(line.get("attempts"), None, "{line}");
        assert_eq!(origin.connections(), before);
        for name in ["ringway_upstream_attempts_total", "ringway_upstream_failures_total"] {
            assert_eq!(gateway.metric(name, &["upstream=\"app\""]), 0.0, "{name}");
        }
        gateway.get("/api/b").expect(200);
    }
}
