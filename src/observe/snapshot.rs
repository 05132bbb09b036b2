//! All cores' numbers at one moment, summed: what the admin thread renders.
//!
//! Reading never disturbs a core: it loads words. A snapshot is a moment's view, whose numbers may differ
//! by the requests that ended while it was taken; none of them ever goes backwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::name::Name;
use crate::base::time::Wall;
use crate::exchange::attempt::Hedge;
use crate::exchange::cached::Cached;
use crate::exchange::fault::{FaultKind, Side};
use crate::http::h2::flood::Flood;
use crate::observe::control::ControlMetrics;
use crate::observe::grpc;
use crate::observe::limits::{SeatsNow, SeatsShown};
use crate::observe::metrics::{CoreMetrics, FlushMetrics, Handshake, HeaderRefusal};
use crate::observe::origin_h2::OriginH2Snapshot;
use crate::observe::plan::{Label, LabelBook};
use crate::observe::series::{HistogramSum, SeriesKey, SeriesTable};

/// Everything that the process counts, for reading. Made once by control and handed to the admin thread.
#[derive(Clone, Debug)]
pub struct Registry {
    /// One block per worker, by worker id.
    pub cores: Vec<Arc<CoreMetrics>>,
    /// The flush thread's numbers.
    pub flush: Arc<FlushMetrics>,
    /// The control thread's numbers.
    pub control: Arc<ControlMetrics>,
    /// When the process started.
    pub started: Wall,
    /// The program's version.
    pub version: &'static str,
}

impl Registry {
    /// A registry for `workers` cores with everything at zero.
    pub fn new(workers: usize, started: Wall, version: &'static str) -> Self {
        let cores = (0..workers).map(|_| Arc::new(CoreMetrics::default())).collect();
        let (flush, control) = (Arc::default(), Arc::default());
        Self { cores, flush, control, started, version }
    }

    /// The numbers now, under the names of `book`. A name entered since the book was copied is shown as
    /// `_other` until the next reading.
    pub fn snapshot(&self, book: &LabelBook) -> Snapshot {
        let mut sum = Snapshot {
            started: self.started,
            version: self.version,
            config_version: self.control.config_version.read(),
            reloads_installed: self.control.reloads_installed.read(),
            reloads_refused: self.control.reloads_refused.read(),
            workers_wanted: self.control.workers_wanted.read(),
            workers_running: self.control.workers_running.read(),
            worker_restarts: self.control.worker_restarts.read(),
            log_lines: self.flush.lines.read(),
            log_bytes: self.flush.bytes.read(),
            log_lines_unwritten: self.flush.lines_dropped.read(),
            spans: [self.flush.spans_exported.read(), self.flush.spans_failed.read(), 0],
            routes: book.routes().to_vec(),
            upstream_names: book.upstreams().to_vec(),
            part_names: book.parts().to_vec(),
            limit_names: book.limits().to_vec(),
            seats: book.seats().iter().map(SeatsShown::now).collect(),
            ..Snapshot::default()
        };
        for core in &self.cores {
            sum.add(core);
        }
        sum
    }
}

