//! Fields that a route sets, adds or removes: of requests on their way in, of every answer on its way out.
//!
//! A value is a template, filled from the request and escaped as a field (RFC 9110 §5.5): it can never hold a
//! line break, and a control byte refuses the request. Which names may be edited is decided when the
//! configuration is read; framing and hop-by-hop fields (RFC 9110 §7.6.1) never come here. A line whose
//! value turns out empty is left out, so that `"{jwt.sub?}"` sends nothing where there is no token.

use crate::base::limits::EDITED_LINES_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::template::{RenderError, Template};
use crate::http::names::FieldName;
use crate::http::withheld::Withheld;

/// The edits of one direction.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    /// Lines that are added; those that replace something first.
    pub lines: Box<[Line]>,
    /// Names whose lines are left out, in lower case: what is removed, and what is set anew.
    pub dropped: Box<[Box<str>]>,
    /// The Host that an origin is asked for; of requests alone.
    pub host: Option<Box<str>>,
    /// Cookies and pairs of the query that are left out; of requests alone.
    pub withheld: Withheld,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The name, in lower case.
    pub name: Box<str>,
    /// The value.
    pub value: Template,
}

impl HeaderEdits {
    /// Whether a received field of this name is left out, however it is spelt.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|known| FieldName::is_spelling(name, known.as_bytes()))
    }

    /// Appends the lines to `out`.
    ///
    /// # Errors
    /// A value is missing or cannot stand in a field, or all of them are too long.
    pub fn render(&self, x: &Exchange, out: &mut Vec<u8>) -> Result<(), Fault> {
        for line in &self.lines {
            line.render(x, out)?;
        }
        Ok(())
    }

    /// The same for an answer that must go out: lines that cannot be filled are left out.
    pub fn render_some(&self, x: &Exchange, out: &mut Vec<u8>) {
        for line in &self.lines {
            let start = out.len();
            if line.render(x, out).is_err() {
                out.truncate(start);
            }
        }
    }
}

impl Line {
    fn render(&self, x: &Exchange, out: &mut Vec<u8>) -> Result<(), Fault> {
        let start = out.len();
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b": ");
        let value = out.len();
        self.value.render(x, out).map_err(RenderError::fault)?;
        if out[value..].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            out.truncate(start);
            return Ok(());
        }
        out.extend_from_slice(b"\r\n");
        if out.len() > EDITED_LINES_BYTES_MAX {
            let kind = FaultKind::HeadTooLarge;
            return Err(Fault { kind, side: Side::Downstream, again: Again::Never });
        }
        Ok(())
    }
}
