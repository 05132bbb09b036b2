//! Behaviour tests: the built gateway as a black box between scripted origins and a raw client.
//!
//! One binary, a module per feature. A test reads as a dialogue: the origin will say, the client asks, the
//! client sees, the origin saw. Tests never sleep for a length of time and never assert on one; where a
//! timeout is the subject, only its outcome is asserted.

mod support;

mod access_log;
mod aggregate;
mod allow;
mod api_key;
mod attacks;
mod balance;
mod bandwidth;
mod bodies;
mod buffering;
mod cache;
mod cache_attacks;
mod cache_coded;
mod cli;
mod client_address;
mod client_cert;
mod codings;
mod compress;
mod concurrency;
mod connect;
mod cors;
mod dashboard;
mod demo;
mod drain;
mod drivers;
mod etag;
mod exchanges;
mod faults;
mod fleet;
mod framing;
mod h1;
mod headers;
mod hedge;
mod hostile;
mod identity;
mod idle;
mod jwt;
mod jwt_more;
mod lists;
mod logging;
mod maintenance;
mod merged_cache;
mod metrics;
mod mirror;
mod observability;
mod otlp;
mod part_cache;
mod partial;
mod process;
mod proxy_header;
mod rate_limit;
mod reload;
mod retry;
mod routing;
mod shaping;
mod slow;
mod smuggling;
mod spelling;
mod stream;
mod timeouts;
mod tls;
mod tls_reload;
mod tls_upstream;
mod tunnel;
mod upgrade;
mod upload_faults;
mod views;
mod withheld;
mod workers;
