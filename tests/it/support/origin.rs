//! A scripted origin: records every byte of every request and answers exactly as the test says.
//!
//! Each connection has a thread of its own. A script is a function from the request to a list of steps:
//! send these bytes, wait for that gate, close, reset. Requests are read strictly by RFC 9112; one that is
//! ambiguous is a failure of the gateway, shown by `requests`. It never answers what a script did not say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::gateway::Port;
use super::wire::find;
use super::{Gate, PATIENCE, eventually};

/// A listening origin; stops accepting when dropped.
pub struct Origin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    /// Content after its transfer coding was removed.
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Head and body as they came.
    pub raw: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// Which request of that connection it was, counted from 0.
    pub turn: usize,
}

/// What the origin does next.
pub enum Step {
    Send(Vec<u8>),
    /// Goes on when the test opens the gate.
    Wait(Gate),
    /// One write for each byte.
    Drip(Vec<u8>),
    /// Says that nothing more will be sent, and goes on reading.
    HalfClose,
    /// Ends the connection with FIN.
    Close,
    /// Ends the connection with RST.
    Reset,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    violations: Mutex<Vec<String>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

impl Origin {
    /// Answers every request with a 200 and this content.
    pub fn saying(body: &str) -> Origin {
        let answer = ok(body);
        Origin::script(move |_| vec![Step::Send(answer.clone())])
    }

    /// Answers every request with these very bytes.
    pub fn answering(bytes: impl AsRef<[u8]>) -> Origin {
        let bytes = bytes.as_ref().to_vec();
        Origin::script(move |_| vec![Step::Send(bytes.clone())])
    }

    /// Answers every request with these very bytes and closes the connection.
    pub fn answering_then_closing(bytes: impl AsRef<[u8]>) -> Origin {
        let bytes = bytes.as_ref().to_vec();
        Origin::script(move |_| vec![Step::Send(bytes.clone()), Step::Close])
    }

    /// Answers with the request's own line and fields, so that a test can see what arrived.
    pub fn echo() -> Origin {
        Origin::script(|request| {
            let head = &request.raw[..find(&request.raw, b"\r\n\r\n").expect("a read head") + 2];
            vec![Step::Send(ok(&String::from_utf8_lossy(head)))]
        })
    }

    /// Takes each request and never answers it; the connection stays open.
    pub fn silent() -> Origin {
        Origin::script(|_| Vec::new())
    }

    /// Does what `script` says for each request.
    pub fn script(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Origin {
        let script = Arc::new(script);
        Origin::start(move |stream, connection, shared| {
            serve(stream, connection, &shared, &*script);
        })
    }

    /// Hands each connection's raw socket to `talk`, with its number from 0; nothing is recorded.
    pub fn raw(talk: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Origin {
        let talk = Arc::new(talk);
        Origin::start(move |stream, connection, _| talk(stream, connection))
    }

    /// An address where nobody listens: connecting is refused.
    pub fn refusing() -> (Port, SocketAddr) {
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        (port, address)
    }

    fn start(
        talk: impl Fn(TcpStream, usize, Arc<Shared>) + Clone + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Origin::start_on(listener, talk)
    }

    fn start_on(
        listener: TcpListener,
        talk: impl Fn(TcpStream, usize, Arc<Shared>) + Clone + Send + Sync + 'static,
    ) -> Origin {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::new(Vec::new()),
            violations: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = theirs.connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(PATIENCE * 3));
                let (talk, shared) = (talk.clone(), Arc::clone(&theirs));
                std::thread::spawn(move || talk(stream, connection, shared));
            }
        });
        Origin { address, shared }
    }

    /// The script's origin at an address that a test chose (and that was refusing before).
    pub fn script_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Origin {
        let script = Arc::new(script);
        let listener = TcpListener::bind(address).unwrap();
        Origin::start_on(listener, move |stream, connection, shared| {
            serve(stream, connection, &shared, &*script);
        })
    }

    /// Every whole request so far.
    #[track_caller]
    pub fn requests(&self) -> Vec<Request> {
        let violations = self.shared.violations.lock().unwrap();
        assert!(violations.is_empty(), "the gateway sent an invalid request: {violations:?}");
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:#?}");
        requests.remove(0)
    }

    /// Waits until this many requests arrived.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        eventually(&format!("{count} requests at the origin"), || self.requests().len() >= count);
        self.requests()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Request {
    /// The only value of this field; `None` when absent.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "more than one {name}: {all:?}");
        all.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let mine = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        mine.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A 200 with this content.
pub fn ok(body: &str) -> Vec<u8> {
    answer(200, &[("Content-Type", "application/json")], body.as_bytes())
}

/// An answer with Content-Length.
pub fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} Because\r\n");
    for (name, value) in fields {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// Closes with RST in place of FIN, by a linger time of zero (socket(7)).
#[expect(unsafe_code, reason = "std has no stable way to set SO_LINGER")]
pub fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open for as long as `stream` lives; the pointer and the length describe
    // one whole `linger` value on this stack frame.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "setsockopt(SO_LINGER)");
}

