//! One thread, one core: its event loop, its listeners, and its ear for the control side.
//!
//! A worker never waits for another worker, and nothing wakes it from outside: it looks into its
//! mailbox at every tick.

pub mod boot;
pub mod mailbox;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::limits::CONNECTIONS_PER_CORE_MAX;
use crate::base::shared::Word;
use crate::runtime::{Listener, Runtime};
use crate::serve::proxy_header::Refused;
use crate::serve::{Core, connection};
use crate::worker::mailbox::{Ear, NewListener, Order, Report};

/// How often a core looks into its mailbox, hands over its log page and sweeps its pools. 20 wake-ups a
/// second cost an idle core less than 0.1 % of its time.
const TICK: Duration = Duration::from_millis(50);

/// What a burst needed is given back a part at a time, once in so many ticks: once a second.
const TICKS_PER_SHRINK: u32 = 20;

/// After an accept that failed for want of descriptors or memory, the next one waits this long.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// A worker on its own thread.
pub struct Worker<R: Runtime> {
    core: Rc<Core<R>>,
    ear: Ear<R::Bound>,
    listeners: RefCell<Vec<Listening<R>>>,
    connections_max: usize,
    backing_off: Rc<Cell<bool>>,
    /// Accept loops that have not ended yet. Each owns its socket: a worker that ended before them would
    /// leave sockets open on which nobody answers.
    accepting: Rc<Cell<usize>>,
    ticks: Cell<u32>,
}

struct Listening<R: Runtime> {
    address: Arc<Address>,
    listener: Rc<R::Listener>,
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
        let connections_max = connections_max.min(CONNECTIONS_PER_CORE_MAX);
        let listeners = RefCell::new(Vec::new());
        let (backing_off, accepting) = (Rc::default(), Rc::default());
        let ticks = Cell::new(0);
        Self { core, ear, listeners, connections_max, backing_off, accepting, ticks }
    }

    /// Works until told to stop, or until drained.
    pub async fn run(self, listeners: Vec<NewListener<R::Bound>>) {
        let core = &self.core;
        core.runtime.spawn(core.deadlines.clone().sweep(core.runtime.clone()));
        self.listen(listeners);
        self.ear.report(Report::Started { worker: core.id });
        loop {
            core.runtime.sleep_until(core.runtime.now() + TICK).await;
            while let Some(order) = self.ear.next() {
                if self.obey(order) == Then::End {
                    return self.end();
                }
            }
            self.tick();
            if core.draining.get() && core.busy() == 0 && self.accepting.get() == 0 {
                return self.end();
            }
        }
    }

    fn obey(&self, order: Order<R::Bound>) -> Then {
        match order {
            Order::Install { gateway, listeners, closed } => {
                let version = gateway.version;
                self.core.install(gateway);
                self.close(&closed);
                self.listen(listeners);
                self.ear.report(Report::Installed { worker: self.core.id, version });
                Then::GoOn
            }
            Order::Drain => {
                self.core.draining.set(true);
                for listening in self.listeners.borrow_mut().drain(..) {
                    listening.listener.stop();
                }
                Then::GoOn
            }
            Order::Stop => Then::End,
        }
    }

    fn end(&self) {
        self.tick();
        self.ear.report(Report::Ended { worker: self.core.id });
    }

    fn tick(&self) {
        let core = &self.core;
        let now = core.runtime.now();
        let idle = core.installed().sweep(now);
        core.metrics.pool_idle.set(idle as u64);
        core.metrics.buffers_in_use.set(core.buffers_in_use() as u64);
        core.shard(|shard| shard.hand_over(&core.metrics));
        self.ticks.set(self.ticks.get().wrapping_add(1));
        if self.ticks.get().is_multiple_of(TICKS_PER_SHRINK) {
            core.shrink();
        }
        if let Some(Refused { peer, why }) = core.refused_header.take() {
            self.ear.report(Report::ProxyHeaderRefused { worker: core.id, peer, why });
        }
    }

    fn listen(&self, listeners: Vec<NewListener<R::Bound>>) {
        for NewListener { address, socket, open } in listeners {
            match self.core.runtime.listen(&address, socket) {
                Ok(listener) => {
                    let listener = Rc::new(listener);
                    let core = self.core.clone();
                    let trouble = Trouble { ear: self.ear.clone(), told: self.backing_off.clone() };
                    let core_max = self.connections_max;
                    let place = Place { address: address.clone(), open, core_max };
                    let accepting = accept(core, listener.clone(), place, trouble);
                    let open = self.accepting.clone();
                    open.set(open.get() + 1);
                    self.core.runtime.spawn(async move {
                        accepting.await;
                        open.set(open.get() - 1);
                    });
                    self.listeners.borrow_mut().push(Listening { address, listener });
                }
                Err(error) => self.ear.report(Report::Trouble {
                    worker: self.core.id,
                    what: format!("cannot listen on {address}: {error}"),
                }),
            }
        }
    }

    fn close(&self, closed: &[Address]) {
        self.listeners.borrow_mut().retain(|listening| {
            let keep = !closed.contains(&listening.address);
            if !keep {
                listening.listener.stop();
            }
            keep
        });
    }
}

/// Where connections are accepted, and how many are open there on all cores together.
struct Place {
    address: Arc<Address>,
    open: Arc<Word>,
    core_max: usize,
}

impl Place {
    /// Whether one more connection may be opened: the listener's bound is the machine's, never divided.
    fn has_room<R: Runtime>(&self, core: &Core<R>) -> bool {
        let installed = core.installed();
        let mut listeners = installed.gateway.listeners.iter();
        let listener = listeners.find(|listener| listener.address == *self.address);
        let bound = listener.map_or(0, |listener| listener.connections_max as u64);
        core.connections.get() < self.core_max && self.open.load() < bound
    }
}

/// Counts a connection until it is dropped.
struct Counted(Arc<Word>);

impl Counted {
    fn new(open: &Arc<Word>) -> Self {
        open.next();
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.previous();
    }
}

/// Tells the control side once that accepting fails, and once that it works again.
struct Trouble<B> {
    ear: Ear<B>,
    told: Rc<Cell<bool>>,
}

/// Accepts connections on one listener until it is stopped. The accept in flight is never dropped: a
/// connection that raced with it would leak (RUNTIME.md A.4).
async fn accept<R: Runtime>(
    core: Rc<Core<R>>,
    listener: Rc<R::Listener>,
    place: Place,
    trouble: Trouble<R::Bound>,
) {
    while let Some(accepted) = listener.accept().await {
        match accepted {
            Ok(stream) if place.has_room(&core) => {
                trouble.told.set(false);
                let (address, open) = (place.address.clone(), Counted::new(&place.open));
                let serving = connection::serve(core.clone(), stream, address);
                core.runtime.spawn(async move {
                    let _counted = open;
                    serving.await;
                });
            }
            Ok(refused) => {
                core.metrics.connections_refused.add(1);
                drop(refused);
            }
            Err(error) => back_off(&core, &trouble, &place.address, error).await,
        }
    }
}

async fn back_off<R: Runtime>(
    core: &Core<R>,
    trouble: &Trouble<R::Bound>,
    address: &Address,
    error: io::Error,
) {
    // The client went away while it waited in the queue: nothing is wrong here.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    // A Unix socket is shared by all cores, and another one has stopped it already.
    let stopped = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput);
    if !stopped && !trouble.told.replace(true) {
        let what = format!("accepting on {address} fails and is tried again: {error}");
        trouble.ear.report(Report::Trouble { worker: core.id, what });
    }
    core.runtime.sleep_until(core.runtime.now() + ACCEPT_BACK_OFF).await;
}
