//! A tunnel: after HTTP was left, bytes in both directions, and nothing else (RFC 9110 §7.8, §9.3.6; RFC 6455).
//!
//! It never looks at a byte, never waits in one direction for the other, and holds no buffer while a direction
//! is silent: it waits for readiness first, so that ten thousand quiet WebSockets cost two sockets each and
//! little more. Each direction has at most one buffer: whoever reads slowly slows down whoever writes.
//!
//! How it ends. A half-close is carried over: the end of one direction is passed on and the other goes on. A
//! reset is carried over as a reset. Silence in *both* directions for `tunnel_idle` ends it: a subscription in
//! which only one side ever speaks is alive. A receiver that takes nothing for as long ends it as well, however
//! busy the other direction is. When writing fails the other direction is still read to its end, so that the
//! last words of a side that closed arrive. A stopping process closes it at its drain deadline.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::base::buffer::Buf;
use crate::base::time::Instant;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::net::stream::Wire;
use crate::observe::metrics::{CoreMetrics, Counter};
use crate::runtime::deadline::{Elapsed, Slot};
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;
use crate::serve::join::{First, first};
use crate::serve::pace::Pace;
use crate::serve::writing::{Unwritten, Writing};

/// A direction with bytes to read and no buffer to read them into looks again after this long: the core's
/// budget is spent by others, and back pressure is kinder than an end.
const BUFFER_PAUSE: Duration = Duration::from_millis(10);

/// A direction that is left alone looks after this long whether its receiver is still there: what ended its
/// own direction in order may be gone altogether, and nobody reads there any more to be told. It looks half
/// as often each time until something moves.
const LOOK_AFTER: Duration = Duration::from_millis(10);
/// The longest pause between two looks: ten thousand tunnels that are half closed cost 2000 looks a second.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(5);

/// The two ends of a tunnel.
pub struct Ends<'a, R: Runtime> {
    /// The core.
    pub core: &'a Core<R>,
    /// The client's connection.
    pub client: &'a Wire<R::Stream>,
    /// The origin's connection.
    pub origin: &'a Wire<R::Stream>,
    /// Deadlines of the direction from the client to the origin.
    pub up: &'a Slot,
    /// Deadlines of the direction from the origin to the client.
    pub down: &'a Slot,
    /// How long both directions may be silent, and a receiver may take nothing.
    pub idle_timeout: Duration,
}

/// What a tunnel carried, and how it ended.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// Bytes from the client to the origin.
    pub up_bytes: u64,
    /// Bytes from the origin to the client.
    pub down_bytes: u64,
    /// Who ended it.
    pub closed_by: Side,
    /// What went wrong, if it did not end in order.
    pub fault: Option<Fault>,
    /// Whether the client may still be sending what nobody will read.
    pub lingers: bool,
}

/// Why a direction stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The sender said that nothing more comes, and the receiver was told.
    End,
    /// The receiver takes nothing any more. Its own direction tells how it went away.
    Closed,
    /// The sender's connection was reset.
    Reset,
    /// The receiver took nothing for too long.
    Stalled,
    /// Nothing came from either side for too long.
    Silent,
    /// The process ends.
    Cut,
}

/// Carries bytes both ways until the tunnel is over. `early` came behind the client's head.
pub async fn run<R: Runtime>(ends: &Ends<'_, R>, early: Option<Buf>) -> Carried {
    let metrics = &ends.core.metrics;
    let _open = Open::new(metrics);
    let moved = Cell::new(ends.core.runtime.now());
    let (up_bytes, down_bytes) = (Cell::new(0), Cell::new(0));
    let (alone, holding) = (Cell::new(false), Cell::new(0));
    let up = Direction {
        ends,
        from: ends.client,
        to: ends.origin,
        slot: ends.up,
        moved: &moved,
        alone: &alone,
        holding: &holding,
        bytes: &up_bytes,
        total: &metrics.tunnel_bytes_in,
    };
    let down = Direction {
        ends,
        from: ends.origin,
        to: ends.client,
        slot: ends.down,
        moved: &moved,
        alone: &alone,
        holding: &holding,
        bytes: &down_bytes,
        total: &metrics.tunnel_bytes_out,
    };
    let mut up = pin!(up.carry(early));
    let mut down = pin!(down.carry(None));
    let (closed_by, fault, lingers) = match first(up.as_mut(), down.as_mut()).await {
        First::A(stop) => match stop.fault(Side::Downstream, Side::Upstream) {
            Some(fault) => (fault.side, Some(fault), false),
            None => {
                leave_alone(&alone, ends.down, ends.core.runtime.now());
                let other = down.await.fault(Side::Upstream, Side::Downstream);
                let side = stop.side(Side::Downstream, Side::Upstream);
                (other.map_or(side, |fault| fault.side), other, stop == Stop::Closed)
            }
        },
        First::B(stop) => match stop.fault(Side::Upstream, Side::Downstream) {
            Some(fault) => (fault.side, Some(fault), false),
            None => {
                leave_alone(&alone, ends.up, ends.core.runtime.now());
                let last = up.await;
                let other = last.fault(Side::Downstream, Side::Upstream);
                let side = stop.side(Side::Upstream, Side::Downstream);
                (other.map_or(side, |fault| fault.side), other, last == Stop::Closed)
            }
        },
    };
    if fault.is_some_and(|fault| fault.side != Side::Gateway) {
        ends.client.reset_on_close();
        ends.origin.reset_on_close();
    }
    let (up_bytes, down_bytes) = (up_bytes.get(), down_bytes.get());
    Carried { up_bytes, down_bytes, closed_by, fault, lingers }
}

