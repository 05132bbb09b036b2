//! Waits for a seat: in this core's line of a concurrency limit, until it is this request's turn.
//!
//! Whose turn it is and how long he may wait decides `base/queue.rs`. A wait ends with a ring of this core, with
//! the moment to look again, or with the request's deadline, whichever is first; it never waits for another
//! core. Dropping the wait leaves the line and tells whoever is next.

use std::pin::pin;

use crate::base::queue::Turn;
use crate::base::seats::Seat;
use crate::base::time::Instant;
use crate::exchange::marks::LimitSaid;
use crate::policy::concurrency::Concurrency;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::join::first;

/// Waits for a seat, counted under its key meanwhile.
///
/// # Errors
/// What is said to the request: its key has as many as it may, the line is full, or it waited too long.
pub async fn wait<R: Runtime>(
    core: &Core<R>,
    limit: &Concurrency,
    key: Option<(u64, u64)>,
    deadline: Instant,
) -> Result<Seat, LimitSaid> {
    let rules = limit.rules();
    let Ok(counted) = limit.count(key) else { return Err(LimitSaid::Refused) };
    let Some(_waiting) = limit.seats().wait(rules.queue) else { return Err(LimitSaid::Refused) };
    let queue = core.shard(|shard| limit.queue(&mut shard.slots));
    let Some(queue) = queue else { return Err(LimitSaid::Refused) };
    let place = queue.enter(core.runtime.now());
    loop {
        let now = core.runtime.now();
        if now >= deadline {
            return Err(LimitSaid::Shed);
        }
        let until = match place.turn(rules.law, now) {
            Turn::Shed => return Err(LimitSaid::Shed),
            Turn::Wait(until) => until,
            Turn::Ask(until) => match limit.take(Some(&queue)) {
                Some(seat) => return Ok(seat.of_key(counted)),
                None => until,
            },
        };
        let sleep = core.runtime.sleep_until(until.min(deadline));
        first(pin!(place.rung()), pin!(sleep)).await;
    }
}

/// A seat of an upstream for one attempt, at once or after a wait.
///
/// # Errors
/// As [`wait`].
pub async fn for_attempt<R: Runtime>(
    core: &Core<R>,
    limit: &Concurrency,
    deadline: Instant,
) -> Result<(Seat, LimitSaid), LimitSaid> {
    let queue = core.shard(|shard| limit.queue(&mut shard.slots));
    let waited_for = queue.as_ref().is_some_and(|queue| !queue.is_empty());
    if !waited_for {
        match limit.take(queue.as_ref()) {
            Some(seat) => return Ok((seat, LimitSaid::Allowed)),
            None if queue.is_none() => return Err(LimitSaid::Refused),
            None => {}
        }
    }
    let seat = Box::pin(wait(core, limit, None, deadline)).await?;
    Ok((seat, LimitSaid::Queued))
}
