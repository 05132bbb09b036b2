//! HTTP/2 from clients: streams become exchanges, bodies and trailers pass, one slow stream holds up nobody.
//!
//! RFC 9113. The other side is `curl`, `h2load`, or raw frames; floods and smuggling have modules of their own.
//! Nothing here waits for a length of time.

use std::io::Write;
use std::process::Command;

use crate::support::Gate;
use crate::support::certs::Authority;
use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::h2_wire::{
    Answer, DATA, END_HEADERS, END_STREAM, GOAWAY, H2Wire, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, request, status_of,
};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::tunnel::{self, Ends};

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

/// `curl --http2-prior-knowledge` with these arguments, and what it printed.
#[track_caller]
fn curl(gateway: &Gateway, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://{}{path}", gateway.address);
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--http2-prior-knowledge"]).args(arguments).arg(url);
    let output = command.output().expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn expect(answer: Answer, status: u16) -> String {
    match answer {
        Answer::Response(got, body) if got == status => String::from_utf8_lossy(&body).into_owned(),
        other => panic!("{status} was expected and not {other:?}"),
    }
}

#[test]
fn a_request_with_prior_knowledge_is_an_exchange_like_any_other() {
    let origin = Origin::saying("hello");
    let gateway = forwarding_to(&origin);
    let text = curl(&gateway, "/a/b?c=1", &["-w", " %{http_version} %{http_code}", "-H", "X-A: 1"]);
    assert_eq!(text, "hello 2 200");
    let seen = origin.request();
    assert_eq!((seen.target.as_str(), seen.field("x-a")), ("/a/b?c=1", Some("1")));
    assert_eq!(seen.field("host"), Some(gateway.address.to_string().as_str()));
    assert_eq!(seen.field("via"), Some("2.0 ringway"));
    let line = &gateway.access_log(1)[0];
    assert_eq!((line["status"].as_u64(), line["path"].as_str()), (Some(200), Some("/a/b")));
    assert_eq!(gateway.metric("ringway_http2_streams_total", &[]), 1.0);
}

#[test]
fn http_1_1_is_still_spoken_at_the_same_listener() {
    let origin = Origin::saying("both");
    let gateway = forwarding_to(&origin);
    assert_eq!(gateway.get("/").expect(200).text(), "both");
    assert_eq!(curl(&gateway, "/", &[]), "both");
}

#[test]
fn a_listener_speaks_what_it_is_told() {
    let origin = Origin::saying("x");
    let text = |protocols: &str| {
        format!("[[listen]]\naddress = \"@LISTEN@\"\nprotocols = [{protocols}]\n{FORWARD}")
    };
    let old = gateway(&text("\"http/1.1\"")).with("app", origin.address).start();
    old.get("/").expect(200);
    let mut wire = old.connect();
    wire.send(PREFACE);
    wire.response().expect_problem(505);
    assert_eq!(old.access_log(2)[1]["reason"], "http2");
    let new = gateway(&text("\"h2\"")).with("app", origin.address).start();
    assert_eq!(curl(&new, "/", &[]), "x");
    new.get("/").expect_problem(505);
}

#[test]
fn a_preface_counts_only_at_the_beginning_and_may_come_in_pieces() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    let mut late = gateway.connect();
    late.get("/", &[]).expect(200);
    late.send(PREFACE);
    late.response().expect_problem(505);
    let mut slow = H2Wire::silent(gateway.address);
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])].concat() {
        slow.send([byte]);
    }
    slow.get(1, "/", &[]);
    assert_eq!(expect(slow.answer(1), 200), "x");
}

