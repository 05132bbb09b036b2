//! Tasks that serve the streams of HTTP/2, each one stream after the other.
//!
//! What an exchange takes while it waits is some six thousand bytes. A task made for one stream has them moved into
//! place and gives them back a moment later, which cost a tenth of a request (docs/benchmarks/tries-http2.md); a task that
//! has served a stream therefore waits for the next one. The one that waited shortest is taken first, for what it
//! works with is still in the cache. A stream never waits for a task: where none is idle, one is made. A task that
//! waits holds no buffer, no connection and nothing of an exchange, and the surplus goes with every lull.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::base::limits::{H2_TASKS_KEPT_MAX, H2_TASKS_KEPT_MIN};
use crate::runtime::Runtime;
use crate::serve::{Core, h2_stream};

/// The tasks of one core that wait for a stream.
pub struct Crew<J> {
    idle: RefCell<Vec<Rc<Hand<J>>>>,
    /// The fewest that were idle at once since the last `shrink`: so many were not needed.
    least: Cell<usize>,
    dismissed: Cell<bool>,
}

/// One of them.
pub struct Hand<J> {
    job: Cell<Option<J>>,
    waker: RefCell<Waker>,
    dismissed: Cell<bool>,
}

impl<J> Default for Crew<J> {
    fn default() -> Self {
        Self { idle: RefCell::default(), least: Cell::new(0), dismissed: Cell::new(false) }
    }
}

impl<J> Default for Hand<J> {
    fn default() -> Self {
        let waker = RefCell::new(Waker::noop().clone());
        Self { job: Cell::new(None), waker, dismissed: Cell::new(false) }
    }
}

impl<J> Hand<J> {
    fn dismiss(&self) {
        self.dismissed.set(true);
        self.waker.borrow().wake_by_ref();
    }
}

impl<J> Crew<J> {
    /// Gives the job to a task that waits for one; gives it back when none does.
    fn hand_over(&self, job: J) -> Option<J> {
        let mut idle = self.idle.borrow_mut();
        let Some(hand) = idle.pop() else { return Some(job) };
        self.least.set(idle.len().min(self.least.get()));
        hand.job.set(Some(job));
        hand.waker.borrow().wake_by_ref();
        None
    }

    /// The next job; `None` when there are enough who wait for one.
    pub async fn next(&self, hand: &Rc<Hand<J>>) -> Option<J> {
        {
            let mut idle = self.idle.borrow_mut();
            if self.dismissed.get() || idle.len() >= H2_TASKS_KEPT_MAX {
                return None;
            }
            idle.push(hand.clone());
        }
        poll_fn(|cx| {
            if let Some(job) = hand.job.take() {
                return Poll::Ready(Some(job));
            }
            if hand.dismissed.get() {
                return Poll::Ready(None);
            }
            hand.waker.borrow_mut().clone_from(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Ends half of those that had nothing to do since the last call, down to a few.
    pub fn shrink(&self) {
        let mut idle = self.idle.borrow_mut();
        let unused = self.least.get().min(idle.len());
        let surplus = unused.div_ceil(2).min(idle.len().saturating_sub(H2_TASKS_KEPT_MIN));
        // Those in front waited longest.
        idle.drain(..surplus).for_each(|hand| hand.dismiss());
        self.least.set(idle.len());
    }

    /// Ends all of them, and whoever is done from now on: a task that waits would keep its core for ever.
    pub fn dismiss(&self) {
        self.dismissed.set(true);
        self.idle.take().iter().for_each(|hand| hand.dismiss());
    }
}

/// Has `job` done by a task that waits for one, or by a new one.
pub fn give<R: Runtime>(core: &Rc<Core<R>>, job: h2_stream::Job<R>) {
    if let Some(job) = core.crew.hand_over(job) {
        core.runtime.spawn(h2_stream::work(core.clone(), job));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    /// Polls `next` of a new hand once.
    macro_rules! waiting {
        ($crew:expr, $hand:ident, $next:ident) => {
            let $hand = Rc::new(Hand::<u32>::default());
            let mut $next = pin!($crew.next(&$hand));
            let _ = $next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        };
    }

    #[test]
    fn a_job_goes_to_who_waited_shortest_or_comes_back() {
        let crew = Crew::default();
        assert_eq!(crew.hand_over(1), Some(1));
        waiting!(crew, first, waits);
        waiting!(crew, second, takes);
        assert_eq!(crew.hand_over(2), None);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        assert_eq!(takes.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    }

    #[test]
    fn who_is_dismissed_ends_and_a_job_given_before_is_done() {
        let crew = Crew::default();
        waiting!(crew, first, idle);
        waiting!(crew, second, busy);
        assert_eq!(crew.hand_over(3), None);
        crew.dismiss();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(busy.as_mut().poll(&mut cx), Poll::Ready(Some(3)));
        assert_eq!(idle.as_mut().poll(&mut cx), Poll::Ready(None));
        let third = Rc::new(Hand::default());
        let refused = pin!(crew.next(&third)).poll(&mut cx);
        assert_eq!(
            (refused, crew.hand_over(4)),
            (Poll::Ready(None), Some(4)),
            "nobody waits any more"
        );
    }

    #[test]
    fn who_has_nothing_to_do_goes_by_halves() {
        let crew = Crew::<u32>::default();
        let hands: Vec<_> = (0..100).map(|_| Rc::new(Hand::default())).collect();
        crew.idle.borrow_mut().extend(hands.iter().cloned());
        crew.shrink();
        assert_eq!(crew.idle.borrow().len(), 100, "all may have been needed since the last look");
        crew.shrink();
        assert_eq!(crew.idle.borrow().len(), 50);
        assert!(hands[..50].iter().all(|hand| hand.dismissed.get()));
        (0..10).for_each(|_| crew.shrink());
        assert_eq!(crew.idle.borrow().len(), H2_TASKS_KEPT_MIN);
    }
}
