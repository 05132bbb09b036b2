//! HTTP/1.1 towards clients and origins: connections, targets, fields, interim answers, refusals.
//!
//! RFC 9110 and 9112. Bodies have a module of their own, and so has hostile framing.

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::wire::request;

fn forwarding_to(origin: &Origin) -> Gateway {
    gateway(FORWARD).with("app", origin.address).start()
}

#[test]
fn kept_alive_connections_serve_many_requests_on_both_sides() {
    let origin = Origin::saying("hello");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/", &[]).expect(200).text(), "hello");
    }
    client.expect_open();
    assert_eq!(origin.requests().len(), 20);
    assert_eq!(origin.connections(), 1, "one client on one core needs one connection");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.target))]);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    let all: Vec<u8> = (0..30).flat_map(|n| request("GET", &format!("/{n}"), &[], b"")).collect();
    client.send(all);
    for n in 0..30 {
        assert_eq!(client.response().expect(200).text(), format!("/{n}"));
    }
}

#[test]
fn a_pipelined_request_after_a_body_starts_where_the_body_ends() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.text()))]);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    let mut all = request("POST", "/a", &[], b"GET /not-a-request HTTP/1.1\r\n\r\n");
    all.extend(request(
        "POST",
        "/b",
        &[("Transfer-Encoding", "chunked")],
        b"3\r\nabc\r\n0\r\n\r\n",
    ));
    all.extend(request("GET", "/c", &[], b""));
    client.send(all);
    assert_eq!(client.response().expect(200).text(), "GET /not-a-request HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "abc");
    assert_eq!(client.response().expect(200).text(), "");
    let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/a", "/b", "/c"]);
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_one_request() {
    let origin = Origin::saying("whole");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for byte in request("POST", "/slow", &[("X-A", "1")], b"content") {
        client.send([byte]);
    }
    assert_eq!(client.response().expect(200).text(), "whole");
    assert_eq!(origin.request().text(), "content");
}

#[test]
fn connection_close_of_the_client_is_obeyed() {
    let origin = Origin::saying("bye");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    let response = client.get("/", &[("Connection", "close")]).expect(200);
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_close();
}

#[test]
fn connection_close_of_the_origin_does_not_close_the_client() {
    let origin = Origin::answering_then_closing(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..3 {
        let response = client.get("/", &[]).expect(200);
        assert_eq!((response.field("connection"), response.text().as_str()), (None, "ok"));
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_a_close() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    );
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    let response = client.response().expect(200);
    assert_eq!(response.all("transfer-encoding"), [""; 0]);
    assert_eq!(response.text(), "abcdef");
    assert!(response.ended_by_close || response.field("connection") == Some("close"));
}

#[test]
fn an_http_1_0_client_without_host_is_served() {
    let origin = Origin::saying("old");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "old");
    assert_eq!(origin.request().target, "/x");
}

#[test]
fn an_http_1_1_request_without_host_is_refused() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.response().expect_problem(400);
    client.expect_close();
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn the_host_of_an_absolute_form_target_replaces_the_field() {
    let origin = Origin::saying("abs");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("GET http://other.example/p?q=1 HTTP/1.1\r\nHost: ignored.example\r\n\r\n");
    client.response().expect(200);
    let seen = origin.request();
    assert_eq!(seen.target, "/p?q=1");
    assert_eq!(seen.field("host"), Some("other.example"));
}

#[test]
fn the_clients_host_goes_on_to_the_origin() {
    let origin = Origin::saying("");
    let gateway = forwarding_to(&origin);
    gateway.get_with("/", &[("Host", "api.example.com")]).expect(200);
    assert_eq!(origin.request().field("host"), Some("api.example.com"));
}

#[test]
fn hop_by_hop_fields_stop_here_in_requests() {
    let origin = Origin::saying("");
    let gateway = forwarding_to(&origin);
    let fields = [
        ("Connection", "x-mine, keep-alive"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("X-Other", "2"),
    ];
    gateway.get_with("/", &fields).expect(200);
    let seen = origin.request();
    for gone in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    assert_eq!(seen.field("x-other"), Some("2"));
}

#[test]
fn hop_by_hop_fields_stop_here_in_responses() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nX-Other: 2\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = forwarding_to(&origin);
    let response = gateway.get("/").expect(200);
    assert_eq!(response.field("x-mine"), None);
    assert_eq!(response.field("keep-alive"), None);
    assert_eq!(response.field("x-other"), Some("2"));
}

#[test]
fn end_to_end_fields_pass_byte_for_byte_in_order() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin);
    let fields = [
        ("x-A", "1"),
        ("X-a", "2"),
        ("Cookie", "a=b; c=\"d\""),
        ("X-Utf", "gr\u{fc}n"),
        ("X-E", ""),
    ];
    let response = gateway.get_with("/", &fields).expect(200).text();
    assert!(response.contains("x-A: 1\r\nX-a: 2\r\nCookie: a=b; c=\"d\"\r\n"), "{response}");
    let seen = origin.request();
    assert_eq!(seen.field("x-utf"), Some("gr\u{fc}n"));
    assert_eq!(seen.field("x-e"), Some(""));
}

