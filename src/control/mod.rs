//! The slow side; it never is on a request's path.

pub mod keys;
pub mod flush;
pub mod signal;
pub mod sockets;
pub mod tell;
