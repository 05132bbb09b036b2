//! What one kind of client gets of a merge: which parts, what of them, and what a failed one means.
//!
//! A view prunes the calls and not only the answer: a part of which nothing is kept is never called, unless
//! another one that is kept takes a value from it; it is then called and not shown. What is kept of a part is
//! cut out of its value as the whole answer would show it, and out of what stands in for it as well, so
//! that a view never shows what it does not name.

use crate::aggregate::json::{self, Path, Tokens};
use crate::aggregate::plan::{PartOutcome, Plan};
use crate::aggregate::reference::PartSet;
use crate::aggregate::select::{Lists, SelectError, Selection};

/// What an optional part that failed does to the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPartial {
    /// What stands in for it stands in, and `gateway-partial` names it.
    #[default]
    Answer,
    /// The whole answer fails with 502.
    Fail,
}

/// What is called and shown of a plan; compiled.
#[derive(Clone, Debug)]
pub struct View {
    shown: PartSet,
    asked: PartSet,
    cuts: Box<[Option<Cut>]>,
    /// What a failed optional part means.
    pub on_partial: OnPartial,
}

/// What is left of one part.
#[derive(Clone, Debug)]
struct Cut {
    selection: Selection,
    /// The same of its `else`, or of `null`.
    otherwise: Box<[u8]>,
    /// Whether that stands in for one element of several.
    of_element: bool,
    /// Whether an answer has several elements, each of which is cut.
    batched: bool,
}

impl View {
    /// All parts, whole.
    pub fn whole(plan: &Plan, on_partial: OnPartial) -> Self {
        let asked = PartSet::first(plan.parts.len());
        let mut shown = asked;
        plan.embedded().iter().for_each(|guest| shown.remove(guest));
        Self { shown, asked, cuts: Box::default(), on_partial }
    }

    /// What these paths name: a part by index, and a path inside of it or all of it.
    ///
    /// # Errors
    /// The paths of a part are no selection; which part, and why.
    pub fn of(
        plan: &Plan,
        keep: &[(usize, Option<Path>)],
        on_partial: OnPartial,
    ) -> Result<Self, (usize, SelectError)> {
        let shown: PartSet = keep.iter().map(|(part, _)| *part).collect();
        let mut wanted = shown;
        let mut cuts = Vec::with_capacity(plan.parts.len());
        for (index, part) in plan.parts.iter().enumerate() {
            let mine = || keep.iter().filter(|(kept, _)| *kept == index).map(|(_, path)| path);
            let mut lists = Lists::default();
            for (guest, place) in plan.guests(index) {
                let touches = |path: &Option<Path>| {
                    path.as_ref().is_none_or(|path| place.is_touched_by(path))
                };
                if mine().any(touches) {
                    wanted.insert(guest);
                }
            }
            // A part that is kept whole is kept whole, whatever else names something inside of it.
            if mine().all(Option::is_some) {
                for path in mine().flatten() {
                    lists.keep(path).map_err(|error| (index, error))?;
                }
            }
            cuts.push(lists.compile().map(|selection| {
                let whole = part.stand_in();
                let mut otherwise = Vec::new();
                cut(whole, &selection, &mut Tokens::default(), &mut otherwise);
                let batched = part.each.as_ref().is_some_and(|each| each.batch.is_some());
                let (otherwise, of_element) = (otherwise.into(), part.each.is_some());
                Cut { selection, otherwise, of_element, batched }
            }));
        }
        Ok(Self { shown, asked: behind(plan, wanted), cuts: cuts.into(), on_partial })
    }

    /// The parts of the answer.
    pub fn shown(&self) -> PartSet {
        self.shown
    }

    /// The parts that are called.
    pub fn asked(&self) -> PartSet {
        self.asked
    }

    /// Whether a failure of the part is the whole answer's.
    pub fn is_required(&self, plan: &Plan, index: usize) -> bool {
        plan.parts[index].is_required() || self.on_partial == OnPartial::Fail
    }

    /// What is kept of an answer of a part; `None`: all of it.
    pub fn selection(&self, index: usize) -> Option<&Selection> {
        let cut = self.cuts.get(index)?.as_ref().filter(|cut| !cut.batched);
        cut.map(|cut| &cut.selection)
    }

    /// What is kept of a part, or of each of its elements; `None`: all of it.
    pub fn kept(&self, index: usize) -> Option<&Selection> {
        self.cuts.get(index)?.as_ref().map(|cut| &cut.selection)
    }

