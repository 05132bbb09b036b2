//! Answers compressed on their way out: one encoder for each, fed piece by piece.
//!
//! A piece is coded in slices, and others have their turn in between: one large answer never holds a core for
//! longer than a slice takes, about a millisecond. Where the length of the body was not said, every piece is flushed, so that an
//! event reaches its reader when it is sent and not when a window is full; a body of known length comes in
//! order and is coded better without. Encoders are kept and used again; when a core has lent all it may, answers go
//! out as they are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::limits::{ENCODERS_KEPT_MAX, ENCODERS_MAX, ENCODING_SLICE_BYTES};
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::answering::Answering;
use crate::http::Status;
use crate::http::coding::Coding;
use crate::http::encoding::{Encoder, Mark};
use crate::http::framing::{BodyLength, content_length};
use crate::http::h1::chunked;
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::policy::compress::{Answer, Decision};
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::FRAME_END_BYTES;
use crate::serve::outgoing::Outgoing;

/// The pause after a slice: the timers' resolution, so that everything else of the core has its turn.
const TURN: Duration = Duration::from_millis(1);

/// The encoders of one core.
#[derive(Clone, Default)]
pub struct Encoders(Rc<Stock>);

#[derive(Default)]
struct Stock {
    free: RefCell<Vec<Encoder>>,
    lent: Cell<usize>,
}

impl Encoders {
    /// An encoder at the beginning of a body; `None` when as many are lent as may be.
    fn take(&self, coding: Coding) -> Option<Lent> {
        if self.0.lent.get() >= ENCODERS_MAX {
            return None;
        }
        let mut free = self.0.free.borrow_mut();
        let kept = free.iter().position(|encoder| encoder.coding() == coding);
        let encoder = match kept {
            Some(at) => free.swap_remove(at),
            None => Encoder::new(coding)?,
        };
        self.0.lent.set(self.0.lent.get() + 1);
        Some(Lent { encoder: Some(encoder), home: self.0.clone() })
    }

    /// Gives what lies unused back to the allocator.
    pub fn shrink(&self) {
        self.0.free.borrow_mut().pop();
    }
}

/// An encoder, given back when it is dropped.
struct Lent {
    encoder: Option<Encoder>,
    home: Rc<Stock>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lent.set(self.home.lent.get() - 1);
        let mut free = self.home.free.borrow_mut();
        if let Some(mut encoder) = self.encoder.take()
            && free.len() < ENCODERS_KEPT_MAX
            && encoder.reset()
        {
            free.push(encoder);
        }
    }
}

/// A body that is compressed while it goes out.
pub struct Encoding {
    lent: Lent,
    /// Whether each piece must be out before the next one is waited for.
    flush: bool,
    /// Bytes used since the last pause.
    worked: usize,
}

