//! One request, several origins, one document: order, bytes, templates, deadlines' happy side.
//!
//! CONFIG.md rules 4, 6, 7 and 8. Parts that fail have a module of their own (`partial`).

use serde_json::json;

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::tokens::{Signer, bearer, claims};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const UPSTREAMS: &str = r#"
[upstream.user]
endpoints = ["@user@"]

[upstream.order]
endpoints = ["@order@"]

[upstream.notif]
endpoints = ["@notif@"]

[jwt.key]
secret = "0123456789abcdef0123456789abcdef"
"#;

pub const DASHBOARD: &str = r#"
[[route]]
match = "GET /dashboard"

[route.merge]
user   = { get = "user /user" }
orders = { get = "order /orders" }
unread = { get = "notif /unread" }
"#;

/// A gateway over three origins; a part that a test does not use has an origin that is never asked.
pub fn merging(route: &str, user: &Origin, order: &Origin, notif: &Origin) -> Gateway {
    gateway(&format!("{UPSTREAMS}{route}"))
        .with("user", user.address)
        .with("order", order.address)
        .with("notif", notif.address)
        .start()
}

#[test]
fn the_answers_keys_are_the_configurations_in_its_order() {
    let (user, order, notif) =
        (Origin::saying("{\"name\":\"Ada\"}"), Origin::saying("[1,2]"), Origin::saying("7"));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let response = gateway.get("/dashboard").expect(200);
    assert_eq!(response.text(), r#"{"user":{"name":"Ada"},"orders":[1,2],"unread":7}"#);
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("gateway-partial"), None);
}

#[test]
fn the_result_does_not_depend_on_who_answers_first() {
    for last in 0..3 {
        let gate = Gate::new();
        let theirs = |n: usize| (n == last).then(|| gate.clone());
        let held = |body: &'static str, gate: Option<Gate>| {
            Origin::script(move |_| {
                let wait = gate.clone().map(Step::Wait);
                wait.into_iter().chain([Step::Send(ok(body))]).collect()
            })
        };
        let origins = [held("1", theirs(0)), held("2", theirs(1)), held("3", theirs(2))];
        let gateway = merging(DASHBOARD, &origins[0], &origins[1], &origins[2]);
        let asking = std::thread::scope(|scope| {
            let asked = scope.spawn(|| gateway.get("/dashboard").expect(200).text());
            for origin in &origins {
                origin.wait_for(1);
            }
            gate.open();
            asked.join().unwrap()
        });
        assert_eq!(asking, r#"{"user":1,"orders":2,"unread":3}"#);
    }
}

#[test]
fn parts_are_asked_in_parallel() {
    // Each origin answers only when all three have been asked: one after the other would never end.
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(3));
    let meeting = || {
        let barrier = std::sync::Arc::clone(&barrier);
        Origin::script(move |_| {
            barrier.wait();
            vec![Step::Send(ok("true"))]
        })
    };
    let (user, order, notif) = (meeting(), meeting(), meeting());
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let mut client = gateway.connect();
    for _ in 0..5 {
        let response = client.get("/dashboard", &[]).expect(200);
        assert_eq!(response.text(), r#"{"user":true,"orders":true,"unread":true}"#);
    }
}

#[test]
fn a_part_is_asked_the_moment_what_it_needs_is_here_whatever_others_do() {
    let (gate, chained) = (Gate::new(), Gate::new());
    let (slow, until) = (gate.clone(), chained.clone());
    let user = Origin::script(move |_| vec![Step::Wait(slow.clone()), Step::Send(ok("1"))]);
    let order = Origin::saying("[{\"id\":7}]");
    let notif = Origin::script(move |request| {
        // The end of the chain opens the gate of the part that was asked at first.
        assert_eq!(request.target, "/unread/7");
        until.open();
        vec![Step::Send(ok("3"))]
    });
    let gateway = merging(
        r#"
[[route]]
match = "GET /dashboard"

[route.merge]
user   = { get = "user /user" }
unread = { get = "notif /unread/{part.orders[0].id}" }
orders = { get = "order /orders" }
"#,
        &user,
        &order,
        &notif,
    );
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| gateway.get("/dashboard").expect(200).text());
        chained.wait();
        gate.open();
        assert_eq!(asked.join().unwrap(), r#"{"user":1,"unread":3,"orders":[{"id":7}]}"#);
    });
}

