//! `ringway version`: what runs here, and what this host offers.
//!
//! It never needs a configuration and never fails: what cannot be found out is said so.

use std::fmt::Write;
use std::fs;

use crate::cli::{OK, Said};
use crate::runtime::pin;
use crate::runtime::probe::{Driver, ring_flags};

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Tells the version, in one line or in full.
pub fn run(verbose: bool) -> Said {
    let mut out = format!("ringway {VERSION}\n");
    if verbose {
        let commit = option_env!("RINGWAY_COMMIT").unwrap_or("unknown");
        let rustc = option_env!("RINGWAY_RUSTC").unwrap_or("unknown");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = pin::allowed();
        let driver = match ring_flags() {
            Ok(flags) => Driver::IoUring(flags).to_string(),
            Err(refusal) => format!("epoll; no io_uring: {refusal}"),
        };
        let _ = writeln!(out, "commit   {commit}");
        let _ = writeln!(out, "compiler {rustc}");
        let _ = writeln!(out, "kernel   {}", kernel.trim());
        let _ = writeln!(out, "cores    {} ({cores:?})", cores.len());
        let _ = writeln!(out, "driver   {driver}");
    }
    Said { out, err: String::new(), code: OK }
}
