//! The response cache, rule by rule (RFC 9111, RFC 9110, RFC 5861, RFC 9211), and what a table cannot tell: many
//! who ask at once, several cores, removal by operators.
//!
//! A test never waits for an answer to grow old: it is born old (`Age`). The content of an answer begins with
//! the number of the turn that brought it, so that it is seen whose answer a client gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request, Step, answer};
use crate::support::tokens::{Signer, bearer, claims};
use crate::support::wire::{Response, Wire};
use crate::support::{Gate, eventually};

const RULES: &str = include_str!("cache/rules.txt");

/// One rule: a route, and a dialogue on it.
struct Rule {
    what: &'static str,
    cache: &'static str,
    turns: Vec<Turn>,
}

/// A request, what the origin would say, and what comes of it.
#[derive(Default)]
struct Turn {
    ask: Vec<&'static str>,
    origin: Option<Vec<&'static str>>,
    seen: Vec<&'static str>,
    client: Vec<&'static str>,
}

fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in RULES.lines().map(str::trim) {
        if let Some(what) = line.strip_prefix("## ") {
            rules.push(Rule { what, cache: "\"origin\"", turns: Vec::new() });
            continue;
        }
        let Some((word, rest)) = line.split_once(": ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let rule = rules.last_mut().expect("a heading comes first");
        let parts: Vec<&str> = rest.split('|').map(str::trim).collect();
        match word {
            "cache" => rule.cache = rest,
            "ask" => rule.turns.push(Turn { ask: parts, ..Turn::default() }),
            "origin" => rule.turns.last_mut().unwrap().origin = Some(parts),
            "seen" => rule.turns.last_mut().unwrap().seen = parts,
            "client" => rule.turns.last_mut().unwrap().client = parts,
            other => panic!("no such word: {other}"),
        }
    }
    rules
}

fn field(text: &str) -> (&str, &str) {
    text.split_once(':').map_or((text, ""), |(name, value)| (name, value.trim()))
}

/// Ten bytes that begin with the number of their turn.
fn content(turn: usize) -> String {
    format!("{turn:x}bcdefghij")
}

/// What the origin answers in this turn.
fn said(rule: usize, turn: usize, says: &[&str], method: &str) -> Vec<Step> {
    let prefix = format!("/r{rule}");
    let filled: Vec<String> =
        says[1..].iter().map(|one| one.replace("@prefix@", &prefix)).collect();
    let fields: Vec<(&str, &str)> = filled.iter().map(|one| field(one)).collect();
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let body = content(turn);
    let head = |status: &str| format!("HTTP/1.1 {status} Because\r\n{lines}");
    let bytes = match says[0] {
        "close" => return vec![Step::Close],
        "cut" => {
            let part = format!("{}content-length: 99\r\n\r\n{body}", head("200"));
            return vec![Step::Send(part.into_bytes()), Step::Close];
        }
        "chunked" => format!(
            "{}transfer-encoding: chunked\r\n\r\n4\r\n{}\r\n6\r\n{}\r\n0\r\n\r\n",
            head("200"),
            &body[..4],
            &body[4..]
        ),
        status @ ("204" | "304") => format!("{}\r\n", head(status)),
        status if method == "HEAD" => format!("{}content-length: 10\r\n\r\n", head(status)),
        status => format!("{}content-length: 10\r\n\r\n{body}", head(status)),
    };
    vec![Step::Send(bytes.into_bytes())]
}

fn start_rules(rules: &Arc<Vec<Rule>>) -> (Origin, Gateway) {
    let script = rules.clone();
    let origin = Origin::script(move |request| {
        let place = request.field("x-turn").expect("every request has its turn");
        let (rule, turn) = place.split_once('.').unwrap();
        let (rule, turn): (usize, usize) = (rule.parse().unwrap(), turn.parse().unwrap());
        let says = script[rule].turns[turn - 1].origin.as_deref();
        said(rule, turn, says.unwrap_or(&["418"]), &request.method)
    });
    let mut config = "[upstream.a]\nendpoints = [\"@a@\"]\nretry = 0\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        config.push_str(&format!(
            "[[route]]\nmatch = \"/r{index}/{{*rest}}\"\nforward = \"a\"\ncache = {}\n",
            rule.cache
        ));
    }
    let gateway = gateway(&config).with("a", origin.address).start();
    (origin, gateway)
}

