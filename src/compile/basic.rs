//! `[basic.NAME]`: its file of users, read and from then on watched, and the desk at which passwords are checked.
//!
//! What did not change goes on with what it remembers: a reload never makes everybody's password be checked again,
//! and never refills the wrong ones that a network may bring.

use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::base::gcra::Rule;
use crate::base::limits::BASIC_NETWORKS_MAX;
use crate::base::name::Name;
use crate::base::random::Rng;
use crate::base::shared::Cells;
use crate::compile::codes;
use crate::compile::lists::{Kind, Lists};
use crate::compile::policy::Making;
use crate::config;
use crate::gateway::carry::CarriedBasic;
use crate::policy::basic::{Basic, BasicRules, UserBook};
use crate::policy::file_cell::List;
use crate::policy::password::{Desk, Job};

/// How files of users are read.
const USERS: Kind<UserBook> = Kind {
    parse: |text, _| UserBook::parse(text),
    wrap: List::Users,
    unwrap: |list| match list {
        List::Users(cell) => Some(cell),
        _ => None,
    },
};

/// The desk of the version before, or a new one with the end that nobody empties yet.
pub fn desk(making: &Making<'_>, rng: &mut Rng) -> (Arc<Desk>, Option<Receiver<Job>>) {
    if let Some(desk) = making.last.and_then(|last| last.carry.desk.clone()) {
        return (desk, None);
    }
    let key: Vec<u8> = (0..4).flat_map(|_| rng.bits().to_ne_bytes()).collect();
    let (desk, taken) = Desk::new(&key);
    (Arc::new(desk), Some(taken))
}

/// Compiles one table.
pub fn compile(
    table: &config::Basic,
    lists: &mut Lists,
    desk: &Arc<Desk>,
    making: &Making<'_>,
    seed: u64,
) -> Option<CarriedBasic> {
    let name = Name::new(&table.name.value);
    let book = lists.read(&USERS, &name, (&table.users.value, table.users.span), making)?;
    let rate = table.failures.value;
    let told = format!("{} {:?} {:?}", table.realm, table.ttl, rate);
    let known = making.last.and_then(|last| last.carry.basics.get(&name));
    let known =
        known.filter(|known| known.told == told && Arc::ptr_eq(&known.policy.rules().book, &book));
    if let Some(known) = known {
        return Some(known.clone());
    }
    let Some(rule) = Rule::new(rate.count, rate.per, rate.count) else {
        let message = "this rate is beyond what can be counted";
        making.report.error(codes::BAD_LIMIT, table.failures.span, message);
        return None;
    };
    let rules = BasicRules {
        name,
        realm: table.realm.as_str().into(),
        book,
        ttl: table.ttl,
        failures: Arc::new(Cells::new(rule, BASIC_NETWORKS_MAX, seed)),
        desk: desk.clone(),
    };
    Some(CarriedBasic { told, policy: Basic::new(rules) })
}
