//! Rules of RFC 9111 and RFC 5861 on heads that were really parsed. Never a clock.

use super::*;
use crate::http::h1::parse::{self, HeadLimits, Parsed};
use crate::http::head::ResponseHead;

/// 2026-11-25T12:00:00Z.
const NOON: u64 = 1_795_608_000;

struct Stored {
    raw: Vec<u8>,
    head: ResponseHead,
}

fn answer(status: u16, lines: &[&str]) -> Stored {
    let mut raw = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n");
    for line in lines {
        raw.push_str(line);
        raw.push_str("\r\n");
    }
    raw.push_str("\r\n");
    let (raw, mut head) = (raw.into_bytes(), ResponseHead::default());
    let parsed = parse::response(&raw, 0, &HeadLimits::default(), Method::Get, &mut head);
    assert!(matches!(parsed, Ok(Parsed::Done)));
    Stored { raw, head }
}

fn at(secs: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(secs)
}

const PLAIN: RequestControl = RequestControl {
    max_age: None,
    max_stale: None,
    min_fresh: None,
    no_cache: false,
    no_store: false,
    only_if_cached: false,
    stale_if_error: None,
};

const GET: Asking = Asking { method: Method::Get, authorization: false, control: PLAIN };

/// Sent at 100 s, received at 101 s, at noon.
const TIMES: Times = Times {
    sent: Instant::from_nanos(100_000_000_000),
    received: Instant::from_nanos(101_000_000_000),
    wall: Wall::from_micros(NOON * 1_000_000),
};

fn stored(asking: &Asking, status: u16, lines: &[&str]) -> Result<Freshness, WhyNot> {
    let Stored { raw, head } = answer(status, lines);
    storable(asking, Response { head: &head, raw: &raw }, &TIMES, None)
}

fn lifetime_of(lines: &[&str]) -> Result<u64, WhyNot> {
    stored(&GET, 200, lines).map(|fresh| fresh.lifetime.as_secs())
}

#[test]
fn what_says_nothing_of_its_freshness_is_not_stored() {
    assert_eq!(lifetime_of(&[]), Err(WhyNot::NoFreshness));
    assert_eq!(
        lifetime_of(&["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"]),
        Err(WhyNot::NoFreshness)
    );
    let Stored { raw, head } = answer(200, &[]);
    let response = Response { head: &head, raw: &raw };
    let ttl = Duration::from_secs(9);
    let own = storable(&GET, response, &TIMES, Some(ttl));
    assert_eq!(own.map(|fresh| fresh.lifetime), Ok(ttl));
}

#[test]
fn s_maxage_goes_before_max_age_and_that_before_expires() {
    let expires = "expires: Wed, 25 Nov 2026 12:00:30 GMT";
    let date = "date: Wed, 25 Nov 2026 12:00:00 GMT";
    assert_eq!(lifetime_of(&["cache-control: max-age=5, s-maxage=7", expires]), Ok(7));
    assert_eq!(lifetime_of(&["cache-control: max-age=5", expires]), Ok(5));
    assert_eq!(lifetime_of(&[expires, date]), Ok(30));
    assert_eq!(lifetime_of(&[expires, "date: Wed, 25 Nov 2026 11:59:50 GMT"]), Ok(40));
    assert_eq!(lifetime_of(&["expires: 0", date]), Ok(0));
    assert_eq!(lifetime_of(&["expires: -1"]), Ok(0));
    assert_eq!(lifetime_of(&[expires, "expires: Wed, 25 Nov 2026 12:00:10 GMT", date]), Ok(30));
}

#[test]
fn what_is_one_users_is_never_stored() {
    let fresh = "cache-control: max-age=60";
    assert_eq!(lifetime_of(&["cache-control: private, max-age=60"]), Err(WhyNot::Private));
    assert_eq!(lifetime_of(&["cache-control: no-store, max-age=60"]), Err(WhyNot::NoStore));
    assert_eq!(lifetime_of(&[fresh, "set-cookie: a=b"]), Err(WhyNot::Cookie));
    assert_eq!(lifetime_of(&["cache-control: public, max-age=60", "set-cookie: a=b"]), Ok(60));
    assert_eq!(lifetime_of(&[fresh, "vary: accept, *"]), Err(WhyNot::Vary));
    let authorized = Asking { authorization: true, ..GET };
    let shared = |line| stored(&authorized, 200, &[line]).map(|fresh| fresh.lifetime.as_secs());
    assert_eq!(shared(fresh), Err(WhyNot::Authorization));
    assert_eq!(shared("cache-control: max-age=60, public"), Ok(60));
    assert_eq!(shared("cache-control: max-age=60, must-revalidate"), Ok(60));
    assert_eq!(shared("cache-control: s-maxage=60"), Ok(60));
    let asking = Asking { control: RequestControl { no_store: true, ..PLAIN }, ..GET };
    assert_eq!(stored(&asking, 200, &[fresh]), Err(WhyNot::NoStore));
}

