//! Keys write the same requests as plans do, and rules obey whoever may say no.

use super::*;
use crate::aggregate::plan::Pass;
use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::base::time::{Instant, Wall};
use crate::exchange::template::{Template, TemplateKind};
use crate::http::caching::Use;
use crate::http::h1::parse::{self, HeadLimits};
use crate::http::head::ResponseHead;

fn template(text: &str, kind: TemplateKind) -> Template {
    Template::parse(text, kind, &[]).expect("the template is fine")
}

fn part(target: &str, fields: &[(&str, &str)]) -> Part {
    let target = template(target, TemplateKind::Target);
    let mut part = Part::new(Name::new("a"), UpstreamId(0), target, Duration::from_secs(1));
    let field =
        |(name, value): &(&str, &str)| (Box::from(*name), template(value, TemplateKind::Field));
    part.headers = fields.iter().map(field).collect();
    part
}

fn key(plan: &Plan, space: &[u8]) -> Key {
    let x = Exchange::default();
    let key = Key::of(plan, &plan.parts[0], &x, PartValues::Unknown, space);
    key.expect("no value is missing").expect("a GET of usual length")
}

#[test]
fn a_key_writes_the_request_that_the_plan_writes() {
    let long = format!("/{}", "a".repeat(3000));
    for (target, fields) in [
        ("/", &[][..]),
        ("/orders?user=7&host:%20x", &[("authorization", "Bearer x"), ("x-empty", "")]),
        (long.as_str(), &[("x-request-deadline", "0"), ("accept", "text/plain")]),
    ] {
        let plan = Plan::new(vec![part(target, fields)], Pass::default());
        let (host, added) = (&b"order.internal:80"[..], &b"traceparent: 1\r\n"[..]);
        for left in [0, 9, 287, 60_000] {
            let (left, parts) = (Duration::from_millis(left), PartValues::Unknown);
            let envelope = Envelope { host, left, added, parts, client_body_bytes: 0 };
            let (mut expected, mut written) = (Vec::new(), Vec::new());
            let x = Exchange::default();
            request::write(&plan, &plan.parts[0], &x, &envelope, &mut expected).expect("fine");
            key(&plan, b"s").write(&plan.parts[0], &envelope, &mut written).expect("a Vec grows");
            assert_eq!(written, expected);
        }
    }
}

#[test]
fn whatever_makes_another_answer_makes_another_key() {
    let base = || part("/a", &[]);
    let of = |part: Part, space: &[u8]| {
        key(&Plan::new(vec![part], Pass::default()), space).bytes().to_vec()
    };
    let mut keys = vec![
        of(base(), b"one"),
        of(base(), b"two"),
        of(part("/b", &[]), b"one"),
        of(part("/a", &[("authorization", "x")]), b"one"),
        of(part("/a", &[("authorization", "y")]), b"one"),
    ];
    for change in [
        |part: &mut Part| part.flatten = true,
        |part: &mut Part| part.reply_headers = [Box::from("x")].into(),
        |part: &mut Part| part.bytes_max = 7,
        |part: &mut Part| part.codings = [Box::from("gzip")].into(),
        |part: &mut Part| part.cache = Some(CacheRule::default()),
    ] {
        let mut part = base();
        change(&mut part);
        keys.push(of(part, b"one"));
    }
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
    assert_eq!(of(base(), b"one"), of(base(), b"one"));
}

#[test]
fn only_a_get_of_usual_length_has_a_key() {
    let none = |part: Part| {
        let plan = Plan::new(vec![part], Pass::default());
        let key = Key::of(&plan, &plan.parts[0], &Exchange::default(), PartValues::Unknown, b"");
        assert!(key.expect("no value is missing").is_none());
    };
    let mut post = part("/", &[]);
    post.method = Method::Post;
    none(post);
    none(part(&format!("/{}", "a".repeat(PART_KEY_BYTES_MAX)), &[]));
}

#[test]
fn authorization_is_found_whatever_its_case_and_nowhere_else() {
    let has = |target, fields: &[(&str, &str)]| {
        key(&Plan::new(vec![part(target, fields)], Pass::default()), b"").has_authorization()
    };
    assert!(has("/", &[("Authorization", "Bearer x")]));
    assert!(!has("/authorization:", &[("x-authorization", "authorization: x")]));
}

