//! How the response cache treated a request, for logs and metrics.
//!
//! A closed set: it never grows with what clients ask for.

/// The end of a request on a route with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// Answered from the store.
    Hit,
    /// Answered from the store, although it is not fresh any more.
    Stale,
    /// Answered from the store after the origin said that it is still good.
    Revalidated,
    /// Answered from what another request brought.
    Collapsed,
    /// The origin answered.
    Miss,
    /// The cache was not asked.
    Bypass,
}

impl Cached {
    /// All of them, in the order of their numbers.
    pub const ALL: [Cached; 6] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Bypass];

    /// The word in logs and labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}
