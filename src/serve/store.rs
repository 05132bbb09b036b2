//! Talks to the store of the fleet's limits: one connection of each core, everything in one pipeline.
//!
//! A core asks over its own event loop, so that nobody has to wake it with the answer (waking a core from another
//! thread costs 23 µs and a feature of monoio that every request would pay for; docs/decisions/0020-fleet-limits.md).
//! What is asked while a write is under way goes out with the next one. A store that is away, or slower than its
//! `timeout`, is seen at once: from then on nobody asks it, until a new connection has been made and has answered.
//! It never slows a request by more than that timeout, and never a leased one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::base::limits::{STORE_AGAIN_AFTER, STORE_LOOK_EVERY, STORE_TELL_AFTER};
use crate::base::shared::Cells;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::gateway::Store;
use crate::net::resp::{self, NUMBERS_MAX, Reply};
use crate::policy::fleet::SCRIPT;
use crate::policy::rate_limit::{Limits, StoreArgument, StoreSaid};
use crate::policy::{Env, Verdict};
use crate::runtime::deadline::{Elapsed, Slot};
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::join::first;

/// A core's end of the connection to the store.
#[derive(Default)]
pub struct StoreClient {
    runs: Cell<bool>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Commands that are not written yet.
    out: Vec<u8>,
    /// What is not answered yet, in order.
    pending: VecDeque<Pending>,
    waker: Option<Waker>,
    /// The script's digest, as the store says it.
    script: Vec<u8>,
    /// Whether the connection is to be given up.
    failed: bool,
}

struct Pending {
    asked: Instant,
    by: Asker,
}

enum Asker {
    /// A request that waits.
    Request(Rc<Question>),
    /// Nobody: a machine's count is moved up.
    Count(Arc<Cells>, u64),
}

/// A request's question and its answer.
#[derive(Default)]
struct Question {
    answer: Cell<Option<Answer>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Numbers([i64; NUMBERS_MAX], usize),
    Away,
}

