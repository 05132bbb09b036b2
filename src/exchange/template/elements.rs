//! `{each}` and `{each*}`: the elements that one call of a part is made for.
//!
//! There may be several, and lists are written as URI templates do (RFC 6570 §2.4.2, §3.2.1): `?ids={each}` is
//! `?ids=1,2` and `?id={each*}`, with the star that explodes a list, is `?id=1&id=2`. In JSON `{each*}` is an
//! array. Every element is escaped for itself, so that none can ever add another one: a comma inside of an
//! element is `%2C`.

use crate::exchange::template::encode::Dots;
use crate::exchange::template::fill::Found;
use crate::exchange::template::parse::TemplateErrorKind;
use crate::exchange::template::{Inputs, PartValues, Placeholder, Position, RenderError, Sink};

/// How elements are written.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    /// Whether it was written with a star.
    exploded: bool,
    /// What stands between two of them.
    between: Box<[u8]>,
}

impl Elements {
    /// What `{each}` or `{each*}` is at this place; `literal` and `next` are what stands before and behind it.
    pub(super) fn at(
        position: Position,
        exploded: bool,
        literal: &[u8],
        next: Option<u8>,
    ) -> Result<Self, TemplateErrorKind> {
        let between = match (exploded, position) {
            (false, _) | (true, Position::JsonValue) => b",".as_slice().into(),
            (true, Position::Query) => {
                let name = repeated(literal, next).ok_or(TemplateErrorKind::ElementsUnfit)?;
                [b"&", name].concat().into()
            }
            (true, _) => return Err(TemplateErrorKind::ElementsUnfit),
        };
        Ok(Self { exploded, between })
    }

    /// Whether more than one of them can stand there without ambiguity.
    pub(super) fn may_be_several(&self, position: Position) -> bool {
        self.exploded || matches!(position, Position::Path | Position::Query)
    }
}

/// The name, with its `=`, of the pair whose whole value stands behind `literal`.
fn repeated(literal: &[u8], next: Option<u8>) -> Option<&[u8]> {
    let start = literal.iter().rposition(|byte| matches!(byte, b'?' | b'&'))? + 1;
    let name = &literal[start..];
    let whole = matches!(next, None | Some(b'&'));
    (whole && name.len() > 1 && name.iter().position(|byte| *byte == b'=') == Some(name.len() - 1))
        .then_some(name)
}

impl Placeholder {
    /// Fills it with the elements of a call, in their order.
    pub(super) fn fill_elements<S: Sink>(
        &self,
        elements: &Elements,
        from: &Inputs<'_>,
        dots: &mut Dots,
        out: &mut S,
    ) -> Result<(), RenderError> {
        let put = |bytes: &[u8], out: &mut S| match out.put(bytes) {
            true => Ok(()),
            false => Err(RenderError::Full),
        };
        let PartValues::Known { text, each, .. } = from.parts else {
            return put(if elements.exploded { b"{each*}" } else { b"{each}" }, out);
        };
        if each.is_empty() {
            return self.fill_absent(dots, out);
        }
        let array = elements.exploded && self.position == Position::JsonValue;
        put(if array { b"[" } else { b"" }, out)?;
        for (number, element) in each.iter().enumerate() {
            if number > 0 {
                put(&elements.between, out)?;
                if self.position == Position::Path {
                    dots.value(b",")?;
                }
            }
            self.fill_value(Found::Json(element.of(text)), dots, out)?;
        }
        put(if array { b"]" } else { b"" }, out)
    }
}
