//! A stored answer on a route that compresses: in the coding that the client wants, coded once and kept.
//!
//! What is stored is what the origin sent; codings of it are made when somebody first wants one and kept beside it
//! (`policy/recoded.rs`). The first who wants one waits for the whole, in slices between which others have their
//! turn; whoever comes meanwhile, and whoever asks for what is too large to be kept, gets it coded while it goes out.
//! Nothing is coded twice, and never beside a secret: each request is decided about as an answer of an origin is.

use std::sync::Arc;

use crate::base::buffer::Buf;
use crate::base::limits::CACHE_RECODED_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::gateway::answering::Answering;
use crate::http::coding::Coding;
use crate::policy::cache_status::CacheStatus;
use crate::policy::compress::{Answer, Decision};
use crate::policy::stored::{Stored, lines};
use crate::runtime::Runtime;
use crate::serve::hit::{self, Content, Shape};
use crate::serve::outgoing::Outgoing;
use crate::serve::{Core, compressing};

/// Sends a stored response as this client takes it.
///
/// # Errors
/// As `hit::answer`.
pub async fn answer<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    stored: &Arc<Stored>,
    told: CacheStatus,
    rules: &Answering,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let shape = hit::shape(x, stored, || core.runtime.wall().as_secs());
    let decision = decide(rules, x, stored);
    outgoing.encoding = None;
    outgoing.decision = match shape {
        Shape::Whole => decision,
        // A range is one of the plain content, whose strong tag goes along.
        Shape::Part(..) => Decision { vary: decision.vary, ..Decision::default() },
        // It speaks of what the client has: the coded answer.
        Shape::Known => Decision { coding: None, unmeasured: false, ..decision },
        Shape::Unsatisfiable => Decision::default(),
    };
    let Some(coding) = decision.coding.filter(|_| shape == Shape::Whole) else {
        return hit::send(core, x, stored, told, shape, Content::Plain, outgoing).await;
    };
    if let Some(content) = stored.recoded(coding) {
        return hit::send(core, x, stored, told, shape, Content::Coded(content), outgoing).await;
    }
    if !outgoing.head_only
        && let Some(content) = make(core, stored, coding).await
    {
        let content = Content::Coded(&content);
        return hit::send(core, x, stored, told, shape, content, outgoing).await;
    }
    stream(core, x, stored, told, rules, outgoing).await
}

/// What compression does to this stored answer for this request.
fn decide(rules: &Answering, x: &Exchange, stored: &Stored) -> Decision {
    let fields = lines(stored.fields()).map(|(name, value, _)| (name, value));
    let fields = fields.filter(|(name, _)| !rules.drops(name));
    let fields = fields.chain(compressing::lines_of(&x.answer_lines));
    let answer = Answer::of(stored.status, Some(stored.body.len() as u64), fields);
    let compress = rules.compress.as_ref();
    compress.map_or_else(Decision::default, |rules| rules.decide(x, &answer))
}

/// Makes the content in this coding and keeps it, where nobody does so yet and it is not too large.
async fn make<R: Runtime>(core: &Core<R>, stored: &Arc<Stored>, coding: Coding) -> Option<Vec<u8>> {
    if stored.body.len() > CACHE_RECODED_BYTES_MAX {
        return None;
    }
    let _duty = stored.begin_recoding(coding)?;
    let content = compressing::whole(core, coding, &stored.body).await?;
    core.cache.with(stored.machine(), core.seat(), |room| {
        room.store.keep_recoded(stored, coding, content.clone());
    });
    Some(content)
}

/// Sends it coded while it goes out, and keeps nothing.
async fn stream<R: Runtime>(
    core: &Core<R>,
    x: &mut Exchange,
    stored: &Arc<Stored>,
    told: CacheStatus,
    rules: &Answering,
    outgoing: &mut Outgoing<'_, R>,
) -> Result<(), Fault> {
    let length = Some(stored.body.len() as u64);
    let fields = lines(stored.fields()).map(|(name, value, _)| (name, value));
    let fields = fields.filter(|(name, _)| !rules.drops(name));
    let fields = fields.chain(compressing::lines_of(&x.answer_lines));
    let answer = Answer::of(stored.status, length, fields);
    let Some(length) = compressing::begin(core, rules, x, &answer, length, outgoing) else {
        // All encoders are lent.
        return hit::send(core, x, stored, told, Shape::Whole, Content::Plain, outgoing).await;
    };
    let framing = outgoing.frame(stored.status, length);
    let head = hit::head(core, x, stored, told, (Shape::Whole, framing), outgoing)?;
    outgoing.begin(head, None, false).await?;
    if outgoing.head_only {
        return Ok(());
    }
    let mut left = &stored.body[..];
    while !left.is_empty() {
        let mut piece: Buf = core.buffer()?;
        let (now, later) = left.split_at(left.len().min(piece.spare()));
        let fits = piece.put(now);
        debug_assert!(fits, "cut to the room there is");
        left = later;
        outgoing.piece(piece).await?;
        outgoing.rest().await;
    }
    outgoing.end(&[]).await
}
