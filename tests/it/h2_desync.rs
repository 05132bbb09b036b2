//! What an origin behind HTTP/1.1 sees of requests in HTTP/2 that two servers might read differently: one request that
//! means the same, or nothing.
//!
//! RFC 9113 §8, §10.3, RFC 9112 §6, RFC 8441. Each case is played on a connection of its own, with the bytes that stand
//! here; then an honest request follows to the same origin, over the connections that it has. What came there is read
//! strictly, so that anything left over would spoil the honest one. Nothing of a case passes that is not in its row.

use crate::support::gateway::{FORWARD, Gateway, gateway};
use crate::support::h2_wire::{
    Answer, CONTINUATION, DATA, END_HEADERS, END_STREAM, H2Wire, HEADERS, PADDED, block, frame,
    request,
};
use crate::support::origin::{Origin, Request};

/// What the origin may see.
#[derive(Clone, Copy, Debug)]
enum Sees<'a> {
    Nothing,
    /// One request with this method, target and content.
    One(&'a str, &'a str, &'a [u8]),
}

/// A name, what is sent, and what may be seen of it.
type Case<'a> = (&'static str, Vec<u8>, Sees<'a>);

const EVIL: &[u8] = b"GET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn house() -> (Origin, Gateway) {
    let origin = Origin::saying("seen");
    let gateway = gateway(FORWARD).with("app", origin.address).start();
    (origin, gateway)
}

#[track_caller]
fn play(cases: &[Case<'_>]) {
    let (origin, gateway) = house();
    let mut seen = 0;
    for (name, sent, sees) in cases {
        let mut wire = H2Wire::connect(gateway.address);
        wire.send_perhaps(sent);
        let answer = wire.answer(1);
        let mut honest = H2Wire::connect(gateway.address);
        honest.get(1, "/honest", &[("x-honest", "1")]);
        let answered = honest.answer(1);
        assert_eq!(answered, Answer::Response(200, b"seen".to_vec()), "{name}");
        let all = origin.requests();
        let (came, last) = (&all[seen..all.len() - 1], &all[all.len() - 1]);
        seen = all.len();
        assert_eq!((last.method.as_str(), last.target.as_str()), ("GET", "/honest"), "{name}");
        match (*sees, came) {
            (Sees::Nothing, []) => {
                let refused = match answer {
                    Answer::Response(status, _) => (400..600).contains(&status),
                    Answer::Reset(_) | Answer::Goaway(_) => true,
                };
                assert!(refused, "{name}: {answer:?}");
            }
            (Sees::One(method, target, body), [one]) => {
                let got = (one.method.as_str(), one.target.as_str(), &one.body[..]);
                assert_eq!(got, (method, target, body), "{name}");
                is_well_formed(name, one);
            }
            _ => panic!("{name}: {sees:?} may be seen and not {came:#?}; {answer:?}"),
        }
    }
}

/// What the strict reading of the origin does not ask.
#[track_caller]
fn is_well_formed(name: &str, seen: &Request) {
    assert_eq!(seen.all("host").len(), 1, "{name}");
    for (field, value) in &seen.fields {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!field.is_empty() && field.bytes().all(token), "{name}: {field:?}");
        let plain = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert!(value.bytes().all(plain), "{name}: {value:?}");
    }
    for field in ["keep-alive", "proxy-connection", "http2-settings", "upgrade"] {
        assert_eq!(seen.all(field).len(), 0, "{name}: {field}");
    }
}

fn whole(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))
}

fn open(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(fields))
}

fn data(bytes: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, 1, bytes)
}

fn get(path: &str) -> Vec<u8> {
    whole(&request("GET", path, &[]))
}

