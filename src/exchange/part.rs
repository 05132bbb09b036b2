//! What is recorded of a part of a merge that failed: for the access log and metrics.
//!
//! A record never decides anything. Reasons are words of a closed set, so that a metric never has more
//! series than parts times reasons.

/// A part that failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFailure {
    /// By index in the plan.
    pub part: u16,
    /// One of [`REASONS`].
    pub reason: &'static str,
}

/// Every reason, in one spelling for `gateway-partial`, log and metrics.
pub const REASONS: &[&str] = &[
    "timeout",
    "status",
    "not_json",
    "not_utf8",
    "truncated",
    "too_deep",
    "too_large",
    "pick",
    "not_object",
    "not_array",
    "missing",
    "connect",
    "unavailable",
    "reset",
    "protocol",
    "coding",
    "reference",
    "dependency",
    "unfit",
    "not_excused",
    "too_many",
    "internal",
];

impl PartFailure {
    /// The reason's place in [`REASONS`]; what is not there is our own mistake.
    pub fn reason_index(self) -> usize {
        let place = REASONS.iter().position(|reason| *reason == self.reason);
        place.unwrap_or(REASONS.len() - 1)
    }
}

/// What a core's store of answers did for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// A fresh answer was there.
    Hit,
    /// None that could be used: the origin was asked.
    Miss,
    /// A stale one was used.
    Stale,
    /// The answer to another request, in flight at the time, was used.
    Collapsed,
    /// A stale one was renewed, beside the clients' requests.
    Renewal,
}

impl CacheUse {
    /// All of them, in the order of their numbers.
    pub const ALL: [CacheUse; 5] =
        [Self::Hit, Self::Miss, Self::Stale, Self::Collapsed, Self::Renewal];
}

/// How often it did what: a part with `each` has an answer for each element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUses([u32; CacheUse::ALL.len()]);

impl CacheUses {
    /// Once this.
    pub fn one(how: CacheUse) -> Self {
        let mut uses = Self::default();
        uses.add(how);
        uses
    }

    /// Once more.
    pub fn add(&mut self, how: CacheUse) {
        self.0[how as usize] += 1;
    }

    /// All of these, too.
    pub fn add_all(&mut self, others: CacheUses) {
        self.0.iter_mut().zip(others.0).for_each(|(count, more)| *count += more);
    }

    /// Whether it did nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// What it did, and how often.
    pub fn iter(self) -> impl Iterator<Item = (CacheUse, u32)> {
        CacheUse::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// What the store did for one part of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartCached {
    /// By index in the plan.
    pub part: u16,
    /// What it did.
    pub uses: CacheUses,
}

impl PartCached {
    /// Nothing is recorded of a part for which it did nothing.
    pub fn of(part: u16, uses: CacheUses) -> Option<Self> {
        (!uses.is_empty()).then_some(Self { part, uses })
    }
}
