//! The document: parts between constant text, in plan order, whoever answered first.
//!
//! Nothing is parsed, escaped or copied here: a merge is a list of slices with a length that is known
//! before the first byte is sent. It never looks into a part but to find the members of a flattened one;
//! `Part::judge` did, and its promise (one well-formed value each, RFC 8259) is what makes the whole
//! well-formed. The names at the top are unique whatever the origins send: a part that has a name of its
//! own cannot be driven out by what another origin adds to its answer, and of flattened parts the first
//! declared keeps a name.

use std::borrow::Cow;
use std::ops::Range;

use crate::aggregate::json::{self, Tokens, key};
use crate::aggregate::plan::{PartOutcome, Plan};
use crate::base::span::Span;
use crate::exchange::template::Sink;

/// A document ready to be sent: an iterator of pieces, and their length.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    plan: &'a Plan,
    outcomes: &'a [PartOutcome<'a>],
    members: &'a Members,
    len: usize,
}

/// Which members of flattened parts stand in a document: spans of the text of their part, as long as
/// possible, part by part.
#[derive(Clone, Debug, Default)]
pub struct Members {
    parts: Vec<Range<usize>>,
    spans: Vec<Span>,
}

/// The document of a plan whose parts ended like this; one outcome for each part, in plan order. Required
/// parts that failed are for [`partial::verdict`](crate::aggregate::partial::verdict) to find first, and
/// `members` is what [`Members::of`] found.
pub fn merge<'a>(
    plan: &'a Plan,
    outcomes: &'a [PartOutcome<'a>],
    members: &'a Members,
) -> Merged<'a> {
    debug_assert_eq!(plan.parts.len(), outcomes.len());
    let mut merged = Merged { plan, outcomes, members, len: 0 };
    merged.len = merged.pieces().map(<[u8]>::len).sum();
    merged
}

impl<'a> Merged<'a> {
    /// Length of the document. Unit: bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Length of what may be followed by more parts: all of it but the brace at the end. What parts that are
    /// absent add later never changes a byte of it. Unit: bytes.
    pub fn open_len(&self) -> usize {
        self.len - self.pieces().last().map_or(0, <[u8]>::len)
    }

    /// Never: a document has its braces.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The document, piece by piece: two for each part, or for each run of members of a flattened one, and the
    /// closing brace.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (plan, outcomes, members) = (self.plan, self.outcomes, self.members);
        let mut begun = false;
        let parts = plan.parts.iter().zip(outcomes).enumerate();
        let pieces = parts.flat_map(move |(index, (part, outcome))| {
            let text = part.text(*outcome);
            let runs = members.of_part(index).unwrap_or(&[]);
            // A part with its name is one piece behind its key; a flattened one is its runs behind commas.
            let (lead, count): (&'a [u8], usize) =
                if part.flatten { (b",", runs.len()) } else { (&part.key_text, 1) };
            let count = if *outcome == PartOutcome::Absent { 0 } else { count };
            let opened = begun;
            begun |= count > 0;
            (0..count).flat_map(move |run| {
                let first = !opened && run == 0;
                let text = if part.flatten { runs[run].of(text) } else { text };
                [if first { &b"{"[..] } else { b"" }, if first { &lead[1..] } else { lead }, text]
            })
        });
        let empty = plan.parts.iter().zip(outcomes).enumerate().all(|(index, (part, outcome))| {
            let flattened = part.flatten && members.of_part(index).is_none_or(<[Span]>::is_empty);
            flattened || *outcome == PartOutcome::Absent
        });
        let brace: &[u8] = if empty { b"{}" } else { b"}" };
        pieces.filter(|piece| !piece.is_empty()).chain(std::iter::once(brace))
    }

    /// Appends the document; `false` when the sink is full, which its length tells beforehand.
    #[must_use]
    pub fn write<S: Sink>(&self, out: &mut S) -> bool {
        self.pieces().all(|piece| out.put(piece))
    }
}

/// A member of a flattened part.
struct Member<'a> {
    name: Cow<'a, [u8]>,
    part: usize,
    span: Span,
}