#[test]
fn bodies_pass_whole_with_and_without_a_length() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.text()))]);
    let gateway = forwarding_to(&origin);
    let body: String = (0..60_000).map(|number| format!("{number:07}\n")).collect();
    let file = gateway.folder.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let sent = curl(&gateway, "/", &["--data-binary", &data, "-H", "Expect:"]);
    assert!(sent == body, "{} of {} bytes", sent.len(), body.len());
    assert_eq!(origin.request().field("content-length"), Some(body.len().to_string().as_str()));
    let file = file.display().to_string();
    let sent =
        curl(&gateway, "/", &["-X", "POST", "-H", "Expect:", "-T", &file, "-H", "content-length:"]);
    assert!(sent == body, "{} of {} bytes", sent.len(), body.len());
}

#[test]
fn a_body_without_a_length_and_its_trailers_reach_the_origin_in_chunks() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("POST", "/", &[("te", "trailers")]), false);
    client.data(1, b"abc", false);
    client.data(1, b"def", false);
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-sum", "6")]));
    client.send(trailers);
    assert_eq!(expect(client.answer(1), 200), "x");
    let seen = origin.request();
    assert_eq!(seen.field("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.text(), "abcdef");
    assert_eq!(seen.trailers, [("x-sum".to_string(), "6".to_string())]);
}

#[test]
fn trailers_of_the_origin_end_the_stream() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n",
    );
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/", &[("te", "trailers")]);
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, 0));
    assert_eq!(client.expect(DATA).payload, b"abc");
    let trailers = client.expect(HEADERS);
    assert_eq!(trailers.flags, END_STREAM | END_HEADERS);
}

#[test]
fn answers_without_content_end_with_their_head() {
    let origin = Origin::script(|request| {
        let status = if request.target == "/304" { 304 } else { 204 };
        match request.method.as_str() {
            "HEAD" => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec())],
            _ => vec![Step::Send(answer(status, &[], b""))],
        }
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    for (stream, method, path) in [(1, "HEAD", "/"), (3, "GET", "/204"), (5, "GET", "/304")] {
        client.headers(stream, &request(method, path, &[]), true);
        let head = client.expect(HEADERS);
        assert_eq!(
            (head.stream, head.flags),
            (stream, END_STREAM | END_HEADERS),
            "{method} {path}"
        );
    }
}

#[test]
fn interim_answers_are_passed_on_and_expectations_met() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/", &[]);
    assert_eq!(status_of(&client.expect(HEADERS).payload), 103);
    assert_eq!(expect(client.answer(1), 200), "ok");
    client.headers(3, &request("POST", "/", &[("expect", "100-continue")]), false);
    assert_eq!(status_of(&client.expect(HEADERS).payload), 100);
    client.data(3, b"abc", true);
    assert_eq!(expect(client.answer(3), 200), "ok");
}

#[test]
fn streams_are_answered_as_their_origins_are_ready() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |request| {
        if request.target == "/slow" {
            held.wait();
        }
        vec![Step::Send(ok(&request.target))]
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/slow", &[]);
    for stream in [3, 5, 7] {
        client.get(stream, "/fast", &[]);
        assert_eq!(expect(client.answer(stream), 200), "/fast");
    }
    gate.open();
    assert_eq!(expect(client.answer(1), 200), "/slow");
}

