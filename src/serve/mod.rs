//! The walk itself: everything one core owns, and the rooms seen at once.
//!
//! Nothing here is shared between cores, nothing here waits for another core, and no borrow of a core's
//! state ever crosses an await.

pub mod answer;
pub mod answering;
mod around;
pub mod arriving;
pub mod attempt;
pub mod auth_request;
pub mod body;
pub mod budget;
pub mod cache_room;
pub mod cached;
pub mod challenge;
pub mod clients;
pub mod collapse;
pub mod compressing;
pub mod connect;
pub mod connection;
pub mod crew;
pub mod decode;
pub mod duplex;
pub mod each;
pub mod exchange;
pub mod fan_out;
pub mod fill;
pub mod flight;
pub mod forward;
pub mod forward_hedge;
pub mod freshen;
pub mod gather;
pub mod grpc;
pub mod grpc_web;
pub mod h1;
pub mod h2;
pub mod h2_body;
pub mod h2_frames;
pub mod h2_strand;
pub mod h2_stream;
pub mod h2_turns;
pub mod hedge;
pub mod hedges;
pub mod hit;
mod hit_coded;
pub mod join;
pub mod merge_stream;
mod merged_cache;
pub mod mirror;
pub mod origin_h2;
pub mod origin_line;
pub mod origin_link;
pub mod origin_strand;
pub mod origin_stream;
pub mod outgoing;
pub mod pace;
pub mod part;
pub mod part_answer;
pub mod part_cache;
pub mod proxy_header;
pub mod record;
pub mod renew;
pub mod request_head;
pub mod revoked;
pub mod seating;
pub mod secure;
pub mod shard;
pub mod shortage;
pub mod store;
pub mod tunnel;
pub mod unproven;
pub mod wall_clock;
pub mod watch;
pub mod work;
pub mod writing;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::base::buffer::{Buf, BufferPool};
use crate::base::ids::{RouteId, UpstreamId, WorkerId};
use crate::base::limits::LINGERING_MAX;
use crate::base::time::{Instant, Wall};
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::gateway::Gateway;
use crate::observe::metrics::CoreMetrics;
use crate::runtime::deadline::Deadlines;
use crate::runtime::{Runtime, Stream};
use crate::serve::cache_room::CacheRoom;
use crate::serve::clients::Clients;
use crate::serve::compressing::Encoders;
use crate::serve::crew::Crew;
use crate::serve::h2::Multiplexed;
use crate::serve::hedges::Hedges;
use crate::serve::part_cache::PartCache;
use crate::serve::proxy_header::Refused;
use crate::serve::shard::{Origins, Shard};
use crate::serve::shortage::Shortage;
use crate::serve::store::StoreClient;
use crate::serve::wall_clock::WallClock;
use crate::serve::work::{ResponseScratch, Spare, Work};
use crate::upstream::hedge::Hedging;
use crate::upstream::turns::Turns;

/// All that one core owns.
pub struct Core<R: Runtime> {
    /// Which worker this is.
    pub id: WorkerId,
    /// Time, timers, tasks, sockets.
    pub runtime: R,
    /// Buffers of this core.
    pub buffers: BufferPool,
    /// Larger ones, for the middle of large bodies.
    pub bulk: BufferPool,
    /// Encoders of this core.
    pub encoders: Encoders,
    /// Copies of requests in flight.
    pub mirrors: Rc<Cell<usize>>,
    /// Deadlines of this core.
    pub deadlines: Deadlines,
    /// Counters of this core; written here, read by the admin thread.
    pub metrics: Arc<CoreMetrics>,
    /// Client connections that are open.
    pub connections: Cell<usize>,
    /// What the parts of heads weigh that wait for their rest. Unit: bytes.
    pub heads_waiting_bytes: Cell<usize>,
    /// Handshakes with clients that are under way.
    pub handshakes: Cell<usize>,
    /// A PROXY header that was refused since the last tick.
    pub refused_header: Cell<Option<Refused>>,
    /// Who they are, and which of them are idle.
    pub clients: Clients<R>,
    /// Those of them that carry several exchanges at once.
    pub multiplexed: Multiplexed,
    /// Tasks that wait for a stream of theirs.
    pub crew: Crew<h2_stream::Job<R>>,
    /// Whether descriptors or memory run out.
    pub shortage: Shortage,
    /// Endpoints that were set aside or taken back since the last tick.
    pub turns: Turns,
    /// Whether the process drains: every response closes its connection.
    pub draining: Cell<bool>,
    /// Whether the process ends: what is still open is closed and recorded.
    pub stopping: Cell<bool>,
    /// Answers of parts, and calls that others may join.
    pub parts: PartCache,
    /// The store of the fleet's limits.
    pub store: StoreClient,
    /// Responses that are used again.
    pub cache: CacheRoom,
    /// The time of day.
    pub wall_clock: WallClock,
    own: OnceCell<Weak<Core<R>>>,
    installed: RefCell<Rc<Installed<R>>>,
    shard: RefCell<Shard>,
    spare_work: Spare<Work>,
    spare_scratch: Spare<ResponseScratch>,
    exchanges: Cell<usize>,
    lingering: Cell<usize>,
}

