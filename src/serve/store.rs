//! Talks to the store of the fleet's limits: one connection of each core, everything in one pipeline.
//!
//! A core asks over its own event loop, so that nobody has to wake it with the answer (waking a core from another
//! thread costs 23 µs and a feature of monoio that every request would pay for; docs/decisions/0022-fleet-limits.md).
//! What is asked while a write is under way goes out with the next one. A store that is away, or slower than its
//! `timeout`, is seen at once: from then on nobody asks it, until a new connection has been made and has answered.
//! It never slows a request by more than that timeout, and never a leased one. How a connection begins: `store/connect.rs`.

mod connect;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
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
use crate::net::resp::{self, Malformed, NUMBERS_MAX, Reply};
use crate::policy::rate_limit::{Limits, StoreArgument, StoreSaid};
use crate::policy::{Env, Verdict};
use crate::runtime::deadline::{Elapsed, Slot};
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::join::{First, first};

/// A core's end of the connection to the store.
#[derive(Default)]
pub struct StoreClient {
    runs: Cell<bool>,
    state: RefCell<State>,
    /// Why it is away; `None` while it answers, and before it was ever asked.
    away: RefCell<Option<String>>,
    /// Whether that was told.
    told: Cell<bool>,
}

/// What an operator is told of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreNews {
    /// It is away: why.
    Away(String),
    /// It answers again.
    Back,
}

impl StoreClient {
    /// What is new; asked at the core's tick, so that what is over before it is not told.
    pub fn news(&self) -> Option<StoreNews> {
        match (&*self.away.borrow(), self.told.get()) {
            (Some(why), false) => {
                self.told.set(true);
                Some(StoreNews::Away(why.clone()))
            }
            (None, true) => {
                self.told.set(false);
                Some(StoreNews::Back)
            }
            _ => None,
        }
    }

    /// Nobody talks to the store any more: who waits is told, and the next tick begins anew.
    fn stop(&self) {
        self.state.borrow_mut().fail();
        self.runs.set(false);
    }

    /// It was configured away: nobody misses it.
    fn forget(&self) {
        self.away.take();
        self.told.set(false);
    }
}

/// Takes note that the store is away from this core, and why.
fn is_away<R: Runtime>(core: &Core<R>, why: String) {
    let away = &mut *core.store.away.borrow_mut();
    if away.is_none() {
        core.metrics.limits.store_away.add(1);
        *away = Some(why);
    }
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
    /// How many keys were asked about.
    keys: usize,
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
    let Some(arguments) = limits.arguments(x) else { return StoreSaid::Away };
    let write = |state: &mut State| call(&mut state.out, &state.script, true, &arguments);
    match put_and_wait(core, store, arguments.len(), write).await {
        Answer::Numbers(numbers, count) => StoreSaid::Numbers(numbers, count),
        Answer::Away => StoreSaid::Away,
    }
}

/// Puts a command that is answered like the limits' script about one key, by two numbers, and gives the first; `None` when
/// the store is away.
pub async fn put<R: Runtime>(core: &Core<R>, write: impl FnOnce(&mut Vec<u8>)) -> Option<i64> {
    let installed = core.installed();
    let store = installed.gateway.store.as_ref()?;
    if !core.shard(|shard| shard.slots.store.up) {
        return None;
    }
    match put_and_wait(core, store, 1, |state| write(&mut state.out)).await {
        Answer::Numbers(numbers, 1..) => Some(numbers[0]),
        _ => None,
    }
}

