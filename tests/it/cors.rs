//! Pages of other origins: what browsers are told (Fetch standard, "HTTP extensions").
//!
//! The client here says what a browser would say, and the test checks what the standard would have a browser do
//! with the answer. A page that may not read an answer must never find a permission in it.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::tokens::{Signer, bearer, claims};
use crate::support::wire::Response;

const APP: (&str, &str) = ("Origin", "https://app.example.com");

fn with_cors(origin: &Origin, cors: &str, more: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"/{{*rest}}\"\nforward = \"api\"\ncors = {cors}\n{more}"
    );
    gateway(&text).with("api", origin.address).start()
}

fn preflight(gateway: &Gateway, target: &str, fields: &[(&str, &str)]) -> Response {
    gateway.connect().call("OPTIONS", target, fields, b"")
}

fn asks(method: &'static str) -> (&'static str, &'static str) {
    ("Access-Control-Request-Method", method)
}

#[test]
fn a_preflight_is_answered_by_the_gateway_and_never_reaches_the_origin() {
    let origin = Origin::saying("{}");
    let gateway = with_cors(&origin, "\"https://app.example.com\"", "");
    let fields =
        [APP, asks("PUT"), ("Access-Control-Request-Headers", "Content-Type, authorization")];
    let response = preflight(&gateway, "/a", &fields).expect(204);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(response.field("access-control-allow-methods"), Some("PUT"));
    assert_eq!(response.field("access-control-allow-headers"), Some("authorization, content-type"));
    assert_eq!(response.field("access-control-max-age"), Some("600"));
    assert_eq!(response.field("access-control-allow-credentials"), None);
    let vary = response.field("vary").expect("Vary");
    for name in ["origin", "access-control-request-method", "access-control-request-headers"] {
        assert!(vary.contains(name), "{vary}");
    }
    assert!(response.body.is_empty());
    assert_eq!(origin.requests().len(), 0);
    // An OPTIONS that is no preflight is the origin's business, like every other method.
    gateway.connect().call("OPTIONS", "/a", &[APP], b"").expect(200);
    assert_eq!(origin.request().method, "OPTIONS");
}

