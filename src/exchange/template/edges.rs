//! The edges of a field's value, where no value may put a blank.
//!
//! Every recipient takes blanks at an edge away (RFC 9110 §5.5): a claim of `" admin"` would be read as `admin`,
//! which is another one. So a value never begins or ends a field with a blank; blanks inside stay, and those that
//! the template itself has at an edge are its author's.

use crate::exchange::template::{RenderError, Sink};

/// Watches what is written to a sink.
pub(super) struct Edges<'s, S: Sink> {
    out: &'s mut S,
    is_value: bool,
    /// Something stands that no recipient takes away.
    begun: bool,
    /// A value's blank came before that.
    blank_first: bool,
    /// A value's blank is the last that was written.
    blank_last: bool,
}

impl<'s, S: Sink> Edges<'s, S> {
    pub(super) fn of(out: &'s mut S) -> Self {
        Self { out, is_value: false, begun: false, blank_first: false, blank_last: false }
    }

    /// The field is whole.
    ///
    /// # Errors
    /// A value has a blank at its edge.
    pub(super) fn end(self) -> Result<(), RenderError> {
        if self.blank_first || self.blank_last { Err(RenderError::Unfit) } else { Ok(()) }
    }
}

impl<S: Sink> Sink for Edges<'_, S> {
    fn put(&mut self, bytes: &[u8]) -> bool {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
            self.blank_first |= self.is_value && !self.begun && blank(first);
            let all_blank = bytes.iter().all(blank);
            self.begun |= !all_blank;
            // Blanks of the template behind a value's are taken away together with it.
            self.blank_last = blank(last) && (self.is_value || self.blank_last && all_blank);
        }
        self.out.put(bytes)
    }

    fn value_follows(&mut self, is_value: bool) {
        self.is_value = is_value;
    }
}
