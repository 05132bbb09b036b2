//! What concerns the process and not a request: workers, the admin listener, the access log.
//!
//! Plain values only: compile never opens, binds or pins anything.

use std::path::PathBuf;
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
    /// Where the access log goes; `None`: nowhere.
    pub access_log: Option<LogTarget>,
}

/// Where operators look in.
pub type AdminAddress = Address;

/// Which worker threads there are.
pub type Workers = config::Workers;

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, or a device such as standard error's.
    File(PathBuf),
}

impl Process {
    pub(super) fn of(config: &Config) -> Self {
        let access_log = match &config.observe.access_log.value {
            config::LogTarget::Off => None,
            config::LogTarget::Stdout => Some(LogTarget::Stdout),
            config::LogTarget::Stderr => Some(LogTarget::File("/dev/stderr".into())),
            config::LogTarget::File(path) => Some(LogTarget::File(path.clone())),
        };
        Self {
            workers: config.workers.value.clone(),
            drain_timeout: config.drain_timeout,
            admin: config.admin.address.as_ref().map(|address| address.value.clone()),
            access_log,
        }
    }
}
