//! What a merge costs: the dashboard of 0.5 + 8 + 1 KiB, the same with 100 KiB, and the check alone.
//!
//! It never measures the network; `loadtest/` does. `serde_json` and `simd-json` stand beside our own
//! check as the yardsticks of `docs/decisions/0010-json.md`.

#[path = "candidates/json.rs"]
mod candidates;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::aggregate::json::{Path, Tokens};
use ringway::aggregate::{Lists, Members, Part, PartOutcome, Pass, Plan, Taken, json, merge};
use ringway::base::ids::UpstreamId;
use ringway::base::name::Name;
use ringway::exchange::template::{Template, TemplateKind};
use ringway::http::Status;
use ringway::http::etag::Etag;
use serde::de::IgnoredAny;

/// Order records of about this many bytes: numbers, short strings, some escapes and UTF-8.
fn orders(bytes: usize) -> Vec<u8> {
    let (mut text, mut id) = (String::from("["), 0u32);
    while text.len() < bytes {
        let mixed = id.wrapping_mul(2_654_435_761) >> 7;
        let status = ["shipped", "open", "returned"][mixed as usize % 3];
        let note = ["", "leave at the door", "Grüße an \\\"Ada\\\""][mixed as usize % 3];
        let comma = if id == 0 { "" } else { "," };
        text += &format!(
            "{comma}{{\"id\":{},\"sku\":\"SKU-{:06}\",\"status\":\"{status}\",\"quantity\":{},\
             \"price\":{}.{:02},\"currency\":\"EUR\",\"paid\":{},\"note\":\"{note}\",\"tags\":[\"a\",\"b\"]}}",
            1_000_000 + id,
            mixed % 1_000_000,
            mixed % 17,
            mixed % 900,
            mixed % 100,
            mixed.is_multiple_of(2),
        );
        id += 1;
    }
    text.push(']');
    text.into_bytes()
}

fn dashboard() -> Plan {
    let part = |name| {
        let target = Template::parse("/", TemplateKind::Target, &[]).expect("a target");
        Part::new(Name::new(name), UpstreamId(0), target, Duration::from_secs(1))
    };
    Plan::new(["user", "orders", "unread"].map(part).into(), Pass::default())
}

/// Judges three bodies and writes the document.
fn merged(plan: &Plan, bodies: &[Vec<u8>; 3], tokens: &mut Tokens, out: &mut Vec<u8>) {
    let mut outcomes = [PartOutcome::Empty; 3];
    for ((part, body), outcome) in plan.parts.iter().zip(bodies).zip(&mut outcomes) {
        if let Ok(Taken::Value(span)) = part.judge(Status(200), body, tokens, &mut Vec::new()) {
            *outcome = PartOutcome::Value(span.of(body));
        }
    }
    out.clear();
    assert!(merge(plan, &outcomes, &Members::default()).write(out));
}

fn merges(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    let plan = dashboard();
    for (name, size) in [("0.5 + 8 + 1 KiB", 8 << 10), ("0.5 + 100 + 1 KiB", 100 << 10)] {
        let bodies = [orders(512), orders(size), orders(1 << 10)];
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        let mut out = Vec::with_capacity(bytes + 64);
        let mut tokens = Tokens::default();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |b| {
            b.iter(|| merged(&plan, black_box(&bodies), &mut tokens, &mut out));
        });
    }
    group.finish();
}

fn checks(c: &mut Criterion) {
    for (name, size) in [("check 8 KiB", 8 << 10), ("check 100 KiB", 100 << 10)] {
        let body = orders(size);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("ringway", |b| b.iter(|| json::check(black_box(&body))));
        group.bench_function("serde_json", |b| {
            b.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(&body)).is_ok());
        });
        group.bench_function("one byte after the other", |b| {
            b.iter(|| candidates::scalar(black_box(&body)));
        });
        #[cfg(target_arch = "x86_64")]
        {
            let mut starts = Vec::new();
            group.bench_function("a grammar over an index", |b| {
                b.iter(|| candidates::indexed(black_box(&body), &mut starts));
            });
        }
        let (mut copy, mut buffers) = (body.clone(), simd_json::Buffers::new(2 * body.len()));
        group.bench_function("simd-json tape", |b| {
            b.iter(|| {
                copy.copy_from_slice(&body);
                simd_json::to_tape_with_buffers(black_box(&mut copy), &mut buffers).is_ok()
            });
        });
        group.finish();
    }
}

/// Looking into a part: the check with its index, and what is done over that.
fn shapes(c: &mut Criterion) {
    let body = orders(8 << 10);
    let mut group = c.benchmark_group("shape 8 KiB");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let (mut tokens, mut out) = (Tokens::default(), Vec::new());
    group.bench_function("index", |b| {
        b.iter(|| json::index(black_box(&body), &mut tokens).is_ok());
    });
    let path = |text| Path::parse(text).expect("a path");
    let (mut keep, mut drop) = (Lists::default(), Lists::default());
    for kept in ["[*].id", "[*].price", "[*].status"] {
        keep.keep(&path(kept)).expect("a list");
    }
    drop.leave(&path("[*].note")).expect("a list");
    for (name, lists) in [("keep", keep), ("drop", drop)] {
        let selection = lists.compile().expect("a selection");
        group.bench_function(name, |b| {
            b.iter(|| {
                let document = json::index(black_box(&body), &mut tokens).expect("JSON");
                out.clear();
                selection.apply(&document, 0, &mut out);
            });
        });
    }
    group.bench_function("entity tag", |b| {
        b.iter(|| Etag::of(std::iter::once(black_box(&body[..]))));
    });
    group.finish();
}

criterion_group!(benches, merges, checks, shapes);
criterion_main!(benches);
