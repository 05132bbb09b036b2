//! A forwarded request without a body that may be sent a second time when its answer is late.
//!
//! Two tries race for a head that is worth passing on; from then on only one of them is there, and its body flows
//! as any other does. The other's connection is closed. Nothing is ever sent to the client before that, and interim
//! responses (RFC 9110 §15.2) are left out: they would be those of one try or the other. When a head is late, and whether there
//! is leave for a second try, is decided in `upstream/hedge.rs`.

use std::cell::{Cell, RefCell};
use std::pin::pin;

use crate::base::buffer::Buf;
use crate::exchange::Exchange;
use crate::exchange::attempt::{Attempt, Hedge};
use crate::exchange::fault::{Again, Fault, Side};
use crate::http::Status;
use crate::runtime::Runtime;
use crate::runtime::deadline::Slot;
use crate::serve::attempt::{self, Asked, Lease};
use crate::serve::forward::{self, Leg, Passage, Relayed};
use crate::serve::hedge::{Raced, race};
use crate::serve::outgoing::Outgoing;
use crate::serve::request_head;
use crate::serve::work::ResponseScratch;
use crate::upstream::hedge::Hedging;
use crate::upstream::retry;

/// One try, up to the head of its answer.
struct Try<'a, R: Runtime> {
    passage: &'a Passage<'a, R>,
    slot: Slot,
    scratch: Box<ResponseScratch>,
    record: Attempt,
}

/// A head, read into the try's scratch; its bytes, and the connection on which the rest is to come.
struct Head<R: Runtime> {
    lease: Lease<R>,
    buf: Buf,
    status: Status,
}

/// Sends the request to its upstream and the response to the client.
///
/// # Errors
/// As [`forward::run`].
pub async fn run<R: Runtime>(
    passage: &Passage<'_, R>,
    x: &mut Exchange,
    known: &RefCell<Hedging>,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let Passage { installed, to, .. } = *passage;
    let origins = installed.origins(to.upstream);
    origins.state.borrow_mut().request_begun();
    known.borrow_mut().call_begun();
    let mut asked = Asked::of(to.upstream, x.deadline, &x.client);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut first = Try::of(passage, &asked);
        let mut second = None;
        let raced = first.race(&mut second, &asked, known, x).await;
        if let Err(fault) = &raced
            && fault.side == Side::Downstream
            && first.record.endpoint.is_none()
        {
            // The request cannot be sent, which is its client's mistake and no attempt.
            x.reason = asked.reason.get();
            return Err(*fault);
        }
        let hedged = second.is_some();
        let relayed = match raced {
            Err(fault) => Err((fault, !hedged)),
            Ok((head, is_seconds)) => {
                let relayed = match &mut second {
                    Some(second) if is_seconds => {
                        first.give_up();
                        second.record.hedge = Some(Hedge::Won);
                        second.relay(head, x, outgoing).await
                    }
                    second => {
                        second.iter_mut().for_each(Try::give_up);
                        first.relay(head, x, outgoing).await
                    }
                };
                relayed.map_err(|fault| (fault, false))
            }
        };
        first.enter(x);
        if let Some(second) = second {
            second.enter(x);
        }
        let Err((fault, repeatable)) = relayed else { return Ok(()) };
        let again = repeatable
            && tries <= passage.retries()
            && retry::may_retry(&fault, x.head.method)
            && origins.state.borrow_mut().retry_budget.take();
        if !again {
            asked.tell(x);
            return Err(fault);
        }
        asked.may_reuse = fault.again == Again::Always;
    }
}

impl<'a, R: Runtime> Try<'a, R> {
    fn of(passage: &'a Passage<'a, R>, asked: &Asked) -> Self {
        let core = passage.core;
        let record = attempt::begin(asked, core.runtime.now());
        Self { passage, slot: core.deadlines.slot(), scratch: core.take_scratch(), record }
    }

    /// The first good head of this try and, if it is late, of a second one; whether it is that one's.
    async fn race(
        &mut self,
        second: &mut Option<Self>,
        asked: &Asked,
        known: &RefCell<Hedging>,
        x: &Exchange,
    ) -> Result<(Head<R>, bool), Fault> {
        let (passage, begun) = (self.passage, self.record.begun);
        let core = passage.core;
        let late_at = known.borrow().late_after().map(|late| begun + late);
        let timer = core.deadlines.slot();
        let racing = async {
            let mut one = pin!(self.head(asked, x));
            let over = match late_at {
                Some(late_at) => timer.within(late_at, one.as_mut()).await.ok(),
                None => Some(one.as_mut().await),
            };
            match over {
                Some(head) => return head.map(|head| (head, false)),
                None if !known.borrow_mut().take(asked.deadline.since(core.runtime.now())) => {
                    return one.await.map(|head| (head, false));
                }
                None => {}
            }
            let other = second.insert(Try::of(passage, asked));
            other.record.hedge = Some(Hedge::Lost);
            match race(one, pin!(other.head(asked, x)), is_good).await {
                Raced::First(head) => head.map(|head| (head, false)),
                Raced::Second(head) => head.map(|head| (head, true)),
                // A bad answer is more than none, and the first one's fault is the request's.
                Raced::Neither(Err(fault), Err(_)) => Err(fault),
                Raced::Neither(Err(_), Ok(head)) => Ok((head, true)),
                Raced::Neither(Ok(head), _) => Ok((head, false)),
            }
        };
        let raced = passage.watch.over(pin!(racing)).await?;
        self.learn(second.as_ref(), &raced, known);
        raced
    }

