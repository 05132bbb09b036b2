//! What limits said, counted by limit: names in one chapter of the label book, counters per core.
//!
//! A limit is named by its kind and its name, never by a key: keys are chosen by clients, and a metric per key
//! would have no bound. Counted once, when the exchange is over.

use std::sync::Arc;

use crate::base::gradient::GradientRules;
use crate::base::name::Name;
use crate::base::seats::Seats;
use crate::exchange::marks::{LimitMark, LimitMarks, LimitSaid};
use crate::observe::metrics::{Chunks, Counter, Gauge};
use crate::observe::names::value;
use crate::observe::plan::{Label, PART_SEPARATOR, RecordPlan};

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests in a time.
    Rate,
    /// Requests of a route at once.
    Route,
    /// Attempts at an upstream at once.
    Upstream,
}

impl LimitKind {
    /// The word in the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => value::RATE,
            Self::Route => value::CONCURRENCY_ROUTE,
            Self::Upstream => value::CONCURRENCY_UPSTREAM,
        }
    }
}

/// A limit as the configuration has it.
#[derive(Clone, Debug)]
pub struct LimitName {
    /// What it bounds.
    pub kind: LimitKind,
    /// Its name.
    pub name: Name,
}

impl LimitName {
    /// The name by which it is known for the life of the process.
    pub fn full(&self) -> Name {
        Name::new(&format!("{}{PART_SEPARATOR}{}", self.kind.name(), self.name))
    }
}

/// The seats of one limit, for the page of metrics.
#[derive(Clone, Debug)]
pub struct SeatsShown {
    /// Whose they are.
    pub name: LimitName,
    /// Who is there.
    pub seats: Arc<Seats>,
    /// How many there may be, where that is fixed.
    pub max: u64,
    /// Between which bounds, where it is found out.
    pub adaptive: Option<GradientRules>,
}

/// Who is there at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SeatsNow {
    pub(crate) kind: &'static str,
    pub(crate) name: Name,
    pub(crate) taken: u64,
    pub(crate) waiting: u64,
    pub(crate) limit: u64,
}

impl SeatsShown {
    pub(crate) fn now(&self) -> SeatsNow {
        SeatsNow {
            kind: self.name.kind.name(),
            name: self.name.name.clone(),
            taken: self.seats.taken(),
            waiting: self.seats.waiting(),
            limit: self.adaptive.map_or(self.max, |rules| self.seats.limit(rules)),
        }
    }
}

/// The word for what a limit said.
pub(crate) fn word(said: LimitSaid) -> &'static str {
    match said {
        LimitSaid::Allowed => value::ALLOWED,
        LimitSaid::Refused => value::REFUSED,
        LimitSaid::WouldRefuse => value::DRY_RUN,
        LimitSaid::Queued => value::QUEUED,
        LimitSaid::Shed => value::SHED,
    }
}

/// What one core counts of one limit.
#[derive(Debug, Default)]
pub(crate) struct LimitCounters {
    pub(crate) said: [Counter; LimitSaid::ALL.len()],
}

/// What one core counts of limits.
#[derive(Debug)]
pub struct LimitMetrics {
    said: Chunks<LimitCounters>,
    /// 1 while this core is connected to the store of the fleet's limits.
    pub store_connected: Gauge,
    /// Decisions of fleet limits made without the store.
    pub store_missed: Counter,
    /// How often the store went away from this core.
    pub store_away: Counter,
}

impl LimitMetrics {
    pub(crate) fn new(limits_max: usize) -> Self {
        let said = Chunks::new(limits_max);
        let store_connected = Gauge::default();
        Self { said, store_connected, store_missed: Counter::new(), store_away: Counter::new() }
    }

    /// Counts what was said in one exchange or attempt.
    pub(crate) fn record(&self, marks: &LimitMarks, plan: &RecordPlan) {
        for LimitMark { limit, said } in marks.iter() {
            if let Some(counters) = self.said.at(plan.limit_label(limit).index()) {
                counters.said[said as usize].add(1);
            }
        }
    }

    /// All limits, by label.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Label, &LimitCounters)> {
        self.said.iter().map(|(index, counters)| (Label(index as u32), counters))
    }
}
