//! One call for each distinct element of another part's array, and the one object made of their answers.
//!
//! The object has a member for each element, named by its text, in the order in which elements come first;
//! who answers first never shows. At most `at_once` calls are in flight and all share the part's own
//! timeout. A failed call is its element's `else`; without one it fails the part at once.

use std::pin::Pin;

use crate::aggregate::{PartFault, Taken, each};
use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::exchange::attempt::Attempt;
use crate::runtime::Runtime;
use crate::serve::join::{self, Then};
use crate::serve::part::{self, Answer, Body, End, Failure, Order};
use crate::serve::{Core, Installed};

/// Makes the calls of a part, be it one or one for each element.
pub async fn ask<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    order: Order<'_>,
    x: &Exchange,
) -> End {
    let Order { merging, index, .. } = order;
    let Some(rule) = &merging.plan.parts[index].each else {
        return part::ask(core, installed, order, x).await;
    };
    let elements = match order.values.elements() {
        Ok(elements) => elements,
        Err(fault) => return failed(fault, Vec::new()),
    };
    let by = x.deadline.min(core.runtime.now() + merging.plan.parts[index].timeout);
    let call = |element: usize| {
        let values = order.values.of_element(element);
        let order = Order { merging, index, values, by: Some(by) };
        Some(Box::pin(part::ask(core, installed, order, x)))
    };
    let mut ends: Vec<Option<End>> = Vec::with_capacity(elements);
    ends.resize_with(elements, || None);
    // Each place has one call in flight, and takes the next element when it is over.
    let places = elements.min(rule.at_once);
    let mut at: Vec<usize> = (0..places).collect();
    let mut next = places;
    let mut asked: Vec<Option<Pin<Box<_>>>> = (0..places).map(call).collect();
    let excused = !merging.view.is_required(merging.plan, index);
    join::all(&mut asked, |place, end, asked| {
        let go_on = end.result.is_ok() || excused;
        ends[at[place]] = Some(end);
        match (go_on, next < elements) {
            (false, _) => Then::Stop,
            (true, false) => Then::GoOn,
            (true, true) => {
                at[place] = next;
                asked[place] = call(next);
                next += 1;
                Then::Started
            }
        }
    })
    .await;
    drop(asked);
    together(&order, ends, excused)
}

fn failed(fault: PartFault, attempts: Vec<Attempt>) -> End {
    End { result: Err(Failure::Part(fault)), attempts }
}

/// The object of all elements' answers.
fn together(order: &Order<'_>, ends: Vec<Option<End>>, excused: bool) -> End {
    let stand_in = order.merging.view.stand_in(order.merging.plan, order.index);
    let mut attempts = Vec::new();
    let mut lines = Vec::new();
    let mut failures = each::Failures::default();
    let mut object = each::Object::default();
    for (element, end) in ends.into_iter().enumerate() {
        // Without an end: cancelled, because another one's failure is the part's.
        let Some(End { result, attempts: tries }) = end else { continue };
        attempts.extend(tries);
        let name = order.values.element(element);
        match result {
            Ok(answer) => {
                object.add(name, answer_text(&answer).unwrap_or(stand_in));
                lines.extend_from_slice(&answer.lines);
            }
            Err(failure) => match failure.part() {
                Some(fault) if excused => {
                    failures.add(fault);
                    object.add(name, stand_in);
                }
                _ => return End { result: Err(failure), attempts },
            },
        }
    }
    let text = object.finish();
    let taken = Taken::Value(Span::new(0, text.len()));
    let answer = Answer { body: Body::Collected(text), shaped: Vec::new(), taken, lines, failures };
    End { result: Ok(answer), attempts }
}

/// The text of one answer; `None` when there is nothing.
fn answer_text(answer: &Answer) -> Option<&[u8]> {
    match answer.taken {
        Taken::Value(span) => Some(span.of(answer.body.bytes())),
        Taken::Shaped(_) => Some(&answer.shaped),
        Taken::Empty => None,
    }
}