/// One version of the gateway as it lives on one core: the map, and what this core knows of the origins.
pub struct Installed<R: Runtime> {
    /// The map.
    pub gateway: Arc<Gateway>,
    /// Pools and balancing state by `UpstreamId`; kept from the last version where nothing changed.
    pub origins: Box<[Rc<Origins<R>>]>,
    /// What is known of the calls that may be sent twice.
    pub hedges: Hedges,
}

impl<R: Runtime> Installed<R> {
    /// Closes idle connections that are too old or whose origin has closed; says how many are left. To ask
    /// a socket is a system call, so that only one in `SWEEP_SHARES` is asked, each in its `turn`.
    pub fn sweep(&self, now: Instant, turn: usize) -> usize {
        let swept = self.origins.iter().map(|origins| {
            origins.pools.borrow_mut().sweep(now, |at, connection| {
                at % SWEEP_SHARES != turn % SWEEP_SHARES || connection.stream.is_quiet()
            })
        });
        swept.sum()
    }

    /// Closes the idle connection to an origin that was kept longest; `false` when there is none.
    pub fn give_up_oldest(&self) -> bool {
        let since = |origins: &&Rc<Origins<R>>| origins.pools.borrow().oldest();
        let kept = self.origins.iter().filter(|origins| since(origins).is_some());
        let Some(origins) = kept.min_by_key(since) else { return false };
        let given_up = origins.pools.borrow_mut().take_oldest();
        given_up.is_some()
    }

    /// What this core knows of a part's calls, if they may be sent twice.
    pub fn hedging(&self, route: RouteId, part: usize) -> Option<&RefCell<Hedging>> {
        self.hedges.find(route, part)
    }

    /// What this core knows of an upstream.
    pub fn origins(&self, id: UpstreamId) -> &Rc<Origins<R>> {
        &self.origins[id.index()]
    }
}

/// Idle upstream connections are asked whether their origin has closed once in so many ticks: once a
/// second, which for 1,000 of them is a thousandth of a core.
const SWEEP_SHARES: usize = 20;

impl<R: Runtime> Core<R> {
    /// A core on which `gateway` is installed.
    pub fn new(
        id: WorkerId,
        runtime: R,
        gateway: Arc<Gateway>,
        metrics: Arc<CoreMetrics>,
        mut shard: Shard,
    ) -> Self {
        let installed = Rc::new(shard::install(None, gateway, &mut shard.rng));
        let parts = PartCache::new(shard.rng.bits());
        let core = Self {
            id,
            runtime,
            buffers: BufferPool::default(),
            bulk: BufferPool::bulk(),
            encoders: Encoders::default(),
            mirrors: Rc::default(),
            deadlines: Deadlines::default(),
            metrics,
            connections: Cell::new(0),
            heads_waiting_bytes: Cell::new(0),
            handshakes: Cell::new(0),
            refused_header: Cell::new(None),
            clients: Clients::default(),
            multiplexed: Multiplexed::default(),
            crew: Crew::default(),
            shortage: Shortage::default(),
            turns: Turns::default(),
            draining: Cell::new(false),
            stopping: Cell::new(false),
            parts,
            store: StoreClient::default(),
            cache: CacheRoom::default(),
            wall_clock: WallClock::default(),
            own: OnceCell::new(),
            installed: RefCell::new(installed),
            shard: RefCell::new(shard),
            spare_work: Spare::default(),
            spare_scratch: Spare::default(),
            exchanges: Cell::new(0),
            lingering: Cell::new(0),
        };
        core.open_cache();
        core
    }

