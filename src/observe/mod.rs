//! What happened? Counters, the access log, trace context and what operators are told.
//!
//! The record functions run on a core at the end of every exchange and cost tens of nanoseconds each:
//! they never allocate, never lock, never read a clock and never write to anything but their own core's
//! memory. Everything slow (summing, rendering, writing to files) happens on other threads.
//!
//! - [`plan`]: the labels of one Gateway, compiled, and the book of names behind them.
//! - [`metrics`]: one core's counters and histograms; [`series`]: histograms by method, route, status;
//!   [`snapshot`]: their sums; [`prometheus`]: those as text.
//! - [`limits`]: what rate and concurrency limits said, by limit.
//! - [`access_log`]: one JSON line per exchange into a page ([`mod@line`]: how a line is written).
//! - [`trace`]: request ids and W3C trace context.
//! - [`event`]: what operators are told.
//! - [`names`]: every metric, label and log field, once.

pub mod access_log;
pub mod control;
pub mod event;
pub mod grpc;
pub mod limits;
pub mod line;
mod line_text;
mod log_identity;
pub mod log_rules;
pub mod metrics;
pub mod names;
pub mod origin_h2;
pub mod plan;
pub mod prometheus;
pub mod series;
pub mod snapshot;
pub mod span;
pub mod trace;

#[cfg(test)]
pub(crate) mod fixture;
