//! Merged answers that go out while some of their parts are still asked.
//!
//! RFC 9110 §6.5 and §12.5.1, RFC 9112 §7.1. Gates hold the parts that are late; nothing here is timed.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer, ok};
use crate::support::wire::{Response, Wire, request};
use crate::support::{Gate, eventually};

/// An origin that answers each target when its gate opens, if it has one.
fn held(gates: &[(&str, &Gate)]) -> Origin {
    let gates: HashMap<String, Gate> =
        gates.iter().map(|(target, gate)| (target.to_string(), (*gate).clone())).collect();
    Origin::script(move |request| {
        let answer = match request.target.as_str() {
            "/500" => answer(500, &[], b"{}"),
            "/404" => answer(404, &[], b"{}"),
            "/lines" => ok("{\r\n \"a\": [1,\n2]}"),
            target => ok(&format!("\"{target}\"")),
        };
        let gate = gates.get(&request.target).cloned();
        gate.map(Step::Wait).into_iter().chain([Step::Send(answer)]).collect()
    })
}

fn streaming(origin: &Origin, parts: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\nstream = true\n\
         timeout = \"15s\"\n[route.merge]\n{parts}"
    );
    gateway(&text).with("api", origin.address).start()
}

fn ask(gateway: &Gateway, fields: &str) -> Wire {
    let mut client = gateway.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    client
}

/// The head of a streamed answer.
fn begun(client: &mut Wire) -> Response {
    let head = client.try_head().expect("a head").expect(200);
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(head.field("content-length"), None);
    assert_eq!(head.field("vary"), Some("accept"));
    assert_eq!(head.field("cache-control"), Some("no-store"));
    head
}

/// Reads the content of the next chunk.
fn chunk(client: &mut Wire) -> String {
    let mut size = String::new();
    while !size.ends_with("\r\n") {
        size.push(char::from(client.read_some(1)[0]));
    }
    let bytes = usize::from_str_radix(size.trim_end(), 16).expect("a size");
    let data = client.read_some(bytes);
    assert_eq!(client.read_some(2), b"\r\n");
    String::from_utf8(data).expect("text")
}

/// Reads this content, in however many chunks.
#[track_caller]
fn expect(client: &mut Wire, content: &str) {
    let mut got = String::new();
    while got.len() < content.len() {
        got.push_str(&chunk(client));
    }
    assert_eq!(got, content);
}

/// What stands behind this fence in the page's chapter on streaming.
fn example(fence: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aggregation.md");
    let page = fs::read_to_string(page).expect("the page");
    let chapter = page.split("## Answers that go out").nth(1).expect("the chapter");
    let example = chapter.split(&format!("```{fence}\n")).nth(1).expect("the example");
    example.split("```").next().expect("its end").to_string()
}

#[test]
fn the_examples_of_the_page_happen_as_written() {
    let document = example("text");
    let (trailer, rest) = document.split_once("\n\n").expect("an empty line");
    for (accept, body) in [
        ("*/*", rest.lines().next().expect("a document").to_string()),
        ("application/x-ndjson", example("ndjson")),
        ("text/event-stream", example("sse")),
    ] {
        let late = Gate::new();
        let gate = late.clone();
        let order = Origin::script(move |_| {
            vec![Step::Wait(gate.clone()), Step::Send(answer(500, &[], b"{}"))]
        });
        let user = Origin::saying("{\"name\":\"Ada\"}");
        let config = format!(
            "[upstream.user]\nendpoints = [\"@user@\"]\n[upstream.order]\nendpoints = \
             [\"@order@\"]\n{}",
            example("toml").replace("300ms", "14s")
        );
        let gateway =
            gateway(&config).with("user", user.address).with("order", order.address).start();
        let mut client = gateway.connect();
        client.send(request("GET", "/dashboard", &[("accept", accept)], b""));
        // Something is here before the last part.
        eventually("the head", || client.has_something());
        late.open();
        let response = client.response().expect(200);
        assert_eq!(response.text(), body, "{accept}");
        if accept == "*/*" {
            assert_eq!(
                Some(trailer),
                response.field("trailer").map(|names| format!("trailer: {names}")).as_deref()
            );
            let lines = response.trailers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            assert_eq!(rest.split_once('\n').expect("a trailer").1, lines.collect::<String>());
        }
    }
}

