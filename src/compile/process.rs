//! What concerns the process and not a request: workers, the admin listener, the access log.
//!
//! Plain values only: compile never opens, binds or pins anything.

use std::time::Duration;

use crate::base::address::Address;
use crate::config::{self, Config};

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which worker threads there are.
    pub workers: Workers,
    /// How long a stopping process waits for requests in flight.
    pub drain_timeout: Duration,
    /// Where operators look in; `None`: nowhere.
    pub admin: Option<AdminAddress>,
    /// Where the access log goes.
    pub access_log: config::LogTarget,
}

/// Where operators look in.
pub type AdminAddress = Address;

/// Which worker threads there are.
pub type Workers = config::Workers;

impl Process {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            workers: config.workers.value.clone(),
            drain_timeout: config.drain_timeout,
            admin: config.admin.address.as_ref().map(|address| address.value.clone()),
            access_log: config.observe.access_log.value.clone(),
        }
    }
}
