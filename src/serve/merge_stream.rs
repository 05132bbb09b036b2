//! A merged answer that goes out while some of its optional parts are still asked.
//!
//! The head is never sent before every required part has ended well: from then on nothing that an origin does
//! can change the status. What fails behind it is told in a trailer (RFC 9110 §6.5) or in the part's own
//! line, and what of ours fails cuts the connection, so that the end of the answer is missing. Parts are
//! polled by the task that writes: while a slow client is waited for they go on, hold what they may hold
//! anyway and nothing more, and are dropped with the exchange when the client is gone.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::aggregate::json::Tokens;
use crate::aggregate::reference::PartSet;
use crate::aggregate::stream::{self, Form};
use crate::aggregate::{Members, PartFault, PartOutcome, Plan, View, merge, partial, view};
use crate::base::buffer::Buf;
use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::exchange::attempt::Ledger;
use crate::exchange::fault::Fault;
use crate::http::h1::chunked;
use crate::http::{Status, Version};
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::answer::{Local, streamed_head};
use crate::serve::attempt::FRAME_END_BYTES;
use crate::serve::fan_out::{check_fields, outcome, referred};
use crate::serve::outgoing::Outgoing;
use crate::serve::part::Merging;
use crate::serve::part_answer::{Answer, Body, End, Failure};
use crate::serve::watch::Watch;

/// How the parts of one exchange have ended so far: each is written once, and may be read from then on.
pub struct Ends {
    ends: Box<[OnceCell<End>]>,
    order: RefCell<Vec<usize>>,
    over: Cell<bool>,
    /// Parts in which the answers of others stand, by index; empty without any.
    composed: Box<[OnceCell<Vec<u8>>]>,
    /// Why answers could not be put into another part, by the part that they came from; empty as above.
    unfit: Box<[Cell<Option<PartFault>>]>,
}

impl Ends {
    /// None has ended.
    pub fn new(plan: &Plan) -> Self {
        let parts = plan.parts.len();
        let ends = std::iter::repeat_with(OnceCell::new).take(parts).collect();
        let composed = if plan.embedded().is_empty() { 0 } else { parts };
        Self {
            ends,
            order: RefCell::new(Vec::with_capacity(parts)),
            over: Cell::new(false),
            composed: std::iter::repeat_with(OnceCell::new).take(composed).collect(),
            unfit: std::iter::repeat_with(Cell::default).take(composed).collect(),
        }
    }

    /// Notes how a part ended. One in which others' answers stand is over when these are.
    pub fn put<R: Runtime>(&self, core: &Core<R>, merging: Merging<'_>, index: usize, end: End) {
        let first = self.ends[index].set(end).is_ok();
        debug_assert!(first, "a part ends once");
        let Merging { plan, view, .. } = merging;
        if plan.embedded().is_empty() {
            return self.order.borrow_mut().push(index);
        }
        let guests =
            |holder| plan.guests(holder).filter(|(guest, _)| view.asked().contains(*guest));
        let of = plan.parts[index].each.as_ref().filter(|each| each.into.is_some());
        let holder = of.map_or(index, |each| each.of.part);
        if holder != index {
            self.order.borrow_mut().push(index);
        }
        if self.get(holder).is_some() && guests(holder).all(|(guest, _)| self.get(guest).is_some())
        {
            if guests(holder).next().is_some() {
                let text = core.shard(|shard| self.compose(merging, holder, &mut shard.tokens));
                let first = self.composed[holder].set(text).is_ok();
                debug_assert!(first, "the last of its guests ends once");
            }
            self.order.borrow_mut().push(holder);
        }
    }

    /// A part with the answers of others in it, as its client gets it.
    fn compose(&self, merging: Merging<'_>, holder: usize, tokens: &mut Tokens) -> Vec<u8> {
        let Merging { plan, view, .. } = merging;
        let part = &plan.parts[holder];
        let mut text = part.text(referred(self.get(holder))).to_vec();
        let mut next = Vec::new();
        for (guest, place) in plan.guests(holder).filter(|(guest, _)| view.asked().contains(*guest))
        {
            let answers = match outcome(self.get(guest)) {
                PartOutcome::Value(text)
                | PartOutcome::Several(text, _)
                | PartOutcome::Stale(text, _) => Some(text),
                _ => None,
            };
            let stand_in = plan.parts[guest].otherwise.is_some();
            let stand_in = stand_in.then(|| view.stand_in(plan, guest));
            let mut put =
                |answers, stand_in| place.put(&text, answers, stand_in, tokens, &mut next);
            if let Err(fault) = put(answers, stand_in) {
                self.unfit[guest].set(Some(fault));
                // What stands in for one answer stands in for all, unless that is too much, too.
                let put = put(None, stand_in).or_else(|_| put(None, None));
                debug_assert!(put.is_ok(), "taking members away makes nothing larger");
            }
            std::mem::swap(&mut text, &mut next);
        }
        let is_own =
            matches!(outcome(self.get(holder)), PartOutcome::Value(_) | PartOutcome::Stale(..));
        // What stands in for the part is not shaped.
        let own = part.shape.as_ref().filter(|_| is_own);
        for selection in own.into_iter().chain(view.selection(holder)) {
            view::cut(&text, selection, tokens, &mut next);
            std::mem::swap(&mut text, &mut next);
        }
        text
    }

