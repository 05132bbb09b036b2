//! Who listens where in the simulated network, and what the network did to connections.
//!
//! Nothing is ever resolved here, and no address outside of the simulation is reached.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;

use crate::base::address::Address;
use crate::runtime::simulated::World;
use crate::runtime::simulated::link::Link;
use crate::runtime::simulated::stream::SimulatedStream;

/// Ports of connecting sockets begin here, as Linux has it.
const PORT_MIN: u16 = 32_768;

/// The network of one simulation.
#[derive(Default)]
pub(super) struct Network {
    doors: RefCell<BTreeMap<Address, Vec<Rc<Door>>>>,
    guards: RefCell<BTreeMap<Address, Guard>>,
    disturbed: RefCell<Disturbed>,
    ports: Cell<u16>,
}

/// Says of each connection whether it is refused.
type Guard = Rc<dyn Fn() -> bool>;

/// What the network and the kernel did to connections, beyond delays and short pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disturbed {
    /// Connections cut by a reset.
    pub resets: u64,
    /// Connections refused although somebody listened.
    pub refused: u64,
    /// Connections never answered.
    pub stalled: u64,
    /// Accepts that failed.
    pub accepts_failed: u64,
    /// Dropped reads that had read something.
    pub reads_lost: u64,
}

/// A listening socket: connections that wait to be accepted.
pub(super) struct Door {
    pub(super) backlog: RefCell<VecDeque<SimulatedStream>>,
    pub(super) waiting: RefCell<Vec<Waker>>,
    open: Cell<bool>,
}

impl Door {
    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    pub(super) fn close(&self) {
        self.open.set(false);
        let backlog = std::mem::take(&mut *self.backlog.borrow_mut());
        // What nobody accepted is reset, as by the kernel.
        backlog.iter().for_each(SimulatedStream::abandon);
        drop(backlog);
        self.wake();
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A bound and listening socket. Dropping it closes it.
pub struct Bound {
    pub(super) door: Rc<Door>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.door.close();
    }
}

impl Network {
    pub(super) fn bind(&self, address: &Address) -> Bound {
        let door = Rc::new(Door {
            backlog: RefCell::default(),
            waiting: RefCell::default(),
            open: Cell::new(true),
        });
        let mut doors = self.doors.borrow_mut();
        let here = doors.entry(address.clone()).or_default();
        here.retain(|door| door.is_open());
        here.push(door.clone());
        Bound { door }
    }

    pub(super) fn guard(&self, address: &Address, refuses: impl Fn() -> bool + 'static) {
        self.guards.borrow_mut().insert(address.clone(), Rc::new(refuses));
    }

    pub(super) fn disturbed(&self) -> Disturbed {
        *self.disturbed.borrow()
    }

    pub(super) fn note(&self, what: impl FnOnce(&mut Disturbed)) {
        what(&mut self.disturbed.borrow_mut());
    }

    fn port(&self) -> u16 {
        self.ports.set(self.ports.get().wrapping_add(1) % (u16::MAX - PORT_MIN));
        PORT_MIN + self.ports.get()
    }
}

/// A connection from `from` to whoever listens at `to`.
///
/// # Errors
/// Nobody listens there, or a guard refuses.
pub(super) fn connect(
    world: &Rc<World>,
    from: IpAddr,
    to: &Address,
) -> io::Result<SimulatedStream> {
    let guard = world.network.guards.borrow().get(to).cloned();
    if guard.is_some_and(|refuses| refuses()) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let open: Vec<Rc<Door>> = {
        let doors = world.network.doors.borrow();
        let here = doors.get(to).into_iter().flatten();
        here.filter(|door| door.is_open()).cloned().collect()
    };
    if open.is_empty() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let door = &open[world.up_to(open.len() as u64 - 1) as usize];
    let port = world.network.port();
    let peer = to.tcp().map(|_| SocketAddr::new(from, port));
    let link = Link::new(world);
    door.backlog.borrow_mut().push_back(SimulatedStream::new(link.clone(), 1, to.tcp(), peer));
    door.wake();
    Ok(SimulatedStream::new(link, 0, peer, to.tcp()))
}
