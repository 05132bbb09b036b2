//! The running process: workers and their sockets, the admin listener, the log, and what signals do.
//!
//! Everything here happens on the control thread. It never holds up a core: orders go into mailboxes,
//! and who does not take them is named.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, select};

use crate::admin::{Admin, AdminAddress};
use crate::base::address::Address;
use crate::base::ids::WorkerId;
use crate::base::time::Instant;
use crate::compile::{Compiled, SpanFeed};
use crate::control::End;
use crate::control::acme::Acme;
use crate::control::certificates::Certificates;
use crate::control::cpus::{choose_cpus, connections_of_one};
use crate::control::endpoints::Endpoints;
use crate::control::export::Export;
use crate::control::fleet_store::FleetStore;
use crate::control::flush::{Flush, LogTarget, Opened};
use crate::control::fresh::{start_hashing, start_keys, start_lists};
use crate::control::keys::Keys;
use crate::control::lists::Lists;
use crate::control::load::{self, Loaded};
use crate::control::presence;
use crate::control::retired::Retired;
use crate::control::seat::Seat;
use crate::control::shown::Shown;
use crate::control::signal::{self, Asked};
use crate::control::sockets::{Change, Sockets};
use crate::control::tell::Tell;
use crate::observe::event::Event;
use crate::observe::plan::LabelBook;
use crate::observe::snapshot::Registry;
use crate::runtime::probe::Driver;
use crate::runtime::{clock, descriptors, memory, pin};
use crate::worker::boot::{self, Birth, Ended, Thread};
use crate::worker::mailbox::{NewListener, Order, Report, Voice};

/// How often the control thread looks around when nothing happens.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How long workers may take to start, or to take a new version.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(10);
/// Reports of all workers that wait to be read.
const REPORTS_MAX: usize = 4096;
/// How long the last lines of the access log may take.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(2);

/// A running process.
pub struct Process {
    path: PathBuf,
    compiled: Compiled,
    retired: Retired,
    sockets: Sockets,
    workers: Vec<Seat>,
    endpoints: Endpoints,
    certificates: Certificates,
    fleet_store: FleetStore,
    reports: Receiver<Report>,
    reporter: Sender<Report>,
    flush: Option<Flush>,
    keys: Option<Keys>,
    export: Option<Export>,
    lists: Option<Lists>,
    acme: Acme,
    admin: Option<Admin>,
    shown: Arc<Shown>,
    driver: Driver,
    /// Client connections of one worker: what the descriptors allow.
    connections_max: usize,
    /// Heard since before anything was ready: a stop right behind the start is a clean one, too.
    signals: Receiver<Asked>,
    tell: Tell,
}

/// Why a process did not start.
pub enum Unstarted {
    /// The configuration is wrong; the text says all of it.
    Config(String),
    /// Something else failed.
    Failed(String),
}

