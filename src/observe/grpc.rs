//! Calls of gRPC by how they ended, counted per core.
//!
//! What a service calls its methods is never a label here: routes are, with their requests.

use crate::observe::metrics::Counter;

/// The codes of gRPC, from 0 to 16 (grpc/doc/statuscodes.md), as they stand in a label.
pub const CODES: [&str; 17] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];

/// The counters of one core.
#[derive(Debug, Default)]
pub struct GrpcMetrics([Counter; CODES.len()]);

impl GrpcMetrics {
    /// A call is over; its code is known if it did not break off.
    pub fn record(&self, code: Option<u8>) {
        if let Some(counter) = code.and_then(|code| self.0.get(usize::from(code))) {
            counter.add(1);
        }
    }

    /// Adds what this core counted.
    pub fn add_to(&self, sums: &mut [u64; CODES.len()]) {
        sums.iter_mut().zip(&self.0).for_each(|(sum, counter)| *sum += counter.read());
    }
}