const NDJSON: &str = "Accept: application/x-ndjson\r\n";

#[test]
fn head_and_first_parts_arrive_while_a_later_one_is_held() {
    let (late, middle) = (Gate::new(), Gate::new());
    let origin = held(&[("/late", &late), ("/middle", &middle)]);
    let gateway = streaming(
        &origin,
        "a = { get = \"api /a?{part.b}\" }\nb = { get = \"api /500\", else = 0 }\n\
         late = { get = \"api /late\", else = 1 }\nmiddle = { get = \"api /middle\", else = 2 }\n",
    );
    let mut client = ask(&gateway, "");
    let head = begun(&mut client);
    assert_eq!(head.field("content-type"), Some("application/json"));
    assert_eq!(head.field("trailer"), Some("gateway-partial"));
    assert_eq!(head.field("gateway-partial"), Some("b;status"));
    expect(&mut client, "{\"a\":\"/a?0\",\"b\":0");
    // `middle` stands behind `late` and waits for it.
    middle.open();
    late.open();
    expect(&mut client, ",\"late\":\"/late\",\"middle\":\"/middle\"}");
    // What the head told is not told again.
    assert_eq!(client.read_some(5), b"0\r\n\r\n");
    client.get("/", &[]).expect(200);
}

#[test]
fn what_fails_behind_the_head_is_told_in_a_trailer() {
    let late = Gate::new();
    let origin = held(&[("/500", &late)]);
    let gateway =
        streaming(&origin, "a = { get = \"api /a\" }\nb = { get = \"api /500\", else = [] }\n");
    let mut client = ask(&gateway, "");
    let head = begun(&mut client);
    assert_eq!(head.field("gateway-partial"), None);
    expect(&mut client, "{\"a\":\"/a\"");
    late.open();
    expect(&mut client, ",\"b\":[]}");
    let end = b"0\r\ngateway-partial: b;status\r\n\r\n";
    assert_eq!(client.read_some(end.len()), end);
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["parts"]), (&json!(200), &json!({ "b": "status" })));
    assert_eq!(line["partial"], 1);
    eventually("the failure is counted", || {
        gateway.metric("ringway_part_failures_total", &["part=\"b\""]) == 1.0
    });
}

#[test]
fn a_required_part_that_fails_is_the_answer_in_every_form() {
    let never = Gate::new();
    let origin = held(&[("/late", &never)]);
    let gateway = streaming(
        &origin,
        "late = { get = \"api /late\", else = 1 }\na = { get = \"api /404\" }\n",
    );
    for fields in ["", NDJSON, "Accept: text/event-stream\r\n"] {
        ask(&gateway, fields).response().expect_problem(404);
    }
    never.open();
}

#[test]
fn the_head_waits_for_every_required_part() {
    let late = Gate::new();
    let origin = held(&[("/late", &late)]);
    let gateway =
        streaming(&origin, "a = { get = \"api /a\", else = 0 }\nb = { get = \"api /late\" }\n");
    for fields in ["", NDJSON] {
        let mut client = ask(&gateway, fields);
        origin.wait_for(if fields.is_empty() { 2 } else { 4 });
        client.expect_open();
        if !fields.is_empty() {
            late.open();
            assert!(client.response().expect(200).text().ends_with("{\"done\":true}\n"));
        }
    }
    // Where all parts are here at once the answer is like any other, and has its length. The optional part may
    // come behind the required one, so that it need not be the first answer.
    let whole = (0..100).find_map(|_| {
        let response = gateway.get("/").expect(200);
        assert_eq!(response.text(), "{\"a\":\"/a\",\"b\":\"/late\"}");
        response.field("content-length").is_some().then_some(response)
    });
    assert_eq!(whole.expect("one of a hundred came at once").field("trailer"), None);
}

