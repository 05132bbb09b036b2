//! Routes that are closed for a while, by a reload or by a file.
//!
//! RFC 9110 §15.6.4, §10.2.3. A closed route must never reach its origin.

use std::fs;

use crate::support::eventually;
use crate::support::gateway::gateway;
use crate::support::origin::Origin;

#[test]
fn a_file_closes_and_opens_the_whole_gateway() {
    let origin = Origin::saying("{}");
    let text = "[upstream.api]\nendpoints = [\"@api@\"]\n\
        [default]\nmaintenance = { file = \"@DIR@/closed\", retry_after = \"90s\", body = \"back soon\", headers = { x-why = \"upgrade\" } }\n\
        [[route]]\nmatch = \"/api\"\nforward = \"api\"\n\
        [[route]]\nmatch = \"/health\"\nrespond = { body = \"ok\" }\nmaintenance = \"none\"\n";
    let gateway = gateway(text).with("api", origin.address).start();
    gateway.get("/api").expect(200);
    let file = gateway.folder.path().join("closed");
    fs::write(&file, "").unwrap();
    eventually("the gateway to close", || gateway.get("/api").status == 503);
    let seen = origin.requests().len();
    let closed = gateway.get("/api").expect(503);
    assert_eq!(closed.field("retry-after"), Some("90"));
    assert_eq!(closed.field("x-why"), Some("upgrade"));
    assert_eq!(closed.field("cache-control"), Some("no-store"));
    assert_eq!(closed.text(), "back soon");
    gateway.get("/health").expect(200);
    assert_eq!(origin.requests().len(), seen);
    fs::remove_file(&file).unwrap();
    eventually("the gateway to open", || gateway.get("/api").status == 200);
    let lines = gateway.access_log(3);
    assert!(lines.iter().any(|line| line["reason"] == "maintenance" && line["status"] == 503));
}

#[test]
fn a_reload_closes_and_opens_a_route_and_operators_pass() {
    let open = "[[route]]\nmatch = \"/a\"\nrespond = { body = \"in\" }\n";
    let closed = format!("{open}maintenance = {{ status = 500, retry_after = \"0s\" }}\n");
    let passing = format!("{open}maintenance = {{ allow = [\"127.0.0.0/8\"] }}\n");
    let gateway = gateway(open).start();
    gateway.get("/a").expect(200);
    gateway.rewrite(&closed);
    gateway.signal("HUP");
    // On every core: the next connection may come to another one.
    eventually("the reload", || gateway.stderr().contains("configuration 2 is in force"));
    let answer = gateway.get("/a").expect(500);
    assert_eq!(answer.field("retry-after"), None);
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["status"], 500);
    assert_eq!(answer.json()["request_id"].as_str(), answer.field("x-request-id"));
    gateway.rewrite(&passing);
    gateway.signal("HUP");
    eventually("the route to open for its operators", || gateway.get("/a").status == 200);
}

#[test]
fn a_file_that_is_there_already_holds_from_the_first_request() {
    let text = "[default]\nmaintenance = { file = \"@DIR@/closed\" }\n[[route]]\nmatch = \"/a\"\nrespond = { body = \"in\" }\n";
    let gateway = gateway(text).file("closed", "").start();
    assert_eq!(gateway.get("/a").expect(503).field("retry-after"), Some("300"));
}