impl Process {
    /// Reads the configuration, opens what it names, and starts every worker.
    ///
    /// # Errors
    /// The configuration is wrong, an address is taken, a worker does not start.
    pub fn start(path: &Path, driver: Driver, tell: Tell) -> Result<Self, Unstarted> {
        let mut book = LabelBook::default();
        let Loaded { compiled, diagnostics, .. } = load::compile(path, &mut book, None);
        let Some(mut compiled) = compiled else { return Err(Unstarted::Config(diagnostics)) };
        eprint!("{diagnostics}");
        let cpus =
            choose_cpus(&compiled.process.workers, &pin::allowed()).map_err(Unstarted::Config)?;
        let descriptors = descriptors::raise_limit();
        let registry = Registry::new(cpus.len(), clock::wall(), env!("CARGO_PKG_VERSION"));
        registry.control.workers_wanted.set(cpus.len() as u64);
        let responses = compiled.gateway.carry.machine.clone();
        let shown = Arc::new(Shown::new(registry, book, responses));
        let failed = |why: String| Unstarted::Failed(why);
        let signals = signal::listen()
            .map_err(|error| failed(format!("signals cannot be heard: {error}")))?;
        let flush = start_flush(&compiled, &shown, &tell).map_err(failed)?;
        let mut sockets = Sockets::default();
        let addresses = compiled.gateway.listeners.iter().map(|listener| listener.address.clone());
        let mut change =
            sockets.change(addresses, cpus.len()).map_err(|unbound| failed(unbound.to_string()))?;
        sockets.keep(&mut change);
        let admin = start_admin(&compiled, &shown, &tell).map_err(failed)?;
        let keys = start_keys(&compiled, &tell);
        let lists = start_lists(&compiled, &tell);
        start_hashing(&mut compiled, cpus.len()).map_err(failed)?;
        let certificates = Certificates::of(&compiled, clock::now(), None);
        let acme = Acme::new(tell.clone(), shown.board.clone());
        shown.show(&certificates);
        let (reporter, reports) = bounded(REPORTS_MAX);
        presence::look(&compiled.watched);
        let export = start_export(compiled.spans.take(), &shown, &tell);
        let mut process = Self {
            path: path.to_path_buf(),
            compiled,
            retired: Retired::default(),
            sockets,
            workers: Vec::new(),
            endpoints: Endpoints::default(),
            certificates,
            fleet_store: FleetStore::default(),
            reports,
            reporter,
            flush,
            keys,
            export,
            lists,
            acme,
            admin,
            shown,
            driver,
            connections_max: connections_of_one(descriptors, cpus.len()),
            signals,
            tell,
        };
        process.start_workers(&cpus, change).map_err(failed)?;
        // Only now somebody is there to answer challenges.
        process.acme.follow(process.compiled.acme.as_ref());
        memory::forget_program();
        Ok(process)
    }

    fn start_workers(&mut self, cpus: &[Option<usize>], change: Change) -> Result<(), String> {
        for (index, (cpu, listeners)) in cpus.iter().zip(change.added).enumerate() {
            let (voice, thread) = self.start_worker(index, *cpu, listeners)?;
            let version = self.compiled.gateway.version;
            let thread = Some(thread);
            self.workers.push(Seat {
                cpu: *cpu,
                voice,
                thread,
                version,
                started: false,
                short: false,
                deaths: Vec::new(),
            });
        }
        let until = clock::now() + ACKNOWLEDGE_WITHIN;
        while self.workers.iter().any(|seat| !seat.started) {
            self.hear(until)?;
        }
        for (address, actual) in self.sockets.addresses() {
            let (listener, address) = (address.to_string(), actual.to_string());
            self.tell.event(&Event::ListenerBound { listener: &listener, address: &address });
        }
        self.tell.event(&Event::Started {
            version: env!("CARGO_PKG_VERSION"),
            config: &self.path.display().to_string(),
            workers: self.workers.len(),
            driver: &self.driver.to_string(),
        });
        Ok(())
    }

    fn start_worker(
        &self,
        index: usize,
        cpu: Option<usize>,
        listeners: Vec<NewListener>,
    ) -> Result<(Voice, Thread), String> {
        let birth = Birth {
            worker: WorkerId(index as u32),
            cpu,
            driver: self.driver,
            gateway: self.compiled.gateway.clone(),
            connections_max: self.connections_max,
            metrics: self.shown.registry.cores[index].clone(),
            listeners,
            pages: self.flush.as_ref().map(Flush::pages),
            reports: self.reporter.clone(),
        };
        boot::start(birth).map_err(|error| format!("worker {index} cannot be started: {error}"))
    }

