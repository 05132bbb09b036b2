//! One thread, one core: its event loop, its listeners, and its ear for the control side.
//!
//! A worker never waits for another worker, and nothing wakes it from outside: it looks into its
//! mailbox at every tick.

pub mod accept;
pub mod boot;
pub mod mailbox;

use std::cell::{Cell, RefCell};
use std::panic;
use std::rc::Rc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::limits::CONNECTIONS_PER_CORE_MAX;
use crate::base::time::Instant;
use crate::runtime::caught::Caught;
use crate::runtime::{Listener, Runtime};
use crate::serve::Core;
use crate::serve::proxy_header::Refused;
use crate::serve::shortage::News;
use crate::serve::store;
use crate::worker::accept::{Door, Refusals, accept};
use crate::worker::mailbox::{Ear, NewListener, Order, Report};

/// How often a core looks into its mailbox, hands over its log page and sweeps its pools. 20 wake-ups a
/// second cost an idle core less than 0.1 % of its time.
const TICK: Duration = Duration::from_millis(50);

/// How often a core looks into its mailbox while a new version is being made, and for how long at most: a reload
/// then does not wait for a tick. 200 wake-ups a second cost less than 1 % of a core's time.
const TICK_EXPECTING: Duration = Duration::from_millis(5);
const EXPECT_MAX: Duration = Duration::from_secs(2);

/// What a burst needed is given back a part at a time, once in so many ticks: once a second.
const TICKS_PER_SHRINK: u32 = 20;

/// How long what is still open at the end may take to be closed and recorded: well below the second that the
/// control side waits for a worker.
const CUT_SHORT_WITHIN: Duration = Duration::from_millis(250);

/// A worker on its own thread.
pub struct Worker<R: Runtime> {
    core: Rc<Core<R>>,
    ear: Ear<R::Bound>,
    doors: RefCell<Vec<Rc<Door<R>>>>,
    connections_max: usize,
    /// Accept loops that have not ended yet. Each owns its socket: a worker that ended before them would
    /// leave sockets open on which nobody answers.
    accepting: Rc<Cell<usize>>,
    ticks: Cell<u32>,
    /// Until when a new version is expected.
    expecting: Cell<Instant>,
}

/// Whether the worker goes on.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

impl<R: Runtime> Worker<R> {
    /// A worker around `core` that obeys `ear`.
    /// At most `connections_max` clients are served at once, whatever listeners say.
    pub fn new(core: Rc<Core<R>>, ear: Ear<R::Bound>, connections_max: usize) -> Self {
        core.settle();
        let connections_max = connections_max.min(CONNECTIONS_PER_CORE_MAX);
        let doors = RefCell::new(Vec::new());
        let (accepting, ticks) = (Rc::default(), Cell::new(0));
        let expecting = Cell::new(core.runtime.now());
        Self { core, ear, doors, connections_max, accepting, ticks, expecting }
    }

    /// Works until told to stop, or until drained. A panic of its own ends it, too, but not before all that
    /// it held is given back.
    pub async fn run(self, listeners: Vec<NewListener<R::Bound>>) {
        if let Err(panic) = (Caught { task: self.work(listeners) }).await {
            self.give_back().await;
            panic::resume_unwind(panic);
        }
    }

    async fn work(&self, listeners: Vec<NewListener<R::Bound>>) {
        let core = &self.core;
        core.runtime.spawn(core.deadlines.clone().sweep(core.runtime.clone()));
        self.listen(listeners);
        self.ear.report(Report::Started { worker: core.id });
        loop {
            if self.rest().await == Then::End {
                return self.cut().await;
            }
            self.tick();
            let is_done = core.busy() == 0 && core.multiplexed.open() == 0;
            if core.draining.get() && is_done && self.accepting.get() == 0 {
                return self.end();
            }
        }
    }

    /// Waits for the next tick and obeys what is found in the mailbox.
    async fn rest(&self) -> Then {
        let runtime = &self.core.runtime;
        let tick = runtime.now() + TICK;
        loop {
            let now = runtime.now();
            let next = if now < self.expecting.get() { now + TICK_EXPECTING } else { tick };
            runtime.sleep_until(next.min(tick)).await;
            while let Some(order) = self.ear.next() {
                if self.obey(order) == Then::End {
                    return Then::End;
                }
            }
            if runtime.now() >= tick {
                return Then::GoOn;
            }
        }
    }

    fn obey(&self, order: Order<R::Bound>) -> Then {
        match order {
            Order::Expect => {
                self.expecting.set(self.core.runtime.now() + EXPECT_MAX);
                Then::GoOn
            }
            Order::Install { gateway, listeners, closed } => {
                let version = gateway.version;
                self.expecting.set(self.core.runtime.now());
                self.core.install(gateway);
                self.core.multiplexed.nudge(&self.core.deadlines);
                self.close(&closed);
                self.listen(listeners);
                self.ear.report(Report::Installed { worker: self.core.id, version });
                Then::GoOn
            }
            Order::Drain => {
                self.core.draining.set(true);
                self.core.crew.dismiss();
                for door in self.doors.borrow_mut().drain(..) {
                    door.listener.stop();
                }
                self.core.multiplexed.nudge(&self.core.deadlines);
                Then::GoOn
            }
            Order::Stop => Then::End,
        }
    }

