//! An entity tag over the merged answer, and clients that have the answer already.
//!
//! RFC 9110 §8.8, §13.1.2, §15.4.5.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};

fn merging(origin: &Origin, more: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET,POST /\"\netag = true\n\
         [route.merge]\na = {{ get = \"api /a\", headers = [\"cache-control\", \"x-a\"] }}\n{more}"
    );
    gateway(&text).with("api", origin.address).start()
}

#[test]
fn a_client_that_has_the_answer_gets_304_until_it_changes() {
    let version = AtomicUsize::new(0);
    let origin = Origin::script(move |_| {
        let body = format!("{{\"n\":{}}}", version.fetch_add(1, Ordering::Relaxed) / 4);
        let fields = [("cache-control", "private"), ("content-type", "application/json")];
        vec![Step::Send(answer(200, &fields, body.as_bytes()))]
    });
    let gateway = merging(&origin, "");
    let mut client = gateway.connect();
    let first = client.get("/", &[]).expect(200);
    let tag = first.field("etag").unwrap().to_owned();
    assert!(tag.len() == 34 && tag.starts_with('"'), "{tag}");
    for condition in [tag.clone(), format!("\"x\", W/{tag}")] {
        let response = client.get("/", &[("if-none-match", &condition)]).expect(304);
        assert_eq!(response.body, b"");
        assert_eq!(response.field("etag"), Some(tag.as_str()));
        assert_eq!(response.field("cache-control"), Some("private"));
        assert_eq!(response.field("content-type"), None);
        assert!(response.field("date").is_some());
    }
    let response = client.get("/", &[("if-none-match", "\"x\"")]).expect(200);
    assert_eq!(
        (response.text().as_str(), response.field("etag")),
        ("{\"a\":{\"n\":0}}", Some(&*tag))
    );
    let changed = client.get("/", &[("if-none-match", &tag)]).expect(200);
    assert_eq!(changed.text(), "{\"a\":{\"n\":1}}");
    assert_ne!(changed.field("etag"), Some(tag.as_str()));
}

#[test]
fn the_tag_is_the_same_in_every_process() {
    let origin = Origin::saying("[1, 2]");
    let tag = |gateway: Gateway| gateway.get("/").expect(200).field("etag").unwrap().to_owned();
    assert_eq!(tag(merging(&origin, "")), tag(merging(&origin, "")));
}

#[test]
fn head_has_the_tag_of_get_and_its_conditions() {
    let origin = Origin::saying("[1]");
    let gateway = merging(&origin, "");
    let mut client = gateway.connect();
    let get = client.get("/", &[]).expect(200);
    let tag = get.field("etag").unwrap();
    let head = client.call("HEAD", "/", &[], b"").expect(200);
    assert_eq!(head.field("etag"), Some(tag));
    assert_eq!(head.field("content-length"), get.field("content-length"));
    client.call("HEAD", "/", &[("if-none-match", tag)], b"").expect(304);
}

#[test]
fn other_methods_and_partial_answers_have_no_tag() {
    let origin = Origin::script(|request| {
        let failed = request.target == "/b";
        vec![Step::Send(if failed { answer(500, &[], b"") } else { ok("1") })]
    });
    let gateway = merging(&origin, "");
    let mut client = gateway.connect();
    let post = client.call("POST", "/", &[("if-none-match", "*")], b"").expect(200);
    assert_eq!(post.field("etag"), None);
    client.get("/", &[("if-none-match", "*")]).expect(304);
    let partial = merging(&origin, "b = { get = \"api /b\", else = 0 }\n");
    let response = partial.get_with("/", &[("if-none-match", "*")]).expect(200);
    assert_eq!(response.text(), "{\"a\":1,\"b\":0}");
    assert_eq!(response.field("etag"), None);
}
