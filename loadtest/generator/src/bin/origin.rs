//! `origin PORT…`: what stands behind the gateway in load tests, and the floor of answering at all when it stands alone.
//!
//! One thread, one epoll, bodies made at the start: as cheap as an origin can be, so that what is measured is in front of
//! it. Loopback only. `/small` (1 KiB), `/64k`, `/1m`, `/user` (0.5 KiB), `/orders` (8 KiB), `/orders100`,
//! `/notifications`; `/d5ms/…` the same after 5 ms; everything else `/small`. Bodies of requests are read and dropped.
//! Never allocates for an answer; never reads a request that it could mistake: anything odd closes the connection.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

/// A head and what came with it, at most.
const HEAD_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 128;
const DELAY: Duration = Duration::from_millis(5);
/// Connections, at most; more are left waiting.
const CONNECTIONS_MAX: usize = 30_000;

type Answer = Rc<[u8]>;

struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    /// Bytes of a request's body still to be read and dropped.
    skip: usize,
    /// Answers to be sent, the first from `sent`.
    output: VecDeque<Answer>,
    sent: usize,
    armed_for_write: bool,
}

struct Origin {
    epoll: OwnedFd,
    listeners: HashMap<i32, TcpListener>,
    connections: Vec<Option<Connection>>,
    answers: HashMap<&'static str, Answer>,
    delayed: VecDeque<(Instant, i32, Answer)>,
    scratch: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut origin = Origin {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        listeners: HashMap::new(),
        connections: Vec::new(),
        answers: answers(),
        delayed: VecDeque::new(),
        scratch: vec![0; 64 << 10],
    };
    for port in std::env::args().skip(1) {
        let port = port.parse::<u16>().map_err(std::io::Error::other)?;
        origin.listen(port)?;
    }
    if origin.listeners.is_empty() {
        eprintln!("origin PORT…");
        std::process::exit(2);
    }
    loop {
        origin.turn()?;
    }
}

impl Origin {
    fn listen(&mut self, port: u16) -> std::io::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        // The library's queue of 128 is short for a thousand clients that come at once.
        rustix::net::listen(&listener, 16_384)?;
        listener.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(listener.as_raw_fd() as u64);
        epoll::add(&self.epoll, &listener, data, epoll::EventFlags::IN)?;
        self.listeners.insert(listener.as_raw_fd(), listener);
        Ok(())
    }

    fn turn(&mut self) -> std::io::Result<()> {
        let timeout = self.delayed.front().map(|(at, _, _)| {
            let wait = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
        });
        let mut events = Vec::with_capacity(512);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let fd = event.data.u64() as i32;
            if self.listeners.contains_key(&fd) {
                self.accept(fd)?;
            } else if !self.serve(fd, event.flags) {
                self.connections[fd as usize] = None;
            }
        }
        while let Some((at, _, _)) = self.delayed.front()
            && *at <= Instant::now()
            && let Some((_, fd, answer)) = self.delayed.pop_front()
        {
            let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { continue };
            connection.output.push_back(answer);
            if !self.send(fd) {
                self.connections[fd as usize] = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: i32) -> std::io::Result<()> {
        while let Ok((socket, _)) = self.listeners[&listener].accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let fd = socket.as_raw_fd();
            if fd as usize >= CONNECTIONS_MAX {
                continue;
            }
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            epoll::add(
                &self.epoll,
                &socket,
                epoll::EventData::new_u64(fd as u64),
                epoll::EventFlags::IN,
            )?;
            self.connections[fd as usize] = Some(Connection {
                socket,
                input: Vec::new(),
                skip: 0,
                output: VecDeque::new(),
                sent: 0,
                armed_for_write: false,
            });
        }
        Ok(())
    }

    /// False when the connection is over.
    fn serve(&mut self, fd: i32, flags: epoll::EventFlags) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { return true };
        if flags.contains(epoll::EventFlags::IN) {
            match connection.socket.read(&mut self.scratch) {
                Ok(0) => return false,
                Ok(count) => connection.input.extend_from_slice(&self.scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        } else if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            return false;
        }
        self.answer(fd) && self.send(fd)
    }

    /// Answers every whole request that has come. False for one that cannot be understood.
    fn answer(&mut self, fd: i32) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { return true };
        let mut at = 0;
        loop {
            let skipped = connection.skip.min(connection.input.len() - at);
            connection.skip -= skipped;
            at += skipped;
            if at == connection.input.len() {
                break;
            }
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut head = httparse::Request::new(&mut fields);
            let length = match head.parse(&connection.input[at..]) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if connection.input.len() - at < HEAD_MAX => break,
                _ => return false,
            };
            let Some(body) = body_length(head.headers) else { return false };
            let path = head.path.unwrap_or("/").trim_start_matches('/');
            let path = path.split('?').next().unwrap_or_default();
            let (delayed, path) =
                path.strip_prefix("d5ms/").map_or((false, path), |path| (true, path));
            let answer = self.answers.get(path).unwrap_or(&self.answers["small"]).clone();
            match delayed {
                false => connection.output.push_back(answer),
                true => self.delayed.push_back((Instant::now() + DELAY, fd, answer)),
            }
            at += length;
            connection.skip = body;
        }
        connection.input.drain(..at);
        true
    }

    fn send(&mut self, fd: i32) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else { return true };
        let mut blocked = false;
        while let Some(answer) = connection.output.front() {
            match connection.socket.write(&answer[connection.sent..]) {
                Ok(count) => connection.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    blocked = true;
                    break;
                }
                Err(_) => return false,
            }
            if connection.sent == answer.len() {
                connection.output.pop_front();
                connection.sent = 0;
            }
        }
        if blocked != connection.armed_for_write {
            connection.armed_for_write = blocked;
            let out = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(fd as u64);
            return epoll::modify(
                &self.epoll,
                &connection.socket,
                data,
                epoll::EventFlags::IN | out,
            )
            .is_ok();
        }
        true
    }
}