    /// Ends what is still in flight as if its time were over, so that it is answered or visibly cut, and
    /// recorded; then ends. What does not end at once is dropped with the event loop.
    async fn cut(&self) {
        let core = &self.core;
        core.stopping.set(true);
        core.crew.dismiss();
        let until = core.runtime.now() + CUT_SHORT_WITHIN;
        while core.busy() > 0 && core.runtime.now() < until {
            core.deadlines.elapse_all();
            core.runtime.sleep_until(core.runtime.now() + TICK).await;
        }
        self.end();
    }

    /// Closes what a worker that died holds: the tasks of its connections and of its accepts would keep
    /// their sockets open for ever, and the kernel would go on to give clients to one on which nobody answers.
    async fn give_back(&self) {
        let core = &self.core;
        core.stopping.set(true);
        core.draining.set(true);
        core.crew.dismiss();
        for door in self.doors.take() {
            door.listener.leave();
        }
        let until = core.runtime.now() + CUT_SHORT_WITHIN;
        let is_holding = || core.connections.get() > 0 || self.accepting.get() > 0;
        while is_holding() && core.runtime.now() < until {
            core.deadlines.elapse_all();
            core.runtime.sleep_until(core.runtime.now() + TICK).await;
        }
        // What was closed last is closed with the next turn of the event loop.
        core.runtime.sleep_until(core.runtime.now() + TICK).await;
    }

    fn end(&self) {
        self.tick();
        self.ear.report(Report::Ended { worker: self.core.id });
    }

    fn tick(&self) {
        let core = &self.core;
        let now = core.runtime.now();
        let turn = self.ticks.get();
        self.ticks.set(turn.wrapping_add(1));
        let idle = core.installed().sweep(now, turn as usize);
        core.metrics.pool_idle.set(idle as u64);
        core.metrics.buffers_in_use.set(core.buffers_in_use() as u64);
        core.shard(|shard| shard.hand_over(&core.metrics));
        if let Some((evicted, used)) = core.cache.tick() {
            core.metrics.cache_evicted.add(evicted);
            // One number for the whole process: the first core tells it.
            core.metrics.cache_bytes.set(if core.seat() == 0 { used } else { 0 });
        }
        if turn.is_multiple_of(TICKS_PER_SHRINK) {
            core.shrink();
        }
        store::tend(core);
        self.tell(now);
        #[cfg(debug_assertions)]
        die_if_told();
    }

    /// Tells the control side what went wrong since the last tick, or is over.
    fn tell(&self, now: Instant) {
        let worker = self.core.id;
        if let Some(Refused { listener, peer, why }) = self.core.refused_header.take() {
            self.ear.report(Report::ProxyHeaderRefused { worker, listener, peer, why });
        }
        match self.core.shortage.news(now) {
            Some(News::Begun(why)) => self.ear.report(Report::Shortage { worker, why: Some(why) }),
            Some(News::Over) => self.ear.report(Report::Shortage { worker, why: None }),
            None => {}
        }
        if let Some(news) = self.core.store.news() {
            self.ear.report(Report::Store { worker, news });
        }
        for turn in self.core.turns.take() {
            self.ear.report(Report::Endpoint(turn));
        }
        for unproven in self.core.turns.take_unproven() {
            self.ear.report(Report::Unproven(unproven));
        }
        for door in self.doors.borrow().iter() {
            if let Some((count, bound, client)) = door.refusals.news(now) {
                let (address, bound) = (door.address.clone(), bound.name());
                self.ear.report(Report::Refused { address, count, bound, client });
            }
        }
    }

    fn listen(&self, listeners: Vec<NewListener<R::Bound>>) {
        for NewListener { address, socket, open: occupancy } in listeners {
            match self.core.runtime.listen(&address, socket) {
                Ok(listener) => {
                    let core_max = self.connections_max;
                    let refusals = Refusals::default();
                    let door = Rc::new(Door { address, listener, occupancy, core_max, refusals });
                    let accepting = accept(self.core.clone(), door.clone());
                    let open = self.accepting.clone();
                    open.set(open.get() + 1);
                    self.core.runtime.spawn(async move {
                        accepting.await;
                        open.set(open.get() - 1);
                    });
                    self.doors.borrow_mut().push(door);
                }
                Err(error) => self.ear.report(Report::Trouble {
                    worker: self.core.id,
                    what: format!("cannot listen on {address}: {error}"),
                }),
            }
        }
    }

    fn close(&self, closed: &[Address]) {
        self.doors.borrow_mut().retain(|door| {
            let keep = !closed.contains(&door.address);
            if !keep {
                door.listener.stop();
            }
            keep
        });
    }
}

/// Panics once when the file that a test names is there: how else would a worker die? Not in a release.
#[cfg(debug_assertions)]
fn die_if_told() {
    let told = std::env::var_os("RINGWAY_TEST_WORKER_DIES");
    if told.is_some_and(|file| std::fs::remove_file(file).is_ok()) {
        panic!("a test wants this worker to die");
    }
}
