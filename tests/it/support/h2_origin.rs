//! An origin in HTTP/2 of raw frames, in the test's own thread, behind a gateway of one worker, so that every request
//! meets the same connections (RFC 9113).

use std::net::{SocketAddr, TcpListener};

use crate::support::gateway::{Gateway, gateway};
use crate::support::h2_wire::{GOAWAY, H2Wire, HEADERS, RST_STREAM, frame};
use crate::support::wire::Wire;

/// The fields of a response without any.
pub const OK: Fields<'_> = &[(":status", "200")];

/// Names and values.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// An origin that is raw frames, and a gateway in front of it.
pub struct Place {
    /// Where the origin is reached.
    pub listener: TcpListener,
    /// The gateway.
    pub gateway: Gateway,
}

impl Place {
    /// A gateway of one worker in front of a listener; `more` are keys of the upstream.
    pub fn new(more: &str) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "workers = 1\n[upstream.app]\nendpoints = [\"@app@\"]\nhttp2 = true\n{more}\n\
             [[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
        );
        let gateway = gateway(&text).with("app", listener.local_addr().unwrap()).start();
        Place { listener, gateway }
    }

    /// The next connection that the gateway makes.
    #[track_caller]
    pub fn accept(&self) -> H2Wire {
        H2Wire::accept(&self.listener, &[])
    }

    /// Where clients reach the gateway.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// A client that has asked for `target`.
    #[track_caller]
    pub fn ask(&self, target: &str) -> Wire {
        let mut client = self.gateway.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    }
}

/// The next request, on which stream.
#[track_caller]
pub fn asked(origin: &mut H2Wire) -> u32 {
    origin.expect(HEADERS).stream
}

/// The same; `None` when the connection is over.
pub fn perhaps_asked(origin: &mut H2Wire) -> Option<u32> {
    loop {
        let frame = origin.frame()?;
        if frame.kind == HEADERS {
            return Some(frame.stream);
        }
    }
}

/// RST_STREAM.
pub fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

/// GOAWAY.
pub fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

/// A response of 200 with this body.
#[track_caller]
pub fn say(origin: &mut H2Wire, stream: u32, body: &str) {
    origin.headers(stream, OK, false);
    origin.data(stream, body.as_bytes(), true);
}

/// The client is answered with this.
#[track_caller]
pub fn expect_text(mut client: Wire, text: &str) {
    assert_eq!(client.response().expect(200).text(), text);
}