#[test]
fn a_head_response_has_no_body_and_keeps_its_length() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.call("HEAD", "/", &[], b"").expect(200);
        assert_eq!(response.field("content-length"), Some("12345"));
    }
    assert_eq!(origin.connections(), 1, "the origin's connection is whole after a HEAD");
}

#[test]
fn answers_204_and_304_have_no_body() {
    let origin = Origin::script(|request| match request.target.as_str() {
        "/204" => vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
        _ => {
            vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n".to_vec())]
        }
    });
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert!(client.get("/204", &[]).expect(204).body.is_empty());
        assert!(client.get("/304", &[]).expect(304).body.is_empty());
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn early_hints_pass_to_an_http_1_1_client_and_not_to_an_older_one() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = forwarding_to(&origin);
    let response = gateway.get("/").expect(200);
    assert_eq!((response.interim.as_slice(), response.text().as_str()), (&[103][..], "ok"));
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    let response = old.response().expect(200);
    assert_eq!((response.interim.as_slice(), response.text().as_str()), (&[][..], "ok"));
}

#[test]
fn expect_100_continue_is_answered_before_the_body_comes() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.text()))]);
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let interim = client.try_head().expect("an answer before the content");
    assert_eq!(interim.status, 100);
    client.send("hello");
    assert_eq!(client.response().expect(200).text(), "hello");
}

#[test]
fn an_unknown_expectation_is_refused_with_417() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    gateway.get_with("/", &[("Expect", "a-miracle")]).expect_problem(417);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn any_method_token_is_forwarded() {
    let origin = Origin::saying("");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    for method in ["PURGE", "PROPFIND", "M-SEARCH", "delete"] {
        client.call(method, "/", &[], b"").expect(200);
    }
    let methods: Vec<_> = origin.requests().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, ["PURGE", "PROPFIND", "M-SEARCH", "delete"]);
}

#[test]
fn what_is_not_http_is_refused_and_closed() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let cases: &[(&[u8], u16)] = &[
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ];
    for (bytes, status) in cases {
        let mut client = gateway.connect();
        client.send(bytes);
        client.response().expect_problem(*status);
        client.expect_close();
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_head_that_is_wrong_already_is_refused_though_it_never_ends() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let cases: &[(&[u8], u16)] = &[
        (b"GET /a HTTP\xce\xce\xd1\xcf\xf2\xf5\xf2\xf5", 400),
        (b"GET /a HTTP/2.0\r\nHost: a\r\n", 505),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nno colon\r\nX: y", 400),
        (b"GET /a HTTP/1.1\r\nContent-Length: x\r\n", 400),
    ];
    for (bytes, status) in cases {
        for piece in [1, bytes.len()] {
            let mut client = gateway.connect();
            for part in bytes.chunks(piece) {
                client.send_perhaps(part);
            }
            client.finish();
            client.response().expect_problem(*status);
            client.expect_close();
        }
    }
    for unfinished in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX"] {
        let mut client = gateway.connect();
        client.send(unfinished);
        client.finish();
        client.expect_close();
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_refused_head_request_gets_no_body() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status, 400);
    client.expect_close();
}

