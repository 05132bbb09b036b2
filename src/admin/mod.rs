//! A window for operators: `/livez`, `/readyz` and `/metrics` over a small HTTP/1.1 service of its own.
//!
//! It runs on blocking sockets and its own threads, so that it answers whatever the cores do. It never
//! lets a client hold it up: a head has 8 KiB and five seconds, an answer five seconds, and when all
//! connections are taken the one that has kept us waiting longest is closed for the next. It has no
//! authentication: it belongs on loopback or behind a socket file's permissions. It never changes anything but
//! what is stored of responses (`POST /cache/purge`), and never for a page in a browser.
//!
//! Every answer closes its connection (RFC 9112 §9.6): probes and scrapers come once in seconds.

mod answer;
mod process;
mod seats;

use std::fmt;
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::admin::seats::{Seats, Socket};
use crate::base::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_DESCRIPTORS_KEPT};
use crate::runtime::descriptors::{self, Reserve};

/// What the admin listener shows; control answers.
pub trait State: Send + Sync + 'static {
    /// Whether traffic should come here.
    fn readiness(&self) -> Readiness;

    /// The page of metrics (`observe::prometheus::render`); the process's own are appended.
    fn metrics(&self) -> String;

    /// Removes stored responses on every core.
    fn purge(&self, what: Purging<'_>);
}

/// Which stored responses are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purging<'a> {
    /// All of them.
    All,
    /// Those of one address, `example.com/path?query`.
    Key(&'a [u8]),
    /// Those whose address begins so.
    Prefix(&'a [u8]),
    /// Those with this tag.
    Tag(&'a [u8]),
}

/// Whether traffic should come here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Every worker accepts.
    Ready,
    /// Not now, for this reason: a short text for operators.
    NotReady(String),
}

/// Where the admin listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket; the file is made with mode 0660, and one left behind by a dead process is replaced.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin listener cannot be opened.
#[derive(Debug)]
pub struct AdminError {
    /// Where it was to be.
    pub address: AdminAddress,
    /// Why not.
    pub why: io::Error,
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the admin listener cannot be opened on {}: ", self.address)?;
        match self.why.kind() {
            io::ErrorKind::AddrInUse => f.write_str(
                "another program listens there, perhaps another gateway; give this one an `[admin] address` of its own",
            ),
            _ => write!(f, "{}", self.why),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// The running admin listener. Dropping it leaves it running; `stop` ends it.
#[derive(Debug)]
pub struct Admin {
    address: AdminAddress,
    listener: Arc<Listener>,
    seats: Arc<Seats>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Opens the listener and starts its thread.
    ///
    /// # Errors
    /// The address is taken or cannot be used, or no thread can be started.
    pub fn start<S: State>(address: AdminAddress, state: Arc<S>) -> Result<Admin, AdminError> {
        let failed = |address: &AdminAddress, why| AdminError { address: address.clone(), why };
        let (listener, bound) = Listener::bind(&address).map_err(|why| failed(&address, why))?;
        let (listener, seats) = (Arc::new(listener), Arc::new(Seats::new(ADMIN_CONNECTIONS_MAX)));
        let (accepting, seating) = (listener.clone(), seats.clone());
        let thread = thread::Builder::new()
            .name("ringway-admin".into())
            .spawn(move || accept_all(&accepting, &seating, &state))
            .map_err(|why| failed(&address, why))?;
        Ok(Admin { address: bound, listener, seats, thread })
    }

    /// Where it accepts, with the port that was taken.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Ends it: no new connections, and the open ones are closed.
    pub fn stop(self) {
        self.seats.close();
        // A shut-down listening socket ends `accept` at once (Linux: EINVAL).
        if self.listener.shut_down().is_ok() {
            // Its panic, if any, was printed by the panic hook.
            let _ = self.thread.join();
        }
        if let AdminAddress::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

/// A listening socket of either kind.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &AdminAddress) -> io::Result<(Self, AdminAddress)> {
        match address {
            AdminAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let bound = AdminAddress::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), bound))
            }
            AdminAddress::Unix(path) => {
                remove_stale(path);
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Ok((Self::Unix(listener), address.clone()))
            }
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
        }
    }

    /// Wakes `accept` for good. Shutting down is a stream's method in std, and the descriptor does not mind.
    fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                let fd = OwnedFd::from(listener.try_clone()?);
                TcpStream::from(fd).shutdown(Shutdown::Both)
            }
            Self::Unix(listener) => {
                let fd = OwnedFd::from(listener.try_clone()?);
                UnixStream::from(fd).shutdown(Shutdown::Both)
            }
        }
    }
}

/// Removes a socket file that nobody listens on any more; anything else stays and makes `bind` fail.
fn remove_stale(path: &Path) {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let is_dead = || {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        UnixStream::connect(path).err().is_some_and(refused)
    };
    if is_socket && is_dead() {
        let _ = fs::remove_file(path);
    }
}

/// Accepts until the seats are closed; a thread for each connection, as many as there are seats.
fn accept_all<S: State>(listener: &Listener, seats: &Arc<Seats>, state: &Arc<S>) {
    let reserve = Arc::new(Reserve::new(ADMIN_DESCRIPTORS_KEPT));
    while !seats.are_closed() {
        let socket = match listener.accept() {
            Ok(socket) => Arc::new(socket),
            Err(_) if seats.are_closed() => return,
            Err(error) if descriptors::is_shortage(&error) && reserve.give_up() => continue,
            Err(_) => {
                // No descriptors left, or the client is gone again: a pause, so as not to spin.
                thread::park_timeout(Duration::from_millis(50));
                reserve.refill();
                continue;
            }
        };
        reserve.refill();
        let Some(seat) = seats.take(&socket) else { continue };
        let (state, reserve) = (state.clone(), reserve.clone());
        // Without a thread the connection is closed by dropping it, and its seat is free again.
        let _ = thread::Builder::new().name("ringway-admin".into()).spawn(move || {
            answer::serve(&socket, &seat, &*state);
            drop(seat);
            if let Some(socket) = Arc::into_inner(socket) {
                reserve.take_back(socket.into());
            }
        });
    }
}

#[cfg(test)]
mod tests;
