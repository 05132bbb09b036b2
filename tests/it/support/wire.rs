//! A client made of raw bytes: sends exactly what a test writes, reads exactly one answer, strictly.
//!
//! Nothing is repaired and nothing guessed: a field line without a colon, a bare LF, a second
//! Content-Length, a byte after the last chunk's CRLF all fail the test (RFC 9112). It never sends a byte
//! of its own accord, not even a Host field.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// One client connection.
pub struct Wire {
    stream: TcpStream,
    /// What came beyond the answers read so far.
    rest: Vec<u8>,
    /// Every byte that came, for golden exchanges.
    pub seen: Vec<u8>,
}

/// One answer, as it came.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Statuses of the 1xx answers that came before this one.
    pub interim: Vec<u16>,
    /// True when the connection's end ended the body.
    pub ended_by_close: bool,
}

impl Wire {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Wire {
        Wire::try_connect(address).unwrap_or_else(|| panic!("cannot connect to {address}"))
    }

    pub fn try_connect(address: SocketAddr) -> Option<Wire> {
        Wire::over(TcpStream::connect(address).ok()?)
    }

    /// A connection from a loopback address of the test's choice.
    #[track_caller]
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Wire {
        let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Wire::over(socket.into()).expect("a connected socket")
    }

    fn over(stream: TcpStream) -> Option<Wire> {
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Wire { stream, rest: Vec::new(), seen: Vec::new() })
    }

    /// A connection that a test made itself.
    pub fn of(stream: TcpStream) -> Wire {
        Wire { stream, rest: Vec::new(), seen: Vec::new() }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The socket alone, for a test that reads and writes it itself.
    pub fn take_stream(self) -> TcpStream {
        self.stream
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway reads what we send");
    }

    /// Sends, and does not mind when the gateway has closed already (it may refuse early).
    pub fn send_perhaps(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// A whole `GET` with its answer.
    #[track_caller]
    pub fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.call("GET", target, fields, b"")
    }

    /// A whole request with its answer; Host is `test` and Content-Length is set where there is a body,
    /// unless `fields` says otherwise.
    #[track_caller]
    pub fn call(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(request(method, target, fields, body));
        self.response_to(method)
    }

    /// The next answer, to a request that was not HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|why| panic!("no valid answer: {why}"))
    }

    /// The next answer, or why there is none.
    pub fn try_response(&mut self, method: &str) -> Result<Response, String> {
        let mut interim = Vec::new();
        loop {
            let mut response = self.try_head()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            self.read_body(&mut response, method)?;
            return Ok(response);
        }
    }

    /// The next head alone, 1xx included; its body is still to be read.
    pub fn try_head(&mut self) -> Result<Response, String> {
        let end = loop {
            if let Some(end) = find(&self.rest, b"\r\n\r\n") {
                break end;
            }
            self.more().map_err(|why| {
                format!("{why} inside a head: {:?}", String::from_utf8_lossy(&self.rest))
            })?;
        };
        let head: Vec<u8> = self.rest.drain(..end + 4).collect();
        parse_head(&head)
    }

    /// Content bytes as they arrive, without waiting for the end; for watching a stream.
    #[track_caller]
    pub fn read_some(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            self.more().unwrap_or_else(|why| panic!("{why} after {:?}", self.rest));
        }
        self.rest.drain(..count).collect()
    }

    /// The gateway closes without sending anything more. A reset counts: bytes it did not read may be
    /// the cause (RFC 9112 §9.6).
    #[track_caller]
    pub fn expect_close(&mut self) {
        let got = self.more();
        assert!(
            self.rest.is_empty() && matches!(&got, Err(why) if why != WAITED),
            "expected a close, got {got:?} {:?}",
            String::from_utf8_lossy(&self.rest)
        );
    }

    /// The connection still answers: it was not closed.
    #[track_caller]
    pub fn expect_open(&mut self) {
        assert!(self.rest.is_empty(), "bytes that nobody asked for: {:?}", self.rest);
        self.stream.set_nonblocking(true).unwrap();
        let got = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        let open = matches!(&got, Err(e) if e.kind() == ErrorKind::WouldBlock);
        assert!(open, "expected an open and silent connection, got {got:?}");
    }

    /// The data of the next chunk of a body; empty for the last one.
    #[track_caller]
    pub fn read_chunk(&mut self) -> Vec<u8> {
        let size = self.line().expect("a chunk");
        let size = usize::from_str_radix(&size, 16).expect("a chunk's size");
        let data = self.read_some(size);
        assert_eq!(self.read_some(2), b"\r\n");
        data
    }

    /// What has come already beyond what was read; for a test that reads the socket itself from here.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// How many of the next `count` content bytes come before the gateway closes.
    pub fn until_close_of(&mut self, count: usize) -> usize {
        while self.rest.len() < count && self.more().is_ok() {}
        self.rest.drain(..count.min(self.rest.len())).count()
    }

    /// Whether the gateway has sent something, or closed.
    pub fn has_something(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let got = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !self.rest.is_empty() || !matches!(&got, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Everything until the gateway closes.
    pub fn until_close(&mut self) -> Vec<u8> {
        while self.more().is_ok() {}
        std::mem::take(&mut self.rest)
    }

    fn more(&mut self) -> Result<(), String> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the gateway closed".into()),
                Ok(count) => {
                    self.rest.extend_from_slice(&chunk[..count]);
                    self.seen.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(WAITED.into());
                }
                Err(e) => return Err(format!("the connection failed ({e})")),
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = find(&self.rest, b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).map_err(|_| "not UTF-8".into());
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.rest.len() < count {
            self.more().map_err(|why| {
                format!("{why} after {} of {count} content bytes", self.rest.len())
            })?;
        }
        Ok(self.rest.drain(..count).collect())
    }

    /// RFC 9112 §6.3, for a recipient of a response.
    fn read_body(&mut self, response: &mut Response, method: &str) -> Result<(), String> {
        let lengths = response.all("content-length");
        let codings = response.all("transfer-encoding");
        if lengths.len() + codings.len() > 1 {
            return Err(format!("ambiguous framing: {:?}", response.fields));
        }
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            if response.status == 204 && lengths.len() + codings.len() > 0 {
                return Err("a 204 with framing fields (RFC 9110 §8.6)".into());
            }
            return Ok(());
        }
        if let Some(coding) = codings.first() {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(format!("unknown transfer coding {coding}"));
            }
            return self.read_chunks(response);
        }
        if let Some(length) = lengths.first() {
            let count = length.parse().map_err(|_| format!("Content-Length: {length}"))?;
            response.body = self.exactly(count)?;
            return Ok(());
        }
        while self.more().is_ok() {}
        response.body = std::mem::take(&mut self.rest);
        response.ended_by_close = true;
        Ok(())
    }

    fn read_chunks(&mut self, response: &mut Response) -> Result<(), String> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let valid = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
            let size = usize::from_str_radix(size, 16).ok().filter(|_| valid);
            let size = size.ok_or_else(|| format!("chunk size {line:?}"))?;
            if size == 0 {
                break;
            }
            response.body.extend(self.exactly(size)?);
            if self.exactly(2)? != b"\r\n" {
                return Err("a chunk that does not end with CRLF".into());
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            response.trailers.push(field(&line)?);
        }
    }
}