#[test]
fn a_required_part_that_fails_keeps_those_behind_others_from_being_asked() {
    let user = Origin::answering(answer(404, &[], b"{}"));
    let (gate, order) = (Gate::new(), Origin::saying("[]"));
    let held = gate.clone();
    let notif = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("3"))]);
    let gateway = merging(
        r#"
[[route]]
match = "GET /dashboard"

[route.merge]
user   = { get = "user /user" }
unread = { get = "notif /unread" }
orders = { get = "order /orders/{part.unread}/{part.user.id}" }
"#,
        &user,
        &order,
        &notif,
    );
    // The answer does not wait for `unread`, which never comes, and `orders` is never asked.
    gateway.get("/dashboard").expect_problem(404);
    gate.open();
    assert!(order.requests().is_empty());
}

#[test]
fn the_bytes_of_a_part_are_copied_as_they_came() {
    let odd = "{\"b\":1,\"a\":2,\"b\":3,\"n\":1.0e+02,\"big\":123456789012345678901234567890,\"u\":\"\\u00e9\u{e9}\",\"s\":\"\\/\"}";
    let (user, order, notif) =
        (Origin::saying(odd), Origin::saying(" [ 1 , 2 ] "), Origin::saying("null"));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let text = gateway.get("/dashboard").expect(200).text();
    assert!(text.starts_with(&format!("{{\"user\":{odd},\"orders\":")), "{text}");
    assert!(text.contains("[ 1 , 2 ]") && text.ends_with(",\"unread\":null}"), "{text}");
}

#[test]
fn chunked_and_close_delimited_parts_are_merged_too() {
    let user = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
    );
    let order = Origin::answering_then_closing("HTTP/1.1 200 OK\r\n\r\n[true]");
    let notif = Origin::saying("\"x\"");
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let mut client = gateway.connect();
    for _ in 0..3 {
        let text = client.get("/dashboard", &[]).expect(200).text();
        assert_eq!(text, r#"{"user":{"a":1},"orders":[true],"unread":"x"}"#);
    }
}

