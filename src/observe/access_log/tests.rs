//! Lines of the access log, byte by byte, and what becomes of pages.

use crossbeam::channel::bounded;
use serde_json::Value;

use super::*;
use crate::base::ids::RouteId;
use crate::base::name::Name;
use crate::exchange::ViewChosen;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::part::PartFailure;
use crate::observe::fixture::{at, attempt, exchange, forwarded, plan};
use crate::observe::plan::LabelBook;

fn line_of(x: &Exchange, query: bool) -> (String, Value) {
    let mut room = vec![0; LOG_LINE_BYTES_MAX];
    let plan = plan(&mut LabelBook::default(), query);
    let len = write_line(&mut room, x, &plan, at(9000)).expect("every line fits");
    let text = String::from_utf8(room[..len].to_vec()).expect("UTF-8");
    let value = serde_json::from_str(&text).expect("JSON");
    (text, value)
}

#[test]
fn a_forwarded_request_tells_all_in_one_line() {
    let mut x = forwarded();
    x.id = RequestId::accept(b"req-1").expect("fine");
    (x.trace.trace_id, x.trace.span_id) = (0xabc, 0x12);
    let (text, _) = line_of(&x, false);
    let expected = concat!(
        r#"{"time":"2025-11-24T16:00:00.123456Z","request_id":"req-1","#,
        r#""trace_id":"00000000000000000000000000000abc","span_id":"0000000000000012","#,
        r#""route":"users","client":"127.0.0.1","method":"GET","host":"api.example.com","#,
        r#""path":"/users/7","protocol":"HTTP/1.1","status":200,"bytes_in":200,"bytes_out":1200,"#,
        r#""duration_ms":1.500,"overhead_ms":0.500,"#,
        r#""stages_ms":{"head":0.010,"target":0.100,"connected":0.200,"answered":1.000},"#,
        r#""upstream":"user","address":"127.0.0.1:8081","#,
        r#""attempts":[{"upstream":"user","address":"127.0.0.1:8081","reused":true,"status":200,"#,
        r#""bytes":1024,"start_ms":0.100,"connect_ms":0.000,"first_byte_ms":1.000,"#,
        r#""duration_ms":1.000}]}"#,
        "\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn the_query_is_written_only_when_asked_for() {
    let (text, value) = line_of(&forwarded(), false);
    assert!(!text.contains("secret") && value.get(field::QUERY).is_none());
    assert_eq!(line_of(&forwarded(), true).1[field::QUERY], "token=secret");
}

#[test]
fn parts_and_faults_are_told_by_name() {
    let mut x = forwarded();
    x.route = Some(RouteId(1));
    let mut failed = attempt(Some(1), 120, 400);
    (failed.fault, failed.status, failed.address) =
        (Some(FaultKind::HttpResponseTimeout), None, None);
    x.attempts = vec![attempt(Some(0), 100, 300), failed];
    let (kind, side, again) = (FaultKind::PartFailed, Side::Upstream, Again::Never);
    x.fault = Some(Fault { kind, side, again });
    let (_, value) = line_of(&x, false);
    assert_eq!(value[field::ROUTE], "dash\"board");
    assert_eq!(value[field::FAULT], "part_failed");
    assert_eq!(value[field::FAULT_SIDE], "upstream");
    assert!(value.get(field::UPSTREAM).is_none());
    assert_eq!(value[field::ATTEMPTS][0][field::PART], "profile");
    assert_eq!(value[field::ATTEMPTS][1][field::PART], "orders");
    assert_eq!(value[field::ATTEMPTS][1][field::FAULT], "http_response_timeout");
    assert_eq!(value[field::ATTEMPTS][1][field::START_MS], 0.12);
}

#[test]
fn the_reason_of_a_policy_stands_behind_the_fault() {
    let mut x = forwarded();
    assert!(line_of(&x, false).1.get(field::REASON).is_none());
    x.reason = "token_expired";
    assert_eq!(line_of(&x, false).1[field::REASON], "token_expired");
}

#[test]
fn a_merge_that_lost_parts_is_seen_in_the_line_itself() {
    let mut x = forwarded();
    let mut failed = attempt(Some(1), 120, 400);
    failed.fault = Some(FaultKind::HttpResponseTimeout);
    x.attempts = vec![attempt(Some(0), 100, 300), failed, failed];
    // A try that failed is no part that failed: another one followed.
    assert!(line_of(&x, false).1.get(field::PARTIAL).is_none());
    x.parts_failed = vec![PartFailure { part: 1, reason: "timeout" }];
    let view = ViewChosen { index: 0, name: Name::new("mobile") };
    (x.route, x.view) = (Some(RouteId(1)), Some(view));
    let line = line_of(&x, false).1;
    assert_eq!(line[field::PARTIAL], 1);
    assert_eq!(line[field::PARTS], serde_json::json!({ "orders": "timeout" }));
    assert_eq!(line[field::VIEW], "mobile");
}

#[test]
fn a_request_that_was_never_understood_still_has_a_line() {
    let (_, value) = line_of(&Exchange::default(), true);
    assert_eq!(value[field::PATH], "");
    assert!(value.get(field::STATUS).is_none() && value.get(field::ATTEMPTS).is_none());
}

#[test]
fn long_values_are_cut_and_the_line_says_which() {
    let path = format!("/{}", "\u{1}".repeat(5000));
    let x = exchange(&"M".repeat(100), &path, &"h".repeat(1000), &[]);
    let (text, value) = line_of(&x, false);
    assert_eq!(value[field::CUT], serde_json::json!(["method", "host", "path"]));
    assert!(text.len() < 2 * LOG_TARGET_BYTES_MAX);
}

#[test]
fn the_longest_line_fits_and_counts_the_attempts_it_leaves_out() {
    let target = format!("/{}?{}", "\"".repeat(8000), "\\".repeat(8000));
    let mut x = exchange(&"\0".repeat(100), &target, &"\x7f".repeat(1000), &[]);
    x.route = Some(RouteId(1));
    x.id = RequestId::accept(&[b'x'; 64]).expect("fine");
    x.client.address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("fine");
    (x.bytes_in, x.bytes_out) = (u64::MAX, u64::MAX);
    let mut slow = attempt(Some(1), 0, u64::MAX / 1_000_000);
    (slow.fault, slow.bytes) = (Some(FaultKind::HttpResponseHeaderSectionSize), u64::MAX);
    x.attempts = vec![slow; 96];
    let (text, value) = line_of(&x, true);
    assert!(text.len() <= LOG_LINE_BYTES_MAX);
    let written = value[field::ATTEMPTS].as_array().expect("a list").len() as u64;
    assert!(written >= 32, "{written}");
    assert_eq!(value[field::ATTEMPTS_OMITTED], 96 - written);
    assert_eq!(value[field::CUT].as_array().expect("a list").len(), 4);
}

#[test]
fn full_pages_go_to_the_queue_and_come_back() {
    let (full, pages) = bounded(8);
    let (mut log, metrics) = (AccessLog::new(full), CoreMetrics::default());
    let plan = plan(&mut LabelBook::default(), false);
    let mut lines = 0;
    for _ in 0..1000 {
        log.record(&forwarded(), &plan, at(0), &metrics);
        while let Ok(page) = pages.try_recv() {
            assert_eq!(
                page.bytes().iter().filter(|byte| **byte == b'\n').count() as u64,
                page.lines()
            );
            lines += page.lines();
            page.give_back();
        }
    }
    log.hand_over(&metrics);
    lines += pages.try_recv().expect("the rest").lines();
    assert_eq!(lines, 1000);
    assert_eq!(metrics.log_lines_dropped.read(), 0);
    assert!(pages.try_recv().is_err());
    log.hand_over(&metrics);
    assert!(pages.try_recv().is_err(), "an empty page is not sent");
}

#[test]
fn lines_without_room_are_dropped_and_counted() {
    let (full, pages) = bounded(2);
    let (mut log, metrics) = (AccessLog::new(full), CoreMetrics::default());
    let plan = plan(&mut LabelBook::default(), false);
    for _ in 0..5000 {
        log.record(&forwarded(), &plan, at(0), &metrics);
    }
    log.hand_over(&metrics);
    let queued: u64 = pages.try_iter().map(|page| page.lines()).sum();
    assert!(queued > 0);
    assert_eq!(queued + metrics.log_lines_dropped.read(), 5000);
}

#[test]
fn pages_that_are_all_away_drop_lines_and_return_later() {
    let (full, pages) = bounded(1000);
    let (mut log, metrics) = (AccessLog::new(full), CoreMetrics::default());
    let plan = plan(&mut LabelBook::default(), false);
    let mut recorded = 0;
    while metrics.log_lines_dropped.read() == 0 {
        log.record(&forwarded(), &plan, at(0), &metrics);
        recorded += 1;
    }
    assert_eq!(pages.len(), LOG_PAGES_PER_CORE - 1);
    let queued: u64 = pages
        .try_iter()
        .map(|page| {
            let lines = page.lines();
            page.give_back();
            lines
        })
        .sum();
    let dropped = metrics.log_lines_dropped.read();
    log.hand_over(&metrics);
    assert_eq!(metrics.log_lines_dropped.read(), dropped);
    assert_eq!(queued + dropped + pages.try_recv().expect("the rest").lines(), recorded);
}