#[test]
fn lines_come_in_the_order_of_arrival() {
    let (first, second) = (Gate::new(), Gate::new());
    let origin = held(&[("/x", &first), ("/500", &second)]);
    let gateway = streaming(
        &origin,
        "b = { get = \"api /500\", else = [1,2] }\nx = { get = \"api /x\", else = 0 }\n\
         lines = { get = \"api /lines\" }\n",
    );
    let mut client = ask(&gateway, NDJSON);
    let head = begun(&mut client);
    assert_eq!(head.field("content-type"), Some("application/x-ndjson"));
    assert_eq!(head.field("trailer"), None);
    expect(&mut client, "{\"part\":\"lines\",\"value\":{ \"a\": [1,2]}}\n");
    first.open();
    expect(&mut client, "{\"part\":\"x\",\"value\":\"/x\"}\n");
    second.open();
    expect(&mut client, "{\"part\":\"b\",\"error\":\"status\",\"value\":[1,2]}\n{\"done\":true}\n");
    assert_eq!(client.read_some(5), b"0\r\n\r\n");
}

#[test]
fn events_come_for_clients_that_ask_for_them() {
    let late = Gate::new();
    let origin = held(&[("/late", &late)]);
    let gateway =
        streaming(&origin, "l = { get = \"api /late\", else = 0 }\na = { get = \"api /lines\" }\n");
    let mut client = ask(&gateway, "Accept: text/event-stream, */*\r\n");
    let head = begun(&mut client);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    expect(&mut client, "event: part\ndata: {\"part\":\"a\",\"value\":{ \"a\": [1,2]}}\n\n");
    late.open();
    expect(
        &mut client,
        "event: part\ndata: {\"part\":\"l\",\"value\":\"/late\"}\n\nevent: done\ndata: {\"done\":true}\n\n",
    );
}

#[test]
fn without_stream_nobody_gets_another_form() {
    let origin = held(&[]);
    let text = "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\n[route.merge]\na = { get = \"api /a\" }\n";
    let gateway = gateway(text).with("api", origin.address).start();
    let response = gateway.get_with("/", &[("accept", "application/x-ndjson")]).expect(200);
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!((response.text().as_str(), response.field("vary")), ("{\"a\":\"/a\"}", None));
}

#[test]
fn head_and_http_1_0_get_the_document_with_its_length() {
    let late = Gate::new();
    let origin = held(&[("/late", &late)]);
    let gateway =
        streaming(&origin, "a = { get = \"api /a\" }\nl = { get = \"api /late\", else = 0 }\n");
    let mut client = gateway.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    // On one core they share the calls.
    origin.wait_for(2);
    eventually("both to be served", || gateway.metric("http_server_active_requests", &[]) == 2.0);
    client.expect_open();
    late.open();
    let head = client.response_to("HEAD").expect(200);
    let response = old.response().expect(200);
    assert_eq!(response.text(), "{\"a\":\"/a\",\"l\":\"/late\"}");
    assert_eq!(head.field("content-length"), response.field("content-length"));
    assert_eq!(head.field("vary"), Some("accept"));
    let lines = client.call("HEAD", "/", &[("accept", "application/jsonl")], b"").expect(200);
    assert_eq!(lines.field("content-type"), Some("application/jsonl"));
    // Lines for HTTP/1.0 end with the connection, and with a line that says so.
    let mut old = gateway.connect();
    old.send(format!("GET / HTTP/1.0\r\n{NDJSON}\r\n"));
    let response = old.response().expect(200);
    assert!(response.ended_by_close && response.field("trailer").is_none());
    assert!(response.text().ends_with("\n{\"done\":true}\n"), "{}", response.text());
}

