//! One test as it is played: a core of the gateway, a client and upstreams on a simulated network.
//!
//! Nothing here ever opens a socket or waits for real time. A request that never ends is ended at a bound of
//! turns and of virtual time, and the test says so.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use serde_json::Value;

use crate::base::address::Address;
use crate::base::buffer::BufferPool;
use crate::base::ids::{RouteId, WorkerId};
use crate::base::limits::{TEST_TIME_MAX, TEST_TURNS_MAX};
use crate::base::random::Rng;
use crate::base::shared::Occupancy;
use crate::base::time::Instant;
use crate::cli::test::house::{route_of, token};
use crate::cli::test::message::{Message, Wire};
use crate::cli::test::origin::{self, Received, Script};
use crate::config::test::{Content, Request, Step, Test};
use crate::config::units::shown_duration;
use crate::gateway::Gateway;
use crate::observe::access_log::{AccessLog, LogPage};
use crate::observe::metrics::CoreMetrics;
use crate::policy::slots::Slots;
use crate::runtime::simulated::{
    Faults, Simulated, SimulatedStream, Simulation, Step as Turn, address_of,
};
use crate::runtime::{Listener, Runtime};
use crate::serve::Core;
use crate::serve::connection::{self, Downstream, Open};
use crate::serve::shard::Shard;

/// Who asks when a test does not say: an address of RFC 5737.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Where all dice of a test begin; equal tests are equal runs.
const SEED: u64 = 1;

/// What came of a request.
pub(super) struct Seen {
    /// The response; `None` when there was none.
    pub(super) response: Option<Message>,
    /// From the request to the end of the response, by the virtual clock.
    pub(super) took: Duration,
    /// What upstreams received.
    pub(super) received: Vec<Received>,
    /// The line of the access log.
    pub(super) line: Value,
    /// The route, if there was one.
    pub(super) route: Option<RouteId>,
}

impl Seen {
    /// The fault of the access log.
    pub(super) fn fault(&self) -> Option<&str> {
        self.line.get("fault")?.as_str()
    }
}

/// A test that is being played.
pub(super) struct World {
    simulation: Simulation,
    core: Rc<Core<Simulated>>,
    gateway: Arc<Gateway>,
    address: Address,
    script: Rc<Script>,
    pages: Receiver<LogPage>,
}

impl World {
    /// A core on which nothing has happened yet.
    pub(super) fn new(gateway: Arc<Gateway>, test: &Test) -> Result<Self, String> {
        let simulation = Simulation::new(SEED, Faults::none());
        let runtime = simulation.host(address_of(1));
        let (full, pages) = bounded(64);
        let shard = Shard {
            rng: Rng::new(SEED),
            slots: Slots::new(SEED),
            log: Some(AccessLog::new(full)),
            path: Default::default(),
            tokens: Default::default(),
        };
        let metrics = Arc::new(CoreMetrics::default());
        // Here is no other thread, and no time passes while one works.
        gateway.carry.desk.as_deref().inspect(|desk| desk.check_at_once());
        let core = Core::new(WorkerId(0), runtime.clone(), gateway.clone(), metrics, shard);
        let core = Rc::new(core);
        // Copies for mirrors outlive the request that they are of.
        core.settle();
        runtime.spawn(core.deadlines.clone().sweep(runtime.clone()));
        // A configuration without a listener does not compile; all listeners share the routes.
        let listener = gateway.listeners.first().ok_or("there is no listener")?;
        let address = listener.address.clone();
        let socket = simulation.bind(&address);
        let listening = runtime.listen(&address, socket).map_err(|error| error.to_string())?;
        runtime.spawn(accept(core.clone(), listening, Arc::new(address.clone())));
        let script = Rc::new(Script::default());
        script.begin_test(&test.upstreams);
        let world = Self { simulation, core, gateway, address, script, pages };
        world.start_origins();
        Ok(world)
    }

    fn start_origins(&self) {
        for (number, upstream) in self.gateway.upstreams.iter().enumerate() {
            let name: Rc<str> = Rc::from(&*upstream.name.to_string());
            let host = self.simulation.host(address_of(100 + (number % 60_000) as u16));
            for endpoint in &upstream.endpoints {
                let socket = self.simulation.bind(&endpoint.address);
                origin::start(&host, &endpoint.address, socket, name.clone(), &self.script);
                let (script, name) = (self.script.clone(), name.clone());
                self.simulation.guard(&endpoint.address, move || script.refuses(&name));
            }
        }
    }

