//! A second call beside a late one: when it is sent, who wins, what is told of it.
//!
//! What is late is learned from the calls before; nothing here is timed: an origin holds an answer until the
//! test has seen the second call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request, Step, answer, ok};
use crate::support::{Gate, eventually};

/// Calls after which the gateway knows what is late.
const LEARNING: usize = 100;

/// Two endpoints that count their requests together and answer what `script` says for each number, from 1.
fn pair(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> [Origin; 2] {
    let (script, count) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    [(); 2].map(|()| {
        let (script, count) = (script.clone(), count.clone());
        Origin::script(move |_: &Request| script(count.fetch_add(1, Ordering::SeqCst) + 1))
    })
}

fn start(origins: &[Origin; 2], part: &str) -> Gateway {
    let config = format!(
        "workers = 1\n[upstream.a]\nendpoints = [\"@a@\", \"@b@\"]\nretry = 0\n[[route]]\nmatch = \"GET /p\"\n\
         server_timing = true\ntimeout = \"20s\"\n[route.merge]\np = {{ get = \"a /p\", {part} }}\n"
    );
    let [a, b] = origins;
    gateway(&config).with("a", a.address).with("b", b.address).start()
}

fn learn(gateway: &Gateway, calls: usize) {
    let mut client = gateway.connect();
    for _ in 0..calls {
        client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response().expect(200);
    }
}

fn seen(origins: &[Origin; 2]) -> usize {
    origins.iter().map(|origin| origin.requests().len()).sum()
}

fn hedges(gateway: &Gateway, result: &str) -> usize {
    let result = format!("result=\"{result}\"");
    gateway.metric("ringway_upstream_hedges_total", &[&result, "upstream=\"a\""]) as usize
}

/// The attempts of the last of so many requests.
fn attempts(gateway: &Gateway, requests: usize) -> Vec<Value> {
    let line = gateway.access_log(requests).pop().expect("a line");
    line["attempts"].as_array().expect("attempts").clone()
}

#[test]
fn a_late_call_is_sent_to_another_endpoint_and_the_first_good_answer_wins() {
    let gate = Gate::new();
    let held = gate.clone();
    let origins = pair(move |number| {
        let send = Step::Send(ok(&number.to_string()));
        if number == LEARNING + 1 { vec![Step::Wait(held.clone()), send] } else { vec![send] }
    });
    let gateway = start(&origins, "hedge = { budget = \"1%\" }");
    learn(&gateway, LEARNING);
    assert_eq!(seen(&origins), LEARNING, "nothing is sent twice before it is known what is late");
    let before = origins.each_ref().map(|origin| origin.requests().len());
    let response = gateway.get("/p").expect(200);
    assert_eq!(response.text(), format!("{{\"p\":{}}}", LEARNING + 2));
    let timing = response.field("server-timing").expect("asked for");
    assert!(timing.ends_with(";desc=\"hedge won\""), "{timing}");
    let after = origins.each_ref().map(|origin| origin.requests().len());
    assert_eq!(after, before.map(|count| count + 1), "one at each endpoint");

    let attempts = attempts(&gateway, LEARNING + 1);
    let [first, second] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!((&first["cancelled"], &first["hedged"]), (&json!(true), &Value::Null), "{first}");
    assert_eq!((&second["cancelled"], &second["hedged"]), (&Value::Null, &json!("won")));
    assert_eq!((&second["status"], &first["status"]), (&json!(200), &Value::Null));
    assert_ne!(first["address"], second["address"]);
    eventually("the count", || hedges(&gateway, "won") == 1 && hedges(&gateway, "lost") == 0);
    let retries = gateway.metric("ringway_upstream_retries_total", &["upstream=\"a\""]);
    assert_eq!(retries as usize, 0, "a hedge is no retry");

    // The late answer comes on a connection that is used no more.
    gate.open();
    for number in LEARNING + 3..LEARNING + 13 {
        assert_eq!(gateway.get("/p").expect(200).text(), format!("{{\"p\":{number}}}"));
    }
}

#[test]
fn a_late_answer_that_comes_first_all_the_same_is_used() {
    let (gate, never) = (Gate::new(), Gate::new());
    let (held, last) = (gate.clone(), never.clone());
    let origins = pair(move |number| {
        let send = Step::Send(ok(&number.to_string()));
        match number.checked_sub(LEARNING) {
            Some(1) => vec![Step::Wait(held.clone()), send],
            Some(2) => vec![Step::Wait(last.clone()), send],
            _ => vec![send],
        }
    });
    let gateway = start(&origins, "hedge = { budget = \"1%\" }");
    learn(&gateway, LEARNING);
    let mut client = gateway.connect();
    client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the second call", || seen(&origins) == LEARNING + 2);
    gate.open();
    let response = client.response().expect(200);
    assert_eq!(response.text(), format!("{{\"p\":{}}}", LEARNING + 1));
    assert!(response.field("server-timing").expect("asked for").ends_with(";desc=\"hedged\""));
    let attempts = attempts(&gateway, LEARNING + 1);
    assert_eq!((&attempts[1]["hedged"], &attempts[1]["cancelled"]), (&json!("lost"), &json!(true)));
    assert_eq!((&attempts[0]["status"], attempts.len()), (&json!(200), 2));
    eventually("the count", || hedges(&gateway, "lost") == 1);
    never.open();
}

#[test]
fn a_failure_does_not_win_and_a_refusal_by_the_origin_does() {
    for (status, expected) in [(503, 200), (404, 404)] {
        let gate = Gate::new();
        let held = gate.clone();
        let origins = pair(move |number| match number.checked_sub(LEARNING) {
            Some(1) => vec![Step::Wait(held.clone()), Step::Send(ok("\"late\""))],
            Some(2) => vec![Step::Send(answer(status, &[], b"{}"))],
            _ => vec![Step::Send(ok("1"))],
        });
        let gateway = start(&origins, "hedge = { budget = \"1%\" }");
        learn(&gateway, LEARNING);
        let mut client = gateway.connect();
        client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the second call", || seen(&origins) == LEARNING + 2);
        if expected == 200 {
            gate.open();
            assert_eq!(client.response().expect(200).text(), "{\"p\":\"late\"}");
        } else {
            client.response().expect(expected);
            gate.open();
        }
    }
}

#[test]
fn the_budget_is_never_overdrawn() {
    // Every call behind the first hundred is held until its client is gone: all of them are late.
    let gate = Gate::new();
    let held = gate.clone();
    let origins = pair(move |number| match number > LEARNING {
        true => vec![Step::Wait(held.clone()), Step::Send(ok("1"))],
        false => vec![Step::Send(ok("1"))],
    });
    let gateway = start(
        &origins,
        "hedge = { budget = \"3%\" }, headers = [\"x\"], request_headers = { x-id = \"{query.id}\" }",
    );
    let mut client = gateway.connect();
    for number in 0..LEARNING {
        client.send(format!("GET /p?id={number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response().expect(200);
    }
    let mut late: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    for (number, client) in late.iter_mut().enumerate() {
        client.send(format!("GET /p?id=late{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    eventually("calls and second calls", || seen(&origins) == LEARNING + 20 + 3);
    gate.open();
    late.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!(seen(&origins), LEARNING + 20 + 3, "three of a hundred, whoever else was late");
}

#[test]
fn without_the_key_nothing_is_sent_twice() {
    let gate = Gate::new();
    let held = gate.clone();
    let origins = pair(move |number| match number > LEARNING {
        true => vec![Step::Wait(held.clone()), Step::Send(ok("1"))],
        false => vec![Step::Send(ok("1"))],
    });
    let gateway = start(&origins, "hedge = false");
    learn(&gateway, LEARNING);
    let mut client = gateway.connect();
    client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the call", || seen(&origins) == LEARNING + 1);
    gate.open();
    assert!(
        !client.response().expect(200).field("server-timing").expect("asked for").contains("desc")
    );
    assert_eq!(seen(&origins), LEARNING + 1);
}

#[test]
fn what_was_learned_outlives_a_reload_that_changes_something_else() {
    let gate = Gate::new();
    let held = gate.clone();
    let origins = pair(move |number| {
        let send = Step::Send(ok(&number.to_string()));
        if number == LEARNING + 1 { vec![Step::Wait(held.clone()), send] } else { vec![send] }
    });
    let gateway = start(&origins, "hedge = true");
    learn(&gateway, LEARNING);
    let config = format!(
        "workers = 1\n[upstream.a]\nendpoints = [\"{}\", \"{}\"]\nretry = 0\n[[route]]\nmatch = \"GET /new\"\n\
         respond = {{ body = \"new\" }}\n[[route]]\nmatch = \"GET /p\"\n\
         server_timing = true\ntimeout = \"20s\"\n[route.merge]\np = {{ get = \"a /p\", hedge = true }}\n",
        origins[0].address, origins[1].address
    );
    gateway.rewrite(&config);
    gateway.signal("HUP");
    eventually("the new version", || gateway.get("/new").status == 200);
    let response = gateway.get("/p").expect(200);
    assert_eq!(response.text(), format!("{{\"p\":{}}}", LEARNING + 2));
    gate.open();
}

/// A route that forwards to both endpoints.
fn forwarding(origins: &[Origin; 2]) -> Gateway {
    let config = "workers = 1\n[upstream.a]\nendpoints = [\"@a@\", \"@b@\"]\nretry = 0\n[[route]]\n\
                  match = \"/p\"\nforward = \"a\"\ntimeout = \"20s\"\nhedge = { budget = \"1%\" }\n";
    let [a, b] = origins;
    gateway(config).with("a", a.address).with("b", b.address).start()
}

#[test]
fn a_forwarded_request_is_sent_to_another_endpoint_when_its_head_is_late() {
    let gate = Gate::new();
    let held = gate.clone();
    let origins = pair(move |number| {
        let send = Step::Send(ok(&number.to_string()));
        if number == LEARNING + 1 { vec![Step::Wait(held.clone()), send] } else { vec![send] }
    });
    let gateway = forwarding(&origins);
    learn(&gateway, LEARNING);
    assert_eq!(gateway.get("/p").expect(200).text(), (LEARNING + 2).to_string());
    let attempts = attempts(&gateway, LEARNING + 1);
    let [first, second] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!((&first["cancelled"], &first["hedged"]), (&json!(true), &Value::Null), "{first}");
    assert_eq!((&second["cancelled"], &second["hedged"]), (&Value::Null, &json!("won")));
    assert_ne!(first["address"], second["address"]);
    eventually("the count", || hedges(&gateway, "won") == 1);
    gate.open();
    for number in LEARNING + 3..LEARNING + 13 {
        assert_eq!(gateway.get("/p").expect(200).text(), number.to_string());
    }
}

#[test]
fn a_forwarded_failure_is_passed_on_only_when_both_have_failed() {
    // Which of two failures arrives last is for the network to say; a 404 is an answer and waits for nobody.
    for (second, shown) in [(503, &["late", "early"][..]), (404, &["early"])] {
        let gate = Gate::new();
        let held = gate.clone();
        let origins = pair(move |number| match number.checked_sub(LEARNING) {
            Some(1) => vec![Step::Wait(held.clone()), Step::Send(answer(500, &[], b"late"))],
            Some(2) => vec![Step::Send(answer(second, &[], b"early"))],
            _ => vec![Step::Send(ok("1"))],
        });
        let gateway = forwarding(&origins);
        learn(&gateway, LEARNING);
        let mut client = gateway.connect();
        client.send("GET /p HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the second call", || seen(&origins) == LEARNING + 2);
        if second == 503 {
            gate.open();
        }
        let response = client.response();
        assert!(
            shown.contains(&response.text().as_str()),
            "{} {}",
            response.status,
            response.text()
        );
        gate.open();
    }
}

#[test]
fn a_forwarded_request_with_a_body_or_an_unsafe_method_is_sent_once() {
    for request in [
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE /p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let gate = Gate::new();
        let held = gate.clone();
        let origins = pair(move |number| match number > LEARNING {
            true => vec![Step::Wait(held.clone()), Step::Send(ok("1"))],
            false => vec![Step::Send(ok("1"))],
        });
        let gateway = forwarding(&origins);
        learn(&gateway, LEARNING);
        let mut client = gateway.connect();
        client.send(request);
        eventually("the call", || seen(&origins) == LEARNING + 1);
        gate.open();
        client.response().expect(200);
        assert_eq!(seen(&origins), LEARNING + 1, "{request}");
    }
}