#[test]
fn a_flattened_part_keeps_its_names_while_streaming() {
    let late = Gate::new();
    let gate = late.clone();
    let origin = Origin::script(move |request| match request.target.as_str() {
        "/x" => vec![Step::Send(ok("{\"x\":1,\"z\":0}"))],
        "/y" => vec![Step::Wait(gate.clone()), Step::Send(ok("{\"x\":2,\"y\":3}"))],
        _ => vec![Step::Send(ok("4"))],
    });
    let gateway = streaming(
        &origin,
        "a = { get = \"api /x\", flatten = true }\nb = { get = \"api /y\", flatten = true, else = {} }\n\
         z = { get = \"api /z\" }\n",
    );
    let mut client = ask(&gateway, "");
    begun(&mut client);
    expect(&mut client, "{\"x\":1");
    late.open();
    expect(&mut client, ",\"y\":3,\"z\":4}");
}

#[test]
fn an_answer_that_is_cut_off_shows_it() {
    for fields in ["", NDJSON] {
        let late = Gate::new();
        let origin = held(&[("/late", &late)]);
        let gateway =
            streaming(&origin, "a = { get = \"api /a\" }\nl = { get = \"api /late\", else = 0 }\n");
        let mut client = ask(&gateway, fields);
        begun(&mut client);
        chunk(&mut client);
        gateway.signal("KILL");
        assert_eq!(client.until_close(), b"", "neither an end of the body nor one of the lines");
        late.open();
    }
}

/// An address whose queue of connections is full: connecting waits until somebody accepts.
fn full_queue() -> (TcpListener, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    // The queue holds one more than it says.
    let queued = vec![TcpStream::connect(address).unwrap()];
    (listener, queued)
}

#[test]
fn a_bound_of_ours_that_is_met_behind_the_head_cuts_the_answer_off() {
    let origin = held(&[]);
    for fields in ["", NDJSON] {
        let (listener, queued) = full_queue();
        // No buffer holds the request to `late`, which shows when its connection is made.
        let query = ["{query.q}"; 24].join("&q=");
        let text = format!(
            "[upstream.api]\nendpoints = [\"@api@\"]\n[upstream.late]\nendpoints = [\"@late@\"]\n\
             timeout = {{ connect = \"14s\" }}\n[[route]]\nmatch = \"GET /\"\nstream = true\n\
             timeout = \"15s\"\n[route.merge]\na = {{ get = \"api /a\" }}\n\
             l = {{ get = \"late /l?q={query}\", else = 0 }}\n"
        );
        let late = listener.local_addr().unwrap();
        let gateway = gateway(&text).with("api", origin.address).with("late", late).start();
        let mut client = gateway.connect();
        let target = format!("/?q={}", "x".repeat(7_000));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        begun(&mut client);
        chunk(&mut client);
        drop(queued);
        listener.accept().unwrap();
        let _connection = listener.accept().unwrap();
        assert_eq!(client.until_close(), b"", "neither an end of the body nor one of the lines");
        let line = gateway.access_log(1).remove(0);
        assert_eq!(line["status"], 200);
        assert_eq!(line["fault"], "target_too_long", "{line}");
    }
}

#[test]
fn a_client_that_leaves_cancels_the_parts_that_are_still_asked() {
    let never = Gate::new();
    let gate = never.clone();
    let gone = Gate::new();
    let closed = gone.clone();
    let origin = Origin::raw(move |stream, _| {
        use std::io::{Read, Write};
        let mut stream = stream;
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap_or(0);
        if bytes[..count].starts_with(b"GET /late") {
            // Only the end of the connection comes.
            assert_eq!(stream.read(&mut bytes).unwrap_or(0), 0);
            closed.open();
            gate.wait();
        } else {
            stream.write_all(&ok("1")).unwrap();
            gate.wait();
        }
    });
    let gateway =
        streaming(&origin, "a = { get = \"api /a\" }\nl = { get = \"api /late\", else = 0 }\n");
    let mut client = ask(&gateway, "");
    begun(&mut client);
    expect(&mut client, "{\"a\":1");
    drop(client);
    gone.wait();
    never.open();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["status"], 200);
    assert_eq!(line["fault_side"], "downstream", "{line}");
}