#[test]
fn pick_re_roots_a_part() {
    let route = DASHBOARD
        .replace("\"notif /unread\"", "\"notif /unread\", pick = \"data.unread\"")
        .replace("\"order /orders\"", "\"order /orders\", pick = \"items\"");
    let (user, order, notif) = (
        Origin::saying("{}"),
        Origin::saying("{\"total\":2,\"items\":[{\"id\": 1}],\"next\":null}"),
        Origin::saying("{\"data\":{\"read\":1,\"unread\":7}}"),
    );
    let gateway = merging(&route, &user, &order, &notif);
    let text = gateway.get("/dashboard").expect(200).text();
    assert_eq!(text, r#"{"user":{},"orders":[{"id": 1}],"unread":7}"#);
}

const TEMPLATED: &str = r#"
[[route]]
match = "GET /u/{id}"
jwt   = "key"

[route.merge]
user   = { get = "user /users/{path.id}/{jwt.sub}" }
orders = { get = "order /orders?user={jwt.sub}&page={query.page|1}&lang={header.accept-language?}" }
"#;

#[test]
fn templates_take_path_query_header_and_claims_escaped_by_position() {
    let (user, order, notif) = (Origin::saying("1"), Origin::saying("2"), Origin::silent());
    let gateway = merging(TEMPLATED, &user, &order, &notif);
    let token = Signer::hs256("k1", SECRET).sign(&claims("a/b c&d?e=\u{e9}#"));
    let (name, value) = bearer(&token);
    gateway
        .get_with("/u/x%2Fy?page=2%263", &[(name, &value), ("Accept-Language", "de, en;q=0.5")])
        .expect_one_of(&[200, 400]);
    gateway.get_with("/u/x?page=2%263", &[(name, &value)]).expect(200);
    let seen = user.requests().pop().unwrap().target;
    assert_eq!(seen, "/users/x/a%2Fb%20c%26d%3Fe%3D%C3%A9%23");
    let seen = order.requests().pop().unwrap().target;
    assert!(seen.starts_with("/orders?user=a%2Fb%20c%26d%3Fe%3D%C3%A9%23&page=2%263"), "{seen}");
    assert_eq!(seen.matches('&').count(), 2, "a value never makes a new parameter: {seen}");
}

#[test]
fn a_claim_cannot_leave_its_path_segment() {
    let (user, order, notif) = (Origin::saying("1"), Origin::saying("2"), Origin::silent());
    let gateway = merging(TEMPLATED, &user, &order, &notif);
    for subject in ["..", ".", "../../admin", "a\r\nX: y", ""] {
        let token = Signer::hs256("k1", SECRET).sign(&claims(subject));
        let (name, value) = bearer(&token);
        let response = gateway.get_with("/u/x", &[(name, &value)]);
        assert!(matches!(response.status, 200 | 400 | 401), "{subject:?}: {}", response.status);
    }
    for request in user.requests() {
        let last = request.target.strip_prefix("/users/x/").expect("two segments and one more");
        assert!(!last.contains('/') && last != ".." && last != "." && !last.is_empty(), "{last:?}");
    }
}

#[test]
fn a_missing_value_refuses_the_request_and_asks_nobody() {
    let route = r#"
[[route]]
match = "GET /q"
[route.merge]
user = { get = "user /find?name={query.name}" }

[[route]]
match = "GET /c"
jwt = "key"
[route.merge]
user = { get = "user /tenant/{jwt.tenant}" }
"#;
    let (user, order, notif) = (Origin::saying("1"), Origin::silent(), Origin::silent());
    let gateway = merging(route, &user, &order, &notif);
    gateway.get("/q").expect_problem(400);
    let token = Signer::hs256("k1", SECRET).sign(&claims("42"));
    let (name, value) = bearer(&token);
    gateway.get_with("/c", &[(name, &value)]).expect_problem(401);
    assert_eq!(user.requests().len(), 0);
}

#[test]
fn nested_claims_are_reached() {
    let route = r#"
[[route]]
match = "GET /c"
jwt = "key"
[route.merge]
user = { get = "user /t/{jwt.org.id}" }
"#;
    let (user, order, notif) = (Origin::saying("1"), Origin::silent(), Origin::silent());
    let gateway = merging(route, &user, &order, &notif);
    let mut claims = claims("42");
    claims["org"] = json!({"id": 17});
    let token = Signer::hs256("k1", SECRET).sign(&claims);
    let (name, value) = bearer(&token);
    gateway.get_with("/c", &[(name, &value)]).expect(200);
    assert_eq!(user.request().target, "/t/17");
}

#[test]
fn nothing_of_the_clients_request_goes_inward_unasked() {
    let (user, order, notif) = (Origin::saying("1"), Origin::saying("2"), Origin::saying("3"));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let fields = [("Cookie", "session=1"), ("Authorization", "Bearer x"), ("X-Secret", "1")];
    gateway.get_with("/dashboard?debug=1", &fields).expect(200);
    for origin in [&user, &order, &notif] {
        let seen = origin.request();
        for gone in ["cookie", "authorization", "x-secret"] {
            assert_eq!(seen.field(gone), None, "{gone}");
        }
        assert!(!seen.target.contains("debug"), "{}", seen.target);
        assert!(seen.field("traceparent").is_some() && seen.field("x-request-id").is_some());
    }
}

#[test]
fn pass_names_what_goes_inward() {
    let route = DASHBOARD.replace(
        "[route.merge]",
        "pass = { headers = [\"accept-language\"], query = [\"lang\"] }\n[route.merge]",
    );
    let (user, order, notif) = (Origin::saying("1"), Origin::saying("2"), Origin::saying("3"));
    let gateway = merging(&route, &user, &order, &notif);
    let fields = [("Accept-Language", "de"), ("Cookie", "session=1")];
    gateway.get_with("/dashboard?lang=de&debug=1", &fields).expect(200);
    let seen = user.request();
    assert_eq!((seen.field("accept-language"), seen.field("cookie")), (Some("de"), None));
    assert_eq!(seen.target, "/user?lang=de");
}

#[test]
fn a_head_request_gets_the_documents_length_alone() {
    let route = DASHBOARD.replace("GET /dashboard", "GET,HEAD /dashboard");
    let (user, order, notif) = (Origin::saying("1"), Origin::saying("2"), Origin::saying("3"));
    let gateway = merging(&route, &user, &order, &notif);
    let mut client = gateway.connect();
    let response = client.call("HEAD", "/dashboard", &[], b"").expect(200);
    let length = r#"{"user":1,"orders":2,"unread":3}"#.len().to_string();
    assert_eq!(response.field("content-length"), Some(length.as_str()));
    client.get("/dashboard", &[]).expect(200);
}

#[test]
fn many_dashboards_at_once_never_mix() {
    let of = |request: &crate::support::origin::Request| {
        request.target.rsplit('/').next().unwrap().to_string()
    };
    let echo = move || Origin::script(move |r| vec![Step::Send(ok(&format!("\"{}\"", of(r))))]);
    let route = r#"
[[route]]
match = "GET /d/{id}"
[route.merge]
user   = { get = "user /u/{path.id}" }
orders = { get = "order /o/{path.id}" }
unread = { get = "notif /n/{path.id}" }
"#;
    let (user, order, notif) = (echo(), echo(), echo());
    let gateway = merging(route, &user, &order, &notif);
    std::thread::scope(|scope| {
        for client in 0..16 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut wire = gateway.connect();
                for turn in 0..30 {
                    let id = format!("{client}x{turn}");
                    let text = wire.get(&format!("/d/{id}"), &[]).expect(200).text();
                    assert_eq!(
                        text,
                        format!(r#"{{"user":"{id}","orders":"{id}","unread":"{id}"}}"#)
                    );
                }
            });
        }
    });
}

