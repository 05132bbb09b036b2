//! What one core has of the response store: its map, room for a key, and the fetches that others wait for.
//!
//! It is made when a route with a cache is first asked for, so that a gateway without one never pays for it. It is never
//! borrowed across an await.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::policy::store::{Machine, Store};
use crate::serve::collapse::Flights;

/// The map and the key at hand.
pub struct Room {
    /// The map.
    pub store: Store,
    /// Room for the key of the request at hand.
    pub key: Vec<u8>,
}

/// What one core has of the response store.
#[derive(Default)]
pub struct CacheRoom {
    room: RefCell<Option<Room>>,
    /// Fetches that others wait for.
    pub flights: Flights,
    /// Renewals under way beside the clients' requests.
    pub renewing: Cell<usize>,
    /// What contents weigh that are being received to be stored. Unit: bytes.
    pub receiving: Cell<usize>,
}

/// Room for an ordinary key.
const KEY_BYTES: usize = 512;

impl CacheRoom {
    /// The only way to the map; the closure cannot wait.
    pub fn with<T>(
        &self,
        machine: &Arc<Machine>,
        seat: usize,
        act: impl FnOnce(&mut Room) -> T,
    ) -> T {
        let mut room = self.room.borrow_mut();
        let fresh = || Room {
            store: Store::new(machine.clone(), seat),
            key: Vec::with_capacity(KEY_BYTES),
        };
        act(room.get_or_insert_with(fresh))
    }

    /// Takes a seat before there is anything to store, so that nothing is missed that other cores store.
    pub fn open(&self, machine: &Arc<Machine>, seat: usize) {
        self.with(machine, seat, |_| ());
    }

    /// Hears what other cores did, at the core's tick; says how many responses this core let go for want of
    /// room, and what all weigh together.
    pub fn tick(&self) -> Option<(u64, u64)> {
        let mut room = self.room.borrow_mut();
        let store = &mut room.as_mut()?.store;
        store.listen();
        Some((store.take_evicted(), store.machine().used()))
    }
}