    /// Takes one report, waiting until `until` at most.
    fn hear(&mut self, until: Instant) -> Result<(), String> {
        let wait = until.since(clock::now());
        match self.reports.recv_timeout(wait) {
            Ok(report) => {
                self.take(report);
                Ok(())
            }
            Err(_) => {
                let late = self.workers.iter().position(|seat| !seat.started);
                Err(format!("worker {} did not start in time", late.unwrap_or_default()))
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Started { worker } => {
                if let Some(seat) = self.workers.get_mut(worker.index()) {
                    seat.started = true;
                }
                self.count_running();
            }
            Report::Installed { worker, version } => {
                if let Some(seat) = self.workers.get_mut(worker.index()) {
                    seat.version = version;
                }
            }
            Report::Trouble { worker, what } => {
                let worker = worker.index();
                self.tell.event(&Event::WorkerTrouble { worker, what: &what });
            }
            Report::ProxyHeaderRefused { worker, listener, peer, why } => {
                let (listener, peer) = (&*listener.to_string(), &*peer.to_string());
                let worker = worker.index();
                self.tell.event(&Event::ProxyHeaderRefused { worker, listener, peer, why });
            }
            Report::Shortage { worker, why } => self.shortage(worker, why),
            Report::Store { worker, news } => {
                let now = (self.compiled.gateway.store.as_deref(), clock::now());
                self.fleet_store.take(worker, &news, now, |event| self.tell.event(event));
            }
            Report::Endpoint(turn) => self.endpoints.take(&turn, |event| self.tell.event(event)),
            Report::Unproven(unproven) => {
                self.endpoints.unproven(&unproven, clock::now(), |event| self.tell.event(event));
            }
            Report::Refused { address, count, bound, client } => {
                let listener = &address.to_string();
                self.tell.event(&Event::ConnectionsRefused { listener, count, bound, client });
            }
            Report::Ended { .. } => {}
        }
    }

    /// Descriptors belong to the process: one worker's shortage is told for all, and its end once none has one.
    fn shortage(&mut self, worker: WorkerId, why: Option<String>) {
        let was_short = self.workers.iter().any(|seat| seat.short);
        if let Some(seat) = self.workers.get_mut(worker.index()) {
            seat.short = why.is_some();
        }
        let is_short = self.workers.iter().any(|seat| seat.short);
        match why {
            Some(why) if !was_short => self.tell.event(&Event::ShortageBegun { why: &why }),
            None if was_short && !is_short => self.tell.event(&Event::ShortageOver),
            _ => {}
        }
    }

    fn count_running(&self) {
        let running = self.workers.iter().filter(|seat| seat.started).count();
        self.shown.registry.control.workers_running.set(running as u64);
        self.shown.registry.control.config_version.set(self.compiled.gateway.version);
    }

    /// Obeys signals until it is time to end.
    pub fn supervise(mut self) -> End {
        let signals = self.signals.clone();
        loop {
            presence::look(&self.compiled.watched);
            self.retired.look();
            if self.replace_the_dead().is_err() {
                self.end();
                return End::Failed;
            }
            let reports = self.reports.clone();
            select! {
                recv(signals) -> asked => match asked {
                    Ok(Asked::Reload) => self.reload(),
                    Ok(Asked::ReopenLogs) => self.reopen_logs(),
                    Ok(Asked::Stop) | Err(_) => return self.drain(&signals),
                },
                recv(reports) -> report => {
                    if let Ok(report) = report {
                        self.take(report);
                    }
                },
                default(LOOK_AROUND) => {}
            }
            self.certificates.warn(clock::wall(), &self.tell);
            if self.certificates.changed(clock::now(), clock::wall()) {
                self.reload();
            }
        }
    }

    fn reopen_logs(&self) {
        if let Some(flush) = &self.flush {
            flush.reopen();
        }
    }

    /// Reads the configuration again; a good one is installed on every core, a bad one changes nothing.
    fn reload(&mut self) {
        let begun = clock::now();
        self.order(|| Order::Expect);
        self.reopen_logs();
        let before = self.certificates.look();
        let Loaded { compiled, diagnostics, errors, first_error } = {
            let mut book = self.shown.book.lock().unwrap_or_else(PoisonError::into_inner);
            let (book, path, last) = (&mut *book, &*self.path, &self.compiled);
            pin::giving_way(|| load::compile(path, book, Some(last)))
        };
        eprint!("{diagnostics}");
        let version = self.compiled.gateway.version;
        let refused = |errors: usize, why: &str| {
            self.shown.registry.control.reloads_refused.add(1);
            self.tell.event(&Event::ReloadRefused { version, errors, first: why });
        };
        let Some(mut compiled) = compiled else {
            return refused(errors, &first_error);
        };
        if let Err(why) = start_hashing(&mut compiled, self.workers.len()) {
            return refused(1, &why);
        }
        let addresses = compiled.gateway.listeners.iter().map(|listener| listener.address.clone());
        let (log, next) = (&self.compiled.process.access_log, &compiled.process.access_log);
        let log = match self.flush.as_ref().map(|_| Opened::next(log, next)).transpose() {
            Ok(log) => log.flatten(),
            Err(why) => return refused(1, &why),
        };
        let mut change = match self.sockets.change(addresses, self.workers.len()) {
            Ok(change) => change,
            Err(unbound) => return refused(1, &unbound.to_string()),
        };
        self.sockets.keep(&mut change);
        self.change_process(&compiled, log);
        self.endpoints.keep(&self.compiled.gateway, &compiled.gateway);
        presence::look(&compiled.watched);
        if let Some(export) = start_export(compiled.spans.take(), &self.shown, &self.tell) {
            // The one before ends when the last exchange of its version has.
            self.export = Some(export);
        }
        self.certificates = Certificates::of(&compiled, begun, Some(before));
        self.acme.follow(compiled.acme.as_ref());
        self.shown.show(&self.certificates);
        self.retired.keep(std::mem::replace(&mut self.compiled, compiled).gateway);
        self.keys = start_keys(&self.compiled, &self.tell);
        self.lists = start_lists(&self.compiled, &self.tell);
        self.install(change, begun);
    }

    /// What of the process itself can change while it runs; the rest is said to wait.
    fn change_process(&self, next: &Compiled, log: Option<Opened>) {
        let (old, new) = (&self.compiled.process, &next.process);
        let mut waits = Vec::new();
        let is_on = |target| LogTarget::of(target).is_some();
        if is_on(&old.access_log) != is_on(&new.access_log) {
            waits.push("`observe.access_log` from or to \"off\"");
        }
        if let (Some(flush), Some(log)) = (&self.flush, log)
            && let Err(error) = flush.goes_to(log)
        {
            eprintln!("warning: the access log stays where it is: {error}");
        }
        if old.workers != new.workers {
            waits.push("`workers`");
        }
        if old.admin != new.admin {
            waits.push("`admin.address`");
        }
        for key in waits {
            eprintln!("warning: {key} changed and takes effect at the next start");
        }
    }

    fn install(&mut self, change: Change, begun: Instant) {
        let version = self.compiled.gateway.version;
        let Change { added, closed, .. } = change;
        for (seat, listeners) in self.workers.iter().zip(added) {
            let gateway = self.compiled.gateway.clone();
            // A worker that takes no orders is found dead, or named below.
            let _ = seat.voice.tell(Order::Install { gateway, listeners, closed: closed.clone() });
        }
        let until = begun + ACKNOWLEDGE_WITHIN;
        while self.workers.iter().any(|seat| seat.version != version) && self.hear(until).is_ok() {}
        let late = self.workers.iter().position(|seat| seat.version != version);
        if let Some(worker) = late {
            let what = "does not take the new configuration";
            self.tell.event(&Event::WorkerTrouble { worker, what });
            return;
        }
        self.shown.registry.control.reloads_installed.add(1);
        self.count_running();
        let routes = self.compiled.gateway.routes.len();
        let took = clock::now().since(begun);
        self.tell.event(&Event::ReloadInstalled { version, routes, took });
    }

    /// Starts workers anew whose threads have ended by themselves.
    ///
    /// # Errors
    /// That cannot help: the process is to end, so that its service manager starts it anew, rather than
    /// go on with a part of its cores.
    fn replace_the_dead(&mut self) -> Result<(), ()> {
        for index in 0..self.workers.len() {
            if !self.workers[index].thread.as_ref().is_none_or(Thread::is_finished) {
                continue;
            }
            let (why, can_go_on) = match self.workers[index].thread.take().map(Thread::join) {
                Some(Ended::Panicked) => ("it panicked", true),
                Some(Ended::Vanished) => ("its thread is gone, with its sockets open", false),
                _ => ("its event loop ended", true),
            };
            (self.workers[index].started, self.workers[index].short) = (false, false);
            self.count_running();
            self.shown.registry.cores[index].reset_gauges();
            self.fleet_store.forget(WorkerId(index as u32));
            self.tell.event(&Event::WorkerDied { worker: index, why });
            if !can_go_on || self.workers[index].dies_too_often(clock::now()) {
                return Err(());
            }
            let listeners = self.sockets.again().map_err(|error| error.to_string());
            let cpu = self.workers[index].cpu;
            match listeners.and_then(|listeners| self.start_worker(index, cpu, listeners)) {
                Ok((voice, thread)) => {
                    let seat = &mut self.workers[index];
                    (seat.voice, seat.thread) = (voice, Some(thread));
                    seat.version = self.compiled.gateway.version;
                    self.shown.registry.control.worker_restarts.add(1);
                    self.tell.event(&Event::WorkerRestarted { worker: index });
                }
                Err(what) => self.tell.event(&Event::WorkerTrouble { worker: index, what: &what }),
            }
        }
        Ok(())
    }

    /// Takes nothing new, waits for what is here, ends; a second signal ends at once.
    fn drain(mut self, signals: &Receiver<Asked>) -> End {
        let begun = clock::now();
        let deadline = self.compiled.process.drain_timeout;
        self.shown.draining.store(1);
        let connections = self.shown.registry.cores.iter().map(|core| core.active_requests.read());
        let connections = connections.sum();
        self.tell.event(&Event::DrainBegun { connections, deadline });
        self.order(|| Order::Drain);
        let until = begun + deadline;
        let mut hurried = false;
        while self.running() > 0 && clock::now() < until && !hurried {
            hurried = matches!(signals.recv_timeout(Duration::from_millis(10)), Ok(Asked::Stop));
            while let Ok(report) = self.reports.try_recv() {
                self.take(report);
            }
        }
        let left: u64 = self.shown.registry.cores.iter().map(|c| c.active_requests.read()).sum();
        self.order(|| Order::Stop);
        let until = clock::now() + Duration::from_secs(1);
        while self.running() > 0 && clock::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.tell.event(&Event::DrainOver { left, took: clock::now().since(begun) });
        self.end()
    }

    fn order(&self, order: impl Fn() -> Order) {
        for seat in &self.workers {
            let _ = seat.voice.tell(order());
        }
    }

    /// Workers whose threads have not ended.
    fn running(&self) -> usize {
        let threads = self.workers.iter().filter_map(|seat| seat.thread.as_ref());
        threads.filter(|thread| !thread.is_finished()).count()
    }

    fn end(self) -> End {
        let requests = self.shown.requests_finished();
        if let Some(keys) = self.keys {
            keys.stop();
        }
        self.sockets.remove_files();
        if let Some(flush) = self.flush {
            flush.stop(LAST_LINES_WITHIN);
        }
        if let Some(export) = self.export {
            export.stop(LAST_LINES_WITHIN);
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.tell.event(&Event::Stopped { requests });
        End::Ok
    }
}

fn start_flush(compiled: &Compiled, shown: &Shown, tell: &Tell) -> Result<Option<Flush>, String> {
    let Some(target) = LogTarget::of(&compiled.process.access_log) else { return Ok(None) };
    let (metrics, tell) = (shown.registry.flush.clone(), tell.clone());
    Flush::start(target, metrics, move |event| tell.event(event)).map(Some)
}

fn start_export(feed: Option<SpanFeed>, shown: &Shown, tell: &Tell) -> Option<Export> {
    Export::start(feed?, shown.registry.flush.clone(), tell.clone()).ok()
}

fn start_admin(
    compiled: &Compiled,
    shown: &Arc<Shown>,
    tell: &Tell,
) -> Result<Option<Admin>, String> {
    let address = match &compiled.process.admin {
        None => return Ok(None),
        Some(Address::Tcp(address)) => AdminAddress::Tcp(*address),
        Some(Address::Unix(path)) => AdminAddress::Unix(path.to_path_buf()),
    };
    let admin = Admin::start(address, shown.clone()).map_err(|error| error.to_string())?;
    tell.event(&Event::AdminBound { address: &admin.address().to_string() });
    Ok(Some(admin))
}
