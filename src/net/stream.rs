//! A connected stream: plain, or TLS once a handshake has been made on it.
//!
//! The plain path never pays for the other: one look whether there is a session. What TLS does is boxed, so
//! that no future grows by it. A session ends with a close_notify unless its end must look like a cut, and
//! the peer's end without one is an error, for a body that ends with its connection may not be whole
//! (RFC 8446 §6.1, RFC 9112 §9.8).

use std::cell::OnceCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use rustls::Error;

use crate::base::buffer::Buf;
use crate::net::tls::{Progress, Session};
use crate::runtime::{Either, Stream};

pub use crate::net::strand::Wire;

/// A socket that may speak TLS.
pub struct Secure<S: Stream> {
    socket: S,
    tls: OnceCell<Box<Session>>,
}

/// Why a handshake did not end well.
#[derive(Clone, Debug)]
pub enum Unsecured {
    /// The peer closed.
    Gone,
    /// No buffer is left.
    Short,
    /// The two sides do not agree, or one cannot prove who it is.
    Refused(Error),
}

impl<S: Stream> Secure<S> {
    /// A plain stream.
    pub fn plain(socket: S) -> Self {
        Self { socket, tls: OnceCell::new() }
    }

    /// The stream underneath.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The session, once there is one.
    pub fn session(&self) -> Option<&Session> {
        self.tls.get().map(|session| &**session)
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Makes the handshake of `session`; everything afterwards goes through it. Not to be used any more when
    /// it fails or is given up.
    ///
    /// # Errors
    /// The peer closed, or is not one to talk to; it was told why.
    pub async fn secure(&self, session: Session) -> Result<(), Unsecured> {
        loop {
            match session.advance() {
                Ok(Progress::Established) => break,
                Ok(Progress::Blocked) => {}
                Err(error) => {
                    session.flush(|words| self.socket.try_write(words));
                    return Err(Unsecured::Refused(error));
                }
            }
            self.send_control(&session).await?;
            session.pack();
            self.socket.readable().await.map_err(|_| Unsecured::Gone)?;
            let buf = session.fresh().map_err(|_| Unsecured::Short)?;
            let room = buf.spare();
            match self.socket.read(buf, room).await {
                (Ok(0) | Err(_), _) => return Err(Unsecured::Gone),
                (Ok(_), buf) => session.feed(buf),
            }
        }
        if !session.may_linger() {
            self.send_control(&session).await?;
        }
        // There is none yet: a handshake is made once.
        let _ = self.tls.set(Box::new(session));
        Ok(())
    }

    async fn send_control(&self, session: &Session) -> Result<(), Unsecured> {
        let words = session.take_control();
        let mut left = &words[..];
        while !left.is_empty() {
            let mut buf = session.fresh().map_err(|_| Unsecured::Short)?;
            buf.clear();
            let (now, later) = left.split_at(left.len().min(buf.spare()));
            let fits = buf.put(now);
            debug_assert!(fits, "cut to the room there is");
            left = later;
            self.socket.write_all(buf).await.0.map_err(|_| Unsecured::Gone)?;
        }
        Ok(())
    }

    async fn read_secure(
        &self,
        tls: &Session,
        mut buf: Buf,
        bytes_max: usize,
    ) -> (io::Result<usize>, Buf) {
        loop {
            if let Some(result) = tls.read(&mut buf, bytes_max) {
                self.tell(tls, &result);
                return (result, buf);
            }
            let fresh = match tls.fresh() {
                Ok(fresh) => fresh,
                Err(error) => return (Err(error), buf),
            };
            let room = fresh.spare();
            match self.socket.read(fresh, room).await {
                (Ok(0), _) => tls.ended(),
                (Ok(_), fresh) => tls.feed(fresh),
                (Err(error), _) => return (Err(error), buf),
            }
        }
    }

    /// Tells the peer by an alert what was wrong with what it sent.
    fn tell(&self, tls: &Session, result: &io::Result<usize>) {
        if result.is_err() {
            tls.flush(|words| self.socket.try_write(words));
        }
    }

    /// Reads what is there without waiting; whether anything was.
    fn pull(&self, tls: &Session) -> bool {
        let Ok(fresh) = tls.fresh() else { return false };
        let room = fresh.spare();
        match self.socket.try_read(fresh, room) {
            (Ok(0), _) => tls.ended(),
            (Ok(_), fresh) => tls.feed(fresh),
            (Err(_), _) => return false,
        }
        true
    }

    async fn readable_secure(&self, tls: &Session) -> io::Result<()> {
        while !tls.is_readable() {
            tls.flush(|words| self.socket.try_write(words));
            tls.pack();
            self.socket.readable().await?;
            if !self.pull(tls) {
                // Woken for nothing, or by an error, or a stream that cannot tell: reading shows which.
                return Ok(());
            }
        }
        Ok(())
    }

    async fn write_secure(&self, tls: &Session, mut buf: Buf) -> (io::Result<usize>, Buf) {
        if buf.is_empty() {
            return (Ok(0), buf);
        }
        let (sealed, bytes) = match tls.seal(&mut buf) {
            Ok(sealed) => sealed,
            Err(error) => return (Err(error), buf),
        };
        tls.writing.set(true);
        let (result, _) = self.socket.write_all(sealed).await;
        tls.writing.set(result.is_err());
        (result.map(|()| bytes), buf)
    }
}

impl<S: Stream> Stream for Secure<S> {
    // Not `async fn`: each would keep what it is given twice, for every request.
    fn read(&self, buf: Buf, bytes_max: usize) -> impl Future<Output = (io::Result<usize>, Buf)> {
        match self.tls.get() {
            None => Either::A { future: self.socket.read(buf, bytes_max) },
            Some(tls) => Either::B { future: Box::pin(self.read_secure(tls, buf, bytes_max)) },
        }
    }

