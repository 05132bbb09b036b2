//! One TLS session (RFC 8446, RFC 5246), without its socket: records in and out of owned buffers.
//!
//! rustls does the protocol, by its unbuffered interface: it decrypts in the buffer that the socket filled,
//! and what it decrypted is copied once, to where the reader wants it. A session never waits, never touches a
//! socket, and holds no pooled buffer while its connection is idle: what is left of a record that is not whole
//! waits in memory of its own size. `net/stream.rs` moves the bytes.

use std::cell::{Cell, RefCell};
use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use crate::base::buffer::{Buf, BufferPool};
use crate::base::limits::{BUFFER_BYTES, TLS_UNFINISHED_BYTES_MAX};

/// The largest plaintext of one record (RFC 8446 §5.1). Unit: bytes.
const RECORD_BYTES: usize = 16 * 1024;
/// What one record takes on the wire beyond its plaintext, at most: header, explicit nonce, type, tag.
const RECORD_OVERHEAD: usize = 64;
/// Room for what rustls says by itself in front of a write: new keys. Unit: bytes.
const CONTROL_BYTES: usize = 1024;
/// The largest record on the wire (RFC 5246 §6.2.3). Unit: bytes.
const RECORD_WIRE_BYTES_MAX: usize = RECORD_BYTES + 2048 + 5;

/// The buffers that sessions of one core use.
#[derive(Clone)]
pub struct Pools {
    /// Ordinary ones.
    pub buffers: BufferPool,
    /// Larger ones.
    pub bulk: BufferPool,
}

/// One TLS session.
pub struct Session {
    state: RefCell<State>,
    pools: Pools,
    /// Whether a write is under way, or was given up half-way: nothing else may be written then.
    pub writing: Cell<bool>,
    /// Whether the end must not look like an orderly one, or was said already.
    pub mute: Cell<bool>,
}

/// rustls keeps the two sides apart.
enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

struct State {
    side: Side,
    /// Ciphertext that is no whole record yet, in a pooled buffer or packed.
    incoming: Incoming,
    /// What was decrypted and not read yet.
    plain: Option<Buf>,
    /// Records of the protocol itself that go out with the next write.
    control: Vec<u8>,
    established: bool,
    end: Option<End>,
}

#[derive(Default)]
enum Incoming {
    #[default]
    Nothing,
    Pooled(Buf),
    Packed(Box<[u8]>),
}

impl Incoming {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Nothing => &mut [],
            Self::Pooled(buf) => buf.data_mut(),
            Self::Packed(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Pooled(buf) => buf.len(),
            Self::Packed(bytes) => bytes.len(),
        }
    }

    fn discard(&mut self, bytes: usize) {
        match self {
            _ if bytes == 0 => {}
            Self::Nothing => debug_assert!(false, "nothing is there to discard"),
            Self::Pooled(buf) if buf.len() == bytes => *self = Self::Nothing,
            Self::Pooled(buf) => buf.consume(bytes),
            Self::Packed(packed) => *packed = packed[bytes..].into(),
        }
    }
}

/// How the peer's half of the session ended.
#[derive(Clone, Debug)]
enum End {
    /// The peer said that nothing more comes (close_notify).
    Orderly,
    /// The connection ended without that: bytes may be missing (RFC 8446 §6.1).
    Truncated,
    /// What came is no TLS, or not meant for us.
    Failed(Error),
}

