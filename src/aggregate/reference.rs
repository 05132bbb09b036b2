//! `{part.user.id}`: values that one part's request takes from the answers of others.
//!
//! A reference orders two calls and nothing else: a part begins the moment the last part that it needs
//! has ended, whatever others do. What is referred to is a part's value as `pick` left it, before it is
//! shaped, or what stands in for it. Values are copied, so that a call never borrows from another's answer, and they are never
//! decoded here: the template that takes one knows where it will stand (CONFIG.md rule 6). A plan never
//! has a cycle: `compile` refuses it.

use std::ops::Range;

use crate::aggregate::each;
use crate::aggregate::json::{self, Path, Tokens};
use crate::aggregate::partial::PartFault;
use crate::aggregate::plan::{PartOutcome, Plan};
use crate::base::limits::PARTS_MAX;
use crate::base::span::Span;
use crate::exchange::template::{PartValues, RenderError};

/// Where a value comes from.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The part, by index in the plan.
    pub part: usize,
    /// The value inside of it; `None`: all of it.
    pub path: Option<Path>,
}

/// Parts of one plan, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartSet(u32);

const _: () = assert!(PARTS_MAX <= u32::BITS as usize, "every part has its bit");

impl PartSet {
    /// No part.
    pub const EMPTY: PartSet = PartSet(0);

    /// The first `count` parts of a plan.
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// Adds a part.
    pub fn insert(&mut self, part: usize) {
        self.0 |= 1 << part;
    }

    /// Takes a part out.
    pub fn remove(&mut self, part: usize) {
        self.0 &= !(1 << part);
    }

    /// Whether a part is in it.
    pub fn contains(self, part: usize) -> bool {
        self.0 >> part & 1 == 1
    }

    /// Whether all of its parts are in `other`.
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether there is no part in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its parts that are in `other` too.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The parts of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its parts, in plan order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let part = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (part < PARTS_MAX).then_some(part)
        })
    }
}

impl FromIterator<usize> for PartSet {
    fn from_iter<I: IntoIterator<Item = usize>>(parts: I) -> Self {
        let mut set = Self::EMPTY;
        parts.into_iter().for_each(|part| set.insert(part));
        set
    }
}

/// The values that one call takes from other parts' answers, copied out of them.
#[derive(Debug, Default)]
pub struct Values {
    text: Vec<u8>,
    slots: Vec<Option<Span>>,
    /// Whether a value is missing from a part that failed.
    behind_failure: bool,
    /// The elements that one call is for.
    each: Vec<Span>,
    /// The elements that calls are to be made for.
    elements: Vec<Span>,
    elements_fault: Option<PartFault>,
}

impl Values {
    /// What the part at `index` takes, once all that it needs has ended. `outcome` says how a part ended.
    /// Allocates nothing for a part without references.
    pub fn gather<'a>(
        plan: &'a Plan,
        index: usize,
        outcome: impl Fn(usize) -> PartOutcome<'a>,
        tokens: &mut Tokens,
    ) -> Self {
        let mut values = Self::default();
        let references = &plan.parts[index].references;
        values.slots.reserve_exact(references.len());
        for reference in references {
            let outcome = outcome(reference.part);
            let text = plan.parts[reference.part].text(outcome);
            let found = find(reference, text, tokens);
            values.behind_failure |= found.is_none() && matches!(outcome, PartOutcome::Failed(_));
            values.slots.push(found.map(|value| {
                let start = values.text.len();
                values.text.extend_from_slice(value);
                Span::new(start, values.text.len())
            }));
        }
        if let Some(each) = &plan.parts[index].each {
            let outcome = outcome(each.of.part);
            let text = plan.parts[each.of.part].text(outcome);
            // The text was checked before, so that it has an index.
            let found = json::index(text, tokens).map_err(PartFault::from);
            match found.and_then(|document| each::elements(each, &document)) {
                Ok(found) => {
                    for element in found {
                        let start = values.text.len();
                        values.text.extend_from_slice(element);
                        values.elements.push(Span::new(start, values.text.len()));
                    }
                }
                Err(fault) => values.elements_fault = Some(fault),
            }
        }
        if !values.text.is_empty() {
            tokens.trim();
        }
        values
    }

    /// Whether the request of the part at `index` can never be written, whatever the others answer: the one at
    /// `needed`, which has ended, lacks a value that it requires.
    pub fn are_lost(
        plan: &Plan,
        index: usize,
        needed: usize,
        outcome: PartOutcome<'_>,
        tokens: &mut Tokens,
    ) -> bool {
        let part = &plan.parts[index];
        let text = plan.parts[needed].text(outcome);
        let requires = |slot| part.templates().any(|template| template.requires(slot));
        let lost = part.references.iter().enumerate().any(|(slot, reference)| {
            reference.part == needed && requires(slot) && find(reference, text, tokens).is_none()
        });
        // For no elements nothing is requested, so that nothing is required.
        lost && part.each.is_none()
    }

    /// How many elements calls are to be made for.
    ///
    /// # Errors
    /// There are no elements that calls could be made for.
    pub fn elements(&self) -> Result<usize, PartFault> {
        self.elements_fault.map_or(Ok(self.elements.len()), Err)
    }

    /// One element, as JSON.
    pub fn element(&self, index: usize) -> &[u8] {
        self.elements.get(index).map_or(&[], |span| span.of(&self.text))
    }

    /// The values of the call that is made for these elements.
    pub fn of_elements(&self, indexes: Range<usize>) -> Self {
        let own = self.elements.first().map_or(self.text.len(), |first| first.start as usize);
        let mut text = self.text[..own].to_vec();
        let mut each = Vec::with_capacity(indexes.len());
        for index in indexes {
            let start = text.len();
            text.extend_from_slice(self.element(index));
            each.push(Span::new(start, text.len()));
        }
        let (slots, behind_failure) = (self.slots.clone(), self.behind_failure);
        Self { text, slots, behind_failure, each, ..Self::default() }
    }

    /// As templates take them.
    pub fn view(&self) -> PartValues<'_> {
        PartValues::Known { text: &self.text, slots: &self.slots, each: &self.each }
    }

    /// Why a part whose request cannot be written with these values fails.
    pub fn fault(&self, error: RenderError) -> PartFault {
        match error {
            RenderError::PartMissing if self.behind_failure => PartFault::Dependency,
            RenderError::PartMissing => PartFault::Reference,
            RenderError::PartUnfit | RenderError::Full => PartFault::Unfit,
            // The request itself was rehearsed.
            RenderError::Missing { .. } | RenderError::Unfit => PartFault::Internal,
        }
    }
}