#[test]
fn a_part_may_post_a_filled_body_with_fields_of_its_own() {
    let route = r#"
[[route]]
match = "GET /search/{word}"
[route.merge]
user = { post = "user /search", body = { word = "{path.word}", page = 1 }, request_headers = { x-tenant = "{query.t}" } }
"#;
    let (user, order, notif) = (Origin::saying("[]"), Origin::silent(), Origin::silent());
    let gateway = merging(route, &user, &order, &notif);
    gateway.get("/search/a%22b%5Cc?t=7").expect_one_of(&[200, 400]);
    gateway.get("/search/a%22b?t=7").expect(200);
    let seen = user.requests().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/search"));
    assert_eq!(seen.field("x-tenant"), Some("7"));
    assert_eq!(seen.field("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!(body, json!({"word": "a\"b", "page": 1}));
}

#[test]
fn fields_named_by_headers_survive_a_part() {
    let route = DASHBOARD.replace("\"user /user\"", "\"user /user\", headers = [\"set-cookie\"]");
    let user = Origin::answering(answer(
        200,
        &[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Inner", "1")],
        b"{}",
    ));
    let (order, notif) = (Origin::saying("[]"), Origin::saying("0"));
    let gateway = merging(&route, &user, &order, &notif);
    let response = gateway.get("/dashboard").expect(200);
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.field("x-inner"), None);
}

#[test]
fn a_part_with_fields_of_its_own_and_a_status_of_2xx_counts_as_answered() {
    let user = Origin::answering(answer(203, &[("Set-Cookie", "a=1"), ("X-Inner", "1")], b"{}"));
    let (order, notif) = (Origin::saying("[]"), Origin::saying("0"));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let response = gateway.get("/dashboard").expect(200);
    assert_eq!(response.field("set-cookie"), None, "a part's fields do not survive unasked");
    assert_eq!(response.field("x-inner"), None);
}

const CHECKOUT: &str = r#"
[[route]]
match = "POST /checkout"
body_max = "1MiB"

[route.merge]
order = { post = "order /orders", body = "{request.body}", headers = ["set-cookie"] }
audit = { put = "user /audit", body = "{request.body}", headers = ["set-cookie"] }
"#;

#[test]
fn a_large_body_goes_whole_to_every_part_that_asks_for_it_and_cookies_stay_apart() {
    let cookies = |names: [&'static str; 2]| {
        let fields = names.map(|cookie| ("Set-Cookie", cookie));
        Origin::answering(answer(200, &fields, b"1"))
    };
    let (user, order) = (cookies(["a=1", "b=2"]), cookies(["c=3; Path=/", "d=4"]));
    let gateway = merging(CHECKOUT, &user, &order, &Origin::silent());
    let body: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let mut client = gateway.connect();
    for _ in 0..2 {
        let response = client.call("POST", "/checkout", &[], &body).expect(200);
        assert_eq!(response.text(), r#"{"order":1,"audit":1}"#);
        assert_eq!(response.all("set-cookie"), ["c=3; Path=/", "d=4", "a=1", "b=2"]);
    }
    for origin in [&user, &order] {
        let requests = origin.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.body == body));
    }
}

#[test]
fn a_body_that_is_too_large_asks_nobody() {
    let (user, order) = (Origin::saying("1"), Origin::saying("2"));
    let gateway = merging(CHECKOUT, &user, &order, &Origin::silent());
    let body = vec![b'x'; (1 << 20) + 1];
    gateway.connect().call("POST", "/checkout", &[], &body).expect_problem(413);
    assert!(user.requests().is_empty() && order.requests().is_empty());
}

