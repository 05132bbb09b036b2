//! The border: a `Config` becomes a `Gateway`, or a list of diagnostics.
//!
//! Behind it nothing names anything any more and nothing needs checking. Every mistake is told in one
//! run, with its place; nothing is ever compiled in part. Files come in through [`Surroundings`], dice
//! through a closure, the version before as a value: compiling is a pure function of these.

pub mod aggregate;
pub mod assets;
pub mod codes;
pub mod listener;
pub mod policy;
pub mod report;
pub mod route;
pub mod template;
pub mod upstream;

use std::time::Duration;

use crate::base::address::Address;
use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::compile::assets::Assets;
use crate::compile::policy::{KeyFetch, Making, Stock};
use crate::compile::report::{Names, Report};
use crate::compile::route::Tables;
use crate::config::diagnostic::Diagnostics;
use crate::config::{Config, LogTarget, Surroundings, Target, Workers, codes as reading};
use crate::gateway::Gateway;
use crate::observe::plan::{LabelBook, RecordPlan, RouteNames};

/// A configuration, compiled.
pub struct Compiled {
    /// What the cores install.
    pub gateway: Gateway,
    /// What the process itself needs to know.
    pub process: Process,
    /// Key sets that the control side fetches.
    pub fetches: Vec<KeyFetch>,
    /// What reading and compiling warn of; no errors.
    pub warnings: Diagnostics,
}

/// What concerns the process rather than requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Worker threads; taken when the process starts.
    pub workers: Workers,
    /// How long a stopping process waits for requests in flight.
    pub drain_timeout: Duration,
    /// The operators' listener; `None` when it is off.
    pub admin: Option<Address>,
    /// Where the access log goes.
    pub access_log: LogTarget,
}

/// What compiling takes from the world besides the configuration.
pub struct Border<'a> {
    /// Files.
    pub around: &'a dyn Surroundings,
    /// The version before, whose unchanged parts are kept.
    pub last: Option<&'a Gateway>,
    /// The version that this will be.
    pub version: u64,
    /// Labels of metrics, for the life of the process.
    pub labels: &'a mut LabelBook,
    /// Dice: each limit hashes its keys with one.
    pub seed: &'a mut dyn FnMut() -> u64,
}

/// Compiles what was read. `read` is what reading had to say; the result goes on from there.
///
/// # Errors
/// Everything that reading and compiling had to say, when any of it is an error.
pub fn compile(
    config: &Config,
    read: Diagnostics,
    border: Border<'_>,
) -> Result<Compiled, Diagnostics> {
    // Behind an error of syntax the tree is a guess: what was found out from it would be made up.
    if read.iter().any(|diagnostic| diagnostic.code == reading::SYNTAX) {
        return Err(read);
    }
    let complete = !read.has_errors();
    let report = Report::after(read);
    let assets = Assets::of(border.around);
    let making = Making { last: border.last, assets: &assets, report: &report };
    let stock = stock(config, &making, border.seed);
    let tables = tables(config);
    mark_default(config, &tables, &report);
    let listeners = listener::compile(config, &report);
    let routes = route::compile(config, &tables, &stock, &report);
    let router = route::router(config, &report);
    if complete {
        check_unused(config, &tables, &report);
    }
    let (Some(routes), Some(router), false) = (routes, router, report.has_errors()) else {
        return Err(report.finish());
    };
    let Stock { carry, fetches, .. } = stock;
    let upstreams = upstream::compile(&config.upstreams, border.last);
    let record = record(config, border.labels);
    let version = border.version;
    let gateway = Gateway { version, listeners, router, routes, upstreams, record, carry };
    Ok(Compiled { gateway, process: process(config), fetches, warnings: report.finish() })
}

fn stock<'a>(
    config: &'a Config,
    making: &Making<'_>,
    seed: &mut dyn FnMut() -> u64,
) -> Stock<'a> {
    let mut stock = Stock::default();
    for limit in &config.limits {
        stock.add_limit(limit, making, seed());
    }
    for issuer in &config.jwts {
        stock.add_issuer(issuer, making);
    }
    stock
}

fn tables(config: &Config) -> Tables<'_> {
    let ids = config.upstreams.iter().enumerate();
    Tables {
        upstreams: Names::of("upstream", &config.declared.upstreams),
        issuers: Names::of("jwt", &config.declared.jwts),
        limits: Names::of("limit", &config.declared.limits),
        ids: ids
            .map(|(index, upstream)| (upstream.name.value.as_str(), UpstreamId(index as u32)))
            .collect(),
    }
}

/// What `[default]` names is used, even if every route opts out; a wrong name is wrong there already.
fn mark_default(config: &Config, tables: &Tables<'_>, report: &Report) {
    if let Some(name) = &config.default.jwt {
        tables.issuers.check(name, report);
    }
    for name in &config.default.limits {
        tables.limits.check(name, report);
    }
}

fn check_unused(config: &Config, tables: &Tables<'_>, report: &Report) {
    config.upstreams.iter().for_each(|one| tables.upstreams.check_used(&one.name, report));
    config.jwts.iter().for_each(|one| tables.issuers.check_used(&one.name, report));
    config.limits.iter().for_each(|one| tables.limits.check_used(&one.name, report));
}

fn record(config: &Config, labels: &mut LabelBook) -> RecordPlan {
    let routes: Vec<RouteNames> = config
        .routes
        .iter()
        .map(|route| RouteNames {
            name: Name::new(&route.name.value),
            parts: match &route.target {
                Target::Merge(parts) => {
                    parts.iter().map(|part| Name::new(&part.name.value)).collect()
                }
                _ => Vec::new(),
            },
        })
        .collect();
    let upstreams: Vec<Name> =
        config.upstreams.iter().map(|upstream| Name::new(&upstream.name.value)).collect();
    // Queries often hold what should not be kept; the language has no key yet that asks for them.
    RecordPlan::new(labels, &routes, &upstreams, false)
}

fn process(config: &Config) -> Process {
    Process {
        workers: config.workers.value.clone(),
        drain_timeout: config.drain_timeout,
        admin: config.admin.address.as_ref().map(|address| address.value.clone()),
        access_log: config.observe.access_log.value.clone(),
    }
}

#[cfg(test)]
mod tests;
