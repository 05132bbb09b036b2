//! How long a version lies in a core's mailbox, on a clock that nobody else's load can move.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use ringway::base::ids::WorkerId;
use ringway::base::random::Rng;
use ringway::observe::metrics::CoreMetrics;
use ringway::observe::plan::LabelBook;
use ringway::policy::slots::Slots;
use ringway::runtime::Runtime;
use ringway::runtime::simulated::{Bound, Faults, Simulation, address_of};
use ringway::serve::Core;
use ringway::serve::shard::Shard;
use ringway::worker::Worker;
use ringway::worker::mailbox::{Order, Report, Voice, mailbox};

use crate::world::compiled;

const CONFIG: &str = "[[listen]]\naddress = \"10.0.0.1:80\"\n\n[[route]]\nmatch = \"/\"\nrespond = { status = 204 }\n";

/// The longest wait of some versions that come at different times behind a tick, told before that they come or not.
pub fn longest_wait(is_expected: bool) -> Duration {
    let simulation = Simulation::new(1, Faults::none());
    let (voice, reports) = worker(&simulation);
    let (mut book, mut longest) = (LabelBook::default(), Duration::ZERO);
    let mut last = compiled(CONFIG, &mut book, None);
    for number in 0..12 {
        if is_expected {
            assert!(voice.tell(Order::Expect).is_ok());
        }
        simulation.pass(Duration::from_millis(60 + 4 * number));
        last = compiled(CONFIG, &mut book, Some(&last));
        let (listeners, closed) = (Vec::new(), Vec::new());
        let told = voice.tell(Order::Install { gateway: last.gateway.clone(), listeners, closed });
        assert!(told.is_ok());
        let version = last.gateway.version;
        let begun = simulation.now();
        let is_installed =
            |report| matches!(report, Report::Installed { version: v, .. } if v == version);
        while !reports.try_iter().any(is_installed) {
            simulation.pass(Duration::from_millis(1));
        }
        longest = longest.max(simulation.now().since(begun));
    }
    longest
}

fn worker(simulation: &Simulation) -> (Voice<Bound>, Receiver<Report>) {
    let runtime = simulation.host(address_of(1));
    let shard = Shard {
        rng: Rng::new(1),
        slots: Slots::new(2),
        log: None,
        path: Default::default(),
        tokens: Default::default(),
    };
    let gateway = compiled(CONFIG, &mut LabelBook::default(), None).gateway;
    let metrics = Arc::new(CoreMetrics::default());
    let core = Rc::new(Core::new(WorkerId(0), runtime.clone(), gateway, metrics, shard));
    let (reporter, reports) = bounded(64);
    let (voice, ear) = mailbox::<Bound>(reporter);
    runtime.spawn(Worker::new(core, ear, 16).run(Vec::new()));
    (voice, reports)
}
