//! One simulated world: a gateway of one or two cores, its clients, its origins, and what control does.
//!
//! The gateway is the program's own, from the text of its configuration to the worker's loop; only the
//! ground under it is simulated. After every step the world looks whether anything is wrong.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use serde_json::Value;

use ringway::base::address::Address;
use ringway::base::ids::{UpstreamId, WorkerId};
use ringway::base::random::Rng;
use ringway::base::time::{Instant, Wall};
use ringway::compile::{Compiled, compile};
use ringway::config::{self, Surroundings};
use ringway::observe::access_log::{AccessLog, LogPage};
use ringway::observe::plan::LabelBook;
use ringway::observe::snapshot::Registry;
use ringway::policy::slots::Slots;
use ringway::runtime::Runtime;
use ringway::runtime::simulated::{Bound, Simulated, Simulation, Step, address_of};
use ringway::serve::Core;
use ringway::serve::shard::Shard;
use ringway::worker::Worker;
use ringway::worker::mailbox::{NewListener, Order, Report, Voice, mailbox};

use crate::actions::{Plan, Variant};
use crate::client::{self, Addresses};
use crate::model::Model;
use crate::origin;

/// Virtual time after which a world hangs.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Steps after which it does.
const STEPS_MAX: u64 = 3_000_000;
/// Buffers that one connection may hold: two messages in both directions, and what is between them.
const BUFFERS_EACH_MAX: usize = 12;

pub const FIRST: &str = "10.9.0.1:80";
const SECOND: &str = "10.9.0.1:81";
pub const ORIGINS: [&str; 3] = ["10.8.0.1:80", "10.8.0.2:80", "10.8.0.3:80"];

