//! The slow side: starts the cores, hears signals, reads the configuration again, drains and ends.
//!
//! It is never on a request's path. A configuration that is not good never replaces one that is, and a
//! reload is reported done only when every core has said that it works by it.

mod acme;
mod certificates;
pub mod cpus;
mod endpoints;
pub mod export;
mod fleet_store;
pub mod flush;
mod fresh;
pub mod hashing;
pub mod keys;
pub mod line_socket;
pub mod lists;
pub mod load;
pub mod presence;
pub mod process;
mod retired;
mod seat;
mod shown;
pub mod signal;
pub mod sockets;
pub mod tell;

use std::path::PathBuf;

use crate::control::process::{Process, Unstarted};
use crate::control::tell::Tell;
use crate::observe::event::{Event, Format};
use crate::runtime::memory;
use crate::runtime::probe::{Driver, DriverChoice, ring_flags};

/// What `run` was told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration; `None` looks in the default places.
    pub path: Option<PathBuf>,
    /// What the event loops run on.
    pub driver: DriverChoice,
    /// Events as JSON lines.
    pub events_as_json: bool,
    /// Whether only what is wrong is told.
    pub quiet: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it was told to.
    Ok,
    /// Something failed while running.
    Failed,
    /// The host cannot run us.
    Unavailable,
    /// The configuration is wrong.
    Config,
}

/// Serves until told to stop. `started` is called once every worker accepts.
pub fn run(options: &Options, started: impl FnOnce()) -> End {
    let format = if options.events_as_json { Format::Json } else { Format::Plain };
    let tell = Tell::new(format, options.quiet);
    memory::use_small_pages();
    let driver = match choose_driver(options.driver, &tell) {
        Ok(driver) => driver,
        Err(why) => {
            eprintln!("error: this host cannot run the io_uring driver: {why}");
            return End::Unavailable;
        }
    };
    let path = load::path(options.path.as_deref());
    match Process::start(&path, driver, tell) {
        Ok(process) => {
            started();
            process.supervise()
        }
        Err(Unstarted::Config(text)) => {
            eprint!("{text}");
            End::Config
        }
        Err(Unstarted::Failed(why)) => {
            eprintln!("error: {why}");
            End::Failed
        }
    }
}

/// The driver that was asked for, or the best that this host can run.
fn choose_driver(choice: DriverChoice, tell: &Tell) -> Result<Driver, String> {
    if choice == DriverChoice::Epoll {
        return Ok(Driver::Epoll);
    }
    match (ring_flags(), choice) {
        (Ok(flags), _) => Ok(Driver::IoUring(flags)),
        (Err(refusal), DriverChoice::IoUring) => Err(refusal.to_string()),
        (Err(refusal), _) => {
            tell.event(&Event::DriverFallback {
                wanted: "io_uring",
                taken: "epoll",
                cause: &refusal.cause,
                fix: refusal.fix,
            });
            Ok(Driver::Epoll)
        }
    }
}
