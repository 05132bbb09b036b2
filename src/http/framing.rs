//! How long is this body? (RFC 9112 §6)
//!
//! It must never pick one reading of an ambiguous message: every way to be smuggled is refused.

/// How a message body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// Exactly this many bytes (Content-Length); zero is `None` for requests.
    Exact(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}
