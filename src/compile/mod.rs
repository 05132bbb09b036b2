//! The border: a `Config` becomes a `Gateway`, or a list of diagnostics.
//!
//! Behind it nothing names anything any more and nothing needs checking. Every mistake is told in one
//! run, with its place; nothing is ever compiled in part. Files come in through [`Surroundings`], dice as
//! a seed, the version before as a value: compiling is a function of these. What did not change is
//! shared with the last version, so that pools, limits and keys survive.

mod acme;
mod aggregate;
mod allow;
mod answering;
mod api_key;
mod assets;
mod auth_request;
mod basic;
mod cache;
pub mod codes;
mod concurrency;
mod limit;
mod listener;
mod lists;
mod observe;
mod pem;
mod policy;
mod process;
mod reference;
mod report;
mod route;
mod shaping;
mod store;
mod template;
mod test;
mod tls;
mod upstream;
mod view;
mod withheld;

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::base::ids::UpstreamId;
use crate::base::name::Name;
use crate::base::random::Rng;
use crate::compile::assets::Assets;
use crate::compile::concurrency::SeatStock;
use crate::compile::policy::{Making, Stock};
use crate::compile::report::{Names, Report};
use crate::compile::route::Tables;
use crate::config::{self, Config, Diagnostics, Surroundings, Target, codes as reading};
use crate::gateway::{Gateway, Throttle};
use crate::observe::plan::{LabelBook, RecordPlan, RouteNames};
use crate::policy::password::Job;

pub use crate::compile::acme::{AcmeOrder, AcmePlan, certificates};
pub use crate::compile::lists::WatchedList;
pub use crate::compile::observe::SpanFeed;
pub use crate::compile::policy::{Keys, KeysFrom, Watched};
pub use crate::compile::process::{AdminAddress, Process, Workers};

/// A configuration that is good.
pub struct Compiled {
    /// The map of the house.
    pub gateway: Arc<Gateway>,
    /// What concerns the process and not a request.
    pub process: Process,
    /// Where keys come from, one for each issuer.
    pub keys: Vec<Keys>,
    /// Files whose presence closes routes; one word each, to be set before cores read it.
    pub watched: Vec<Watched>,
    /// A queue of spans that nobody empties yet.
    pub spans: Option<SpanFeed>,
    /// Passwords to check, which nobody takes yet.
    pub passwords: Option<Receiver<Job>>,
    /// Files of lists that are watched.
    pub lists: Vec<WatchedList>,
    /// Certificates to be obtained.
    pub acme: Option<AcmePlan>,
    /// The files of certificates and their keys: when they change, all is read again.
    pub files: Vec<PathBuf>,
}

/// Compiles what was read, and adds what is found to what reading found. `None` if there is an error.
///
/// `seed` is random: it keeps clients from choosing keys that share a cell of a limit. What did not
/// change is shared with `last`.
pub fn compile(
    config: &Config,
    found: Diagnostics,
    around: &dyn Surroundings,
    seed: u64,
    book: &mut LabelBook,
    last: Option<&Compiled>,
) -> (Option<Compiled>, Diagnostics) {
    // Behind an error of syntax the tree is a guess: what was found out from it would be made up.
    if found.iter().any(|diagnostic| diagnostic.code == reading::SYNTAX) {
        return (None, found);
    }
    let last = last.map(|last| &*last.gateway);
    let report = Report::after(found);
    let assets = Assets::of(around);
    let making = Making { last, assets: &assets, report: &report };
    let mut stock = stock(config, &making, &mut Rng::new(seed));
    let tables = tables(config);
    check_policies(config, &tables, &report);
    let acme = acme::compile(config, &making);
    let listeners = listener::compile(config, &making, &mut stock.carry);
    let routes = route::compile(config, &tables, &stock, &report);
    let fleet_store = store::compile(config, last, &report);
    let throttles = throttles(config, &tables, &stock, &report);
    let upstreams = upstream::compile(&config.upstreams, &making);
    let router = route::router(config, &report);
    test::check(config, &tables, &report);
    let log = observe::rules(config, &report);
    let (queue, spans) = observe::spans(config, last);
    // Behind an error, what seems unused is often what was meant.
    if !report.has_errors() {
        check_unused(config, &tables, &report);
    }
    let (Some(mut routes), Some(router), false) = (routes, router, report.has_errors()) else {
        return (None, report.finish());
    };
    let Stock { mut carry, keys, lists, seats, watched, passwords, .. } = stock;
    book.show_seats(seats.shown());
    carry.lists = lists.carried;
    let known = last.map(|last| &last.carry);
    cache::attach(config, &mut routes, &upstreams, known, &mut carry, seed.rotate_left(32));
    withheld::attach(config, &mut routes);
    let gateway = Gateway {
        version: last.map_or(1, |last| last.version + 1),
        listeners,
        router,
        hedged: route::hedged(&routes),
        routes,
        upstreams,
        throttles,
        store: fleet_store,
        challenges: acme.as_ref().map(|plan| plan.challenges.clone()),
        record: record(config, book).with_log(log).with_spans(queue),
        carry,
    };
    let compiled = Compiled {
        gateway: Arc::new(gateway),
        process: Process::of(config),
        keys,
        watched,
        spans,
        passwords,
        lists: lists.watched,
        files: tls::files(config, acme.as_ref()),
        acme,
    };
    (Some(compiled), report.finish())
}