/// Nothing but texts: no file, no variable.
pub struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path, _: u64) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn folder(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

pub fn client_address(number: usize) -> IpAddr {
    address_of(1000 + number as u16)
}

pub fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// The configuration of a variant; version `version` says so at `/fixed`.
fn text(variant: Variant, version: u64) -> String {
    let listen = |address: &str| {
        format!(
            "[[listen]]\naddress = \"{address}\"\n\
             timeout = {{ head = \"5s\", body = \"2s\", idle = \"3s\" }}\n"
        )
    };
    let second = if variant.second { listen(SECOND) } else { String::new() };
    let (forward, other) = if variant.swapped { ("two", "one") } else { ("one", "two") };
    let idle_max = variant.pool_idle_max;
    let [a, b, c] = ORIGINS;
    format!(
        r#"
{}{second}
[observe]
access_log = "off"
[admin]
address = "off"
[default]
timeout = "8s"
[upstream.one]
endpoints = ["{a}", "{b}"]
timeout = {{ connect = "1s", first_byte = "3s", idle = "2s" }}
pool = {{ idle_max = {idle_max}, idle_timeout = "500ms" }}
[upstream.two]
endpoints = ["{c}"]
timeout = {{ connect = "1s", first_byte = "3s", idle = "2s" }}
pool = {{ idle_max = 2, idle_timeout = "2s" }}
[[route]]
match = "/forward/{{id}}"
forward = "{forward}"
[[route]]
match = "/small/{{id}}"
forward = "{other}"
body_max = "64B"
[[route]]
match = "GET /merge/{{id}}/{{script}}"
[route.merge]
a = {{ get = "one /part/a/{{path.id}}/{{path.script}}" }}
b = {{ get = "two /part/b/{{path.id}}/{{path.script}}" }}
c = {{ get = "one /part/c/{{path.id}}/{{path.script}}", else = "none" }}
[[route]]
match = "/fixed/{{id}}"
respond = {{ body = "version {version}" }}
[[route]]
match = "/moved/{{id}}"
redirect = {{ to = "/elsewhere/{{path.id}}" }}
"#,
        listen(FIRST)
    )
}

/// Compiles a text; `book` and `last` as in a running process.
pub fn compiled(text: &str, book: &mut LabelBook, last: Option<&Compiled>) -> Compiled {
    let (config, found) = config::parse(&[("ringway.toml", text)], &Nothing);
    let (compiled, found) = compile(&config, found, &Nothing, 7, book, last);
    compiled.unwrap_or_else(|| panic!("{}\n{text}", found.render()))
}

/// A worker as control sees it.
struct Seat {
    core: Rc<Core<Simulated>>,
    voice: Voice<Bound>,
    host: IpAddr,
    version: u64,
    ended: bool,
}

/// The control side: what a process does with its workers.
struct Control {
    simulation: Rc<Simulation>,
    seats: Vec<Seat>,
    reports: Receiver<Report>,
    compiled: Compiled,
    book: LabelBook,
    variant: Variant,
    model: Rc<RefCell<Model>>,
}

impl Control {
    fn listeners(&self, addresses: &[&str]) -> Vec<NewListener<Bound>> {
        let bind = |text: &&str| {
            let (address, open) = (Arc::new(address(text)), Arc::default());
            let socket = self.simulation.bind(&address);
            NewListener { address, socket, open }
        };
        addresses.iter().map(bind).collect()
    }

    fn reload(&mut self, variant: Variant) {
        let version = self.compiled.gateway.version + 1;
        let text = text(variant, version);
        self.compiled = compiled(&text, &mut self.book, Some(&self.compiled));
        self.model.borrow_mut().issued = version;
        let added: &[&str] = if variant.second && !self.variant.second { &[SECOND] } else { &[] };
        let gone = !variant.second && self.variant.second;
        let closed = if gone { vec![address(SECOND)] } else { Vec::new() };
        for seat in &self.seats {
            let (gateway, closed) = (self.compiled.gateway.clone(), closed.clone());
            let listeners = self.listeners(added);
            let told = seat.voice.tell(Order::Install { gateway, listeners, closed });
            assert!(told.is_ok(), "a mailbox has room for a world's orders");
        }
        self.variant = variant;
    }

    fn drain(&self) {
        self.model.borrow_mut().draining = true;
        for seat in self.seats.iter().filter(|seat| !seat.ended) {
            assert!(seat.voice.tell(Order::Drain).is_ok(), "a mailbox has room");
        }
    }

    /// Takes what the workers report.
    fn hear(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Installed { worker, version } => {
                    self.seats[worker.index()].version = version;
                }
                Report::Ended { worker } => {
                    let seat = &mut self.seats[worker.index()];
                    seat.ended = true;
                    // Its thread ends, and with it all of its tasks.
                    let host = seat.host;
                    self.simulation.end_host(host);
                }
                _ => {}
            }
            let confirmed = self.seats.iter().map(|seat| seat.version).min();
            self.model.borrow_mut().confirmed = confirmed.unwrap_or_default();
        }
    }
}

/// A world that is running.
pub struct World {
    plan: Rc<Plan>,
    simulation: Rc<Simulation>,
    control: Control,
    registry: Registry,
    pages: Receiver<LogPage>,
    lines: Vec<Value>,
    model: Rc<RefCell<Model>>,
    clients_left: Rc<Cell<usize>>,
    steps: u64,
}