impl Question {
    fn answer(&self, answer: Answer) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn answered(&self) -> Answer {
        poll_fn(|cx| match self.answer.get() {
            Some(answer) => Poll::Ready(answer),
            None => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Gives up the connection: nobody waits for it any longer.
    fn fail(&mut self) {
        self.failed = true;
        self.out.clear();
        for Pending { by, .. } in self.pending.drain(..) {
            if let Asker::Request(question) = by {
                question.answer(Answer::Away);
            }
        }
        self.wake();
    }
}

/// Lets the limits of one stage ask the store, and acts on what it says.
///
/// # Errors
/// The request is refused.
pub async fn ask<R: Runtime>(
    core: &Core<R>,
    limits: &Limits,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let installed = core.installed();
    let said = match &installed.gateway.store {
        Some(store) => question(core, store, limits, x).await,
        None => StoreSaid::Away,
    };
    let (now, wall) = (core.runtime.now(), core.runtime.wall());
    let verdict = core.shard(|shard| {
        let env = &mut Env { now, wall, rng: &mut shard.rng, slots: &mut shard.slots };
        limits.settle(x, env, &said)
    });
    match verdict {
        Verdict::Refuse(fault) => Err(fault),
        _ => Ok(()),
    }
}

async fn question<R: Runtime>(
    core: &Core<R>,
    store: &Store,
    limits: &Limits,
    x: &Exchange,
) -> StoreSaid {
    let question = Rc::new(Question::default());
    let now = core.runtime.now();
    {
        let state = &mut *core.store.state.borrow_mut();
        let Some(arguments) = limits.arguments(x) else { return StoreSaid::Away };
        call(&mut state.out, &state.script, true, &arguments);
        let by = Asker::Request(question.clone());
        state.pending.push_back(Pending { asked: now, by });
        state.wake();
    }
    let slot = core.deadlines.slot();
    match slot.within(x.deadline.min(now + store.timeout), question.answered()).await {
        Ok(Answer::Numbers(numbers, count)) => StoreSaid::Numbers(numbers, count),
        Ok(Answer::Away) => StoreSaid::Away,
        Err(Elapsed) => {
            // Whoever comes next is not to wait, too.
            set_up(core, false);
            core.store.state.borrow_mut().fail();
            StoreSaid::Away
        }
    }
}

/// Appends a call of the script.
fn call(out: &mut Vec<u8>, script: &[u8], may_refuse: bool, keys: &[StoreArgument]) {
    let mut count = itoa::Buffer::new();
    let refuses: &[u8] = if may_refuse { b"1" } else { b"0" };
    let mut arguments: Vec<&[u8]> = vec![b"EVALSHA", script, count.format(keys.len()).as_bytes()];
    arguments.extend(keys.iter().map(|key| key.name.as_slice()));
    arguments.push(refuses);
    for key in keys {
        arguments.extend([key.interval.as_bytes(), key.burst.as_bytes(), key.cost.as_bytes()]);
    }
    resp::command(out, &arguments);
}

fn set_up<R: Runtime>(core: &Core<R>, up: bool) {
    core.metrics.limits.store_connected.set(u64::from(up));
    core.shard(|shard| {
        let line = &mut shard.slots.store;
        line.up = up;
        if !up {
            line.forget();
        }
    });
}

/// Starts talking to the store, if there is one and nobody does yet.
pub fn tend<R: Runtime>(core: &Rc<Core<R>>) {
    if core.installed().gateway.store.is_some() && !core.store.runs.replace(true) {
        core.runtime.spawn(keep_talking(core.clone()));
    }
}

async fn keep_talking<R: Runtime>(core: Rc<Core<R>>) {
    loop {
        let Some(store) = core.installed().gateway.store.clone() else { break };
        if core.stopping.get() {
            break;
        }
        if let Some(stream) = connect(&core, &store).await {
            core.store.state.borrow_mut().failed = false;
            set_up(&core, true);
            let (reading, writing) = (core.deadlines.slot(), core.deadlines.slot());
            let answers = pin!(read(&core, &store, &stream, &reading));
            let commands = pin!(write(&core, &store, &stream, &writing));
            first(answers, commands).await;
        }
        set_up(&core, false);
        core.store.state.borrow_mut().fail();
        core.runtime.sleep_until(core.runtime.now() + STORE_AGAIN_AFTER).await;
    }
    core.store.runs.set(false);
}

/// A connection that has proven who it is, uses its database and knows the script.
async fn connect<R: Runtime>(core: &Core<R>, store: &Store) -> Option<R::Stream> {
    let slot = core.deadlines.slot();
    let until = core.runtime.now() + store.timeout.max(STORE_AGAIN_AFTER);
    let stream = slot.within(until, core.runtime.connect(&store.address)).await.ok()?.ok()?;
    let mut out = Vec::new();
    match (&store.user, &store.password) {
        (Some(user), Some(password)) => {
            resp::command(&mut out, &[b"AUTH", user.as_bytes(), password.expose().as_bytes()]);
        }
        (None, Some(password)) => {
            resp::command(&mut out, &[b"AUTH", password.expose().as_bytes()]);
        }
        _ => {}
    }
    let mut digits = itoa::Buffer::new();
    if store.database > 0 {
        resp::command(&mut out, &[b"SELECT", digits.format(store.database).as_bytes()]);
    }
    resp::command(&mut out, &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]);
    let mut buf = core.buffer().ok()?;
    if !buf.put(&out) {
        return None;
    }
    let (sent, mut buf) = slot.within(until, stream.write_all(buf)).await.ok()?;
    sent.ok()?;
    buf.clear();
    loop {
        let room = buf.spare();
        let (read, filled) = slot.within(until, stream.read(buf, room)).await.ok()?;
        buf = filled;
        if read.ok()? == 0 {
            return None;
        }
        while let Some((reply, used)) = resp::reply(buf.data()).ok()? {
            match reply {
                Reply::Fine => buf.consume(used),
                Reply::Text { back, len } => {
                    let text = &buf.data()[used - back..used - back + len];
                    core.store.state.borrow_mut().script = text.to_vec();
                    return Some(stream);
                }
                _ => return None,
            }
        }
    }
}

/// Reads answers until the connection ends, is too slow, or is not wanted any more.
async fn read<R: Runtime>(core: &Core<R>, store: &Arc<Store>, stream: &R::Stream, slot: &Slot) {
    let Ok(mut buf) = core.buffer() else { return };
    loop {
        let room = buf.spare();
        let mut reading = pin!(stream.read(buf, room));
        let (result, filled) = loop {
            match slot.within(core.runtime.now() + STORE_LOOK_EVERY, reading.as_mut()).await {
                Ok(done) => break done,
                Err(Elapsed) if is_lost(core, store) => return,
                Err(Elapsed) => {}
            }
        };
        buf = filled;
        if !matches!(result, Ok(1..)) {
            return;
        }
        loop {
            match resp::reply(buf.data()) {
                Ok(Some((reply, used))) => {
                    buf.consume(used);
                    if !take(core, reply) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        buf.compact();
        // Under a steady load nobody ever looks in vain.
        if is_lost(core, store) {
            return;
        }
    }
}

/// Whether the connection is to be given up.
fn is_lost<R: Runtime>(core: &Core<R>, store: &Arc<Store>) -> bool {
    let now = core.runtime.now();
    let state = core.store.state.borrow();
    let late = |pending: &Pending| now.since(pending.asked) > store.timeout;
    let installed = core.installed();
    let wanted = installed.gateway.store.as_ref().is_some_and(|now| Arc::ptr_eq(now, store));
    state.failed || state.pending.front().is_some_and(late) || !wanted || core.stopping.get()
}

/// Acts on an answer; `false` for one that nobody asked for, or an error.
fn take<R: Runtime>(core: &Core<R>, reply: Reply) -> bool {
    let pending = core.store.state.borrow_mut().pending.pop_front();
    let (Some(Pending { by, .. }), Reply::Numbers(numbers, count)) = (pending, reply) else {
        return false;
    };
    match by {
        Asker::Request(question) => question.answer(Answer::Numbers(numbers, count)),
        Asker::Count(cells, hash) => {
            let micros = u64::try_from(numbers[1]).unwrap_or(0);
            cells.raise(hash, Duration::from_micros(micros), core.runtime.now());
        }
    }
    true
}

/// Writes commands as they come.
async fn write<R: Runtime>(core: &Core<R>, store: &Store, stream: &R::Stream, slot: &Slot) {
    loop {
        let urgent = something(core).await;
        if core.store.state.borrow().failed {
            return;
        }
        if !urgent {
            // What is only to be told waits for more of its kind, but not for a request that waits itself.
            let later = pin!(core.runtime.sleep_until(core.runtime.now() + STORE_TELL_AFTER));
            first(later, pin!(asked(core))).await;
        }
        gather(core);
        let mut out = std::mem::take(&mut core.store.state.borrow_mut().out);
        for piece in out.chunks(STORE_PIECE_BYTES) {
            let Ok(mut buf) = core.buffer() else { return };
            let fits = buf.put(piece);
            debug_assert!(fits, "a piece fits a buffer");
            let until = core.runtime.now() + store.timeout;
            match slot.within(until, stream.write_all(buf)).await {
                Ok((Ok(()), _)) => {}
                _ => return,
            }
        }
        out.clear();
        let state = &mut *core.store.state.borrow_mut();
        if state.out.is_empty() {
            // The room is kept for the next commands.
            state.out = out;
        }
    }
}

/// What is written at once; a buffer takes it. Unit: bytes.
const STORE_PIECE_BYTES: usize = 32 * 1024;

/// Waits until there is something to write; says whether a request waits for it.
async fn something<R: Runtime>(core: &Core<R>) -> bool {
    poll_fn(|cx| {
        let mut state = core.store.state.borrow_mut();
        if state.failed || !state.out.is_empty() {
            return Poll::Ready(true);
        }
        state.waker = Some(cx.waker().clone());
        let untold = core.shard(|shard| {
            let line = &mut shard.slots.store;
            line.waker = Some(cx.waker().clone());
            line.is_untold()
        });
        if untold { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

/// Waits until a request asks.
async fn asked<R: Runtime>(core: &Core<R>) {
    poll_fn(|cx| {
        let mut state = core.store.state.borrow_mut();
        if state.failed || !state.out.is_empty() {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Adds what was spent to the commands.
fn gather<R: Runtime>(core: &Core<R>) {
    let now = core.runtime.now();
    let state = &mut *core.store.state.borrow_mut();
    core.shard(|shard| {
        for (key, spent) in shard.slots.store.take() {
            let mut name = Vec::with_capacity(64);
            key.write(&spent.limit, &mut name);
            let argument = StoreArgument {
                name,
                interval: spent.fleet.interval.clone(),
                burst: spent.fleet.burst.clone(),
                cost: spent.cost.to_string().into(),
            };
            call(&mut state.out, &state.script, false, &[argument]);
            let by = Asker::Count(spent.cells, spent.hash);
            state.pending.push_back(Pending { asked: now, by });
        }
    });
}