    /// Tells how long heads take: from those that came, and from one that was given up as late.
    fn learn(
        &self,
        second: Option<&Self>,
        raced: &Result<(Head<R>, bool), Fault>,
        known: &RefCell<Hedging>,
    ) {
        let now = self.passage.core.runtime.now();
        let mut known = known.borrow_mut();
        let Ok((head, is_seconds)) = raced else { return };
        if is_failure(head.status) {
            return;
        }
        let took = |one: &Self| one.record.answered.unwrap_or(now).since(one.record.begun);
        // What failed tells nothing of how long answers take.
        if !is_seconds || self.record.done.is_none() {
            known.record(took(self));
        }
        if let Some(second) = second.filter(|_| *is_seconds) {
            known.record(took(second));
        }
    }

    async fn head(&mut self, asked: &Asked, x: &Exchange) -> Result<Head<R>, Fault> {
        let head = self.ask(asked, x).await;
        if let Err(fault) = &head {
            self.record.fault = Some(fault.kind);
            self.record.done = Some(self.passage.core.runtime.now());
        }
        head
    }

    async fn ask(&mut self, asked: &Asked, x: &Exchange) -> Result<Head<R>, Fault> {
        let Self { passage, slot, scratch, record } = self;
        let Passage { core, installed, route, to, .. } = **passage;
        let mut buf = core.buffer()?;
        let edits = route.request_edits.as_deref();
        request_head::write(core, x, to, edits, None, &[], &mut buf).map_err(|unsent| {
            asked.reason.set(unsent.word);
            unsent.fault
        })?;
        let lease = attempt::connect(core, installed, asked, slot, record).await?;
        let sent_by = x.deadline.min(record.begun + passage.idle_timeout());
        let mut buf = attempt::send(&lease, slot, sent_by, buf).await?;
        attempt::ready_for_response(&mut buf);
        let first_byte = core.runtime.now() + passage.upstream().rules.first_byte_timeout;
        let until = Cell::new(x.deadline.min(first_byte));
        let mut interims = 0;
        loop {
            let (method, head) = (x.head.method, &mut scratch.head);
            buf = attempt::read_head(&lease, slot, &until, method, buf, head).await?;
            if !head.status.is_interim() {
                break;
            }
            attempt::count_interim(head, &mut interims)?;
            buf.consume(head.bytes as usize);
        }
        record.answered = Some(core.runtime.now());
        record.status = Some(scratch.head.status);
        record.bytes = u64::from(scratch.head.bytes);
        Ok(Head { lease, buf, status: scratch.head.status })
    }

    /// Passes the answer on.
    async fn relay(
        &mut self,
        head: Head<R>,
        x: &mut Exchange,
        outgoing: &mut Outgoing<'_, R>,
    ) -> Result<(), Fault> {
        let Self { passage, scratch, record, .. } = self;
        let Head { lease, buf, .. } = head;
        (x.timeline.connected, x.timeline.answered) = (record.connected, record.answered);
        let (until, uploading) = (Cell::new(x.deadline), Cell::new(false));
        let leg = Leg { passage, lease: &lease, until: &until, uploading: &uploading };
        let relayed = forward::relay(&leg, x, scratch, record, buf, outgoing).await;
        let now = passage.core.runtime.now();
        record.fault = relayed.as_ref().err().map(|fault| fault.kind);
        record.done = Some(now);
        if relayed? == Relayed::Reusable {
            lease.give_back(now);
        }
        Ok(())
    }

    /// Its answer is not needed any more.
    fn give_up(&mut self) {
        self.record.done.get_or_insert_with(|| self.passage.core.runtime.now());
        self.record.cancelled = self.record.fault.is_none();
    }

    fn enter(mut self, x: &mut Exchange) {
        if self.record.done.is_none() {
            self.give_up();
        }
        x.record(self.record);
        self.passage.core.keep_scratch(self.scratch);
    }
}

/// Whether nothing better is to be hoped for from the other try.
fn is_good<R: Runtime>(head: &Result<Head<R>, Fault>) -> bool {
    head.as_ref().is_ok_and(|head| !is_failure(head.status))
}

/// Statuses that say that another try may do better.
fn is_failure(status: Status) -> bool {
    status.0 >= 500 || matches!(status.0, 408 | 429)
}