#[test]
fn a_slow_reader_gets_all_of_it_and_holds_the_bodies_alone() {
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let origin = Origin::saying(&large);
    let late = Gate::new();
    let other = held(&[("/late", &late)]);
    let text = "[upstream.api]\nendpoints = [\"@api@\"]\n[upstream.other]\nendpoints = [\"@other@\"]\n\
                [[route]]\nmatch = \"GET /\"\nstream = true\ntimeout = \"15s\"\n[route.merge]\n\
                a = { get = \"api /a\" }\nb = { get = \"api /b\", else = 0 }\n\
                l = { get = \"other /late\", else = 0 }\n";
    let gateway = gateway(text).with("api", origin.address).with("other", other.address).start();
    let mut client = ask(&gateway, "");
    begun(&mut client);
    // The client takes nothing while the parts end.
    late.open();
    origin.wait_for(2);
    other.wait_for(1);
    expect(&mut client, &format!("{{\"a\":{large},\"b\":{large},\"l\":\"/late\"}}"));
    assert_eq!(client.read_some(5), b"0\r\n\r\n");
    assert!(gateway.memory_peak_kib() < 200 << 10, "{} KiB", gateway.memory_peak_kib());
}

#[test]
fn views_stream_what_they_show_and_tell_of_hidden_failures() {
    let late = Gate::new();
    let origin = held(&[("/late", &late)]);
    let gateway = streaming(
        &origin,
        "h = { get = \"api /500\", else = 7 }\na = { get = \"api /a?{part.h}\" }\n\
         l = { get = \"api /late\", else = 0 }\nn = { get = \"api /n\" }\n\
         [route.view.v]\nwhen = { header = { x-v = \"1\" } }\nkeep = [\"l\", \"a\"]\n",
    );
    let mut client = ask(&gateway, &format!("x-v: 1\r\n{NDJSON}"));
    let head = client.try_head().expect("a head").expect(200);
    assert_eq!(head.field("vary"), Some("accept, x-v"));
    expect(
        &mut client,
        "{\"part\":\"h\",\"error\":\"status\"}\n{\"part\":\"a\",\"value\":\"/a?7\"}\n",
    );
    late.open();
    expect(&mut client, "{\"part\":\"l\",\"value\":\"/late\"}\n{\"done\":true}\n");
    assert!(!origin.requests().iter().any(|request| request.target == "/n"));
}

#[test]
fn server_timing_tells_of_each_part_in_head_or_trailer() {
    let late = Gate::new();
    let origin = held(&[("/late", &late)]);
    let parts = "a = { get = \"api /a\" }\nb = { get = \"api /500\", else = 0 }\n";
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /whole\"\n\
         server_timing = true\n[route.merge]\n{parts}\n[[route]]\nmatch = \"GET /\"\nstream = true\n\
         server_timing = true\n[route.merge]\na = {{ get = \"api /a\" }}\nl = {{ get = \"api /late\", \
         else = 0 }}\n"
    );
    let gateway = gateway(&text).with("api", origin.address).start();
    let response = gateway.get("/whole").expect(200);
    let timing = response.field("server-timing").expect("a field").to_string();
    let entries: Vec<&str> = timing.split(", ").collect();
    assert!(entries[0].starts_with("a;dur=") && entries[1].starts_with("b;dur="), "{timing}");
    assert!(entries[1].ends_with(";desc=\"status\"") && entries.len() == 2, "{timing}");
    for fields in ["", NDJSON] {
        let mut client = ask(&gateway, fields);
        origin.wait_for(4);
        late.open();
        let response = client.response().expect(200);
        let all = response.trailers.iter().chain(&response.fields);
        let mut timings = all.filter(|(name, _)| name == "server-timing");
        let (_, timing) = timings.next().expect("a field");
        assert!(timing.starts_with("a;dur=") && timing.contains(", l;dur="), "{timing}");
        assert!(timings.next().is_none());
    }
}
