//! What the kernel says of this process: memory, processor time, descriptors (proc(5)).
//!
//! It never fails a page of metrics: what cannot be read is left out.

use std::fs;

use crate::observe::names::metric;
use crate::observe::prometheus::append;

/// Unit of processor times in /proc: `USER_HZ`, which Linux fixes at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the process's own metrics to a page.
pub(super) fn append_process(page: &mut String) {
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|s| cpu_seconds(&s))
    {
        append(page, metric::PROCESS_CPU, seconds);
    }
    let status = fs::read_to_string("/proc/self/status").ok();
    if let Some(bytes) = status.and_then(|status| resident_bytes(&status)) {
        append(page, metric::PROCESS_MEMORY, bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder's own.
        append(page, metric::PROCESS_FDS, entries.count().saturating_sub(1) as f64);
    }
}

/// `utime` and `stime`, fields 14 and 15. The name, field 2, may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// `VmRSS:` in kibibytes.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some((kibibytes * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nothing"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(resident_bytes("VmPeak: 9 kB\nVmRSS:\t    12 kB\n"), Some(12_288.0));
    }

    #[test]
    fn this_process_has_all_three() {
        let mut page = String::new();
        append_process(&mut page);
        assert_eq!(page.matches("# TYPE ").count(), 3, "{page}");
    }
}
