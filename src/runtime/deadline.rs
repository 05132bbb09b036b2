//! Deadlines of one core: a table swept lazily, instead of a timer per wait.
//!
//! Arming a deadline stores one number; nothing is allocated and no timer moves, because nearly every
//! wait ends before its deadline. One sweeper task per core sleeps until the earliest deadline it knew
//! when it last looked; an earlier one wakes it. A monoio timer per read measured +4 % of a request
//! (RUNTIME.md A.3); this costs two stores. Deadlines are met to about two milliseconds, never early.

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

    /// Slots in use, for tests and metrics.
    pub fn in_use(&self) -> usize {
        let slots = self.table.slots.borrow();
        slots.due.len() - slots.free.len()
    }
}

impl Table {
    /// Fires what is due and returns the earliest deadline that is left.
    fn fire(&self, now: Instant) -> Instant {
        let mut slots = self.slots.borrow_mut();
        let Slots { due, wakers, .. } = &mut *slots;
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
        Instant::from_nanos(next)
    }
}

impl Slot {
    /// Waits for `wait`, at most until `at`.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first; `wait` is dropped then.
    pub async fn within<F: Future>(&self, at: Instant, wait: F) -> Result<F::Output, Elapsed> {
        self.arm(at);
        let wait = pin!(wait);
        Within { slot: self, wait }.await
    }

    fn arm(&self, at: Instant) {
        // Zero and the largest number mean "fired" and "nothing waits".
        let at = at.as_nanos().clamp(1, u64::MAX - 1);
        self.table.slots.borrow_mut().due[self.index as usize] = at;
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

struct Within<'a, F> {
    slot: &'a Slot,
    wait: Pin<&'a mut F>,
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.wait.as_mut().poll(cx) {
            self.slot.disarm();
            return Poll::Ready(Ok(output));
        }
        let mut slots = self.slot.table.slots.borrow_mut();
        let index = self.slot.index as usize;
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

impl<F> Drop for Within<'_, F> {
    fn drop(&mut self) {
        self.slot.disarm();
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
