//! Versions of the gateway that are replaced and not yet gone.
//!
//! Whoever lets go of a version last takes it apart: for ten thousand routes that is some milliseconds. It must
//! never be a core that serves, so control holds on to each until no core has it, and takes it apart itself.

use std::sync::Arc;

use crate::gateway::Gateway;

/// Versions held at once; one more, and the oldest is left to whoever has it last. A version lives as long as the
/// longest exchange of its time, and each holds its routes: some MiB.
const RETIRED_MAX: usize = 16;

/// Versions that some core may still work by.
#[derive(Default)]
pub(super) struct Retired {
    versions: Vec<Arc<Gateway>>,
}

impl Retired {
    /// Holds on to one that was replaced.
    pub(super) fn keep(&mut self, version: Arc<Gateway>) {
        self.look();
        if self.versions.len() == RETIRED_MAX {
            self.versions.remove(0);
        }
        self.versions.push(version);
    }

    /// Takes those apart that nobody else has.
    pub(super) fn look(&mut self) {
        self.versions.retain(|version| Arc::strong_count(version) > 1);
    }
}