#[test]
fn paths() {
    let same = |path: &'static str| (path, get(path), Sees::One("GET", path, b""));
    let none = |path: &'static str| (path, get(path), Sees::Nothing);
    play(&[
        none("//evil.test/a"),
        same("/http://evil.test/"),
        none("/%0d%0aset-cookie:%20a"),
        same("/a?b=http://c/%20#".trim_end_matches('#')),
        same("/a;b=c"),
        same("/a?"),
        // A fragment belongs to no target (RFC 9110 §7.1) and is cut off.
        ("/a#b", get("/a#b"), Sees::One("GET", "/a", b"")),
        ("/#", get("/#"), Sees::One("GET", "/", b"")),
        ("#", get("#"), Sees::One("GET", "/", b"")),
        none("/a b"),
        none("/\u{fc}"),
        none("/\x7f"),
        none("/a\u{a0}"),
        none("a.test/"),
        none("a.test:80"),
        none("https://a.test/"),
        none("http://a.test"),
        none("http:/"),
        none("ws://a.test/"),
        none("*"),
        none("**"),
        none(" /"),
        none("/ "),
        none("\t/"),
        none("/\u{b}"),
        none("/ HTTP/1.1"),
        none("/\nHTTP/1.1"),
        none("/\r"),
    ]);
}

#[test]
fn methods() {
    let with = |method: &'static str, sees| (method, whole(&request(method, "/", &[])), sees);
    play(&[
        with("BREW", Sees::One("BREW", "/", b"")),
        with("get", Sees::One("get", "/", b"")),
        with("M-SEARCH", Sees::One("M-SEARCH", "/", b"")),
        with("GET /evil", Sees::Nothing),
        with("GET\t", Sees::Nothing),
        with(" GET", Sees::Nothing),
        with("GET\x0b", Sees::Nothing),
        with("G(T", Sees::Nothing),
        with("G\u{c9}T", Sees::Nothing),
        with("PRI", Sees::One("PRI", "/", b"")),
    ]);
}

