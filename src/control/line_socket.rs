//! A log whose lines are datagrams: syslog, as RFC 3164 and syslog(3) have it, and the journal's native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! On the flush thread alone. The kernel holds ten datagrams for a receiver (net.unix.max_dgram_qlen), so that one that
//! reads is waited for; it never waits for one that does not: after a pause that was in vain lines are lost, and
//! counted, until one is taken again. A receiver that was restarted is found again with the next line. RFC 5424 was refused for `/dev/log`: what listens
//! there reads the older form, and a host name that it knows better than we do is left out, as in syslog(3).

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::base::limits::LOG_RECEIVER_WAIT;
use crate::base::time::Wall;
use crate::runtime::clock;

/// How a line is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// `<134>Nov 25 19:00:00 ringway[42]: line`: facility local0, severity informational.
    Syslog,
    /// `MESSAGE=line` and its fields.
    Journald,
}

/// The socket.
#[derive(Debug)]
pub struct LineSocket {
    path: PathBuf,
    wrap: Wrap,
    socket: UnixDatagram,
    /// Whether the receiver was waited for in vain and has taken nothing since.
    stalled: bool,
    /// One wrapped line.
    room: Vec<u8>,
}

impl LineSocket {
    /// Connects to the receiver at `path`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(path: &Path, wrap: Wrap) -> io::Result<Self> {
        let socket = connect(path)?;
        Ok(Self { path: path.to_path_buf(), wrap, socket, stalled: false, room: Vec::new() })
    }

    /// Sends every line of a page. How many were sent, how many bytes, and what stopped the rest.
    pub fn send(&mut self, page: &[u8]) -> (u64, u64, io::Result<()>) {
        let (mut lines, mut bytes) = (0, 0);
        let mut failed = None;
        for line in page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match self.send_line(line) {
                Ok(()) => {
                    lines += 1;
                    bytes += line.len() as u64;
                }
                Err(error) => failed = Some(error),
            }
        }
        (lines, bytes, failed.map_or(Ok(()), Err))
    }

    fn send_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.room.clear();
        match self.wrap {
            Wrap::Syslog => {
                let when = stamp(clock::wall());
                self.room.extend_from_slice(
                    format!("<134>{when} ringway[{}]: ", std::process::id()).as_bytes(),
                );
                self.room.extend_from_slice(line);
            }
            Wrap::Journald => {
                self.room.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=ringway\nMESSAGE=");
                self.room.extend_from_slice(line);
                self.room.push(b'\n');
            }
        }
        match self.socket.send(&self.room) {
            Ok(_) => self.set_stalled(false),
            Err(error) if is_gone(&error) => {
                self.socket = connect(&self.path)?;
                self.stalled = false;
                self.socket.send(&self.room).map(|_| ())
            }
            Err(error) => {
                if error.kind() == ErrorKind::WouldBlock {
                    self.set_stalled(true)?;
                }
                Err(error)
            }
        }
    }

    fn set_stalled(&mut self, stalled: bool) -> io::Result<()> {
        if self.stalled != stalled {
            self.socket.set_nonblocking(stalled)?;
            self.stalled = stalled;
        }
        Ok(())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(LOG_RECEIVER_WAIT))?;
    Ok(socket)
}

/// Whether the receiver that we were connected to is no longer there.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::NotFound
    )
}

/// `Nov  5 19:00:00`, in UTC.
fn stamp(wall: Wall) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = crate::http::date::imf_fixdate(wall.as_secs());
    // `Sun, 06 Nov 1994 08:49:37 GMT` has it all.
    let text = String::from_utf8_lossy(&date);
    let (day, month, time) = (&text[5..7], &text[8..11], &text[17..25]);
    let month = MONTHS.iter().find(|known| **known == month).copied().unwrap_or("Jan");
    format!("{month} {:>2} {time}", day.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_those_of_syslog() {
        assert_eq!(stamp(Wall::from_micros(784_111_777_000_000)), "Nov  6 08:49:37");
        assert_eq!(stamp(Wall::from_micros(785_111_777_000_000)), "Nov 17 22:36:17");
    }
}