/// What a world came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub trace: u64,
    pub steps: u64,
    pub requests: usize,
    pub answers: usize,
    pub lines: usize,
    pub virtual_millis: u64,
    pub reads_lost: u64,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let plan = Rc::new(plan);
        let simulation = Rc::new(Simulation::new(plan.seed, plan.faults));
        let model = Rc::new(RefCell::new(Model::new(&plan)));
        let mut book = LabelBook::default();
        let compiled = compiled(&text(plan.first, 1), &mut book, None);
        let registry = Registry::new(plan.workers, Wall::from_micros(0), "simulated");
        let (reporter, reports) = bounded(1000);
        let (full, pages) = bounded(1000);
        let mut control = Control {
            simulation: simulation.clone(),
            seats: Vec::new(),
            reports,
            compiled,
            book,
            variant: plan.first,
            model: model.clone(),
        };
        let addresses: &[&str] = if plan.first.second { &[FIRST, SECOND] } else { &[FIRST] };
        for worker in 0..plan.workers {
            let host = address_of(1 + worker as u16);
            let runtime = simulation.host(host);
            let seed = plan.seed ^ worker as u64;
            let shard = Shard {
                rng: Rng::new(seed),
                slots: Slots::new(seed),
                log: Some(AccessLog::new(full.clone())),
                path: Default::default(),
                tokens: Default::default(),
            };
            let gateway = control.compiled.gateway.clone();
            let metrics = registry.cores[worker].clone();
            let id = WorkerId(worker as u32);
            let core = Rc::new(Core::new(id, runtime.clone(), gateway, metrics, shard));
            let (voice, ear) = mailbox(reporter.clone());
            let working = Worker::new(core.clone(), ear, 1000).run(control.listeners(addresses));
            runtime.spawn(working);
            control.seats.push(Seat { core, voice, host, version: 1, ended: false });
        }
        let clients_left = Rc::new(Cell::new(plan.clients.len()));
        let world = World {
            plan,
            simulation,
            control,
            registry,
            pages,
            lines: Vec::new(),
            model,
            clients_left,
            steps: 0,
        };
        world.people();
        world
    }

    fn people(&self) {
        for (number, text) in ORIGINS.iter().enumerate() {
            let host = self.simulation.host(address_of(100 + number as u16));
            let address = address(text);
            origin::start(&host, &address, self.simulation.bind(&address), &self.model);
        }
        for (number, connections) in self.plan.clients.iter().enumerate() {
            let host = self.simulation.host(client_address(number));
            let addresses = Addresses { first: address(FIRST), second: address(SECOND) };
            let left = self.clients_left.clone();
            let done = move || left.set(left.get() - 1);
            let (connections, model) = (connections.clone(), self.model.clone());
            host.spawn(client::run(host.clone(), addresses, connections, model, done));
        }
    }

    /// Runs the world to its end.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn run(mut self) -> Result<Summary, String> {
        let mut reloads = self.plan.reloads.clone();
        reloads.sort_by_key(|(at, _)| *at);
        let mut reloads = reloads.into_iter().peekable();
        let mut drain_at = self.plan.drain_at;
        let mut over: Option<Instant> = None;
        loop {
            let step = self.simulation.step();
            self.steps += 1;
            self.control.hear();
            let now = self.simulation.now().since(Instant::ORIGIN);
            if reloads.peek().is_some_and(|(at, _)| *at <= now) && over.is_none() {
                let variant = reloads.next().map(|(_, variant)| variant).unwrap_or_default();
                self.control.reload(variant);
            }
            if drain_at.is_some_and(|at| at <= now) {
                drain_at = None;
                reloads = Vec::new().into_iter().peekable();
                self.control.drain();
            }
            self.look()?;
            if self.clients_left.get() == 0 && over.is_none() {
                over = Some(self.simulation.now());
                if !self.model.borrow().draining {
                    self.control.drain();
                }
            }
            if over.is_some() && self.control.seats.iter().all(|seat| seat.ended) {
                return self.close();
            }
            if step == Step::Stuck || now > TIME_MAX || self.steps > STEPS_MAX {
                return Err(self.hangs(step));
            }
        }
    }

    fn hangs(&self, step: Step) -> String {
        let cores = self.control.seats.iter().map(|seat| {
            let core = &seat.core;
            (core.connections.get(), core.busy(), core.buffers.in_use(), seat.ended)
        });
        let cores: Vec<_> = cores.collect();
        let left = self.clients_left.get();
        format!("the world hangs ({step:?}): {left} clients, cores {cores:?}, step {}", self.steps)
    }

    /// Looks whether anything is wrong now.
    fn look(&mut self) -> Result<(), String> {
        let panics = self.simulation.panics();
        if !panics.is_empty() {
            return Err(format!("a task panicked: {panics:?}"));
        }
        let failures = std::mem::take(&mut self.model.borrow_mut().failures);
        if !failures.is_empty() {
            return Err(failures.join("\n"));
        }
        if !self.steps.is_multiple_of(16) {
            return Ok(());
        }
        for seat in &self.control.seats {
            let core = &seat.core;
            let (open, buffers) = (core.connections.get(), core.buffers.in_use());
            if core.busy() > open || core.metrics.connections_open.read() != open as u64 {
                return Err(format!("{open} connections, {} exchanges", core.busy()));
            }
            // A read whose cancellation is on its way still holds its buffer.
            if buffers > BUFFERS_EACH_MAX * (open + 4) {
                return Err(format!("{buffers} buffers are in use by {open} connections"));
            }
            look_into_pools(core)?;
        }
        Ok(())
    }

    /// Everybody is gone: what must be given back is there, and the books agree.
    fn close(mut self) -> Result<Summary, String> {
        // What was cancelled a moment ago is cancelled by then.
        self.simulation.pass(Duration::from_millis(5));
        self.look()?;
        let mut wrong = Vec::new();
        for seat in &self.control.seats {
            let core = &seat.core;
            core.shard(|shard| shard.hand_over(&core.metrics));
            let installed = core.installed();
            let upstreams = installed.origins.len();
            let origins = (0..upstreams).map(|id| installed.origins(UpstreamId(id as u32)));
            let in_flight: u32 = origins.map(|origins| origins.state.borrow().in_flight()).sum();
            let books = [
                ("connections", core.connections.get() as u64),
                ("exchanges", core.busy() as u64),
                ("buffers", core.buffers.in_use() as u64),
                ("deadlines", core.deadlines.in_use() as u64),
                ("connections_open", core.metrics.connections_open.read()),
                ("active_requests", core.metrics.active_requests.read()),
                ("attempts in flight", u64::from(in_flight)),
                ("lines dropped", core.metrics.log_lines_dropped.read()),
                ("panics", core.metrics.panics.read()),
            ];
            let left = books.iter().filter(|(_, count)| *count > 0);
            wrong.extend(left.map(|(name, count)| format!("{count} {name} at the end")));
        }
        // The sweeper of the deadlines has ended with its host.
        while let Ok(page) = self.pages.try_recv() {
            let text = String::from_utf8_lossy(page.bytes()).into_owned();
            for line in text.lines() {
                match serde_json::from_str(line) {
                    Ok(line) => self.lines.push(line),
                    Err(error) => wrong.push(format!("a line that is no JSON ({error}): {line}")),
                }
            }
            page.give_back();
        }
        let finished = self.registry.snapshot(&self.control.book).requests_finished();
        let mut model = self.model.borrow_mut();
        model.compare(&self.lines, finished);
        wrong.append(&mut model.failures);
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        let disturbed = self.simulation.disturbed();
        Ok(Summary {
            trace: self.simulation.trace(),
            steps: self.steps,
            requests: self.plan.requests().count(),
            answers: model.answered,
            lines: self.lines.len(),
            virtual_millis: self.simulation.now().as_nanos() / 1_000_000,
            reads_lost: disturbed.reads_lost,
        })
    }
}

/// A kept connection is nobody's: no operation of anybody is in flight on it.
fn look_into_pools(core: &Core<Simulated>) -> Result<(), String> {
    let installed = core.installed();
    for origins in &installed.origins {
        let pools = origins.pools.borrow();
        for kept in pools.connections() {
            let operations = kept.stream.socket().expect("no strand").operations();
            if operations > 0 {
                return Err(format!("a kept connection has {operations} operations in flight"));
            }
        }
    }
    Ok(())
}
