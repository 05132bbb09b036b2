//! Listening sockets of the whole process: bound once, handed to every core, kept across reloads.
//!
//! An address that stays is never bound again; one that cannot be bound never replaces what works.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::base::address::Address;
use crate::base::shared::Occupancy;
use crate::net::listener::{bind, bind_again, bound_to};
use crate::runtime::entropy;
use crate::worker::mailbox::NewListener;

/// The addresses that are bound.
#[derive(Default)]
pub struct Sockets {
    bound: Vec<Bound>,
}

/// One address, as configured and as bound.
struct Bound {
    address: Arc<Address>,
    actual: Address,
    open: Arc<Occupancy>,
    /// A Unix socket cannot be bound twice: a worker that is replaced gets a copy of this one.
    shared: Option<OwnedFd>,
}

/// What a new version changes: sockets to add for each worker, addresses to close.
pub struct Change {
    /// New sockets, one list for each worker.
    pub added: Vec<Vec<NewListener>>,
    /// Addresses that are gone.
    pub closed: Vec<Address>,
    bound: Vec<Bound>,
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
        write!(f, "cannot listen on {address}: ")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => f.write_str(
                "another program listens there; stop it (`ss -lxtnp` names it) or choose another `address`",
            ),
            io::ErrorKind::PermissionDenied => f.write_str(
                "not permitted; a port below 1024 needs CAP_NET_BIND_SERVICE, a socket file a writable folder",
            ),
            io::ErrorKind::NotFound => f.write_str("the folder of the socket file is not there"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine does not have that address"),
            _ => write!(f, "{error}"),
        }
    }
}

impl Sockets {
    /// Binds what `wanted` has and is not bound yet, for `workers` cores. Nothing is closed yet: the
    /// change takes effect with `keep`.
    ///
    /// # Errors
    /// The first address that cannot be bound; all sockets made on the way are closed again.
    pub fn change(
        &self,
        wanted: impl IntoIterator<Item = Address>,
        workers: usize,
    ) -> Result<Change, Unbound> {
        let wanted: Vec<Address> = wanted.into_iter().collect();
        let added = (0..workers).map(|_| Vec::new()).collect();
        let mut change = Change { added, closed: Vec::new(), bound: Vec::new() };
        for address in &wanted {
            if self.bound.iter().any(|bound| *bound.address == *address) {
                continue;
            }
            change
                .add(address.clone())
                .map_err(|error| Unbound { address: address.clone(), error })?;
        }
        let gone = self.bound.iter().filter(|bound| !wanted.contains(&bound.address));
        change.closed = gone.map(|bound| (*bound.address).clone()).collect();
        Ok(change)
    }

    /// Notes that the cores take a change.
    pub fn keep(&mut self, change: &mut Change) {
        self.bound.retain(|bound| !change.closed.contains(&bound.address));
        self.bound.append(&mut change.bound);
    }

    /// Sockets for a worker that takes the place of one that died.
    ///
    /// # Errors
    /// As the kernel reports them.
    pub fn again(&self) -> io::Result<Vec<NewListener>> {
        let again = |bound: &Bound| {
            let socket = match &bound.shared {
                Some(shared) => shared.as_fd().try_clone_to_owned()?,
                None => bind_again(&bound.actual)?,
            };
            let (address, open) = (bound.address.clone(), bound.open.clone());
            Ok(NewListener { address, socket, open })
        };
        self.bound.iter().map(again).collect()
    }

    /// Removes the files of Unix sockets, at the end of the process.
    pub fn remove_files(&self) {
        for bound in &self.bound {
            if let Address::Unix(path) = &*bound.address {
                // Somebody else may have removed it; nothing is lost either way.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Where the process listens: as configured, and with the port that the kernel chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&Address, &Address)> {
        self.bound.iter().map(|bound| (&*bound.address, &bound.actual))
    }
}

impl Change {
    fn add(&mut self, address: Address) -> io::Result<()> {
        let sockets = bind(&address, self.added.len())?;
        let shared = match (&address, sockets.first()) {
            (Address::Unix(_), Some(first)) => Some(first.as_fd().try_clone_to_owned()?),
            _ => None,
        };
        let actual = sockets.first().map_or(address.clone(), |first| bound_to(&address, first));
        let (address, open) = (Arc::new(address), Arc::new(Occupancy::new(entropy::seed())));
        for (worker, socket) in self.added.iter_mut().zip(sockets) {
            worker.push(NewListener { address: address.clone(), socket, open: open.clone() });
        }
        self.bound.push(Bound { address, actual, open, shared });
        Ok(())
    }
}