#[test]
fn authorities_and_schemes() {
    let with = |name: &'static str, scheme: &str, authority: &str, more: &[(&str, &str)], sees| {
        let pseudo =
            [(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", authority)];
        (name, whole(&[&pseudo[..], more].concat()), sees)
    };
    let same = Sees::One("GET", "/", b"");
    play(&[
        with("host that is the same", "http", "a.test", &[("host", "a.test")], same),
        with("host in another case", "http", "a.test", &[("host", "A.TEST")], same),
        with("a port", "http", "a.test:81", &[("host", "a.test:81")], same),
        with("a scheme in upper case", "HTTP", "a.test", &[], Sees::Nothing),
        with("https on a plain connection", "https", "a.test", &[], same),
        with("host with another port", "http", "a.test:80", &[("host", "a.test")], Sees::Nothing),
        with("host with a point", "http", "a.test", &[("host", "a.test.")], Sees::Nothing),
        with("host of nothing", "http", "a.test", &[("host", "")], Sees::Nothing),
        with("a list of hosts", "http", "a.test", &[("host", "a.test, b.test")], Sees::Nothing),
        with("Host in upper case", "http", "a.test", &[("Host", "a.test")], Sees::Nothing),
        with(
            "two hosts",
            "http",
            "a.test",
            &[("host", "a.test"), ("host", "a.test")],
            Sees::Nothing,
        ),
        with("userinfo", "http", "evil@a.test", &[], Sees::Nothing),
        with("userinfo in both", "http", "e@a.test", &[("host", "e@a.test")], Sees::Nothing),
        with("a path", "http", "a.test/b", &[], Sees::Nothing),
        with("a query", "http", "a.test?b", &[], Sees::Nothing),
        with("a scheme in the authority", "http", "http://a.test", &[], Sees::Nothing),
        with("a port that is none", "http", "a.test:99999999", &[], Sees::Nothing),
        with("two ports", "http", "a.test:80:80", &[], Sees::Nothing),
        with("a bracket", "http", "[::1", &[], Sees::Nothing),
        with("a space behind", "http", "a.test ", &[], Sees::Nothing),
        with("a tab before", "http", "\ta.test", &[], Sees::Nothing),
        with("a comma", "http", "a.test,b.test", &[], Sees::Nothing),
        with("file", "file", "a.test", &[], Sees::Nothing),
        with("a scheme with a line in it", "http\r\nx: y", "a.test", &[], Sees::Nothing),
        with("a scheme with a target", "http://evil.test/?", "a.test", &[], Sees::Nothing),
        with("ws", "ws", "a.test", &[], Sees::Nothing),
    ]);
}

#[test]
fn fields() {
    let with = |name: &'static str, field: (&str, &str), sees| {
        (name, whole(&request("GET", "/", &[field])), sees)
    };
    let same = Sees::One("GET", "/", b"");
    let long = "v".repeat(70_000);
    play(&[
        with("te: trailers", ("te", "trailers"), same),
        with("a tab within a value", ("x-a", "a\tb"), same),
        with("an empty value", ("x-a", ""), same),
        with("bytes above ASCII in a value", ("x-a", "\u{e4}"), same),
        with("a value that looks like a line", ("x-a", "b: c"), same),
        with("expect", ("expect", "100-continue"), same),
        with("another expectation", ("expect", "200-ok"), Sees::Nothing),
        with("te: chunked", ("te", "chunked"), Sees::Nothing),
        with("te: trailers and more", ("te", "trailers;q=0.5"), Sees::Nothing),
        with("te of nothing", ("te", ""), Sees::Nothing),
        with("a name of a colon", (":", "1"), Sees::Nothing),
        with("a name that begins with a colon", (":evil", "1"), Sees::Nothing),
        with("a name that ends with one", ("x-a:", "1"), Sees::Nothing),
        with("a line folded", ("x-a", "b\r\n c"), Sees::Nothing),
        with("a vertical tab", ("x-a", "b\x0bc"), Sees::Nothing),
        with("a name with a tab", ("x\ta", "b"), Sees::Nothing),
        with("a name with DEL", ("x\x7fa", "b"), Sees::Nothing),
        with("a name with a quote", ("x\"a", "b"), Sees::Nothing),
        with("a name with a slash", ("x/a", "b"), Sees::Nothing),
        with("a value beyond all bounds", ("x-a", &long[..16_300]), same),
        with("framing by underline", ("transfer_encoding", "chunked"), Sees::Nothing),
        with("a length by underline", ("content_length", "5"), Sees::Nothing),
        with("a coding with a tab", ("transfer-encoding", "\tchunked"), Sees::Nothing),
        with("a coding in quotes", ("transfer-encoding", "\"chunked\""), Sees::Nothing),
        with("connection that names framing", ("connection", "content-length"), Sees::Nothing),
        with("connection of nothing", ("connection", ""), Sees::Nothing),
        with("upgrade to websocket", ("upgrade", "websocket"), Sees::Nothing),
    ]);
}

#[test]
fn heads_in_pieces() {
    let fields = block(&request("GET", "/", &[]));
    let more = |flags, bytes: &[u8]| frame(CONTINUATION, flags, 1, bytes);
    let begun = frame(HEADERS, END_STREAM, 1, &fields);
    let evil = block(&[("transfer-encoding", "chunked")]);
    let table = [&fields[..], b"\x40\x11transfer-encoding\x07chunked"].concat();
    let long = block(&[("x-long", &"v".repeat(15_000))]);
    let huge = [&begun[..], &more(0, &long), &more(0, &long), &more(0, &long), &more(4, &long)];
    play(&[
        (
            "an honest one",
            [&begun[..], &more(END_HEADERS, &block(&[("x-a", "1")]))].concat(),
            Sees::One("GET", "/", b""),
        ),
        ("a coding behind", [&begun[..], &more(END_HEADERS, &evil)].concat(), Sees::Nothing),
        ("a coding in the table", frame(HEADERS, 5, 1, &table), Sees::Nothing),
        (
            "a pseudo-header field behind",
            [&begun[..], &more(END_HEADERS, &block(&[("x-a", "1"), (":path", "/evil")]))].concat(),
            Sees::Nothing,
        ),
        ("a head beyond all bounds", huge.concat(), Sees::Nothing),
        (
            "another request within",
            [&begun[..], &frame(HEADERS, 5, 3, &fields), &more(END_HEADERS, &[])].concat(),
            Sees::Nothing,
        ),
        (
            "a name cut in two",
            [&begun[..], &more(0, b"\x00\x11transfer-"), &more(4, b"encoding\x07chunked")].concat(),
            Sees::Nothing,
        ),
    ]);
}

