//! The end of every exchange, however it went: counters and the access log.
//!
//! It never changes an outcome, and it is never skipped.

use crate::exchange::Exchange;
use crate::runtime::Runtime;
use crate::serve::{Core, Installed};

/// Records an exchange whose last byte was written, or never will be. `body_bytes` were read behind the
/// head, `sent_bytes` written.
pub fn finish<R: Runtime>(
    core: &Core<R>,
    installed: &Installed<R>,
    x: &mut Exchange,
    body_bytes: u64,
    sent_bytes: u64,
) {
    // Who forwarded it knows, and nothing was waited for since.
    let now = *x.timeline.done.get_or_insert_with(|| core.runtime.now());
    x.bytes_in = u64::from(x.head.bytes) + body_bytes;
    x.bytes_out = sent_bytes;
    if let Some(seat) = x.seat.take() {
        // The time that the origin took, not the client: from the target to the head of its answer.
        let from = x.timeline.target.unwrap_or(x.timeline.begun);
        seat.took(x.timeline.answered.unwrap_or(now).since(from), now);
    }
    let plan = &installed.gateway.record;
    core.metrics.record(x, plan, now);
    core.shard(|shard| {
        if let Some(spans) = plan.spans() {
            spans.record(x, plan, now, &mut shard.rng, &core.metrics);
        }
        if let Some(log) = &mut shard.log {
            log.record(x, plan, now, &core.metrics);
        }
    });
}