/// Plays one turn on a connection of its own.
fn play(gateway: &Gateway, origin: &Origin, rules: &[Rule], rule: usize, number: usize) {
    let Rule { what, turns, .. } = &rules[rule];
    let turn = &turns[number - 1];
    let at = format!("{what}, turn {number}");
    let (method, path) = turn.ask[0].split_once(' ').unwrap_or((turn.ask[0], "/"));
    let target = match path.strip_prefix('?') {
        Some(query) => format!("/r{rule}/?{query}"),
        None => format!("/r{rule}{path}"),
    };
    let place = format!("{rule}.{number}");
    let mut fields: Vec<(&str, &str)> = turn.ask[1..].iter().map(|one| field(one)).collect();
    fields.push(("x-turn", &place));
    let before = origin.requests().len();
    let mut wire = gateway.connect();
    wire.send(crate::support::wire::request(method, &target, &fields, b""));
    let answered = wire.try_response(method);
    let asked = origin.requests().split_off(before);
    assert_eq!(asked.len(), usize::from(turn.origin.is_some()), "requests at the origin: {at}");
    if let Some(request) = asked.first() {
        check_request(request, rule, &turn.seen, &at);
    }
    if turn.client[0] == "cut" {
        assert!(answered.is_err(), "{at}: {answered:?}");
        return;
    }
    let response = answered.unwrap_or_else(|error| panic!("{at}: {error:?}"));
    check_response(&response, number, method, &turn.client, &at);
}

fn check_request(request: &Request, rule: usize, seen: &[&str], at: &str) {
    for expected in seen {
        let expected = expected.replace("@prefix@", &format!("/r{rule}"));
        let (name, value) = field(&expected);
        match (name.strip_prefix('!'), name) {
            (Some(absent), _) => assert_eq!(request.field(absent), None, "{at}"),
            (None, "target") => assert_eq!(request.target, value, "{at}"),
            (None, name) => assert_eq!(request.field(name), Some(value), "{name}: {at}"),
        }
    }
}

fn check_response(response: &Response, own: usize, method: &str, client: &[&str], at: &str) {
    let mut words = client[0].split(' ');
    let status: u16 = words.next().unwrap().parse().unwrap();
    assert_eq!(response.status, status, "{at}: {response:?}");
    let from = words.nth(1).map(|turn| turn.parse().unwrap());
    let (start, end) = match response.field("content-range").filter(|_| status == 206) {
        Some(range) => {
            let range = range.trim_start_matches("bytes ").split('/').next().unwrap();
            let (first, last) = range.split_once('-').unwrap();
            (first.parse().unwrap(), last.parse::<usize>().unwrap() + 1)
        }
        None => (0, 10),
    };
    let bodiless = method == "HEAD" || matches!(status, 204 | 304 | 416) || status >= 502;
    if !bodiless {
        let whole = content(from.unwrap_or(own));
        let text = response.text();
        match from {
            None if status == 206 => assert_eq!(text[..].len(), end - start, "{at}"),
            _ => assert_eq!(text, whole[start..end], "{at}"),
        }
    }
    for expected in &client[1..] {
        let (name, value) = field(expected);
        let got = |name| response.field(name);
        match name.strip_prefix('!') {
            Some(absent) => assert_eq!(got(absent), None, "{absent}: {at}"),
            None if value.is_empty() => assert!(got(name).is_some(), "{name}: {at}"),
            None => assert!(
                got(name).is_some_and(|got| is_told(value, got)),
                "{name}: {:?} for {value:?}: {at}",
                got(name)
            ),
        }
    }
}

