//! What is special about a call of gRPC, as far as it goes from room to room.
//!
//! All of it is absent for every other request. It is never believed of a request that does not say by its media type
//! that it is such a call (grpc/doc/PROTOCOL-HTTP2.md, whose trailers are those of RFC 9113 §8.1).

use crate::base::time::Instant;
use crate::http::grpc_web;

/// Marks of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// How it is translated, where it came in gRPC-Web to a route that does so.
    pub web: Option<grpc_web::Call>,
    /// When its client stops waiting, where it said so: for the end of the call, not for its beginning only.
    pub deadline: Option<Instant>,
}
