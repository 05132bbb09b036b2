//! Deadlines of one core: a table swept lazily, instead of a timer per wait.
//!
//! Arming a deadline stores one number; nothing is allocated and no timer moves, because nearly every
//! wait ends before its deadline. One sweeper task per core sleeps until the earliest deadline it knew
//! when it last looked; an earlier one wakes it. A monoio timer per read measured +4 % of a request
//! (RUNTIME.md A.3); this costs three stores. Deadlines are met to about two milliseconds, never early.
//!
//! The table is kept in groups of 64 slots, each with a lower bound of its deadlines: a sweep never looks at
//! the slots of a group in which nothing can be due, so that 10,000 idle connections cost one comparison
//! for each 64. A bound may be too early (waits that ended leave it behind); the sweep that meets it looks
//! through that one group and corrects it. A wheel was refused: it moves an entry with each arming, and
//! nearly all are armed in vain.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::time::Instant;
use crate::runtime::Runtime;

/// Two sweeps are at least this far apart, so that many short deadlines cost a bounded share of a core.
const SWEEP_APART_MIN: Duration = Duration::from_millis(1);

/// Marks a slot whose deadline has passed.
const FIRED: u64 = 0;

/// Slots that share one lower bound. Their deadlines fill eight cache lines.
const GROUP: usize = 64;

/// The deadlines of one core. Cloning it clones the handle.
#[derive(Clone, Default)]
pub struct Deadlines {
    table: Rc<Table>,
}

