//! Answers of parts that are used again, and identical calls that are made once.
//!
//! One worker everywhere: each core has a store of its own. A test never waits for an answer to grow old: it is
//! born old (`Age`), or its lifetime is too short to be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request, Step, answer, ok};
use crate::support::tokens::{Signer, bearer, claims};
use crate::support::wire::Wire;
use crate::support::{Gate, eventually};

const SECRET: &str = "thirty-two bytes of a secret, ok";

/// A merge of one part with these further settings, on one worker.
fn config(part: &str) -> String {
    format!(
        "workers = 1\n[upstream.a]\nendpoints = [\"@a@\"]\nretry = 0\n[[route]]\nmatch = \"GET /p\"\n\
         timeout = \"20s\"\npass = {{ headers = [\"authorization\", \"x-user\"], query = [\"q\"] }}\n\
         [route.merge]\np = {{ get = \"a /p\", {part} }}\n"
    )
}

fn start(origin: &Origin, part: &str) -> Gateway {
    gateway(&config(part)).with("a", origin.address).start()
}

/// Answers 1, 2, 3 … with these fields.
fn counting(fields: &'static [(&'static str, &'static str)]) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::script(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        vec![Step::Send(answer(200, fields, number.to_string().as_bytes()))]
    })
}

fn value(gateway: &Gateway, fields: &[(&str, &str)]) -> String {
    let text = gateway.get_with("/p", fields).expect(200).text();
    text.strip_prefix("{\"p\":").and_then(|rest| rest.strip_suffix('}')).expect("one part").into()
}

/// The metric of what the store did.
fn uses(gateway: &Gateway, result: &str) -> usize {
    let result = format!("result=\"{result}\"");
    let labels = ["http_route=\"GET /p\"", "part=\"p\"", result.as_str()];
    gateway.metric("ringway_part_cache_total", &labels) as usize
}

#[test]
fn a_fresh_answer_is_used_again_and_nobody_is_asked() {
    let origin = counting(&[("Vary", "accept-language")]);
    let gateway = start(&origin, "cache = { ttl = \"1h\" }");
    for _ in 0..5 {
        assert_eq!(value(&gateway, &[]), "1");
    }
    origin.request();
    eventually("the counts", || uses(&gateway, "hit") == 4 && uses(&gateway, "miss") == 1);
    let lines = gateway.access_log(5);
    assert_eq!(lines[0]["cache"], json!({"p":{"miss":1}}), "{}", lines[0]);
    assert_eq!(lines[4]["cache"], json!({"p":{"hit":1}}), "{}", lines[4]);
    assert!(lines[4].get("attempts").is_none(), "nobody was asked: {}", lines[4]);
}

#[test]
fn what_the_origin_forbids_is_never_used_again() {
    for fields in [
        &[("Cache-Control", "no-store")][..],
        &[("Cache-Control", "private, max-age=60")],
        &[("Cache-Control", "no-cache")],
        &[("Set-Cookie", "a=1")],
        &[("Vary", "*")],
        &[("Vary", "traceparent")],
        &[("Age", "7200")],
    ] {
        let origin = counting(fields);
        let gateway = start(&origin, "cache = { ttl = \"1h\" }, headers = [\"set-cookie\"]");
        let values = [value(&gateway, &[]), value(&gateway, &[])];
        assert_eq!(values, ["1", "2"], "{fields:?}");
    }
}

#[test]
fn the_origins_own_words_count_where_they_are_asked_for() {
    for (fields, expected) in [
        (&[][..], "2"),
        (&[("Cache-Control", "max-age=3600")], "1"),
        (&[("Cache-Control", "max-age=3600"), ("Age", "3600")], "2"),
        (&[("Cache-Control", "s-maxage=0, max-age=3600")], "2"),
        (&[("Expires", "0")], "2"),
    ] {
        let origin = counting(fields);
        let gateway = start(&origin, "cache = \"origin\"");
        assert_eq!(value(&gateway, &[]), "1");
        assert_eq!(value(&gateway, &[]), expected, "{fields:?}");
    }
}

#[test]
fn requests_that_differ_in_what_is_sent_never_share() {
    let origin = counting(&[]);
    let gateway = start(&origin, "cache = { ttl = \"1h\" }");
    let ada = [("Authorization", "Bearer ada")];
    let bob = [("Authorization", "Bearer bob")];
    assert_eq!(value(&gateway, &ada), "1");
    assert_eq!(value(&gateway, &bob), "2");
    assert_eq!(value(&gateway, &[("X-User", "ada")]), "3");
    assert_eq!(value(&gateway, &[]), "4");
    assert_eq!(value(&gateway, &ada), "1");
    assert_eq!(value(&gateway, &[("X-Not-Passed", "7")]), "4", "what is not sent does not select");
    let q = |q: &str| gateway.get(&format!("/p?q={q}")).expect(200).text();
    assert_eq!([q("1"), q("2"), q("1")], ["{\"p\":5}", "{\"p\":6}", "{\"p\":5}"]);
}

