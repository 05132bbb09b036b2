//! Tokens and subjects that Redis knows as revoked: asked once, remembered for a while, closed while it is away.
//!
//! What is remembered has no end within a test where that is not its subject: `ttl = "1h"`.

use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::redis::Redis;
use crate::support::tokens::{Signer, claims, unix_now};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn house(origin: &Origin, redis: &Redis, rules: &str) -> Gateway {
    let config = format!(
        "workers = 1\n[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n[upstream.app]\nendpoints = [\"@app@\"]\n\
         [jwt.idp]\nsecret = \"{SECRET}\"\nrevoked_store = {{ {rules} }}\n\
         [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\njwt = \"idp\"\n",
        redis.address
    );
    let gateway = gateway(&config).with("app", origin.address).start();
    connected(&gateway, 1.0);
    gateway
}

fn connected(gateway: &Gateway, cores: f64) {
    eventually("the store is seen", || {
        gateway.metric("ringway_limit_store_connections", &[]) == cores
    });
}

/// A token of this subject; `None` leaves a claim out.
fn token(id: Option<&str>, subject: Option<&str>, issued: Option<i64>) -> String {
    let mut claims = claims("x");
    let all = claims.as_object_mut().unwrap();
    for name in ["jti", "sub", "iat"] {
        all.remove(name);
    }
    id.map(|id| all.insert("jti".into(), json!(id)));
    subject.map(|subject| all.insert("sub".into(), json!(subject)));
    issued.map(|issued| all.insert("iat".into(), json!(issued)));
    Signer::hs256("k", SECRET).sign(&claims)
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.get_with("/", &[("Authorization", &format!("Bearer {token}"))]).status
}

#[test]
fn a_token_or_subject_that_the_store_knows_is_refused() {
    let (origin, redis) = (Origin::saying("in"), Redis::start());
    let gateway = house(&origin, &redis, "ttl = \"1h\"");
    let now = unix_now();
    for (key, value) in [("jti:t1", "1"), ("sub:alice", "all"), ("sub:odd one", "1")] {
        redis.say(&format!("SET \"ringway:revoked:{key}\" \"{value}\"\r\n")).unwrap();
    }
    redis.say(&format!("SET ringway:revoked:sub:bob {}\r\n", now - 100)).unwrap();
    for (token, expected) in [
        (token(Some("t1"), Some("carol"), Some(now)), 401),
        (token(Some("t2"), Some("carol"), Some(now)), 200),
        (token(Some("t3"), Some("alice"), Some(now)), 401),
        (token(None, Some("alice"), None), 401),
        (token(Some("t4"), Some("bob"), Some(now - 200)), 401),
        (token(Some("t4"), Some("bob"), Some(now - 50)), 200),
        (token(Some("t4"), Some("bob"), None), 401),
        (token(Some("t5"), None, None), 200),
        (token(None, None, Some(now)), 401),
        (token(Some("t\r\nDEL x"), Some("carol"), None), 200),
    ] {
        assert_eq!(status(&gateway, &token), expected, "{token}");
    }
    assert_eq!(gateway.access_log(1)[0]["reason"], "token_revoked");
    assert!(!gateway.stderr().contains("panic"));
}

#[test]
fn its_word_is_remembered_and_forgotten_again() {
    let (origin, redis) = (Origin::saying("in"), Redis::start());
    let remembering = house(&origin, &redis, "ttl = \"1h\"");
    let forgetting = house(&origin, &redis, "ttl = \"1ms\"");
    let token = token(Some("t1"), Some("alice"), None);
    assert_eq!((status(&remembering, &token), status(&forgetting, &token)), (200, 200));
    redis.say("SET ringway:revoked:jti:t1 1\r\n").unwrap();
    eventually("the revoked token to be refused", || status(&forgetting, &token) == 401);
    assert_eq!(status(&remembering, &token), 200, "its hour is not over");
    redis.say("DEL ringway:revoked:jti:t1\r\n").unwrap();
    eventually("the token to be good again", || status(&forgetting, &token) == 200);
}

#[test]
fn while_the_store_is_away_the_route_is_closed_unless_it_says_otherwise() {
    let (origin, mut redis) = (Origin::saying("in"), Redis::start());
    let closed = house(&origin, &redis, "ttl = \"1h\"");
    let open = house(&origin, &redis, "ttl = \"1h\", away = \"allow\"");
    let (known, new) =
        (token(Some("t1"), Some("alice"), None), token(Some("t2"), Some("alice"), None));
    assert_eq!(status(&closed, &known), 200);
    redis.kill();
    connected(&closed, 0.0);
    connected(&open, 0.0);
    let refused = closed.get_with("/", &[("Authorization", &format!("Bearer {new}"))]);
    let refused = refused.expect_problem(503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(closed.access_log(2)[1]["reason"], "revocation_store_away");
    assert_eq!((status(&closed, &known), status(&open, &new)), (200, 200));
    redis.revive();
    redis.say("SET ringway:revoked:jti:t2 1\r\n").unwrap();
    connected(&closed, 1.0);
    connected(&open, 1.0);
    assert_eq!((status(&closed, &new), status(&open, &new)), (401, 401));
}