#[test]
fn heads_beyond_the_limits_get_their_own_status() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let many: Vec<(String, &str)> = (0..2000).map(|n| (format!("X-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let long = "a".repeat(300_000);
    let cases = [
        ("a long target", request("GET", &format!("/{long}"), &[], b""), 414),
        ("a long field", request("GET", "/", &[("X-Long", &long)], b""), 431),
        ("many fields", request("GET", "/", &many, b""), 431),
    ];
    for (what, bytes, status) in cases {
        let mut client = gateway.connect();
        client.send_perhaps(bytes);
        let response = client.try_response("GET").unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(response.status, status, "{what}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_target_of_8000_bytes_is_served() {
    let origin = Origin::saying("long");
    let gateway = forwarding_to(&origin);
    let target = format!("/{}", "a".repeat(7999));
    gateway.get(&target).expect(200);
    assert_eq!(origin.request().target, target);
}

#[test]
fn an_origin_that_refuses_connections_is_a_502() {
    let (_port, address) = Origin::refusing();
    let gateway = gateway(FORWARD).with("app", address).start();
    let response = gateway.get("/").expect_problem(502);
    let status = response.field("proxy-status").unwrap();
    assert!(status.contains("error=connection_refused"), "{status}");
}

#[test]
fn an_origin_that_does_not_speak_http_is_a_502() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 2000 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
    ] {
        let origin = Origin::answering_then_closing(bytes);
        let gateway = forwarding_to(&origin);
        gateway.get("/").expect_problem(502);
    }
}

#[test]
fn an_origin_that_closes_without_an_answer_is_a_502() {
    let origin = Origin::script(|_| vec![Step::Close]);
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect_problem(502);
}

#[test]
fn an_origin_that_resets_is_a_502() {
    let origin = Origin::script(|_| vec![Step::Reset]);
    let gateway = forwarding_to(&origin);
    gateway.get("/").expect_problem(502);
}

#[test]
fn forwarding_fields_say_who_asked_and_a_strangers_are_not_believed() {
    let origin = Origin::saying("");
    let gateway = forwarding_to(&origin);
    let fields = [
        ("Host", "api.example.com"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=6.6.6.6"),
    ];
    gateway.get_with("/", &fields).expect(200);
    let seen = origin.request();
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some("api.example.com"));
    let forwarded = seen.field("forwarded").expect("Forwarded (RFC 7239)");
    assert!(forwarded.contains("for=127.0.0.1") && !forwarded.contains("6.6.6.6"), "{forwarded}");
}

#[test]
fn forwarding_fields_of_a_trusted_proxy_are_continued() {
    let origin = Origin::saying("");
    let config = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n{FORWARD}"
    );
    let gateway = gateway(&config).with("app", origin.address).start();
    let fields = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")];
    gateway.get_with("/", &fields).expect(200);
    let seen = origin.request();
    assert_eq!(seen.all("x-forwarded-for").join(", "), "203.0.113.9, 127.0.0.1");
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert!(gateway.access_log(1)[0].to_string().contains("203.0.113.9"));
}

#[test]
fn an_options_asterisk_is_answered_here_and_asks_no_origin() {
    let origin = Origin::saying("never");
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response_to("OPTIONS").expect_one_of(&[200, 204]);
    assert_eq!(origin.requests().len(), 0);
    client.send("GET * HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response().expect_problem(400);
}

#[test]
fn a_request_out_of_forwards_ends_here() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin);
    let mut client = gateway.connect();
    client.send("OPTIONS /a HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n");
    client.response_to("OPTIONS").expect(204);
    client.send("TRACE /a HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n");
    client.response().expect_problem(501);
    assert_eq!(origin.requests().len(), 0);
    let mut client = gateway.connect();
    client.send("OPTIONS /a HTTP/1.1\r\nHost: test\r\nMax-Forwards: 1\r\n\r\n");
    let seen = client.response_to("OPTIONS").expect(200).text();
    assert!(seen.contains("max-forwards: 0\r\n"), "{seen}");
}

#[test]
fn limits_of_a_listener_can_be_set() {
    let origin = Origin::saying("in");
    let config = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n\
         limits = {{ head_bytes_max = \"16KiB\", fields_max = 10, target_bytes_max = \"8000B\" }}\n{FORWARD}"
    );
    let gateway = gateway(&config).with("app", origin.address).start();
    let ten: Vec<(String, String)> = (0..9).map(|n| (format!("X-{n}"), "1".into())).collect();
    let mut ten: Vec<(&str, &str)> = ten.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    gateway.get_with("/", &ten).expect(200);
    ten.push(("X-Ten", "1"));
    gateway.get_with("/", &ten).expect_problem(431);
    gateway.get(&format!("/{}", "a".repeat(8000))).expect_problem(414);
    gateway.get_with("/", &[("X-Long", &"a".repeat(16 * 1024))]).expect_problem(431);
}

#[test]
fn a_failed_answer_of_the_origin_goes_on_untouched() {
    let origin = Origin::answering(answer(503, &[("Retry-After", "7")], b"busy"));
    let gateway = forwarding_to(&origin);
    let response = gateway.get("/").expect(503);
    assert_eq!((response.field("retry-after"), response.text().as_str()), (Some("7"), "busy"));
}

#[test]
fn sixty_clients_at_once_get_their_own_answers() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&request.target))]);
    let gateway = forwarding_to(&origin);
    std::thread::scope(|scope| {
        for client in 0..60 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut wire = gateway.connect();
                for turn in 0..20 {
                    let target = format!("/{client}/{turn}");
                    assert_eq!(wire.get(&target, &[]).expect(200).text(), target);
                }
            });
        }
    });
    assert_eq!(origin.requests().len(), 1200);
}
