//! A load generator that tells the truth: when each request was meant to start, what came back, and what did not.
//!
//! One thread drives many connections with one epoll, and nothing is shared between threads while they run; what they
//! counted is merged at the end. The parts that think (`pace`, `answer`, `plan`, `record`) do no I/O and are told the time.
//!
//! Why not the gateway's own runtime and codec: an error in them would stand on both sides of the wire and cancel itself
//! out; and `h2` asks for poll-shaped I/O, which monoio's owned buffers would have to be bridged to. epoll by `rustix` is
//! safe code, costs a few microseconds a request (as wrk's) and runs where io_uring is refused.
//!
//! Never a request to an address that is not loopback, unless the caller says so; never a run without an end.

pub mod answer;
pub mod bounds;
pub mod drive;
pub mod h1;
pub mod h2c;
pub mod pace;
pub mod plan;
pub mod record;
pub mod wire;
