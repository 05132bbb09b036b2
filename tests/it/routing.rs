//! Which route wins, what is forwarded, and that no spelling of a path slips past a route's policies.
//!
//! CONFIG.md rules 2 and 3. A request that no route matches is never forwarded.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;

/// A route that answers with its own name.
fn named(name: &str, matching: &str, further: &str) -> String {
    format!(
        "[[route]]\nmatch = \"{matching}\"\n{further}\nrespond = {{ status = 200, body = \"{name}\" }}\n\n"
    )
}

#[track_caller]
fn goes_to(gateway: &Gateway, host: &str, target: &str, fields: &[(&str, &str)], route: &str) {
    let mut all = vec![("Host", host)];
    all.extend(fields);
    let response = gateway.get_with(target, &all).expect(200);
    assert_eq!(response.text(), route, "{host}{target} {fields:?}");
}

#[test]
fn an_exact_host_wins_over_a_wildcard_over_none() {
    let routes = [
        named("any", "/{*rest}", ""),
        named("wild", "*.example.com/{*rest}", ""),
        named("exact", "api.example.com/{*rest}", ""),
    ];
    let gateway = gateway(&routes.concat()).start();
    goes_to(&gateway, "api.example.com", "/x", &[], "exact");
    goes_to(&gateway, "API.Example.COM", "/x", &[], "exact");
    goes_to(&gateway, "api.example.com:8080", "/x", &[], "exact");
    goes_to(&gateway, "www.example.com", "/x", &[], "wild");
    goes_to(&gateway, "example.com", "/x", &[], "any");
    goes_to(&gateway, "other.org", "/x", &[], "any");
    goes_to(&gateway, "evilexample.com", "/x", &[], "any");
}

#[test]
fn a_literal_segment_wins_over_a_parameter_over_the_rest() {
    let routes = [
        named("rest", "/{*rest}", ""),
        named("param", "/users/{id}", ""),
        named("literal", "/users/me", ""),
        named("deep", "/users/{id}/orders", ""),
        named("users-rest", "/users/{*rest}", ""),
    ];
    let gateway = gateway(&routes.concat()).start();
    for (target, route) in [
        ("/", "rest"),
        ("/users/me", "literal"),
        ("/users/me?x=/users/7", "literal"),
        ("/users/7", "param"),
        ("/users/7/orders", "deep"),
        ("/users/7/else", "users-rest"),
        ("/users/me/orders", "deep"),
        ("/usersx", "rest"),
    ] {
        goes_to(&gateway, "test", target, &[], route);
    }
}

#[test]
fn more_conditions_win_over_fewer_and_the_file_decides_the_rest() {
    let routes = [
        named("none", "/x", ""),
        named("header", "/x", "when = { header = { x-client = \"mobile\" } }"),
        named("both", "/x", "when = { header = { x-client = \"mobile\" }, query = { v = \"2\" } }"),
        named("query", "/x", "when = { query = { v = \"2\" } }"),
    ];
    let gateway = gateway(&routes.concat()).start();
    goes_to(&gateway, "test", "/x", &[], "none");
    goes_to(&gateway, "test", "/x", &[("X-Client", "mobile")], "header");
    goes_to(&gateway, "test", "/x", &[("X-Client", "desktop")], "none");
    goes_to(&gateway, "test", "/x?v=2", &[], "query");
    goes_to(&gateway, "test", "/x?a=1&v=2", &[("X-Client", "mobile")], "both");
}

#[test]
fn methods_choose_among_routes_of_one_path() {
    let routes = [named("read", "GET,HEAD /x", ""), named("write", "POST /x", "")];
    let gateway = gateway(&routes.concat()).start();
    let mut client = gateway.connect();
    assert_eq!(client.call("GET", "/x", &[], b"").expect(200).text(), "read");
    assert_eq!(client.call("POST", "/x", &[], b"").expect(200).text(), "write");
    assert!(client.call("HEAD", "/x", &[], b"").expect(200).body.is_empty());
    let refused = client.call("DELETE", "/x", &[], b"");
    assert!(matches!(refused.status, 404 | 405), "{}", refused.status);
    if refused.status == 405 {
        let allow = refused.field("allow").expect("a 405 names what is allowed (RFC 9110 §15.5.6)");
        assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    }
}