#[test]
fn contents() {
    let post = |more: &[(&str, &str)]| open(&request("POST", "/", more));
    let sized = |length: &str| post(&[("content-length", length)]);
    let padded = |bytes: &[u8], padding: u8| {
        let padding_bytes = vec![0; usize::from(padding)];
        let payload = [&[padding][..], bytes, &padding_bytes].concat();
        frame(DATA, END_STREAM | PADDED, 1, &payload)
    };
    let head =
        |body: Vec<u8>, more: &[(&str, &str)]| [open(&request("HEAD", "/", more)), body].concat();
    let get =
        |body: Vec<u8>, more: &[(&str, &str)]| [open(&request("GET", "/", more)), body].concat();
    play(&[
        ("as long as it says", [sized("3"), data(b"abc")].concat(), Sees::One("POST", "/", b"abc")),
        ("no length", [post(&[]), data(EVIL)].concat(), Sees::One("POST", "/", EVIL)),
        (
            "a last chunk in it",
            [post(&[]), data(b"0\r\n\r\n")].concat(),
            Sees::One("POST", "/", b"0\r\n\r\n"),
        ),
        ("padding", [sized("3"), padded(b"abc", 200)].concat(), Sees::One("POST", "/", b"abc")),
        ("padding alone", [sized("0"), padded(b"", 9)].concat(), Sees::One("POST", "/", b"")),
        ("padding counted", [sized("7"), padded(b"abc", 3)].concat(), Sees::Nothing),
        (
            "a length of 0, then the end",
            [sized("0"), data(b"")].concat(),
            Sees::One("POST", "/", b""),
        ),
        ("a length of 0, then content", [sized("0"), data(EVIL)].concat(), Sees::Nothing),
        ("a GET with content", get(data(b"abc"), &[]), Sees::One("GET", "/", b"abc")),
        (
            "a GET with a length and content",
            get(data(b"abc"), &[("content-length", "3")]),
            Sees::One("GET", "/", b"abc"),
        ),
        (
            "a GET with more than its length",
            get(data(EVIL), &[("content-length", "0")]),
            Sees::Nothing,
        ),
        ("a HEAD with content", head(data(b"abc"), &[]), Sees::One("HEAD", "/", b"abc")),
        ("a HEAD with less", head(data(b"a"), &[("content-length", "3")]), Sees::Nothing),
        ("less than it says", [sized("99"), data(EVIL)].concat(), Sees::Nothing),
        ("more than it says", [sized("1"), data(EVIL)].concat(), Sees::Nothing),
        (
            "a length without content",
            whole(&request("POST", "/", &[("content-length", "9")])),
            Sees::Nothing,
        ),
        (
            "a length with zeros",
            [sized("0003"), data(b"abc")].concat(),
            Sees::One("POST", "/", b"abc"),
        ),
        ("a length with a sign", [sized("+3"), data(b"abc")].concat(), Sees::Nothing),
        ("a negative length", [sized("-0"), data(b"")].concat(), Sees::Nothing),
        ("a length of hexadecimals", [sized("a"), data(b"0123456789")].concat(), Sees::Nothing),
        ("a length with a point", [sized("3.0"), data(b"abc")].concat(), Sees::Nothing),
        ("a length with an exponent", [sized("1e1"), data(b"0123456789")].concat(), Sees::Nothing),
        (
            "a length with a space within",
            [sized("1 0"), data(b"0123456789")].concat(),
            Sees::Nothing,
        ),
        ("a list of lengths", [sized("3, 3"), data(b"abc")].concat(), Sees::Nothing),
        ("a list of other lengths", [sized("3,0"), data(b"abc")].concat(), Sees::Nothing),
        (
            "a length beyond 64 bits",
            [sized("18446744073709551619"), data(b"abc")].concat(),
            Sees::Nothing,
        ),
        ("a length of other digits", [sized("\u{663}"), data(b"abc")].concat(), Sees::Nothing),
        (
            "two lengths",
            [post(&[("content-length", "3"), ("content-length", "3")]), data(b"abc")].concat(),
            Sees::Nothing,
        ),
        (
            "a length and a coding",
            [post(&[("content-length", "3"), ("transfer-encoding", "chunked")]), data(b"abc")]
                .concat(),
            Sees::Nothing,
        ),
        (
            "a coding of nothing",
            [post(&[("transfer-encoding", "")]), data(b"abc")].concat(),
            Sees::Nothing,
        ),
        (
            "expect, and content",
            [post(&[("expect", "100-continue")]), data(b"abc")].concat(),
            Sees::One("POST", "/", b"abc"),
        ),
    ]);
}

