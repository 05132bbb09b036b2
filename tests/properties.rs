//! Properties of the pure rooms: what must hold for every input, tried on many, and the replay of the
//! fuzz corpus on the stable toolchain.
//!
//! A module for each room. Nothing here ever opens a socket, asks a clock or depends on another test. A
//! failing case is shrunk and printed; make it a named unit test beside the code that it broke.

#[path = "properties/aggregate.rs"]
mod aggregate;
#[path = "properties/http.rs"]
mod http;
#[path = "properties/observe.rs"]
mod observe;
#[path = "properties/route.rs"]
mod route;
