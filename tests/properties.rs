//! Properties of the pure rooms, tried on generated input: one module per room.
//!
//! A failing case is shrunk and printed; make it a named unit test beside the code that it broke.

#[path = "properties/observe.rs"]
mod observe;
