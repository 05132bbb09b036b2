//! The store of one machine as two cores see it. Never a clock, never a thread: each core is a map of its own.

use std::time::Duration;

use super::*;
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::http::Status;
use crate::http::caching::Freshness;
use crate::http::h1::parse::{self, HeadLimits, Parsed};
use crate::http::head::RequestHead;
use crate::policy::stored::Making;

const FRESH: Freshness = Freshness {
    lifetime: Duration::from_secs(60),
    initial_age: Duration::ZERO,
    received: Instant::ORIGIN,
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    strict: false,
    always_validate: false,
};

fn machine(bytes: u64) -> Arc<Machine> {
    let machine = Arc::new(Machine::new(5));
    machine.set_budget(bytes);
    machine
}

fn cores(machine: &Arc<Machine>) -> [Store; 2] {
    [Store::new(machine.clone(), 0), Store::new(machine.clone(), 1)]
}

fn key(machine: &Machine, url: &str) -> Arc<Key> {
    let hash = machine.hash(url.as_bytes());
    Arc::new(Key { bytes: url.as_bytes().into(), url: Span::new(0, url.len()), hash })
}

fn stored(machine: &Arc<Machine>, url: &str, bytes: usize, tag: &str) -> Arc<Stored> {
    let making = Making {
        key: key(machine, url),
        status: Status(200),
        head: b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_vec(),
        body: Arc::new(vec![b'x'; bytes]),
        freshness: FRESH,
        vary: Box::default(),
        tags: [tag.as_bytes().into()].into(),
        now: 784_111_777,
    };
    Arc::new(Stored::new(making, machine.clone()))
}

fn insert(store: &mut Store, url: &str, bytes: usize) -> bool {
    let machine = store.machine().clone();
    let one = stored(&machine, url, bytes, "t");
    store.insert(&one, machine.moment(one.key.hash))
}

