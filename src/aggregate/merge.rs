//! The document: parts between constant text, in plan order, whoever answered first.
//!
//! Nothing is parsed, escaped or copied here: a merge is a list of slices with a length that is known
//! before the first byte is sent. It never looks into a part; `Part::judge` did, and its promise (one
//! well-formed value each, RFC 8259) is what makes the whole well-formed.

use crate::aggregate::plan::{PartOutcome, Plan};
use crate::exchange::template::Sink;

/// A document ready to be sent: an iterator of pieces, and their length.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    plan: &'a Plan,
    outcomes: &'a [PartOutcome<'a>],
    len: usize,
}

/// The document of a plan whose parts ended like this; one outcome for each part, in plan order. Required
/// parts that failed are for [`partial::verdict`](crate::aggregate::partial::verdict) to find first.
pub fn merge<'a>(plan: &'a Plan, outcomes: &'a [PartOutcome<'a>]) -> Merged<'a> {
    debug_assert_eq!(plan.parts.len(), outcomes.len());
    let mut merged = Merged { plan, outcomes, len: 0 };
    merged.len = merged.pieces().map(<[u8]>::len).sum();
    merged
}

impl<'a> Merged<'a> {
    /// Length of the document. Unit: bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a document has its braces.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The document, piece by piece: two for each part and the closing brace.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let parts = self.plan.parts.iter().zip(self.outcomes);
        let pieces = parts.flat_map(|(part, outcome)| [&*part.key_text, part.text(*outcome)]);
        let brace: &[u8] = if self.plan.parts.is_empty() { b"{}" } else { b"}" };
        pieces.chain(std::iter::once(brace))
    }

    /// Appends the document; `false` when the sink is full, which its length tells beforehand.
    #[must_use]
    pub fn write<S: Sink>(&self, out: &mut S) -> bool {
        self.pieces().all(|piece| out.put(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::json::Tokens;
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
        let (merged, mut out) = (merge(plan, outcomes), Vec::new());
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
