//! gRPC-Web through the gateway to a real service of gRPC: with bytes of our own over HTTP/1.1, and with curl over HTTP/2.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use ringway_grpc::Note;
use ringway_grpc::gateway::{self, Gateway};
use ringway_grpc::service::{self, Running};

async fn in_front() -> (Running, Gateway) {
    let server = service::start(None).await;
    let text = format!(
        "[upstream.notes]\nendpoints = [\"{}\"]\nhttp2 = true\n[[route]]\nmatch = \"/ringway.test.Notes/{{method}}\"\n\
         forward = \"notes\"\ngrpc_web = true\n",
        server.address
    );
    (server, gateway::start(&text))
}

/// A frame: flag, length, bytes.
fn frame(flag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// The messages of a body, and the lines of its last frame.
fn read(mut body: &[u8]) -> (Vec<Note>, String) {
    let mut notes = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (frame, behind) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        body = behind;
        if *flag == 0x80 {
            assert!(behind.is_empty(), "trailers are the end");
            return (notes, String::from_utf8(frame.to_vec()).expect("text"));
        }
        assert_eq!(*flag, 0);
        notes.push(Note::decode(frame).expect("a message"));
    }
    panic!("no trailers behind {} messages", notes.len());
}

fn undone(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0);
    text.chunks(4).flat_map(|group| STANDARD.decode(group).expect("base64")).collect()
}

/// A call over HTTP/1.1 on a connection of its own: head and body, the latter out of its chunks.
fn call(gateway: &Gateway, method: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut wire = TcpStream::connect(gateway.address).expect("the gateway listens");
    let head = format!(
        "POST /ringway.test.Notes/{method} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nX-Grpc-Web: 1\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    wire.write_all(&[head.as_bytes(), body].concat()).expect("the gateway reads");
    let mut all = Vec::new();
    wire.read_to_end(&mut all).expect("the gateway answers");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(all[..end].to_vec()).expect("text");
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { out_of_chunks(&all[end..]) } else { all[end..].to_vec() };
    (head, body)
}

fn out_of_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.expect("a size");
        if size == 0 {
            assert_eq!(&rest[end..], b"\r\n\r\n", "no trailers of HTTP");
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_pages_reach_the_service() {
    let (server, gateway) = in_front().await;
    let note = Note::sized(5, 1000);
    let message = frame(0, &note.encode_to_vec());
    let (head, body) = call(&gateway, "Say", "application/grpc-web+proto", &message);
    assert!(
        head.starts_with("HTTP/1.1 200")
            && head.contains("content-type: application/grpc-web+proto\r\n"),
        "{head}"
    );
    let (notes, lines) = read(&body);
    assert_eq!(
        (notes, lines.contains("grpc-status: 0\r\n")),
        (vec![note.clone()], true),
        "{lines}"
    );
    let text = STANDARD.encode(&message);
    let (head, body) = call(&gateway, "Say", "application/grpc-web-text", text.as_bytes());
    assert!(head.contains("content-type: application/grpc-web-text+proto\r\n"), "{head}");
    let (notes, lines) = read(&undone(&body));
    assert_eq!((notes, lines.contains("grpc-status: 0\r\n")), (vec![note], true), "{lines}");
    for (_, fields) in server.seen.heads() {
        let kind = fields["content-type"].to_str().expect("text");
        assert!(matches!(kind, "application/grpc" | "application/grpc+proto"), "{kind}");
        assert_eq!(fields["te"], "trailers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_failures_reach_the_page() {
    let (_server, gateway) = in_front().await;
    let asked = Note { number: 500, data: vec![0; 333], ..Note::default() };
    let message = frame(0, &asked.encode_to_vec());
    for (kind, body) in [
        ("application/grpc-web", message.clone()),
        ("application/grpc-web-text", STANDARD.encode(&message).into_bytes()),
    ] {
        let (_, answer) = call(&gateway, "Count", kind, &body);
        let answer = if kind.ends_with("text") { undone(&answer) } else { answer };
        let (notes, lines) = read(&answer);
        let expected: Vec<Note> = (0..500).map(|number| Note::sized(number, 333)).collect();
        assert!(notes == expected, "{} messages", notes.len());
        assert!(lines.contains("grpc-status: 0\r\n"), "{lines}");
    }
    // A failure behind messages, and one in the head.
    let (_, answer) = call(
        &gateway,
        "Break",
        "application/grpc-web",
        &frame(0, &Note { number: 2, ..Note::default() }.encode_to_vec()),
    );
    let (notes, lines) = read(&answer);
    assert_eq!((notes.len(), lines.contains("grpc-status: 15\r\n")), (2, true), "{lines}");
    let failing = Note { text: "no such note".into(), number: 5, data: vec![1, 2, 3] };
    let (head, body) =
        call(&gateway, "Fail", "application/grpc-web", &frame(0, &failing.encode_to_vec()));
    assert!(
        head.contains("grpc-status: 5\r\n") && head.contains("grpc-message: no%20such%20note\r\n"),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/grpc-web+proto\r\n") && body.is_empty(),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_speak_http_2() {
    let (_server, gateway) = in_front().await;
    let note = Note::sized(9, 70_000);
    let mut curl = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--http2-prior-knowledge", "--data-binary", "@-"])
        .args(["-H", "content-type: application/grpc-web+proto"])
        .arg(format!("http://{}/ringway.test.Notes/Say", gateway.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let message = frame(0, &note.encode_to_vec());
    curl.stdin.take().expect("piped").write_all(&message).expect("curl reads");
    let answer = curl.wait_with_output().expect("curl ends");
    assert!(answer.status.success());
    let (notes, lines) = read(&answer.stdout);
    assert_eq!((notes, lines.contains("grpc-status: 0\r\n")), (vec![note], true), "{lines}");
}
