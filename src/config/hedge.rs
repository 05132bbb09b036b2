//! `hedge`: whether a late call gets a second one beside it, and how many of all calls may.
//!
//! Nothing is ever sent twice that nobody asked for: without the key there is no second call.

use crate::base::limits::HEDGE_BUDGET_PERCENT;
use crate::config::language::HEDGE;
use crate::config::reader::{Reader, wrong_type};
use crate::config::span::Spanned;
use crate::config::tree::Kind;

/// Reads `hedge`, a word or a table: how many of a hundred calls may be sent twice. The outer `None`: nothing is
/// said; the inner one: none.
pub(super) fn read(reader: &Reader<'_>) -> Option<Option<Spanned<u32>>> {
    let node = reader.node("hedge")?;
    match node.kind {
        Kind::Boolean(wanted) => {
            Some(wanted.then(|| Spanned::new(HEDGE_BUDGET_PERCENT, node.span)))
        }
        Kind::Table(_) => {
            let table = reader.table("hedge", &HEDGE)?;
            let percent = match table.node("budget") {
                Some(_) => table.percent("budget")?.value,
                None => HEDGE_BUDGET_PERCENT,
            };
            Some(Some(Spanned::new(percent, node.span)))
        }
        _ => {
            let advice = "write `hedge = true`, or `hedge = { budget = \"5%\" }`";
            wrong_type(reader.log, node, "`true`, `false` or a table", advice);
            None
        }
    }
}
