//! Undoing the content coding of a part's body, without keeping the core from its other work.
//!
//! The body is here already, within its bound; its decoding never runs longer at a time than one step of
//! `http/coding.rs`, never past the part's deadline, and never makes more than the part may be.

use std::time::Duration;

use crate::aggregate::PartFault;
use crate::base::time::Instant;
use crate::http::coding::{Coding, Decoding, Step};
use crate::runtime::Runtime;
use crate::serve::Core;

/// The pause between two steps: the timers' resolution, so that everything else of the core has its turn.
const TURN: Duration = Duration::from_millis(1);

/// The body behind its coding, at most `bytes_max` long.
///
/// # Errors
/// It cannot be decoded, is too long, or the deadline is over.
pub async fn whole<R: Runtime>(
    core: &Core<R>,
    coding: Coding,
    body: &[u8],
    bytes_max: usize,
    deadline: Instant,
) -> Result<Vec<u8>, PartFault> {
    let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
    while decoding.step(body, &mut out, bytes_max)? == Step::More {
        // Small bodies take one step and a look for the end; only what is left waits its turn.
        if decoding.is_long() {
            let now = core.runtime.now();
            if now >= deadline {
                return Err(PartFault::Timeout);
            }
            Box::pin(core.runtime.sleep_until(now + TURN)).await;
        }
    }
    Ok(out)
}
