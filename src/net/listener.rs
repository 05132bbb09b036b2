//! Listening sockets: made once by the control side, handed to the cores, kept across reloads.
//!
//! Each core accepts on a socket of its own (SO_REUSEPORT): the kernel spreads connections and no core
//! ever waits for another. A Unix socket cannot be bound twice, so cores share one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::base::address::Address;

/// Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

/// One listening socket for each of `workers` cores.
///
/// # Errors
/// As the kernel reports them: the address is taken, not ours, or not permitted.
pub fn bind(address: &Address, workers: usize) -> io::Result<Vec<OwnedFd>> {
    match address {
        Address::Tcp(address) => {
            let first = socket(Domain::for_address(*address), &(*address).into(), false)?;
            // The port may have been chosen by the kernel, and all cores listen on the same one.
            let chosen = first.local_addr()?;
            drop(first);
            (0..workers).map(|_| tcp(&chosen)).collect()
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            let shared = socket(Domain::UNIX, &SockAddr::unix(path)?, false)?;
            // As nginx does: who may connect is decided by the folder's permissions.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
            shared.listen(BACKLOG)?;
            let shared = OwnedFd::from(shared);
            (0..workers).map(|_| shared.as_fd().try_clone_to_owned()).collect()
        }
    }
}

/// One more socket on an address that this process listens on already, for a worker that is replaced.
///
/// # Errors
/// As [`bind`].
pub fn bind_again(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(address) => tcp(&(*address).into()),
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The address a socket is bound to, with the port that the kernel chose.
pub fn bound_to(address: &Address, socket: &OwnedFd) -> Address {
    let local = socket.try_clone().map(Socket::from).and_then(|socket| socket.local_addr());
    match (address, local.ok().and_then(|local| local.as_socket())) {
        (Address::Tcp(_), Some(local)) => Address::Tcp(local),
        _ => address.clone(),
    }
}

fn tcp(address: &SockAddr) -> io::Result<OwnedFd> {
    let socket = socket(address.domain(), address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(domain: Domain, address: &SockAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.cloexec().nonblocking(), None)?;
    if domain != Domain::UNIX {
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit this, which saves a system call for each.
        socket.set_nodelay(true)?;
        // The first socket of an address asks for it alone, so that another process that listens there
        // is noticed; only our own cores share.
        socket.set_reuse_port(shared)?;
    }
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

/// Removes a socket file that nobody listens on any more; one in use is an error.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_gets_a_socket_on_the_same_chosen_port() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let sockets = bind(&any, 3).expect("loopback is free");
        let port = |fd: &OwnedFd| {
            let socket = Socket::from(fd.try_clone().expect("a descriptor"));
            socket.local_addr().expect("bound").as_socket().expect("tcp").port()
        };
        assert!(sockets.iter().all(|fd| port(fd) == port(&sockets[0]) && port(fd) != 0));
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is free");
        let address = Address::Tcp(other.local_addr().expect("bound"));
        assert_eq!(bind(&address, 2).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}