/// The numbers of a moment, summed over cores where a number is not a worker's own.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) routes: Vec<Name>,
    pub(crate) upstream_names: Vec<Name>,
    pub(crate) started: Wall,
    pub(crate) version: &'static str,
    pub(crate) config_version: u64,
    pub(crate) reloads_installed: u64,
    pub(crate) reloads_refused: u64,
    pub(crate) workers_wanted: u64,
    pub(crate) workers_running: u64,
    pub(crate) worker_restarts: u64,
    pub(crate) log_lines: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_lines_unwritten: u64,
    pub(crate) log_lines_unqueued: u64,
    pub(crate) requests: BTreeMap<SeriesKey, HistogramSum>,
    pub(crate) origins: BTreeMap<SeriesKey, HistogramSum>,
    pub(crate) overhead: HistogramSum,
    pub(crate) faults: BTreeMap<(usize, &'static str), u64>,
    pub(crate) upstreams: BTreeMap<Label, UpstreamSum>,
    pub(crate) part_names: Vec<Name>,
    /// Failures of parts, by place in `REASONS`.
    pub(crate) parts: BTreeMap<(Label, usize), u64>,
    /// What the store of answers did for parts, by place in `CacheUse::ALL`.
    pub(crate) parts_cached: BTreeMap<(Label, usize), u64>,
    pub(crate) store_connections: u64,
    pub(crate) store_missed: u64,
    pub(crate) store_away: u64,
    pub(crate) seats: Vec<SeatsNow>,
    pub(crate) limit_names: Vec<Name>,
    /// What limits said, by place in `LimitSaid::ALL`.
    pub(crate) limits: BTreeMap<(Label, usize), u64>,
    pub(crate) workers: Vec<WorkerSum>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) active_requests: u64,
    pub(crate) tunnels: u64,
    pub(crate) tunnels_open: u64,
    pub(crate) tunnel_bytes_in: u64,
    pub(crate) tunnel_bytes_out: u64,
    pub(crate) connections_refused: u64,
    pub(crate) headers_refused: [u64; HeaderRefusal::ALL.len()],
    pub(crate) handshakes: [u64; Handshake::ALL.len()],
    pub(crate) h2_connections: u64,
    pub(crate) h2_streams: u64,
    pub(crate) h2_floods: [u64; Flood::ALL.len()],
    pub(crate) origin_h2: OriginH2Snapshot,
    pub(crate) grpc: [u64; grpc::CODES.len()],
    pub(crate) connections_given_up: u64,
    pub(crate) pool_idle: u64,
    pub(crate) buffers_in_use: u64,
    /// By place in `Cached::ALL`.
    pub(crate) cached: [u64; Cached::ALL.len()],
    pub(crate) cache_bytes: u64,
    pub(crate) cache_evicted: u64,
    pub(crate) jwt_hits: u64,
    pub(crate) jwt_misses: u64,
    pub(crate) panics: u64,
    /// Exported, not taken by the collector, lost before it.
    pub(crate) spans: [u64; 3],
    pub(crate) compress_bytes: [u64; 2],
    pub(crate) compress_skipped: u64,
    /// Answered, failed, left out.
    pub(crate) mirrored: [u64; 3],
    pub(crate) limited: u64,
}

/// One upstream over all cores.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpstreamSum {
    pub(crate) attempts: u64,
    pub(crate) retries: u64,
    /// By place in `Hedge::ALL`.
    pub(crate) hedges: [u64; Hedge::ALL.len()],
    pub(crate) reused: u64,
    pub(crate) connect_failures: u64,
    pub(crate) failures: u64,
    pub(crate) bytes: u64,
}

/// What is shown by worker: how evenly the kernel spreads connections can be seen here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerSum {
    pub(crate) requests: u64,
    pub(crate) accepted: u64,
    pub(crate) open: u64,
}

const SIDES: [Side; 3] = [Side::Downstream, Side::Gateway, Side::Upstream];

impl Snapshot {
    /// Requests finished since the process started.
    pub fn requests_finished(&self) -> u64 {
        self.workers.iter().map(|worker| worker.requests).sum()
    }