/// Whether a field says what it must, by a machine that may have stood still for some seconds: an age may be
/// greater, and a `ttl` smaller, by as much.
fn is_told(expected: &str, got: &str) -> bool {
    const SECONDS: u64 = 5;
    let number = |text: &str| text.trim_start_matches("ttl=").parse::<i64>().ok();
    expected.split("; ").count() == got.split("; ").count()
        && expected.split("; ").zip(got.split("; ")).all(|(expected, got)| {
            expected == got
                || expected.starts_with("ttl=") == got.starts_with("ttl=")
                    && number(expected)
                        .zip(number(got))
                        .is_some_and(|(expected, got)| expected.abs_diff(got) <= SECONDS)
        })
}

#[test]
fn every_rule_holds() {
    let rules = Arc::new(rules());
    assert!(rules.len() > 80, "the table is read");
    let (origin, gateway) = start_rules(&rules);
    for (index, rule) in rules.iter().enumerate() {
        (1..=rule.turns.len()).for_each(|turn| play(&gateway, &origin, &rules, index, turn));
    }
}

/// Answers 1, 2, 3 … with these fields.
fn counting(fields: &'static [(&'static str, &'static str)]) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::script(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        vec![Step::Send(answer(200, fields, number.to_string().as_bytes()))]
    })
}

fn config(cache: &str) -> String {
    format!(
        "[upstream.a]\nendpoints = [\"@a@\"]\nretry = 0\n[[route]]\nmatch = \"/{{*rest}}\"\n\
         forward = \"a\"\ntimeout = \"20s\"\ncache = {cache}\n"
    )
}

fn start(origin: &Origin, cache: &str) -> Gateway {
    gateway(&config(cache)).with("a", origin.address).start()
}

fn results(gateway: &Gateway, result: &str) -> usize {
    let result = format!("result=\"{result}\"");
    gateway.metric("ringway_cache_requests_total", &[&result]) as usize
}

/// Asks until both of two workers have answered something.
fn from_both(gateway: &Gateway, target: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let requests = |worker: &str| {
        gateway.metric("ringway_worker_requests_total", &[&format!("worker=\"{worker}\"")])
    };
    let before = [requests("0"), requests("1")];
    eventually("both workers to answer", || {
        texts.push(gateway.get(target).expect(200).text());
        requests("0") > before[0] && requests("1") > before[1]
    });
    texts
}

#[test]
fn what_one_core_stores_all_find() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let gateway = start(&origin, "\"origin\"");
    assert!(from_both(&gateway, "/a").iter().all(|text| text == "1"));
    origin.request();
    assert!(results(&gateway, "hit") > 0 && results(&gateway, "miss") == 1);
    eventually("the weight to be told", || gateway.metric("ringway_cache_bytes", &[]) > 100.0);
    let log = gateway.access_log(2);
    assert_eq!((&log[0]["cache_status"], &log[1]["cache_status"]), (&"miss".into(), &"hit".into()));
}

#[test]
fn what_one_core_invalidates_no_core_finds() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let gateway = start(&origin, "\"origin\"");
    from_both(&gateway, "/a");
    gateway.connect().call("POST", "/a", &[], b"").expect(200);
    assert!(from_both(&gateway, "/a").iter().all(|text| text == "3"));
}

/// Asks the admin listener to remove.
fn purge(gateway: &Gateway, what: &str) {
    let answer =
        Wire::connect(gateway.admin).call("POST", &format!("/cache/purge?{what}"), &[], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "removed\n"), "{what}");
}

#[test]
fn operators_remove_by_key_prefix_and_tag_on_every_core() {
    let tagged = &[("cache-control", "max-age=600"), ("cache-tag", "news, sport")];
    let origin = counting(tagged);
    let gateway = start(&origin, "{ tags = \"Cache-Tag\" }");
    let all = |target: &str, expected: &str| {
        let texts = from_both(&gateway, target);
        assert!(texts.iter().all(|text| text == expected), "{target}: {texts:?}, not {expected}");
    };
    all("/a/1?x=1", "1");
    all("/a/2", "2");
    all("/b", "3");
    purge(&gateway, "key=test/a/1%3Fx=1");
    all("/a/1?x=1", "4");
    all("/a/2", "2");
    purge(&gateway, "prefix=test/a/");
    all("/a/1?x=1", "5");
    all("/a/2", "6");
    all("/b", "3");
    purge(&gateway, "tag=other");
    all("/b", "3");
    purge(&gateway, "tag=sport");
    all("/b", "7");
    purge(&gateway, "all");
    all("/b", "8");
    let page = Wire::connect(gateway.admin).call(
        "POST",
        "/cache/purge?all",
        &[("Origin", "http://evil.example")],
        b"",
    );
    assert_eq!(page.status, 403);
}

