//! HTTP/1.1 messages as the client and the upstreams of a test read them (RFC 9112).
//!
//! Their other end is this gateway, which other tests hold to the standard: what is read here is believed,
//! and nothing here ever judges it.

use crate::base::buffer::BufferPool;
use crate::base::limits::TEST_MESSAGE_BYTES_MAX;
use crate::runtime::Stream;
use crate::runtime::simulated::SimulatedStream;

/// A message, or what came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// The request line or status line.
    pub(super) first: String,
    /// Fields, names in lower case.
    pub(super) fields: Vec<(String, String)>,
    /// The body.
    pub(super) body: Vec<u8>,
    /// Whether its end was seen.
    pub(super) whole: bool,
}

impl Message {
    /// The value of a field; several are one list (RFC 9110 §5.3).
    pub(super) fn field(&self, name: &str) -> Option<String> {
        field(&self.fields, name)
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.first.split(' ').nth(1)?.parse().ok()
    }
}

/// The value of a field among `fields`.
pub(super) fn field(fields: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> =
        fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// How the body behind a head ends.
enum Length {
    Exact(usize),
    Chunked,
    UntilClose,
}

/// One end of a connection.
pub(super) struct Wire<'a> {
    stream: &'a SimulatedStream,
    pool: &'a BufferPool,
    arrived: Vec<u8>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(stream: &'a SimulatedStream, pool: &'a BufferPool) -> Self {
        Self { stream, pool, arrived: Vec::new() }
    }

    /// Sends `bytes`; an error means that the other end is gone, which reading shows.
    pub(super) async fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(32 * 1024) {
            let Some(mut buf) = self.pool.take() else { return };
            if !buf.put(piece) || self.stream.write_all(buf).await.0.is_err() {
                return;
            }
        }
    }

    /// The next request; `None` when there is none.
    pub(super) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        let length = match length(&message, 0) {
            Length::UntilClose => Length::Exact(0),
            known => known,
        };
        self.body(&mut message, &length).await;
        Some(message)
    }

    /// The response to a request; interim ones (RFC 9110 §15.2) are passed over.
    pub(super) async fn response(&mut self, head_only: bool) -> Option<Message> {
        loop {
            let mut message = self.head().await?;
            let status = message.status().unwrap_or_default();
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let length = if head_only { Length::Exact(0) } else { length(&message, status) };
            self.body(&mut message, &length).await;
            return Some(message);
        }
    }

    async fn head(&mut self) -> Option<Message> {
        loop {
            let end = self.arrived.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let bytes: Vec<u8> = self.arrived.drain(..end + 4).collect();
                return Some(parse(&String::from_utf8_lossy(&bytes[..end])));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn body(&mut self, message: &mut Message, length: &Length) {
        match length {
            Length::Exact(bytes) => {
                message.whole = self.take(*bytes, &mut message.body).await;
            }
            Length::UntilClose => {
                while self.more().await {}
                message.body = std::mem::take(&mut self.arrived);
                message.whole = true;
            }
            Length::Chunked => message.whole = self.chunks(&mut message.body).await,
        }
    }

    /// Moves `bytes` to `out`; whether they came.
    async fn take(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        let mut left = bytes;
        loop {
            let here = left.min(self.arrived.len());
            out.extend(self.arrived.drain(..here));
            left -= here;
            if left == 0 {
                return true;
            }
            if out.len() > TEST_MESSAGE_BYTES_MAX || !self.more().await {
                return false;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.arrived.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.arrived.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn chunks(&mut self, out: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line().await else { return false };
            let digits = line.split(';').next().unwrap_or_default().trim();
            let Ok(bytes) = usize::from_str_radix(digits, 16) else { return false };
            if bytes == 0 {
                break;
            }
            if !self.take(bytes, out).await || self.line().await.is_none() {
                return false;
            }
        }
        // Trailers, and the empty line behind them.
        loop {
            match self.line().await {
                Some(line) if line.is_empty() => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Reads more; whether anything came.
    async fn more(&mut self) -> bool {
        if self.arrived.len() > TEST_MESSAGE_BYTES_MAX {
            return false;
        }
        let Some(buf) = self.pool.take() else { return false };
        let room = buf.spare();
        match self.stream.read(buf, room).await {
            (Ok(count), buf) if count > 0 => {
                self.arrived.extend_from_slice(buf.data());
                true
            }
            _ => false,
        }
    }
}

fn parse(head: &str) -> Message {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Message { first, fields: lines.filter_map(field).collect(), ..Message::default() }
}

fn length(message: &Message, status: u16) -> Length {
    if matches!(status, 204 | 304) {
        return Length::Exact(0);
    }
    if message.field("transfer-encoding").is_some() {
        return Length::Chunked;
    }
    let exact = message.field("content-length").and_then(|digits| digits.parse().ok());
    exact.map_or(Length::UntilClose, Length::Exact)
}