/// The value that a reference names in a part's text; a `null` is none.
fn find<'a>(reference: &Reference, text: &'a [u8], tokens: &mut Tokens) -> Option<&'a [u8]> {
    let found = match &reference.path {
        // The text was checked before, so that it has an index.
        Some(path) => json::index(text, tokens)
            .ok()
            .and_then(|document| path.find(&document).map(|at| document.value(at).of(text))),
        None => Some(text),
    };
    found.filter(|value| *value != b"null")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::plan::{Part, Pass};
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::exchange::template::{Template, TemplateKind};

    fn plan(paths: &[&str]) -> Plan {
        let part = |name| {
            let target = Template::parse("/", TemplateKind::Target, &[]).expect("fine");
            Part::new(Name::new(name), UpstreamId(0), target, Duration::ZERO)
        };
        let (mut user, mut orders) = (part("user"), part("orders"));
        user.otherwise = Some(b"{\"id\":0}".as_slice().into());
        let reference = |path: &&str| Reference { part: 0, path: Path::parse_one(path).ok() };
        orders.references = paths.iter().map(reference).collect();
        Plan::new(vec![user, orders], Pass::default())
    }

    fn taken(paths: &[&str], outcome: PartOutcome<'_>) -> (Vec<Option<String>>, bool) {
        let plan = plan(paths);
        let values = Values::gather(&plan, 1, |_| outcome, &mut Tokens::default());
        let text = |slot: &Option<Span>| {
            slot.map(|span| String::from_utf8_lossy(span.of(&values.text)).into_owned())
        };
        (values.slots.iter().map(text).collect(), values.behind_failure)
    }

    #[test]
    fn values_are_copied_as_they_are_spelt() {
        let body = br#"{"id":1.0e2,"items":[{"id":"a\u0041"}],"none":null}"#;
        let paths = ["id", "items[0].id", "none", "x"];
        let (values, behind_failure) = taken(&paths, PartOutcome::Value(body));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(values, [text("1.0e2"), text(r#""a\u0041""#), None, None]);
        assert!(!behind_failure);
    }

    #[test]
    fn what_stands_in_for_a_failed_part_is_referred_to() {
        let failed = PartOutcome::Failed(PartFault::Timeout);
        assert_eq!(taken(&["id"], failed), (vec![Some("0".into())], false));
        assert_eq!(taken(&["name"], failed), (vec![None], true));
        assert_eq!(taken(&["name"], PartOutcome::Empty), (vec![None], false));
    }

    #[test]
    fn a_part_needs_what_it_refers_to() {
        let plan = plan(&["id", "x"]);
        assert!(plan.parts[0].needs().is_empty());
        assert_eq!(plan.parts[1].needs(), PartSet::first(1));
        assert!(!plan.parts[1].needs().is_within(PartSet::EMPTY));
        assert_eq!(PartSet::first(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