/// Reads one request from a raw connection; `None` at its end.
pub fn read_request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<Option<Request>, String> {
    let head_end = loop {
        if let Some(end) = find(rest, b"\r\n\r\n") {
            break end;
        }
        if !more(stream, rest)? {
            return if rest.is_empty() { Ok(None) } else { Err(cut_off(rest)) };
        }
    };
    let mut request = parse_head(&rest[..head_end])?;
    let mut at = head_end + 4;
    let lengths = request.all("content-length");
    let codings = request.all("transfer-encoding");
    if lengths.len() + codings.len() > 1 {
        return Err(format!("ambiguous framing: {:?}", request.fields));
    }
    if codings.first().is_some_and(|c| c.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = usize::from_str_radix(&line(stream, rest, &mut at)?, 16);
            let size = size.map_err(|e| format!("chunk size: {e}"))?;
            if size == 0 {
                break;
            }
            request.body.extend(exactly(stream, rest, &mut at, size)?);
            if exactly(stream, rest, &mut at, 2)? != b"\r\n" {
                return Err("chunk without CRLF".into());
            }
        }
        loop {
            let line = line(stream, rest, &mut at)?;
            if line.is_empty() {
                break;
            }
            request.trailers.push(field(&line)?);
        }
    } else if let Some(length) = lengths.first() {
        let count = length.parse().map_err(|_| format!("Content-Length {length}"))?;
        request.body = exactly(stream, rest, &mut at, count)?;
    }
    request.raw = rest.drain(..at).collect();
    Ok(Some(request))
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    shared: &Shared,
    script: &(dyn Fn(&Request) -> Vec<Step> + Send + Sync),
) {
    let mut rest = Vec::new();
    for turn in 0.. {
        let mut request = match read_request(&mut stream, &mut rest) {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(why) if why.starts_with(CUT_OFF) => return,
            Err(why) => return shared.violations.lock().unwrap().push(why),
        };
        request.connection = connection;
        request.turn = turn;
        shared.requests.lock().unwrap().push(request.clone());
        for step in script(&request) {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Step::Drip(bytes) => {
                    if bytes.chunks(1).any(|byte| stream.write_all(byte).is_err()) {
                        return;
                    }
                }
                Step::HalfClose => drop(stream.shutdown(Shutdown::Write)),
                Step::Wait(gate) => gate.wait(),
                Step::Close => return,
                Step::Reset => return reset(&stream),
            }
        }
    }
}

/// A request that ended early is what a client that went away looks like; not a violation.
const CUT_OFF: &str = "cut off";

fn cut_off(rest: &[u8]) -> String {
    format!("{CUT_OFF} after {:?}", String::from_utf8_lossy(&rest[..rest.len().min(500)]))
}

fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<bool, String> {
    let mut chunk = [0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(count) => {
                rest.extend_from_slice(&chunk[..count]);
                return Ok(count > 0);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(cut_off(rest)),
        }
    }
}

fn exactly(
    stream: &mut TcpStream,
    rest: &mut Vec<u8>,
    at: &mut usize,
    count: usize,
) -> Result<Vec<u8>, String> {
    while rest.len() < *at + count {
        if !more(stream, rest)? {
            return Err(cut_off(rest));
        }
    }
    *at += count;
    Ok(rest[*at - count..*at].to_vec())
}

fn line(stream: &mut TcpStream, rest: &mut Vec<u8>, at: &mut usize) -> Result<String, String> {
    loop {
        if let Some(end) = find(&rest[*at..], b"\r\n") {
            let line = String::from_utf8_lossy(&rest[*at..*at + end]).into_owned();
            *at += end + 2;
            return Ok(line);
        }
        if !more(stream, rest)? {
            return Err(cut_off(rest));
        }
    }
}

fn parse_head(head: &[u8]) -> Result<Request, String> {
    // Values may hold bytes above ASCII (obs-text, RFC 9110 §5.5); `raw` has them as they came.
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let request_line = lines.next().unwrap_or_default();
    let parts: Vec<&str> = request_line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err(format!("request line {request_line:?}"));
    };
    let request = Request {
        method: method.into(),
        target: target.into(),
        fields: lines.map(field).collect::<Result<_, _>>()?,
        body: Vec::new(),
        trailers: Vec::new(),
        raw: Vec::new(),
        connection: 0,
        turn: 0,
    };
    if request.all("host").len() != 1 {
        return Err(format!("Host fields: {:?}", request.fields));
    }
    Ok(request)
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("field line {line:?}"))?;
    if name.is_empty() || name.contains([' ', '\t']) || value.contains(['\n', '\r', '\0']) {
        return Err(format!("field line {line:?}"));
    }
    Ok((name.to_string(), value.trim_matches([' ', '\t']).to_string()))
}
