//! What the control thread counts, which is no core's.
//!
//! It has one writer like all numbers here, and never stands on a request's path.

use crate::observe::metrics::{Counter, Gauge};

/// What the control thread counts; it alone writes here.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// Version of the Gateway in force.
    pub config_version: Gauge,
    /// Reloads that were installed.
    pub reloads_installed: Counter,
    /// Reloads that were refused.
    pub reloads_refused: Counter,
    /// Workers asked for.
    pub workers_wanted: Gauge,
    /// Workers at work.
    pub workers_running: Gauge,
    /// Workers that died and were started again.
    pub worker_restarts: Counter,
}
