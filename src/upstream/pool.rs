//! Idle connections of one core: bounded, aged, newest first; generic over the connection.
//!
//! Newest first keeps few connections busy and lets the others age away. A pool never holds a connection
//! longer than its rules say and never gives one out that is too old; whether the peer is still there is
//! for the caller to see.

use crate::base::ids::EndpointId;
use crate::base::time::Instant;
use crate::upstream::Upstream;

/// A connection that was kept.
#[derive(Debug)]
pub struct Kept<C> {
    /// The connection.
    pub connection: C,
    /// When it was made.
    pub made_at: Instant,
    since: Instant,
}

/// The idle connections of one core to one upstream, by endpoint.
pub struct Pools<C> {
    idle: Box<[Vec<Kept<C>>]>,
    idle_max: usize,
    idle_timeout: std::time::Duration,
    age_max: std::time::Duration,
}

impl<C> Pools<C> {
    /// Empty pools for an upstream's endpoints.
    pub fn new(upstream: &Upstream) -> Self {
        let rules = &upstream.rules;
        Self {
            idle: upstream.endpoints.iter().map(|_| Vec::new()).collect(),
            idle_max: rules.pool_idle_max,
            idle_timeout: rules.pool_idle_timeout,
            age_max: rules.pool_age_max,
        }
    }

    /// Keeps a connection whose last exchange ended exactly; gives back what must be closed instead.
    pub fn put(
        &mut self,
        endpoint: EndpointId,
        connection: C,
        made_at: Instant,
        now: Instant,
    ) -> Option<C> {
        let Some(idle) = self.idle.get_mut(endpoint.index()) else { return Some(connection) };
        if made_at + self.age_max <= now || self.idle_max == 0 {
            return Some(connection);
        }
        // The oldest makes room: the newest is the likeliest to be alive.
        let refused =
            if idle.len() >= self.idle_max { Some(idle.remove(0).connection) } else { None };
        idle.push(Kept { connection, made_at, since: now });
        refused
    }

    /// The newest connection to an endpoint that is not too old.
    pub fn take(&mut self, endpoint: EndpointId, now: Instant) -> Option<Kept<C>> {
        self.take_if(endpoint, now, |_| true)
    }

    /// The newest one among those that `fits` says yes to. It looks at as many as do not fit, at most at
    /// all of the endpoint's, whose number is bounded.
    pub fn take_if(
        &mut self,
        endpoint: EndpointId,
        now: Instant,
        fits: impl Fn(&C) -> bool,
    ) -> Option<Kept<C>> {
        let (idle_timeout, age_max) = (self.idle_timeout, self.age_max);
        let idle = self.idle.get_mut(endpoint.index())?;
        loop {
            let newest = idle.iter().rposition(|kept| fits(&kept.connection))?;
            let kept = idle.remove(newest);
            if kept.since + idle_timeout > now && kept.made_at + age_max > now {
                return Some(kept);
            }
        }
    }

    /// Every connection that is kept, for whoever checks what a pool holds.
    pub fn connections(&self) -> impl Iterator<Item = &C> {
        self.idle.iter().flatten().map(|kept| &kept.connection)
    }

    /// Closes what is too old, or is not `alive` (which is told the connection's place in its list); returns
    /// how many are left.
    pub fn sweep(&mut self, now: Instant, alive: impl Fn(usize, &C) -> bool) -> usize {
        let (idle_timeout, age_max) = (self.idle_timeout, self.age_max);
        let young =
            |kept: &Kept<C>| kept.since + idle_timeout > now && kept.made_at + age_max > now;
        self.idle
            .iter_mut()
            .map(|idle| {
                let mut at = 0;
                idle.retain(|kept| {
                    at += 1;
                    young(kept) && alive(at, &kept.connection)
                });
                idle.len()
            })
            .sum()
    }

    /// Since when the connection that was kept longest is idle; `None` when none is kept.
    pub fn oldest(&self) -> Option<Instant> {
        self.idle.iter().filter_map(|idle| idle.first()).map(|kept| kept.since).min()
    }

    /// Takes the connection that was kept longest, to be closed.
    pub fn take_oldest(&mut self) -> Option<C> {
        let kept = self.idle.iter_mut().filter(|idle| !idle.is_empty());
        let longest = kept.min_by_key(|idle| idle[0].since)?;
        Some(longest.remove(0).connection)
    }
}