fn has(store: &mut Store, url: &str) -> bool {
    let (raw, mut head) = (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", RequestHead::default());
    let parsed = parse::request(raw, 0, &HeadLimits::default(), &mut head);
    assert!(matches!(parsed, Ok(Parsed::Done)));
    store.listen();
    let hash = store.machine().hash(url.as_bytes());
    store.find(hash, url.as_bytes(), Request { head: &head, raw }).is_some()
}

#[test]
fn what_one_core_stores_another_finds_and_it_is_counted_once() {
    let machine = machine(1 << 20);
    let [mut one, mut other] = cores(&machine);
    assert!(insert(&mut one, "a/x", 1000));
    let used = machine.used();
    assert!(has(&mut one, "a/x") && has(&mut other, "a/x") && !has(&mut other, "a/y"));
    assert_eq!(machine.used(), used);
    drop((one, other));
    assert_eq!((machine.used(), machine.held.load()), (0, 0), "all is given back");
}

#[test]
fn an_invalidation_holds_on_every_core_and_for_what_was_asked_for_before() {
    let machine = machine(1 << 20);
    let [mut one, mut other] = cores(&machine);
    insert(&mut one, "a/x", 10);
    let late = stored(&machine, "a/x", 10, "t");
    let before = machine.moment(late.key.hash);
    other.invalidate(&key(&machine, "a/x"));
    assert!(!has(&mut one, "a/x") && !has(&mut other, "a/x"));
    assert!(!one.insert(&late, before), "it was asked for before");
    assert!(!has(&mut one, "a/x") && !has(&mut other, "a/x"));
    assert!(insert(&mut one, "a/x", 10) && has(&mut other, "a/x"));
}

#[test]
fn operators_remove_by_key_prefix_and_tag() {
    let purges = |purge: Purge| {
        let machine = machine(1 << 20);
        let [mut one, mut other] = cores(&machine);
        for (url, tag) in [("a/x", "1"), ("a/x?y", "2"), ("b/x", "1")] {
            let stored = stored(&machine, url, 1, tag);
            one.insert(&stored, machine.moment(stored.key.hash));
        }
        let late = stored(&machine, "c/x", 1, "9");
        let before = machine.moment(late.key.hash);
        machine.purge(&purge);
        assert!(!one.insert(&late, before), "what was asked for before a purge is not kept");
        ["a/x", "a/x?y", "b/x"].map(|url| {
            assert_eq!(has(&mut one, url), has(&mut other, url), "{url} after {purge:?}");
            has(&mut one, url)
        })
    };
    assert_eq!(purges(Purge::All), [false; 3]);
    assert_eq!(purges(Purge::Key(b"a/x".as_slice().into())), [false, true, true]);
    assert_eq!(purges(Purge::Prefix(b"a/".as_slice().into())), [false, false, true]);
    assert_eq!(purges(Purge::Tag(b"1".as_slice().into())), [false, true, false]);
    assert_eq!(purges(Purge::Tag(b"3".as_slice().into())), [true; 3]);
}

#[test]
fn the_budget_is_one_for_all_cores() {
    let machine = machine(100_000);
    let [mut one, mut other] = cores(&machine);
    for number in 0..200 {
        insert(if number % 2 == 0 { &mut one } else { &mut other }, &format!("a/{number}"), 2000);
        assert!(machine.used() <= 100_000);
        // What is ended is let go as the other core listens.
        one.listen();
        other.listen();
        assert!(machine.held.load() <= 125_000);
    }
    assert!(one.take_evicted() + other.take_evicted() > 150);
    assert!(!insert(&mut one, "a/large", 200_000), "what is larger than all the room is not kept");
}

#[test]
fn without_ears_nothing_more_is_stored_and_nothing_wrong_is_found() {
    let machine = machine(100_000);
    let [mut one, mut deaf] = cores(&machine);
    let url = |number: usize| format!("a/{number}");
    insert(&mut one, &url(0), 1000);
    assert!(has(&mut deaf, &url(0)));
    // The other core does not listen: what it holds is memory that is not free yet.
    (1..2 * CACHE_NEWS_MAX).for_each(|number| _ = insert(&mut one, &url(number), 10));
    one.invalidate(&key(&machine, &url(0)));
    assert!(!has(&mut deaf, &url(0)), "a removal that found the queue full was not lost");
    assert!(insert(&mut one, "a/new", 10) && has(&mut deaf, "a/new"));
}

#[test]
fn other_codings_are_counted_and_leave_with_their_response() {
    let machine = machine(100_000);
    let [mut one, mut other] = cores(&machine);
    assert!(insert(&mut one, "a/1", 1000));
    other.listen();
    let (raw, mut head) = (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", RequestHead::default());
    let parsed = parse::request(raw, 0, &HeadLimits::default(), &mut head);
    assert!(matches!(parsed, Ok(Parsed::Done)));
    let request = Request { head: &head, raw };
    let found = one.find(machine.hash(b"a/1"), b"a/1", request).expect("stored");
    let plain = machine.used();
    // One makes it and nobody else meanwhile; who gives up leaves it to the next.
    let duty = found.begin_recoding(Coding::Gzip).expect("nobody does");
    assert!(found.begin_recoding(Coding::Gzip).is_none());
    assert!(found.begin_recoding(Coding::Zstd).is_some(), "another coding is another duty");
    drop(duty);
    assert!(found.begin_recoding(Coding::Gzip).is_some());
    one.keep_recoded(&found, Coding::Gzip, vec![b'y'; 500]);
    assert_eq!(found.recoded(Coding::Gzip), Some(&[b'y'; 500][..]));
    assert_eq!((found.recoded(Coding::Brotli), machine.used()), (None, plain + 500));
    assert!(found.begin_recoding(Coding::Gzip).is_none(), "it is there");
    one.keep_recoded(&found, Coding::Gzip, vec![b'z'; 700]);
    assert_eq!(machine.used(), plain + 500, "what is there stays, and is counted once");
    found.end();
    assert_eq!(machine.used(), 0);
    // Kept behind its end: nothing stays counted.
    one.keep_recoded(&found, Coding::Brotli, vec![b'y'; 500]);
    assert_eq!(machine.used(), 0);
}

#[test]
fn a_coding_makes_room_as_a_response_does_and_never_beyond_the_budget() {
    let machine = machine(10_000);
    let mut one = Store::new(machine.clone(), 0);
    assert!((0..6).all(|number| insert(&mut one, &format!("a/{number}"), 1000)));
    let kept = stored(&machine, "a/new", 1000, "t");
    assert!(one.insert(&kept, machine.moment(kept.key.hash)));
    one.keep_recoded(&kept, Coding::Gzip, vec![b'y'; 5000]);
    assert!(machine.used() <= 10_000, "{}", machine.used());
    one.keep_recoded(&kept, Coding::Zstd, vec![b'y'; 20_000]);
    assert!(machine.used() <= 10_000 && kept.recoded(Coding::Zstd).is_none());
}

#[test]
fn thousands_of_removals_are_one_walk_and_spare_what_is_stored_behind_them() {
    let machine = machine(10_000_000);
    let [mut one, mut other] = cores(&machine);
    assert!((0..200).all(|number| insert(&mut one, &format!("host/{number}"), 10)));
    other.listen();
    (0..1000)
        .for_each(|number| machine.purge(&Purge::key(format!("HOST/{}", number % 100).as_bytes())));
    machine.purge(&Purge::prefix(b"HoSt/19"));
    one.listen();
    assert!(insert(&mut one, "host/5", 10));
    other.listen();
    for number in 0..200 {
        let url = format!("host/{number}");
        let stays = number == 5 || (100..190).contains(&number);
        assert_eq!((has(&mut one, &url), has(&mut other, &url)), (stays, stays), "{url}");
    }
}