/// An answer with these lines, and what happens with it under a rule.
fn stored(rule: &CacheRule, authorization: bool, lines: &str) -> Result<Freshness, WhyNot> {
    let raw = format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n");
    let mut head = ResponseHead::default();
    parse::response(raw.as_bytes(), 0, &HeadLimits::default(), Method::Get, &mut head)
        .expect("a good head");
    let at = Instant::from_nanos(1_000_000_000);
    let times = Times { sent: at, received: at, wall: Wall::from_micros(1_000_000_000_000) };
    let response = Response { head: &head, raw: raw.as_bytes() };
    rule.store(authorization, response, &times)
}

fn used(freshness: &Freshness, after_secs: u64) -> Use {
    let now = Instant::from_nanos(1_000_000_000) + Duration::from_secs(after_secs);
    freshness.usable(&RequestControl::default(), now)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn set() -> CacheRule {
    let (ttl, stale_while_revalidate, stale_if_error) = (secs(60), secs(10), secs(100));
    let fresh = Some(Lifetime::Set { ttl, stale_while_revalidate, stale_if_error });
    CacheRule { fresh, else_stale: Duration::ZERO }
}

fn origin() -> CacheRule {
    CacheRule { fresh: Some(Lifetime::Origin), else_stale: Duration::ZERO }
}

#[test]
fn a_configured_lifetime_stands_for_the_origins_and_obeys_its_no() {
    let freshness = stored(&set(), true, "").expect("storable");
    let uses = [0, 59, 60, 70, 71, 160, 161].map(|after| used(&freshness, after));
    use Use::{Fresh, IfError, Never, WhileRevalidating};
    let expected = [Fresh, Fresh, WhileRevalidating, WhileRevalidating, IfError, IfError, Never];
    assert_eq!(uses, expected);
    for (lines, why) in [
        ("cache-control: no-store\r\n", WhyNot::NoStore),
        ("cache-control: private, max-age=9\r\n", WhyNot::Private),
        ("set-cookie: a=1\r\n", WhyNot::Cookie),
        ("vary: *\r\n", WhyNot::Vary),
        ("vary: accept, X-Request-Id\r\n", WhyNot::Vary),
    ] {
        assert_eq!(stored(&set(), false, lines), Err(why), "{lines}");
    }
    let no_cache = stored(&set(), false, "cache-control: no-cache\r\n").expect("storable");
    assert_eq!(used(&no_cache, 0), Never, "there is no way to validate it");
}

#[test]
fn the_origins_lifetime_needs_words_and_leave_for_credentials() {
    assert_eq!(stored(&origin(), false, ""), Err(WhyNot::NoFreshness));
    let lines = "cache-control: max-age=5, stale-if-error=7\r\n";
    assert_eq!(stored(&origin(), true, lines), Err(WhyNot::Authorization));
    let freshness = stored(&origin(), false, lines).expect("storable");
    let uses = [4, 5, 12, 13].map(|after| used(&freshness, after));
    assert_eq!(uses, [Use::Fresh, Use::IfError, Use::IfError, Use::Never]);
    assert!(stored(&origin(), true, "cache-control: s-maxage=5\r\n").is_ok());
}

#[test]
fn else_stale_keeps_an_answer_that_is_never_fresh() {
    let only = CacheRule { fresh: None, else_stale: secs(30) };
    for lines in ["", "cache-control: max-age=5, stale-while-revalidate=99\r\n"] {
        let freshness = stored(&only, true, lines).expect("storable");
        let uses = [1, 30, 31].map(|after| used(&freshness, after));
        assert_eq!(uses, [Use::IfError, Use::IfError, Use::Never], "{lines}");
    }
    assert_eq!(stored(&only, false, "cache-control: no-store\r\n"), Err(WhyNot::NoStore));
    let both = CacheRule { else_stale: secs(30), ..origin() };
    assert_eq!(used(&stored(&both, true, "").expect("storable"), 20), Use::IfError);
    let freshness = stored(&both, false, "cache-control: max-age=5\r\n").expect("storable");
    assert_eq!(
        [4, 35, 36].map(|after| used(&freshness, after)),
        [Use::Fresh, Use::IfError, Use::Never]
    );
}

#[test]
fn what_an_origin_says_on_purpose_stands() {
    let status = |status| PartFault::Status(Status(status));
    for fault in [status(500), status(503), PartFault::Timeout, PartFault::NotJson] {
        assert!(is_excused(fault) && !is_revoked(fault), "{fault:?}");
    }
    for fault in [status(401), status(404), status(410)] {
        assert!(!is_excused(fault) && is_revoked(fault), "{fault:?}");
    }
    for fault in [status(302), status(429), status(408)] {
        assert!(!is_excused(fault) && !is_revoked(fault), "{fault:?}");
    }
}
