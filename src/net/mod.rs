//! Sockets and what wraps them.
//!
//! It never knows HTTP: bytes and addresses only.

pub mod fuzz;
pub mod listener;
pub mod poll_io;
pub mod proxy_protocol;
pub mod resp;
pub mod strand;
pub mod stream;
pub mod tls;