#[test]
fn calls_for_each_element_run_at_once_and_their_order_does_not_show() {
    let ids: Vec<String> = (0..40).map(|id| format!("{{\"user\":{}}}", id % 20)).collect();
    let order = Origin::saying(&format!("[{}]", ids.join(",")));
    // Four answer only together, so that fewer calls at once would never end.
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(4));
    let user = Origin::script(move |request| {
        barrier.wait();
        vec![Step::Send(ok(&format!("\"{}\"", request.target)))]
    });
    let route = r#"
[[route]]
match = "GET /dashboard"

[route.merge]
users  = { get = "user /u/{each}", each = { of = "{part.orders[*].user}", at_once = 4 } }
orders = { get = "order /orders", keep = ["[0]"] }
"#;
    let gateway = merging(route, &user, &order, &Origin::silent());
    let users: Vec<String> = (0..20).map(|id| format!("\"{id}\":\"/u/{id}\"")).collect();
    let expected = format!(r#"{{"users":{{{}}},"orders":[{{"user":0}}]}}"#, users.join(","));
    assert_eq!(gateway.get("/dashboard").expect(200).text(), expected);
    assert_eq!(user.requests().len(), 20);
}

#[test]
fn a_required_part_that_can_never_be_asked_fails_the_answer_before_the_others_are_there() {
    let user = Origin::saying(r#"{"name":"Ada"}"#);
    let order = Origin::saying("[]");
    // Nothing would end before the route's own timeout, whose answer is a 504.
    let silent = Origin::silent();
    let route = |timeout: &str, rest: &str| {
        format!(
            r#"
[[route]]
match = "GET /dashboard"
timeout = "{timeout}"

[route.merge]
user   = {{ get = "user /user" }}
slow   = {{ get = "notif /slow" }}
orders = {{ get = "order /orders?a={{part.user.id{rest}}}&b={{part.slow.id}}" }}
"#
        )
    };
    let gateway = merging(&route("60s", ""), &user, &order, &silent);
    gateway.get("/dashboard").expect_problem(502);
    assert!(order.requests().is_empty());
    let gateway = merging(&route("500ms", "?"), &user, &order, &silent);
    gateway.get("/dashboard").expect_problem(504);
}

#[test]
fn fields_of_parts_that_fit_no_head_are_refused_and_never_cut() {
    let large =
        format!("HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 1\r\n\r\n1", "a".repeat(20_000));
    let (one, two) = (Origin::answering(&large), Origin::answering(&large));
    let config = r#"
[upstream.one]
endpoints = ["@one@"]

[upstream.two]
endpoints = ["@two@"]

[[route]]
match = "GET /both"

[route.merge]
one = { get = "one /", headers = ["x-a"] }
two = { get = "two /", headers = ["x-a"] }

[[route]]
match = "GET /one"

[route.merge]
one = { get = "one /", headers = ["x-a"] }
"#;
    let gateway = gateway(config).with("one", one.address).with("two", two.address).start();
    let mut client = gateway.connect();
    client.get("/both", &[]).expect_problem(502);
    assert_eq!(client.get("/one", &[]).expect(200).text(), r#"{"one":1}"#);
}

#[test]
fn the_bodies_of_one_merge_are_bounded_together() {
    // 17 bodies of four million bytes are more than 64 MiB; each is less than a part's own bound.
    let order = Origin::saying(&format!("{:?}", (0..17).collect::<Vec<_>>()));
    let user = Origin::saying(&"x".repeat(4_000_000));
    let config = r#"
[upstream.order]
endpoints = ["@order@"]

[upstream.user]
endpoints = ["@user@"]

[[route]]
match = "GET /all"
timeout = "60s"

[route.merge]
ids   = { get = "order /ids" }
users = { get = "user /u/{each}", each = { of = "{part.ids[*]}", at_once = 1 }, else = 0 }
"#;
    let gateway = gateway(config).with("order", order.address).with("user", user.address).start();
    gateway.get("/all").expect(200);
    // None of them is JSON; the last one was not looked at any more.
    let line = gateway.access_log(1).remove(0);
    let attempts = line["attempts"].as_array().expect("attempts");
    let bytes: Vec<u64> = attempts[1..].iter().filter_map(|one| one["bytes"].as_u64()).collect();
    let whole = bytes.iter().filter(|bytes| **bytes > 4_000_000).count();
    assert_eq!((whole, bytes.len()), (16, 17), "{bytes:?}");
}
