//! One call for each distinct element of another part's array, and the one object made of their answers.
//!
//! The object has a member for each element, named by its text, in the order in which elements come first;
//! who answers first never shows. At most `at_once` calls are in flight and all share the part's own
//! timeout. A failed call is its elements' `else`; without one it fails the part at once. Several elements
//! may share a call (`batch`), which is then failed for all of them or answers some.

use std::borrow::Cow;
use std::ops::Range;
use std::pin::Pin;

use crate::aggregate::{PartFault, Taken, each};
use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::exchange::part::CacheUses;
use crate::runtime::Runtime;
use crate::serve::join::{self, Then};
use crate::serve::part::{self, Merging, Order};
use crate::serve::part_answer::{Answer, Body, End, Failure};
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
        Err(fault) => return failed(fault),
    };
    let by = x.deadline.min(core.runtime.now() + merging.plan.parts[index].timeout);
    let calls = elements.div_ceil(rule.size());
    let call = |number: usize| {
        let values = order.values.of_elements(asked_by(rule, number, elements));
        let order = Order { merging, index, values, by: Some(by) };
        Some(Box::pin(part::ask(core, installed, order, x)))
    };
    let mut ends: Vec<Option<End>> = Vec::with_capacity(calls);
    ends.resize_with(calls, || None);
    // Each place has one call in flight, and makes the next one when it is over.
    let places = calls.min(rule.at_once);
    let mut at: Vec<usize> = (0..places).collect();
    let mut next = places;
    let mut asked: Vec<Option<Pin<Box<_>>>> = (0..places).map(call).collect();
    let excused = !merging.view.is_required(merging.plan, index);
    join::all(&mut asked, |place, end, asked| {
        let go_on = end.result.is_ok() || excused;
        ends[at[place]] = Some(end);
        match (go_on, next < calls) {
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
    together(core, &order, rule, ends)
}

/// The elements that the call of this number is for.
fn asked_by(rule: &each::Each, number: usize, elements: usize) -> Range<usize> {
    let first = number * rule.size();
    first..elements.min(first + rule.size())
}

fn failed(fault: PartFault) -> End {
    End { result: Err(Failure::Part(fault)), uses: CacheUses::default() }
}

/// The object of all elements' answers.
fn together<R: Runtime>(
    core: &Core<R>,
    order: &Order<'_>,
    rule: &each::Each,
    ends: Vec<Option<End>>,
) -> End {
    let Order { merging: Merging { plan, view, .. }, index, .. } = *order;
    let (stand_in, excused) = (view.stand_in(plan, index), !view.is_required(plan, index));
    let elements = order.values.elements().unwrap_or(0);
    let mut uses = CacheUses::default();
    ends.iter().flatten().for_each(|end| uses.add_all(end.uses));
    let mut lines = Vec::new();
    let mut failures = each::Failures::default();
    let mut object = each::Object::default();
    for (number, end) in ends.into_iter().enumerate() {
        // Without an end: cancelled, because another one's failure is the part's.
        let Some(End { result, .. }) = end else { continue };
        let asked: Vec<&[u8]> =
            asked_by(rule, number, elements).map(|element| order.values.element(element)).collect();
        if let Ok(Answer { stale: Some(fault), .. }) = &result {
            // An older answer stands in: each of its elements counts as failed, and is shown.
            asked.iter().for_each(|_| failures.add(*fault));
        }
        let values = match &result {
            Ok(answer) => answered(core, order, rule, answer, &asked),
            Err(failure) => match failure.part() {
                Some(fault) if excused => Err(fault),
                _ => return End { result, uses },
            },
        };
        for (at, element) in asked.iter().enumerate() {
            let value = values.as_ref().map_err(|fault| *fault).and_then(|values| {
                values.get(at).and_then(Option::as_deref).ok_or(PartFault::Missing)
            });
            match value {
                Ok(value) => object.add(element, value),
                Err(fault) if excused => {
                    failures.add(fault);
                    object.add(element, stand_in);
                }
                Err(fault) => return End { result: Err(Failure::Part(fault)), uses },
            }
        }
        if let Ok(answer) = &result {
            lines.extend_from_slice(answer.lines.bytes());
        }
    }
    let text = object.finish();
    let taken = Taken::Value(Span::new(0, text.len()));
    let (body, shaped, lines) = (Body::Collected(text), Body::Empty, Body::Collected(lines));
    let answer = Answer { body, shaped, taken, lines, failures, stale: None };
    End { result: Ok(answer), uses }
}

/// What one call's answer holds for each element that it was made for; `None` where it lacks one.
fn answered<'a, R: Runtime>(
    core: &Core<R>,
    order: &Order<'a>,
    rule: &each::Each,
    answer: &'a Answer,
    asked: &[&[u8]],
) -> Result<Vec<Option<Cow<'a, [u8]>>>, PartFault> {
    let Order { merging: Merging { plan, view, .. }, index, .. } = *order;
    let text = answer.text();
    match &rule.batch {
        None => Ok(vec![Some(Cow::Borrowed(text.unwrap_or(view.stand_in(plan, index))))]),
        Some(batch) => {
            let (text, keep) = (text.unwrap_or(b"[]"), view.kept(index));
            core.shard(|shard| batch.split(text, asked, keep, &mut shard.tokens))
        }
    }
}
