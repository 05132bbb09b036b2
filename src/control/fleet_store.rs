//! The store of the fleet's limits, as an operator sees it: once for all cores.
//!
//! Each core has a connection of its own (`serve/store.rs`) and finds out for itself that the store is away. The first
//! one that does makes an event, and so does the last one that is connected again: never one for each request, nor
//! one for each core.

use crate::base::ids::WorkerId;
use crate::base::time::Instant;
use crate::gateway::Store;
use crate::observe::event::Event;
use crate::worker::mailbox::StoreNews;

/// The cores that the store is away from.
#[derive(Default)]
pub(super) struct FleetStore {
    away: Vec<WorkerId>,
    since: Option<Instant>,
}

impl FleetStore {
    /// Takes what a core says, and tells what is new.
    pub(super) fn take(
        &mut self,
        worker: WorkerId,
        news: &StoreNews,
        (store, now): (Option<&Store>, Instant),
        tell: impl Fn(&Event<'_>),
    ) {
        self.forget(worker);
        let address = store.map(|store| store.address.to_string());
        let address = address.as_deref().unwrap_or("an address that is not configured any more");
        match news {
            StoreNews::Away(why) => {
                self.away.push(worker);
                if self.away.len() == 1 {
                    self.since = Some(now);
                    tell(&Event::StoreAway { address, why });
                }
            }
            StoreNews::Back if self.away.is_empty() => {
                if let Some(since) = self.since.take() {
                    tell(&Event::StoreBack { address, took: now.since(since) });
                }
            }
            StoreNews::Back => {}
        }
    }

    /// A worker died: what it said is no longer so.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.away.retain(|known| *known != worker);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn several_cores_make_one_event_each_way() {
        let told = RefCell::new(Vec::new());
        let mut store = FleetStore::default();
        let mut say = |worker: u32, news: StoreNews| {
            let name = |event: &Event<'_>| told.borrow_mut().push(event.name());
            store.take(WorkerId(worker), &news, (None, Instant::ORIGIN), name);
        };
        let away = || StoreNews::Away("it closed the connection".to_owned());
        for _ in 0..2 {
            say(0, away());
            say(1, away());
            say(0, StoreNews::Back);
            say(0, away());
            say(1, StoreNews::Back);
            say(0, StoreNews::Back);
        }
        let both = ["limit_store_away", "limit_store_back"];
        assert_eq!(*told.borrow(), [both, both].concat());
    }
}
