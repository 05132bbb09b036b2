//! What limits said, counted by limit: names in one chapter of the label book, counters per core.
//!
//! A limit is named by its kind and its name, never by a key: keys are chosen by clients, and a metric per key
//! would have no bound. Counted once, when the exchange is over.

use crate::base::name::Name;
use crate::exchange::marks::{LimitMark, LimitMarks, LimitSaid};
use crate::observe::metrics::{Chunks, Counter};
use crate::observe::names::value;
use crate::observe::plan::{Label, PART_SEPARATOR, RecordPlan};

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests in a time.
    Rate,
}

impl LimitKind {
    /// The word in the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => value::RATE,
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
    pub(crate) fn full(&self) -> Name {
        Name::new(&format!("{}{PART_SEPARATOR}{}", self.kind.name(), self.name))
    }
}

/// The word for what a limit said.
pub(crate) fn word(said: LimitSaid) -> &'static str {
    match said {
        LimitSaid::Allowed => value::ALLOWED,
        LimitSaid::Refused => value::REFUSED,
        LimitSaid::WouldRefuse => value::DRY_RUN,
    }
}

/// What one core counts of one limit.
#[derive(Debug, Default)]
pub(crate) struct LimitCounters {
    pub(crate) said: [Counter; LimitSaid::ALL.len()],
}

/// What one core counts of limits.
#[derive(Debug)]
pub struct LimitMetrics(Chunks<LimitCounters>);

impl LimitMetrics {
    pub(crate) fn new(limits_max: usize) -> Self {
        Self(Chunks::new(limits_max))
    }

    /// Counts what was said in one exchange or attempt.
    pub(crate) fn record(&self, marks: &LimitMarks, plan: &RecordPlan) {
        for LimitMark { limit, said } in marks.iter() {
            if let Some(counters) = self.0.at(plan.limit_label(limit).index()) {
                counters.said[said as usize].add(1);
            }
        }
    }

    /// All limits, by label.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Label, &LimitCounters)> {
        self.0.iter().map(|(index, counters)| (Label(index as u32), counters))
    }
}
