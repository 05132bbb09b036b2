//! Counting: every exchange once, in every place where it belongs.

use std::time::Duration;

use super::*;
use crate::base::ids::UpstreamId;
use crate::exchange::fault::{Again, Fault};
use crate::http::Status;
use crate::observe::fixture::{at, attempt, exchange, forwarded, plan};
use crate::observe::plan::LabelBook;
use crate::observe::series::HistogramSum;

#[test]
fn overhead_is_the_time_that_no_attempt_covers() {
    let mut x = exchange("GET", "/", "a", &[]);
    x.timeline.done = Some(at(1000));
    // 100..300, 200..400 and 250..260 cover 300; 900..2000 covers 100 up to the end.
    x.attempts = vec![
        attempt(Some(0), 100, 300),
        attempt(Some(1), 200, 400),
        attempt(Some(2), 250, 260),
        attempt(Some(0), 900, 2000),
    ];
    let spent = Spent::of(&x, at(5000));
    assert_eq!(spent.total, Duration::from_micros(1000));
    assert_eq!(spent.overhead, Duration::from_micros(600));
}

#[test]
fn an_exchange_cut_short_is_measured_up_to_now() {
    let mut x = exchange("GET", "/", "a", &[]);
    let mut hanging = attempt(None, 100, 0);
    hanging.done = None;
    x.attempts.push(hanging);
    let spent = Spent::of(&x, at(700));
    assert_eq!(spent.total, Duration::from_micros(700));
    assert_eq!(spent.overhead, Duration::from_micros(100));
}

#[test]
fn an_exchange_is_counted_once_in_every_place() {
    let (core, mut book) = (CoreMetrics::default(), LabelBook::default());
    let mut x = forwarded();
    x.fault = Some(Fault {
        kind: FaultKind::HttpResponseIncomplete,
        side: Side::Upstream,
        again: Again::Never,
    });
    core.record(&x, &plan(&mut book, false), at(0));
    assert_eq!((core.finished.read(), core.bytes_in.read(), core.bytes_out.read()), (1, 200, 1200));
    assert_eq!(core.faults(FaultKind::HttpResponseIncomplete, Side::Upstream), 1);
    assert_eq!(core.faults(FaultKind::HttpResponseIncomplete, Side::Gateway), 0);
    let (key, series) = core.requests.iter().next().expect("one series");
    let mut sum = HistogramSum::default();
    series.add_to(&mut sum);
    assert_eq!((key.method(), key.status(), sum.count()), ("GET", 200, 1));
    assert_eq!(sum.sum_nanos, 1_500_000);
}

#[test]
fn a_second_try_of_the_same_part_is_a_retry_and_another_part_is_not() {
    let (core, mut book) = (CoreMetrics::default(), LabelBook::default());
    let mut x = exchange("GET", "/", "a", &[]);
    let mut failed = attempt(Some(1), 0, 10);
    failed.upstream = UpstreamId(1);
    (failed.fault, failed.connected) = (Some(FaultKind::ConnectionRefused), None);
    (failed.status, failed.reused) = (None, false);
    let mut again = attempt(Some(1), 20, 30);
    again.upstream = UpstreamId(1);
    x.attempts = vec![attempt(Some(0), 0, 10), failed, again];
    core.record(&x, &plan(&mut book, false), at(100));
    let upstreams: Vec<_> = core.upstreams().map(|(_, counters)| counters).collect();
    let [user, order] = upstreams[..] else { panic!("two upstreams, not {}", upstreams.len()) };
    assert_eq!((user.attempts.read(), user.retries.read(), user.failures.read()), (1, 0, 0));
    assert_eq!((order.attempts.read(), order.retries.read()), (2, 1));
    assert_eq!((order.failures.read(), order.connect_failures.read()), (1, 1));
    assert_eq!((order.reused.read(), order.bytes.read()), (1, 2048));
}

#[test]
fn totals_of_a_vanished_route_stay() {
    let (core, mut book) = (CoreMetrics::default(), LabelBook::default());
    let mut x = forwarded();
    core.record(&x, &plan(&mut book, false), at(0));
    let without = RecordPlan::new(&mut book, &[], &[], false);
    (x.route, x.status) = (None, Some(Status(404)));
    core.record(&x, &without, at(0));
    let mut statuses: Vec<_> = core.requests.iter().map(|(key, _)| key.status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404]);
}

#[test]
fn a_gauge_never_falls_below_zero() {
    let gauge = Gauge::default();
    gauge.lower();
    gauge.raise();
    gauge.raise();
    gauge.lower();
    assert_eq!(gauge.read(), 1);
}
