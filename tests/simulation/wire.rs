//! HTTP/1.1 as the simulated clients and origins read it: a small reader of its own, strict and slow.
//!
//! It never shares a line with the gateway's codec, so that a mistake there cannot hide here.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::buffer::BufferPool;
use ringway::runtime::simulated::{Simulated, SimulatedStream};
use ringway::runtime::{Runtime, Stream};

/// A message head.
#[derive(Clone, Debug)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a whole head off the front of `input`.
    pub fn take(input: &mut Vec<u8>) -> Option<Result<Head, String>> {
        let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head: Vec<u8> = input.drain(..end).collect();
        Some(Head::parse(&head[..end - 4]))
    }

    fn parse(bytes: &[u8]) -> Result<Head, String> {
        // obs-text is legal (RFC 9110 §5.5): each byte is one character.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_string();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("a line {line:?}"))?;
            if name.is_empty() || name.contains([' ', '\t', '\n']) || value.contains('\n') {
                return Err(format!("a line {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_string()));
        }
        Ok(Head { first, fields })
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0 == name;
        self.fields.iter().filter(same).map(|field| field.1.as_str()).collect()
    }

    /// The one value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    pub fn status(&self) -> Option<u16> {
        self.first.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// Whether the connection ends with this message, as far as `Connection` says.
    pub fn closes(&self) -> bool {
        self.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The length of the body behind this head (RFC 9112 §6.3).
    pub fn length(&self, unstated: Length) -> Result<Length, String> {
        let chunked = self.all("transfer-encoding");
        let lengths = self.all("content-length");
        match (&chunked[..], &lengths[..]) {
            ([], []) => Ok(unstated),
            (["chunked"], []) => Ok(Length::Chunked),
            ([], [digits]) => {
                digits.parse().map(Length::Exact).map_err(|_| format!("length {digits:?}"))
            }
            _ => Err(format!("framing {chunked:?} {lengths:?}")),
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Exact(usize),
    Chunked,
    UntilClose,
}

/// Collects a body.
#[derive(Debug)]
pub struct Body {
    length: Length,
    pub bytes: Vec<u8>,
    pub trailers: Vec<String>,
    left: usize,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Data,
    DataEnd,
    Trailers,
    Done,
}

impl Body {
    pub fn new(length: Length) -> Body {
        let (left, at) = match length {
            Length::Exact(0) => (0, At::Done),
            Length::Exact(left) => (left, At::Data),
            Length::Chunked => (0, At::Size),
            Length::UntilClose => (usize::MAX, At::Data),
        };
        Body { length, bytes: Vec::new(), trailers: Vec::new(), left, at }
    }

    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Whether the end of the connection here ends the body.
    pub fn ends_with_connection(&self) -> bool {
        self.is_done() || self.length == Length::UntilClose
    }

    /// Takes what there is of the body off the front of `input`; whether that was all.
    pub fn feed(&mut self, input: &mut Vec<u8>) -> Result<bool, String> {
        let mut rest = &input[..];
        loop {
            match self.at {
                At::Done => break,
                At::Data => {
                    let (mine, behind) = rest.split_at(rest.len().min(self.left));
                    self.bytes.extend_from_slice(mine);
                    rest = behind;
                    if self.length == Length::UntilClose {
                        break;
                    }
                    self.left -= mine.len();
                    if self.left > 0 {
                        break;
                    }
                    let chunked = self.length == Length::Chunked;
                    self.at = if chunked { At::DataEnd } else { At::Done };
                }
                At::Size | At::DataEnd | At::Trailers => {
                    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { break };
                    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                    rest = &rest[end + 2..];
                    self.line(line)?;
                }
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        Ok(self.is_done())
    }

    fn line(&mut self, line: String) -> Result<(), String> {
        self.at = match self.at {
            At::Size => {
                let digits = line.split(';').next().unwrap_or_default().trim_end();
                self.left =
                    usize::from_str_radix(digits, 16).map_err(|_| format!("size {line:?}"))?;
                if self.left == 0 { At::Trailers } else { At::Data }
            }
            At::DataEnd if line.is_empty() => At::Size,
            At::Trailers if line.is_empty() => At::Done,
            At::Trailers => {
                self.trailers.push(line);
                At::Trailers
            }
            at => return Err(format!("{line:?} at {at:?}")),
        };
        Ok(())
    }
}

/// How a peer sends: in pieces of at most so many bytes, with pauses.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    pub bytes_max: usize,
    pub pause: Duration,
}

impl Pieces {
    pub const WHOLE: Pieces = Pieces { bytes_max: usize::MAX, pause: Duration::ZERO };
}

/// One end of a connection, as a peer of the gateway uses it.
pub struct Wire {
    pub stream: Rc<SimulatedStream>,
    pub input: Vec<u8>,
    runtime: Simulated,
    pool: BufferPool,
}

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It sent the end.
    End,
    /// By a reset.
    Reset,
}

impl Wire {
    pub fn new(stream: SimulatedStream, runtime: &Simulated, pool: &BufferPool) -> Wire {
        let (runtime, pool) = (runtime.clone(), pool.clone());
        Wire { stream: Rc::new(stream), input: Vec::new(), runtime, pool }
    }

    /// Another handle of the same connection, for writing.
    pub fn writer(&self) -> Wire {
        let (runtime, pool) = (self.runtime.clone(), self.pool.clone());
        Wire { stream: self.stream.clone(), input: Vec::new(), runtime, pool }
    }

    /// Reads more.
    pub async fn more(&mut self) -> Result<(), Gone> {
        let buf = self.pool.take().expect("peers hold few buffers");
        let (read, buf) = self.stream.read(buf, usize::MAX).await;
        match read {
            Ok(0) => Err(Gone::End),
            Ok(_) => {
                self.input.extend_from_slice(buf.data());
                Ok(())
            }
            Err(_) => Err(Gone::Reset),
        }
    }

    /// Reads a whole head.
    pub async fn head(&mut self) -> Result<Result<Head, String>, Gone> {
        loop {
            if let Some(head) = Head::take(&mut self.input) {
                return Ok(head);
            }
            self.more().await?;
        }
    }

    /// Sends `bytes`.
    pub async fn send(&self, bytes: &[u8], pieces: Pieces) -> Result<(), Gone> {
        // Large messages go in at most sixty pieces, or their pauses would be longer than any timeout.
        let most = pieces.bytes_max.max(bytes.len() / 60).clamp(1, 32 * 1024);
        for piece in bytes.chunks(most) {
            let mut buf = self.pool.take().expect("peers hold few buffers");
            assert!(buf.put(piece));
            let (written, _) = self.stream.write_all(buf).await;
            written.map_err(|_| Gone::Reset)?;
            if !pieces.pause.is_zero() {
                self.pause(pieces.pause).await;
            }
        }
        Ok(())
    }

    pub async fn pause(&self, time: Duration) {
        self.runtime.sleep_until(self.runtime.now() + time).await;
    }
}

/// Bytes that belong to `name` and nobody else.
pub fn pattern(name: &str, len: usize) -> Vec<u8> {
    let tag = format!("{name}.{len}/");
    tag.bytes().cycle().take(len).collect()
}

/// A short digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{}-{:016x}", bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}