    /// What stands in for one element of a part that is called for several.
    pub fn stand_in<'a>(&'a self, plan: &'a Plan, index: usize) -> &'a [u8] {
        let cut = self.cuts.get(index).and_then(Option::as_ref);
        cut.map_or(plan.parts[index].stand_in(), |cut| &cut.otherwise)
    }

    /// The outcomes as the document shows them: parts that are not shown are absent, and what stands in for
    /// a part is cut like the part.
    pub fn show<'a>(&'a self, outcomes: &mut [PartOutcome<'a>]) {
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            *outcome = self.show_one(index, *outcome);
        }
    }

    /// The same of one part.
    pub fn show_one<'a>(&'a self, index: usize, outcome: PartOutcome<'a>) -> PartOutcome<'a> {
        let cut = self.cuts.get(index).and_then(Option::as_ref);
        match (outcome, cut) {
            _ if !self.shown.contains(index) => PartOutcome::Absent,
            (PartOutcome::Empty | PartOutcome::Failed(_), Some(cut)) if !cut.of_element => {
                PartOutcome::Value(&cut.otherwise)
            }
            (other, _) => other,
        }
    }
}

/// The parts and all that they need, and what that needs in turn.
fn behind(plan: &Plan, shown: PartSet) -> PartSet {
    let mut asked = shown;
    loop {
        let needed = asked.iter().fold(asked, |all, part| all.and(plan.parts[part].needs()));
        if needed == asked {
            return asked;
        }
        asked = needed;
    }
}

/// Cuts a checked value.
pub fn cut(text: &[u8], selection: &Selection, tokens: &mut Tokens, out: &mut Vec<u8>) {
    out.clear();
    if let Ok(document) = json::index(text, tokens) {
        selection.apply(&document, 0, out);
    }
    tokens.trim();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::partial::PartFault;
    use crate::aggregate::plan::{Part, Pass};
    use crate::aggregate::reference::Reference;
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::exchange::template::{Template, TemplateKind};

    /// `a`, `b` needs `a`, `c` needs `b`, `d`.
    fn plan() -> Plan {
        let part = |name, needs: Option<usize>| {
            let target = Template::parse("/", TemplateKind::Target, &[]).expect("fine");
            let mut part = Part::new(Name::new(name), UpstreamId(0), target, Duration::ZERO);
            part.references =
                needs.map(|part| Reference { part, path: None }).into_iter().collect();
            part
        };
        let mut d = part("d", None);
        d.otherwise = Some(br#"{"x":0,"secret":1}"#.as_slice().into());
        Plan::new(vec![part("a", None), part("b", Some(0)), part("c", Some(1)), d], Pass::default())
    }

    fn set(parts: &[usize]) -> PartSet {
        parts.iter().copied().collect()
    }

    #[test]
    fn what_is_not_kept_is_not_asked_unless_another_needs_it() {
        let plan = plan();
        for (kept, asked) in
            [(&[3][..], &[3][..]), (&[2], &[0, 1, 2]), (&[1, 3], &[0, 1, 3]), (&[0], &[0])]
        {
            let keep: Vec<_> = kept.iter().map(|part| (*part, None)).collect();
            let view = View::of(&plan, &keep, OnPartial::Answer).expect("fine");
            assert_eq!((view.shown(), view.asked()), (set(kept), set(asked)));
        }
        let whole = View::whole(&plan, OnPartial::Answer);
        assert_eq!(whole.asked(), PartSet::first(4));
    }

    #[test]
    fn a_view_never_shows_what_it_does_not_name() {
        let plan = plan();
        let path = Path::parse("x").expect("a path");
        let view = View::of(&plan, &[(3, Some(path)), (1, None)], OnPartial::Answer).expect("fine");
        let failed = PartOutcome::Failed(PartFault::Timeout);
        let mut outcomes = [PartOutcome::Value(b"1"), PartOutcome::Value(b"2"), failed, failed];
        view.show(&mut outcomes);
        let expected = [
            PartOutcome::Absent,
            PartOutcome::Value(b"2"),
            PartOutcome::Absent,
            PartOutcome::Value(br#"{"x":0}"#),
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn a_part_kept_whole_is_whole() {
        let (plan, path) = (plan(), Path::parse("x").expect("a path"));
        let view = View::of(&plan, &[(3, Some(path)), (3, None)], OnPartial::Answer).expect("fine");
        assert!(view.selection(3).is_none());
    }

    #[test]
    fn an_optional_part_may_be_required_by_a_view() {
        let plan = plan();
        let required = |how| View::whole(&plan, how).is_required(&plan, 3);
        assert_eq!((required(OnPartial::Answer), required(OnPartial::Fail)), (false, true));
    }
}