#[test]
fn a_preflight_needs_no_token_and_the_refusal_of_what_follows_can_be_read() {
    let secret = "0123456789abcdef0123456789abcdef";
    let text = format!(
        "[jwt.key]\nsecret = \"{secret}\"\n[limit.one]\nrate = \"1/m\"\nburst = 1\nkey = \"{{client.address}}\"\n\
         [default]\ncors = \"https://app.example.com\"\njwt = \"key\"\nlimit = \"one\"\n\
         [[route]]\nmatch = \"GET /a\"\nrespond = {{ body = \"in\" }}\n"
    );
    let gateway = gateway(&text).start();
    for _ in 0..3 {
        preflight(&gateway, "/a", &[APP, asks("GET")]).expect(204);
    }
    let refused = gateway.get_with("/a", &[APP]).expect_problem(401);
    assert_eq!(refused.field("access-control-allow-origin"), Some("https://app.example.com"));
    let (name, value) = bearer(&Signer::hs256("k", secret).sign(&claims("42")));
    let limited = gateway.get_with("/a", &[APP, (name, &value)]).expect_problem(429);
    assert_eq!(limited.field("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(limited.field("vary"), Some("origin"));
}

#[test]
fn a_preflight_from_a_refused_network_or_to_a_closed_route_is_refused() {
    let route = |path: &str, allow: &str| {
        format!(
            "[[route]]\nmatch = \"GET {path}\"\nrespond = {{ body = \"in\" }}\nallow = {allow}\n"
        )
    };
    let text = format!(
        "[default]\ncors = \"https://app.example.com\"\n{}{}{}{}",
        route("/far", "{ networks = \"!127.0.0.0/8\" }"),
        route("/either", "[{ networks = \"10.0.0.0/8\" }, { networks = \"192.0.2.1\" }]"),
        route("/closed", "\"nobody\""),
        route("/near", "{ networks = \"127.0.0.0/8\" }"),
    );
    let gateway = gateway(&text).start();
    let denied = ["/far", "/either", "/closed"];
    for path in denied {
        let refused = preflight(&gateway, path, &[APP, asks("GET")]).expect_problem(403);
        assert_eq!(refused.field("access-control-allow-methods"), None, "{path}");
    }
    let lines = gateway.access_log(denied.len());
    let mut reasons: Vec<_> = lines.iter().filter_map(|line| line["reason"].as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["closed", "network_refused", "network_refused"]);
    preflight(&gateway, "/near", &[APP, asks("GET")]).expect(204);
}

#[test]
fn the_route_of_a_preflight_is_that_of_the_method_it_asks_for() {
    let text = "[[route]]\nmatch = \"GET /a\"\nrespond = { body = \"get\" }\ncors = \"https://get.example.com\"\n\
                [[route]]\nmatch = \"PUT /a\"\nrespond = { body = \"put\" }\ncors = \"https://put.example.com\"\n";
    let gateway = gateway(text).start();
    let ask = |origin: &str, method| {
        preflight(&gateway, "/a", &[("Origin", origin), asks(method)]).status
    };
    assert_eq!(ask("https://get.example.com", "GET"), 204);
    assert_eq!(ask("https://put.example.com", "GET"), 403);
    assert_eq!(ask("https://put.example.com", "PUT"), 204);
    assert_eq!(ask("https://get.example.com", "PUT"), 403);
    // No route takes it: what OPTIONS itself would get.
    assert_eq!(ask("https://get.example.com", "DELETE"), 405);
}

#[test]
fn a_refused_preflight_says_why() {
    let origin = Origin::saying("{}");
    let rules = "{ origins = [\"https://app.example.com\"], methods = [\"GET\", \"PUT\"], headers = [\"x-a\"] }";
    let gateway = with_cors(&origin, rules, "");
    let evil = ("Origin", "https://app.example.com.evil");
    let header = ("Access-Control-Request-Headers", "x-a,x-b");
    let network = ("Access-Control-Request-Private-Network", "true");
    for (fields, reason, word) in [
        (vec![evil, asks("PUT")], "cors_origin", "origin"),
        (vec![APP, asks("DELETE")], "cors_method", "Access-Control-Allow-Methods"),
        (vec![APP, asks("PUT"), header], "cors_header", "Access-Control-Allow-Headers"),
        (vec![APP, asks("PUT"), network], "cors_private_network", "private_network"),
    ] {
        let response = preflight(&gateway, "/a", &fields).expect_problem(403);
        let detail = response.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains("preflight") && detail.contains(word), "{detail}");
        let lines = gateway.access_log(1);
        assert_eq!(lines.last().expect("a line")["reason"], reason);
        std::fs::write(gateway.folder.path().join("access.log"), "").expect("emptied");
    }
    let refused = preflight(&gateway, "/a", &[APP, asks("DELETE")]).expect(403);
    assert_eq!(refused.field("access-control-allow-methods"), Some("GET, PUT"));
    let refused = preflight(&gateway, "/a", &[evil, asks("PUT")]).expect(403);
    assert_eq!(refused.field("access-control-allow-origin"), None);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn an_answer_names_its_origin_and_varies_by_it() {
    let theirs = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "x-inner"),
        ("Vary", "accept"),
        ("X-Kept", "1"),
    ];
    let said = answer(200, &theirs, b"{}");
    let origin = Origin::script(move |_| vec![Step::Send(said.clone())]);
    let rules = "{ origins = [\"https://*.example.com\"], credentials = true, expose = [\"x-kept\", \"etag\"] }";
    let gateway = with_cors(&origin, rules, "");
    let response = gateway.get_with("/a", &[APP]).expect(200);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(response.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(response.field("access-control-expose-headers"), Some("x-kept, etag"));
    assert_eq!(response.all("vary"), ["accept", "origin"]);
    assert_eq!(response.field("x-kept"), Some("1"));
    // Whoever is not allowed, or no page at all, gets the answer and no permission to show it.
    for fields in [vec![], vec![("Origin", "https://evil.com")], vec![("Origin", "null")]] {
        let response = gateway.get_with("/a", &fields).expect(200);
        assert_eq!(response.field("access-control-allow-origin"), None);
        assert_eq!(response.field("access-control-allow-credentials"), None);
        assert_eq!(response.all("vary"), ["accept", "origin"]);
    }
}

#[test]
fn everybody_means_everybody_and_needs_no_vary() {
    let origin = Origin::saying("{}");
    let gateway = with_cors(&origin, "{ origins = \"*\", headers = \"*\", expose = \"*\" }", "");
    for fields in [vec![], vec![APP]] {
        let response = gateway.get_with("/a", &fields).expect(200);
        assert_eq!(response.field("access-control-allow-origin"), Some("*"));
        assert_eq!(response.field("access-control-expose-headers"), Some("*"));
        assert_eq!(response.field("vary"), None);
    }
    let asked = ("Access-Control-Request-Headers", "X-One, x-two");
    let response = preflight(&gateway, "/a", &[APP, asks("PATCH"), asked]).expect(204);
    assert_eq!(response.field("access-control-allow-headers"), Some("X-One, x-two"));
    let odd = ("Access-Control-Request-Headers", "x one");
    preflight(&gateway, "/a", &[APP, asks("PATCH"), odd]).expect(403);
}

#[test]
fn private_networks_are_opened_by_name() {
    let origin = Origin::saying("{}");
    let rules =
        "{ origins = [\"https://app.example.com\"], private_network = true, max_age = \"0s\" }";
    let gateway = with_cors(&origin, rules, "");
    let network = ("Access-Control-Request-Private-Network", "true");
    let response = preflight(&gateway, "/a", &[APP, asks("PUT"), network]).expect(204);
    assert_eq!(response.field("access-control-allow-private-network"), Some("true"));
    assert_eq!(response.field("access-control-max-age"), Some("0"));
    let response = preflight(&gateway, "/a", &[APP, asks("PUT")]).expect(204);
    assert_eq!(response.field("access-control-allow-private-network"), None);
}

#[test]
fn a_route_opts_out_of_the_default_by_name() {
    let text = "[default]\ncors = \"https://app.example.com\"\n[[route]]\nmatch = \"GET /a\"\nrespond = { body = \"a\" }\n\
                [[route]]\nmatch = \"GET /b\"\nrespond = { body = \"b\" }\ncors = \"none\"\n";
    let gateway = gateway(text).start();
    let allowed = "access-control-allow-origin";
    assert!(gateway.get_with("/a", &[APP]).expect(200).field(allowed).is_some());
    assert!(gateway.get_with("/b", &[APP]).expect(200).field(allowed).is_none());
    preflight(&gateway, "/a", &[APP, asks("GET")]).expect(204);
    preflight(&gateway, "/b", &[APP, asks("GET")]).expect(405);
}

#[test]
fn a_merged_answer_and_its_failure_can_be_read_by_pages() {
    let origin = Origin::script(|request| {
        let status = if request.target == "/bad" { 500 } else { 200 };
        vec![Step::Send(answer(status, &[("Content-Type", "application/json")], b"{}"))]
    });
    let text = "[upstream.api]\nendpoints = [\"@api@\"]\n[default]\ncors = \"https://app.example.com\"\n\
                [[route]]\nmatch = \"GET /{name}\"\n[route.merge]\na = { get = \"api /{path.name}\" }\n";
    let gateway = gateway(text).with("api", origin.address).start();
    for (target, status) in [("/good", 200), ("/bad", 502)] {
        let response = gateway.get_with(target, &[APP]).expect(status);
        let allowed = response.field("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example.com"), "{target}");
        assert_eq!(response.field("vary"), Some("origin"));
    }
}
