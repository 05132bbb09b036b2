//! A service is asked who may pass: what it is sent, what its answers mean, what is remembered of them.
//!
//! The service is a scripted origin; what it was asked is what it recorded.

use crate::support::Gate;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request, Step, answer};

const CONFIG: &str = r#"
[upstream.app]
endpoints = ["@app@"]
[upstream.auth]
endpoints = ["@auth@"]
[auth_request.plain]
to = "auth /verify?app=shop"
copy = ["x-user", "X-Groups"]
timeout = "10s"
[auth_request.short]
to = "auth /verify"
timeout = "50ms"
[auth_request.cached]
to = "auth /verify"
copy = ["x-user"]
cache = { key = "{header.authorization} {request.path}", ttl = "1h" }
[[route]]
match = "/plain/{*rest}"
forward = "app"
auth_request = "plain"
[[route]]
match = "/short"
forward = "app"
auth_request = "short"
[[route]]
match = "/cached/{*rest}"
forward = "app"
auth_request = "cached"
[[route]]
match = "/merge"
auth_request = "plain"
pass = { headers = ["x-user", "x-other"] }
[route.merge]
one = { get = "app /one" }
"#;

fn house(app: &Origin, auth: std::net::SocketAddr) -> Gateway {
    gateway(CONFIG).with("app", app.address).with("auth", auth).start()
}

/// A service that answers what the request asks for: `x-want: STATUS`.
fn service() -> Origin {
    Origin::script(|request: &Request| {
        let status = request.field("x-want").map_or(204, |status| status.parse().unwrap());
        let fields = [
            ("x-user", "ada"),
            ("x-groups", "a"),
            ("X-Groups", "b"),
            ("x-secret", "inner"),
            ("www-authenticate", "Bearer realm=\"sso\""),
        ];
        let body: &[u8] = if status == 204 { b"" } else { b"inner page" };
        vec![Step::Send(answer(status, &fields, body))]
    })
}

