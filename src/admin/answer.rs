//! One connection of the admin listener: a request in, an answer out, both bounded.
//!
//! It never reads a body and never keeps a connection: what is not a well-formed GET or HEAD of a known
//! path, or a POST that removes stored responses, gets its status (RFC 9110 §15) and a close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::admin::process::append_process;
use crate::admin::seats::{Seat, Socket};
use crate::admin::{Purging, Readiness, State};
use crate::base::limits::{ADMIN_FIELDS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_TIMEOUT_SECS};
use crate::base::time::Instant;
use crate::http::Status;
use crate::http::target::{Plus, percent_decode};
use crate::observe::prometheus;
use crate::runtime::clock;

const TIMEOUT: Duration = Duration::from_secs(ADMIN_TIMEOUT_SECS);
/// How long, and how much, is read after the answer, so that it is not lost to a reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 64 * 1024;
const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves one connection to its end.
pub(super) fn serve<S: State>(socket: &Socket, seat: &Seat, state: &S) {
    let asked = read_request(socket);
    seat.asked();
    let answer = match asked {
        Ok(Asked { path, query, does: Does::Purge { by_page } }) => {
            purge(&path, query.as_deref(), by_page, state)
        }
        Ok(Asked { path, does, .. }) => {
            Answer { head_only: does == Does::ShowHead, ..answer_to(&path, state) }
        }
        Err(Some(answer)) => answer,
        Err(None) => return,
    };
    // A client that does not take its answer has lost it.
    let _ = write_answer(socket, &answer).and_then(|()| linger(socket));
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    query: Option<String>,
    does: Does,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Show,
    ShowHead,
    /// `by_page`: a page in a browser sends it.
    Purge {
        by_page: bool,
    },
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: Status,
    content_type: &'static str,
    body: String,
    head_only: bool,
    allow: &'static str,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        let (status, body) = (Status(status), body.into());
        Self { status, content_type: PLAIN, body, head_only: false, allow: "" }
    }

    fn other_method(allow: &'static str) -> Self {
        Self { allow, ..Self::text(405, format!("only {allow}\n")) }
    }
}

/// The only path that changes something.
const PURGE: &str = "/cache/purge";

/// Removes stored responses: `?all`, `?key=`, `?prefix=` or `?tag=`, percent-encoded.
fn purge<S: State>(path: &str, query: Option<&str>, by_page: bool, state: &S) -> Answer {
    if path != PURGE {
        return Answer::other_method("GET, HEAD");
    }
    if by_page {
        return Answer::text(403, "not for pages in a browser\n");
    }
    let query = query.unwrap_or_default();
    if query == "all" {
        state.purge(Purging::All);
        return Answer::text(200, "removed\n");
    }
    let mut room = vec![0; query.len()];
    let (word, value) = query.split_once('=').unwrap_or_default();
    let value = Some(value).filter(|value| !value.is_empty() && !value.contains('&'));
    let value =
        value.and_then(|value| percent_decode(value.as_bytes(), Plus::Literal, &mut room).ok());
    // Nothing is stored under such an address: "removed" would not be true.
    let whole = |value: &[u8]| {
        ["/", "http://", "https://"].iter().any(|first| value.starts_with(first.as_bytes()))
    };
    if matches!(word, "key" | "prefix") && value.is_some_and(whole) {
        return Answer::text(
            400,
            "begin with the host, without a scheme: example.com/products/7\n",
        );
    }
    match (word, value) {
        ("key", Some(value)) => state.purge(Purging::Key(value)),
        ("prefix", Some(value)) => state.purge(Purging::Prefix(value)),
        ("tag", Some(value)) => state.purge(Purging::Tag(value)),
        _ => return Answer::text(400, "one of ?all, ?key=, ?prefix=, ?tag=, percent-encoded\n"),
    }
    Answer::text(200, "removed\n")
}

