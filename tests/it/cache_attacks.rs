//! Attacks on the response cache: what one client sends must never become what another one gets.
//!
//! Key confusion, fields that are not keyed, deception by paths that look like files, answers that are one user's, what
//! is too large or varies without end, removals in masses, and fetches that break while others wait for them.
//! The origin counts and tells what it was asked, so that it is seen whose answer a client gets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::wire::Wire;
use crate::support::{Gate, eventually};

fn start(origin: &Origin, cache: &str) -> Gateway {
    let text = format!(
        "[upstream.a]\nendpoints = [\"@a@\"]\nretry = 0\n[[route]]\n\
         match = \"/{{*rest}}\"\nforward = \"a\"\ntimeout = \"20s\"\ncache = {cache}\n"
    );
    gateway(&text).with("a", origin.address).start()
}

/// Says what it was asked, its number in front, fresh for ten minutes.
fn telling() -> Origin {
    let count = AtomicUsize::new(0);
    Origin::script(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{number} {} {}", request.method, request.target);
        vec![Step::Send(answer(200, &[("cache-control", "max-age=600")], body.as_bytes()))]
    })
}

#[test]
fn spellings_of_an_address_never_share_an_answer_that_an_origin_may_tell_apart() {
    let origin = telling();
    let gateway = start(&origin, "\"origin\"");
    let targets =
        ["/a/b", "/A/b", "/a/B", "/a/b/", "/a/b?", "/a/b?x", "/a/b?X", "/a/b?x=", "/a/b;x"];
    let firsts: Vec<String> = targets.map(|target| gateway.get(target).expect(200).text()).into();
    for (at, first) in firsts.iter().enumerate() {
        assert!(first.starts_with(&format!("{} ", at + 1)), "{first}");
        assert_eq!(gateway.get(targets[at]).expect(200).text(), *first, "{}", targets[at]);
    }
    // What is refused or made regular is so before the key is made: no such answer is found under another address.
    for odd in ["/a//b", "/a%2fb", "/a/%62", "/a/./b", "/a/x/../b", "/a/b%00", "/a\\b"] {
        let response = gateway.get(odd);
        let asked = origin.requests().last().expect("asked").target.clone();
        assert!(
            response.status == 400
                || response.status == 404
                || response.text().ends_with(&format!("GET {asked}"))
                || response.text() == firsts[0],
            "{odd}: {} {}",
            response.status,
            response.text()
        );
    }
    assert_eq!(gateway.get("/a/b").expect(200).text(), firsts[0]);
}