/// Puts a command about so many keys into the pipeline and waits for its answer, at most the store's `timeout`.
async fn put_and_wait<R: Runtime>(
    core: &Core<R>,
    store: &Store,
    keys: usize,
    write: impl FnOnce(&mut State),
) -> Answer {
    let question = Rc::new(Question::default());
    let now = core.runtime.now();
    {
        let state = &mut *core.store.state.borrow_mut();
        write(state);
        let by = Asker::Request(question.clone());
        state.pending.push_back(Pending { asked: now, keys, by });
        state.wake();
    }
    let slot = core.deadlines.slot();
    // Never the request's own deadline: a client whose head came late would end the connection for everybody.
    match slot.within(now + store.timeout, question.answered()).await {
        Ok(answer) => answer,
        Err(Elapsed) => {
            // Whoever comes next is not to wait, too.
            set_up(core, false);
            is_away(core, TOO_SLOW.to_owned());
            core.store.state.borrow_mut().fail();
            Answer::Away
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

/// The task that talks to the store. However it ends, nobody waits for it any longer, and the next tick begins
/// another one: a panic of its own must not leave a core without the store for ever.
struct Talking<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Drop for Talking<R> {
    fn drop(&mut self) {
        set_up(&self.0, false);
        self.0.store.stop();
        if self.0.installed().gateway.store.is_none() {
            self.0.store.forget();
        }
    }
}

async fn keep_talking<R: Runtime>(core: Rc<Core<R>>) {
    let _talking = Talking(core.clone());
    loop {
        let Some(store) = core.installed().gateway.store.clone() else { break };
        if core.stopping.get() {
            break;
        }
        if let Err(Lost(Some(why))) = talk(&core, &store).await {
            is_away(&core, why);
        }
        set_up(&core, false);
        core.store.state.borrow_mut().fail();
        core.runtime.sleep_until(core.runtime.now() + STORE_AGAIN_AFTER).await;
    }
}

/// One connection, from its making to its end.
async fn talk<R: Runtime>(core: &Core<R>, store: &Arc<Store>) -> Result<(), Lost> {
    let stream = connect::connect(core, store).await?;
    core.store.state.borrow_mut().failed = false;
    set_up(core, true);
    core.store.away.take();
    let (reading, writing) = (core.deadlines.slot(), core.deadlines.slot());
    let answers = pin!(read(core, store, &stream, &reading));
    let commands = pin!(write(core, store, &stream, &writing));
    match first(answers, commands).await {
        First::A(ended) | First::B(ended) => ended,
    }
}

/// Why a connection is at its end; `None`: nobody wants it any more.
struct Lost(Option<String>);

impl From<&str> for Lost {
    fn from(why: &str) -> Self {
        Self(Some(why.to_owned()))
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self(Some(error.to_string()))
    }
}

impl From<Elapsed> for Lost {
    fn from(_: Elapsed) -> Self {
        TOO_SLOW.into()
    }
}

impl From<Malformed> for Lost {
    fn from(_: Malformed) -> Self {
        "its answer is none of Redis' protocol".into()
    }
}

const TOO_SLOW: &str = "it does not answer in time";
const CLOSED: &str = "it closed the connection";
const NO_BUFFER: &str = "the core's budget of buffers is spent";

/// Reads answers until the connection ends, is too slow, or is not wanted any more.
async fn read<R: Runtime>(
    core: &Core<R>,
    store: &Arc<Store>,
    stream: &R::Stream,
    slot: &Slot,
) -> Result<(), Lost> {
    let mut buf = core.buffer().map_err(|_| NO_BUFFER)?;
    loop {
        let room = buf.spare();
        let mut reading = pin!(stream.read(buf, room));
        let (result, filled) = loop {
            match slot.within(core.runtime.now() + STORE_LOOK_EVERY, reading.as_mut()).await {
                Ok(done) => break done,
                Err(Elapsed) => check(core, store)?,
            }
        };
        buf = filled;
        if result? == 0 {
            return Err(CLOSED.into());
        }
        while let Some((reply, used)) = resp::reply(buf.data())? {
            buf.consume(used);
            take(core, reply)?;
        }
        buf.compact();
        // Under a steady load nobody ever looks in vain.
        check(core, store)?;
    }
}

/// Whether the connection is to be given up.
fn check<R: Runtime>(core: &Core<R>, store: &Arc<Store>) -> Result<(), Lost> {
    let now = core.runtime.now();
    let state = core.store.state.borrow();
    let late = |pending: &Pending| now.since(pending.asked) > store.timeout;
    let installed = core.installed();
    let wanted = installed.gateway.store.as_ref().is_some_and(|now| Arc::ptr_eq(now, store));
    if !wanted || core.stopping.get() {
        return Err(Lost(None));
    }
    match state.failed || state.pending.front().is_some_and(late) {
        true => Err(TOO_SLOW.into()),
        false => Ok(()),
    }
}

/// Acts on an answer, unless nobody asked for it, it is an error, or something that the script cannot say: who took
/// it for a grant would let everybody pass.
fn take<R: Runtime>(core: &Core<R>, reply: Reply) -> Result<(), Lost> {
    let odd = || Lost::from("it refuses the script, or answers what was not asked");
    let pending = core.store.state.borrow_mut().pending.pop_front();
    let Pending { keys, by, .. } = pending.ok_or_else(odd)?;
    let Some((numbers, count)) = said(reply, keys) else {
        if let Asker::Request(question) = by {
            question.answer(Answer::Away);
        }
        return Err(odd());
    };
    match by {
        Asker::Request(question) => question.answer(Answer::Numbers(numbers, count)),
        Asker::Count(cells, hash) => {
            let micros = u64::try_from(numbers[1]).unwrap_or(0);
            cells.raise(hash, Duration::from_micros(micros), core.runtime.now());
        }
    }
    Ok(())
}

/// What the script says about so many keys: which of them refuses, or 0, and how far each time lies ahead.
fn said(reply: Reply, keys: usize) -> Option<([i64; NUMBERS_MAX], usize)> {
    let Reply::Numbers(numbers, count) = reply else { return None };
    let names_one = usize::try_from(numbers[0]).is_ok_and(|place| place <= keys);
    let whole = count == keys + 1 && names_one && numbers[1..count].iter().all(|ahead| *ahead >= 0);
    whole.then_some((numbers, count))
}

/// Writes commands as they come.
async fn write<R: Runtime>(
    core: &Core<R>,
    store: &Store,
    stream: &R::Stream,
    slot: &Slot,
) -> Result<(), Lost> {
    loop {
        let urgent = something(core).await;
        if core.store.state.borrow().failed {
            return Err(TOO_SLOW.into());
        }
        if !urgent {
            // What is only to be told waits for more of its kind, but not for a request that waits itself.
            let later = pin!(core.runtime.sleep_until(core.runtime.now() + STORE_TELL_AFTER));
            first(later, pin!(asked(core))).await;
        }
        gather(core);
        let mut out = std::mem::take(&mut core.store.state.borrow_mut().out);
        for piece in out.chunks(STORE_PIECE_BYTES) {
            let mut buf = core.buffer().map_err(|_| NO_BUFFER)?;
            let fits = buf.put(piece);
            debug_assert!(fits, "a piece fits a buffer");
            let until = core.runtime.now() + store.timeout;
            slot.within(until, stream.write_all(buf)).await?.0?;
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
            state.pending.push_back(Pending { asked: now, keys: 1, by });
        }
    });
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_task_that_panics_leaves_nobody_waiting_and_another_one_can_begin() {
        struct Stops<'a>(&'a StoreClient);
        impl Drop for Stops<'_> {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let client = StoreClient::default();
        assert!(!client.runs.replace(true));
        let question = Rc::new(Question::default());
        let by = Asker::Request(question.clone());
        client.state.borrow_mut().pending.push_back(Pending {
            asked: Instant::ORIGIN,
            keys: 1,
            by,
        });
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _stops = Stops(&client);
            let _held = client.state.borrow_mut();
            panic!("a mistake of ours");
        }));
        assert!(ended.is_err() && !client.runs.get());
        assert!(matches!(question.answer.get(), Some(Answer::Away)));
    }

    #[test]
    fn what_is_away_is_told_once_and_so_is_its_return() {
        let client = StoreClient::default();
        assert_eq!(client.news(), None);
        *client.away.borrow_mut() = Some("closed".to_owned());
        let told = [client.news(), client.news()];
        assert_eq!(told, [Some(StoreNews::Away("closed".to_owned())), None]);
        client.away.take();
        assert_eq!([client.news(), client.news()], [Some(StoreNews::Back), None]);
        *client.away.borrow_mut() = Some("closed".to_owned());
        client.away.take();
        assert_eq!(client.news(), None, "over before it was looked at");
    }
}
