//! Certificates while the process runs: whether their files changed, and how long they hold.
//!
//! Files are looked at once a second by their metadata, and read only after they stood still from one look to
//! the next: a certificate and its key are two files, and are never read between the two writes if that can be
//! helped. A change that does not fit is told once; what is in force stays. No notification of the kernel's is
//! asked for: secrets that an orchestrator mounts are exchanged behind symbolic links, which those miss.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::time::{Instant, Wall};
use crate::compile::Compiled;
use crate::control::tell::Tell;
use crate::observe::event::Event;
use crate::observe::prometheus::CertificateEnd;

/// How often files are looked at. A handful of system calls for each.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a certificate that ends soon is warned about. Unit: seconds.
const DAY: u64 = 86_400;

/// What is watched.
pub struct Certificates {
    files: Vec<PathBuf>,
    /// As they were when they were last read.
    read: Vec<Stamp>,
    /// As they were at the last look, if that differs.
    moving: Option<Vec<Stamp>>,
    looked: Instant,
    told_on: Option<u64>,
    /// When the first OCSP answer ends that clients are shown. Unit: seconds since 1970.
    stapled_until: Option<u64>,
    ends: Vec<CertificateEnd>,
}

/// What tells one content of a file from another; nothing for one that cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Files as they were at a moment.
pub struct Seen(Vec<PathBuf>, Vec<Stamp>);

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

impl Certificates {
    /// Those of a configuration that was read just now; `before` is how files were before it was read: what was
    /// written meanwhile is found at the next look.
    pub fn of(compiled: &Compiled, now: Instant, before: Option<Seen>) -> Self {
        let files = compiled.files.clone();
        let mut read = stamps(&files);
        if let Some(Seen(known, stamps)) = before {
            for (file, stamp) in known.iter().zip(stamps) {
                if let Ok(at) = files.binary_search(file) {
                    read[at] = stamp;
                }
            }
        }
        let listeners = compiled.gateway.listeners.iter();
        let ends = listeners.flat_map(|listener| {
            let facts = listener.tls.iter().flat_map(|tls| &tls.facts);
            facts.map(|facts| CertificateEnd {
                listener: listener.address.to_string(),
                name: facts.names.first().unwrap_or(&facts.subject).clone(),
                serial: facts.serial.clone(),
                not_after: facts.not_after,
                soon: facts.ends_soon,
            })
        });
        let ends = ends.collect();
        let listeners = compiled.gateway.listeners.iter().filter_map(|one| one.tls.as_ref());
        let stapled = listeners.flat_map(|tls| &tls.facts).filter_map(|one| one.stapled_until);
        let stapled_until = stapled.min();
        Self { files, read, moving: None, looked: now, told_on: None, stapled_until, ends }
    }

    /// How its files are now.
    pub fn look(&self) -> Seen {
        Seen(self.files.clone(), stamps(&self.files))
    }

    /// Until when they hold.
    pub fn ends(&self) -> Vec<CertificateEnd> {
        self.ends.clone()
    }

    /// Whether files changed and are to be read again, or what was read has become worse than nothing.
    pub fn changed(&mut self, now: Instant, wall: Wall) -> bool {
        if self.files.is_empty() || now.since(self.looked) < LOOK_EVERY {
            return false;
        }
        self.looked = now;
        if self.stapled_until.is_some_and(|until| until <= wall.as_secs()) {
            // Once: what comes of it, or the file that is exchanged, says the rest.
            self.stapled_until = None;
            return true;
        }
        let seen = stamps(&self.files);
        if seen == self.read {
            self.moving = None;
            return false;
        }
        if self.moving.as_ref() != Some(&seen) {
            self.moving = Some(seen);
            return false;
        }
        self.moving = None;
        self.read = seen;
        true
    }

    /// Tells once a day which of them end soon.
    pub fn warn(&mut self, wall: Wall, tell: &Tell) {
        let now = wall.as_secs();
        if self.told_on == Some(now / DAY) {
            return;
        }
        self.told_on = Some(now / DAY);
        for end in self.ends.iter().filter(|end| end.not_after < now + end.soon) {
            let (listener, name) = (end.listener.as_str(), end.name.as_str());
            let left = Duration::from_secs(end.not_after.saturating_sub(now));
            tell.event(&Event::CertificateEnds { listener, name, left });
        }
    }
}