#[test]
fn the_service_sees_what_was_asked_and_its_word_goes_on() {
    let (app, auth) = (Origin::saying("\"in\""), service());
    let gateway = house(&app, auth.address);
    let mut client = gateway.connect();
    let fields = [
        ("Authorization", "Bearer token"),
        ("X-User", "root"),
        ("x_user", "root"),
        ("X-Original-URI", "/forged"),
        ("X-Original-URL", "/forged"),
        ("X-Forwarded-Uri", "/forged"),
        ("X-Forwarded-Method", "FORGED"),
        ("If-None-Match", "\"1\""),
        ("Range", "bytes=0-1"),
        ("X-Other", "1"),
    ];
    client.call("POST", "/plain/a%20b?c=d", &fields, b"the body").expect(200);
    let asked = auth.request();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify?app=shop"));
    assert!(asked.body.is_empty() && asked.field("content-length").is_none());
    for (name, value) in [
        ("authorization", "Bearer token"),
        ("x-other", "1"),
        ("x-original-method", "POST"),
        ("x-original-uri", "/plain/a%20b?c=d"),
        ("x-original-url", "http://test/plain/a%20b?c=d"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/plain/a%20b?c=d"),
        ("x-forwarded-host", "test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(asked.all(name), [value], "{name}");
    }
    assert!(asked.field("if-none-match").is_none() && asked.field("range").is_none());
    let sent = app.request();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/plain/a%20b?c=d"));
    assert_eq!(sent.body, b"the body");
    assert_eq!((sent.all("x-user"), sent.all("x-groups")), (vec!["ada"], vec!["a", "b"]));
    assert!(sent.field("x_user").is_none() && sent.field("x-secret").is_none());
    // The same connection again, and a merge.
    client.get("/plain/b", &[]).expect(200);
    client.get("/merge", &[("x-user", "root"), ("x-other", "2")]).expect(200);
    let part = app.requests().pop().unwrap();
    assert_eq!((part.all("x-user"), part.all("x-other")), (vec!["ada"], vec!["2"]));
    let line = &gateway.access_log(1)[0];
    assert_eq!(line["attempts"][0]["upstream"], "auth");
    assert_eq!(
        (&line["attempts"][1]["upstream"], &line["upstream"]),
        (&"app".into(), &"app".into())
    );
}

#[test]
fn only_a_2xx_opens_and_nothing_of_the_service_is_shown() {
    let (app, auth) = (Origin::saying("\"in\""), service());
    let gateway = house(&app, auth.address);
    let mut client = gateway.connect();
    for (want, status, reason) in [
        ("401", 401, "auth_request_401"),
        ("403", 403, "auth_request_403"),
        ("302", 502, "auth_request_failed"),
        ("400", 502, "auth_request_failed"),
        ("404", 502, "auth_request_failed"),
        ("500", 502, "auth_request_failed"),
    ] {
        let response = client.call("POST", "/plain/a", &[("x-want", want)], b"body");
        let response = response.expect_problem(status);
        assert!(!response.text().contains("inner") && response.field("x-secret").is_none());
        let challenge = (status == 401).then_some("Bearer realm=\"sso\"");
        assert_eq!(response.field("www-authenticate"), challenge, "{want}");
        let lines = gateway.access_log(client_lines(&auth));
        assert_eq!(lines.last().unwrap()["reason"], reason, "{want}");
    }
    client.get("/plain/a", &[("x-want", "200")]).expect(200);
    assert_eq!(app.requests().len(), 1, "nothing was served to who was refused");
}

/// Each question had one request.
fn client_lines(auth: &Origin) -> usize {
    auth.requests().len()
}

#[test]
fn a_service_that_is_away_silent_or_broken_closes_the_route() {
    let app = Origin::saying("\"in\"");
    let (_port, refusing) = Origin::refusing();
    house(&app, refusing).get("/plain/a").expect_problem(502);
    let silent = Origin::silent();
    house(&app, silent.address).get("/short").expect_problem(504);
    for nonsense in ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n", ""] {
        let broken = Origin::answering_then_closing(nonsense);
        house(&app, broken.address).get("/plain/a").expect_problem(502);
    }
    let long =
        format!("HTTP/1.1 200 OK\r\nx-user: {}\r\ncontent-length: 0\r\n\r\n", "u".repeat(9000));
    let long = Origin::answering(long);
    house(&app, long.address).get("/plain/a").expect_problem(502);
    assert!(app.requests().is_empty());
}

#[test]
fn verdicts_are_remembered_by_the_key_and_failures_never() {
    let (app, auth) = (Origin::saying("\"in\""), service());
    let gateway = house(&app, auth.address);
    // One connection is one core.
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.get("/cached/a", &[("Authorization", "one")]).expect(200);
        client.get("/cached/a", &[("Authorization", "two"), ("x-want", "403")]).expect(403);
    }
    assert_eq!(auth.requests().len(), 2, "once for each key");
    assert!(app.requests().iter().all(|sent| sent.all("x-user") == ["ada"]));
    client.get("/cached/b", &[("Authorization", "one")]).expect(200);
    assert_eq!(auth.requests().len(), 3, "another path is another key");
    for _ in 0..2 {
        client.get("/cached/a", &[("Authorization", "three"), ("x-want", "500")]).expect(502);
        client.get("/cached/a", &[]).expect(200);
    }
    assert_eq!(
        auth.requests().len(),
        7,
        "neither a failure nor a request without a key is remembered"
    );
    client.send("DELETE /cached/a HTTP/1.1\r\nHost: test\r\nAuthorization: one\r\n\r\n");
    client.response().expect(200);
    assert_eq!(auth.requests().len(), 8, "who may read may not therefore delete");
    for _ in 0..2 {
        let twice = [("Authorization", "one"), ("Authorization", "two"), ("x-want", "403")];
        client.get("/cached/a", &twice).expect(403);
    }
    assert_eq!(auth.requests().len(), 10, "the first of two credentials says nothing of the other");
}

#[test]
fn no_template_reads_what_the_client_says_of_itself() {
    let (app, auth) = (Origin::saying("\"in\""), service());
    let edited = CONFIG.replace(
        "match = \"/plain/{*rest}\"",
        "match = \"/plain/{*rest}\"\nrequest_headers = { set = { x-seen = \"{header.x-user?}\" } }",
    );
    assert_ne!(edited, CONFIG);
    let gateway = gateway(&edited).with("app", app.address).with("auth", auth.address).start();
    gateway.get_with("/plain/a", &[("x-user", "root")]).expect(200);
    assert!(app.requests()[0].all("x-seen").iter().all(|seen| seen.is_empty()));
}

#[test]
fn what_is_asked_twice_at_once_on_a_core_is_asked_once() {
    let gate = Gate::new();
    let app = Origin::saying("\"in\"");
    let opened = gate.clone();
    let auth = Origin::script(move |_| {
        opened.wait();
        vec![Step::Send(answer(200, &[("x-user", "ada")], b""))]
    });
    let text = format!("workers = 1\n{CONFIG}");
    let gateway = gateway(&text).with("app", app.address).with("auth", auth.address).start();
    std::thread::scope(|scope| {
        let ask =
            |_| scope.spawn(|| gateway.get_with("/cached/a", &[("Authorization", "one")]).status);
        let asking: Vec<_> = (0..10).map(ask).collect();
        auth.wait_for(1);
        gate.open();
        assert!(asking.into_iter().all(|one| one.join().unwrap() == 200));
    });
    assert_eq!(auth.requests().len(), 1);
    assert_eq!(app.requests().len(), 10);
}