#[test]
fn users_known_by_their_claims_never_share() {
    let origin = Origin::script(|request| vec![Step::Send(ok(&format!("{:?}", request.target)))]);
    let config = "workers = 1\n[upstream.a]\nendpoints = [\"@a@\"]\n[jwt.i]\nsecret = \"@SECRET@\"\n\
        [[route]]\nmatch = \"GET /p\"\njwt = \"i\"\n[route.merge]\n\
        p = { get = \"a /users/{jwt.sub}\", cache = { ttl = \"1h\" } }\n";
    let signer = Signer::hs256("k", SECRET);
    let gateway = gateway(config).with("a", origin.address).with("SECRET", SECRET).start();
    for sub in ["ada", "bob", "ada", "bob"] {
        let (name, token) = bearer(&signer.sign(&claims(sub)));
        assert_eq!(value(&gateway, &[(name, &token)]), format!("\"/users/{sub}\""));
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn with_the_origins_words_a_passed_token_needs_its_leave() {
    for (control, expected) in [("max-age=3600", "2"), ("max-age=3600, public", "1")] {
        let fields: &'static [_] = Box::leak(Box::new([("Cache-Control", control)]));
        let origin = counting(fields);
        let gateway = start(&origin, "cache = \"origin\"");
        let ada = [("Authorization", "Bearer ada")];
        assert_eq!(value(&gateway, &ada), "1");
        assert_eq!(value(&gateway, &ada), expected, "{control}");
    }
}

#[test]
fn a_view_cuts_what_is_stored_for_all() {
    let origin = Origin::saying("{\"a\":1,\"b\":{\"c\":2,\"d\":3}}");
    let views = "[route.view.small]\nwhen = { query = { small = true } }\nkeep = [\"p.b.c\"]\n";
    let config = config("cache = { ttl = \"1h\" }, keep = [\"b\"]") + views;
    let gateway = gateway(&config).with("a", origin.address).start();
    for _ in 0..2 {
        let small = gateway.get("/p?small=1").expect(200).text();
        assert_eq!(small, "{\"p\":{\"b\":{\"c\":2}}}");
        let whole = gateway.get("/p").expect(200).text();
        assert_eq!(whole, "{\"p\":{\"b\":{\"c\":2,\"d\":3}}}");
    }
    origin.request();
}

/// Good at first, then failing in this way.
fn failing(then: fn() -> Vec<Step>) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::script(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![Step::Send(answer(200, &[("Age", "10")], b"\"old\""))],
        _ => then(),
    })
}

#[test]
fn a_stale_answer_stands_in_for_a_failure_and_is_named() {
    type Way = (&'static str, fn() -> Vec<Step>);
    let ways: [Way; 3] = [
        ("status", || vec![Step::Send(answer(503, &[], b"{}"))]),
        ("reset", || vec![Step::Close]),
        ("not_json", || vec![Step::Send(ok("<html>"))]),
    ];
    for part in [
        "cache = { ttl = \"5s\", stale_if_error = \"1h\" }",
        "else_stale = \"1h\"",
        "else_stale = \"1h\", else = \"none\"",
    ] {
        for (reason, then) in ways {
            let origin = failing(then);
            let gateway = start(&origin, part);
            assert_eq!(value(&gateway, &[]), "\"old\"");
            let response = gateway.get("/p").expect(200);
            assert_eq!(response.text(), "{\"p\":\"old\"}", "{part}");
            let named = format!("p;{reason};stale");
            assert_eq!(response.field("gateway-partial"), Some(named.as_str()), "{part}");
            assert_eq!(response.field("cache-control"), Some("no-store"));
            assert_eq!(origin.requests().len(), 2, "it was asked: {part}");
            eventually("the count", || uses(&gateway, "stale") == 1);
        }
    }
}

#[test]
fn what_an_origin_says_on_purpose_stands_and_forgets_the_old_answer() {
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![Step::Send(ok("\"old\""))],
        1 => vec![Step::Send(answer(404, &[], b"{}"))],
        _ => vec![Step::Send(answer(500, &[], b"{}"))],
    });
    let gateway = start(&origin, "else_stale = \"1h\", else = \"none\"");
    assert_eq!(value(&gateway, &[]), "\"old\"");
    assert_eq!(value(&gateway, &[]), "\"none\"", "a 404 is an answer");
    assert_eq!(value(&gateway, &[]), "\"none\"", "the old one is gone");
}