#[derive(Default)]
struct Table {
    slots: RefCell<Slots>,
    planned: Cell<u64>,
    sweeper: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Slots {
    due: Vec<u64>,
    /// For each group a moment before which nothing in it is due.
    bounds: Vec<u64>,
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

/// The deadline passed before the wait was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// One deadline at a time for one strand of work. Freed when dropped.
pub struct Slot {
    table: Rc<Table>,
    index: u32,
}

impl Deadlines {
    /// A slot for one strand of work.
    pub fn slot(&self) -> Slot {
        let mut slots = self.table.slots.borrow_mut();
        let index = slots.free.pop().unwrap_or_else(|| {
            if slots.due.len().is_multiple_of(GROUP) {
                slots.bounds.push(u64::MAX);
            }
            slots.due.push(u64::MAX);
            slots.wakers.push(None);
            (slots.due.len() - 1) as u32
        });
        Slot { table: self.table.clone(), index }
    }

    /// The sweeper: to be spawned once per core; it never ends.
    pub async fn sweep<R: Runtime>(self, runtime: R) {
        loop {
            let now = runtime.now();
            let next = self.table.fire(now);
            self.table.planned.set(next.as_nanos());
            let earliest = now + SWEEP_APART_MIN;
            if next == Instant::NEVER {
                Planned { table: &self.table, at: next.as_nanos() }.await;
                runtime.sleep_until(earliest).await;
                continue;
            }
            let sleep = pin!(runtime.sleep_until(next.max(earliest)));
            let planned = Planned { table: &self.table, at: next.as_nanos() };
            First { sleep, planned }.await;
        }
    }

    /// Ends the wait of the slot with this index now, as if its deadline had passed; does nothing when
    /// nothing waits there.
    pub fn elapse(&self, index: u32) {
        let mut slots = self.table.slots.borrow_mut();
        let index = index as usize;
        if slots.due.get(index).is_some_and(|due| *due != u64::MAX) {
            slots.due[index] = FIRED;
            if let Some(waker) = slots.wakers[index].take() {
                waker.wake();
            }
        }
    }

    /// Ends every wait now, as if its deadline had passed: the end of a drain.
    pub fn elapse_all(&self) {
        let count = self.table.slots.borrow().due.len();
        (0..count as u32).for_each(|index| self.elapse(index));
    }

    /// Slots in use, for tests and metrics.
    pub fn in_use(&self) -> usize {
        let slots = self.table.slots.borrow();
        slots.due.len() - slots.free.len()
    }
}

impl Table {
    /// Fires what is due and returns a moment before which nothing else is.
    fn fire(&self, now: Instant) -> Instant {
        let mut slots = self.slots.borrow_mut();
        let Slots { due, bounds, wakers, .. } = &mut *slots;
        let mut next = u64::MAX;
        let groups = due.chunks_mut(GROUP).zip(wakers.chunks_mut(GROUP));
        for (bound, (due, wakers)) in bounds.iter_mut().zip(groups) {
            if *bound <= now.as_nanos() {
                *bound = fire_group(due, wakers, now);
            }
            next = next.min(*bound);
        }
        Instant::from_nanos(next)
    }
}

/// Fires what is due in one group and returns the earliest deadline that is left.
fn fire_group(due: &mut [u64], wakers: &mut [Option<Waker>], now: Instant) -> u64 {
    let mut next = u64::MAX;
    for (due, waker) in due.iter_mut().zip(wakers) {
        if *due == FIRED || *due == u64::MAX {
            continue;
        }
        if *due <= now.as_nanos() {
            *due = FIRED;
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        } else {
            next = next.min(*due);
        }
    }
    next
}

impl Slot {
    /// Waits for `wait`, at most until `at`.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first; `wait` is dropped then.
    pub fn within<F: Future>(
        &self,
        at: Instant,
        wait: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> {
        // Not an `async fn`, which would keep room for `wait` twice.
        self.arm(at);
        Within { slot: self, wait }
    }

    /// Names the slot to `Deadlines::elapse`.
    pub fn index(&self) -> u32 {
        self.index
    }

    fn arm(&self, at: Instant) {
        // Zero and the largest number mean "fired" and "nothing waits".
        let at = at.as_nanos().clamp(1, u64::MAX - 1);
        let index = self.index as usize;
        let mut slots = self.table.slots.borrow_mut();
        slots.due[index] = at;
        let bound = &mut slots.bounds[index / GROUP];
        *bound = at.min(*bound);
        drop(slots);
        if at < self.table.planned.get() {
            self.table.planned.set(at);
            if let Some(sweeper) = self.table.sweeper.borrow().as_ref() {
                sweeper.wake_by_ref();
            }
        }
    }

    /// Moves the deadline of the wait in flight, if there is one.
    pub fn rearm(&self, at: Instant) {
        let due = self.table.slots.borrow().due[self.index as usize];
        if due != u64::MAX {
            self.arm(at);
        }
    }

    fn disarm(&self) {
        self.table.slots.borrow_mut().due[self.index as usize] = u64::MAX;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.table.slots.borrow_mut();
        slots.due[self.index as usize] = u64::MAX;
        slots.wakers[self.index as usize] = None;
        slots.free.push(self.index);
    }
}

pin_project_lite::pin_project! {
    struct Within<'a, F> {
        slot: &'a Slot,
        #[pin]
        wait: F,
    }

    impl<'a, F> PinnedDrop for Within<'a, F> {
        fn drop(this: Pin<&mut Self>) {
            this.slot.disarm();
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.wait.poll(cx) {
            this.slot.disarm();
            return Poll::Ready(Ok(output));
        }
        let mut slots = this.slot.table.slots.borrow_mut();
        let index = this.slot.index as usize;
        if slots.due[index] == FIRED {
            slots.due[index] = u64::MAX;
            return Poll::Ready(Err(Elapsed));
        }
        let waker = &mut slots.wakers[index];
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Ready when somebody planned an earlier deadline than `at`.
struct Planned<'a> {
    table: &'a Table,
    at: u64,
}

impl Future for Planned<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.table.planned.get() < self.at {
            return Poll::Ready(());
        }
        let mut sweeper = self.table.sweeper.borrow_mut();
        if !sweeper.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *sweeper = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

struct First<'a, S> {
    sleep: Pin<&'a mut S>,
    planned: Planned<'a>,
}

impl<S: Future<Output = ()>> Future for First<'_, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.planned).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_sweep_fires_what_is_due_in_every_group_and_says_what_comes_next() {
        let deadlines = Deadlines::default();
        let slots: Vec<Slot> = (0..GROUP * 3 + 1).map(|_| deadlines.slot()).collect();
        for (index, slot) in slots.iter().enumerate() {
            slot.arm(at(1_000 + index as u64));
        }
        let last = 1_000 + slots.len() as u64 - 1;
        assert_eq!(deadlines.table.fire(at(last - 1)), at(last));
        let due = |slot: &Slot| deadlines.table.slots.borrow().due[slot.index as usize];
        assert!(slots[..slots.len() - 1].iter().all(|slot| due(slot) == FIRED));
        assert_eq!(due(slots.last().expect("some")), last);
    }

    #[test]
    fn a_bound_that_was_left_behind_is_corrected_and_never_hides_a_deadline() {
        let deadlines = Deadlines::default();
        let (first, second) = (deadlines.slot(), deadlines.slot());
        first.arm(at(10));
        first.disarm();
        second.arm(at(500));
        assert_eq!(deadlines.table.fire(at(5)), at(10), "too early is allowed");
        assert_eq!(deadlines.table.fire(at(10)), at(500));
        first.arm(at(20));
        assert_eq!(deadlines.table.fire(at(20)), at(500));
        assert_eq!(deadlines.table.slots.borrow().due[first.index as usize], FIRED);
    }

    #[test]
    fn only_a_wait_can_be_made_to_elapse() {
        let deadlines = Deadlines::default();
        let slot = deadlines.slot();
        deadlines.elapse(slot.index());
        assert_eq!(deadlines.table.slots.borrow().due[0], u64::MAX);
        slot.arm(at(10));
        deadlines.elapse(slot.index());
        assert_eq!(deadlines.table.slots.borrow().due[0], FIRED);
    }
}
