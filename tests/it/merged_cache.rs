//! Merged answers used again: keyed by everything that parts are asked, kept whole or not at all (RFC 9111 §4).
//!
//! The origin counts, so that it is seen whose answer a client gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::tokens::{Signer, bearer, claims};
use crate::support::{Gate, eventually};

/// Answers `{"n":1}`, `{"n":2}` … with these fields; `/fail` with 500.
fn counting(fields: &'static [(&'static str, &'static str)]) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::script(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let fine = !request.target.starts_with("/fail");
        let body = format!("{{\"n\":{number}}}");
        vec![Step::Send(answer(if fine { 200 } else { 500 }, fields, body.as_bytes()))]
    })
}

fn merging(origin: &Origin, cache: &str, parts: &str, more: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\nretry = 0\n[[route]]\nmatch = \"/m/{{*rest}}\"\ncache = {cache}\n\
         {more}\n[route.merge]\n{parts}\n"
    );
    gateway(&text).with("api", origin.address).start()
}

const PLAIN: &[(&str, &str)] = &[("content-type", "application/json")];
const TWO: &str = "a = { get = \"api /a\" }\nb = { get = \"api /b\" }";

#[test]
fn a_whole_answer_is_used_again_for_as_long_as_the_route_says() {
    let origin = counting(PLAIN);
    let gateway = merging(&origin, "{ ttl = \"1h\" }", TWO, "etag = true");
    let first = gateway.get("/m/1?q=1").expect(200);
    assert_eq!(first.field("cache-status"), Some("ringway; fwd=uri-miss; stored"));
    let again = gateway.get("/m/1?q=1").expect(200);
    assert_eq!((again.text(), again.field("etag")), (first.text(), first.field("etag")));
    assert!(again.field("cache-status").unwrap().starts_with("ringway; hit; ttl="));
    assert_eq!(again.field("content-type"), Some("application/json"));
    assert!(again.field("age").is_some() && again.field("date").is_some());
    assert_eq!(origin.requests().len(), 2, "two parts, once");
    // Another address, another answer; and HEAD from what GET brought.
    assert_ne!(gateway.get("/m/1?q=2").expect(200).text(), first.text());
    let head = gateway.connect().call("HEAD", "/m/1?q=1", &[], b"");
    let length = first.text().len().to_string();
    assert_eq!((head.status, head.field("content-length")), (200, Some(length.as_str())));
    let tag = first.field("etag").unwrap();
    let known = gateway.get_with("/m/1?q=1", &[("if-none-match", tag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(origin.requests().len(), 4);
    let log = gateway.access_log(5);
    assert_eq!((&log[0]["cache_status"], &log[1]["cache_status"]), (&"miss".into(), &"hit".into()));
}

#[test]
fn what_a_part_is_asked_tells_answers_apart() {
    let origin = counting(PLAIN);
    let pass = "pass = { headers = [\"x-lang\"] }";
    let gateway = merging(&origin, "{ ttl = \"1h\" }", TWO, pass);
    let get = |lang: &str, other: &str| {
        gateway.get_with("/m/1", &[("x-lang", lang), ("x-other", other)]).expect(200).text()
    };
    let (german, english) = (get("de", "1"), get("en", "1"));
    assert_ne!(german, english, "parts are asked with this field");
    assert_eq!((get("de", "2"), get("en", "2")), (german, english), "and not with that one");
    assert_eq!(origin.requests().len(), 4);
}

#[test]
fn what_is_made_for_one_who_is_known_is_nobody_elses() {
    const SECRET: &str = "thirty-two bytes of a secret, ok";
    let origin = counting(PLAIN);
    let signer = Signer::hs256("k", SECRET);
    let text = format!(
        "[jwt.j]\nsecret = \"{SECRET}\"\n[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"/m\"\njwt = \"j\"\n\
         cache = {{ ttl = \"1h\" }}\n[route.merge]\na = {{ get = \"api /of/{{jwt.sub}}\" }}\nb = {{ get = \"api /b\" }}\n"
    );
    let gateway = gateway(&text).with("api", origin.address).start();
    let get = |name: &str| {
        let (field, token) = bearer(&signer.sign(&claims(name)));
        gateway.get_with("/m", &[(field, &token)]).expect(200).text()
    };
    let (ann, bob) = (get("ann"), get("bob"));
    assert_ne!(ann, bob);
    assert_eq!((get("ann"), get("bob")), (ann, bob));
    assert_eq!(origin.requests().len(), 4);
    assert_eq!(gateway.get("/m").status, 401, "a stored answer stands behind the policies");
}

#[test]
fn without_a_ttl_the_least_of_the_parts_counts() {
    let origin = Origin::script(|request| {
        let age: &[(&str, &str)] = match request.target.as_str() {
            "/long" => &[("cache-control", "max-age=600")],
            "/short" => &[("cache-control", "max-age=100"), ("age", "40")],
            "/private" => &[("cache-control", "private, max-age=600")],
            "/no-cache" => &[("cache-control", "no-cache, max-age=600")],
            "/cookie" => &[("cache-control", "max-age=600"), ("set-cookie", "a=b")],
            _ => &[],
        };
        vec![Step::Send(answer(200, age, b"[1]"))]
    });
    let ttl = |parts: &str, cache: &str| {
        let gateway = merging(&origin, cache, parts, "");
        gateway.get("/m/").expect(200);
        let status = gateway.get("/m/").expect(200).field("cache-status").unwrap().to_owned();
        status.strip_prefix("ringway; hit; ttl=").map(|ttl| ttl.parse::<u64>().expect("seconds"))
    };
    let least = ttl("a = { get = \"api /long\" }\nb = { get = \"api /short\" }", "\"origin\"")
        .expect("kept");
    assert!((50..=60).contains(&least), "{least}");
    for never in ["/silent", "/private", "/no-cache", "/cookie"] {
        let parts = format!("a = {{ get = \"api /long\" }}\nb = {{ get = \"api {never}\" }}");
        assert_eq!(ttl(&parts, "\"origin\""), None, "{never}");
    }
    // The route's own time goes before that of origins, and what they forbid before the route's.
    assert!(ttl("a = { get = \"api /silent\" }", "{ ttl = \"1h\" }").expect("kept") > 3500);
    for never in ["/private", "/no-cache", "/cookie"] {
        let parts = format!("a = {{ get = \"api /long\" }}\nb = {{ get = \"api {never}\" }}");
        assert_eq!(ttl(&parts, "{ ttl = \"1h\" }"), None, "{never}");
    }
}

#[test]
fn what_is_not_whole_leaves_nothing_behind() {
    let origin = counting(PLAIN);
    let parts = "a = { get = \"api /a\" }\nb = { get = \"api /fail\", else = 0 }";
    let gateway = merging(&origin, "{ ttl = \"1h\" }", parts, "");
    for asked in [2, 4] {
        let partial = gateway.get("/m/1").expect(200);
        assert!(partial.field("gateway-partial").is_some() && partial.field("age").is_none());
        assert_eq!(origin.requests().len(), asked);
    }
    let gateway = merging(&origin, "{ ttl = \"1h\" }", "a = { get = \"api /fail\" }", "");
    assert_eq!((gateway.get("/m/1").status, gateway.get("/m/1").status), (502, 502));
    assert_eq!(origin.requests().len(), 6);
}

#[test]
fn one_answer_is_made_for_all_who_ask_meanwhile_on_every_core() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::script(move |_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
        vec![Step::Send(head.to_vec()), Step::Wait(opens.clone()), Step::Send(b"[1]".to_vec())]
    });
    let gateway =
        merging(&origin, "{ ttl = \"1h\" }", "a = { get = \"api /a\" }", "timeout = \"20s\"");
    let mut clients: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /m/1 HTTP/1.1\r\nhost: test\r\n\r\n"));
    let active = || gateway.metric("http_server_active_requests", &[]) as usize;
    eventually("all to wait", || active() == 20);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "{\"a\":[1]}");
    }
    origin.request();
}
