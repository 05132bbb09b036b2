//! What a part's call brings: a whole answer, an answer that several share, or the reason why there is none.
//!
//! An answer's bytes stay where they were received as long as one exchange uses them; they are copied once
//! when others are to use them, too, and never again after that.

use std::rc::Rc;

use crate::aggregate::each::Failures;
use crate::aggregate::{PartFault, Taken};
use crate::base::buffer::Buf;
use crate::exchange::fault::Fault;
use crate::exchange::part::CacheUses;
use crate::exchange::template::RenderError;
use crate::http::caching::Freshness;

/// How one part ended.
pub struct End {
    pub result: Result<Answer, Failure>,
    /// What the core's store did for it.
    pub uses: CacheUses,
}

/// A whole answer that was found good.
pub struct Answer {
    pub body: Body,
    /// The value written anew, if it was.
    pub shaped: Body,
    pub taken: Taken,
    /// Field lines of its answer that go to the client.
    pub lines: Body,
    /// Of calls for several elements, those that failed.
    pub failures: Failures,
    /// Why this is an older answer.
    pub stale: Option<PartFault>,
}

impl Answer {
    /// Its text; `None` when there is nothing.
    pub fn text(&self) -> Option<&[u8]> {
        match self.taken {
            Taken::Value(span) => Some(span.of(self.body.bytes())),
            Taken::Shaped(_) => Some(self.shaped.bytes()),
            Taken::Empty => None,
        }
    }
}

/// What may be done with an answer.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    /// Others who asked the same may have it.
    pub shareable: bool,
    /// How long it may be kept, if at all.
    pub freshness: Option<Freshness>,
}

/// What an answer is worth to anybody: not yet cut to a view.
pub struct Judged {
    pub body: Body,
    /// The value written anew, if it was.
    pub shaped: Body,
    pub taken: Taken,
    pub lines: Body,
}

/// The same, for several to use at once.
#[derive(Clone)]
pub struct Kept {
    body: Rc<[u8]>,
    shaped: Rc<[u8]>,
    taken: Taken,
    lines: Rc<[u8]>,
}

impl Judged {
    /// For several: copied into room of its own size, once.
    pub fn keep(self) -> Kept {
        let Self { body, shaped, taken, lines } = self;
        Kept { body: body.keep(), shaped: shaped.keep(), taken, lines: lines.keep() }
    }
}

impl From<&Kept> for Judged {
    fn from(kept: &Kept) -> Self {
        let shared = |bytes: &Rc<[u8]>| Body::Shared(bytes.clone());
        let (body, shaped, lines) = (shared(&kept.body), shared(&kept.shaped), shared(&kept.lines));
        Self { body, shaped, taken: kept.taken, lines }
    }
}

impl Kept {
    /// What it weighs. Unit: bytes.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.shaped.len() + self.lines.len()
    }
}

/// Why a part has no answer.
pub enum Failure {
    /// The origin's side.
    Part(PartFault),
    /// The same, with a problem document that is passed on.
    Problem(PartFault, Vec<u8>),
    /// The client's request does not hold what the part's request needs.
    Request(Fault),
}

impl Failure {
    /// The part's fault, if it is one.
    pub fn part(&self) -> Option<PartFault> {
        match self {
            Self::Part(fault) | Self::Problem(fault, _) => Some(*fault),
            Self::Request(_) => None,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Part(fault.into())
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::Request(error.fault())
    }
}

/// A body in one place.
pub enum Body {
    /// None, or none that anybody needs.
    Empty,
    /// All of it came in one piece and stays where it was received.
    Buffer(Buf),
    /// It was put together.
    Collected(Vec<u8>),
    /// Others use it, too.
    Shared(Rc<[u8]>),
}

impl Body {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Buffer(buf) => buf.data(),
            Self::Collected(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn keep(self) -> Rc<[u8]> {
        match self {
            Self::Shared(bytes) => bytes,
            other => other.bytes().into(),
        }
    }
}