#[test]
fn one_fetch_answers_all_who_ask_meanwhile_on_every_core() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::script(move |_| {
        let head = b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 3\r\n\r\n";
        vec![Step::Send(head.to_vec()), Step::Wait(opens.clone()), Step::Send(b"one".to_vec())]
    });
    let gateway = start(&origin, "\"origin\"");
    let mut clients: Vec<Wire> = (0..20).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n"));
    let active = || gateway.metric("http_server_active_requests", &[]) as usize;
    eventually("all to wait", || active() == 20);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "one");
    }
    origin.request();
    eventually("all to be counted", || {
        results(&gateway, "collapsed") + results(&gateway, "hit") == 19
    });
}

#[test]
fn nobody_waits_for_an_answer_that_turns_out_to_be_one_users() {
    let gate = Gate::new();
    let (opens, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::script(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let head =
            b"HTTP/1.1 200 OK\r\ncache-control: private\r\ncontent-length: 1\r\n\r\n".to_vec();
        let body = Step::Send(number.to_string().into_bytes());
        // The first one's head is here, and its content never comes: nobody may wait for that.
        let wait = if number == 1 { Step::Wait(opens.clone()) } else { Step::Send(Vec::new()) };
        vec![Step::Send(head), wait, body]
    });
    let gateway = start(&origin, "\"origin\"");
    let mut first = gateway.connect();
    first.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    origin.wait_for(1);
    for number in 2..5 {
        assert_eq!(gateway.get("/a").expect(200).text(), number.to_string());
    }
    gate.open();
    assert_eq!(first.response().expect(200).text(), "1");
}

#[test]
fn a_leader_that_goes_away_leaves_the_fetch_to_those_who_wait() {
    let gate = Gate::new();
    let (opens, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::script(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let fields = [("cache-control", "max-age=60")];
        let send = Step::Send(answer(200, &fields, number.to_string().as_bytes()));
        if number == 1 { vec![Step::Wait(opens.clone())] } else { vec![send] }
    });
    let gateway = start(&origin, "\"origin\"");
    let mut leader = gateway.connect();
    leader.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    origin.wait_for(1);
    let mut follower = gateway.connect();
    follower.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    let active = || gateway.metric("http_server_active_requests", &[]) as usize;
    eventually("both to be there", || active() == 2);
    drop(leader);
    assert_eq!(follower.response().expect(200).text(), "2");
    gate.open();
}

#[test]
fn a_stale_answer_is_used_while_one_request_beside_renews_it() {
    let stale = "max-age=60, stale-while-revalidate=3600";
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let fresh = [("cache-control", "max-age=600"), ("etag", "\"b\"")];
        let old = [("cache-control", stale), ("age", "100"), ("etag", "\"a\"")];
        match number {
            1 => vec![Step::Send(answer(200, &old, b"1"))],
            _ => {
                assert_eq!(request.field("if-none-match"), Some("\"a\""));
                vec![Step::Send(answer(200, &fresh, number.to_string().as_bytes()))]
            }
        }
    });
    let gateway = start(&origin, "\"origin\"");
    assert_eq!(gateway.get("/a").expect(200).text(), "1");
    let answer = gateway.get("/a").expect(200);
    assert_eq!(answer.text(), "1");
    let status = answer.field("cache-status").expect("told");
    assert!(is_told("ringway; hit; ttl=-40", status), "{status}");
    eventually("the renewed one", || gateway.get("/a").expect(200).text() == "2");
    origin.wait_for(2);
    assert_eq!(gateway.get("/a").expect(200).text(), "2");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn each_user_has_answers_of_their_own_where_the_key_says_so() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    const SECRET: &str = "thirty-two bytes of a secret, ok";
    let (signer, text) = (Signer::hs256("k", SECRET), config("CACHE"));
    let config = |cache: &str| {
        format!("[jwt.j]\nsecret = \"{SECRET}\"\n{}jwt = \"j\"\n", text.replace("CACHE", cache))
    };
    let own = gateway(&config("{ key = { identity = true } }")).with("a", origin.address).start();
    let get = |gateway: &Gateway, name: &str| {
        let (field, token) = bearer(&signer.sign(&claims(name)));
        gateway.get_with("/a", &[(field, &token)]).expect(200).text()
    };
    assert_eq!((get(&own, "ann"), get(&own, "bob")), ("1".into(), "2".into()));
    assert_eq!((get(&own, "ann"), get(&own, "bob")), ("1".into(), "2".into()));
    // Without, what was given to one who is known is not given to others.
    let shared = gateway(&config("\"origin\"")).with("a", origin.address).start();
    assert_eq!((get(&shared, "ann"), get(&shared, "ann")), ("3".into(), "4".into()));
}