#[test]
fn trailers() {
    let post = open(&request("POST", "/", &[("te", "trailers")]));
    let with = |name: &'static str, trailers: &[(&str, &str)], sees| {
        let end = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(trailers));
        (name, [&post[..], &frame(DATA, 0, 1, b"abc"), &end].concat(), sees)
    };
    let same = Sees::One("POST", "/", b"abc");
    play(&[
        with("honest ones", &[("x-sum", "1")], same),
        with("none at all", &[], same),
        with("a pseudo-header field", &[(":path", "/evil")], Sees::Nothing),
        with("another", &[(":method", "GET")], Sees::Nothing),
        with("an unknown one", &[(":evil", "1")], Sees::Nothing),
        with("a status", &[(":status", "200")], Sees::Nothing),
        with("one behind a field", &[("x-a", "1"), (":path", "/evil")], Sees::Nothing),
        with("a coding", &[("transfer-encoding", "chunked")], Sees::Nothing),
        with("connection", &[("connection", "x-a")], Sees::Nothing),
        with("upper case", &[("X-A", "1")], Sees::Nothing),
        with("a line in a value", &[("x-a", "b\r\nx-evil: 1")], Sees::Nothing),
        with("a line in a name", &[("x-a\r\nx-evil", "1")], Sees::Nothing),
        with(
            "a request in a value",
            &[("x-a", "b\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")],
            Sees::Nothing,
        ),
    ]);
}

#[test]
fn trailers_that_would_change_the_message_are_left_out() {
    // RFC 9110 §6.5.1: they are no trailers, and merging them would make another message.
    let (origin, gateway) = house();
    let fields = [("content-length", "99"), ("host", "evil.test"), ("x-sum", "1")];
    let mut wire = H2Wire::connect(gateway.address);
    wire.headers(1, &request("POST", "/", &[("te", "trailers")]), false);
    wire.data(1, b"abc", false);
    wire.headers(1, &fields, true);
    let answer = wire.answer(1);
    let seen = origin.requests();
    match answer {
        Answer::Response(200, _) => {
            assert_eq!(seen[0].body, b"abc");
            let names: Vec<&str> = seen[0].trailers.iter().map(|(name, _)| name.as_str()).collect();
            assert!(!names.contains(&"content-length") && !names.contains(&"host"), "{names:?}");
        }
        _ => assert!(seen.is_empty(), "{answer:?}"),
    }
}

