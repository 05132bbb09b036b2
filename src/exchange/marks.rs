//! Which limits an exchange met, and what each said: for metrics and the access log.
//!
//! A mark never decides anything. Limits are named by their place in the configuration, so that what is kept
//! is a few words in place whatever their names are.

use crate::base::limits::LIMITS_PER_ROUTE_MAX;

/// What a limit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSaid {
    /// The request may pass.
    Allowed,
    /// It may not.
    Refused,
    /// It might not, were the limit enforced.
    WouldRefuse,
    /// It may, after it waited for a seat.
    Queued,
    /// It waited for a seat for too long.
    Shed,
}

impl LimitSaid {
    /// Whether the request ended there.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Shed)
    }
}

impl LimitSaid {
    /// All of them, in the order of their numbers.
    pub const ALL: [LimitSaid; 5] =
        [Self::Allowed, Self::Refused, Self::WouldRefuse, Self::Queued, Self::Shed];
}

/// One limit, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitMark {
    /// Its place among the limits of the configuration.
    pub limit: u16,
    /// What it said.
    pub said: LimitSaid,
}

/// Rate limits, and one on who may be there at once.
const MARKS_MAX: usize = LIMITS_PER_ROUTE_MAX + 1;

/// The marks of one exchange, or of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitMarks {
    marks: [LimitMark; MARKS_MAX],
    len: u8,
}

impl Default for LimitMarks {
    fn default() -> Self {
        let none = LimitMark { limit: 0, said: LimitSaid::Allowed };
        Self { marks: [none; MARKS_MAX], len: 0 }
    }
}

impl LimitMarks {
    /// Keeps a mark; a route has no more limits than there is room.
    pub fn add(&mut self, limit: u16, said: LimitSaid) {
        if let Some(place) = self.marks.get_mut(usize::from(self.len)) {
            *place = LimitMark { limit, said };
            self.len += 1;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// All, in the order in which the limits were asked.
    pub fn iter(&self) -> impl Iterator<Item = LimitMark> + '_ {
        self.marks.iter().take(usize::from(self.len)).copied()
    }
}
