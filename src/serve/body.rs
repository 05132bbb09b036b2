//! Reads the body of one message, in pieces, from a stream: the client's or an origin's.
//!
//! It never reads past a body of known length, never hands out an empty piece, and holds one buffer at
//! a time and none while it waits, so that a body of any size and any slowness takes the same memory
//! (RFC 9112 §6, §7.1).

use std::io;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::limits::{BUFFER_BYTES, BULK_BUFFER_BYTES};
use crate::base::time::Instant;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::grpc::Silence;
use crate::http::framing::BodyLength;
use crate::http::grpc_web;
use crate::http::h1::chunked::{self, Decoder};
use crate::net::stream::Wire;
use crate::runtime::deadline::Slot;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::attempt::FRAME_END_BYTES;
use crate::serve::budget::Budget;
use crate::serve::mirror::Tap;
use crate::serve::pace::Pace;

/// Room left in front of what is collected of a part. Unit: bytes.
const PART_HEADROOM: usize = 1024;

/// The reader of one body.
pub struct BodyReader<'a, R: Runtime> {
    core: &'a Core<R>,
    stream: &'a Wire<R::Stream>,
    slot: &'a Slot,
    decoder: &'a mut Decoder,
    left: Left,
    side: Side,
    pause_max: Duration,
    bytes_max: u64,
    bytes: u64,
    wire_bytes: u64,
    arrived: Option<Buf>,
    rest: Option<Buf>,
    pace: Pace,
    /// Most that is read at once. Unit: bytes.
    piece_bytes_max: usize,
    /// Whether nothing is there to read: waiting comes first.
    drained: bool,
    broken: &'static str,
    /// How long this side and the other may be silent, instead of a pause of this one.
    pub silence: Option<Silence>,
    /// Undoes the base64 of a call in gRPC-Web.
    pub recode: Option<grpc_web::Decoder>,
    /// Who wants a copy of what is read.
    pub tap: Option<Box<Tap>>,
}

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Exact(u64),
    Chunks,
    UntilClose,
}

/// Whose body it is, and what it may cost.
pub struct BodyRules {
    /// Whose body.
    pub side: Side,
    /// Longest wait for the next bytes.
    pub pause_max: Duration,
    /// Largest body. Unit: bytes.
    pub bytes_max: u64,
}

impl<'a, R: Runtime> BodyReader<'a, R> {
    /// A reader of a body of `length`, of which `arrived` came with the head.
    pub fn new(
        core: &'a Core<R>,
        stream: &'a Wire<R::Stream>,
        slot: &'a Slot,
        decoder: &'a mut Decoder,
        length: BodyLength,
        arrived: Option<Buf>,
        rules: BodyRules,
    ) -> Self {
        decoder.reset();
        let left = match length {
            BodyLength::None | BodyLength::Exact(0) => Left::Nothing,
            BodyLength::Exact(bytes) => Left::Exact(bytes),
            BodyLength::Chunked => Left::Chunks,
            BodyLength::UntilClose => Left::UntilClose,
        };
        let BodyRules { side, pause_max, bytes_max } = rules;
        let arrived = arrived.filter(|buf| !buf.is_empty());
        let (arrived, rest) = if left == Left::Nothing { (None, arrived) } else { (arrived, None) };
        let (bytes, wire_bytes) = (0, arrived.as_ref().map_or(0, |buf| buf.len() as u64));
        Self {
            core,
            stream,
            slot,
            decoder,
            left,
            side,
            pause_max,
            bytes_max,
            bytes,
            wire_bytes,
            arrived,
            rest,
            pace: Pace::new(0, pause_max),
            piece_bytes_max: usize::MAX,
            drained: false,
            silence: None,
            recode: None,
            tap: None,
            broken: "",
        }
    }

