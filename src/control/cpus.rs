//! Which CPUs workers get, and how many clients each of them may have.
//!
//! It never takes a CPU that the process may not use: who started it decided that (taskset, cpuset).

use crate::compile::Workers;

/// The CPU of each worker: one for each that the process may use, so many of them, or those named.
///
/// # Errors
/// In words: one is named that this process may not use.
pub fn choose_cpus(workers: &Workers, allowed: &[usize]) -> Result<Vec<Option<usize>>, String> {
    match workers {
        Workers::Auto => Ok(allowed.iter().map(|cpu| Some(*cpu)).collect()),
        // More workers than CPUs share them, unpinned.
        Workers::Count(count) if *count > allowed.len() => Ok(vec![None; *count]),
        Workers::Count(count) => Ok(allowed[..*count].iter().map(|cpu| Some(*cpu)).collect()),
        Workers::Cores(cores) => match cores.iter().find(|core| !allowed.contains(core)) {
            Some(core) => Err(format!(
                "error: `workers` names CPU {core}, which this process may not use\n  = help: allowed are {allowed:?} (taskset, cpuset)\n"
            )),
            None => Ok(cores.iter().map(|core| Some(*core)).collect()),
        },
    }
}

/// Descriptors kept back for the admin listener, logs and keys.
pub const KEPT_BACK: u64 = 48;

/// Client connections that one worker may have open. Some descriptors are kept back for the admin
/// listener, logs and keys, and of the rest a quarter for connections to origins: only busy clients need
/// one, and idle clients are given up when an origin cannot be reached for want of descriptors.
pub fn connections_of_one(descriptors: u64, workers: usize) -> usize {
    let each = descriptors.saturating_sub(KEPT_BACK) / 4 * 3 / workers.max(1) as u64;
    usize::try_from(each.max(1)).unwrap_or(usize::MAX)
}