impl End {
    fn result(&self) -> io::Result<usize> {
        match self {
            Self::Orderly => Ok(0),
            Self::Truncated => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Failed(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What can be done at the moment.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake is over.
    Established,
    /// More bytes of the peer are needed.
    Blocked,
}

/// What one look at rustls asks for.
enum Step {
    Again,
    /// Nothing more can be done with what is here; application data may be sent, or may not yet.
    Rest {
        may_write: bool,
    },
    Failed(Error),
}

impl Session {
    /// The server's side of a session that has not begun.
    pub fn server(connection: UnbufferedServerConnection, pools: Pools) -> Self {
        Self::new(Side::Server(Box::new(connection)), pools)
    }

    /// The client's side of a session that has not begun.
    pub fn client(connection: UnbufferedClientConnection, pools: Pools) -> Self {
        Self::new(Side::Client(Box::new(connection)), pools)
    }

    fn new(side: Side, pools: Pools) -> Self {
        let state = State {
            side,
            incoming: Incoming::Nothing,
            plain: None,
            control: Vec::new(),
            established: false,
            end: None,
        };
        let (writing, mute) = (Cell::new(false), Cell::new(false));
        Self { state: RefCell::new(state), pools, writing, mute }
    }

    /// Goes on with the handshake, as far as what is here allows.
    ///
    /// # Errors
    /// The peer is not one to talk to; `control` has what it is to be told.
    pub fn advance(&self) -> Result<Progress, Error> {
        let mut state = self.state.borrow_mut();
        state.pump(&self.pools, None);
        match &state.end {
            Some(End::Failed(error)) => Err(error.clone()),
            Some(_) => Err(Error::General("closed in the handshake".into())),
            None if state.established => Ok(Progress::Established),
            None => Ok(Progress::Blocked),
        }
    }

    /// What of the protocol itself waits to be sent; empty afterwards.
    pub fn take_control(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.borrow_mut().control)
    }

    /// Sends what waits by `send`, which says how much it took, unless a write is under way.
    pub fn flush(&self, send: impl FnOnce(&[u8]) -> usize) {
        let mut state = self.state.borrow_mut();
        if !self.writing.get() && !state.control.is_empty() {
            let sent = send(&state.control);
            state.control.drain(..sent);
        }
    }

    /// Whether what waits may go out with the first answer: nobody waits for it.
    pub fn may_linger(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.side, Side::Client(_))
            || state.side.common().protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// A buffer to read the peer's bytes into, with room in front for what is here already.
    ///
    /// # Errors
    /// The core's budget of buffers is spent, or the peer sends what never becomes whole.
    pub fn fresh(&self) -> io::Result<Buf> {
        let held = self.state.borrow().incoming.len();
        if held > TLS_UNFINISHED_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let small = held + RECORD_WIRE_BYTES_MAX <= BUFFER_BYTES;
        let pool = if small { &self.pools.buffers } else { &self.pools.bulk };
        let mut buf = pool.take().ok_or(io::ErrorKind::OutOfMemory)?;
        buf.clear_with_headroom(held);
        Ok(buf)
    }

    /// Takes what was read into a buffer of `fresh`.
    pub fn feed(&self, mut buf: Buf) {
        let mut state = self.state.borrow_mut();
        let fits = buf.prepend(state.incoming.bytes());
        debug_assert!(fits, "room was left for it");
        state.incoming = Incoming::Pooled(buf);
    }

    /// The peer's connection has ended.
    pub fn ended(&self) {
        self.state.borrow_mut().end.get_or_insert(End::Truncated);
    }

    /// Reads what can be decrypted into `buf`, at most `bytes_max` bytes; `None` when more of the peer's bytes
    /// are needed for that.
    pub fn read(&self, buf: &mut Buf, bytes_max: usize) -> Option<io::Result<usize>> {
        let mut state = self.state.borrow_mut();
        let before = buf.len();
        let most = bytes_max.min(buf.spare());
        state.read_kept(buf, most);
        if buf.len() == before && state.end.is_none() {
            state.pump(&self.pools, Some((&mut *buf, most)));
        }
        let bytes = buf.len() - before;
        if bytes > 0 { Some(Ok(bytes)) } else { state.end.as_ref().map(End::result) }
    }

    /// Whether a read would end at once.
    pub fn is_readable(&self) -> bool {
        let mut state = self.state.borrow_mut();
        if state.plain.is_none() && state.end.is_none() {
            state.pump(&self.pools, None);
        }
        state.plain.is_some() || state.end.is_some()
    }

    /// Whether nothing is here that a peer must not have sent between two messages.
    pub fn is_clean(&self) -> bool {
        let readable = self.is_readable();
        let state = self.state.borrow();
        let begun = matches!(state.side, Side::Client(_)) && state.incoming.len() > 0;
        !readable && !begun
    }

    /// Gives the pooled buffer back that holds a part of a record, before a wait of unknown length.
    pub fn pack(&self) {
        let mut state = self.state.borrow_mut();
        if let Incoming::Pooled(buf) = &state.incoming {
            state.incoming = Incoming::Packed(buf.data().into());
        }
    }

    /// Encrypts from `plain` what one write takes, behind what else waits to be sent. Says how much.
    ///
    /// # Errors
    /// The core's budget of buffers is spent, or the session is over.
    pub fn seal(&self, plain: &mut Buf) -> io::Result<(Buf, usize)> {
        let mut state = self.state.borrow_mut();
        let small = plain.len() + state.control.len() <= RECORD_BYTES * 3;
        let bulk = if small { None } else { self.pools.bulk.take() };
        let mut out =
            bulk.or_else(|| self.pools.buffers.take()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Tickets and new keys: a few kilobytes at most.
        if state.control.len() > RECORD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let fits = out.put(&state.control);
        debug_assert!(fits, "a buffer is larger");
        state.control.clear();
        let records = (out.spare() - CONTROL_BYTES) / (RECORD_BYTES + RECORD_OVERHEAD);
        let bytes = plain.len().min(records * RECORD_BYTES);
        state.encrypt(&self.pools, &plain.data()[..bytes], &mut out)?;
        plain.consume(bytes);
        Ok((out, bytes))
    }

    /// Says that nothing more comes, by `send`; at most once.
    pub fn close(&self, send: impl FnOnce(&[u8]) -> usize) {
        if self.mute.replace(true) || self.writing.get() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let mut words = std::mem::take(&mut state.control);
        state.close_notify(&mut words);
        if !words.is_empty() {
            // Whoever takes nothing for the moment learns it from the end of the connection.
            send(&words);
        }
    }

    /// Whether an earlier session was taken up again.
    pub fn was_resumed(&self) -> bool {
        self.agreed(CommonState::handshake_kind) == Some(HandshakeKind::Resumed)
    }

    /// What the two sides agreed on, and what the peer proved.
    pub fn agreed<T>(&self, ask: impl FnOnce(&CommonState) -> T) -> T {
        ask(self.state.borrow().side.common())
    }
}

impl Side {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }
}

/// Where decrypted bytes go.
type Target<'b> = (&'b mut Buf, usize);

impl State {
    /// Moves what was decrypted before into `buf`, at most `most` bytes.
    fn read_kept(&mut self, buf: &mut Buf, most: usize) {
        let Some(plain) = &mut self.plain else { return };
        let bytes = plain.len().min(most);
        let fits = buf.put(&plain.data()[..bytes]);
        debug_assert!(fits, "cut to the room there is");
        plain.consume(bytes);
        if plain.is_empty() {
            self.plain = None;
        }
    }