/// Decides about an origin's answer, before its head is written. Returns how its body is delimited from here on.
pub fn choose<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    response: Response<'_>,
    outgoing: &mut Outgoing<'_, R>,
) -> BodyLength {
    let head = response.head;
    let Some(rules) = outgoing.answering else { return head.body };
    if rules.compress.is_none() {
        return head.body;
    }
    let told =
        || response.field(FieldName::ContentLength).and_then(|text| content_length(text).ok());
    let length = match head.body {
        BodyLength::Exact(bytes) => Some(bytes),
        // What GET would have had.
        BodyLength::None => told(),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    let fields = head.fields.iter();
    let fields = fields.map(|field| (field.name.of(response.raw), field.value.of(response.raw)));
    // What goes out decides, not what came: the route's edits are part of the answer.
    let fields = fields.filter(|(name, _)| !rules.drops(name)).chain(lines_of(&x.answer_lines));
    let answer = Answer::of(head.status, length, fields);
    begin(core, rules, x, &answer, length, outgoing).unwrap_or(head.body)
}

/// The same for an answer of the gateway's own, with these lines.
pub fn choose_local<R: Runtime>(
    core: &Core<R>,
    x: &Exchange,
    (status, kind, lines): (Status, &str, &[u8]),
    body: BodyLength,
    outgoing: &mut Outgoing<'_, R>,
) -> BodyLength {
    let Some(rules) = outgoing.answering.filter(|rules| rules.compress.is_some()) else {
        return body;
    };
    let length = match body {
        BodyLength::Exact(bytes) => Some(bytes),
        _ => None,
    };
    let kind = (!kind.is_empty()).then_some((&b"content-type"[..], kind.as_bytes()));
    let fields = kind.into_iter().chain(lines_of(lines)).filter(|(name, _)| !rules.drops(name));
    let answer = Answer::of(status, length, fields.chain(lines_of(&x.answer_lines)));
    begin(core, rules, x, &answer, length, outgoing).unwrap_or(body)
}

/// The fields that complete lines hold.
pub(super) fn lines_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Decides, and takes an encoder for the body; returns how it is delimited if it is coded.
pub(super) fn begin<R: Runtime>(
    core: &Core<R>,
    rules: &Answering,
    x: &Exchange,
    answer: &Answer<'_>,
    length: Option<u64>,
    outgoing: &mut Outgoing<'_, R>,
) -> Option<BodyLength> {
    let mut decision = rules.compress.as_ref()?.decide(x, answer);
    // An answer that was begun and given up for another one leaves nothing behind.
    outgoing.encoding = None;
    if let Some(coding) = decision.coding
        && !outgoing.head_only
    {
        match core.encoders.take(coding) {
            Some(lent) => {
                let flush = length.is_none();
                outgoing.encoding = Some(Box::new(Encoding { lent, flush, worked: 0 }));
            }
            None => {
                core.metrics.compress_skipped.add(1);
                decision = Decision { coding: None, weaken: false, vary: true, unmeasured: false };
            }
        }
    }
    outgoing.decision = decision;
    decision.coding.map(|_| BodyLength::Chunked)
}

/// The lines that an answer has for this decision.
pub fn lines(decision: Decision) -> &'static [u8] {
    match decision {
        Decision { coding: Some(Coding::Gzip), .. } => {
            b"content-encoding: gzip\r\nvary: accept-encoding\r\n"
        }
        Decision { coding: Some(Coding::Brotli), .. } => {
            b"content-encoding: br\r\nvary: accept-encoding\r\n"
        }
        Decision { coding: Some(Coding::Zstd), .. } => {
            b"content-encoding: zstd\r\nvary: accept-encoding\r\n"
        }
        Decision { vary: true, .. } => b"vary: accept-encoding\r\n",
        Decision { .. } => b"",
    }
}

/// Sends the head and the first piece of a body that is compressed.
///
/// # Errors
/// As [`Outgoing::begin`].
pub async fn first<R: Runtime>(
    core: &Core<R>,
    mut encoding: Box<Encoding>,
    outgoing: &mut Outgoing<'_, R>,
    head: Buf,
    first: Option<Buf>,
    last: bool,
) -> Result<(), Fault> {
    let mark = encoding.mark(last);
    let piece = first.as_ref().map_or(&[][..], Buf::data);
    if piece.is_empty() && !last {
        outgoing.begin(head, None, false).await?;
    } else {
        encoding.send(core, outgoing, Some(head), piece, mark).await?;
    }
    if !last {
        outgoing.encoding = Some(encoding);
    }
    Ok(())
}

/// Sends a further piece.
///
/// # Errors
/// As [`Outgoing::piece`].
pub async fn next<R: Runtime>(
    core: &Core<R>,
    mut encoding: Box<Encoding>,
    outgoing: &mut Outgoing<'_, R>,
    piece: Buf,
) -> Result<(), Fault> {
    let mark = encoding.mark(false);
    encoding.send(core, outgoing, None, piece.data(), mark).await?;
    outgoing.encoding = Some(encoding);
    Ok(())
}

/// Sends what the encoder still has, and the end of the body.
///
/// # Errors
/// As [`Outgoing::end`].
pub async fn end<R: Runtime>(
    core: &Core<R>,
    mut encoding: Box<Encoding>,
    outgoing: &mut Outgoing<'_, R>,
    trailers: &[u8],
) -> Result<(), Fault> {
    encoding.drain(core, outgoing, None, Mark::Finish).await?;
    outgoing.end(trailers).await
}

/// A whole body in this coding, slice by slice with others' turns in between; `None` when all encoders are lent.
pub(super) async fn whole<R: Runtime>(
    core: &Core<R>,
    coding: Coding,
    body: &[u8],
) -> Option<Vec<u8>> {
    let mut lent = core.encoders.take(coding)?;
    let mut out = Vec::new();
    let mut left = body;
    loop {
        let (slice, behind) = left.split_at(left.len().min(ENCODING_SLICE_BYTES));
        let mark = if behind.is_empty() { Mark::Finish } else { Mark::Run };
        lent.code(slice, mark, &mut core.buffer().ok()?, &mut out)?;
        left = behind;
        if mark == Mark::Finish {
            break;
        }
        core.runtime.sleep_until(core.runtime.now() + TURN).await;
    }
    core.metrics.compress_bytes_in.add(body.len() as u64);
    core.metrics.compress_bytes_out.add(out.len() as u64);
    Some(out)
}

