//! Routing: the search agrees with a naive list, and no path that is taken by default reads as another
//! route to an origin, however that origin decodes, cuts, resolves or folds it. Never a socket.

use std::path::Path;

use proptest::prelude::*;

use ringway::base::ids::RouteId;
use ringway::exchange::params::Params;
use ringway::http::h1::parse::{self, HeadLimits, Parsed};
use ringway::http::head::{Request, RequestHead};
use ringway::route::explain::Outcome;
use ringway::route::matcher::{Condition, Place, Test};
use ringway::route::pattern::{HostPattern, MethodName, Pattern, Segment};
use ringway::route::spelling::{PathFault, PathScratch, PathSpelling};
use ringway::route::{Found, Router, fuzz};

/// Hands a parsed request to `body`; `None` when the text is no request.
fn with_request<T>(text: &[u8], body: impl FnOnce(Request<'_>) -> T) -> Option<T> {
    let mut head = RequestHead::default();
    let parsed = parse::request(text, 0, &HeadLimits::default(), &mut head);
    (parsed == Ok(Parsed::Done)).then(|| body(Request { head: &head, raw: text }))
}

fn find(router: &Router, request: Request<'_>) -> (Found, Params) {
    let (mut params, mut scratch) = (Params::default(), PathScratch::default());
    (router.find(request, &PathSpelling::default(), &mut params, &mut scratch), params)
}

// ---- against a naive list ------------------------------------------------------------------------

/// What one request asks for.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    host: &'static str,
    path: Vec<&'static str>,
    beta: bool,
}

impl Asked {
    /// The same path with a slash at the end, or without it.
    fn with_or_without_slash(&self) -> Self {
        let mut other = self.clone();
        if other.path.pop_if(|last| last.is_empty()).is_none() {
            other.path.push("");
        }
        other
    }

    fn text(&self) -> Vec<u8> {
        let beta = if self.beta { "x-beta: 1\r\n" } else { "" };
        let (method, path, host) = (self.method, self.path.join("/"), self.host);
        format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\n{beta}\r\n").into_bytes()
    }
}

/// How good a pattern is for a request, lowest best: host, each segment, conditions, place in the file.
type Rank = (u32, Vec<u8>, usize, usize);

/// The rank and the parameters of one pattern, or `None` where it does not fit but for its method.
fn naive(pattern: &Pattern, place: usize, asked: &Asked) -> Option<(Rank, Vec<String>)> {
    let host = match &pattern.host {
        HostPattern::Exact(host) if **host == *asked.host => 0,
        HostPattern::Wildcard(suffix) if asked.host.ends_with(&format!(".{suffix}")) => {
            100 - suffix.len() as u32
        }
        HostPattern::Any => 1000,
        _ => return None,
    };
    let (mut kinds, mut params) = (Vec::new(), Vec::new());
    for (at, segment) in pattern.path.iter().enumerate() {
        let text = *asked.path.get(at)?;
        kinds.push(match segment {
            Segment::Literal(literal) if **literal == *text.as_bytes() => 0,
            Segment::Param if !text.is_empty() => {
                params.push(text.to_owned());
                1
            }
            Segment::Rest => {
                params.push(asked.path[at..].join("/"));
                2
            }
            _ => return None,
        });
    }
    let open = pattern.path.last() == Some(&Segment::Rest);
    if !open && pattern.path.len() != asked.path.len() {
        return None;
    }
    let beta = |condition: &Condition| (condition.test == Test::Present) == asked.beta;
    let fits = pattern.conditions.iter().all(beta);
    let count = pattern.conditions.len() + usize::from(!pattern.methods.is_empty());
    fits.then_some(((host, kinds, 10 - count, place), params))
}

fn takes(pattern: &Pattern, method: &str) -> bool {
    let is = |name: &MethodName| *name.0 == *method || (&*name.0 == "GET" && method == "HEAD");
    pattern.methods.is_empty() || pattern.methods.iter().any(is)
}

