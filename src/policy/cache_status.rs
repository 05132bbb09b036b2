//! What Cache-Status says of an answer (RFC 9211), and the word for logs and metrics.
//!
//! It never says more than how the cache treated the request: no key, no upstream.

use std::time::Duration;

use crate::exchange::cached::Cached;
use crate::http::Status;

/// Why a request went on to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The cache is not to be used for it.
    Bypass,
    /// Its method is not one that is answered from a store.
    Method,
    /// Nothing is stored for the address.
    UriMiss,
    /// What is stored is too old.
    Stale,
    /// The client wants it so.
    Request,
}

impl Forwarded {
    fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// How the cache treated a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheStatus {
    /// Why it was forwarded; `None`: it was not.
    pub forwarded: Option<Forwarded>,
    /// What the origin answered.
    pub origin: Option<Status>,
    /// How long the answer is still fresh; negative: how long it has been stale. Unit: seconds.
    pub ttl: Option<i64>,
    /// Whether the answer is stored.
    pub stored: bool,
    /// Whether it waited for another request's fetch.
    pub collapsed: bool,
    /// Why it is not stored, or stands in.
    pub detail: &'static str,
}

impl CacheStatus {
    /// That of an answer from the store.
    pub fn hit(lifetime: Duration, age: Duration) -> Self {
        let secs = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self { ttl: Some(secs(lifetime).saturating_sub(secs(age))), ..Self::default() }
    }

    /// The word for logs and metrics.
    pub fn word(&self) -> Cached {
        match (self.forwarded, self.origin) {
            (None, _) if self.collapsed => Cached::Collapsed,
            (None, _) if self.ttl.is_some_and(|ttl| ttl <= 0) => Cached::Stale,
            (None, _) => Cached::Hit,
            (Some(_), Some(Status(304))) => Cached::Revalidated,
            (Some(Forwarded::Bypass | Forwarded::Method), _) => Cached::Bypass,
            (Some(_), _) => Cached::Miss,
        }
    }

    /// The value of the field, piece by piece.
    pub fn write(&self, put: &mut impl FnMut(&[u8])) {
        let mut number = itoa::Buffer::new();
        put(b"ringway");
        match self.forwarded {
            None => put(b"; hit"),
            Some(why) => {
                put(b"; fwd=");
                put(why.word().as_bytes());
            }
        }
        if let Some(status) = self.origin {
            put(b"; fwd-status=");
            put(number.format(status.0).as_bytes());
        }
        if let Some(ttl) = self.ttl {
            put(b"; ttl=");
            put(number.format(ttl).as_bytes());
        }
        if self.stored {
            put(b"; stored");
        }
        if self.collapsed {
            put(b"; collapsed");
        }
        if !self.detail.is_empty() {
            put(b"; detail=");
            put(self.detail.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: CacheStatus) -> String {
        let mut bytes = Vec::new();
        status.write(&mut |piece| bytes.extend_from_slice(piece));
        String::from_utf8(bytes).expect("ASCII")
    }

    #[test]
    fn the_field_is_an_item_with_parameters() {
        let secs = Duration::from_secs;
        let hit = CacheStatus::hit(secs(60), secs(18));
        assert_eq!((text(hit).as_str(), hit.word()), ("ringway; hit; ttl=42", Cached::Hit));
        let stale = CacheStatus::hit(secs(60), secs(70));
        assert_eq!((text(stale).as_str(), stale.word()), ("ringway; hit; ttl=-10", Cached::Stale));
        let forwarded = Some(Forwarded::UriMiss);
        let miss = CacheStatus {
            forwarded,
            origin: Some(Status(200)),
            stored: true,
            ..CacheStatus::default()
        };
        assert_eq!(text(miss), "ringway; fwd=uri-miss; fwd-status=200; stored");
        let refused = CacheStatus { forwarded, detail: "no_store", ..CacheStatus::default() };
        assert_eq!(text(refused), "ringway; fwd=uri-miss; detail=no_store");
        assert_eq!(refused.word(), Cached::Miss);
        let collapsed = CacheStatus { collapsed: true, ..hit };
        assert_eq!(collapsed.word(), Cached::Collapsed);
    }
}
