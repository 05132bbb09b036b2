//! Seats: how many at once, exact for the whole machine, each given back exactly once.
//!
//! A count is one shared word, and one word for each key that is there; both live in `base/shared.rs`. A
//! [`Seat`] is a guard: however a request ends (answered, refused later on, cancelled, by a panic), dropping it
//! gives the place back and tells whoever is next in this core's line. Never are more seats taken than the
//! limit in force allows at the moment of taking; a limit that sinks (`base/gradient.rs`) takes nobody's seat
//! away. A count survives reloads, so that a new limit begins with who is there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::gradient::{Gradient, GradientRules, Window};
use crate::base::limits::{GRADIENT_BASE_EVERY, GRADIENT_SAMPLES_MIN, GRADIENT_WINDOW};
use crate::base::queue::Queue;
use crate::base::shared::{Counts, Word, unique};
use crate::base::time::Instant;

/// The seats of one limit.
#[derive(Debug)]
pub struct Seats {
    id: u64,
    taken: Word,
    /// Counts by key, where the limit has one.
    keys: Option<Counts>,
    waiting: Word,
    adaptive: Adaptive,
}

/// What cores share of an adaptive limit. Whoever ends a window alone makes the step.
#[derive(Debug)]
struct Adaptive {
    limit: Word,
    /// Unit: nanoseconds; zero before it was measured.
    base: Word,
    sum: Word,
    samples: Word,
    /// When the window ends. Unit: nanoseconds.
    ends: Word,
    /// When the base is measured next. Unit: nanoseconds.
    measure_at: Word,
    /// `SETTLING` and then `MEASURING` while it is.
    floor: Word,
}

/// What somebody asks who wants a seat.
#[derive(Clone, Copy, Default)]
pub struct SeatAsk<'a> {
    /// How many there may be.
    pub max: u64,
    /// Who is told when the seat is free again.
    pub queue: Option<&'a Rc<Queue>>,
    /// Whether the time it is taken for moves the limit.
    pub adaptive: Option<GradientRules>,
}

/// The key has as many as it may, seated or waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTaken;

/// The limit is at its floor, and what began before still ends.
const SETTLING: u64 = 2;
/// The limit is at its floor, and what ends began there.
const MEASURING: u64 = 1;

impl Seats {
    /// Nobody is there; `keyed` says whether keys will be counted.
    pub fn new(keyed: bool) -> Self {
        let zero = || Word::new(0);
        let adaptive = Adaptive {
            limit: zero(),
            base: zero(),
            sum: zero(),
            samples: zero(),
            ends: zero(),
            measure_at: zero(),
            floor: zero(),
        };
        let keys = keyed.then(Counts::default);
        Self { id: unique(), taken: zero(), keys, waiting: zero(), adaptive }
    }

    /// Whether keys are counted.
    pub fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// Tells these seats from all others of the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Seats taken now.
    pub fn taken(&self) -> u64 {
        self.taken.load()
    }

    /// How many wait, on all cores.
    pub fn waiting(&self) -> u64 {
        self.waiting.load()
    }

    /// A seat, if there is one.
    pub fn take(self: &Arc<Self>, ask: &SeatAsk<'_>) -> Option<Seat> {
        let SeatAsk { max, queue, adaptive } = *ask;
        self.taken.next_below(max).then(|| {
            let queue = queue.cloned();
            Seat { seats: self.clone(), place: None, queue, adaptive }
        })
    }

    /// Counts one more of a key, by its hash: asked before a seat is, so that whoever has as many as he may never
    /// waits for one, however full it is. `None` where keys are not counted.
    ///
    /// # Errors
    /// It has `max`. A key that finds no place to be counted in is refused, too.
    pub fn count(self: &Arc<Self>, hash: u64, max: u64) -> Result<Option<KeyPlace>, KeyTaken> {
        let Some(keys) = &self.keys else { return Ok(None) };
        match keys.count(hash, max) {
            Ok(Some(place)) => Ok(Some(KeyPlace { seats: self.clone(), place })),
            Ok(None) | Err(_) => Err(KeyTaken),
        }
    }

    /// Counts one more who waits, unless `max` do.
    pub fn wait(self: &Arc<Self>, max: u64) -> Option<Waiting> {
        self.waiting.next_below(max).then(|| Waiting(self.clone()))
    }

    /// The limit in force of an adaptive one.
    pub fn limit(&self, rules: GradientRules) -> u64 {
        if self.adaptive.floor.load() > 0 {
            return rules.min;
        }
        self.adaptive.limit.load().clamp(rules.min, rules.max)
    }

    /// Takes note of how long a request took that ended at `now`.
    pub fn sample(&self, took: Duration, now: Instant, rules: GradientRules) {
        let Adaptive { limit, base, sum, samples, ends, measure_at, floor } = &self.adaptive;
        sum.add(took.as_nanos() as u64);
        let count = samples.next() + 1;
        let (ending, moment) = (ends.load(), now.as_nanos());
        if moment < ending || count < GRADIENT_SAMPLES_MIN {
            return;
        }
        if !ends.replace(ending, moment + GRADIENT_WINDOW.as_nanos() as u64) {
            return;
        }
        let (sum, count) = (sum.swap(0), samples.swap(0));
        if floor.load() == SETTLING {
            return floor.store(MEASURING);
        }
        let mean = Duration::from_nanos(sum / count.max(1));
        let known = Some(base.load()).filter(|nanos| *nanos > 0).map(Duration::from_nanos);
        let before = Gradient { limit: limit.load().clamp(rules.min, rules.max), base: known };
        let at_floor = floor.load() == MEASURING;
        let window = Window { mean, in_flight: self.taken(), at_floor };
        let after = before.step(window, rules);
        limit.store(after.limit);
        base.store(after.base.map_or(0, |base| base.as_nanos() as u64));
        floor.store(0);
        if moment >= measure_at.load() {
            measure_at.store(moment + GRADIENT_BASE_EVERY.as_nanos() as u64);
            // The first base is the first window's: nothing has to be held down for it.
            floor.store(if known.is_some() { SETTLING } else { 0 });
        }
    }
}