fn a_pattern() -> impl Strategy<Value = Pattern> {
    let host = prop_oneof![
        3 => Just(HostPattern::Any),
        1 => Just(HostPattern::Exact("a.b.test".into())),
        1 => Just(HostPattern::Wildcard("b.test".into())),
        1 => Just(HostPattern::Wildcard("test".into())),
    ];
    let segment = prop_oneof![
        3 => proptest::sample::select(&["a", "b", "c"][..])
            .prop_map(|text| Segment::Literal(text.as_bytes().into())),
        2 => Just(Segment::Param),
    ];
    let last = prop_oneof![
        Just(None),
        Just(Some(Segment::Rest)),
        Just(Some(Segment::Literal(Box::default()))),
    ];
    let methods = proptest::sample::subsequence(vec!["GET", "HEAD", "POST"], 0..=2);
    let condition = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Test::Present)),
        1 => Just(Some(Test::Absent)),
    ];
    let segments = proptest::collection::vec(segment, 0..4);
    (host, segments, last, methods, condition).prop_map(|(host, mut path, last, methods, test)| {
        path.extend(last);
        if path.is_empty() {
            path.push(Segment::Literal(Box::default()));
        }
        let condition = |test| Condition { place: Place::Header, name: "x-beta".into(), test };
        Pattern {
            route: RouteId(0),
            methods: methods.into_iter().map(|name| MethodName(name.into())).collect(),
            host,
            path,
            conditions: test.map(condition).into_iter().collect(),
        }
    })
}

fn an_asked() -> impl Strategy<Value = Asked> {
    let method = proptest::sample::select(&["GET", "HEAD", "POST", "PUT"][..]);
    let host = proptest::sample::select(&["a.b.test", "x.b.test", "b.test", "test", "other"][..]);
    let segment = proptest::sample::select(&["a", "b", "c", "d"][..]);
    let segments = proptest::collection::vec(segment, 0..5);
    (method, host, segments, any::<bool>(), any::<bool>()).prop_map(
        |(method, host, mut path, slash, beta)| {
            if slash || path.is_empty() {
                path.push("");
            }
            Asked { method, host, path, beta }
        },
    )
}

#[test]
fn the_fuzz_corpus_breaks_no_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/path");
    let files: Vec<_> = std::fs::read_dir(folder).expect("a corpus").collect();
    assert!(!files.is_empty());
    for file in files {
        fuzz::path(&std::fs::read(file.expect("a file").path()).expect("readable"));
    }
}

