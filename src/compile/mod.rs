//! The border: a `Config` becomes a `Gateway`, or a list of diagnostics.
//!
//! Names become ids here, texts become templates, and everything that can be wrong between the parts of
//! a configuration is found here, all of it in one run. Nothing here is ever called while a request
//! waits. What did not change is shared with the last version, so that pools, limits and keys survive.

pub mod codes;
mod jwt;
mod limit;
mod listener;
mod names;
mod process;
mod route;
mod target;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::shared::Cells;
use crate::compile::jwt::Issuers;
use crate::compile::names::Names;
use crate::config::{Config, Diagnostics, Surroundings};
use crate::gateway::Gateway;
use crate::observe::plan::{LabelBook, RecordPlan, RouteNames};
use crate::policy::key_cell::KeyCell;

pub use crate::compile::jwt::{Keys, KeysFrom};
pub use crate::compile::process::{AdminAddress, LogTarget, Process, Workers};

/// A configuration that is good.
pub struct Compiled {
    /// The map of the house.
    pub gateway: Arc<Gateway>,
    /// What concerns the process and not a request.
    pub process: Process,
    /// Where keys come from, one for each issuer.
    pub keys: Vec<Keys>,
    /// What the next version may share.
    carry: Carry,
}

/// State that survives a reload when its settings are unchanged.
#[derive(Default)]
struct Carry {
    /// By name and settings.
    cells: HashMap<String, Arc<Cells>>,
    /// By name and settings.
    key_cells: HashMap<String, Arc<KeyCell>>,
}

/// What all parts of the compiler share.
struct Compiler<'a> {
    config: &'a Config,
    found: Diagnostics,
    around: &'a dyn Surroundings,
    last: Option<&'a Compiled>,
    seed: u64,
    carry: Carry,
    names: Names<'a>,
}

/// Compiles what was read, and adds what is found to what reading found. `None` if there is an error.
///
/// `seed` is random: it keeps clients from choosing keys that share a cell of a limit.
pub fn compile(
    config: &Config,
    found: Diagnostics,
    around: &dyn Surroundings,
    seed: u64,
    book: &mut LabelBook,
    last: Option<&Compiled>,
) -> (Option<Compiled>, Diagnostics) {
    let names = Names::of(config);
    let mut compiler =
        Compiler { config, found, around, last, seed, carry: Carry::default(), names };
    let listeners = compiler.listeners();
    let upstreams = compiler.upstreams();
    let issuers = compiler.issuers();
    let limits = compiler.limits();
    let (routes, patterns) = compiler.routes(&issuers, &limits);
    let router = compiler.router(patterns);
    compiler.unused_names();
    let Compiler { found, carry, .. } = compiler;
    let Some(router) = router.filter(|_| !found.has_errors()) else { return (None, found) };
    let route_names: Vec<RouteNames> = routes.iter().map(names_of).collect();
    let upstream_names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let gateway = Gateway {
        version: last.map_or(1, |last| last.gateway.version + 1),
        listeners: listeners.into(),
        router,
        record: RecordPlan::new(book, &route_names, &upstream_names, false),
        routes: routes.into(),
        upstreams: upstreams.into(),
    };
    let Issuers { keys, .. } = issuers;
    let process = Process::of(config);
    (Some(Compiled { gateway: Arc::new(gateway), process, keys, carry }), found)
}

fn names_of(route: &crate::gateway::route::Route) -> RouteNames {
    let parts = match &route.target {
        crate::gateway::route::Target::Aggregate(plan) => {
            plan.parts.iter().map(|part| part.name.clone()).collect()
        }
        _ => Vec::new(),
    };
    RouteNames { name: route.name.clone(), parts }
}
