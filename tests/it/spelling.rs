//! Spellings of a path that try to slip past a policy, and odd ones that are nobody's harm.
//!
//! The origin behind the gateway is read twice: as RFC 3986 §6 has it, and as the most careless software
//! would (decoding again and again, backslashes, parameters cut off, slashes merged, no case, Windows names,
//! wide characters). Whatever reaches it without a token must not be the guarded page in either reading.
//! What only looks odd must arrive byte for byte.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;

const CONFIG: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[jwt.key]
secret = "0123456789abcdef0123456789abcdef"

[[route]]
match = "/admin/{*rest}"
jwt = "key"
forward = "app"

[[route]]
match = "/vault"
jwt = "key"
forward = "app"

[[route]]
match = "/{*rest}"
forward = "app"
"#;

/// What stands where the guarded names and the slashes of a path are.
const NAMES: [&str; 22] = [
    "admin",
    "Admin",
    "ADMIN",
    "%61dmin",
    "%41dmin",
    "adm%69n",
    "%2561dmin",
    "%252561dmin",
    "%u0061dmin",
    "%25u0061dmin",
    "%ef%bd%81dmin",
    "\u{ff41}dmin",
    "admin.",
    "admin%2e",
    "admin%20",
    "admin;",
    "admin;a=b",
    "admin%3b",
    "admin%253b",
    "admin%00",
    "admin%09",
    "admin%c2%a0",
];
const SLASHES: [&str; 19] = [
    "/",
    "//",
    "///",
    "/./",
    "/.//",
    "/%2e/",
    "/;/",
    "/;a/",
    "%2f",
    "%2F",
    "%252f",
    "%25252f",
    "\\",
    "%5c",
    "%255c",
    "%c0%af",
    "%ef%bc%8f",
    "\u{ff0f}",
    "%2f%2f",
];
/// Ways into a folder and out of it again.
const DETOURS: [&str; 40] = [
    "/x/../",
    "/x/..//",
    "/x/..;/",
    "/x/..;a=b/",
    "/x/.;/../",
    "/x/%2e%2e/",
    "/x/%2E%2E/",
    "/x/.%2e/",
    "/x/%2e./",
    "/x/%252e%252e/",
    "/x/%25252e%25252e/",
    "/x/..%2f",
    "/x/..%252f",
    "/x/%2e%2e%2f",
    "/x%2f..%2f",
    "/x%2f..%252f",
    "/x\\..\\",
    "/x/..\\",
    "/x%5c..%5c",
    "/x/..%5c",
    "/x/%2e%2e%5c",
    "/x/%c0%ae%c0%ae/",
    "/x/%e0%80%ae%e0%80%ae/",
    "/x/%ef%bc%8e%ef%bc%8e/",
    "/x/%u002e%u002e/",
    "/x/%e2%80%a5/",
    "/x/..%00/",
    "/x/..%20/",
    "/x/...%2e/",
    "/x/..%3b/",
    "/x/%2e%2e%3b/",
    "/x/%2e%2e;/",
    "/x/..%0d%0a/",
    "/x/..%09/",
    "/x/../%2e/",
    "/x/y/../../",
    "/x/%2e%2e//",
    "/../",
    "/./",
    "/%2e/",
];
/// Targets and fields that say another path beside the path.
const TRICKS: [&str; 34] = [
    "GET http://test/admin/secret",
    "GET http://test//admin/secret",
    "GET http://test/./admin/secret",
    "GET http://test/%61dmin/secret",
    "GET http://test/x/..;/admin/secret",
    "GET http://test\\admin/secret",
    "GET http://user:pw@test/admin/secret",
    "GET http://test:80/admin/secret",
    "GET http:/admin/secret",
    "GET http:///admin/secret",
    "GET https://other/admin/secret",
    "GET HTTP://TEST/ADMIN/secret",
    "GET //test/admin/secret",
    "GET ///admin/secret",
    "GET /\\test/admin/secret",
    "GET /#/../admin/secret",
    "GET /x#/../../admin/secret",
    "GET admin/secret",
    "GET ./admin/secret",
    "GET ../admin/secret",
    "GET *",
    "GET /admin/secret#",
    "GET /admin/secret?",
    "GET /admin/secret?x",
    "GET /admin/secret%3fx",
    "GET /admin/secret/",
    "GET /vault/",
    "GET /Vault",
    "GET /vault;",
    "GET /vault%2f",
    "GET /vault%3f",
    "GET /vault#",
    "GET /x?/../admin/secret#",
    "CONNECT /admin/secret",
];
const FIELDS: [&str; 8] = [
    "X-Original-URL: /admin/secret",
    "X-Rewrite-URL: /admin/secret",
    "X_Original_URL: /admin/secret",
    "X-Original-Url : /admin/secret",
    "x-rewrite-url: http://test/admin/secret",
    "Host: test\r\nX-Original-URL: /vault",
    "X-Forwarded-Host: admin",
    "X-Forwarded-Proto: https",
];

