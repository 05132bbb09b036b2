//! A real browser over HTTP/2: a page, and an API of another origin behind the same gateway.
//!
//! Debian's Chromium runs the page; what it found out it writes into its document, which is all that the test
//! reads. The browser's own rules are the judge: ALPN, certificates, CORS with a preflight, content codings.

use std::process::{Command, Stdio};

use base64::Engine;

use crate::support::certs::Authority;
use crate::support::gateway::{Folder, Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};

/// A page that asks the API in every way a page does, and says what came.
const PAGE: &str = r#"<!doctype html><title>Shop</title><link rel="stylesheet" href="/style.css"><pre id="found"></pre><script>
const found = {};
const protocols = () => performance.getEntriesByType("resource")
    .map(entry => new URL(entry.name).pathname + " " + entry.nextHopProtocol).sort();
async function json(path, options) {
    const answer = await fetch("https://api.test:PORT" + path, options);
    return { status: answer.status, id: !!answer.headers.get("x-request-id"), body: await answer.json() };
}
async function run() {
    found.page = performance.getEntriesByType("navigation")[0].nextHopProtocol;
    found.merged = await json("/dashboard", { headers: { "x-client": "web" } });
    found.refused = await json("/closed");
    const large = "0123456789".repeat(30000);
    found.sent = await json("/upload", { method: "POST", body: large });
    found.many = (await Promise.all([...Array(60).keys()].map(n => json("/dashboard?" + n))))
        .filter(answer => answer.status === 200).length;
    let events = 0;
    await new Promise((done, failed) => {
        const source = new EventSource("https://api.test:PORT/dashboard");
        source.addEventListener("done", () => { source.close(); done(); });
        source.addEventListener("part", () => { events += 1; });
        source.onerror = failed;
    });
    found.events = events;
    try { await json("/private"); } catch (error) { found.private = "not readable"; }
    const call = await fetch("https://api.test:PORT/greet.Greeter/Hello", { method: "POST", body: "AAAAAAA=",
        headers: { "content-type": "application/grpc-web-text", "x-grpc-web": "1", "grpc-timeout": "10S" } });
    found.call = { type: call.headers.get("content-type"), body: await call.text() };
    const away = await fetch("https://api.test:PORT/greet.Away/Hello", { method: "POST", body: "",
        headers: { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" } });
    found.away = [away.status, away.headers.get("grpc-status")];
    found.protocols = [...new Set(protocols())];
}
run().catch(error => { found.error = String(error); }).finally(() => {
    document.getElementById("found").textContent = "[[" + JSON.stringify(found) + "]]";
    document.title = "done";
});
</script>"#;

const CONFIG: &str = r#"
[[listen]]
address = "@LISTEN@"
[listen.tls]
certificates = [{ cert = "@C@/o.pem", key = "@C@/o.key" }]

[upstream.site]
endpoints = ["@site@"]
[upstream.user]
endpoints = ["@user@"]
[upstream.nobody]
endpoints = ["127.0.0.1:1"]
[upstream.orders]
endpoints = ["@orders@"]

[[route]]
match = "page.test/{*rest}"
forward = "site"
compress = true

[[route]]
match = "api.test/dashboard"
stream = true
cors = { origins = ["https://page.test:@PORT@"], headers = ["x-client"], expose = ["x-request-id"] }
[route.merge]
user = { get = "user /profile" }
orders = { get = "orders /latest", else = [] }

[[route]]
match = "api.test/closed"
cors = { origins = ["https://page.test:@PORT@"], expose = ["x-request-id"] }
allow = { networks = ["10.0.0.0/8"] }
respond = { body = "never" }

[[route]]
match = "api.test/upload"
cors = { origins = ["https://page.test:@PORT@"], expose = ["x-request-id"] }
forward = "orders"

[[route]]
match = "api.test/greet.Greeter/{call}"
cors = { origins = ["https://page.test:@PORT@"] }
grpc_web = true
forward = "orders"

[[route]]
match = "api.test/greet.Away/{call}"
cors = { origins = ["https://page.test:@PORT@"] }
grpc_web = true
forward = "nobody"

[[route]]
match = "api.test/private"
respond = { body = "{}" }
"#;

fn start(authority: &Authority, origins: [&Origin; 3]) -> Gateway {
    let mut setup = gateway(CONFIG).with("C", authority.folder());
    for (name, origin) in ["site", "user", "orders"].iter().zip(origins) {
        setup = setup.with(name, origin.address);
    }
    setup.start()
}

/// What the page found, run by the browser until it has written it.
#[track_caller]
fn browse(authority: &Authority, gateway: &Gateway) -> serde_json::Value {
    let port = gateway.address.port();
    let folder = Folder::new();
    // The browser believes this key, as it would one whose root its user had installed.
    authority.openssl("x509 -in o.pem -pubkey -noout -out o.pub");
    authority.openssl("pkey -pubin -in o.pub -outform der -out o.der");
    authority.openssl("dgst -sha256 -binary -out o.sha o.der");
    let hash = std::fs::read(authority.path("o.sha")).unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--host-resolver-rules=MAP *.test 127.0.0.1:{port}"))
        .arg(format!("--ignore-certificate-errors-spki-list={hash}"))
        .args(["--virtual-time-budget=20000", "--timeout=20000", "--dump-dom"])
        .arg(format!("https://page.test:{port}/"))
        .stdin(Stdio::null())
        .output()
        .expect("chromium is needed for this test (Debian: chromium)");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let found =
        page.split_once("id=\"found\">[[").and_then(|(_, rest)| rest.split_once("]]</pre>"));
    let why = || format!("{page}\n{}", String::from_utf8_lossy(&output.stderr));
    let (found, _) = found.unwrap_or_else(|| panic!("the page said nothing: {}", why()));
    let found = found.replace("&quot;", "\"").replace("&amp;", "&");
    serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error} in {found}"))
}

#[test]
fn a_page_and_its_api_of_another_origin_are_loaded_over_http_2() {
    let authority = Authority::new();
    authority.server("o", "DNS:page.test,DNS:api.test");
    let site = Origin::script(move |request| {
        let port =
            request.field("host").unwrap_or_default().rsplit(':').next().unwrap().to_string();
        let (kind, text) = match request.target.as_str() {
            "/" => ("text/html", PAGE.replace("PORT", &port)),
            "/style.css" => ("text/css", "pre { color: black }\n".repeat(500)),
            _ => return vec![Step::Send(answer(404, &[], b""))],
        };
        vec![Step::Send(answer(200, &[("Content-Type", kind)], text.as_bytes()))]
    });
    let user = Origin::saying("{\"name\":\"Ada\"}");
    let orders = Origin::script(|request| {
        if request.field("content-type") == Some("application/grpc") {
            assert_eq!(request.body, [0; 5], "an empty message");
            let text = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n\
                        5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: 0\r\n\r\n";
            return vec![Step::Send(text.into())];
        }
        let text = format!("[{}]", request.body.len());
        vec![Step::Send(answer(200, &[("Content-Type", "application/json")], text.as_bytes()))]
    });
    let gateway = start(&authority, [&site, &user, &orders]);
    let found = browse(&authority, &gateway);
    assert_eq!(found["error"], serde_json::Value::Null, "{found}");
    assert_eq!(found["page"], "h2", "{found}");
    let merged = serde_json::json!({ "user": { "name": "Ada" }, "orders": [0] });
    assert_eq!(found["merged"]["body"], merged, "{found}");
    assert_eq!(found["merged"]["id"], true, "{found}");
    assert_eq!(found["refused"]["status"], 403, "{found}");
    assert_eq!(found["refused"]["body"]["status"], 403, "{found}");
    assert_eq!(found["sent"]["body"], serde_json::json!([300_000]), "{found}");
    assert_eq!(found["many"], 60, "{found}");
    assert_eq!(found["events"], 2, "{found}");
    assert_eq!(found["private"], "not readable", "{found}");
    assert_eq!(found["call"]["type"], "application/grpc-web-text+proto", "{found}");
    let said = found["call"]["body"].as_str().expect("text").as_bytes().chunks(4);
    let engine = base64::engine::general_purpose::STANDARD;
    let said: Vec<u8> = said.flat_map(|group| engine.decode(group).expect("base64")).collect();
    assert_eq!(said, b"\0\0\0\0\0\x80\0\0\0\x10grpc-status: 0\r\n", "{found}");
    assert_eq!(found["away"], serde_json::json!([200, "14"]), "{found}");
    let style = serde_json::json!("/style.css h2");
    assert!(found["protocols"].as_array().expect("a list").contains(&style), "{found}");
    // A page is not told how another origin was reached; the access log knows.
    let lines = gateway.access_log(64);
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/2.0"), "{lines:?}");
    // All that a page asks of one host goes through one connection (RFC 9113 §9.1).
    let connections = gateway.metric("ringway_http2_connections_total", &[]);
    assert!((1.0..=4.0).contains(&connections), "{connections}");
}