#[test]
fn hosts_and_ports_have_answers_of_their_own() {
    let origin = telling();
    let gateway = start(&origin, "\"origin\"");
    let from = |host: &str| {
        let mut wire = gateway.connect();
        wire.send(format!("GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        wire.response().expect(200).text()
    };
    let one = from("one.test");
    assert_eq!(from("ONE.test"), one);
    let others: Vec<String> =
        ["one.test:8080", "one.test.", "two.test", "one.test:80"].map(from).into();
    assert!(others.iter().all(|other| *other != one), "{others:?}");
    // The host of the target goes before the field (RFC 9112 §3.2.2).
    let mut wire = gateway.connect();
    wire.send("GET http://one.test/a HTTP/1.1\r\nhost: two.test\r\n\r\n");
    assert_eq!(wire.response().expect(200).text(), one);
}

#[test]
fn fields_that_make_another_request_of_it_never_poison_an_answer() {
    let origin = Origin::script(|request| {
        let interesting =
            |(name, _): &&(String, String)| name.to_ascii_lowercase().starts_with("x");
        let told: Vec<String> = request
            .fields
            .iter()
            .filter(interesting)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let body = told.join(" ");
        vec![Step::Send(answer(200, &[("cache-control", "max-age=600")], body.as_bytes()))]
    });
    let gateway = start(&origin, "\"origin\"");
    let evil = [
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-HTTP-Method",
        "X-Host",
        "X-Forwarded-Host",
        "X-Forwarded-Scheme",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Host",
    ];
    for (at, name) in evil.iter().enumerate() {
        let target = format!("/{at}");
        gateway.get_with(&target, &[(name, "evil.example")]).expect(200);
        let clean = gateway.get(&target).expect(200);
        assert!(!clean.text().contains("evil"), "{name}: {}", clean.text());
    }
}

#[test]
fn a_trusted_proxys_host_field_tells_answers_apart() {
    let origin = Origin::script(|request| {
        let host = request.field("x-forwarded-host").unwrap_or("none").to_owned();
        vec![Step::Send(answer(200, &[("cache-control", "max-age=600")], host.as_bytes()))]
    });
    let text = "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = [\"127.0.0.1\"]\n[upstream.a]\nendpoints = [\"@a@\"]\n\
                [[route]]\nmatch = \"/{*rest}\"\nforward = \"a\"\ncache = \"origin\"\n";
    let gateway = gateway(text).with("a", origin.address).start();
    let of = |host: &str| gateway.get_with("/a", &[("x-forwarded-host", host)]).expect(200).text();
    for _ in 0..2 {
        assert_eq!((of("one.test"), of("two.test")), ("one.test".into(), "two.test".into()));
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_path_that_looks_like_a_file_makes_nothing_cacheable() {
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |_| {
        let body = format!("account {}", count.fetch_add(1, Ordering::SeqCst));
        vec![Step::Send(answer(200, &[("content-type", "text/html")], body.as_bytes()))]
    });
    let gateway = start(&origin, "\"origin\"");
    for target in ["/account/x.css", "/account;x.css", "/account%3Fx.css", "/account/x.jpg?v=1"] {
        let victim = gateway.get_with(target, &[("cookie", "session=1")]).text();
        assert_ne!(gateway.get(target).text(), victim, "{target}");
    }
    // Under a time of the operator's, what is said to be one user's stays so.
    for fields in [
        &[("cache-control", "private")],
        &[("cache-control", "no-store")],
        &[("set-cookie", "a=b")],
    ] {
        let count = AtomicUsize::new(0);
        let origin = Origin::script(move |_| {
            let body = count.fetch_add(1, Ordering::SeqCst).to_string();
            vec![Step::Send(answer(200, fields, body.as_bytes()))]
        });
        let gateway = start(&origin, "{ ttl = \"1h\" }");
        let victim = gateway.get_with("/account/x.css", &[("cookie", "session=1")]).text();
        assert_ne!(gateway.get("/account/x.css").text(), victim, "{fields:?}");
    }
}

#[test]
fn a_head_that_fills_a_buffer_is_passed_on_or_found_again_and_never_breaks_a_hit() {
    for kib in [8, 16, 28, 30, 31] {
        let value: &'static str = Box::leak("v".repeat(kib * 1024).into_boxed_str());
        let fields: &'static [(&str, &str)] =
            Box::leak(Box::new([("cache-control", "max-age=600"), ("x-large", value)]));
        let origin = Origin::script(move |_| vec![Step::Send(answer(200, fields, b"whole"))]);
        let gateway = start(&origin, "\"origin\"");
        let first = gateway.get("/a").status;
        for _ in 0..3 {
            assert_eq!(gateway.get("/a").status, first, "{kib} KiB");
        }
    }
}

#[test]
fn an_origin_that_varies_without_end_is_bounded() {
    let count = AtomicUsize::new(0);
    let many = (0..17).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(", ");
    let many: &'static str = Box::leak(many.into_boxed_str());
    let origin = Origin::script(move |request| {
        let vary = if request.target == "/many" { many } else { "user-agent" };
        let fields = [("cache-control", "max-age=600"), ("vary", vary)];
        let number = count.fetch_add(1, Ordering::SeqCst).to_string();
        vec![Step::Send(answer(200, &fields, number.as_bytes()))]
    });
    let gateway = start(&origin, "\"origin\"");
    let status = |target: &str, agent: &str| {
        let response = gateway.get_with(target, &[("user-agent", agent)]).expect(200);
        response.field("cache-status").unwrap().to_owned()
    };
    assert_eq!(status("/many", "a"), "ringway; fwd=uri-miss; fwd-status=200; detail=vary");
    for agent in 0..200 {
        status("/a", &agent.to_string());
    }
    eventually("the weight to be told", || gateway.metric("ringway_cache_bytes", &[]) > 0.0);
    let bytes = gateway.metric("ringway_cache_bytes", &[]);
    assert!(bytes < 16.0 * 1024.0, "sixteen variants are kept, not two hundred: {bytes}");
}

#[test]
fn removals_in_masses_are_heard_by_every_core_before_its_next_answer() {
    let origin = telling();
    let gateway = start(&origin, "\"origin\"");
    (0..50).for_each(|number| _ = gateway.get(&format!("/{number}")).expect(200));
    let before = origin.requests().len();
    let purge = |what: &str| {
        let target = format!("/cache/purge?{what}");
        let answer = Wire::connect(gateway.admin).call("POST", &target, &[], b"");
        assert_eq!(answer.status, 200, "{what}");
    };
    for number in 0..500 {
        purge(&format!("key=test/{}", number % 50));
    }
    // New connections land on either core: none answers with what was removed.
    for number in 0..50 {
        let status = gateway.get(&format!("/{number}")).expect(200);
        assert!(status.field("cache-status").unwrap().contains("uri-miss"), "{number}");
    }
    assert_eq!(origin.requests().len(), before + 50);
    // The host has no case in what is named either.
    purge("key=TEST/1");
    assert!(gateway.get("/1").field("cache-status").unwrap().contains("uri-miss"));
    purge("prefix=TeSt/2");
    assert!(gateway.get("/2").field("cache-status").unwrap().contains("uri-miss"));
}

#[test]
fn only_the_admin_listener_removes_and_only_by_post() {
    let origin = telling();
    let gateway = start(&origin, "\"origin\"");
    let first = gateway.get("/a").expect(200).text();
    let mut client = gateway.connect();
    for (method, target) in [("PURGE", "/cache/purge?all"), ("POST", "/cache/purge?all")] {
        client.call(method, target, &[], b"");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PURGE"] {
        let status = Wire::connect(gateway.admin).call(method, "/cache/purge?all", &[], b"").status;
        assert_ne!(status, 200, "{method}");
    }
    for what in ["", "?", "?key", "?key=", "?tag=", "?prefix=", "?other=1", "?all&key=x"] {
        let status = Wire::connect(gateway.admin)
            .call("POST", &format!("/cache/purge{what}"), &[], b"")
            .status;
        assert_ne!(status, 200, "{what}");
    }
    assert_eq!(gateway.get("/a").expect(200).text(), first);
    // PURGE and other unsafe methods of a client that succeed end their own address only (RFC 9111 §4.4).
    client.call("PURGE", "/b", &[], b"");
    assert_eq!(gateway.get("/a").expect(200).text(), first);
}

#[test]
fn a_fetch_that_breaks_off_leaves_those_who_wait_to_each_other_and_nothing_in_the_store() {
    let gate = Gate::new();
    let (opens, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::script(move |_| {
        let head = b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\n";
        let head = Step::Send(head.to_vec());
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => vec![head, Step::Send(b"br".to_vec()), Step::Wait(opens.clone()), Step::Close],
            _ => vec![head, Step::Send(b"whole".to_vec())],
        }
    });
    let gateway = start(&origin, "\"origin\"");
    let mut clients: Vec<Wire> = (0..12).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n"));
    let active = || gateway.metric("http_server_active_requests", &[]) as usize;
    eventually("all to wait", || active() == 12);
    gate.open();
    let answers: Vec<_> = clients.iter_mut().map(|client| client.try_response("GET")).collect();
    let broken = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(broken, 1, "the leader's own client sees that it broke off");
    for answer in answers.into_iter().flatten() {
        assert_eq!(answer.expect(200).text(), "whole");
    }
    assert_eq!(origin.requests().len(), 2, "one fetch in its place, on both cores together");
}

#[test]
fn those_who_wait_for_what_turns_out_to_be_one_users_all_go_on_at_once() {
    let (gate, hold) = (Gate::new(), Gate::new());
    let (opens, holds, count) = (gate.clone(), hold.clone(), AtomicUsize::new(0));
    let cookies = Arc::new(Mutex::new(Vec::new()));
    let origin = Origin::script(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let head =
            format!("HTTP/1.1 200 OK\r\nset-cookie: id={number}\r\ncontent-length: 1\r\n\r\n");
        let mut steps = vec![
            Step::Send(head.into_bytes()),
            Step::Wait(holds.clone()),
            Step::Send(b"x".to_vec()),
        ];
        if number == 0 {
            steps.insert(0, Step::Wait(opens.clone()));
        }
        steps
    });
    let gateway = start(&origin, "{ ttl = \"1h\" }");
    let mut clients: Vec<Wire> = (0..10).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n"));
    let active = || gateway.metric("http_server_active_requests", &[]) as usize;
    eventually("all to wait", || active() == 10);
    assert_eq!(origin.requests().len(), 1);
    gate.open();
    // No body has ended yet: were they served one behind the other, the second would wait for ever.
    origin.wait_for(10);
    hold.open();
    for client in &mut clients {
        let response = client.response().expect(200);
        cookies.lock().unwrap().push(response.field("set-cookie").unwrap().to_owned());
    }
    let mut all = cookies.lock().unwrap().clone();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 10, "everybody has a cookie of their own: {all:?}");
}

#[test]
fn a_client_that_takes_nothing_delays_nobody_who_waits_for_its_fetch() {
    let body = vec![b'x'; 900 * 1024];
    let origin = Origin::script(move |_| {
        vec![Step::Send(answer(200, &[("cache-control", "max-age=60")], &body))]
    });
    let gateway = start(&origin, "\"origin\"");
    let mut slow = gateway.connect();
    slow.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    origin.wait_for(1);
    let fast = gateway.get("/a").expect(200);
    assert_eq!(fast.body.len(), 900 * 1024);
    assert_eq!(slow.response().expect(200).body.len(), 900 * 1024);
}