#[test]
fn an_answer_too_old_does_not_stand_in() {
    let origin = failing(|| vec![Step::Send(answer(500, &[], b"{}"))]);
    let gateway = start(&origin, "else_stale = \"5s\", else = \"none\"");
    assert_eq!(value(&gateway, &[]), "\"old\"");
    assert_eq!(value(&gateway, &[]), "\"none\"");
}

#[test]
fn a_stale_answer_is_used_while_one_call_renews_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![Step::Send(answer(200, &[("Age", "10")], b"\"old\""))],
        _ => vec![Step::Wait(held.clone()), Step::Send(ok("\"new\""))],
    });
    let part = "cache = { ttl = \"5s\", stale_while_revalidate = \"1h\" }, timeout = \"20s\"";
    let gateway = start(&origin, part);
    for _ in 0..10 {
        let response = gateway.get("/p").expect(200);
        assert_eq!(response.text(), "{\"p\":\"old\"}");
        assert_eq!(response.field("gateway-partial"), None);
    }
    let requests = origin.wait_for(2);
    assert_eq!(requests.len(), 2, "one call renews it for all");
    assert!(requests[1].field("x-request-deadline-ms").is_some());
    gate.open();
    eventually("the new answer", || value(&gateway, &[]) == "\"new\"");
    eventually("the count", || uses(&gateway, "renewal") == 1);
    assert_eq!(origin.requests().len(), 2);
}

/// An origin that holds its first answer until the gate is open, and says who asked.
fn holding(gate: &Gate, fields: &'static [(&'static str, &'static str)]) -> Origin {
    let (held, count) = (gate.clone(), AtomicUsize::new(0));
    Origin::script(move |_: &Request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let send = Step::Send(answer(200, fields, number.to_string().as_bytes()));
        if number == 1 { vec![Step::Wait(held.clone()), send] } else { vec![send] }
    })
}

/// Clients that have asked and wait, with the gateway serving all of them.
fn asking(gateway: &Gateway, count: usize) -> Vec<Wire> {
    let mut clients: Vec<Wire> = (0..count).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n"));
    active(gateway, count);
    clients
}

fn active(gateway: &Gateway, count: usize) {
    let line = format!("http_server_active_requests {count}\n");
    eventually("all are being served", || gateway.admin("/metrics").text().contains(&line));
}

#[test]
fn identical_calls_in_flight_are_made_once() {
    for part in ["cache = { ttl = \"1h\" }", "else = 0"] {
        let gate = Gate::new();
        let origin = holding(&gate, &[]);
        let gateway = start(&origin, part);
        let mut clients = asking(&gateway, 20);
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().expect(200).text(), "{\"p\":1}", "{part}");
        }
        origin.request();
        eventually("the count", || uses(&gateway, "collapsed") == 19);
    }
}

/// Clients beside those that wait already, `count` of them.
fn joining(gateway: &Gateway, count: usize) -> Vec<Wire> {
    let mut clients: Vec<Wire> = (0..count).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n"));
    active(gateway, count + 1);
    clients
}

