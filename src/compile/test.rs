//! Names in `[[test]]`: upstreams that exist, faults that can be seen.
//!
//! A test never becomes part of the gateway, and what it names does not count as used.

use crate::compile::codes;
use crate::compile::report::Report;
use crate::compile::route::Tables;
use crate::config::diagnostic::Diagnostic;
use crate::config::test::{Expect, Told};
use crate::config::{Config, Text, suggest};
use crate::exchange::fault::FaultKind;

/// Checks the names in all tests.
pub fn check(config: &Config, tables: &Tables<'_>, report: &Report) {
    for test in &config.tests {
        check_told(&test.upstreams, tables, report);
        for step in &test.steps {
            check_told(&step.upstreams, tables, report);
            check_expect(&step.expect, tables, report);
        }
    }
}

fn check_told(told: &[Told], tables: &Tables<'_>, report: &Report) {
    for told in told {
        tables.upstreams.is_known(&told.upstream, report);
    }
}

fn check_expect(expect: &Expect, tables: &Tables<'_>, report: &Report) {
    for name in expect.sent.iter().map(|(name, _)| name).chain(&expect.not_sent) {
        tables.upstreams.is_known(name, report);
    }
    if let Some(fault) = &expect.fault {
        check_fault(fault, report);
    }
}

fn check_fault(fault: &Text, report: &Report) {
    let names = || FaultKind::ALL.iter().map(|kind| kind.name()).chain(["none"]);
    if names().any(|name| name == fault.value) {
        return;
    }
    let message = format!("`{}` is not a fault of the access log", fault.value);
    let diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, fault.span, message);
    let near = suggest::nearest(&fault.value, names());
    report.push(diagnostic.suggest(near, "").help("the access log's `fault`, or `none`"));
}