impl Members {
    /// The members of the flattened parts that stand in the document; nothing is done without such parts.
    pub fn of(plan: &Plan, outcomes: &[PartOutcome<'_>], tokens: &mut Tokens) -> Self {
        let mut found = Self::default();
        if !plan.parts.iter().any(|part| part.flatten) {
            return found;
        }
        let mut all = Vec::new();
        for (index, (part, outcome)) in plan.parts.iter().zip(outcomes).enumerate() {
            if part.flatten && *outcome != PartOutcome::Absent {
                collect(part.text(*outcome), index, tokens, &mut all);
            }
        }
        let stays = unique(plan, &all);
        found.parts.resize(plan.parts.len(), 0..0);
        let mut last: Option<usize> = None;
        for (at, member) in all.iter().enumerate().filter(|(at, _)| stays[*at]) {
            let text = plan.parts[member.part].text(outcomes[member.part]);
            let part = &mut found.parts[member.part];
            if part.start == part.end {
                *part = found.spans.len()..found.spans.len();
            }
            match (last, found.spans.last_mut()) {
                // The comma between two neighbours is the origin's.
                (Some(before), Some(run))
                    if before + 1 == at
                        && all[before].part == member.part
                        && text.get(run.end as usize) == Some(&b',')
                        && run.end + 1 == member.span.start =>
                {
                    run.end = member.span.end;
                }
                _ => {
                    found.spans.push(member.span);
                    part.end = found.spans.len();
                }
            }
            last = Some(at);
        }
        found
    }

    fn of_part(&self, index: usize) -> Option<&[Span]> {
        self.spans.get(self.parts.get(index)?.clone())
    }
}

/// Finds the members of an object that was found good before.
fn collect<'a>(text: &'a [u8], part: usize, tokens: &mut Tokens, all: &mut Vec<Member<'a>>) {
    let Ok(document) = json::index(text, tokens) else { return };
    let base = document.value(0).start;
    debug_assert_eq!(base, 0, "a value has no white space around it");
    for (_, value) in document.members(0) {
        // A key and its colon stand before a value.
        let key = document.value(value - 2);
        let span = Span { start: key.start, end: document.value(value).end };
        let written = &text[key.start as usize + 1..key.end as usize - 1];
        all.push(Member { name: spelt(written), part, span });
    }
}

/// What a name spells. One with half of a surrogate pair stands for itself.
fn spelt(written: &[u8]) -> Cow<'_, [u8]> {
    let mut decoded = String::new();
    match std::str::from_utf8(written) {
        Ok(text) if text.contains('\\') && key::decode(text, |c| decoded.push(c)) => {
            Cow::Owned(decoded.into_bytes())
        }
        _ => Cow::Borrowed(written),
    }
}

