//! What all bodies of one merge may weigh together.
//!
//! Each piece is charged as it is read, decoded ones again: never does a merge hold more than that, however many
//! calls it makes.

use std::cell::Cell;

use crate::base::limits::MERGE_BYTES_MAX;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};

/// What the bodies of one merge may still weigh together. Unit: bytes.
pub struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MERGE_BYTES_MAX))
    }
}

impl Budget {
    /// For a body that has a bound of its own.
    pub fn boundless() -> Self {
        Self(Cell::new(usize::MAX))
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    /// There is none left.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let kind = FaultKind::BodyTooLarge;
        let fault = Fault { kind, side: Side::Upstream, again: Again::Never };
        self.0.set(self.0.get().checked_sub(bytes).ok_or(fault)?);
        Ok(())
    }
}