    /// Lets rustls work on all that is here. What does not fit the target is kept.
    fn pump(&mut self, pools: &Pools, mut target: Option<Target<'_>>) {
        loop {
            let Self { side, incoming, plain, control, end, .. } = self;
            let mut sink = Sink { pools, target: target.as_mut(), plain, control, end };
            let (discard, step) = match side {
                Side::Server(c) => sink.take(c.process_tls_records(incoming.bytes()), None),
                Side::Client(c) => sink.take(c.process_tls_records(incoming.bytes()), None),
            };
            incoming.discard(discard);
            match step {
                Step::Again => {}
                Step::Rest { may_write } => {
                    self.established |= may_write;
                    return;
                }
                Step::Failed(error) => {
                    self.end = Some(End::Failed(error));
                    self.alert(pools);
                    return;
                }
            }
        }
    }

    /// After a failure: what the peer is to be told, behind what waited to be sent already.
    fn alert(&mut self, pools: &Pools) {
        // What is no record fails before anything else is queued, and must not be looked at again.
        let no_record = matches!(
            self.end,
            Some(End::Failed(
                Error::InvalidMessage(_) | Error::PeerSentOversizedRecord | Error::DecryptError
            ))
        );
        for _ in 0..if no_record { 1 } else { LAST_WORDS_MAX } {
            let Self { side, incoming, plain, control, end, .. } = self;
            let mut sink = Sink { pools, target: None, plain, control, end };
            let (_, step) = match side {
                Side::Server(c) => sink.take(c.process_tls_records(incoming.bytes()), None),
                Side::Client(c) => sink.take(c.process_tls_records(incoming.bytes()), None),
            };
            if !matches!(step, Step::Again) {
                return;
            }
        }
    }

