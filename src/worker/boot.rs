//! Starts a worker's thread: pins it, makes its event loop, and gives it its core.
//!
//! It never starts a worker that cannot listen: sockets are bound before, by the control side.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::Sender;

use crate::base::ids::WorkerId;
use crate::base::random::Rng;
use crate::gateway::Gateway;
use crate::observe::access_log::{AccessLog, LogPage};
use crate::observe::metrics::CoreMetrics;
use crate::policy::slots::Slots;
use crate::runtime::probe::Driver;
use crate::runtime::uring::{self, Uring};
use crate::runtime::{entropy, pin};
use crate::serve::Core;
use crate::serve::shard::Shard;
use crate::worker::Worker;
use crate::worker::mailbox::{NewListener, Report, Voice, mailbox};

/// Everything a worker is born with.
pub struct Birth {
    /// Which worker.
    pub worker: WorkerId,
    /// The CPU it is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// What its event loop runs on.
    pub driver: Driver,
    /// The version it begins with.
    pub gateway: Arc<Gateway>,
    /// Client connections it may have open.
    pub connections_max: usize,
    /// Where it counts.
    pub metrics: Arc<CoreMetrics>,
    /// Its sockets.
    pub listeners: Vec<NewListener>,
    /// Where its log pages go; `None` when there is no access log.
    pub pages: Option<Sender<LogPage>>,
    /// Where it reports.
    pub reports: Sender<Report>,
}

/// Starts a worker on its own thread.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(birth: Birth) -> std::io::Result<(Voice, JoinHandle<()>)> {
    let (voice, ear) = mailbox(birth.reports.clone());
    let name = format!("worker-{}", birth.worker.0);
    let thread = thread::Builder::new().name(name).spawn(move || {
        let Birth { worker, cpu, driver, gateway, connections_max, metrics, .. } = birth;
        let Birth { listeners, pages, reports, .. } = birth;
        let trouble = |what| {
            let _ = reports.try_send(Report::Trouble { worker, what });
        };
        if let Some(cpu) = cpu
            && let Err(error) = pin::pin_thread(cpu)
        {
            trouble(format!("cannot pin worker {} to CPU {cpu}: {error}", worker.0));
        }
        let shard = Shard {
            rng: Rng::new(entropy::seed()),
            slots: Slots::new(entropy::seed()),
            log: pages.map(AccessLog::new),
            path: Default::default(),
            tokens: Default::default(),
        };
        let work = async {
            let core = Rc::new(Core::new(worker, Uring, gateway, metrics, shard));
            Worker::new(core, ear, connections_max).run(listeners).await;
        };
        if let Err(error) = uring::run(driver, work) {
            trouble(format!("the event loop of worker {} cannot be made: {error}", worker.0));
        }
    })?;
    Ok((voice, thread))
}