#[test]
fn only_whole_final_answers_to_get_are_stored() {
    let fresh = "cache-control: max-age=60";
    let post = Asking { method: Method::Post, ..GET };
    assert_eq!(stored(&post, 200, &[fresh]), Err(WhyNot::Method));
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert!(stored(&GET, status, &[fresh]).is_ok(), "{status}");
    }
    for status in [201, 206, 302, 304, 307, 400, 403, 500, 502, 503] {
        assert_eq!(stored(&GET, status, &[fresh]), Err(WhyNot::Status), "{status}");
    }
    assert!(stored(&GET, 302, &["cache-control: max-age=60, public"]).is_ok());
    assert_eq!(stored(&GET, 206, &["cache-control: public, max-age=1"]), Err(WhyNot::Status));
}

#[test]
fn age_is_what_the_path_behind_us_took_and_what_passed_here() {
    let age = |lines: &[&str]| stored(&GET, 200, lines).expect("stored").age(at(111)).as_secs();
    let fresh = "cache-control: max-age=60";
    assert_eq!(age(&[fresh]), 11, "one second of delay, ten here");
    assert_eq!(age(&[fresh, "age: 20"]), 31);
    assert_eq!(age(&[fresh, "age: 20, 40"]), 31, "the first counts");
    assert_eq!(age(&[fresh, "age: soon"]), 11);
    assert_eq!(age(&[fresh, "date: Wed, 25 Nov 2026 11:59:20 GMT"]), 50, "the date says more");
    assert_eq!(age(&[fresh, "date: Wed, 25 Nov 2026 12:30:00 GMT"]), 11, "from the future");
}

#[test]
fn a_stored_answer_is_used_as_both_sides_allow() {
    let fresh = |line| stored(&GET, 200, &[line]).expect("stored");
    let plain = fresh("cache-control: max-age=60");
    // Received at 101 s with an age of one second: fresh until 160 s.
    assert_eq!(plain.usable(&PLAIN, at(159)), Use::Fresh);
    assert_eq!(plain.usable(&PLAIN, at(160)), Use::Never);
    let asks = |change: fn(&mut RequestControl)| {
        let mut control = PLAIN;
        change(&mut control);
        control
    };
    let max_age = asks(|c| c.max_age = Some(Duration::from_secs(10)));
    assert_eq!(plain.usable(&max_age, at(110)), Use::Fresh);
    assert_eq!(plain.usable(&max_age, at(112)), Use::Never);
    let min_fresh = asks(|c| c.min_fresh = Some(Duration::from_secs(20)));
    assert_eq!(plain.usable(&min_fresh, at(140)), Use::Fresh);
    assert_eq!(plain.usable(&min_fresh, at(141)), Use::Never);
    assert_eq!(plain.usable(&asks(|c| c.no_cache = true), at(102)), Use::Never);
    let max_stale = asks(|c| c.max_stale = Some(Duration::from_secs(5)));
    assert_eq!(plain.usable(&max_stale, at(165)), Use::Fresh);
    assert_eq!(plain.usable(&max_stale, at(166)), Use::Never);
    let strict = fresh("cache-control: max-age=60, must-revalidate, stale-if-error=99");
    assert_eq!(strict.usable(&max_stale, at(161)), Use::Never);
    let validated = fresh("cache-control: max-age=60, no-cache");
    assert_eq!(validated.usable(&PLAIN, at(102)), Use::Never);
}

