//! Keys: which requests share an answer, and which never do.

use super::*;
use crate::base::buffer::BufferPool;
use crate::http::h1::parse::{self, HeadLimits, Parsed};

fn cache(key: KeyRule) -> Cache {
    Cache {
        space: 7,
        terms: Terms::default(),
        key,
        object_bytes_max: 1000,
        tags: Box::default(),
        stale_while_revalidate: None,
        stale_if_error: None,
        heeds_clients: true,
        machine: Arc::new(Machine::new(1)),
    }
}

fn exchange(target: &str, fields: &str) -> Exchange {
    let pool = BufferPool::new(1);
    let mut x = Exchange::default();
    let mut buf = pool.take().expect("within budget");
    assert!(buf.put(format!("GET {target} HTTP/1.1\r\nhost: A.test\r\n{fields}\r\n").as_bytes()));
    let parsed = parse::request(buf.data(), 0, &HeadLimits::default(), &mut x.head);
    assert!(matches!(parsed, Ok(Parsed::Done)));
    x.bytes = Some(buf);
    x
}

fn key(rule: &KeyRule, target: &str, fields: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    cache(rule.clone()).write_key(&exchange(target, fields), &mut out).map(|_| out)
}

fn names(list: &[&str]) -> Box<[Box<[u8]>]> {
    list.iter().map(|name| name.as_bytes().into()).collect()
}

#[test]
fn requests_share_a_key_exactly_as_the_rule_says() {
    let plain = KeyRule::default();
    let sorted = KeyRule { sorted: true, ..KeyRule::default() };
    let only = KeyRule { query: QueryRule::Only(names(&["a"])), ..KeyRule::default() };
    let without = KeyRule { query: QueryRule::Without(names(&["u"])), ..KeyRule::default() };
    let fields = KeyRule { fields: names(&["x-k"]), ..KeyRule::default() };
    for (rule, one, other, same) in [
        (&plain, ("/a", ""), ("/a", "x-k: 1\r\n"), true),
        (&plain, ("/a", ""), ("/A", ""), false),
        (&plain, ("/a", ""), ("/a?", ""), false),
        (&plain, ("/a?x=1&y=2", ""), ("/a?y=2&x=1", ""), false),
        (&plain, ("/a", ""), ("http://a.TEST/a", ""), true),
        (&plain, ("/a", ""), ("http://a.test:81/a", ""), false),
        (&sorted, ("/a?x=1&y=2", ""), ("/a?y=2&x=1", ""), true),
        (&sorted, ("/a?x=1&x=2", ""), ("/a?x=2&x=1", ""), false),
        (&only, ("/a?a=1&b=2", ""), ("/a?c=3&a=1", ""), true),
        (&only, ("/a?a=1", ""), ("/a?a=2", ""), false),
        (&only, ("/a?aa=1", ""), ("/a?aa=2", ""), true),
        (&without, ("/a?u=1", ""), ("/a", ""), true),
        (&without, ("/a?u=1&x", ""), ("/a?x&u", ""), true),
        (&fields, ("/a", "x-k: 1\r\n"), ("/a", "x-k: 2\r\n"), false),
        (&fields, ("/a", "x-k: 1\r\n"), ("/a", "X-K: 1\r\nx-j: 1\r\n"), true),
    ] {
        let (a, b) = (key(rule, one.0, one.1), key(rule, other.0, other.1));
        assert_eq!(a == b, same, "{rule:?} {one:?} {other:?}");
    }
    let many = format!("/a?{}", "x&".repeat(PARAMETERS_MAX + 1));
    assert!(key(&sorted, &many, "").is_none(), "too many to sort");
    assert!(key(&plain, &many, "").is_some());
    let identity = KeyRule { identity: true, ..KeyRule::default() };
    assert!(key(&identity, "/a", "").is_none(), "who is not known has no key");
}

#[test]
fn what_an_answer_names_is_found_under_its_own_key() {
    let cache = cache(KeyRule::default());
    let mut own = Vec::new();
    let url = cache.write_key(&exchange("/shop/items?x=1", ""), &mut own).expect("a key");
    for (target, path) in [
        ("/shop/7", Some("/shop/7")),
        ("7", Some("/shop/7")),
        ("http://a.test/y?z=1#top", Some("/y?z=1")),
        ("//A.test/y", Some("/y")),
        ("https://a.test", Some("/")),
        ("http://b.test/shop/7", None),
        ("http://a.test:81/", None),
    ] {
        let named = cache.key_of(&own, url, target.as_bytes()).map(|(bytes, _)| bytes);
        assert_eq!(named, path.and_then(|path| key(&KeyRule::default(), path, "")), "{target}");
    }
}