fn answer_to<S: State>(path: &str, state: &S) -> Answer {
    match path {
        "/livez" => Answer::text(200, "alive\n"),
        "/readyz" => match state.readiness() {
            Readiness::Ready => Answer::text(200, "ready\n"),
            Readiness::NotReady(why) => Answer::text(503, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            let mut page = state.metrics();
            append_process(&mut page);
            Answer { content_type: prometheus::CONTENT_TYPE, ..Answer::text(200, page) }
        }
        PURGE => Answer::other_method("POST"),
        _ => Answer::text(404, "here are /livez, /readyz, /metrics and POST /cache/purge\n"),
    }
}

/// Reads one head; an error is answered, or, when there is nobody left to answer, not.
fn read_request(socket: &Socket) -> Result<Asked, Option<Answer>> {
    let deadline = clock::now() + TIMEOUT;
    let mut head = [0; ADMIN_HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        if filled == head.len() {
            return Err(Some(Answer::text(431, "the request head is too large\n")));
        }
        match read_before(socket, &mut head[filled..], deadline) {
            Ok(0) => return Err(None),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => {
                let late = Answer::text(408, "the request did not arrive in time\n");
                return Err(Some(late));
            }
            Err(_) => return Err(None),
        }
        if let Some(result) = parse(&head[..filled]) {
            return result.map_err(Some);
        }
    }
}

/// The request in `bytes`; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Option<Result<Asked, Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; ADMIN_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Err(Answer::text(431, "the request has too many fields\n")));
        }
        Err(_) => return Some(Err(Answer::text(400, "the request is malformed\n"))),
    }
    let mut fields = request.headers.iter();
    let does = match request.method {
        Some("GET") => Does::Show,
        Some("HEAD") => Does::ShowHead,
        // Browsers say which page sends a POST (Fetch standard, "append a request `Origin` header").
        Some("POST") => {
            Does::Purge { by_page: fields.any(|field| field.name.eq_ignore_ascii_case("origin")) }
        }
        _ => return Some(Err(Answer::other_method("GET, HEAD"))),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Some(Ok(Asked { path: path.to_owned(), query: query.map(str::to_owned), does }))
}

fn write_answer(mut socket: &Socket, answer: &Answer) -> io::Result<()> {
    let deadline = clock::now() + TIMEOUT;
    let Answer { status, content_type, body, head_only, allow } = answer;
    let allow = if allow.is_empty() { String::new() } else { format!("Allow: {allow}\r\n") };
    let mut message = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        status.0,
        status.reason(),
        body.len(),
    );
    if !head_only {
        message.push_str(body);
    }
    let mut rest = message.as_bytes();
    while !rest.is_empty() {
        socket.wait_at_most(left(deadline)?)?;
        match socket.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what the client still sends, for a moment, before the socket closes.
fn linger(socket: &Socket) -> io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    let deadline = clock::now() + LINGER;
    let (mut room, mut read) = ([0; 4096], 0);
    while read < LINGER_BYTES_MAX {
        match read_before(socket, &mut room, deadline)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}

fn read_before(mut socket: &Socket, room: &mut [u8], deadline: Instant) -> io::Result<usize> {
    socket.wait_at_most(left(deadline)?)?;
    socket.read(room)
}

/// Time up to the deadline; the error of a deadline that has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.since(clock::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's timeout shows as one or the other.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> u16 {
        parse(bytes).expect("whole").expect_err("refused").status.0
    }

    #[test]
    fn a_head_is_read_however_it_is_cut() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!((0..whole.len()).all(|end| parse(&whole[..end]).is_none()));
        let asked = Asked { path: "/metrics".into(), query: Some("x=1".into()), does: Does::Show };
        assert_eq!(parse(whole), Some(Ok(asked)));
    }

    #[test]
    fn what_is_not_a_get_or_head_is_refused() {
        assert_eq!(status(b"DELETE /livez HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status(b"\x16\x03\x01\x02\r\n\r\n"), 400);
        let fields = "a: b\r\n".repeat(ADMIN_FIELDS_MAX + 1);
        assert_eq!(status(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()), 431);
    }
}