#[test]
fn a_stale_answer_bridges_a_fetch_and_a_failure_for_as_long_as_allowed() {
    let line = "cache-control: max-age=60, stale-while-revalidate=10, stale-if-error=30";
    let stale = stored(&GET, 200, &[line]).expect("stored");
    assert_eq!(stale.usable(&PLAIN, at(159)), Use::Fresh);
    assert_eq!(stale.usable(&PLAIN, at(170)), Use::WhileRevalidating);
    assert_eq!(stale.usable(&PLAIN, at(171)), Use::IfError);
    assert_eq!(stale.usable(&PLAIN, at(190)), Use::IfError);
    assert_eq!(stale.usable(&PLAIN, at(191)), Use::Never);
    let asked = RequestControl { stale_if_error: Some(Duration::from_secs(40)), ..PLAIN };
    assert_eq!(stale.usable(&asked, at(200)), Use::IfError);
}

fn assessed(terms: Terms, status: u16, lines: &[&str]) -> Result<u64, WhyNot> {
    let Stored { raw, head } = answer(status, lines);
    let fresh = assess(&GET, Response { head: &head, raw: &raw }, &TIMES, &terms);
    fresh.map(|fresh| fresh.lifetime.as_secs())
}

#[test]
fn any_final_status_is_stored_whole_if_the_origin_says_how_long() {
    let plain = Terms::default();
    for status in [200, 204, 299, 302, 400, 404, 499, 500, 503, 599] {
        assert_eq!(assessed(plain, status, &["cache-control: max-age=60"]), Ok(60), "{status}");
        assert_eq!(assessed(plain, status, &[]), Err(WhyNot::NoFreshness), "{status}");
    }
    for status in [206, 304] {
        let lines = ["cache-control: public, max-age=60"];
        assert_eq!(assessed(plain, status, &lines), Err(WhyNot::Status));
    }
    let understood = "cache-control: max-age=60, must-understand, no-store";
    assert_eq!(assessed(plain, 200, &[understood]), Ok(60));
    assert_eq!(assessed(plain, 599, &[understood]), Err(WhyNot::Status));
}

#[test]
fn the_operators_lifetimes_hold_for_what_they_are_meant_for() {
    let secs = |secs| Some(Duration::from_secs(secs));
    let terms = Terms { ttl: secs(9), negative: secs(3), ..Terms::default() };
    for (status, lines, lifetime) in [
        (200, &[][..], Ok(9)),
        (200, &["cache-control: max-age=60"], Ok(9)),
        (404, &[], Ok(3)),
        (302, &[], Err(WhyNot::NoFreshness)),
        (302, &["cache-control: max-age=60"], Ok(60)),
        (500, &[], Err(WhyNot::NoFreshness)),
        (200, &["set-cookie: a=b"], Err(WhyNot::Cookie)),
        (200, &["set-cookie: a=b", "cache-control: public"], Ok(9)),
        (200, &["cache-control: no-store"], Err(WhyNot::NoStore)),
        (200, &["cache-control: private"], Err(WhyNot::Private)),
        (200, &["cache-control: private=\"x-a\""], Ok(9)),
    ] {
        assert_eq!(assessed(terms, status, lines), lifetime, "{status} {lines:?}");
    }
    let origin = Terms::default();
    let cookie = ["set-cookie: a=b", "cache-control: max-age=60"];
    assert_eq!(assessed(origin, 200, &cookie), Ok(60), "RFC 9111 section 7.3");
    assert_eq!(
        assessed(Terms { cookies: Some(false), ..origin }, 200, &cookie),
        Err(WhyNot::Cookie)
    );
}

#[test]
fn freshness_is_guessed_only_where_that_is_allowed() {
    let modified = "last-modified: Wed, 25 Nov 2026 11:00:00 GMT";
    let guesses = Terms { heuristic: true, ..Terms::default() };
    assert_eq!(assessed(guesses, 200, &[modified]), Ok(360));
    assert_eq!(assessed(Terms::default(), 200, &[modified]), Err(WhyNot::NoFreshness));
    assert_eq!(assessed(guesses, 201, &[modified]), Err(WhyNot::NoFreshness));
    assert_eq!(assessed(guesses, 201, &[modified, "cache-control: public"]), Ok(360));
    let old = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(assessed(guesses, 200, &[old]), Ok(86_400));
    assert_eq!(assessed(guesses, 200, &[old, "cache-control: max-age=5"]), Ok(5));
}