impl Response {
    /// The only value of this field; `None` when absent.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "more than one {name}: {all:?}");
        all.first().copied()
    }

    /// Every value of this field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let mine = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        mine.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}", String::from_utf8_lossy(&self.body)))
    }

    /// This answer has that status; says the whole answer when not.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]);
        assert_eq!(self.status, status, "{:?}\n{body}", self.fields);
        self
    }

    /// This answer has one of these statuses.
    #[track_caller]
    pub fn expect_one_of(self, statuses: &[u16]) -> Response {
        assert!(statuses.contains(&self.status), "{} is none of {statuses:?}", self.status);
        self
    }

    /// An error of our own: `application/problem+json` with its status inside, a Proxy-Status field, and
    /// nothing about the inside (no address, no upstream's port, no file).
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Response {
        let response = self.expect(status);
        assert_eq!(response.field("content-type"), Some("application/problem+json"));
        let problem = response.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        let proxy_status = response.field("proxy-status");
        assert!(proxy_status.is_some_and(|v| v.starts_with("ringway")), "{proxy_status:?}");
        let everything = format!("{:?} {problem}", response.fields);
        for inside in ["127.0.0.1", "/tmp/", "panicked", "src/"] {
            assert!(!everything.contains(inside), "`{inside}` leaked: {everything}");
        }
        response
    }
}

/// The bytes of a request as any plain client would write it.
pub fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let has = |name: &str| fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut out = format!("{method} {target} HTTP/1.1\r\n");
    if !has("host") {
        out.push_str("Host: test\r\n");
    }
    for (name, value) in fields {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

const WAITED: &str = "nothing came for as long as patience lasts";

fn parse_head(head: &[u8]) -> Result<Response, String> {
    let text = std::str::from_utf8(head).map_err(|_| "a head that is not UTF-8")?;
    let mut lines = text.strip_suffix("\r\n\r\n").expect("cut there").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = status_line.splitn(3, ' ').collect();
    let [version, status, _reason] = parts[..] else {
        return Err(format!("status line {status_line:?}"));
    };
    // RFC 9110 §2.5: a server answers with its own version, whatever the client's minor one is.
    if version != "HTTP/1.1" || status.len() != 3 {
        return Err(format!("status line {status_line:?}"));
    }
    Ok(Response {
        status: status.parse().map_err(|_| format!("status line {status_line:?}"))?,
        fields: lines.map(field).collect::<Result<_, _>>()?,
        body: Vec::new(),
        trailers: Vec::new(),
        interim: Vec::new(),
        ended_by_close: false,
    })
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("field line {line:?}"))?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\n', '\r', '\0']) {
        return Err(format!("field line {line:?}"));
    }
    Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