/// One direction has ended: the other one, which may wait already, begins to look after its receiver.
fn leave_alone(alone: &Cell<bool>, slot: &Slot, now: Instant) {
    alone.set(true);
    slot.rearm(now + LOOK_AFTER);
}

/// One direction.
struct Direction<'a, R: Runtime> {
    ends: &'a Ends<'a, R>,
    from: &'a Wire<R::Stream>,
    to: &'a Wire<R::Stream>,
    slot: &'a Slot,
    /// When a byte moved last, in either direction.
    moved: &'a Cell<Instant>,
    /// Whether the other direction has ended.
    alone: &'a Cell<bool>,
    /// How many directions hold bytes that their receiver has not taken yet.
    holding: &'a Cell<u8>,
    bytes: &'a Cell<u64>,
    total: &'a Counter,
}

impl<R: Runtime> Direction<'_, R> {
    async fn carry(&self, early: Option<Buf>) -> Stop {
        if let Some(buf) = early
            && let Err(stop) = self.pass(buf).await
        {
            return stop;
        }
        loop {
            if let Err(stop) = self.wait().await {
                return stop;
            }
            let Some(buf) = self.ends.core.buffers.take() else {
                let runtime = &self.ends.core.runtime;
                Box::pin(runtime.sleep_until(runtime.now() + BUFFER_PAUSE)).await;
                continue;
            };
            let room = buf.spare();
            match self.from.read(buf, room).await {
                (Ok(0), _) => {
                    self.to.shutdown_write();
                    return Stop::End;
                }
                (Ok(_), buf) => {
                    self.moved.set(self.ends.core.runtime.now());
                    if let Err(stop) = self.pass(buf).await {
                        return stop;
                    }
                }
                (Err(_), _) => return Stop::Reset,
            }
        }
    }

    /// Waits until there is something to read, without a buffer.
    async fn wait(&self) -> Result<(), Stop> {
        let Ends { core, idle_timeout, .. } = *self.ends;
        let mut look_after = LOOK_AFTER;
        loop {
            // While the other direction holds bytes nobody is silent: its receiver is slow, and whether it is
            // too slow is for that direction to say.
            let moved =
                || if self.holding.get() > 0 { core.runtime.now() } else { self.moved.get() };
            let mut until = moved() + idle_timeout;
            if self.alone.get() {
                until = until.min(core.runtime.now() + look_after);
                look_after = (look_after * 2).min(LOOK_AFTER_MAX);
            }
            match self.slot.within(until, self.from.readable()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(Stop::Reset),
                Err(Elapsed) if core.stopping.get() => return Err(Stop::Cut),
                Err(Elapsed) if self.alone.get() && self.to.is_broken() => {
                    return Err(Stop::Closed);
                }
                // It was only a look, or the other direction moved meanwhile.
                Err(Elapsed) if core.runtime.now() < moved() + idle_timeout => {}
                Err(Elapsed) => return Err(Stop::Silent),
            }
        }
    }

    /// Writes all of `buf`.
    async fn pass(&self, buf: Buf) -> Result<(), Stop> {
        self.holding.set(self.holding.get() + 1);
        let passed = self.deliver(buf).await;
        self.holding.set(self.holding.get() - 1);
        passed
    }

    async fn deliver(&self, mut buf: Buf) -> Result<(), Stop> {
        let Ends { core, idle_timeout, .. } = *self.ends;
        let (stream, slot) = (self.to, self.slot);
        let writing =
            Writing { core, stream, slot, pause_max: idle_timeout, known: Cell::default() };
        let mut pace = Pace::new(0, idle_timeout);
        while !buf.is_empty() {
            let before = buf.len();
            match writing.some(buf, &mut pace).await {
                Ok(rest) => buf = rest,
                Err(Unwritten::Closed) => return Err(Stop::Closed),
                Err(Unwritten::Stalled) if core.stopping.get() => return Err(Stop::Cut),
                Err(Unwritten::Stalled) => return Err(Stop::Stalled),
            }
            let bytes = (before - buf.len()) as u64;
            self.moved.set(core.runtime.now());
            self.bytes.set(self.bytes.get() + bytes);
            self.total.add(bytes);
        }
        Ok(())
    }
}

impl Stop {
    /// What went wrong, if it must end the tunnel at once; bytes went from side `from` to side `to`.
    fn fault(self, from: Side, to: Side) -> Option<Fault> {
        let (kind, side) = match self {
            Self::End | Self::Closed => return None,
            Self::Reset if from == Side::Downstream => (FaultKind::ClientGone, from),
            Self::Reset => (FaultKind::ConnectionTerminated, from),
            Self::Stalled => (FaultKind::TunnelIdle, to),
            Self::Silent => (FaultKind::TunnelIdle, Side::Gateway),
            Self::Cut => (FaultKind::GatewayStopping, Side::Gateway),
        };
        Some(Fault { kind, side, again: Again::Never })
    }

    /// Who ended the direction.
    fn side(self, from: Side, to: Side) -> Side {
        if self == Self::Closed { to } else { from }
    }
}

/// Counts a tunnel as long as it is open.
struct Open<'a>(&'a CoreMetrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a CoreMetrics) -> Self {
        metrics.tunnels.add(1);
        metrics.tunnels_open.raise();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.tunnels_open.lower();
    }
}