#[test]
fn what_no_route_matches_is_a_404_and_goes_nowhere() {
    let origin = Origin::saying("never");
    let config = "[upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"api.test/a/{id}\"\nforward = \"app\"\n";
    let gateway = gateway(config).with("app", origin.address).start();
    for (host, target) in
        [("api.test", "/"), ("api.test", "/a"), ("api.test", "/a/1/2"), ("b", "/a/1")]
    {
        gateway.get_with(target, &[("Host", host)]).expect_problem(404);
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_target_goes_on_byte_for_byte_unless_it_is_rewritten() {
    let origin = Origin::saying("");
    let config = "[upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    let gateway = gateway(config).with("app", origin.address).start();
    let targets =
        ["/a%20b?x=%2F&y=a+b", "/%7Euser/caf%C3%A9", "/x?", "/a:b@c!$&'()*+,=", "/?a/../b"];
    for target in targets {
        gateway.get(target).expect(200);
    }
    let seen: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, targets);
}

#[test]
fn a_forward_with_a_path_rewrites_it_and_keeps_the_query() {
    let origin = Origin::saying("");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/orders/{*rest}"
forward = "app /v2/{*rest}"

[[route]]
match = "/users/{id}/profile"
forward = "app /profiles/{path.id}"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    gateway.get("/orders/7/items?page=2").expect(200);
    gateway.get("/users/ann%20b/profile").expect(200);
    let seen: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/v2/7/items?page=2", "/profiles/ann%20b"]);
}

#[test]
fn no_spelling_of_a_path_slips_past_a_protected_route() {
    let origin = Origin::saying("secret");
    let config = r#"
[upstream.app]
endpoints = ["@app@"]

[jwt.key]
secret = "0123456789abcdef0123456789abcdef"

[[route]]
match = "/admin/{*rest}"
forward = "app"
jwt = "key"

[[route]]
match = "/{*rest}"
forward = "app"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    let spellings = [
        "/admin/a",
        "/%61dmin/a",
        "/%41dmin/../admin/a",
        "//admin/a",
        "/./admin/a",
        "/x/../admin/a",
        "/x/%2e%2e/admin/a",
        "/x/..%2fadmin/a",
        "/x/%2E./admin/a",
        "/admin%2fa",
        "/admin%2Fa",
        "/admin;v=1/a",
        "/x;/../admin/a",
        "/x/..;/admin/a",
        "/admin%00/a",
        "/admin\\a",
        "/x\\..\\admin/a",
        "/%2e/admin/a",
        "/x/.%2e/admin/a",
        "/admin//a",
        "/%5c..%5cadmin/a",
        "http://test/admin/a",
        "http://test//admin/a",
        "/x/%252e%252e/admin/a",
    ];
    for target in spellings {
        let mut client = gateway.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let status = client.response().status;
        let doubly_encoded = target.contains("%25");
        let allowed = matches!(status, 400 | 401 | 403 | 404) || doubly_encoded && status == 200;
        assert!(allowed, "{target} got {status}");
    }
    let slipped: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert!(slipped.iter().all(|target| target.contains("%252e")), "{slipped:?}");
}

#[test]
fn a_listener_may_resolve_and_merge_what_it_refuses_by_default() {
    let origin = Origin::saying("");
    let config = r#"
[[listen]]
address = "@LISTEN@"
path = { dot_segments = "resolve", empty_segments = "merge", encoded_slash = "keep", semicolon = "keep" }

[upstream.app]
endpoints = ["@app@"]

[[route]]
match = "/admin/{*rest}"
respond = { status = 403, body = "closed" }

[[route]]
match = "/{*rest}"
forward = "app"
"#;
    let gateway = gateway(config).with("app", origin.address).start();
    for hidden in
        ["/x/../admin/a", "//admin/a", "/x/%2e%2e/admin//a", "/./admin/a", "/x/..//admin/a"]
    {
        assert_eq!(gateway.get(hidden).expect(403).text(), "closed", "{hidden}");
    }
    for target in ["/a/../b?q=/../", "/a//b", "/a%2Fb", "/a;v=1/b"] {
        gateway.get(target).expect(200);
    }
    let seen: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/b?q=/../", "/a/b", "/a%2Fb", "/a;v=1/b"]);
    // The other ways to write a head, where nothing of the old spelling may be left behind either.
    let mut client = gateway.connect();
    client.send("GET http://other.example/a/../b/./c?x HTTP/1.1\r\nHost: test\r\nX-A: 1\r\n\r\n");
    client.response().expect(200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.target.as_str(), seen.field("host")), ("/b/c?x", Some("other.example")));
    let mut client = gateway.connect();
    client.send("POST /a/../b HTTP/1.0\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nhi");
    client.response().expect(200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/b"));
    assert_eq!((seen.field("x-a"), seen.text().as_str()), (Some("1"), "hi"));
    gateway.get("/x/%00").expect_problem(400);
}

#[test]
fn a_redirect_fills_its_template() {
    let config = "[[route]]\nmatch = \"GET /old/{*rest}\"\nredirect = { to = \"/new/{path.rest}\", status = 308 }\n";
    let gateway = gateway(config).start();
    let response = gateway.get("/old/a/b%20c").expect(308);
    assert_eq!(response.field("location"), Some("/new/a/b%20c"));
    let response = gateway.get("/old/%0d%0aSet-Cookie:x=1");
    assert_eq!(response.field("set-cookie"), None);
}

#[test]
fn a_respond_route_answers_by_itself() {
    let gateway = gateway(&named("pong", "/ping", "")).start();
    let response = gateway.get("/ping").expect(200);
    assert_eq!((response.text().as_str(), response.field("content-length")), ("pong", Some("4")));
}

#[test]
fn a_thousand_routes_are_each_found() {
    let routes: String =
        (0..1000).map(|n| named(&format!("r{n}"), &format!("/api/r{n}/{{*rest}}"), "")).collect();
    let gateway = gateway(&routes).start();
    let mut client = gateway.connect();
    for n in [0, 1, 499, 998, 999] {
        assert_eq!(client.get(&format!("/api/r{n}/x"), &[]).expect(200).text(), format!("r{n}"));
    }
    client.get("/api/r1000/x", &[]).expect_problem(404);
}

#[test]
fn several_listeners_and_a_unix_socket_serve_the_same_routes() {
    let port = crate::support::gateway::Port::reserve();
    let config = format!(
        "[[listen]]\naddress = \"@LISTEN@\"\n[[listen]]\naddress = \"127.0.0.1:{}\"\n\
         [[listen]]\naddress = \"unix:@DIR@/ringway.sock\"\n{}",
        port.number,
        named("here", "/x", "")
    );
    let gateway = gateway(&config).start();
    assert_eq!(gateway.get("/x").expect(200).text(), "here");
    let second = std::net::SocketAddr::from(([127, 0, 0, 1], port.number));
    assert_eq!(
        crate::support::wire::Wire::connect(second).get("/x", &[]).expect(200).text(),
        "here"
    );
    let mut unix = UnixStream::connect(gateway.folder.path().join("ringway.sock")).unwrap();
    unix.write_all(b"GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhere"), "{answer}");
}