#[test]
fn a_leader_whose_answer_is_lost_leaves_the_call_to_one_who_waits() {
    let (gate, fails) = (Gate::new(), Gate::new());
    let origin = holding(&gate, &[]);
    let held = fails.clone();
    let other = Origin::script(move |_| {
        vec![Step::Wait(held.clone()), Step::Send(answer(403, &[], b"{}"))]
    });
    let config = config("else = 0")
        + "[upstream.b]\nendpoints = [\"@b@\"]\n[[route]]\nmatch = \"GET /both\"\ntimeout = \"20s\"\n\
           pass = { headers = [\"authorization\", \"x-user\"], query = [\"q\"] }\n\
           [route.merge]\np = { get = \"a /p\", else = 0 }\nb = { get = \"b /b\" }\n";
    let gateway = gateway(&config).with("a", origin.address).with("b", other.address).start();
    let mut leader = gateway.connect();
    leader.send("GET /both HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for(1);
    let mut others = joining(&gateway, 10);
    fails.open();
    leader.response().expect(403);
    for client in &mut others {
        assert_eq!(client.response().expect(200).text(), "{\"p\":2}");
    }
    assert_eq!(origin.requests().len(), 2, "one of them asked for all");
    gate.open();
}

#[test]
fn a_leader_whose_client_leaves_still_answers_those_who_wait() {
    let gate = Gate::new();
    let origin = holding(&gate, &[]);
    let gateway = start(&origin, "else = 0");
    let leader = asking(&gateway, 1);
    origin.wait_for(1);
    let mut others = joining(&gateway, 10);
    drop(leader);
    gate.open();
    for client in &mut others {
        client.response().expect(200);
    }
    assert!(origin.requests().len() <= 2, "at most one of them asked anew, for all");
}

#[test]
fn an_answer_that_belongs_to_one_request_is_given_to_no_other() {
    for fields in [
        &[("Set-Cookie", "id=1")][..],
        &[("Cache-Control", "no-store")],
        &[("Cache-Control", "private")],
        &[("Vary", "X-Request-Id")],
    ] {
        let gate = Gate::new();
        let origin = holding(&gate, fields);
        let gateway = start(&origin, "headers = [\"set-cookie\"]");
        let mut clients = asking(&gateway, 8);
        gate.open();
        let mut values: Vec<String> =
            clients.iter_mut().map(|client| client.response().expect(200).text()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 8, "each has its own: {fields:?}");
    }
}

#[test]
fn a_failure_is_given_to_all_who_wait_and_not_tried_by_each() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| {
        vec![Step::Wait(held.clone()), Step::Send(answer(500, &[], b"{}"))]
    });
    let gateway = start(&origin, "else = \"none\"");
    let mut clients = asking(&gateway, 20);
    gate.open();
    for client in &mut clients {
        let response = client.response().expect(200);
        assert_eq!(response.text(), "{\"p\":\"none\"}");
        assert_eq!(response.field("gateway-partial"), Some("p;status"));
    }
    origin.request();
}

#[test]
fn one_who_waits_keeps_to_its_own_deadline() {
    let gate = Gate::new();
    let origin = holding(&gate, &[]);
    let config = config("cache = { ttl = \"1h\" }")
        + "[[route]]\nmatch = \"GET /short\"\ntimeout = \"200ms\"\npass = { headers = [\"authorization\", \"x-user\"], query = [\"q\"] }\n\
           [route.merge]\np = { get = \"a /p\", cache = { ttl = \"1h\" }, else = \"none\" }\n";
    let gateway = gateway(&config).with("a", origin.address).start();
    let mut patient = asking(&gateway, 1);
    origin.wait_for(1);
    gateway.get("/short").expect_one_of(&[200, 504]);
    gate.open();
    assert_eq!(patient[0].response().expect(200).text(), "{\"p\":1}");
    origin.request();
    assert_eq!(gateway.get("/short").expect(200).text(), "{\"p\":1}", "one store for both routes");
}

#[test]
fn a_reload_keeps_answers_of_upstreams_that_are_the_same_and_no_others() {
    let (first, second) = (counting(&[]), Origin::saying("\"second\""));
    let part = "cache = { ttl = \"1h\" }";
    let gateway = gateway(&config(part)).with("a", first.address).with("b", second.address).start();
    assert_eq!(value(&gateway, &[]), "1");
    let marked = |number: u32, text: String| {
        gateway.rewrite(&format!(
            "{text}[[route]]\nmatch = \"/version\"\nrespond = {{ status = 200, body = \"{number}\" }}\n"
        ));
        gateway.signal("HUP");
        let wanted = number.to_string();
        eventually("the new configuration", || gateway.get("/version").text() == wanted);
    };
    marked(2, config(part));
    assert_eq!(value(&gateway, &[]), "1", "nothing of it has changed");
    marked(3, config(part).replace("@a@", "@b@"));
    assert_eq!(value(&gateway, &[]), "\"second\"", "another upstream");
    marked(4, config("cache = { ttl = \"1h\" }, keep = \"x\""));
    assert_ne!(value(&gateway, &[]), "1", "another reading of the same answer");
}

#[test]
fn the_store_is_bounded_and_forgets_what_was_used_least_recently() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let body = format!("\"{}\"", "x".repeat((4 << 20) - 2));
    let origin = Origin::script(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        vec![Step::Send(ok(&body))]
    });
    let gateway = start(&origin, "cache = { ttl = \"1h\" }");
    let mut client = gateway.connect();
    let mut get = |q: usize| drop(client.get(&format!("/p?q={q}"), &[]).expect(200));
    (0..16).for_each(&mut get);
    assert_eq!(asked.load(Ordering::SeqCst), 16);
    (1..16).for_each(&mut get);
    assert_eq!(asked.load(Ordering::SeqCst), 16, "15 of 4 MiB fit");
    get(0);
    assert_eq!(asked.load(Ordering::SeqCst), 17, "and the first one made room");
}