    fn unfit(&self, index: usize) -> Option<PartFault> {
        self.unfit.get(index).and_then(Cell::get)
    }

    /// How a part ended, for the pure rooms.
    pub fn outcome(&self, index: usize) -> PartOutcome<'_> {
        match self.unfit(index) {
            Some(fault) => PartOutcome::Failed(fault),
            None => outcome(self.get(index)),
        }
    }

    /// The outcomes as the document shows them.
    pub fn show<'a>(&'a self, view: &'a View, outcomes: &mut [PartOutcome<'a>]) {
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            *outcome = self.show_one(view, index, *outcome);
        }
    }

    /// The same of one part.
    fn show_one<'a>(
        &'a self,
        view: &'a View,
        index: usize,
        outcome: PartOutcome<'a>,
    ) -> PartOutcome<'a> {
        match (view.show_one(index, outcome), self.composed.get(index).and_then(OnceCell::get)) {
            (PartOutcome::Absent, _) => PartOutcome::Absent,
            (_, Some(text)) => PartOutcome::Value(text),
            (shown, None) => shown,
        }
    }

    /// How a part ended, if it has.
    pub fn get(&self, index: usize) -> Option<&End> {
        self.ends[index].get()
    }

    /// All that have ended, in plan order, with their indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut End)> {
        let ends = self.ends.iter_mut().enumerate();
        ends.filter_map(|(index, end)| Some((index, end.get_mut()?)))
    }

    /// The part whose body lies in a buffer of its own with `text` in it, and where there.
    pub fn buffer_with(&self, text: &[u8]) -> Option<(usize, Span)> {
        let found = |end: &OnceCell<End>| match &end.get()?.result {
            Ok(Answer { body: Body::Buffer(buf), .. }) => {
                let start = text.as_ptr().addr().checked_sub(buf.data().as_ptr().addr())?;
                let is_there = start + text.len() <= buf.len();
                is_there.then(|| Span::new(start, start + text.len()))
            }
            _ => None,
        };
        self.ends.iter().enumerate().find_map(|(part, end)| Some((part, found(end)?)))
    }

    /// Takes the buffer that a part's body lies in.
    pub fn take_buffer(&mut self, part: usize) -> Option<Buf> {
        let Ok(answer) = &mut self.ends[part].get_mut()?.result else { return None };
        match std::mem::replace(&mut answer.body, Body::Empty) {
            Body::Buffer(buf) => Some(buf),
            _ => None,
        }
    }

    /// How all ended, for the pure rooms.
    pub fn outcomes(&self) -> Vec<PartOutcome<'_>> {
        (0..self.ends.len()).map(|index| self.outcome(index)).collect()
    }

    /// Why the request itself is refused, if a part found that out.
    pub fn refusal(&self) -> Option<Fault> {
        self.ends.iter().filter_map(OnceCell::get).find_map(|end| match end.result {
            Err(Failure::Request(fault)) => Some(fault),
            _ => None,
        })
    }

    /// The value of Server-Timing for all parts that have ended.
    pub fn timing(&self, plan: &Plan, ledger: &Ledger) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, end) in self.ends.iter().enumerate() {
            if end.get().is_some() {
                let outcome = self.outcome(index);
                ledger.read(|all| stream::put_timing(plan, index, all, &outcome, &mut out));
            }
        }
        out
    }

    /// Whether a part has ended, with all that stands in it.
    fn is_over(&self, index: usize) -> bool {
        self.order.borrow().contains(&index)
    }

    /// The part that ended as the `number`th, counted from 0.
    fn nth(&self, number: usize) -> Option<usize> {
        self.order.borrow().get(number).copied()
    }

    /// Whether no required part can change the status any more.
    fn are_decided(&self, merging: Merging<'_>) -> bool {
        let Merging { plan, view, .. } = merging;
        let is_fit = |index| self.unfit(index).is_none();
        let well =
            |index| is_fit(index) && self.get(index).is_some_and(|end: &End| end.result.is_ok());
        let mut required = view.asked().iter().filter(|index| view.is_required(plan, *index));
        required.all(well) && self.refusal().is_none()
    }
}

