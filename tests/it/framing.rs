//! HTTP/1.1 framing, case by case: the tables in `framing/` and a grid of single bytes, over real sockets.
//!
//! RFC 9112 throughout. A table's line says what the client sees and what may reach the origin; where the
//! standard lets a recipient choose between refusing and repairing, the line is this gateway's choice, and
//! docs/http1.md its reason. Whatever is refused must never be a whole request at the origin, and what an
//! origin sends must never become somebody else's answer.

use std::io::Write;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, ok, read_request};
use crate::support::wire::request;

const REQUESTS: &str = include_str!("framing/requests.txt");
const RESPONSES: &str = include_str!("framing/responses.txt");

/// A listener that speaks HTTP/1.1 only, so that the preface of HTTP/2 is no beginning either.
fn forwarding_to(origin: &Origin) -> Gateway {
    let config = "workers = 1\n[[listen]]\naddress = \"@LISTEN@\"\nprotocols = [\"http/1.1\"]\n\
                  [upstream.app]\nendpoints = [\"@app@\"]\n\n\
                  [[route]]\nmatch = \"/{*rest}\"\nforward = \"app\"\n";
    gateway(config).with("app", origin.address).start()
}

/// The cases of a table: the columns before the bytes, the bytes, and whether the sender then closes.
fn cases(table: &str, columns: usize) -> Vec<(Vec<&str>, Vec<u8>, bool)> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let case = |line| {
        let mut parts: Vec<&str> = str::splitn(line, columns + 1, " | ").collect();
        assert_eq!(parts.len(), columns + 1, "a column is missing: {line}");
        let text = parts.pop().expect("counted above");
        let eof = text.ends_with("{eof}");
        (parts, bytes(text.trim_end_matches("{eof}")), eof)
    };
    lines.map(case).collect()
}

/// The bytes that a table's text stands for; see the tables' own heads.
fn bytes(text: &str) -> Vec<u8> {
    let long = text
        .replace("{smug}", "GET /smug HTTP/1.1\\r\\n{h}\\r\\n")
        .replace("{post}", "POST /a HTTP/1.1\\r\\n{h}")
        .replace("{tc}", "Transfer-Encoding: chunked\\r\\n\\r\\n")
        .replace("{5}", "5\\r\\nhello\\r\\n0\\r\\n\\r\\n")
        .replace("{h}", "Host: test\\r\\n")
        .replace("{sp}", " ");
    let mut out = Vec::new();
    let mut rest = long.bytes();
    while let Some(byte) = rest.next() {
        let escaped = if byte == b'\\' { rest.next() } else { None };
        out.push(match escaped {
            None => byte,
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
                (digit().expect("hex") << 4 | digit().expect("hex")) as u8
            }
            Some(other) => panic!("escape {:?} in {text}", char::from(other)),
        });
    }
    out
}

/// The statuses that the client of one case saw, in order; behind them the connection ends without another
/// byte: by itself where the last answer says so or none came, else when the client says that it is done.
fn seen(gateway: &Gateway, sent: &[u8], eof: bool, wanted: usize) -> Vec<u16> {
    let mut client = gateway.connect();
    client.send_perhaps(sent);
    if eof {
        client.finish();
    }
    let head = sent.starts_with(b"HEAD ") || sent.starts_with(b"\r\nHEAD ");
    let mut statuses = Vec::new();
    let mut open = wanted > 0;
    while statuses.len() < wanted {
        let answer = client.try_response(if head { "HEAD" } else { "GET" });
        open = answer.as_ref().is_ok_and(|answer| answer.field("connection") != Some("close"));
        let Ok(answer) = answer else { break };
        statuses.push(answer.status);
    }
    if open {
        client.finish();
    }
    client.expect_close();
    statuses
}