    fn encrypt(&mut self, pools: &Pools, bytes: &[u8], out: &mut Buf) -> io::Result<()> {
        if let Some(End::Failed(_)) = self.end {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut sealed = false;
        loop {
            let Self { side, incoming, plain, control, end, .. } = self;
            let mut sink = Sink { pools, target: None, plain, control, end };
            let mut seal = |before: &mut Vec<u8>, encrypt: &mut Encrypt<'_>| {
                // What was sealed earlier must go out earlier.
                if !out.put(before) {
                    return Err(io::ErrorKind::BrokenPipe);
                }
                before.clear();
                let n = encrypt(bytes, out.spare_mut()).map_err(|_| io::ErrorKind::BrokenPipe)?;
                out.fill(n);
                sealed = true;
                Ok(())
            };
            let (discard, step) = match side {
                Side::Server(c) => {
                    sink.take(c.process_tls_records(incoming.bytes()), Some(&mut seal))
                }
                Side::Client(c) => {
                    sink.take(c.process_tls_records(incoming.bytes()), Some(&mut seal))
                }
            };
            incoming.discard(discard);
            match step {
                Step::Again => {}
                Step::Rest { .. } if sealed => return Ok(()),
                Step::Rest { .. } => return Err(io::ErrorKind::BrokenPipe.into()),
                Step::Failed(error) => {
                    self.end = Some(End::Failed(error));
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
    }

    fn close_notify(&mut self, words: &mut Vec<u8>) {
        /// A close_notify with the largest overhead fits.
        const ROOM: usize = 128;
        let Self { side, incoming, established, end, .. } = self;
        if !*established || matches!(end, Some(End::Failed(_))) {
            return;
        }
        let mut room = [0; ROOM];
        let bytes = incoming.bytes();
        let said = match side {
            Side::Server(c) => match c.process_tls_records(bytes).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    traffic.queue_close_notify(&mut room)
                }
                _ => Ok(0),
            },
            Side::Client(c) => match c.process_tls_records(bytes).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    traffic.queue_close_notify(&mut room)
                }
                _ => Ok(0),
            },
        };
        words.extend_from_slice(&room[..said.unwrap_or(0)]);
    }
}

/// Records that a failed session may still have to send: what it had begun to say, and an alert.
const LAST_WORDS_MAX: usize = 8;

type Encrypt<'e> = dyn FnMut(&[u8], &mut [u8]) -> Result<usize, EncryptError> + 'e;
type Seal<'s> = &'s mut dyn FnMut(&mut Vec<u8>, &mut Encrypt<'_>) -> Result<(), io::ErrorKind>;

/// Where what rustls gives out goes.
struct Sink<'a, 'b> {
    pools: &'a Pools,
    target: Option<&'a mut Target<'b>>,
    plain: &'a mut Option<Buf>,
    control: &'a mut Vec<u8>,
    end: &'a mut Option<End>,
}

impl Sink<'_, '_> {
    /// Handles one state of rustls; returns how much of what came is done with.
    fn take<Data>(
        &mut self,
        status: UnbufferedStatus<'_, '_, Data>,
        seal: Option<Seal<'_>>,
    ) -> (usize, Step) {
        let UnbufferedStatus { mut discard, state } = status;
        let step = match state {
            Err(error) => Step::Failed(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Step::Again,
                    Some(Err(error)) => break Step::Failed(error),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        if let Err(error) = self.keep(record.payload) {
                            break Step::Failed(error);
                        }
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let begun = self.control.len();
                if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                    self.control.resize(begun + size.required_size, 0);
                }
                match data.encode(&mut self.control[begun..]) {
                    Ok(_) => Step::Again,
                    Err(_) => Step::Failed(Error::EncryptError),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Step::Again
            }
            Ok(ConnectionState::PeerClosed) => {
                self.end.get_or_insert(End::Orderly);
                Step::Again
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let mut encrypt = |from: &[u8], to: &mut [u8]| traffic.encrypt(from, to);
                match seal.map(|seal| seal(self.control, &mut encrypt)) {
                    Some(Err(_)) => Step::Failed(Error::EncryptError),
                    None | Some(Ok(())) => Step::Rest { may_write: true },
                }
            }
            // Early data is never agreed to.
            Ok(_) => Step::Rest { may_write: false },
        };
        (discard, step)
    }

    /// Puts decrypted bytes where they are wanted, the rest aside.
    fn keep(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if let (Some((buf, most)), None) = (&mut self.target, &self.plain) {
            let (now, later) = bytes.split_at(bytes.len().min(*most));
            let fits = buf.put(now);
            debug_assert!(fits, "cut to the room there is");
            *most -= now.len();
            bytes = later;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let spent = || Error::General("no buffer is left".into());
        if self.plain.is_none() {
            *self.plain = Some(self.pools.buffers.take().ok_or_else(spent)?);
        }
        let Some(plain) = self.plain else { return Err(spent()) };
        if plain.put(bytes) {
            return Ok(());
        }
        // More than an ordinary buffer holds came in one read: a larger one does.
        let mut larger = self.pools.bulk.take().ok_or_else(spent)?;
        if !larger.put(plain.data()) || !larger.put(bytes) {
            return Err(spent());
        }
        *self.plain = Some(larger);
        Ok(())
    }
}
