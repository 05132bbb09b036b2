//! A tunnel with both of its ends in the test's hands. Origins are raw sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Request, read_request};
use crate::support::wire::{Wire, request};

/// The sample handshake of RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Everything goes to `app`, by a route with a name.
pub const FORWARD: &str = r#"
[upstream.app]
endpoints = ["@app@"]

[[route]]
name = "all"
match = "/{*rest}"
forward = "app"
"#;

/// What a client sends to open a WebSocket, with further fields.
pub fn handshake(further: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    fields.extend_from_slice(further);
    request("GET", "/chat", &fields, b"")
}

/// What an origin says that agrees.
pub fn switched(protocol: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
    .into_bytes()
}

/// An origin whose connections are handed to the test once each has sent a whole request.
pub struct Ends {
    pub origin: Origin,
    pub opened: Receiver<(TcpStream, Request, Vec<u8>)>,
}

impl Ends {
    pub fn new() -> Ends {
        let (sender, opened) = channel();
        let sender = Mutex::new(sender);
        let origin = Origin::raw(move |mut stream, _| {
            let mut rest = Vec::new();
            if let Ok(Some(request)) = read_request(&mut stream, &mut rest) {
                let _ = sender.lock().unwrap().send((stream, request, rest));
            }
        });
        Ends { origin, opened }
    }

    /// The next connection with its request, and what came behind it.
    #[track_caller]
    pub fn next(&self) -> (TcpStream, Request, Vec<u8>) {
        self.opened.recv_timeout(PATIENCE).expect("a request at the origin")
    }
}

/// A gateway, an origin, and one open WebSocket through them.
pub struct Opened {
    pub gateway: Gateway,
    pub ends: Ends,
    pub client: Wire,
    pub origin: TcpStream,
}

#[track_caller]
pub fn open(text: &str) -> Opened {
    let ends = Ends::new();
    let gateway = gateway(text).with("app", ends.origin.address).start();
    let (client, origin) = open_one(&gateway, &ends);
    Opened { gateway, ends, client, origin }
}

#[track_caller]
pub fn open_one(gateway: &Gateway, ends: &Ends) -> (Wire, TcpStream) {
    let mut client = gateway.connect();
    client.send(handshake(&[]));
    let (mut origin, _, rest) = ends.next();
    assert!(rest.is_empty(), "sent before the origin agreed: {rest:?}");
    origin.write_all(&switched("websocket")).unwrap();
    assert_eq!(client.try_head().expect("a head").status, 101);
    (client, origin)
}

#[track_caller]
pub fn read(origin: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    origin.read_exact(&mut bytes).expect("bytes at the origin");
    bytes
}

#[track_caller]
pub fn expect_end(origin: &mut TcpStream) {
    assert_eq!(origin.read(&mut [0; 16]).expect("an end, not an error"), 0);
}

#[track_caller]
pub fn expect_reset(stream: &mut TcpStream) {
    let mut sink = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut sink) {
            Ok(count) => assert!(count > 0, "an end in place of a reset"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[track_caller]
pub fn echoes(client: &mut Wire, origin: &mut TcpStream) {
    client.send(b"ping");
    assert_eq!(read(origin, 4), b"ping");
    origin.write_all(b"pong").unwrap();
    assert_eq!(client.read_some(4), b"pong");
}
