//! What must hold for every input: properties of the pure rooms, a module each, and the replay of the
//! fuzz corpus on the stable toolchain. A property never depends on time or on another test.
//!
//! A failing case is shrunk and printed; make it a named unit test beside the code that it broke.

#[path = "properties/aggregate.rs"]
mod aggregate;
#[path = "properties/client.rs"]
mod client;
#[path = "properties/http.rs"]
mod http;
#[path = "properties/net.rs"]
mod net;
#[path = "properties/observe.rs"]
mod observe;
#[path = "properties/route.rs"]
mod route;
#[path = "properties/upstream.rs"]
mod upstream;