fn guarded(origin: &Origin) -> Gateway {
    gateway(CONFIG).with("app", origin.address).start()
}

/// The path of a target as an origin that follows RFC 3986 §6.2.2 has it.
fn strict(target: &str) -> Vec<u8> {
    resolved(&decoded(path_of(target)), false)
}

/// The same as the most careless origin has it.
fn careless(target: &str) -> Vec<u8> {
    let mut path = path_of(target).to_vec();
    for _ in 0..4 {
        path = decoded(&path);
    }
    let text = String::from_utf8_lossy(&path).to_lowercase();
    let text: String = text.chars().map(narrow).collect();
    let text = text.replace('\\', "/").replace('\u{2025}', "..");
    let cut = |name: &str| {
        let name = name.split([';', '\0', '?', '#']).next().unwrap_or_default().trim();
        let bare = name.trim_end_matches(['.', ' ']);
        if bare.is_empty() { name.to_string() } else { bare.to_string() }
    };
    let text = text.split('/').map(cut).collect::<Vec<_>>().join("/");
    resolved(text.as_bytes(), true)
}

fn narrow(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(character as u32 - 0xfee0).unwrap_or(character),
        '\u{a0}' => ' ',
        _ => character,
    }
}

fn path_of(target: &str) -> &[u8] {
    target.split('?').next().unwrap_or_default().as_bytes()
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    let hex = |digits: Option<&[u8]>| {
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    while at < path.len() {
        let rest = &path[at..];
        let (bytes, length) = match (hex(rest.get(1..3)), hex(rest.get(2..6))) {
            (Some(byte), _) if rest[0] == b'%' => (vec![byte as u8], 3),
            (_, Some(unit)) if rest.starts_with(b"%u") => {
                (char::from_u32(unit).unwrap_or('?').to_string().into_bytes(), 6)
            }
            _ => (vec![rest[0]], 1),
        };
        out.extend(bytes);
        at += length;
    }
    out
}

fn resolved(path: &[u8], merge: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match segment {
            b".." => drop(kept.pop()),
            b"." => {}
            b"" if merge => {}
            _ => kept.push(segment),
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}

/// Sends a head, and says what of it reached the origin without a token.
fn passed(gateway: &Gateway, origin: &Origin, head: &str) -> Vec<String> {
    let before = origin.requests().len();
    let mut client = gateway.connect();
    client.send_perhaps(head);
    let answer = client.response();
    assert_ne!(answer.status, 500, "{head}");
    let seen = origin.requests();
    let line = |request: &crate::support::origin::Request| {
        let hidden = request.all("x-original-url").len() + request.all("x-rewrite-url").len();
        assert_eq!(hidden, 0, "another path beside the path reached the origin: {head}");
        request.target.clone()
    };
    seen[before..].iter().map(line).collect()
}

#[test]
fn no_spelling_of_a_guarded_path_reaches_it_without_a_token() {
    let origin = Origin::saying("secret");
    let gateway = guarded(&origin);
    let mut heads = Vec::new();
    let mut add = |line: &str| heads.push(format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n"));
    for name in NAMES {
        add(&format!("GET /{name}/secret"));
        add(&format!("GET //{name}//secret"));
        for slash in SLASHES {
            add(&format!("GET {slash}{name}{slash}secret"));
            add(&format!("GET /{name}{slash}secret"));
        }
    }
    for detour in DETOURS {
        for behind in ["admin/secret", "%61dmin/secret", "Admin/secret", "vault", "admin%2fsecret"]
        {
            add(&format!("GET {detour}{behind}"));
        }
    }
    TRICKS.iter().for_each(|line| add(line));
    for field in FIELDS {
        heads.push(format!("GET /open HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n"));
    }
    assert!(heads.len() > 1000);
    let mut slipped = Vec::new();
    for head in &heads {
        for target in passed(&gateway, &origin, head) {
            for (reads, path) in [("strictly", strict(&target)), ("carelessly", careless(&target))]
            {
                if path.starts_with(b"/admin") || path.starts_with(b"/vault") {
                    slipped.push(format!("{head:?} read {reads}"));
                }
            }
        }
    }
    assert!(slipped.is_empty(), "{} slipped past:\n{}", slipped.len(), slipped.join("\n"));
}

/// Paths that only look odd.
const LEGAL: [&str; 84] = [
    "/",
    "/a",
    "/a/",
    "/index.html",
    "/a.b.c",
    "/.well-known/x",
    "/.hidden",
    "/..a",
    "/a..",
    "/a..b",
    "/...a",
    "/a%20b",
    "/%20a",
    "/a+b",
    "/100%25",
    "/100%25/b",
    "/50%25off",
    "/100%2525",
    "/a%2520b",
    "/caf%C3%A9",
    "/%E2%82%AC",
    "/%F0%9F%98%80",
    "/%E6%97%A5%E6%9C%AC",
    "/a,b",
    "/a%2Cb",
    "/~user",
    "/%7Euser",
    "/a:b@c",
    "/user@example.com",
    "/a!$&'()*",
    "/a=b",
    "/a_b-c",
    "/A/B/C",
    "/Admin-panel",
    "/administrator",
    "/admin2/x",
    "/xadmin/secret",
    "/x/admin/secret",
    "/x/Admin/secret",
    "/vaults",
    "/x/vault",
    "/a%3Ab",
    "/a%40b",
    "/a%26b",
    "/a%3Db",
    "/a%2Bb",
    "/%5Ba%5D",
    "/%7Ba%7D",
    "/a%22b",
    "/a%27b",
    "/a%3Cb%3E",
    "/a%7Cb",
    "/a%5Eb",
    "/a%60b",
    "/a%23b",
    "/a%3Fb",
    "/a;v=1",
    "/a;v=1/b;w=2",
    "/a;jsessionid=0123",
    "/a%3Bb",
    "/a;",
    "/a//b",
    "/a///b/c",
    "/x/http://other.example/y",
    "/a%2Fb",
    "/a%2fb/c",
    "/@scope%2Fpackage",
    "/projects/group%2Fname/x",
    "/a?b=c",
    "/a?",
    "/a??",
    "/a?b=/../admin/secret",
    "/a?b=%2e%2e/",
    "/a?b=c;d=e",
    "/a?b=[1]&c={2}|3",
    "/a?next=http://x/y?z",
    "/a?%00",
    "/0",
    "/-",
    "/_",
    "/a%2E",
    "/a%2Eb",
    "/%61",
    "/a/b/c/d/e/f/g/h/i/j/k/l",
];

#[test]
fn paths_that_only_look_odd_arrive_byte_for_byte() {
    let origin = Origin::saying("open");
    let gateway = guarded(&origin);
    let long = format!("/{}", "a".repeat(4000));
    let deep = "/a".repeat(100);
    let mut wrong = Vec::new();
    for target in LEGAL.iter().copied().chain([long.as_str(), deep.as_str()]) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        let arrived = passed(&gateway, &origin, &head);
        if arrived != [target] {
            wrong.push(format!("{target} arrived as {arrived:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} paths:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_has_two_readings_is_taken_only_where_both_lead_to_one_route() {
    let origin = Origin::saying("open");
    let gateway = guarded(&origin);
    for (target, status) in [
        ("/admin//secret", 401),
        ("/admin/a%2Fb", 401),
        ("/admin/a;v=1", 401),
        ("/admin/%2561", 401),
        ("/x//admin", 200),
        ("/admin;v=1/a", 400),
        ("//admin/a", 400),
        ("//x", 400),
        ("/admin%2Fa", 400),
        ("/%2561dmin/a", 400),
        ("/admin", 400),
        ("/vault/", 400),
        ("/vault", 401),
        ("/x//y;z", 400),
    ] {
        assert_eq!(gateway.get(target).status, status, "{target}");
    }
}