proptest! {
    #[test]
    fn the_search_agrees_with_a_naive_list(
        patterns in proptest::collection::vec(a_pattern(), 1..24),
        requests in proptest::collection::vec(an_asked(), 1..24),
    ) {
        let mut patterns = patterns;
        for (place, pattern) in patterns.iter_mut().enumerate() {
            pattern.route = RouteId(place as u32);
        }
        // Routes that clash are no configuration: without the later ones it is.
        if let Err(clashes) = Router::build(patterns.clone()) {
            let clashing = |route| clashes.iter().any(|clash| clash.second == route);
            patterns.retain(|pattern| !clashing(pattern.route));
        }
        let (router, shadowed) = Router::build(patterns.clone()).expect("no clash is left");
        for asked in &requests {
            let fitting = patterns.iter().enumerate().filter_map(|(place, pattern)| {
                naive(pattern, place, asked).map(|(rank, params)| (rank, params, pattern))
            });
            let fitting: Vec<_> = fitting.collect();
            let best = fitting.iter().filter(|(_, _, pattern)| takes(pattern, asked.method)).min_by_key(|fit| &fit.0);
            let text = asked.text();
            with_request(&text, |request| {
                let (found, params) = find(&router, request);
                match (found, best) {
                    (Found::Route(route), Some((_, values, pattern))) => {
                        prop_assert_eq!(route, pattern.route, "{:?}", asked);
                        prop_assert!(shadowed.iter().all(|clash| clash.second != route));
                        let taken = (0..params.len()).map(|n| params.value(n, request.path()));
                        let taken: Vec<_> = taken.map(|value| String::from_utf8_lossy(value.expect("there")).into_owned()).collect();
                        prop_assert_eq!(&taken, values);
                    }
                    (Found::MethodRefused(allow), None) => {
                        prop_assert!(!fitting.is_empty());
                        let allow = std::str::from_utf8(allow.as_bytes()).expect("ASCII");
                        prop_assert!(!allow.split(", ").any(|name| name == asked.method));
                    }
                    (Found::Missing, None) => prop_assert!(fitting.is_empty()),
                    // A slash at the end makes it a better route's path, which some origins read.
                    (Found::PathRefused(PathFault::LookAlike), Some(_)) => {
                        let other = asked.with_or_without_slash();
                        let fits = |pattern: &Pattern| naive(pattern, 0, &other).is_some();
                        prop_assert!(patterns.iter().any(|p| fits(p) && naive(p, 0, asked).is_none()));
                        return Ok(());
                    }
                    other => prop_assert!(false, "{other:?} for {asked:?}"),
                }
                let (again, considered) = router.explain(request, &PathSpelling::default());
                prop_assert_eq!(again, found);
                for one in considered {
                    let fits = fitting.iter().any(|(_, _, p)| p.route == one.route && takes(p, asked.method));
                    let won = found == Found::Route(one.route);
                    prop_assert_eq!(one.outcome == Outcome::Won, won);
                    prop_assert_eq!(one.outcome == Outcome::Outranked, fits && !won);
                }
                Ok(())
            }).expect("a request")?;
        }
    }

    #[test]
    fn no_path_that_is_taken_reads_as_another_route(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..8)) {
        let router = guarded();
        let path = format!("/{}", pieces.concat());
        let Some(found) = route_of(&router, path.as_bytes()) else { return Ok(()) };
        for (origin, reads) in ORIGINS {
            let seen = reads(path.as_bytes());
            if let Some(other) = route_of(&router, &encoded(&seen)) {
                let seen = String::from_utf8_lossy(&seen);
                prop_assert_eq!(other, found, "{} reads {} as {}", origin, path, seen);
            }
        }
    }

    #[test]
    fn any_bytes_keep_the_promises_of_a_path(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzz::path(&data);
    }

    #[test]
    fn any_pieces_keep_the_promises_of_a_path(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)) {
        fuzz::path(pieces.concat().as_bytes());
    }
}

// ---- spellings -----------------------------------------------------------------------------------

/// What paths are made of: names of routes, and everything that some origin reads as something else.
const PIECES: &[&str] = &[
    "/",
    "/",
    "/",
    "admin",
    "Admin",
    "aDMIN",
    "users",
    "me",
    "ME",
    "x",
    "open",
    ".",
    "..",
    "...",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "\\",
    ";",
    ";v=1",
    "%3b",
    "%3B",
    "%00",
    "%0a",
    "%20",
    "%25",
    "25",
    "2e",
    "2f",
    "5c",
    "%61dmin",
    "%41",
    "%2561",
    "%u002e",
    "%u0061",
    "%c0%ae",
    "%c0%af",
    "%ef%bc%8f",
    "%ef%bc%8e",
    "%ef%bd%81",
    "%ef%bc%bc",
    "%e2%80%a5",
    "%c2%a0",
    "%",
    "~",
];

fn guarded() -> Router {
    let literal = |text: &str| Segment::Literal(text.as_bytes().into());
    let paths = [
        vec![literal("admin"), Segment::Rest],
        vec![literal("users"), Segment::Param],
        vec![literal("users"), literal("me")],
        vec![literal("open"), literal("admin")],
        vec![literal("open"), Segment::Rest],
        vec![Segment::Rest],
    ];
    let pattern = |(route, path)| Pattern {
        route: RouteId(route),
        methods: Vec::new(),
        host: HostPattern::Any,
        path,
        conditions: Vec::new(),
    };
    Router::build((0..).zip(paths).map(pattern).collect()).expect("no clash").0
}

