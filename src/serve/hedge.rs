//! A second try of a part's call beside the first, once that one is late.
//!
//! When it is late, and whether there is leave for it, is decided in `upstream/hedge.rs`. The first good answer is
//! the part's; the other try is dropped, which closes its connection: what is still to come on it must never
//! become somebody's answer. A failure is no answer as long as the other try may bring one, but for a status of
//! the 4xx that the origin said on purpose. A hedged call is not tried a third time.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::aggregate::{PartFault, cache};
use crate::exchange::attempt::Hedge;
use crate::exchange::fault::Again;
use crate::runtime::Runtime;
use crate::serve::attempt::Asked;
use crate::serve::part::{Call, Source, Tried, Try};
use crate::serve::part_answer::{Failure, Judged};
use crate::serve::work::ResponseScratch;
use crate::upstream::hedge::Hedging;

/// Which of two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

/// Makes a call; a second one beside it when it is late.
pub async fn run<R: Runtime>(
    call: &Call<'_, R>,
    source: Source<'_>,
    asked: &Asked,
    scratch: &mut ResponseScratch,
    known: &RefCell<Hedging>,
) -> Tried {
    let core = call.core;
    let mut first = Try::of(call, source, asked);
    let mut second = None;
    let mut others_scratch = None;
    let late_at = known.borrow().late_after().map(|late| first.record.begun + late);
    let timer = core.deadlines.slot();
    let (which, result) = {
        let mut one = pin!(first.run(asked, scratch));
        let over = match late_at {
            Some(late_at) => timer.within(late_at, one.as_mut()).await.ok(),
            None => Some(one.as_mut().await),
        };
        match over {
            Some(result) => (Which::First, result),
            None if !known.borrow_mut().take(asked.deadline.since(core.runtime.now())) => {
                (Which::First, one.await)
            }
            None => {
                let other = second.insert(Try::of(call, source, asked));
                other.record.hedge = Some(Hedge::Lost);
                let scratch = others_scratch.insert(core.take_scratch());
                match race(one, pin!(other.run(asked, scratch)), is_answer).await {
                    Raced::First(result) | Raced::Neither(result, _) => (Which::First, result),
                    Raced::Second(result) => (Which::Second, result),
                }
            }
        }
    };
    let mut known = known.borrow_mut();
    let now = core.runtime.now();
    // What was given up had taken so long already: left out, slow calls would seem to be rare.
    let took = |one: &Try<'_, R>| one.record.done.unwrap_or(now).since(one.record.begun);
    if first.record.done.is_none() || which == Which::First && tells_of_time(&result) {
        known.record(took(&first));
    }
    if let Some(scratch) = others_scratch {
        core.keep_scratch(scratch);
    }
    let Some(other) = &mut second else { return first.tried(result) };
    if which == Which::Second {
        other.record.hedge = Some(Hedge::Won);
        known.record(took(other));
        return Tried { again: Again::Never, ..other.tried(result) };
    }
    Tried { again: Again::Never, ..first.tried(result) }
}

/// Whether nothing better is to be hoped for from the other try.
fn is_answer(result: &Result<Judged, Failure>) -> bool {
    result.as_ref().err().and_then(Failure::part).is_none_or(cache::is_revoked)
}

/// Whether the time of a try tells how long answers take.
fn tells_of_time(result: &Result<Judged, Failure>) -> bool {
    is_answer(result) || matches!(result, Err(Failure::Part(PartFault::Timeout)))
}

/// How two tries ended.
pub enum Raced<T> {
    /// The first one's answer is good.
    First(T),
    /// The second one's is.
    Second(T),
    /// Neither is.
    Neither(T, T),
}

/// Waits for the first good answer, or for both to be over.
pub async fn race<T>(
    mut one: Pin<&mut impl Future<Output = T>>,
    mut other: Pin<&mut impl Future<Output = T>>,
    is_good: impl Fn(&T) -> bool,
) -> Raced<T> {
    let (mut bad, mut others_bad) = (None, None);
    poll_fn(|cx| {
        if bad.is_none()
            && let Poll::Ready(answer) = one.as_mut().poll(cx)
        {
            if is_good(&answer) {
                return Poll::Ready(Raced::First(answer));
            }
            bad = Some(answer);
        }
        if others_bad.is_none()
            && let Poll::Ready(answer) = other.as_mut().poll(cx)
        {
            if is_good(&answer) {
                return Poll::Ready(Raced::Second(answer));
            }
            others_bad = Some(answer);
        }
        match (bad.take(), others_bad.take()) {
            (Some(first), Some(second)) => Poll::Ready(Raced::Neither(first, second)),
            (first, second) => {
                (bad, others_bad) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}