/// What all steps of one streamed answer share.
pub struct Streamed<'a, R: Runtime> {
    pub core: &'a Core<R>,
    pub merging: Merging<'a>,
    pub x: &'a Exchange,
    pub ends: &'a Ends,
    pub form: Form,
    pub watch: &'a Watch<'a, R>,
}

impl<R: Runtime> Streamed<'_, R> {
    /// Asks the parts by `asking` and sends what they answer; `false` if nothing was sent and every part that
    /// matters has ended: the answer is then given like any other.
    ///
    /// # Errors
    /// The client is gone, or the request was refused after the head was out.
    pub async fn run(
        &self,
        asking: impl Future<Output = ()>,
        outgoing: &mut Outgoing<'_, R>,
    ) -> Result<bool, Fault> {
        let (mut asking, mut writing) = (pin!(asking), pin!(self.write(outgoing)));
        poll_fn(|cx| {
            // In this order, so that what ends a part is seen by the writer in the same turn.
            if !self.ends.over.get() && asking.as_mut().poll(cx).is_ready() {
                self.ends.over.set(true);
            }
            writing.as_mut().poll(cx)
        })
        .await
    }

    async fn write(&self, outgoing: &mut Outgoing<'_, R>) -> Result<bool, Fault> {
        let Self { core, merging, x, ends, form, .. } = *self;
        let head_only = outgoing.head_only;
        self.until(|| !head_only && ends.are_decided(merging)).await?;
        if !ends.are_decided(merging) || ends.over.get() && form == Form::Document {
            return Ok(false);
        }
        let told: PartSet = self.failed().collect();
        let fields = self.fields(told, outgoing.version);
        check_fields(&fields)?;
        let local =
            Local { status: Status(200), fields: &fields, kind: form.media_type(), body: &[] };
        let head = Some(streamed_head(core, x, &local, outgoing)?);
        let mut sending = Sending { core, outgoing, head, piece: None };
        match form {
            Form::Whole | Form::Document => self.document(&mut sending).await?,
            Form::Lines(_) | Form::Events => self.lines(&mut sending).await?,
        }
        let trailers = self.trailers(told);
        sending.outgoing.end(&trailers).await?;
        Ok(true)
    }

    /// Waits until something holds or all parts are over, as long as the client is there.
    async fn until(&self, holds: impl Fn() -> bool) -> Result<(), Fault> {
        // Whatever changes it is polled by the same task just before: no waker is needed.
        let wait = poll_fn(|_| match holds() || self.ends.over.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        self.watch.over(pin!(wait)).await?;
        match self.ends.refusal() {
            Some(fault) if self.ends.over.get() => Err(fault),
            _ => Ok(()),
        }
    }

    /// The parts that have failed so far, all or for some of their elements.
    fn failed(&self) -> impl Iterator<Item = usize> {
        let failed = |index: &usize| partial::is_partial(&[self.ends.outcome(*index)]);
        (0..self.merging.plan.parts.len()).filter(failed)
    }

    fn fields(&self, told: PartSet, version: Version) -> Vec<u8> {
        let Merging { plan, view, vary, .. } = self.merging;
        let mut fields = vary.to_vec();
        self.put_partial(told, &mut fields);
        // What may still become partial is not to be stored as if it were whole.
        fields.extend_from_slice(b"cache-control: no-store\r\n");
        for end in view.shown().iter().filter_map(|index| self.ends.get(index)) {
            fields
                .extend_from_slice(end.result.as_ref().map_or(&[], |answer| answer.lines.bytes()));
        }
        let partial = self.form == Form::Document;
        if version != Version::Http10 && (partial || plan.server_timing) {
            let names: &[u8] = match (partial, plan.server_timing) {
                (true, false) => b"gateway-partial",
                (true, true) => b"gateway-partial, server-timing",
                (false, _) => b"server-timing",
            };
            for piece in [b"trailer: ", names, b"\r\n"] {
                fields.extend_from_slice(piece);
            }
        }
        fields
    }

    /// What the head could not say yet.
    fn trailers(&self, told: PartSet) -> Vec<u8> {
        let plan = self.merging.plan;
        let mut lines = Vec::new();
        if self.form == Form::Document {
            self.put_partial(
                self.failed().filter(|index| !told.contains(*index)).collect(),
                &mut lines,
            );
        }
        if plan.server_timing {
            for piece in
                [b"server-timing: ", &self.ends.timing(plan, self.merging.ledger)[..], b"\r\n"]
            {
                lines.extend_from_slice(piece);
            }
        }
        lines
    }

    /// The line that names these parts, if there are any.
    fn put_partial(&self, parts: PartSet, lines: &mut Vec<u8>) {
        let plan = self.merging.plan;
        let mut outcomes = self.ends.outcomes();
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            if !parts.contains(index) {
                *outcome = PartOutcome::Absent;
            }
        }
        if partial::is_partial(&outcomes) {
            lines.extend_from_slice(b"gateway-partial: ");
            let fits = partial::write(plan, &outcomes, lines);
            debug_assert!(fits, "a vector grows");
            lines.extend_from_slice(b"\r\n");
        }
    }

    /// Sends the document, each time as far as it is complete.
    async fn document(&self, sending: &mut Sending<'_, '_, R>) -> Result<(), Fault> {
        let Self { core, merging: Merging { plan, view, .. }, ends, .. } = *self;
        let complete = || {
            let stands = |index: &usize| !view.shown().contains(*index) || ends.is_over(*index);
            (0..plan.parts.len()).take_while(stands).count()
        };
        let mut sent = 0;
        loop {
            let (over, prefix) = (ends.over.get(), complete());
            // A part that is not complete is absent for now, which changes nothing in front of it.
            let mut outcomes = ends.outcomes();
            ends.show(view, &mut outcomes);
            outcomes.iter_mut().skip(prefix).for_each(|outcome| *outcome = PartOutcome::Absent);
            let members = core.shard(|shard| Members::of(plan, &outcomes, &mut shard.tokens));
            let document = merge(plan, &outcomes, &members);
            let until = if over { document.len() } else { document.open_len() };
            let mut passed = 0;
            for piece in document.pieces() {
                let cut = |at: usize| at.saturating_sub(passed).min(piece.len());
                sending.put(&piece[cut(sent)..cut(until)]).await?;
                passed += piece.len();
            }
            sent = until;
            sending.flush().await?;
            if over {
                return Ok(());
            }
            self.until(|| complete() > prefix).await?;
        }
    }

    /// Sends each part as it comes, and the end.
    async fn lines(&self, sending: &mut Sending<'_, '_, R>) -> Result<(), Fault> {
        let (ends, mut next) = (self.ends, 0);
        loop {
            while let Some(index) = ends.nth(next) {
                self.line(index, sending).await?;
                next += 1;
            }
            if ends.over.get() {
                break;
            }
            sending.flush().await?;
            self.until(|| ends.nth(next).is_some()).await?;
        }
        sending.put(self.form.done()).await?;
        sending.flush().await
    }

    async fn line(&self, index: usize, sending: &mut Sending<'_, '_, R>) -> Result<(), Fault> {
        let Merging { plan, view, .. } = self.merging;
        let outcome = self.ends.outcome(index);
        let shown = view.shown().contains(index);
        if !shown && !partial::is_partial(&[outcome]) {
            return Ok(());
        }
        sending.put(&self.form.before(plan, index, &outcome, shown)).await?;
        if shown {
            let value = plan.parts[index].text(self.ends.show_one(view, index, outcome));
            for piece in stream::in_one_line(value) {
                sending.put(piece).await?;
            }
        }
        sending.put(self.form.behind()).await
    }
}

/// The body of one answer, gathered into buffers; the head goes with the first.
struct Sending<'s, 'a, R: Runtime> {
    core: &'s Core<R>,
    outgoing: &'s mut Outgoing<'a, R>,
    head: Option<Buf>,
    piece: Option<Buf>,
}

impl<R: Runtime> Sending<'_, '_, R> {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut piece = match self.piece.take() {
                Some(piece) => piece,
                None => {
                    let mut piece = self.core.buffer()?;
                    piece.clear_with_headroom(chunked::FRAME_HEADROOM);
                    piece
                }
            };
            let room = piece.spare().saturating_sub(FRAME_END_BYTES);
            let (now, later) = rest.split_at(rest.len().min(room));
            let fits = piece.put(now);
            debug_assert!(fits, "cut to the room there is");
            rest = later;
            self.piece = Some(piece);
            if now.len() == room {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Sends what there is; the head even without a body.
    async fn flush(&mut self) -> Result<(), Fault> {
        match (self.head.take(), self.piece.take()) {
            (Some(head), piece) => self.outgoing.begin(head, piece, false).await,
            (None, Some(piece)) => self.outgoing.piece(piece).await,
            (None, None) => Ok(()),
        }
    }
}