    /// Begins a step: its time and its answers.
    ///
    /// # Errors
    /// That time is past.
    pub(super) fn begin(&self, step: &Step) -> Result<(), String> {
        self.script.begin_step(&step.upstreams);
        let now = self.simulation.now().since(Instant::ORIGIN);
        match step.at {
            Some(at) if at < now => {
                Err(format!("it was to be sent at {at:?}, but the step before took until {now:?}"))
            }
            Some(at) => {
                self.simulation.pass(at - now);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Sends the request of a step, and waits for what comes of it.
    ///
    /// # Errors
    /// It never ended.
    pub(super) fn ask(&self, step: &Step) -> Result<Seen, String> {
        let request = &step.request;
        let from = request.from.unwrap_or(CLIENT);
        let bare = head(request, None);
        let route = route_of(&self.gateway, bare.as_bytes(), from);
        let claims = request.claims.as_ref();
        let token = claims.map(|claims| token(claims, &self.gateway, route));
        let mut bytes = head(request, token.as_deref()).into_bytes();
        bytes.extend(request.body.as_ref().map(Content::text).unwrap_or_default().into_bytes());
        let begun = self.simulation.now();
        let heard: Rc<RefCell<Option<Heard>>> = Rc::default();
        let host = self.simulation.host(from);
        let head_only = request.method == "HEAD";
        host.spawn(client(host.clone(), self.address.clone(), bytes, head_only, heard.clone()));
        self.run(&heard)?;
        if let Some(panic) = self.simulation.panics().first() {
            return Err(format!("this is a mistake in Ringway, please report it: {panic}"));
        }
        let Heard { response, at } = heard.take().unwrap_or(Heard { response: None, at: begun });
        let line = self.last_line();
        Ok(Seen {
            response,
            took: at.since(begun),
            received: self.script.take_received(),
            line,
            route,
        })
    }

    /// Lets things happen until the client has heard all.
    fn run(&self, heard: &Rc<RefCell<Option<Heard>>>) -> Result<(), String> {
        let mut turns = 0;
        while heard.borrow().is_none() {
            let turn = self.simulation.step();
            turns += 1;
            if turn == Turn::Stuck {
                return Err("nothing happens any more, and the request has no answer".into());
            }
            if turns > TEST_TURNS_MAX {
                return Err(format!("ended after {TEST_TURNS_MAX} turns without an answer"));
            }
            if self.simulation.now().since(Instant::ORIGIN) > TEST_TIME_MAX {
                return Err(format!(
                    "ended after {} of virtual time",
                    shown_duration(TEST_TIME_MAX)
                ));
            }
        }
        // What belongs to the request is over: its record is written, cancelled calls are gone.
        self.simulation.settle();
        Ok(())
    }

    fn last_line(&self) -> Value {
        self.core.shard(|shard| shard.hand_over(&self.core.metrics));
        let mut last = Value::Null;
        while let Ok(page) = self.pages.try_recv() {
            for line in page.bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                last = serde_json::from_slice(line).unwrap_or_default();
            }
            page.give_back();
        }
        last
    }
}

/// What a client has heard, and when that was all.
struct Heard {
    response: Option<Message>,
    at: Instant,
}

async fn client(
    host: Simulated,
    address: Address,
    bytes: Vec<u8>,
    head_only: bool,
    heard: Rc<RefCell<Option<Heard>>>,
) {
    let mut response = None;
    if let Ok(stream) = host.connect(&address).await {
        response = converse(&stream, bytes, head_only).await;
    }
    *heard.borrow_mut() = Some(Heard { response, at: host.now() });
}

/// Sends and reads at once: an answer may come before the request is over.
async fn converse(stream: &SimulatedStream, bytes: Vec<u8>, head_only: bool) -> Option<Message> {
    let pool = BufferPool::new(8);
    let writer = Wire::new(stream, &pool);
    let mut reader = Wire::new(stream, &pool);
    let mut sending = std::pin::pin!(writer.send(&bytes));
    let mut reading = std::pin::pin!(reader.response(head_only));
    let mut sent = false;
    std::future::poll_fn(|cx| {
        if !sent {
            sent = sending.as_mut().poll(cx).is_ready();
        }
        reading.as_mut().poll(cx)
    })
    .await
}

/// Serves every connection, as a worker does.
async fn accept<L>(core: Rc<Core<Simulated>>, listening: L, address: Arc<Address>)
where
    L: Listener<Stream = SimulatedStream>,
{
    let occupancy = Arc::new(Occupancy::default());
    while let Some(accepted) = listening.accept().await {
        let Ok(stream) = accepted else { continue };
        let downstream = Downstream::new(stream, address.clone());
        if let Ok(admission) = occupancy.admit(u64::MAX, None) {
            let open = Open::new(core.clone(), downstream, admission);
            core.runtime.spawn(connection::serve(open));
        }
    }
}

/// The head of a request as it is sent.
fn head(request: &Request, token: Option<&str>) -> String {
    let Request { method, host, target, headers, body, .. } = request;
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
    let has = |name: &str| headers.iter().any(|field| field.0 == name);
    if let Some(token) = token {
        text.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        if body.is_json() && !has("content-type") {
            text.push_str("content-type: application/json\r\n");
        }
        text.push_str(&format!("content-length: {}\r\n", body.text().len()));
    }
    text.push_str("\r\n");
    text
}
