//! Answers go no faster than `bandwidth` says, and as fast; nothing else of them changes.
//!
//! Time is only ever compared in the direction in which a slow machine cannot make a test fail: never faster than
//! the bound. That the rate is reached is shown in the arithmetic's own tests, on a clock of their own.

use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, answer};

const BODY_BYTES: usize = 400 * 1024;

fn body() -> Vec<u8> {
    (0..BODY_BYTES).map(|n| (n % 251) as u8).collect()
}

fn paced(origin: &Origin, bandwidth: &str) -> Gateway {
    let config = format!(
        "[upstream.app]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n{bandwidth}\n"
    );
    gateway(&config).with("app", origin.address).start()
}

/// The least time that so many bytes take: less what may be ahead, and the first and the last piece.
fn least(bytes: usize, rate: usize) -> Duration {
    let bytes = bytes.saturating_sub(2 * 64 * 1024);
    Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(Duration::from_millis(50))
}

#[test]
fn each_answer_is_whole_and_no_faster_than_the_bound() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut chunks = chunked;
    for piece in body().chunks(10_000) {
        chunks.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunks.extend_from_slice(piece);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    for bytes in [answer(200, &[], &body()), chunks] {
        let origin = Origin::answering(bytes);
        let gateway = paced(&origin, "bandwidth = \"512KiB/s\"");
        let started = Instant::now();
        let response = gateway.get("/").expect(200);
        let took = started.elapsed();
        assert_eq!(response.body, body());
        assert!(took >= least(BODY_BYTES, 512 * 1024), "{took:?}");
    }
}

#[test]
fn all_answers_of_a_route_share_a_bound_on_all_cores() {
    let origin = Origin::answering(answer(200, &[], &body()));
    let gateway = paced(&origin, "bandwidth = { all = \"1MiB/s\" }");
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(gateway.get("/").expect(200).body, body()));
        }
    });
    let took = started.elapsed();
    // Four first and four last pieces may be ahead.
    let bytes = 4 * BODY_BYTES - 4 * 2 * 64 * 1024;
    assert!(took >= least(bytes, 1024 * 1024), "{took:?}");
}

#[test]
fn many_short_answers_go_no_faster_together_than_a_long_one() {
    let short = vec![b'x'; 40 * 1024];
    let origin = Origin::answering(answer(200, &[], &short));
    let config = "[upstream.app]\nendpoints = [\"@app@\"]\n\
         [default]\nbandwidth = { all = \"512KiB/s\" }\n\
         [[route]]\nmatch = \"/forwarded\"\nforward = \"app\"\n\
         [[route]]\nmatch = \"/own\"\nrespond = { body = \"@own@\" }\n\
         [[route]]\nmatch = \"/refused\"\nforward = \"app\"\nallow = \"nobody\"\n";
    let own = String::from_utf8(short.clone()).unwrap();
    let gateway = gateway(config).with("app", origin.address).with("own", own).start();
    for path in ["/forwarded", "/own"] {
        let mut client = gateway.connect();
        let started = Instant::now();
        for _ in 0..10 {
            assert_eq!(client.get(path, &[]).expect(200).body, short);
        }
        // The last one is not waited for, and the first one waits for nobody.
        assert!(started.elapsed() >= least(8 * short.len() + 2 * 64 * 1024, 512 * 1024), "{path}");
        client.get("/refused", &[]).expect_problem(403);
    }
}

#[test]
fn a_small_answer_waits_for_nothing_and_a_connection_goes_on() {
    let origin = Origin::saying("small");
    let gateway = paced(&origin, "bandwidth = \"1KiB/s\"");
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/", &[]).expect(200).text(), "small");
    }
}

#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let origin = Origin::answering(answer(200, &[], &body()));
    let page = include_str!("../../docs/policies/bandwidth.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("a page begins with an example");
    let gateway = gateway(&block.replace("10.0.0.21:8080", &origin.address.to_string())).start();
    let started = Instant::now();
    assert_eq!(gateway.get("/").expect(200).body, body());
    assert!(started.elapsed() >= least(BODY_BYTES, 512 * 1024));
}