    fn try_read(&self, mut buf: Buf, bytes_max: usize) -> (io::Result<usize>, Buf) {
        let Some(tls) = self.tls.get() else { return self.socket.try_read(buf, bytes_max) };
        loop {
            if let Some(result) = tls.read(&mut buf, bytes_max) {
                self.tell(tls, &result);
                return (result, buf);
            }
            if !self.pull(tls) {
                tls.pack();
                return (Err(io::ErrorKind::WouldBlock.into()), buf);
            }
        }
    }

    async fn write_all(&self, mut buf: Buf) -> (io::Result<()>, Buf) {
        if self.tls.get().is_none() {
            return self.socket.write_all(buf).await;
        }
        while !buf.is_empty() {
            let (result, rest) = self.write(buf).await;
            buf = rest;
            if let Err(error) = result {
                return (Err(error), buf);
            }
        }
        (Ok(()), buf)
    }

    fn write(&self, buf: Buf) -> impl Future<Output = (io::Result<usize>, Buf)> {
        match self.tls.get() {
            None => Either::A { future: self.socket.write(buf) },
            Some(tls) => Either::B { future: Box::pin(self.write_secure(tls, buf)) },
        }
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        // What is encrypted once must go out, so that a stream of TLS takes all or nothing.
        if self.tls.get().is_none() { self.socket.try_write(bytes) } else { 0 }
    }

    fn unacknowledged(&self) -> usize {
        self.socket.unacknowledged()
    }

    fn has_hung_up(&self) -> bool {
        self.socket.has_hung_up()
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        match self.tls.get() {
            None => Either::A { future: self.socket.readable() },
            Some(tls) => Either::B { future: Box::pin(self.readable_secure(tls)) },
        }
    }

    fn is_quiet(&self) -> bool {
        let Some(tls) = self.tls.get() else { return self.socket.is_quiet() };
        // Tickets and new keys may come at any time and mean nothing.
        tls.is_clean() && (self.socket.is_quiet() || (self.pull(tls) && tls.is_clean()))
    }

    fn has_unread(&self) -> bool {
        if self.is_secure() { !self.is_quiet() } else { self.socket.has_unread() }
    }

    fn is_broken(&self) -> bool {
        self.socket.is_broken()
    }

    fn shutdown_write(&self) {
        if let Some(tls) = self.tls.get() {
            tls.close(|words| self.socket.try_write(words));
        }
        self.socket.shutdown_write();
    }

    fn reset_on_close(&self) {
        if let Some(tls) = self.tls.get() {
            tls.mute.set(true);
        }
        self.socket.reset_on_close();
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.socket.local()
    }
}

impl<S: Stream> Drop for Secure<S> {
    fn drop(&mut self) {
        if let Some(tls) = self.tls.get() {
            tls.close(|words| self.socket.try_write(words));
        }
    }
}