    /// Sets the largest body that is read. Unit: bytes.
    pub fn bound(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Sets the least that must come while the body is waited for. Unit: bytes per second.
    pub fn demand(&mut self, rate_min: u64) {
        self.pace = Pace::new(rate_min, self.pause_max);
    }

    /// Sets the most that is read at once. Unit: bytes.
    pub fn in_pieces(&mut self, piece_bytes_max: usize) {
        self.piece_bytes_max = piece_bytes_max;
    }

    /// How much has arrived and was not handed out. Unit: bytes.
    pub fn arrived_bytes(&self) -> usize {
        self.arrived.as_ref().map_or(0, Buf::len)
    }

    /// Whether the whole body was handed out.
    pub fn is_done(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Whether nothing of the body has arrived yet.
    pub fn is_untouched(&self) -> bool {
        self.arrived.is_none() && self.bytes == 0 && !self.is_done()
    }

    /// Whether the message ended exactly where its bytes ended: the connection may be used again.
    pub fn ended_cleanly(&self) -> bool {
        self.is_done() && self.rest.is_none()
    }

    /// Trailer lines of a chunked body that is done.
    pub fn trailers(&self) -> &[u8] {
        self.decoder.trailers()
    }

    /// What is wrong with the body's chunks, in one word; empty while nothing is.
    pub fn broken(&self) -> &'static str {
        self.broken
    }

    /// Bytes of content that were handed out.
    pub fn handed_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes read from the wire for this body.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// What was read behind the end of the body: the next request of a pipelining client.
    pub fn into_rest(self) -> Option<Buf> {
        self.rest
    }

    /// The next piece that is already here, without waiting.
    ///
    /// # Errors
    /// As [`BodyReader::next`].
    pub fn next_arrived(&mut self) -> Result<Option<Buf>, Fault> {
        match self.arrived.take() {
            Some(buf) => self.accept(buf),
            None => Ok(None),
        }
    }

    /// Drops what has arrived of the body; says whether that was all of it, so that the connection may be
    /// used again although nobody wanted the body.
    pub fn skip_arrived(&mut self) -> bool {
        while let Ok(Some(_)) = self.next_arrived() {}
        self.is_done()
    }

    /// The next piece, never empty; `None` at the end of the body.
    ///
    /// # Errors
    /// The peer closed, paused too long, broke the framing, or sent more than it may.
    pub async fn next(&mut self) -> Result<Option<Buf>, Fault> {
        self.next_by(Instant::NEVER).await
    }

    /// The next piece, by `deadline` at the latest.
    ///
    /// # Errors
    /// As [`BodyReader::next`].
    pub async fn next_by(&mut self, deadline: Instant) -> Result<Option<Buf>, Fault> {
        loop {
            if let Some(piece) = self.next_arrived()? {
                return Ok(Some(piece));
            }
            if self.is_done() {
                return Ok(None);
            }
            let begun = self.core.runtime.now();
            let until = deadline.min(self.patient_until(begun));
            let read = self.read_by(until).await;
            if read.is_err() && self.may_wait_on(deadline) {
                continue;
            }
            let (result, buf) = read?;
            match result {
                Ok(0) => return self.closed(),
                // A reset is never an end, not even of a body that ends with its connection.
                Err(_) => return Err(self.fault_of_close()),
                Ok(n) => {
                    if let Some(silence) = &self.silence {
                        silence.broken(self.core.runtime.now());
                    }
                    self.wire_bytes += n as u64;
                    self.arrived = Some(buf);
                    if self.side == Side::Downstream {
                        self.pace.note(self.core.runtime.now().since(begun), n as u64);
                    }
                }
            }
        }
    }

    /// A buffer with what is in `first` and room for the rest of the body, to be read by `extend`; `first` itself
    /// where there is none, or the length is not known. Only for an origin's body: a client is timed by its pieces.
    pub fn with_room(&self, first: Buf) -> Result<Buf, Buf> {
        let left = match self.left {
            Left::Nothing => return Ok(first),
            Left::Exact(left) if self.side == Side::Upstream => left,
            _ => return Err(first),
        };
        let wanted = left + FRAME_END_BYTES as u64;
        if first.spare() as u64 >= wanted {
            return Ok(first);
        }
        if (PART_HEADROOM + first.len()) as u64 + wanted > BULK_BUFFER_BYTES as u64 {
            return Err(first);
        }
        let Some(mut bulk) = self.core.bulk.take() else { return Err(first) };
        // With the room in front that `first` has, in which what is sent before a part may stand.
        bulk.clear_with_headroom(PART_HEADROOM);
        let fits = bulk.put(first.data());
        debug_assert!(fits, "compared with the bound before");
        Ok(bulk)
    }

    /// Reads the rest of the body behind what is in `all`, which `with_room` gave, by `deadline` at the latest.
    ///
    /// # Errors
    /// As [`BodyReader::next`], and that `budget` is spent.
    pub async fn fill(
        &mut self,
        mut all: Buf,
        deadline: Instant,
        budget: &Budget,
    ) -> Result<Buf, Fault> {
        while let Left::Exact(left) = self.left {
            let until = deadline.min(self.patient_until(self.core.runtime.now()));
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let read = self.slot.within(until, self.stream.read(all, wanted)).await;
            let (result, buf) = read.map_err(|_| self.fault_of_pause())?;
            let read = result.ok().filter(|bytes| *bytes > 0);
            let bytes = read.ok_or_else(|| self.fault_of_close())?;
            budget.take(bytes)?;
            let left = left.saturating_sub(bytes as u64);
            self.left = if left == 0 { Left::Nothing } else { Left::Exact(left) };
            self.wire_bytes += bytes as u64;
            self.bytes += bytes as u64;
            all = buf;
        }
        Ok(all)
    }

    /// Until when this side may pause.
    fn patient_until(&self, begun: Instant) -> Instant {
        match &self.silence {
            Some(silence) => silence.until(),
            None => begun + self.pace.patience(self.pause_max),
        }
    }

    /// Whether the other side has spoken while this one was waited for in vain.
    fn may_wait_on(&self, deadline: Instant) -> bool {
        let until = self.silence.as_ref().map_or(Instant::ORIGIN, Silence::until);
        self.core.runtime.now() < until.min(deadline)
    }

    /// Reads once. A buffer is taken when there is something to read and not before: who waits for a slow
    /// sender, or for the next event of a stream, holds none.
    async fn read_by(&mut self, until: Instant) -> Result<(io::Result<usize>, Buf), Fault> {
        loop {
            let woken = std::mem::replace(&mut self.drained, false);
            if woken && self.slot.within(until, self.stream.readable()).await.is_err() {
                return Err(self.fault_of_pause());
            }
            let mut buf = self.buffer()?;
            buf.clear_with_headroom(chunked::FRAME_HEADROOM);
            let wanted = match self.left {
                Left::Exact(left) => usize::try_from(left).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            // Room for the end of a frame is left behind the data.
            let wanted = wanted.min(buf.spare() - FRAME_END_BYTES).min(self.piece_bytes_max);
            if self.ends_soon() {
                let read = self.slot.within(until, self.stream.read(buf, wanted)).await;
                return read.map_err(|_| self.fault_of_pause());
            }
            let (result, buf) = self.stream.try_read(buf, wanted);
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && woken => {
                    // Woken for nothing, or a stream that cannot tell: wait as long as it takes.
                    let read = self.slot.within(until, self.stream.read(buf, wanted)).await;
                    return read.map_err(|_| self.fault_of_pause());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                result => return Ok((result, buf)),
            }
        }
    }

    /// Whether one more piece is the rest of an origin's body: it comes at once as a rule, and one read that
    /// waits is cheaper than a look, a wait and a read.
    fn ends_soon(&self) -> bool {
        let little = matches!(self.left, Left::Exact(left) if left <= BUFFER_BYTES as u64);
        self.side == Side::Upstream && little
    }

    /// What is read into: a bulk buffer where much is to come and nothing can lie behind it.
    fn buffer(&self) -> Result<Buf, Fault> {
        let large = match self.left {
            Left::Exact(left) => left > BUFFER_BYTES as u64,
            Left::UntilClose => self.bytes > BUFFER_BYTES as u64,
            Left::Nothing | Left::Chunks => false,
        };
        let large = large && self.piece_bytes_max > BUFFER_BYTES;
        let bulk = if large { self.core.bulk.take() } else { None };
        bulk.map_or_else(|| self.core.buffer(), Ok)
    }

    /// Takes what arrived apart: data of this body, and what lies behind it.
    fn accept(&mut self, mut buf: Buf) -> Result<Option<Buf>, Fault> {
        match self.left {
            Left::Nothing => self.keep_rest(&mut buf, 0)?,
            Left::UntilClose => {}
            Left::Exact(left) => {
                let mine = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                self.keep_rest(&mut buf, mine)?;
                let left = left - mine as u64;
                self.left = if left == 0 { Left::Nothing } else { Left::Exact(left) };
            }
            Left::Chunks => {
                let decoded = self.decoder.decode(buf.data_mut());
                let decoded = decoded.map_err(|error| {
                    self.broken = error.word();
                    self.fault_of_framing()
                })?;
                if decoded.done {
                    self.left = Left::Nothing;
                    self.keep_rest(&mut buf, decoded.consumed)?;
                }
                buf.truncate(decoded.data);
            }
        }
        if self.recode.is_some() {
            self.undo_base64(&mut buf)?;
        }
        if let Some(tap) = &mut self.tap {
            tap.take(buf.data());
        }
        self.bytes += buf.len() as u64;
        if self.bytes > self.bytes_max {
            let kind = FaultKind::BodyTooLarge;
            return Err(Fault { kind, side: self.side, again: Again::Never });
        }
        Ok(if buf.is_empty() { None } else { Some(buf) })
    }

    /// Leaves what the base64 in `buf` stands for.
    fn undo_base64(&mut self, buf: &mut Buf) -> Result<(), Fault> {
        let Some(decoder) = &mut self.recode else { return Ok(()) };
        let decoded = decoder.decode(buf.data_mut()).ok();
        let whole = decoder.is_whole();
        match decoded.filter(|_| whole || self.left != Left::Nothing) {
            Some(bytes) => buf.truncate(bytes),
            None => {
                self.broken = "base64";
                return Err(self.fault_of_framing());
            }
        }
        Ok(())
    }

    /// Cuts `buf` to its first `mine` bytes and keeps the others for whoever reads next.
    fn keep_rest(&mut self, buf: &mut Buf, mine: usize) -> Result<(), Fault> {
        if buf.len() > mine {
            let mut rest = self.core.buffer()?;
            let fits = rest.put(&buf.data()[mine..]);
            debug_assert!(fits, "buffers are of one size");
            self.wire_bytes -= rest.len() as u64;
            self.rest = Some(rest);
            buf.truncate(mine);
        }
        Ok(())
    }

    fn closed(&mut self) -> Result<Option<Buf>, Fault> {
        if self.left == Left::UntilClose {
            self.left = Left::Nothing;
            return Ok(None);
        }
        Err(self.fault_of_close())
    }

    fn fault_of_close(&self) -> Fault {
        let kind = match self.side {
            Side::Upstream => FaultKind::HttpResponseIncomplete,
            Side::Downstream | Side::Gateway => FaultKind::ClientGone,
        };
        Fault { kind, side: self.side, again: Again::Never }
    }

    fn fault_of_pause(&self) -> Fault {
        let kind = match self.side {
            Side::Upstream => FaultKind::HttpResponseTimeout,
            Side::Downstream | Side::Gateway => FaultKind::RequestTimeout,
        };
        Fault { kind, side: self.side, again: Again::Never }
    }

    fn fault_of_framing(&self) -> Fault {
        let kind = match self.side {
            Side::Upstream => FaultKind::HttpProtocolError,
            Side::Downstream | Side::Gateway => FaultKind::HttpRequestError,
        };
        Fault { kind, side: self.side, again: Again::Never }
    }
}
