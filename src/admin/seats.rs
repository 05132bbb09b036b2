//! The bounded connections of the admin listener: a seat for each.
//!
//! When every seat is taken, the connection that has waited longest without sending its request is shut
//! down and its seat passes on, so that slow clients never keep a probe out. A connection whose request
//! was read keeps its seat: it ends by its own deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// How long the next read or write may take; not zero.
    pub(super) fn wait_at_most(&self, wait: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(wait))?;
                stream.set_write_timeout(Some(wait))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(wait))?;
                stream.set_write_timeout(Some(wait))
            }
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(stream) => stream.into(),
            Socket::Unix(stream) => stream.into(),
        }
    }
}

impl Read for &Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).read(room),
            Socket::Unix(stream) => (&mut &*stream).read(room),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Who sits where.
#[derive(Debug)]
pub(super) struct Seats {
    room: Mutex<Room>,
    freed: Condvar,
    seats_max: usize,
}

#[derive(Debug, Default)]
struct Room {
    /// In order of arrival.
    taken: Vec<Taken>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    /// Shut down to take the seat away. Shared and not duplicated: a descriptor may be just what is missing.
    socket: Arc<Socket>,
    /// Whether the request is read.
    asked: bool,
}

/// How long a newcomer waits for the seat of the connection that was shut down for it.
const SEAT_WAIT: Duration = Duration::from_secs(1);

impl Seats {
    pub(super) fn new(seats_max: usize) -> Self {
        Self { room: Mutex::default(), freed: Condvar::new(), seats_max }
    }

    /// A seat for `socket`; `None` when all are held by requests being answered, or at the end.
    pub(super) fn take(self: &Arc<Self>, socket: &Arc<Socket>) -> Option<Seat> {
        let socket = socket.clone();
        let mut room = self.room();
        if room.taken.len() >= self.seats_max {
            if let Some(slow) = room.taken.iter().find(|taken| !taken.asked) {
                let _ = slow.socket.shutdown(Shutdown::Both);
            }
            let full = |room: &mut Room| room.taken.len() >= self.seats_max && !room.closed;
            let waited = self.freed.wait_timeout_while(room, SEAT_WAIT, full);
            room = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if room.closed || room.taken.len() >= self.seats_max {
            return None;
        }
        let number = room.next;
        room.next += 1;
        room.taken.push(Taken { number, socket, asked: false });
        Some(Seat { seats: self.clone(), number })
    }

    /// Shuts every connection down and gives no more seats.
    pub(super) fn close(&self) {
        let mut room = self.room();
        room.closed = true;
        for taken in &room.taken {
            let _ = taken.socket.shutdown(Shutdown::Both);
        }
        self.freed.notify_all();
    }

    pub(super) fn are_closed(&self) -> bool {
        self.room().closed
    }

    /// A panic elsewhere cannot leave the list half changed.
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's seat; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
}

impl Seat {
    /// The request is read: the seat is kept until the answer is out.
    pub(super) fn asked(&self) {
        let mut room = self.seats.room();
        if let Some(taken) = room.taken.iter_mut().find(|taken| taken.number == self.number) {
            taken.asked = true;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.room().taken.retain(|taken| taken.number != self.number);
        self.seats.freed.notify_all();
    }
}