impl Lent {
    /// Codes a slice to its mark, by way of `room`.
    fn code(
        &mut self,
        mut slice: &[u8],
        mark: Mark,
        room: &mut Buf,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let encoder = self.encoder.as_mut()?;
        loop {
            let step = encoder.step(slice, room.spare_mut(), mark).ok()?;
            out.extend_from_slice(&room.spare_mut()[..step.made]);
            slice = &slice[step.used..];
            if step.done {
                return Some(());
            }
        }
    }
}

impl Encoding {
    fn mark(&self, last: bool) -> Mark {
        match (last, self.flush) {
            (true, _) => Mark::Finish,
            (false, true) => Mark::Flush,
            (false, false) => Mark::Run,
        }
    }

    /// Codes a piece slice by slice and sends what comes of it; the head goes in front.
    async fn send<R: Runtime>(
        &mut self,
        core: &Core<R>,
        outgoing: &mut Outgoing<'_, R>,
        mut head: Option<Buf>,
        piece: &[u8],
        mark: Mark,
    ) -> Result<(), Fault> {
        core.metrics.compress_bytes_in.add(piece.len() as u64);
        let mut rest = piece;
        while rest.len() > ENCODING_SLICE_BYTES {
            let (slice, behind) = rest.split_at(ENCODING_SLICE_BYTES);
            head = self.code(core, outgoing, head, slice, Mark::Run).await?;
            core.runtime.sleep_until(core.runtime.now() + TURN).await;
            rest = behind;
        }
        head = self.code(core, outgoing, head, rest, mark).await?;
        // Short pieces add up to a slice, too.
        self.worked += rest.len();
        if self.worked >= ENCODING_SLICE_BYTES {
            self.worked = 0;
            core.runtime.sleep_until(core.runtime.now() + TURN).await;
        }
        match head {
            // The encoder keeps all of it for now; the client need not wait for the head.
            Some(head) => outgoing.begin(head, None, false).await,
            None => Ok(()),
        }
    }

    /// What the encoder still has, out to the mark.
    async fn drain<R: Runtime>(
        &mut self,
        core: &Core<R>,
        outgoing: &mut Outgoing<'_, R>,
        head: Option<Buf>,
        mark: Mark,
    ) -> Result<Option<Buf>, Fault> {
        self.code_to(core, outgoing, head, &[], mark, false).await
    }

    async fn code<R: Runtime>(
        &mut self,
        core: &Core<R>,
        outgoing: &mut Outgoing<'_, R>,
        head: Option<Buf>,
        slice: &[u8],
        mark: Mark,
    ) -> Result<Option<Buf>, Fault> {
        self.code_to(core, outgoing, head, slice, mark, mark == Mark::Finish).await
    }

    /// Codes one slice. What comes out is sent, the head with the first of it; gives the head back when nothing
    /// came. `ends` says that the end of the body goes out with the last of it.
    async fn code_to<R: Runtime>(
        &mut self,
        core: &Core<R>,
        outgoing: &mut Outgoing<'_, R>,
        mut head: Option<Buf>,
        mut slice: &[u8],
        mark: Mark,
        ends: bool,
    ) -> Result<Option<Buf>, Fault> {
        let Some(encoder) = &mut self.lent.encoder else { return Err(broken()) };
        loop {
            let mut out = core.buffer()?;
            out.clear_with_headroom(chunked::FRAME_HEADROOM);
            let room = out.spare() - FRAME_END_BYTES;
            let step = encoder.step(slice, &mut out.spare_mut()[..room], mark);
            let step = step.map_err(|_| broken())?;
            out.fill(step.made);
            slice = &slice[step.used..];
            core.metrics.compress_bytes_out.add(step.made as u64);
            let last = ends && step.done;
            match (head.take(), out.is_empty()) {
                (Some(held), false) => outgoing.begin(held, Some(out), last).await?,
                (Some(held), true) if last => outgoing.begin(held, None, true).await?,
                (None, empty) => {
                    if !empty {
                        outgoing.piece(out).await?;
                    }
                    if last {
                        outgoing.end(&[]).await?;
                    }
                }
                (held, true) => head = held,
            }
            if step.done {
                return Ok(head);
            }
        }
    }
}

fn broken() -> Fault {
    Fault { kind: FaultKind::ProxyInternalError, side: Side::Gateway, again: Again::Never }
}
