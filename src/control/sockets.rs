//! Listening sockets of the whole process: bound once, handed to every core, kept across reloads.
//!
//! An address that stays is never bound again; one that cannot be bound never replaces what works.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::base::address::Address;
use crate::net::listener::bind;
use crate::worker::mailbox::NewListener;

/// The addresses that are bound.
#[derive(Default)]
pub struct Sockets {
    bound: Vec<Address>,
}

/// What a new version changes: sockets to add for each worker, addresses to close.
pub struct Change {
    /// New sockets, one list for each worker.
    pub added: Vec<Vec<NewListener>>,
    /// Addresses that are gone.
    pub closed: Vec<Address>,
    next: Vec<Address>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct Unbound {
    /// The address.
    pub address: Address,
    /// What the kernel says.
    pub error: io::Error,
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: another program listens there; stop it (`ss -ltnp` names it) or choose another `address`"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "cannot listen on {address}: this machine does not have that address")
            }
            _ => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl Sockets {
    /// Binds what `wanted` has and is not bound yet, for `workers` cores. Nothing is closed yet: the
    /// change takes effect with `keep`.
    ///
    /// # Errors
    /// The first address that cannot be bound; all sockets made on the way are closed again.
    pub fn change(&self, wanted: &[Address], workers: usize) -> Result<Change, Unbound> {
        let mut added: Vec<Vec<NewListener>> = (0..workers).map(|_| Vec::new()).collect();
        for address in wanted.iter().filter(|address| !self.bound.contains(address)) {
            let sockets = bind(address, workers)
                .map_err(|error| Unbound { address: address.clone(), error })?;
            let address = Arc::new(address.clone());
            for (worker, socket) in added.iter_mut().zip(sockets) {
                worker.push(NewListener { address: address.clone(), socket });
            }
        }
        let closed = self.bound.iter().filter(|bound| !wanted.contains(bound)).cloned().collect();
        Ok(Change { added, closed, next: wanted.to_vec() })
    }

    /// Notes that the cores have taken a change.
    pub fn keep(&mut self, change: &mut Change) {
        self.bound = std::mem::take(&mut change.next);
    }
}
