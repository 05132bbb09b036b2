//! Rate limits: cells that all routes of one limit share, and that survive a reload unchanged.
//!
//! The rule is the user's, for the whole machine; it is never divided.

use std::sync::Arc;

use crate::base::gcra::Rule;
use crate::base::shared::Cells;
use crate::compile::{Compiler, codes};
use crate::config::Limit;
use crate::config::diagnostic::Diagnostic;

impl Compiler<'_> {
    /// The cells of every limit, by its place; `None` after an error.
    pub(super) fn limits(&mut self) -> Vec<Option<Arc<Cells>>> {
        let config = self.config;
        config.limits.iter().map(|limit| self.limit(limit)).collect()
    }

    fn limit(&mut self, limit: &Limit) -> Option<Arc<Cells>> {
        let rate = limit.rate.value;
        let Some(rule) = Rule::new(rate.count, rate.per, limit.burst) else {
            let message = "this rate with its burst is outside of what can be counted";
            let diagnostic = Diagnostic::error(codes::BAD_LIMIT, limit.rate.span, message);
            self.found
                .push(diagnostic.help("use a smaller burst, or a rate of at least one a day"));
            return None;
        };
        let Limit { name, key, burst, keys_max, .. } = limit;
        let settings = format!("{}\0{rate:?}\0{burst}\0{}\0{keys_max}", name.value, key.value);
        let last = self.last.and_then(|last| last.carry.cells.get(&settings)).cloned();
        let cells = last.unwrap_or_else(|| Arc::new(Cells::new(rule, *keys_max, self.seed)));
        self.carry.cells.insert(settings, cells.clone());
        Some(cells)
    }
}
