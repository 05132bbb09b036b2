//! Properties of the pure rooms: what must hold for every input, tried on many.
//!
//! A module for each room. Nothing here ever opens a socket or asks a clock.

#[path = "properties/aggregate.rs"]
mod aggregate;