    /// Takes a seat at the store of responses, where some route has a use for it.
    fn open_cache(&self) {
        let installed = self.installed();
        let Gateway { carry, routes, .. } = &*installed.gateway;
        if let Some(machine) =
            carry.machine.as_ref().filter(|_| routes.iter().any(|route| route.cache.is_some()))
        {
            self.cache.open(machine, self.seat());
        }
    }

    /// This core's seat among those that share a store.
    pub fn seat(&self) -> usize {
        self.id.0 as usize
    }

    /// Lets this core's own tasks outlive the exchange that began them.
    pub fn settle(self: &Rc<Self>) {
        self.own.get_or_init(|| Rc::downgrade(self));
    }

    /// The core, for a task of its own; `None` before it was settled.
    pub fn own(&self) -> Option<Rc<Self>> {
        self.own.get()?.upgrade()
    }

    /// The time of day at `now`, which has just been.
    pub fn wall(&self, now: Instant) -> Wall {
        self.wall_clock.at(now, || self.runtime.wall())
    }

    /// The version to use for a whole exchange.
    pub fn installed(&self) -> Rc<Installed<R>> {
        self.installed.borrow().clone()
    }

    /// Puts the next version in place; exchanges in flight finish on theirs.
    pub fn install(&self, gateway: Arc<Gateway>) {
        let last = self.installed();
        let next = self.shard(|shard| shard::install(Some(&last), gateway, &mut shard.rng));
        *self.installed.borrow_mut() = Rc::new(next);
        self.open_cache();
    }

    /// The only way to this core's changeable state; the closure cannot wait.
    pub fn shard<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        act(&mut self.shard.borrow_mut())
    }

    /// An empty buffer.
    ///
    /// # Errors
    /// When the core's budget of buffers is spent (503 to the client).
    pub fn buffer(&self) -> Result<Buf, Fault> {
        let kind = FaultKind::ConnectionLimitReached;
        self.buffers.take().ok_or(Fault { kind, side: Side::Gateway, again: Again::Never })
    }

    /// Buffers in use, in units of an ordinary one.
    pub fn buffers_in_use(&self) -> usize {
        self.buffers.in_use() + self.bulk.in_use_ordinary()
    }

    /// Exchanges in flight.
    pub fn busy(&self) -> usize {
        self.exchanges.get()
    }

    /// Counts an exchange until the guard is dropped.
    pub fn exchange(&self) -> InFlight<'_> {
        self.exchanges.set(self.exchanges.get() + 1);
        self.metrics.active_requests.raise();
        InFlight { exchanges: &self.exchanges, metrics: &self.metrics }
    }

    /// Leave to keep a walk's state between two requests; `None` when enough connections do, and this one
    /// should become small at once.
    pub fn linger(&self) -> Option<Lingering<'_>> {
        let lingering = self.lingering.get();
        (lingering < LINGERING_MAX).then(|| {
            self.lingering.set(lingering + 1);
            Lingering(&self.lingering)
        })
    }

    /// What reading one more response takes, recycled.
    pub fn take_scratch(&self) -> Box<ResponseScratch> {
        self.spare_scratch.take()
    }

    /// Gives it back.
    pub fn keep_scratch(&self, mut scratch: Box<ResponseScratch>) {
        scratch.chunks.reset();
        self.spare_scratch.keep(scratch);
    }

    /// What an exchange works with, recycled.
    pub fn take_work(&self) -> Box<Work> {
        self.spare_work.take()
    }

    /// Gives it back.
    pub fn keep_work(&self, mut work: Box<Work>) {
        work.clear();
        self.spare_work.keep(work);
    }

    /// Gives a part of what lies unused back to the allocator.
    pub fn shrink(&self) {
        self.buffers.shrink();
        self.bulk.shrink();
        self.encoders.shrink();
        self.spare_work.shrink();
        self.spare_scratch.shrink();
        self.crew.shrink();
    }
}

/// A connection that keeps its state between two requests, counted as long as it does.
pub struct Lingering<'a>(&'a Cell<usize>);

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// An exchange in flight, counted as long as it lasts, however it ends.
pub struct InFlight<'a> {
    exchanges: &'a Cell<usize>,
    metrics: &'a CoreMetrics,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.exchanges.set(self.exchanges.get() - 1);
        self.metrics.active_requests.lower();
    }
}
