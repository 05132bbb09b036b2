//! The demo's three services: small HTTP servers on free loopback ports, one thread per connection.
//!
//! They are real servers that know nothing of the gateway. `order` takes 600 ms for every fifth request,
//! `notif` fails every fourth, so that what the gateway makes of it can be seen without luck. They never
//! serve more than `CONNECTIONS_MAX` connections at once.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::base::shared::Word;

/// Connections that one service serves at once; the gateway keeps far fewer.
const CONNECTIONS_MAX: u64 = 64;
/// Longest request head that a service reads. Unit: bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// `order` is slow for every request with this number.
const SLOW_EVERY: u64 = 5;
const SLOW: Duration = Duration::from_millis(600);
/// `notif` fails every request with this number.
const FAIL_EVERY: u64 = 4;

/// The addresses of the three services, which run until the process ends.
pub(super) struct Services {
    /// Knows the user.
    pub(super) user: SocketAddr,
    /// Knows the orders; slow now and then.
    pub(super) order: SocketAddr,
    /// Knows the notifications; fails now and then.
    pub(super) notif: SocketAddr,
}

/// A status line's end and a body.
type Answer = (&'static str, String);

impl Services {
    /// Starts all three.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { user: start(user)?, order: start(order)?, notif: start(notif)? })
    }
}

fn user(_: u64) -> Answer {
    ("200 OK", r#"{"id":42,"name":"Ada Lovelace","avatar":"/avatars/42.png"}"#.into())
}

fn order(number: u64) -> Answer {
    if number.is_multiple_of(SLOW_EVERY) {
        thread::sleep(SLOW);
    }
    let orders = r#"[{"id":1001,"total":"19.90","state":"shipped"},{"id":1002,"total":"5.00","state":"open"}]"#;
    ("200 OK", orders.into())
}

fn notif(number: u64) -> Answer {
    if number.is_multiple_of(FAIL_EVERY) {
        return ("503 Service Unavailable", r#"{"error":"busy"}"#.into());
    }
    ("200 OK", r#"{"unread":3}"#.into())
}

/// Starts one service; `answer` is given the number of the request, from 1.
fn start(answer: fn(u64) -> Answer) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (requests, open) = (Arc::new(Word::new(0)), Arc::new(Word::new(0)));
    thread::Builder::new().name("demo-service".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if open.next() >= CONNECTIONS_MAX {
                open.previous();
                continue;
            }
            let (requests, open) = (requests.clone(), open.clone());
            thread::spawn(move || {
                let _ = serve(stream, &requests, answer);
                open.previous();
            });
        }
    })?;
    Ok(address)
}

/// Answers requests without bodies until the peer closes.
fn serve(mut stream: TcpStream, requests: &Word, answer: fn(u64) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.drain(..end + 4);
            let (status, body) = answer(requests.next() + 1);
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes())?;
        }
        let read = stream.read(&mut piece)?;
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    }
}
