//! Work that no change of ours can make faster or slower: how fast is this machine just now?
//!
//! `benches/compare` runs it before and after every other bench and divides by what it says, so that a slow hour of a shared
//! machine is never taken for a slow change. One stick for each thing a machine can be short of: clock, memory, branches, SIMD.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::de::IgnoredAny;

/// Order records of about 8 KiB.
fn orders() -> Vec<u8> {
    let order = |id: u32| format!("{{\"id\":{id},\"price\":{}.5,\"tags\":[\"a\",\"b\"]}}", id % 97);
    format!("[{}]", (0..200).map(order).collect::<Vec<_>>().join(",")).into_bytes()
}

fn sticks(c: &mut Criterion) {
    let mut group = c.benchmark_group("yardstick");
    group.bench_function("a thousand multiplications in a chain", |b| {
        b.iter(|| (0..1000u64).fold(black_box(3u64), |x, n| x.wrapping_mul(x ^ n)))
    });
    let (from, mut to) = (vec![7u8; 256 << 10], vec![0u8; 256 << 10]);
    group.throughput(Throughput::Bytes(from.len() as u64));
    group.bench_function("copy of 256 KiB", |b| {
        b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    });
    let text = orders();
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("serde_json", |b| {
        b.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(&text)).is_ok())
    });
    let mut buffers = simd_json::Buffers::new(text.len());
    let mut copy = Vec::with_capacity(text.len());
    group.bench_function("simd-json tape", |b| {
        b.iter(|| {
            copy.clear();
            copy.extend_from_slice(&text);
            simd_json::to_tape_with_buffers(black_box(&mut copy), &mut buffers).is_ok()
        })
    });
    group.finish();
}

criterion_group!(benches, sticks);
criterion_main!(benches);