#[test]
fn connects() {
    let host = (":authority", "a.test:443");
    let connect = (":method", "CONNECT");
    let (scheme, path) = ((":scheme", "http"), (":path", "/"));
    let extended =
        |protocol| [connect, (":protocol", protocol), scheme, path, (":authority", "a.test")];
    play(&[
        ("where none is allowed", open(&[connect, host]), Sees::Nothing),
        ("with a scheme", open(&[connect, scheme, host]), Sees::Nothing),
        ("with a path", open(&[connect, path, host]), Sees::Nothing),
        ("with both", open(&[connect, scheme, path, host]), Sees::Nothing),
        ("without authority", open(&[connect]), Sees::Nothing),
        (
            "with a line in its authority",
            open(&[connect, (":authority", "a:1\r\nx: y")]),
            Sees::Nothing,
        ),
        (
            "with a target in its authority",
            open(&[connect, (":authority", "a:1 HTTP/1.1")]),
            Sees::Nothing,
        ),
        ("with content", [open(&[connect, host]), data(EVIL)].concat(), Sees::Nothing),
        (
            "a protocol with GET",
            open(&[&[(":protocol", "websocket")][..], &request("GET", "/", &[])].concat()),
            Sees::Nothing,
        ),
        ("another protocol", open(&extended("connect-udp")), Sees::Nothing),
        ("a protocol of nothing", open(&extended("")), Sees::Nothing),
        ("a protocol with a line in it", open(&extended("websocket\r\nx: y")), Sees::Nothing),
        (
            "a protocol twice",
            open(&[&[(":protocol", "websocket")][..], &extended("websocket")].concat()),
            Sees::Nothing,
        ),
        (
            "a protocol without a path",
            open(&[connect, (":protocol", "websocket"), scheme, host]),
            Sees::Nothing,
        ),
        (
            "a websocket with upgrade",
            open(&[&extended("websocket")[..], &[("upgrade", "websocket")]].concat()),
            Sees::Nothing,
        ),
        (
            "a websocket with a length",
            [open(&[&extended("websocket")[..], &[("content-length", "5")]].concat()), data(EVIL)]
                .concat(),
            Sees::Nothing,
        ),
    ]);
}

#[test]
fn pseudo_header_fields() {
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    let more = |name: &'static str, field: (&'static str, &'static str)| {
        (name, whole(&[&get[..], &[field]].concat()), Sees::Nothing)
    };
    let less = |name: &'static str, which: usize| {
        let mut fields = get.to_vec();
        fields.remove(which);
        (name, whole(&fields), Sees::Nothing)
    };
    play(&[
        more("another method", (":method", "POST")),
        more("another path", (":path", "/evil")),
        more("another authority", (":authority", "evil.test")),
        more("another scheme", (":scheme", "https")),
        more("a status", (":status", "200")),
        more("one with a space", (":path ", "/evil")),
        more("one in upper case", (":Path", "/evil")),
        less("no method", 0),
        less("no scheme", 1),
        less("no path", 2),
        less("no authority and no host", 3),
        (
            "one behind a field",
            whole(&[get[0], get[1], get[3], ("x-a", "1"), get[2]]),
            Sees::Nothing,
        ),
        ("in another order", whole(&[get[3], get[2], get[1], get[0]]), Sees::One("GET", "/", b"")),
    ]);
}

#[test]
fn streams_that_mix() {
    // Content of one stream never gets into another, whatever order frames come in.
    let (origin, gateway) = house();
    let mut wire = H2Wire::connect(gateway.address);
    for stream in [1, 3, 5] {
        wire.headers(stream, &request("POST", "/", &[]), false);
    }
    for piece in 0..50 {
        for stream in [5, 1, 3] {
            wire.data(stream, format!("{stream}").repeat(piece).as_bytes(), piece == 49);
        }
    }
    let mut answered = 0;
    while answered < 3 {
        answered += u32::from(wire.expect(DATA).flags & END_STREAM != 0);
    }
    let mut bodies: Vec<Vec<u8>> = origin.requests().into_iter().map(|one| one.body).collect();
    bodies.sort();
    let all: usize = (0..50).sum();
    assert_eq!(bodies, [b"1", b"3", b"5"].map(|digit| digit.repeat(all)));
}
