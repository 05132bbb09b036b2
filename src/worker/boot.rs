//! Starts a worker's thread: pins it, makes its event loop, and gives it its core.
//!
//! It never starts a worker that cannot listen: sockets are bound before, by the control side.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::Sender;

use crate::base::ids::WorkerId;
use crate::base::random::Rng;
use crate::base::shared::Word;
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

/// A worker's thread.
#[derive(Debug)]
pub struct Thread {
    handle: JoinHandle<()>,
    /// The kernel's number of it; 0 until it runs.
    id: Arc<Word>,
}

/// How a thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its work is over.
    Returned,
    /// A panic unwound it; all it held is given back.
    Panicked,
    /// It is gone without having given anything back: its sockets stay open and nobody answers on them.
    Vanished,
}

impl Thread {
    /// Whether it is over, however it ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished() || self.has_vanished()
    }

    fn has_vanished(&self) -> bool {
        let id = self.id.load();
        id != 0 && !pin::thread_exists(id) && !self.handle.is_finished()
    }

    /// Waits for its end.
    pub fn join(self) -> Ended {
        if self.has_vanished() {
            return Ended::Vanished;
        }
        match self.handle.join() {
            Ok(()) => Ended::Returned,
            Err(_) => Ended::Panicked,
        }
    }
}

/// Starts a worker on its own thread.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(birth: Birth) -> std::io::Result<(Voice, Thread)> {
    let (voice, ear) = mailbox(birth.reports.clone());
    let name = format!("worker-{}", birth.worker.0);
    let id = Arc::new(Word::new(0));
    let own_id = id.clone();
    let handle = thread::Builder::new().name(name).spawn(move || {
        own_id.store(pin::thread_id());
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
    Ok((voice, Thread { handle, id }))
}
