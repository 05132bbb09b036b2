//! What the tests of gRPC need: a service of tonic's, its clients, and the gateway in between.
//!
//! Messages and methods are written by hand, so that no compiler of .proto files is needed. Nothing here knows how the
//! gateway works: it is started as its users start it.

pub mod authority;
pub mod gateway;
pub mod service;

use std::time::Duration;

/// How long anything may take that should happen at once, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A message.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

impl Note {
    /// A message with this number and as many bytes as that.
    pub fn sized(number: u64, bytes: usize) -> Note {
        Note { text: format!("note {number}"), number, data: vec![number as u8; bytes] }
    }
}
