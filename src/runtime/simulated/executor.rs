//! Tasks, the virtual clock and its events. One thing happens at a time, and the caller chooses which.
//!
//! The clock never moves while a task is ready: simulated programs are infinitely fast, and what takes
//! time is what they wait for. Tasks are woken through a list behind a lock only because `Waker` demands
//! that it could be done from another thread; nobody ever does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task ran.
    Ran,
    /// The clock moved to an event, which took place.
    Waited,
    /// No task is ready and no event is to come: nothing will ever happen any more.
    Stuck,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Event = Box<dyn FnOnce()>;

/// The tasks of all hosts, and their one clock.
#[derive(Default)]
pub(super) struct Executor {
    tasks: RefCell<BTreeMap<u64, Seat>>,
    ready: Arc<Ready>,
    /// By moment, then in the order in which they were planned.
    events: RefCell<BTreeMap<(u64, u64), Event>>,
    now: Cell<u64>,
    last: Cell<u64>,
    trace: Cell<u64>,
    panics: RefCell<Vec<String>>,
    ended: Cell<bool>,
}

struct Seat {
    host: IpAddr,
    /// Taken out while it runs.
    task: Option<Task>,
    waker: Waker,
}

#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

impl Ready {
    fn list(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bell {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut list = self.ready.list();
        if !list.contains(&self.task) {
            list.push(self.task);
        }
    }
}

impl Executor {
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn set_now(&self, now: u64) {
        self.now.set(now.max(self.now.get()));
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Mixes what happened into the trace (FNV-1a over words).
    pub(super) fn note(&self, word: u64) {
        self.trace
            .set((self.trace.get() ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5));
    }

    pub(super) fn panics(&self) -> Vec<String> {
        self.panics.borrow().clone()
    }

    fn number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    pub(super) fn spawn(&self, host: IpAddr, task: Task) {
        if self.ended.get() {
            return;
        }
        let number = self.number();
        let waker = Waker::from(Arc::new(Bell { task: number, ready: self.ready.clone() }));
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(number, Seat { host, task: Some(task), waker });
    }

    /// Plans an event; the number takes it back.
    pub(super) fn plan(&self, at: u64, event: impl FnOnce() + 'static) -> (u64, u64) {
        let key = (at.max(self.now()), self.number());
        if !self.ended.get() {
            self.events.borrow_mut().insert(key, Box::new(event));
        }
        key
    }

    /// Takes a planned event back; nothing if it took place.
    pub(super) fn forget(&self, key: (u64, u64)) {
        let event = self.events.borrow_mut().remove(&key);
        drop(event);
    }

    /// Whether anything happens without the clock moving.
    pub(super) fn has_work_now(&self) -> bool {
        self.next_event().is_some_and(|at| at <= self.now())
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Option<u64> {
        if !self.ready.list().is_empty() {
            return Some(self.now());
        }
        self.events.borrow().keys().next().map(|key| key.0)
    }

    /// Does one thing; `pick` chooses among that many ready tasks.
    pub(super) fn step(&self, pick: impl FnOnce(usize) -> usize) -> Step {
        let ready = self.ready.list().len();
        if ready > 0 {
            let chosen = pick(ready);
            let task = self.ready.list().swap_remove(chosen);
            self.run(task);
            return Step::Ran;
        }
        let next = self.events.borrow_mut().pop_first();
        let Some(((at, number), event)) = next else { return Step::Stuck };
        self.set_now(at);
        self.note(at ^ number.rotate_left(32));
        event();
        Step::Waited
    }

    fn run(&self, number: u64) {
        let seat = self.tasks.borrow_mut().get_mut(&number).map(|seat| {
            let task = seat.task.take();
            (task, seat.waker.clone())
        });
        let Some((Some(mut task), waker)) = seat else { return };
        self.note(number);
        let mut context = Context::from_waker(&waker);
        // What happens to a task of the real runtime (`runtime/uring.rs`): it alone ends.
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => {
                if let Some(seat) = self.tasks.borrow_mut().get_mut(&number) {
                    seat.task = Some(task);
                    return;
                }
            }
            Ok(Poll::Ready(())) => {}
            Err(said) => self.panics.borrow_mut().push(text_of(said.as_ref())),
        }
        let seat = self.tasks.borrow_mut().remove(&number);
        drop((seat, task));
    }

    /// Sleeps until the clock stands at `at`.
    pub(super) fn sleep_until(&self, at: u64) -> Sleep<'_> {
        Sleep { executor: self, at, planned: None }
    }

    /// Drops every task of a host.
    pub(super) fn end_host(&self, host: IpAddr) {
        let of_host = |(_, seat): &(&u64, &Seat)| seat.host == host;
        let next = || self.tasks.borrow().iter().find(of_host).map(|(number, _)| *number);
        while let Some(number) = next() {
            let seat = self.tasks.borrow_mut().remove(&number);
            drop(seat);
        }
    }

    /// Drops every task and event.
    pub(super) fn end(&self) {
        self.ended.set(true);
        // A task that is dropped may wake, plan and spawn: nothing is borrowed meanwhile.
        while let Some(seat) = { self.tasks.borrow_mut().pop_first() } {
            drop(seat);
        }
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
        self.ready.list().clear();
    }
}

fn text_of(said: &(dyn std::any::Any + Send)) -> String {
    let text = said.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| said.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// A wait for a moment; its event is taken back when it is dropped.
pub(super) struct Sleep<'a> {
    executor: &'a Executor,
    at: u64,
    planned: Option<(u64, u64)>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.executor.now() >= self.at {
            return Poll::Ready(());
        }
        if let Some(planned) = self.planned.take() {
            self.executor.forget(planned);
        }
        let waker = cx.waker().clone();
        self.planned = Some(self.executor.plan(self.at, move || waker.wake()));
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(planned) = self.planned.take() {
            self.executor.forget(planned);
        }
    }
}
