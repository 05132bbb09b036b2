//! Heads on the hot path: parsing a request and a response, and writing both for the other side. Never a
//! socket: what is measured is the codec alone.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use ringway::base::buffer::BufferPool;
use ringway::http::Method;
use ringway::http::forward::{self, RequestForward, ResponseForward};
use ringway::http::framing::BodyLength;
use ringway::http::h1::chunked::Decoder;
use ringway::http::h1::parse::{self, HeadLimits};
use ringway::http::head::{Request, RequestHead, Response, ResponseHead};

/// 300 bytes, eight fields, as a phone's HTTP library sends them.
const REQUEST: &[u8] = b"GET /api/v1/orders/18446?limit=20 HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: okhttp/4.12.0\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nAuthorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x\r\n\
    X-Request-Id: 7f1d2c9e40b64d0f\r\nConnection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 1024\r\nConnection: keep-alive\r\nETag: \"66f-1024\"\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut request = RequestHead::default();
    let mut response = ResponseHead::default();
    let pool = BufferPool::new(1);
    let mut out = pool.take().expect("a fresh pool has a buffer");
    let mut group = criterion.benchmark_group("h1");

    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("parse_request", |bencher| {
        bencher.iter(|| parse::request(black_box(REQUEST), 0, &limits, &mut request));
    });
    let how = RequestForward { added: b"traceparent: 00-0af7-b7ad-01\r\n", ..Default::default() };
    group.bench_function("forward_request", |bencher| {
        let view = Request { head: &request, raw: REQUEST };
        bencher.iter(|| {
            out.clear();
            forward::request_head(&mut out, black_box(view), &how)
        });
    });

    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("parse_response", |bencher| {
        bencher
            .iter(|| parse::response(black_box(RESPONSE), 0, &limits, Method::Get, &mut response));
    });
    let how = ResponseForward { body: BodyLength::Exact(1024), ..Default::default() };
    group.bench_function("forward_response", |bencher| {
        let view = Response { head: &response, raw: RESPONSE };
        bencher.iter(|| {
            out.clear();
            forward::response_head(&mut out, black_box(view), &how)
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let chunk = [b"400\r\n".to_vec(), vec![b'x'; 1024], b"\r\n".to_vec()].concat();
    let body = chunk.repeat(32);
    let mut bytes = body.clone();
    let mut decoder = Decoder::new();
    let mut group = criterion.benchmark_group("h1");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode_32_chunks_of_1_kib", |bencher| {
        bencher.iter(|| {
            bytes.copy_from_slice(&body);
            decoder.reset();
            decoder.decode(black_box(&mut bytes))
        });
    });
    group.finish();
}

criterion_group!(benches, heads, chunks);
criterion_main!(benches);
