//! Captured path parameters: spans of the raw path, by the order in which the route's pattern names them.
//!
//! Values are kept as received, percent-encoding and all, so that capturing never allocates; who needs
//! the decoded text decodes where it is used (`exchange/template.rs`).

use crate::base::limits::PARAMS_MAX;
use crate::base::span::Span;

/// Values of a route's `{name}` and `{*rest}` segments, as spans into the request's path
/// (`Request::path()`), in pattern order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    spans: [Span; PARAMS_MAX],
    len: u8,
}

impl Default for Params {
    fn default() -> Self {
        Self { spans: [Span::EMPTY; PARAMS_MAX], len: 0 }
    }
}

impl Params {
    /// Forgets all values.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends the next value. More than `PARAMS_MAX` cannot be: the compiler of routes refuses them.
    pub fn push(&mut self, span: Span) {
        debug_assert!((self.len as usize) < PARAMS_MAX);
        if let Some(place) = self.spans.get_mut(self.len as usize) {
            *place = span;
            self.len += 1;
        }
    }

    /// Cuts the list to its first `len` values (a matcher that backtracks).
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u8);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The raw value of the parameter at `index`, given the request's raw path.
    pub fn value<'r>(&self, index: usize, path: &'r [u8]) -> Option<&'r [u8]> {
        self.spans[..self.len as usize].get(index).map(|span| span.of(path))
    }
}
