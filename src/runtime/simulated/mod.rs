//! A runtime without sockets, clocks or threads: an in-memory network and virtual time, all from one seed.
//!
//! Everything above [`Runtime`] runs on it unchanged, so that a whole data plane can be tried on thousands
//! of schedules, and so that tests of a configuration need no sockets. Equal seeds give equal runs, to the
//! last byte and nanosecond; nothing here ever asks the machine for the time, for dice or for a socket.
//!
//! What it takes from the real thing is what hurts: reads and writes that are short, a dropped read that
//! has eaten bytes all the same (RUNTIME.md A.4), connections that end by reset and lose what was on its
//! way, timers that are late by a millisecond, ready tasks in any order. The choice refused is a mock of
//! `Stream` with a script: it can only ask what its author has thought of.

mod executor;
mod faults;
mod link;
mod network;
mod pipe;
mod stream;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::random::Rng;
use crate::base::time::{Instant, Wall};
use crate::runtime::Runtime;
use crate::runtime::simulated::executor::Executor;
use crate::runtime::simulated::network::Network;

pub use crate::runtime::simulated::executor::Step;
pub use crate::runtime::simulated::faults::Faults;
pub use crate::runtime::simulated::network::{Bound, Disturbed};
pub use crate::runtime::simulated::stream::{SimulatedListener, SimulatedStream};

/// The wall clock when a simulation begins: 2026-01-01 00:00:00 UTC. Unit: microseconds since 1970.
const WALL_BEGIN: u64 = 1_767_225_600_000_000;

/// A simulated machine room: hosts, a network between them, one clock. Belongs to one thread.
pub struct Simulation {
    world: Rc<World>,
}

/// What all handles of one simulation share.
struct World {
    executor: Executor,
    network: Network,
    faults: Faults,
    rng: RefCell<Rng>,
}

impl World {
    fn now(&self) -> u64 {
        self.executor.now()
    }

    /// Whether something happens that happens `per_mille` of the time.
    fn chance(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.rng.borrow_mut().below(1000) < per_mille
    }

    /// A number in `0..=most`.
    fn up_to(&self, most: u64) -> u64 {
        if most == 0 {
            return 0;
        }
        let bound = u32::try_from(most).unwrap_or(u32::MAX - 1) + 1;
        u64::from(self.rng.borrow_mut().below(bound))
    }

    /// How long a parcel is on its way. Unit: nanoseconds.
    fn latency(&self) -> u64 {
        let most = if self.chance(self.faults.delayed) {
            self.faults.delay_max
        } else {
            self.faults.latency_max
        };
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        self.up_to(micros) * 1000
    }
}

impl Simulation {
    /// A world at its beginning, in which everything that could go either way goes by `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let world = World {
            executor: Executor::default(),
            network: Network::default(),
            faults,
            rng: RefCell::new(Rng::new(seed)),
        };
        Self { world: Rc::new(world) }
    }

    /// The runtime of the host at `address`; hosts differ only in where their connections come from.
    pub fn host(&self, address: IpAddr) -> Simulated {
        Simulated { world: self.world.clone(), address }
    }

    /// A listening socket at `address`, as the control side would make it. Connections wait in it from now
    /// on; several sockets at one address share them, by lot.
    pub fn bind(&self, address: &Address) -> Bound {
        self.world.network.bind(address)
    }

    /// Asks `refuses` about each connection to `address` from now on.
    pub fn guard(&self, address: &Address, refuses: impl Fn() -> bool + 'static) {
        self.world.network.guard(address, refuses);
    }

    /// Does one thing: polls one ready task, or moves the clock to the next event.
    pub fn step(&self) -> Step {
        let world = &self.world;
        let pick = |ready: usize| world.up_to(ready as u64 - 1) as usize;
        world.executor.step(pick)
    }

    /// Runs until nothing can happen without the clock moving.
    pub fn settle(&self) {
        while self.world.executor.has_work_now() {
            self.step();
        }
    }

    /// Moves the clock by `time`, and does all that happens meanwhile.
    pub fn pass(&self, time: Duration) {
        let until = self.now() + time;
        while self.world.executor.next_event().is_some_and(|at| at <= until.as_nanos()) {
            self.step();
        }
        self.world.executor.set_now(until.as_nanos());
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.world.now())
    }

    /// A number that two runs share only if the same things happened in them in the same order.
    pub fn trace(&self) -> u64 {
        self.world.executor.trace()
    }

    /// What tasks that panicked said.
    pub fn panics(&self) -> Vec<String> {
        self.world.executor.panics()
    }

    /// What the network did to connections, beyond delays and short pieces.
    pub fn disturbed(&self) -> Disturbed {
        self.world.network.disturbed()
    }

    /// Ends every task of a host, as the end of its thread would.
    pub fn end_host(&self, address: IpAddr) {
        self.world.executor.end_host(address);
    }

    /// Ends every task. Nothing runs afterwards.
    pub fn end(&self) {
        self.world.executor.end();
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks own handles of the world that owns them.
        self.end();
    }
}

/// The runtime of one simulated host.
#[derive(Clone)]
pub struct Simulated {
    world: Rc<World>,
    address: IpAddr,
}

impl Runtime for Simulated {
    type Stream = SimulatedStream;
    type Listener = SimulatedListener;
    type Bound = Bound;

    fn now(&self) -> Instant {
        Instant::from_nanos(self.world.now())
    }

    fn wall(&self) -> Wall {
        Wall::from_micros(WALL_BEGIN + self.world.now() / 1000)
    }

    async fn sleep_until(&self, at: Instant) {
        let late = u64::try_from(self.world.faults.timer_late_max.as_micros()).unwrap_or(0);
        let late = Duration::from_micros(self.world.up_to(late));
        self.world.executor.sleep_until((at + late).as_nanos()).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.executor.spawn(self.address, Box::pin(task));
    }

    fn listen(&self, _: &Address, socket: Bound) -> io::Result<SimulatedListener> {
        Ok(SimulatedListener::new(self.world.clone(), socket))
    }

    async fn connect(&self, address: &Address) -> io::Result<SimulatedStream> {
        let world = &self.world;
        let faults = &world.faults;
        if world.chance(faults.connects_stalled) {
            world.network.note(|disturbed| disturbed.stalled += 1);
            std::future::pending::<()>().await;
        }
        self.pause().await;
        let refused = world.chance(faults.connects_refused);
        if refused {
            world.network.note(|disturbed| disturbed.refused += 1);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let stream = network::connect(world, self.address, address)?;
        // The other end may know of the connection before this one does.
        if world.chance(500) {
            self.pause().await;
        }
        Ok(stream)
    }
}

impl Simulated {
    async fn pause(&self) {
        let world = &self.world;
        world.executor.sleep_until(world.now() + world.latency()).await;
    }
}

/// The address of simulated host number `n`: 10.0.0.0/8.
pub fn address_of(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

#[cfg(test)]
mod tests;