fn stock<'a>(config: &'a Config, making: &Making<'_>, rng: &mut Rng) -> Stock<'a> {
    let mut stock = Stock::default();
    stock.auth_requests = &config.auth_requests;
    for (place, limit) in config.limits.iter().enumerate() {
        let carried = stock.limits.add(place, limit, making, rng.bits());
        stock.carry.limits.extend(carried);
    }
    stock.seats = SeatStock::of(config, making, &mut stock.carry, || rng.bits());
    for table in &config.api_keys {
        let keys = api_key::compile(table, &mut stock.lists, making);
        stock.api_keys.extend(keys.map(|keys| (table.name.value.as_str(), keys)));
    }
    if !config.basics.is_empty() {
        let (desk, passwords) = basic::desk(making, rng);
        for table in &config.basics {
            let made = basic::compile(table, &mut stock.lists, &desk, making, rng.bits());
            let Some(made) = made else { continue };
            stock.basics.insert(&table.name.value, made.policy.clone());
            stock.carry.basics.insert(Name::new(&table.name.value), made);
        }
        (stock.carry.desk, stock.passwords) = (Some(desk), passwords);
    }
    for issuer in &config.jwts {
        stock.add_issuer(issuer, making);
    }
    let closed = config.routes.iter().filter_map(|r| r.policies.answering.maintenance.as_ref());
    for file in closed.filter_map(|closed| closed.file.as_ref()) {
        stock.watch(file);
    }
    stock
}

/// What bounds the attempts at each upstream, by `UpstreamId`.
fn throttles(
    config: &Config,
    tables: &Tables<'_>,
    stock: &Stock<'_>,
    report: &Report,
) -> Box<[Throttle]> {
    let one = |upstream: &config::Upstream| Throttle {
        limits: stock.limits.of_upstream(&upstream.limits, &tables.limits, report),
        concurrency: stock.seats.of_upstream(upstream).map(Box::new),
    };
    config.upstreams.iter().map(one).collect()
}

fn tables(config: &Config) -> Tables<'_> {
    let ids = config.upstreams.iter().enumerate();
    Tables {
        upstreams: Names::of("upstream", &config.declared.upstreams),
        issuers: Names::of("jwt", &config.declared.jwts),
        api_keys: Names::of("api_key", &config.declared.api_keys),
        basics: Names::of("basic", &config.declared.basics),
        auth_requests: Names::of("auth_request", &config.declared.auth_requests),
        limits: Names::of("limit", &config.declared.limits),
        ids: ids
            .map(|(index, upstream)| (upstream.name.value.as_str(), UpstreamId(index as u32)))
            .collect(),
    }
}

/// What `[default]` names is used, even if every route opts out, and a wrong name is wrong there already; so
/// it is in a route that could not be read for another mistake.
fn check_policies(config: &Config, tables: &Tables<'_>, report: &Report) {
    for policies in std::iter::once(&config.default).chain(&config.loose) {
        if let Some(name) = &policies.api_key {
            tables.api_keys.check(name, report);
        }
        if let Some(name) = &policies.auth_request {
            tables.auth_requests.check(name, report);
        }
        if let Some(name) = &policies.basic {
            tables.basics.check(name, report);
        }
        for name in &policies.jwt {
            tables.issuers.check(name, report);
        }
        for name in &policies.limits {
            tables.limits.check(name, report);
        }
    }
}

fn check_unused(config: &Config, tables: &Tables<'_>, report: &Report) {
    config.upstreams.iter().for_each(|one| tables.upstreams.check_used(&one.name, report));
    config.api_keys.iter().for_each(|one| tables.api_keys.check_used(&one.name, report));
    config.basics.iter().for_each(|one| tables.basics.check_used(&one.name, report));
    let asked = &tables.auth_requests;
    config.auth_requests.iter().for_each(|one| asked.check_used(&one.name, report));
    config.jwts.iter().for_each(|one| tables.issuers.check_used(&one.name, report));
    config.limits.iter().for_each(|one| tables.limits.check_used(&one.name, report));
}

fn record(config: &Config, book: &mut LabelBook) -> RecordPlan {
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
            views: route.views.iter().map(|view| Name::new(&view.name.value)).collect(),
        })
        .collect();
    let upstreams: Vec<Name> =
        config.upstreams.iter().map(|upstream| Name::new(&upstream.name.value)).collect();
    // Queries often hold what should not be kept; the language has no key yet that asks for them.
    RecordPlan::new(book, &routes, &upstreams, false).with_limits(book, &concurrency::names(config))
}

#[cfg(test)]
mod tests;