#[test]
fn a_reload_keeps_what_is_stored_unless_the_route_changes() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let gateway = start(&origin, "\"origin\"");
    let version = || gateway.metric("ringway_config_version", &[]) as usize;
    let reload = |text: &str, expected: usize| {
        gateway.rewrite(text);
        gateway.signal("HUP");
        eventually("the next version", || version() == expected);
    };
    assert!(from_both(&gateway, "/a").iter().all(|text| text == "1"));
    reload(&format!("# Nothing but this line.\n{}", config("\"origin\"")), 2);
    assert!(from_both(&gateway, "/a").iter().all(|text| text == "1"));
    reload(&config("{ ttl = \"1h\" }"), 3);
    eventually("the route to begin anew", || gateway.get("/a").expect(200).text() == "2");
}

#[test]
fn the_budget_holds_and_the_least_useful_make_room() {
    let body = "x".repeat(100 * 1024);
    let origin = Origin::script(move |_| {
        vec![Step::Send(answer(200, &[("cache-control", "max-age=600")], body.as_bytes()))]
    });
    let text = format!("[cache]\nmemory = \"1MiB\"\n{}", config("\"origin\""));
    let gateway = gateway(&text).with("a", origin.address).start();
    for number in 0..40 {
        gateway.get(&format!("/{number}")).expect(200);
    }
    eventually("evictions to be told", || gateway.metric("ringway_cache_evicted_total", &[]) > 0.0);
    eventually("the weight to be told", || gateway.metric("ringway_cache_bytes", &[]) > 0.0);
    assert!(gateway.metric("ringway_cache_bytes", &[]) <= 1024.0 * 1024.0);
}

#[test]
fn a_large_answer_is_stored_and_served_in_pieces() {
    let body: Arc<String> = Arc::new((0..60_000).map(|number| format!("{number:06}\n")).collect());
    let script = body.clone();
    let origin = Origin::script(move |_| {
        vec![Step::Send(answer(200, &[("cache-control", "max-age=600")], script.as_bytes()))]
    });
    let gateway = start(&origin, "\"origin\"");
    for _ in 0..3 {
        assert_eq!(gateway.get("/a").expect(200).text(), *body);
    }
    let part = gateway.get_with("/a", &[("range", "bytes=70000-279999")]);
    assert_eq!((part.status, part.text().as_str()), (206, &body[70_000..280_000]));
    origin.request();
}

#[test]
fn variants_are_bounded() {
    let origin = counting(&[("cache-control", "max-age=600"), ("vary", "x-kind")]);
    let text = format!("workers = 1\n{}", config("\"origin\""));
    let gateway = gateway(&text).with("a", origin.address).start();
    let get =
        |kind: usize| gateway.get_with("/a", &[("x-kind", &kind.to_string())]).expect(200).text();
    (1..=17).for_each(|kind| assert_eq!(get(kind), kind.to_string()));
    assert_eq!(get(17), "17");
    assert_eq!(get(2), "2", "sixteen are kept");
    assert_eq!(get(1), "18", "the oldest made room");
}
