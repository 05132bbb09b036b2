//! The page of metrics: as agreed, and by the rules of its format.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::base::time::Wall;
use crate::exchange::fault::{Again, Fault, Side};
use crate::http::Status;
use crate::observe::fixture::{at, exchange, forwarded, plan};
use crate::observe::plan::LabelBook;
use crate::observe::snapshot::Registry;

fn registry() -> (Registry, LabelBook) {
    let started = Wall::from_micros(1_764_000_000_250_000);
    let (registry, mut book) = (Registry::new(2, started, "0.1.0"), LabelBook::default());
    let plan = plan(&mut book, false);
    for core in &registry.cores {
        core.record(&forwarded(), &plan, at(0));
        core.connections_accepted.add(3);
        core.connections_open.raise();
    }
    let mut limited = exchange("BREW", "/", "a", &[]);
    limited.status = Some(Status(429));
    let (kind, side) = (FaultKind::RateLimited, Side::Downstream);
    limited.fault = Some(Fault { kind, side, again: Again::Never });
    registry.cores[1].record(&limited, &plan, at(30));
    registry.cores[1].log_lines_dropped.add(5);
    registry.flush.lines.add(7);
    registry.control.reloads_refused.add(1);
    (registry, book)
}

fn page() -> String {
    let (registry, book) = registry();
    render(&registry.snapshot(&book))
}

#[test]
fn the_page_is_as_agreed() {
    let text = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics/two_workers.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    assert!(text == golden, "differs from {}: run with UPDATE_GOLDEN=1 and review", path.display());
}

/// The rules of the format, and of `promtool check metrics` as far as they can be seen in the text.
#[test]
fn the_page_keeps_the_rules_of_the_format() {
    let mut text = page();
    append(&mut text, metric::PROCESS_CPU, 1.25);
    let one =
        |name: &str| Obtained { name: name.into(), not_after: None, last_success: 0, failures: 2 };
    append_obtained(&mut text, &[one("a.test"), one("b.test")]);
    let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(families.insert(family.clone()), "{family} stands twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest.split(' ').next(), Some(&*family));
        } else {
            let (series, sample) = line.rsplit_once(' ').expect("a value");
            assert!(samples.insert(series.to_owned()), "{series} stands twice");
            assert!(series.starts_with(&family), "{series} is outside of its family {family}");
            sample.parse::<f64>().expect("a number");
        }
    }
    assert!(text.ends_with('\n'));
    assert_eq!(
        families.len() + 3,
        metric::ALL.len(),
        "memory and descriptors are admin's, ends of certificates control's"
    );
}

#[test]
fn names_with_quotes_cannot_break_out_of_their_label() {
    let (registry, mut book) = registry();
    let mut x = forwarded();
    x.route = Some(crate::base::ids::RouteId(1));
    registry.cores[0].record(&x, &plan(&mut book, false), at(0));
    let text = render(&registry.snapshot(&book));
    assert!(text.contains(r#"http_route="dash\"board""#));
}

#[test]
fn seconds_are_exact() {
    let shown = |nanos| Value::Nanos(nanos).to_string();
    assert_eq!(shown(0), "0");
    assert_eq!(shown(20_000), "0.00002");
    assert_eq!(shown(1_500_000_000), "1.5");
    assert_eq!(shown(10_000_000_000), "10");
    assert_eq!(shown(1), "0.000000001");
}