/// Bytes of a request's body; None when it cannot be told (chunks are not read here).
fn body_length(fields: &[httparse::Header<'_>]) -> Option<usize> {
    let mut length = 0;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok()?.trim().parse().ok()?;
        }
    }
    Some(length)
}

fn answers() -> HashMap<&'static str, Answer> {
    let answer = |body: String| -> Answer {
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/json\r\nCache-Control: max-age=3600\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes().into()
    };
    HashMap::from([
        ("small", answer(filler(1024))),
        ("64k", answer(filler(64 << 10))),
        ("1m", answer(filler(1 << 20))),
        ("user", answer(user())),
        ("orders", answer(orders(8 << 10))),
        ("orders100", answer(orders(100 << 10))),
        ("notifications", answer(notifications())),
    ])
}

/// A JSON object of so many bytes.
fn filler(bytes: usize) -> String {
    let letters = (0..bytes - 11).map(|at| char::from(b'a' + (at % 26) as u8));
    format!("{{\"data\":\"{}\"}}", letters.collect::<String>())
}

fn user() -> String {
    let known = "{\"id\":\"u-1029384\",\"name\":\"Ada Lovelace\",\"email\":\"ada@example.com\",\"active\":true,\
        \"score\":4.75,\"address\":{\"street\":\"12 St James's Square\",\"city\":\"London\",\"zip\":\"SW1Y 4JH\"},\
        \"roles\":[\"customer\",\"beta\",\"reviewer\"],\"preferences\":{\"lang\":\"en-GB\",\"newsletter\":false},\
        \"about\":\"";
    let rest = 510 - known.len();
    format!("{known}{}\"}}", "lorem ipsum ".chars().cycle().take(rest).collect::<String>())
}

/// A JSON array of orders, about 200 bytes each.
fn orders(bytes: usize) -> String {
    let mut out = String::from("[");
    for n in 0.. {
        if out.len() >= bytes {
            break;
        }
        let comma = if n == 0 { "" } else { "," };
        let status = ["shipped", "pending", "returned"][n % 3];
        out += &format!(
            "{comma}{{\"id\":{},\"sku\":\"SKU-{:06}\",\"quantity\":{},\"price\":{}.{:02},\"currency\":\"EUR\",\
             \"status\":\"{status}\",\"placed\":\"2026-0{}-1{}T08:0{}:00Z\",\
             \"items\":[{{\"name\":\"widget {n}\",\"grams\":{}}}],\"gift\":{}}}",
            100_000 + n,
            n * 37 % 1_000_000,
            n % 9 + 1,
            n * 13 % 300,
            n % 100,
            n % 9 + 1,
            n % 9,
            n % 9,
            n * 3,
            n.is_multiple_of(2),
        );
    }
    out + "]"
}

fn notifications() -> String {
    let items = (0..13).map(|n| {
        format!(
            "{{\"id\":{n},\"text\":\"Your order {} has been updated\",\"read\":false}}",
            100_000 + n
        )
    });
    format!("{{\"unread\":7,\"items\":[{}]}}", items.collect::<Vec<_>>().join(","))
}
