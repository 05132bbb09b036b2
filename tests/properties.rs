//! Properties of the pure rooms: what must hold for every input, tried on many.
//!
//! A module for each room. Nothing here ever opens a socket or asks a clock.

#[path = "properties/aggregate.rs"]
mod aggregate;
//! Properties of the pure rooms, tried on generated input: one module per room.
//!
//! A failing case is shrunk and printed; make it a named unit test beside the code that it broke.

#[path = "properties/observe.rs"]
mod observe;
//! What must hold for every input: properties of the pure rooms, a module each, and the replay of the
//! fuzz corpus on the stable toolchain. A property never depends on time or on another test.

#[path = "properties/http.rs"]
mod http;