/// The route of a path; `None` where it is refused or there is none.
fn route_of(router: &Router, path: &[u8]) -> Option<RouteId> {
    let text = [b"GET ", path, b" HTTP/1.1\r\nhost: test\r\n\r\n"].concat();
    match with_request(&text, |request| find(router, request).0)? {
        Found::Route(route) => Some(route),
        _ => None,
    }
}

type Reads = fn(&[u8]) -> Vec<u8>;

/// Origins, and the path that each makes of a raw one.
const ORIGINS: &[(&str, Reads)] = &[
    ("one that decodes, merges and resolves", |path| resolved(&decoded(path), true)),
    ("one that resolves before it decodes", |path| decoded(&resolved(path, true))),
    ("one that resolves and does not merge", |path| resolved(&decoded(path), false)),
    ("one that decodes twice", |path| resolved(&decoded(&decoded(path)), true)),
    ("one that cuts path parameters", |path| resolved(&decoded(&without_parameters(path)), true)),
    ("one that decodes and cuts parameters", |path| {
        resolved(&without_parameters(&decoded(path)), true)
    }),
    ("one that knows backslashes", |path| resolved(&slashed(&decoded(path)), true)),
    ("one that ends at NUL", |path| resolved(until(&decoded(path), 0), true)),
    ("one on a file system of Windows", |path| windows(&decoded(path))),
    ("the same with best-fit characters", |path| windows(&narrowed(&decoded(path)))),
    ("the same, decoding twice", |path| windows(&narrowed(&decoded(&decoded(path))))),
];

/// Percent-decoding of a whole path, `%uXXXX` included; broken escapes stay.
fn decoded(path: &[u8]) -> Vec<u8> {
    let number = |digits: Option<&[u8]>| {
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut out, mut at) = (Vec::new(), 0);
    while at < path.len() {
        let rest = &path[at..];
        if let Some(byte) = number(rest.get(1..3)).filter(|_| rest[0] == b'%') {
            out.push(byte as u8);
            at += 3;
        } else if let Some(unit) = number(rest.get(2..6)).filter(|_| rest.starts_with(b"%u")) {
            out.extend(char::from_u32(unit).unwrap_or('?').to_string().bytes());
            at += 6;
        } else {
            out.push(rest[0]);
            at += 1;
        }
    }
    out
}

fn resolved(path: &[u8], merge: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<_> = path[1.min(path.len())..].split(|byte| *byte == b'/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match *segment {
            b"." | b".." => {
                if *segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            b"" if merge && !last => {}
            _ => kept.push(segment),
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/').map(|segment| until(segment, b';'));
    segments.collect::<Vec<_>>().join(&b'/')
}

fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|byte| *byte == end).next().unwrap_or_default()
}

fn slashed(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

/// No case, backslashes, and no dots or spaces at the end of a name.
fn windows(path: &[u8]) -> Vec<u8> {
    let path = resolved(&slashed(path).to_ascii_lowercase(), true);
    let trimmed = path.split(|byte| *byte == b'/').map(|name| {
        let last = name.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
        &name[..last.map_or(0, |last| last + 1)]
    });
    resolved(&trimmed.collect::<Vec<_>>().join(&b'/'), true)
}

fn narrowed(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path).into_owned();
    let narrow = |character: char| match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        '\u{a0}' => ' ',
        _ => character,
    };
    text.replace('\u{2025}', "..").chars().map(narrow).collect::<String>().into_bytes()
}

/// A path that an origin arrived at, spelt as we take it.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in path {
        match byte {
            b'/' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(*byte)
            }
            _ => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    out
}
