//! Accepts connections on one listener, admits them by its bounds, and waits when the machine is short of
//! descriptors.
//!
//! Bounds that a user wrote hold for all cores together and are never divided. When one is reached, the
//! idle connection of this core that waits longest makes room; when none is idle the new connection is
//! reset: that costs nothing afterwards, and nobody takes it for an answer. An accept in flight is never
//! dropped: a connection that raced with it would leak (RUNTIME.md A.4).

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::Address;
use crate::base::shared::{Admission, Full, Occupancy};
use crate::base::time::Instant;
use crate::runtime::{Listener, Runtime, Stream};
use crate::serve::clients::Whose;
use crate::serve::connection::{self, Downstream, Open};
use crate::serve::{Core, shortage};

/// After an accept that failed for want of descriptors or memory, the next one waits this long.
const BACK_OFF: Duration = Duration::from_millis(100);

/// After idle connections were given up, the next accept waits this long: until they are closed.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// Refusals are told at most this often, with their number.
const TELL_REFUSALS_EVERY: Duration = Duration::from_secs(10);

/// Where connections are accepted.
pub struct Door<R: Runtime> {
    /// Where.
    pub address: Arc<Address>,
    /// The socket.
    pub listener: R::Listener,
    /// How many are open there, on all cores together.
    pub occupancy: Arc<Occupancy>,
    /// Client connections of this core, whatever listeners say.
    pub core_max: usize,
    /// What was refused and not told yet.
    pub refusals: Refusals,
}

/// The bound that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limits.connections_max`.
    Listener,
    /// `limits.connections_per_client_max`.
    Client,
    /// Connections of one core.
    Core,
    /// A reload has removed the listener.
    Gone,
}

impl Bound {
    /// What an operator is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "limits.connections_max",
            Self::Client => "limits.connections_per_client_max",
            Self::Core => "the connections that one core may have (descriptors)",
            Self::Gone => "the end of the listener",
        }
    }
}

/// Refusals that nobody was told of yet.
#[derive(Default)]
pub struct Refusals {
    count: Cell<u64>,
    last: Cell<Option<(Bound, Option<IpAddr>)>>,
    told: Cell<Option<Instant>>,
}

impl Refusals {
    fn note(&self, bound: Bound, client: Option<IpAddr>) {
        self.count.set(self.count.get() + 1);
        self.last.set(Some((bound, client)));
    }

    /// How many there were since the last time, which bound the last one met and whose it was; asked at the
    /// core's tick.
    pub fn news(&self, now: Instant) -> Option<(u64, Bound, Option<IpAddr>)> {
        let (bound, client) = self.last.get()?;
        if self.told.get().is_some_and(|told| now.since(told) < TELL_REFUSALS_EVERY) {
            return None;
        }
        self.told.set(Some(now));
        self.last.set(None);
        Some((self.count.take(), bound, client))
    }
}

/// Accepts connections until the listener is stopped.
pub async fn accept<R: Runtime>(core: Rc<Core<R>>, door: Rc<Door<R>>) {
    while let Some(accepted) = door.listener.accept().await {
        match accepted {
            Ok(stream) => take(&core, &door, stream),
            Err(error) => wait(&core, error).await,
        }
    }
}

fn take<R: Runtime>(core: &Rc<Core<R>>, door: &Door<R>, stream: R::Stream) {
    let connection = Downstream::new(stream, door.address.clone());
    match door.admit(core, &connection) {
        Ok(admission) => {
            let open = Open::new(core.clone(), connection, admission);
            core.runtime.spawn(connection::serve(open));
        }
        Err(bound) => {
            core.metrics.connections_refused.add(1);
            // One of a Unix socket has no address.
            let client = connection.stream.peer().map(|_| connection.peer);
            door.refusals.note(bound, client);
            connection.stream.reset_on_close();
        }
    }
}

impl<R: Runtime> Door<R> {
    fn admit(&self, core: &Core<R>, connection: &Downstream<R>) -> Result<Admission, Bound> {
        let installed = core.installed();
        let listener = connection.listener(&installed).ok_or(Bound::Gone)?;
        let has_room = || core.connections.get() < self.core_max;
        if !has_room() && !shortage::give_up_client(core, Whose::All) {
            return Err(Bound::Core);
        }
        // A trusted proxy's connections are its clients', and those of a Unix socket have no address.
        let address = connection.stream.peer().map(|_| connection.peer);
        let client = address.filter(|address| !listener.trusts(*address));
        let client = client.map(|address| (address, listener.connections_per_client_max as u64));
        let all_max = listener.connections_max as u64;
        let of_bound = |full| match full {
            Full::Listener => Bound::Listener,
            Full::Client => Bound::Client,
        };
        match self.occupancy.admit(all_max, client) {
            Err(Full::Listener)
                if shortage::give_up_client(core, Whose::Listener(&self.address)) =>
            {
                self.occupancy.admit(all_max, client).map_err(of_bound)
            }
            admitted => admitted.map_err(of_bound),
        }
    }
}

/// Waits before the next accept, as long as the error asks for.
async fn wait<R: Runtime>(core: &Core<R>, error: io::Error) {
    // The client went away while it waited in the queue: nothing is wrong here.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    let made_room = shortage::is_shortage(&error) && shortage::make_room_for_client(core);
    // A Unix socket is shared by all cores, and another one has stopped it already.
    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput) {
        core.shortage.note(core.runtime.now(), error);
    }
    let pause = if made_room { ROOM_WAIT } else { BACK_OFF };
    core.runtime.sleep_until(core.runtime.now() + pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn refusals_are_told_at_once_and_then_summed() {
        let refusals = Refusals::default();
        assert_eq!(refusals.news(at(1)), None);
        refusals.note(Bound::Client, None);
        assert_eq!(refusals.news(at(1)), Some((1, Bound::Client, None)));
        refusals.note(Bound::Client, None);
        refusals.note(Bound::Listener, None);
        assert_eq!(refusals.news(at(2)), None);
        assert_eq!(refusals.news(at(11)), Some((2, Bound::Listener, None)));
        assert_eq!(refusals.news(at(30)), None);
    }
}