/// A seat, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    place: Option<KeyPlace>,
    queue: Option<Rc<Queue>>,
    adaptive: Option<GradientRules>,
}

impl Seat {
    /// The seat of one of a key, who is counted until it is given back.
    #[must_use]
    pub fn of_key(mut self, place: Option<KeyPlace>) -> Seat {
        self.place = place;
        self
    }

    /// Takes note of how long it took what it was for, at `now`.
    pub fn took(&self, took: Duration, now: Instant) {
        if let Some(rules) = self.adaptive {
            self.seats.sample(took, now, rules);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Before the next one is told, who may be of the same key.
        self.place = None;
        self.seats.taken.previous();
        if let Some(queue) = &self.queue {
            queue.ring();
        }
    }
}

/// One of a key, counted until dropped.
#[derive(Debug)]
pub struct KeyPlace {
    seats: Arc<Seats>,
    place: u32,
}

impl Drop for KeyPlace {
    fn drop(&mut self) {
        if let Some(keys) = &self.seats.keys {
            keys.discount(self.place);
        }
    }
}

/// Somebody who waits, counted until dropped.
#[derive(Debug)]
pub struct Waiting(Arc<Seats>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.previous();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn ask<'a>(max: u64) -> SeatAsk<'a> {
        SeatAsk { max, ..SeatAsk::default() }
    }

    fn take_of(seats: &Arc<Seats>, max: u64, key: u64, key_max: u64) -> Option<Seat> {
        let place = seats.count(key, key_max).ok()?;
        seats.take(&ask(max)).map(|seat| seat.of_key(place))
    }

    #[test]
    fn never_more_than_the_limit_on_all_threads_together() {
        let seats = Arc::new(Seats::new(true));
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (seats, inside, most) = (&seats, &inside, &most);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if let Some(_seat) = take_of(seats, 3, thread % 2 * 7919, 2) {
                            most.fetch_max(
                                inside.fetch_add(1, Ordering::SeqCst) + 1,
                                Ordering::SeqCst,
                            );
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!((seats.taken(), seats.waiting()), (0, 0));
    }

    #[test]
    fn a_key_has_its_own_bound_and_what_it_is_refused_is_given_back() {
        let seats = Arc::new(Seats::new(true));
        let one = take_of(&seats, 10, 1, 1).expect("the first");
        assert_eq!(seats.count(1, 1).err(), Some(KeyTaken));
        let other = take_of(&seats, 10, 2, 1).expect("another key");
        assert_eq!(seats.taken(), 2);
        drop((one, other));
        assert_eq!(seats.taken(), 0);
        take_of(&seats, 10, 1, 1).expect("free again");
    }

    #[test]
    fn a_key_is_judged_where_no_seat_is_free_and_one_that_waits_counts() {
        let seats = Arc::new(Seats::new(true));
        let held = take_of(&seats, 1, 1, 1).expect("the first");
        assert_eq!(seats.count(1, 1).err(), Some(KeyTaken), "all seats are taken");
        let waiting = seats.count(2, 1).expect("another key may wait");
        assert!(seats.take(&ask(1)).is_none());
        assert_eq!(seats.count(2, 1).err(), Some(KeyTaken), "who waits counts");
        drop(held);
        let seat = seats.take(&ask(1)).expect("free again").of_key(waiting);
        assert_eq!(seats.count(2, 1).err(), Some(KeyTaken));
        drop(seat);
        assert!(seats.count(2, 1).is_ok() && seats.count(1, 1).is_ok());
    }

    #[test]
    fn a_seat_is_given_back_by_a_panic() {
        let seats = Arc::new(Seats::new(true));
        let lost = std::panic::catch_unwind(|| {
            let _seat = seats.take(&ask(1)).expect("free");
            panic!("in the middle of a request");
        });
        assert!(lost.is_err());
        assert_eq!(seats.taken(), 0);
    }

    #[test]
    fn samples_of_all_cores_move_the_limit() {
        let seats = Arc::new(Seats::new(true));
        let rules = GradientRules { min: 4, max: 100 };
        assert_eq!(seats.limit(rules), 4);
        let mut now = Instant::from_nanos(1_000_000_000);
        let held: Vec<Seat> = (0..60).map(|_| seats.take(&ask(60)).unwrap()).collect();
        for _ in 0..200 {
            for _ in 0..GRADIENT_SAMPLES_MIN {
                seats.sample(Duration::from_millis(10), now, rules);
            }
            now = now + GRADIENT_WINDOW;
        }
        assert!(seats.limit(rules) > 50, "{}", seats.limit(rules));
        for _ in 0..50 {
            for _ in 0..GRADIENT_SAMPLES_MIN {
                seats.sample(Duration::from_millis(100), now, rules);
            }
            now = now + GRADIENT_WINDOW;
        }
        assert!(seats.limit(rules) < 20, "{}", seats.limit(rules));
        drop(held);
    }
}
