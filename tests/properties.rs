//! What must hold for every input: properties of the pure rooms, a module each, and the replay of the
//! fuzz corpus on the stable toolchain. A property never depends on time or on another test.

#[path = "properties/http.rs"]
mod http;
