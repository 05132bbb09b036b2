//! `ringway test`: the `[[test]]` tables of a configuration, played without sockets and on virtual time.
//!
//! Each test has a gateway core, a client and upstreams of its own on the simulated runtime; what is played
//! is the program's own walk from accept to log line. A test never sees what another has left behind, never
//! opens a socket, writes no file and starts no thread.

mod coverage;
mod difference;
mod house;
mod judge;
mod message;
mod origin;
mod report;
mod world;

use std::path::Path;

use crate::cli::test::coverage::Coverage;
use crate::cli::test::difference::shown;
use crate::cli::test::house::House;
use crate::cli::test::origin::Received;
use crate::cli::test::report::{Outcome, Report};
use crate::cli::test::world::{Seen, World};
use crate::cli::{CONFIG, FAILED, OK, Said};
use crate::config::Surroundings;
use crate::config::test::{Step, Test};
use crate::control::load::{self, Machine};

/// Requests to upstreams that are shown of a test that failed.
const RECEIVED_SHOWN_MAX: usize = 12;

/// What is asked for besides the configuration.
#[derive(Clone, Copy, Default)]
pub struct Wishes<'a> {
    /// Only tests whose names hold this.
    pub filter: Option<&'a str>,
    /// JSON in place of text.
    pub json: bool,
}

/// Plays the tests of the configuration at `path`, or the default one.
pub fn run(path: Option<&Path>, wishes: Wishes<'_>) -> Said {
    with(&load::path(path), wishes, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, wishes: Wishes<'_>, around: &dyn Surroundings) -> Said {
    let mut house = match House::open(path, around) {
        Ok(house) => house,
        Err(found) if wishes.json => {
            let out = format!("{}\n", found.render_json());
            return Said { out, err: String::new(), code: CONFIG };
        }
        Err(found) => return Said { out: String::new(), err: found.render(), code: CONFIG },
    };
    let tests = std::mem::take(&mut house.config.tests);
    let mut coverage = Coverage::of(&house.config);
    let (mut outcomes, mut spent) = (Vec::new(), false);
    let wanted = |test: &&Test| wishes.filter.is_none_or(|part| test.name.value.contains(part));
    for test in tests.iter().filter(wanted) {
        let mut game = Game { coverage: &mut coverage, spent: false, received: Vec::new() };
        let told = play(&mut house, spent, test, &mut game);
        let received = if told.is_empty() { Vec::new() } else { received_lines(&game.received) };
        spent = game.spent;
        outcomes.push(Outcome { name: shown(&test.name.value), span: test.span, told, received });
    }
    let sources = &house.found.sources;
    let report =
        Report { config: &house.config, sources, outcomes, coverage, filter: wishes.filter };
    let code = if report.counts().1 == 0 { OK } else { FAILED };
    let out = if wishes.json { report.json() } else { report.text() };
    let err =
        if house.found.is_empty() || wishes.json { String::new() } else { house.found.render() };
    Said { out, err, code }
}

/// What a test leaves behind for those who count.
struct Game<'a> {
    coverage: &'a mut Coverage,
    /// Whether limits have counted something.
    spent: bool,
    /// What upstreams received in the last step.
    received: Vec<Received>,
}

/// Plays one test; what was not as expected in the first step that failed.
fn play(house: &mut House<'_>, spent: bool, test: &Test, game: &mut Game<'_>) -> Vec<String> {
    let gateway = house.gateway(spent);
    let world = match World::new(gateway, test) {
        Ok(world) => world,
        Err(why) => return vec![why],
    };
    for (index, step) in test.steps.iter().enumerate() {
        let told = play_step(house, &world, step, game);
        if let Some((request, told)) = told {
            return placed(test, index, request, told);
        }
    }
    Vec::new()
}

/// Plays one step; which of its requests failed, and how.
fn play_step(
    house: &House<'_>,
    world: &World,
    step: &Step,
    game: &mut Game<'_>,
) -> Option<(usize, Vec<String>)> {
    if let Err(why) = world.begin(step) {
        return Some((0, vec![why]));
    }
    for request in 0..step.repeat {
        let seen: Seen = match world.ask(step) {
            Ok(seen) => seen,
            Err(why) => return Some((request, vec![why])),
        };
        let route = seen.route.and_then(|route| house.config.routes.get(route.index()));
        game.spent |= route.is_some_and(|route| !route.policies.limits.is_empty());
        let told = judge::judge(&step.expect, &seen);
        game.coverage.note(&seen, told.is_empty());
        game.received = seen.received;
        if !told.is_empty() {
            return Some((request, told));
        }
    }
    None
}

/// Says which step and which request it was, where there are several.
fn placed(test: &Test, step: usize, request: usize, told: Vec<String>) -> Vec<String> {
    let many = test.steps.get(step).is_some_and(|step| step.repeat > 1);
    let lead = match (test.steps.len() > 1, many) {
        (false, false) => return told,
        (true, false) => format!("step {}:", step + 1),
        (false, true) => format!("request {}:", request + 1),
        (true, true) => format!("step {}, request {}:", step + 1, request + 1),
    };
    std::iter::once(lead).chain(told).collect()
}

/// What upstreams received, a line each.
fn received_lines(received: &[Received]) -> Vec<String> {
    let line = |one: &Received| {
        format!("`{}` received {} {}", one.upstream, one.method, shown(&one.target))
    };
    let mut lines: Vec<String> = received.iter().map(line).collect();
    lines.sort();
    let more = lines.len().saturating_sub(RECEIVED_SHOWN_MAX);
    lines.truncate(RECEIVED_SHOWN_MAX);
    if more > 0 {
        lines.push(format!("and {more} more requests"));
    }
    if lines.is_empty() {
        lines.push("no upstream was asked".to_owned());
    }
    lines
}