#[test]
fn a_redirection_may_change_the_scheme_or_the_host_alone() {
    let text = "[[route]]\nmatch = \"old.test/{*rest}\"\nredirect = { host = \"new.test:8443\", status = 301 }\n\
        [[route]]\nmatch = \"plain.test/{*rest}\"\nredirect = { scheme = \"https\", status = 308 }\n\
        [[route]]\nmatch = \"both.test/{*rest}\"\nredirect = { scheme = \"https\", host = \"new.test\", to = \"/v2/{path.rest}\", query = \"drop\" }\n";
    let gateway = gateway(text).start();
    for (host, target, status, location) in [
        ("old.test", "/a%20b?x=1", 301, "http://new.test:8443/a%20b?x=1"),
        ("plain.test:8080", "/a?x=1", 308, "https://plain.test/a?x=1"),
        ("plain.test", "/", 308, "https://plain.test/"),
        ("both.test", "/a/b?x=1", 307, "https://new.test/v2/a/b"),
    ] {
        let response = gateway.get_with(target, &[("Host", host)]).expect(status);
        assert_eq!(response.field("location"), Some(location), "{host}");
    }
}

#[test]
fn a_redirection_to_the_clients_own_host_needs_one() {
    let text = "[[route]]\nmatch = \"/{*rest}\"\nredirect = { scheme = \"https\" }\n";
    let gateway = gateway(text).start();
    let mut client = gateway.connect();
    client.send("GET //evil.test/x HTTP/1.0\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("location")), (400, None), "{:?}", refused.fields);
}