#[test]
fn a_stream_that_nobody_reads_holds_up_no_other_and_is_not_buffered() {
    let large = "x".repeat(32 << 20);
    let origin = Origin::script(move |request| {
        vec![Step::Send(ok(if request.target == "/large" { &large } else { "small" }))]
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    // The connection has room, the stream has 65,535 bytes and never gets more.
    client.send(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
    client.get(1, "/large", &[]);
    let mut taken = 0;
    while taken < 65_535 {
        taken += client.expect(DATA).payload.len();
    }
    let before = gateway.memory_kib();
    for stream in (3..63).step_by(2) {
        client.get(stream, "/small", &[]);
        assert_eq!(expect(client.answer(stream), 200), "small");
    }
    let grown = gateway.memory_kib().saturating_sub(before);
    // Half of the body: what thirty other exchanges take for the first time is in it.
    assert!(grown < 16 << 10, "{grown} KiB for a body that nobody takes");
    // It goes on where it stopped.
    client.send(frame(WINDOW_UPDATE, 0, 1, &(1_u32 << 30).to_be_bytes()));
    let Answer::Response(0, rest) = client.answer(1) else { panic!("the rest of a body") };
    assert_eq!(taken + rest.len(), 32 << 20);
}

#[test]
fn a_client_that_gives_a_stream_up_frees_its_origin_and_keeps_its_connection() {
    let (gate, seen) = (Gate::new(), Gate::new());
    let (held, told) = (gate.clone(), seen.clone());
    let origin = Origin::script(move |request| {
        if request.target == "/never" {
            told.open();
            held.wait();
        }
        vec![Step::Send(ok("x"))]
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/never", &[]);
    seen.wait();
    client.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    let line = &gateway.access_log(1)[0];
    assert_eq!(line["status"].as_u64(), Some(499));
    client.get(3, "/", &[]);
    assert_eq!(expect(client.answer(3), 200), "x");
    gate.open();
}

#[test]
fn an_origin_that_breaks_off_makes_a_reset_and_no_end() {
    let origin = Origin::answering_then_closing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/", &[]);
    assert_eq!(client.answer(1), Answer::Reset(2), "INTERNAL_ERROR");
    client.get(3, "/", &[]);
    assert!(matches!(client.answer(3), Answer::Reset(_)), "the connection goes on");
}

#[test]
fn a_request_that_is_refused_has_a_line_of_its_own_version() {
    let gateway = gateway("[[route]]\nmatch = \"/{*rest}\"\nrespond = { status = 204 }\n").start();
    let mut client = H2Wire::connect(gateway.address);
    client.headers(1, &request("GET", "/", &[("host", "b.test")]), true);
    expect(client.answer(1), 400);
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["protocol"].as_str(), line["reason"].as_str()),
        (Some("HTTP/2.0"), Some("authority"))
    );
}

#[test]
fn a_request_that_says_it_has_no_content_is_waited_for_and_logged_however_it_ends() {
    let text =
        format!("[[listen]]\naddress = \"@LISTEN@\"\ntimeout = {{ body = \"1s\" }}\n{FORWARD}");
    let origin = Origin::saying("x");
    let gateway = gateway(&text).with("app", origin.address).start();
    let mut client = H2Wire::connect(gateway.address);
    let empty = request("POST", "/a", &[("content-length", "0")]);
    let before = gateway.metric("ringway_buffers_in_use", &[]);
    for stream in [1, 3, 5] {
        client.headers(stream, &empty, false);
    }
    client.send(frame(PING, 0, 0, &[0; 8]));
    client.expect(PING);
    assert_eq!(gateway.metric("ringway_buffers_in_use", &[]), before, "nothing is held for them");
    client.data(1, b"", true);
    expect(client.answer(1), 200);
    assert_eq!(origin.request().field("content-length"), Some("0"));
    client.data(3, b"more", true);
    assert_eq!(client.answer(3), Answer::Reset(1));
    expect(client.answer(5), 408);
    let lines = gateway.access_log(3);
    let seen = lines.iter().map(|line| (line["status"].as_u64(), line["reason"].as_str()));
    let seen: Vec<_> = seen.collect();
    assert!(seen.contains(&(Some(200), None)), "{seen:?}");
    assert!(seen.contains(&(Some(400), Some("content_length"))), "{seen:?}");
    assert!(seen.iter().any(|(status, _)| *status == Some(408)), "{seen:?}");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn faults_and_routes_that_are_missing_answer_with_problems() {
    let gateway = gateway("[[route]]\nmatch = \"/here\"\nrespond = { body = \"here\" }\n").start();
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/here", &[]);
    assert_eq!(expect(client.answer(1), 200), "here");
    client.get(3, "/there", &[]);
    assert!(expect(client.answer(3), 404).contains("Nothing is served"));
}

#[test]
fn a_drain_lets_streams_end_and_takes_no_more() {
    let (gate, seen) = (Gate::new(), Gate::new());
    let (held, told) = (gate.clone(), seen.clone());
    let origin = Origin::script(move |_| {
        told.open();
        held.wait();
        vec![Step::Send(ok("last"))]
    });
    let mut gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    client.get(1, "/", &[]);
    seen.wait();
    gateway.signal("TERM");
    let goodbye = client.expect(GOAWAY);
    assert_eq!(goodbye.payload[4..8], [0; 4], "NO_ERROR");
    // Its PING says that all that was sent before has been seen (RFC 9113 §6.8).
    client.expect(PING);
    gate.open();
    assert_eq!(expect(client.answer(1), 200), "last");
    assert_eq!(client.farewell(), 0);
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn a_reload_that_removes_the_listener_says_goodbye() {
    let text = |extra: &str| {
        format!(
            "[[listen]]\naddress = \"@LISTEN@\"\n{extra}[[route]]\nmatch = \"/\"\nrespond = {{ body = \"x\" }}\n"
        )
    };
    let other = crate::support::gateway::Port::reserve();
    let second = format!("[[listen]]\naddress = \"127.0.0.1:{}\"\n", other.number);
    let gateway = gateway(&text(&second)).start();
    let mut client = H2Wire::connect(([127, 0, 0, 1], other.number).into());
    client.get(1, "/", &[]);
    assert_eq!(expect(client.answer(1), 200), "x");
    gateway.rewrite(&text(""));
    gateway.signal("HUP");
    client.expect(GOAWAY);
    assert_eq!(client.farewell(), 0);
}

#[test]
fn idle_connections_and_slow_heads_are_closed() {
    let gateway = gateway(
        "[[listen]]\naddress = \"@LISTEN@\"\ntimeout = { idle = \"300ms\", head = \"300ms\" }\n\
         [[route]]\nmatch = \"/\"\nrespond = { body = \"x\" }\n",
    )
    .start();
    let mut idle = H2Wire::connect(gateway.address);
    idle.get(1, "/", &[]);
    assert_eq!(expect(idle.answer(1), 200), "x");
    assert_eq!(idle.farewell(), 0, "NO_ERROR");
    let mut slow = H2Wire::connect(gateway.address);
    // An answer to its SETTINGS would stand in the middle of the block.
    slow.polite = false;
    slow.send(frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/", &[]))));
    assert_eq!(slow.farewell(), 11, "ENHANCE_YOUR_CALM");
    assert_eq!(gateway.metric("ringway_http2_floods_total", &["slow_head"]), 1.0);
    let mut silent = H2Wire::silent(gateway.address);
    silent.send(&PREFACE[..20]);
    assert_eq!(silent.farewell(), 0);
}

#[test]
fn more_streams_than_allowed_are_refused_and_may_be_tried_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| {
        held.wait();
        vec![Step::Send(ok("x"))]
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    for number in 0..=128 {
        client.get(number * 2 + 1, "/", &[]);
    }
    assert_eq!(client.answer(257), Answer::Reset(7), "REFUSED_STREAM");
    gate.open();
    assert_eq!(expect(client.answer(1), 200), "x");
}

#[test]
fn many_requests_of_h2load_are_all_answered() {
    let origin = Origin::saying("x");
    let gateway = forwarding_to(&origin);
    let url = format!("http://{}/", gateway.address);
    let load = Command::new("h2load").args(["-n", "3000", "-c", "6", "-m", "32", &url]).output();
    let text =
        String::from_utf8_lossy(&load.expect("nghttp2-client is installed").stdout).into_owned();
    assert!(text.contains("3000 succeeded, 0 failed, 0 errored"), "{text}");
}

#[test]
fn a_websocket_is_opened_by_an_extended_connect() {
    let ends = Ends::new();
    let gateway = gateway(tunnel::FORWARD).with("app", ends.origin.address).start();
    let mut client = H2Wire::connect(gateway.address);
    let settings = client.expect(SETTINGS).payload;
    assert!(settings.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]), "ENABLE_CONNECT_PROTOCOL");
    let mut fields = request(
        "CONNECT",
        "/chat",
        &[("sec-websocket-version", "13"), ("sec-websocket-key", "own")],
    );
    fields.insert(1, (":protocol", "websocket"));
    client.headers(1, &fields, false);
    let (mut origin, seen, _) = ends.next();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/chat"));
    assert_eq!(seen.field("upgrade"), Some("websocket"));
    assert_eq!(seen.field("sec-websocket-key").map(str::len), Some(24));
    origin.write_all(&tunnel::switched("websocket")).unwrap();
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, 0));
    client.data(1, b"ping", false);
    assert_eq!(tunnel::read(&mut origin, 4), b"ping");
    origin.write_all(b"pong").unwrap();
    assert_eq!(client.expect(DATA).payload, b"pong");
    drop(origin);
    while client.expect(DATA).flags & END_STREAM == 0 {}
}

#[test]
fn a_client_of_grpc_gets_our_errors_as_its_own() {
    let gateway = gateway(
        "[[route]]\nmatch = \"/here\"\nrespond = { body = \"x\" }\n\n\
         [upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n\n\
         [[route]]\nmatch = \"/app.Service/{call}\"\nforward = \"app\"\n",
    )
    .start();
    let mut client = H2Wire::connect(gateway.address);
    let kind = [("content-type", "application/grpc+proto"), ("te", "trailers")];
    for (stream, path) in [(1, "/missing"), (3, "/app.Service/Call")] {
        client.headers(stream, &request("POST", path, &kind), true);
        let head = client.expect(HEADERS);
        assert_eq!(
            (status_of(&head.payload), head.flags),
            (200, END_STREAM | END_HEADERS),
            "{path}"
        );
    }
    let lines = gateway.access_log(2);
    assert_eq!(lines[0]["fault"], "route_missing");
    assert_eq!(lines[1]["fault"], "connection_refused");
    // gRPC-Web, and what is not gRPC, gets what everybody gets.
    client.headers(
        5,
        &request("POST", "/missing", &[("content-type", "application/grpc-web")]),
        true,
    );
    expect(client.answer(5), 404);
}

#[test]
fn the_deadline_of_a_grpc_call_is_obeyed() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| {
        held.wait();
        vec![Step::Send(ok("late"))]
    });
    let gateway = forwarding_to(&origin);
    let mut client = H2Wire::connect(gateway.address);
    let kind = [("content-type", "application/grpc"), ("grpc-timeout", "50m")];
    client.headers(1, &request("POST", "/a.B/C", &kind), true);
    let head = client.expect(HEADERS);
    assert_eq!((status_of(&head.payload), head.flags & END_STREAM), (200, END_STREAM));
    assert_eq!(gateway.access_log(1)[0]["fault"], "http_response_timeout");
    gate.open();
}

#[test]
fn over_tls_the_version_is_chosen_by_alpn() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    let origin = Origin::saying("x");
    let gateway = gateway(&format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n[listen.tls]\n\
         certificates = [{{ cert = \"@C@/a.pem\", key = \"@C@/a.key\" }}]\n{FORWARD}"
    ))
    .with("app", origin.address)
    .with("C", authority.folder())
    .start();
    let port = gateway.address.port();
    let get = |more: &str| {
        authority.curl(&format!(
            "-w %{{http_version}} --resolve a.test:{port}:127.0.0.1 {more} https://a.test:{port}/"
        ))
    };
    assert_eq!(get("--http2"), (true, "x2".to_string()));
    assert_eq!(get("--http1.1"), (true, "x1.1".to_string()));
    assert_eq!(origin.wait_for(2)[0].field("x-forwarded-proto"), Some("https"));
}