#[test]
fn requests_are_read_as_the_table_says() {
    let origin = Origin::saying("content");
    let gateway = forwarding_to(&origin);
    let mut arrived = 0;
    let mut wrong = Vec::new();
    for (columns, sent, eof) in cases(REQUESTS, 4) {
        let [statuses, at_origin, rfc, why] = columns[..] else { unreachable!("counted") };
        let wanted: Vec<u16> = statuses.split(' ').filter_map(|word| word.parse().ok()).collect();
        let (count, content) = at_origin.split_once(' ').expect("count and content");
        let saw = seen(&gateway, &sent, eof, wanted.len());
        let requests = origin.requests();
        let mine = &requests[arrived..];
        arrived = requests.len();
        let body = mine.first().map_or("", |first| std::str::from_utf8(&first.body).unwrap());
        let fits = mine.len().to_string() == count && body == content.trim_matches('-');
        let smuggled = mine.iter().any(|request| request.target.contains("smug"));
        if saw != wanted || !fits || smuggled {
            let what = String::from_utf8_lossy(&sent).into_owned();
            wrong.push(format!(
                "{why} ({rfc}): saw {saw:?}, origin {} {body:?}: {what:?}",
                mine.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn responses_are_read_as_the_table_says() {
    let cases = cases(RESPONSES, 4);
    let script: Vec<(Vec<u8>, bool)> =
        cases.iter().map(|(_, bytes, eof)| (bytes.clone(), *eof)).collect();
    let origin = Origin::raw(move |mut stream, _| {
        let mut rest = Vec::new();
        while let Ok(Some(request)) = read_request(&mut stream, &mut rest) {
            let number =
                request.target.strip_prefix("/case/").and_then(|n| n.parse::<usize>().ok());
            let Some((bytes, eof)) = number.map(|number| &script[number]) else {
                let _ = stream.write_all(&ok("next"));
                continue;
            };
            let _ = stream.write_all(bytes);
            if *eof {
                return;
            }
        }
    });
    let gateway = forwarding_to(&origin);
    let mut wrong = Vec::new();
    for (number, (columns, bytes, _)) in cases.iter().enumerate() {
        let [sees, method, rfc, why] = columns[..] else { unreachable!("counted") };
        let mut client = gateway.connect();
        client.send(request(method, &format!("/case/{number}"), &[], b""));
        let answer = client.try_response(method);
        let saw = match &answer {
            Ok(answer) if answer.status == 502 => "502".to_string(),
            Ok(answer) if answer.body.is_empty() => format!("{} -", answer.status),
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(_) => "200 cut".to_string(),
        };
        let later = gateway.get("/next").expect(200).text();
        let evil = client.seen.windows(4).any(|window| window == b"EVIL");
        if saw != sees || later != "next" || evil {
            let what = String::from_utf8_lossy(bytes);
            wrong.push(format!("{why} ({rfc}): saw {saw:?} {answer:?}, then {later:?}: {what:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

type Allowed = fn(u8) -> bool;

/// Where in a request a single byte is put, and which bytes may stand there.
const GRID: [(&str, &str, Allowed); 14] = [
    ("in a method", "GE@T /a HTTP/1.1\r\nHost: test\r\n\r\n", is_tchar),
    ("before a method", "@GET /a HTTP/1.1\r\nHost: test\r\n\r\n", is_tchar),
    ("in a path", "GET /a@b HTTP/1.1\r\nHost: test\r\n\r\n", is_pchar),
    ("in a query", "GET /a?@b HTTP/1.1\r\nHost: test\r\n\r\n", is_query),
    ("before a version", "GET /a @HTTP/1.1\r\nHost: test\r\n\r\n", never),
    ("in a version", "GET /a HTTP/1@.1\r\nHost: test\r\n\r\n", never),
    ("behind a version", "GET /a HTTP/1.1@\r\nHost: test\r\n\r\n", never),
    ("before a name", "GET /a HTTP/1.1\r\nHost: test\r\n@Field: x\r\n\r\n", is_tchar),
    ("in a name", "GET /a HTTP/1.1\r\nHost: test\r\nFi@eld: x\r\n\r\n", is_tchar_or_colon),
    ("behind a name", "GET /a HTTP/1.1\r\nHost: test\r\nField@: x\r\n\r\n", is_tchar_or_colon),
    ("before a value", "GET /a HTTP/1.1\r\nHost: test\r\nField:@x\r\n\r\n", is_value),
    ("in a value", "GET /a HTTP/1.1\r\nHost: test\r\nField: x@y\r\n\r\n", is_value),
    ("behind a value", "GET /a HTTP/1.1\r\nHost: test\r\nField: x@\r\n\r\n", is_value),
    ("in a host", "GET /a HTTP/1.1\r\nHost: te@st\r\n\r\n", is_host),
];

fn never(_: u8) -> bool {
    false
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_tchar_or_colon(byte: u8) -> bool {
    is_tchar(byte) || byte == b':'
}

/// `%` alone is a broken escape.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte)
}

fn is_query(byte: u8) -> bool {
    (0x21..0x7f).contains(&byte) && byte != b'#'
}

fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[test]
fn every_byte_at_every_place_is_taken_or_refused_by_its_class() {
    let origin = Origin::saying("content");
    let gateway = forwarding_to(&origin);
    let mut wrong = Vec::new();
    let mut taken = 0;
    let some = (0..=0x7f).chain([0x80, 0x85, 0xa0, 0xad, 0xc2, 0xe2, 0xff]);
    for (place, text, allowed) in GRID {
        for byte in some.clone() {
            let (before, behind) = text.split_once('@').expect("a place");
            let sent = [before.as_bytes(), &[byte], behind.as_bytes()].concat();
            let good = allowed(byte);
            let statuses = seen(&gateway, &sent, false, 1);
            taken += usize::from(good);
            if statuses != [if good { 200 } else { 400 }] {
                wrong.push(format!("{byte:#04x} {place}: {statuses:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(origin.requests().len(), taken, "what was refused reached nobody");
}
