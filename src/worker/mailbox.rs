//! What control tells a core, and what a core tells control: bounded queues, never awaited.
//!
//! A core never blocks on either: it looks for orders at its tick, and a report that finds the queue
//! full is dropped (control counts what it misses by asking again).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::address::Address;
use crate::base::ids::WorkerId;
use crate::base::shared::Word;
use crate::gateway::Gateway;

/// Orders that wait for a core; control issues a handful in a process's life between two ticks.
const ORDERS_MAX: usize = 64;

/// What control tells a core.
pub enum Order {
    /// Put the next version in place.
    Install {
        /// The version.
        gateway: Arc<Gateway>,
        /// Sockets for addresses that are new.
        listeners: Vec<NewListener>,
        /// Addresses that are gone.
        closed: Vec<Address>,
    },
    /// Take nothing new, finish what is here, end.
    Drain,
    /// End now.
    Stop,
}

/// A listening socket for one core.
pub struct NewListener {
    /// Where it is bound.
    pub address: Arc<Address>,
    /// The socket.
    pub socket: OwnedFd,
    /// Client connections open on this address, on all cores together.
    pub open: Arc<Word>,
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
    /// It has ended as told.
    Ended {
        /// Which worker.
        worker: WorkerId,
    },
}

/// Control's end of one core's mailbox.
pub struct Voice {
    orders: Sender<Order>,
}

impl Voice {
    /// Gives an order.
    ///
    /// # Errors
    /// The order, when the core is gone or does not look into its mailbox any more.
    pub fn tell(&self, order: Order) -> Result<(), Order> {
        self.orders.try_send(order).map_err(TrySendError::into_inner)
    }
}

/// A core's end.
#[derive(Clone)]
pub struct Ear {
    orders: Receiver<Order>,
    reports: Sender<Report>,
}

impl Ear {
    /// The next order, if there is one.
    pub fn next(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// Tells control.
    pub fn report(&self, report: Report) {
        let _ = self.reports.try_send(report);
    }
}

/// A mailbox whose core reports to `reports`.
pub fn mailbox(reports: Sender<Report>) -> (Voice, Ear) {
    let (sender, receiver) = bounded(ORDERS_MAX);
    (Voice { orders: sender }, Ear { orders: receiver, reports })
}