    fn add(&mut self, core: &CoreMetrics) {
        add_series(&mut self.requests, &core.requests);
        add_series(&mut self.origins, &core.origins);
        core.overhead.add_to(&mut self.overhead);
        self.add_faults(core);
        self.add_upstreams(core);
        for (label, counters) in core.parts() {
            for (reason, counter) in counters.failures.iter().enumerate() {
                let count = counter.read();
                if count > 0 {
                    *self.parts.entry((label, reason)).or_default() += count;
                }
            }
            for (how, counter) in counters.cached.iter().enumerate() {
                let count = counter.read();
                if count > 0 {
                    *self.parts_cached.entry((label, how)).or_default() += count;
                }
            }
        }
        self.store_connections += core.limits.store_connected.read();
        self.store_missed += core.limits.store_missed.read();
        self.store_away += core.limits.store_away.read();
        for (label, counters) in core.limits.iter() {
            for (said, counter) in counters.said.iter().enumerate() {
                let count = counter.read();
                if count > 0 {
                    *self.limits.entry((label, said)).or_default() += count;
                }
            }
        }
        self.workers.push(WorkerSum {
            requests: core.finished.read(),
            accepted: core.connections_accepted.read(),
            open: core.connections_open.read(),
        });
        self.bytes_in += core.bytes_in.read();
        self.bytes_out += core.bytes_out.read();
        self.active_requests += core.active_requests.read();
        self.tunnels += core.tunnels.read();
        self.tunnels_open += core.tunnels_open.read();
        self.tunnel_bytes_in += core.tunnel_bytes_in.read();
        self.tunnel_bytes_out += core.tunnel_bytes_out.read();
        self.connections_refused += core.connections_refused.read();
        self.add_protocols(core);
        self.connections_given_up += core.connections_given_up.read();
        self.pool_idle += core.pool_idle.read();
        self.buffers_in_use += core.buffers_in_use.read();
        for how in Cached::ALL {
            self.cached[how as usize] += core.cached(how);
        }
        self.cache_bytes += core.cache_bytes.read();
        self.cache_evicted += core.cache_evicted.read();
        self.jwt_hits += core.jwt_hits.read();
        self.jwt_misses += core.jwt_misses.read();
        self.panics += core.panics.read();
        self.spans[2] += core.spans_dropped.read();
        self.compress_bytes[0] += core.compress_bytes_in.read();
        self.compress_bytes[1] += core.compress_bytes_out.read();
        self.compress_skipped += core.compress_skipped.read();
        self.mirrored[0] += core.mirrors_answered.read();
        self.mirrored[1] += core.mirrors_failed.read();
        self.mirrored[2] += core.mirrors_left_out.read();
        self.log_lines_unqueued += core.log_lines_dropped.read();
    }

    /// What came before a request, or around it.
    fn add_protocols(&mut self, core: &CoreMetrics) {
        for how in HeaderRefusal::ALL {
            self.headers_refused[how as usize] += core.headers_refused(how);
        }
        for how in Handshake::ALL {
            self.handshakes[how as usize] += core.handshakes(how);
        }
        self.h2_connections += core.h2_connections.read();
        self.h2_streams += core.h2_streams.read();
        for kind in Flood::ALL {
            self.h2_floods[kind as usize] += core.h2_floods(kind);
        }
        self.origin_h2.add(&core.origin_h2);
        core.grpc.add_to(&mut self.grpc);
    }

    fn add_faults(&mut self, core: &CoreMetrics) {
        for (index, kind) in FaultKind::ALL.iter().enumerate() {
            for side in SIDES {
                let count = core.faults(*kind, side);
                if count > 0 {
                    *self.faults.entry((index, side.name())).or_default() += count;
                }
                if *kind == FaultKind::RateLimited {
                    self.limited += count;
                }
            }
        }
    }

    fn add_upstreams(&mut self, core: &CoreMetrics) {
        for (label, counters) in core.upstreams() {
            let sum = self.upstreams.entry(label).or_default();
            sum.attempts += counters.attempts.read();
            sum.retries += counters.retries.read();
            for (total, count) in sum.hedges.iter_mut().zip(&counters.hedges) {
                *total += count.read();
            }
            sum.reused += counters.reused.read();
            sum.connect_failures += counters.connect_failures.read();
            sum.failures += counters.failures.read();
            sum.bytes += counters.bytes.read();
        }
    }
}

fn add_series(sums: &mut BTreeMap<SeriesKey, HistogramSum>, table: &SeriesTable) {
    for (key, series) in table.iter() {
        series.add_to(sums.entry(key).or_default());
    }
}
