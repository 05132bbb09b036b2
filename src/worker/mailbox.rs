//! What control tells a core, and what a core tells control: bounded queues, never awaited.
//!
//! A core never blocks on either: it looks for orders at its tick, and a report that finds the queue
//! full is dropped (control counts what it misses by asking again). `B` is what the runtime listens on
//! (`Runtime::Bound`): a descriptor, unless the network is simulated.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::address::Address;
use crate::base::ids::WorkerId;
use crate::base::shared::Occupancy;
use crate::gateway::Gateway;
pub use crate::serve::store::StoreNews;
use crate::upstream::turns::{Turn, Unproven};

/// Orders that wait for a core; control issues a handful in a process's life between two ticks.
const ORDERS_MAX: usize = 64;

/// What control tells a core.
pub enum Order<B = OwnedFd> {
    /// A version is being made: to look for it more often for a while.
    Expect,
    /// Put the next version in place.
    Install {
        /// The version.
        gateway: Arc<Gateway>,
        /// Sockets for addresses that are new.
        listeners: Vec<NewListener<B>>,
        /// Addresses that are gone.
        closed: Vec<Address>,
    },
    /// Take nothing new, finish what is here, end.
    Drain,
    /// End now.
    Stop,
}

/// A listening socket for one core.
pub struct NewListener<B = OwnedFd> {
    /// Where it is bound.
    pub address: Arc<Address>,
    /// The socket.
    pub socket: B,
    /// Client connections open on this address, on all cores together.
    pub open: Arc<Occupancy>,
}

/// What a core tells control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It accepts connections.
    Started {
        /// Which worker.
        worker: WorkerId,
    },
    /// It works by this version now.
    Installed {
        /// Which worker.
        worker: WorkerId,
        /// The version.
        version: u64,
    },
    /// Something is wrong that an operator should know.
    Trouble {
        /// Which worker.
        worker: WorkerId,
        /// What.
        what: String,
    },
    /// It closed a connection because of its PROXY header.
    ProxyHeaderRefused {
        /// Which worker.
        worker: WorkerId,
        /// Where it was accepted.
        listener: Arc<Address>,
        /// Whose connection.
        peer: IpAddr,
        /// Why.
        why: &'static str,
    },
    /// Descriptors or memory run out, or do not any more.
    Shortage {
        /// Which worker.
        worker: WorkerId,
        /// What the kernel says; `None` when it is over.
        why: Option<String>,
    },
    /// It set an endpoint aside, or uses it again.
    Endpoint(Turn),
    /// An endpoint's handshake came to nothing.
    Unproven(Unproven),
    /// The store of the fleet's limits is away from it, or back.
    Store {
        /// Which worker.
        worker: WorkerId,
        /// Which of both.
        news: StoreNews,
    },
    /// Connections were refused since it was last said.
    Refused {
        /// Where.
        address: Arc<Address>,
        /// How many.
        count: u64,
        /// Which bound the last one met.
        bound: &'static str,
        /// Whose the last one was; `None` on a Unix socket.
        client: Option<IpAddr>,
    },
    /// It has ended as told.
    Ended {
        /// Which worker.
        worker: WorkerId,
    },
}

/// Control's end of one core's mailbox.
pub struct Voice<B = OwnedFd> {
    orders: Sender<Order<B>>,
}

impl<B> Voice<B> {
    /// Gives an order.
    ///
    /// # Errors
    /// The order, when the core is gone or does not look into its mailbox any more.
    pub fn tell(&self, order: Order<B>) -> Result<(), Order<B>> {
        self.orders.try_send(order).map_err(TrySendError::into_inner)
    }
}

/// A core's end.
pub struct Ear<B = OwnedFd> {
    orders: Receiver<Order<B>>,
    reports: Sender<Report>,
}

impl<B> Clone for Ear<B> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), reports: self.reports.clone() }
    }
}

impl<B> Ear<B> {
    /// The next order, if there is one.
    pub fn next(&self) -> Option<Order<B>> {
        self.orders.try_recv().ok()
    }

    /// Tells control.
    pub fn report(&self, report: Report) {
        let _ = self.reports.try_send(report);
    }
}

/// A mailbox whose core reports to `reports`.
pub fn mailbox<B>(reports: Sender<Report>) -> (Voice<B>, Ear<B>) {
    let (sender, receiver) = bounded(ORDERS_MAX);
    (Voice { orders: sender }, Ear { orders: receiver, reports })
}