/// Which members stay: none that has the name of a part, of an earlier part's member, or of a later one of the
/// same part (the last of its name counts, as for `pick`).
fn unique(plan: &Plan, all: &[Member<'_>]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_unstable_by(|a, b| {
        let (first, second) = (&all[*a], &all[*b]);
        first.name.cmp(&second.name).then(first.part.cmp(&second.part)).then(b.cmp(a))
    });
    let mut stays = vec![false; all.len()];
    let mut last: Option<&[u8]> = None;
    for at in order {
        let name = &*all[at].name;
        let declared =
            |part: &crate::aggregate::Part| !part.flatten && part.name.as_str().as_bytes() == name;
        if last != Some(name) {
            stays[at] = !plan.parts.iter().any(declared);
        }
        last = Some(name);
    }
    stays
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::partial::PartFault;
    use crate::aggregate::plan::{Part, Pass, Taken};
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::exchange::template::{Template, TemplateKind};
    use crate::http::Status;

    fn part(name: &str, otherwise: Option<&str>) -> Part {
        let target = Template::parse("/", TemplateKind::Target, &[]).expect("fine");
        let mut part = Part::new(Name::new(name), UpstreamId(0), target, Duration::from_secs(1));
        part.otherwise = otherwise.map(|text| text.as_bytes().into());
        part
    }

    fn document(plan: &Plan, outcomes: &[PartOutcome<'_>]) -> String {
        let members = Members::of(plan, outcomes, &mut Tokens::default());
        let (merged, mut out) = (merge(plan, outcomes, &members), Vec::new());
        assert!(merged.write(&mut out));
        assert_eq!(merged.len(), out.len());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn parts_stand_in_plan_order_with_their_own_bytes() {
        let plan = Plan::new(
            vec![part("user", None), part("a \"b\"\n", Some("[]")), part("n", Some("0"))],
            Pass::default(),
        );
        let user = br#"{"b":1,"a":1.0e+02,"b":2}"#;
        let outcomes = [PartOutcome::Value(user), PartOutcome::Empty, PartOutcome::Value(b"7")];
        let expected = r#"{"user":{"b":1,"a":1.0e+02,"b":2},"a \"b\"\n":[],"n":7}"#;
        assert_eq!(document(&plan, &outcomes), expected);
    }

    #[test]
    fn an_empty_part_is_else_or_null_and_a_failed_one_else() {
        let plan = Plan::new(vec![part("a", None), part("b", Some("{}"))], Pass::default());
        let outcomes = [PartOutcome::Empty, PartOutcome::Failed(PartFault::Timeout)];
        assert_eq!(document(&plan, &outcomes), r#"{"a":null,"b":{}}"#);
        assert_eq!(document(&Plan::new(Vec::new(), Pass::default()), &[]), "{}");
        let value = PartOutcome::Value(b"1");
        assert_eq!(document(&plan, &[PartOutcome::Absent, value]), r#"{"b":1}"#);
        assert_eq!(document(&plan, &[value, PartOutcome::Absent]), r#"{"a":1}"#);
        assert_eq!(document(&plan, &[PartOutcome::Absent; 2]), "{}");
    }

    /// A plan of named and flattened parts.
    fn flattened(parts: &[(&str, bool)]) -> Plan {
        let parts = parts.iter().map(|(name, flatten)| {
            let mut part = part(name, None);
            part.flatten = *flatten;
            part
        });
        Plan::new(parts.collect(), Pass::default())
    }

    #[test]
    fn members_of_a_flattened_part_stand_in_its_place() {
        let plan = flattened(&[("a", true), ("b", false), ("c", true)]);
        let values = [
            PartOutcome::Value(br#"{"x" : 1.0,"y":[ ],"z":{}}"#),
            PartOutcome::Value(b"2"),
            PartOutcome::Value(br#"{"w":3}"#),
        ];
        assert_eq!(document(&plan, &values), r#"{"x" : 1.0,"y":[ ],"z":{},"b":2,"w":3}"#);
        let empty = PartOutcome::Value(b"{ }");
        assert_eq!(document(&plan, &[empty, values[1], PartOutcome::Empty]), r#"{"b":2}"#);
        assert_eq!(document(&flattened(&[("a", true)]), &[empty]), "{}");
        assert_eq!(
            document(&flattened(&[("a", true)]), &values[..1]),
            r#"{"x" : 1.0,"y":[ ],"z":{}}"#
        );
    }

    #[test]
    fn no_name_stands_at_the_top_twice() {
        let plan = flattened(&[("a", true), ("b", false), ("c", true)]);
        let outcomes = [
            PartOutcome::Value(br#"{"x":1,"b":0,"x":2,"\u0079":3, "\ud800":4}"#),
            PartOutcome::Value(b"null"),
            PartOutcome::Value(br#"{"z":1, "y":9,"b":8,"x":7,"\ud800":6}"#),
        ];
        let expected = r#"{"x":2,"\u0079":3,"\ud800":4,"b":null,"z":1}"#;
        assert_eq!(document(&plan, &outcomes), expected);
    }

    #[test]
    fn parts_that_come_later_change_nothing_in_front_of_them() {
        let plan = flattened(&[("a", true), ("b", false), ("c", true), ("d", false), ("e", true)]);
        let values = [
            PartOutcome::Value(br#"{"x":1,"d":0}"#),
            PartOutcome::Value(b"2"),
            PartOutcome::Value(br#"{"x":7,"y":[],"b":3}"#),
            PartOutcome::Empty,
            PartOutcome::Value(br#"{"y":0,"z":1,"x":{}}"#),
        ];
        let whole = document(&plan, &values);
        assert_eq!(whole, r#"{"x":1,"b":2,"y":[],"d":null,"z":1}"#);
        let mut lengths = Vec::new();
        for ended in 0..=values.len() {
            let mut outcomes = [PartOutcome::Absent; 5];
            outcomes[..ended].copy_from_slice(&values[..ended]);
            let members = Members::of(&plan, &outcomes, &mut Tokens::default());
            let open = merge(&plan, &outcomes, &members).open_len();
            assert_eq!(document(&plan, &outcomes)[..open], whole[..open]);
            lengths.push(open);
        }
        assert_eq!(lengths, [0, 6, 12, 19, 28, 34]);
    }

    #[test]
    fn a_flattened_part_is_an_object() {
        let mut part = part("a", None);
        part.flatten = true;
        let judge =
            |body: &[u8]| part.judge(Status(200), body, &mut Tokens::default(), &mut Vec::new());
        for body in ["[]", "1", "null", "\"{\""] {
            assert_eq!(judge(body.as_bytes()), Err(PartFault::NotObject), "{body}");
        }
        assert!(judge(b" {} ").is_ok());
        assert_eq!(judge(b""), Ok(Taken::Empty));
    }

    #[test]
    fn an_answer_is_judged_by_status_then_size_then_shape() {
        let mut part = part("a", None);
        part.bytes_max = 8;
        let judge_by = |part: &Part, status, body: &[u8]| {
            part.judge(Status(status), body, &mut Tokens::default(), &mut Vec::new())
        };
        let judge = |status, body| judge_by(&part, status, body);
        assert_eq!(judge(200, b" [1] "), Ok(Taken::Value(crate::base::span::Span::new(1, 4))));
        assert_eq!(judge(203, b"1"), Ok(Taken::Value(crate::base::span::Span::new(0, 1))));
        for (status, body) in [(204, &b""[..]), (200, b""), (200, b" \n"), (205, b"x")] {
            assert_eq!(judge(status, body), Ok(Taken::Empty));
        }
        for status in [302, 304, 404, 500] {
            assert_eq!(judge(status, b"{}"), Err(PartFault::Status(Status(status))));
        }
        assert_eq!(judge(200, b"[1,2,3,4]"), Err(PartFault::TooLarge));
        assert_eq!(judge(200, b"<html>"), Err(PartFault::NotJson));
        assert_eq!(judge(200, b"[1"), Err(PartFault::Truncated));
        assert_eq!(judge(200, b"\"\xff\""), Err(PartFault::NotUtf8));
        part.pick = Some(crate::aggregate::json::Path::parse("x").expect("fine"));
        assert_eq!(judge_by(&part, 200, b"{}"), Err(PartFault::Pick));
        let inside = Taken::Value(crate::base::span::Span::new(5, 6));
        assert_eq!(judge_by(&part, 200, br#"{"x":1}"#), Ok(inside));
    }
}
