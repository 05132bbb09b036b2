//! What the simulated network promises, shown on the smallest worlds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::{Faults, Simulated, Simulation, Step, address_of};
use crate::base::address::Address;
use crate::base::buffer::BufferPool;
use crate::runtime::{Listener, Runtime, Stream};

fn server() -> Address {
    "10.0.0.9:80".parse().expect("an address")
}

fn rough() -> Faults {
    Faults {
        short_reads: 500,
        short_writes: 500,
        pipe_bytes_min: 3,
        pipe_bytes_max: 50,
        latency_max: Duration::from_millis(2),
        delayed: 100,
        delay_max: Duration::from_millis(40),
        told_late: 300,
        ..Faults::none()
    }
}

/// Sends `text` back to whoever connects first.
fn echo(simulation: &Simulation, host: &Simulated) {
    let bound = simulation.bind(&server());
    let (runtime, pool) = (host.clone(), BufferPool::new(4));
    host.spawn(async move {
        let listener = runtime.listen(&server(), bound).expect("simulated");
        let stream = listener.accept().await.expect("open").expect("no faults");
        loop {
            let buf = pool.take().expect("a buffer");
            let (read, buf) = stream.read(buf, 10).await;
            if read.expect("no reset") == 0 {
                return;
            }
            stream.write_all(buf).await.0.expect("no reset");
        }
    });
}

fn echoed(seed: u64, faults: Faults) -> (Vec<u8>, u64, u64) {
    let simulation = Simulation::new(seed, faults);
    let host = simulation.host(address_of(9));
    echo(&simulation, &host);
    let client = simulation.host(address_of(1));
    let got = Rc::new(RefCell::new(Vec::new()));
    let (out, runtime, pool) = (got.clone(), client.clone(), BufferPool::new(4));
    client.spawn(async move {
        let stream = runtime.connect(&server()).await.expect("listens");
        for piece in 0..20_u8 {
            let mut buf = pool.take().expect("a buffer");
            assert!(buf.put(&[piece; 7]));
            stream.write_all(buf).await.0.expect("no reset");
            let want = usize::from(piece + 1) * 7;
            while out.borrow().len() < want {
                let (read, buf) = stream.read(pool.take().expect("a buffer"), 64).await;
                assert!(read.expect("no reset") > 0);
                out.borrow_mut().extend_from_slice(buf.data());
            }
        }
    });
    while simulation.step() != Step::Stuck {}
    assert_eq!(simulation.panics(), Vec::<String>::new());
    let got = got.borrow().clone();
    (got, simulation.trace(), simulation.now().as_nanos())
}

#[test]
fn bytes_arrive_in_order_however_they_are_cut_and_delayed() {
    let sent: Vec<u8> = (0..20_u8).flat_map(|piece| [piece; 7]).collect();
    for seed in 0..50 {
        assert_eq!(echoed(seed, rough()).0, sent, "seed {seed}");
    }
    let (got, _, took) = echoed(1, Faults::none());
    assert_eq!((got, took), (sent, 0), "without faults no time passes");
}

#[test]
fn equal_seeds_give_equal_runs() {
    assert_eq!(echoed(7, rough()), echoed(7, rough()));
    assert_ne!(echoed(7, rough()).1, echoed(8, rough()).1);
}

#[test]
fn a_dropped_read_may_have_eaten_bytes() {
    let faults = Faults { told_late: 1000, ..Faults::none() };
    let simulation = Simulation::new(3, faults);
    let host = simulation.host(address_of(9));
    let bound = simulation.bind(&server());
    let (runtime, pool) = (host.clone(), BufferPool::new(4));
    let lent = pool.clone();
    host.spawn(async move {
        let listener = runtime.listen(&server(), bound).expect("simulated");
        let stream = listener.accept().await.expect("open").expect("no faults");
        stream.readable().await.expect("bytes come");
        {
            let read = std::pin::pin!(stream.read(pool.take().expect("a buffer"), 2));
            let polled = futures_once(read).await;
            assert!(!polled, "told a turn later");
        }
        let (read, buf) = stream.read(pool.take().expect("a buffer"), 64).await;
        assert_eq!(read.expect("no reset"), 3);
        assert_eq!(buf.data(), b"llo", "the dropped read has eaten two bytes");
    });
    let (client, runtime) = (simulation.host(address_of(1)), simulation.host(address_of(1)));
    client.spawn(async move {
        let stream = runtime.connect(&server()).await.expect("listens");
        let mut buf = BufferPool::new(1).take().expect("a buffer");
        assert!(buf.put(b"hello"));
        stream.write_all(buf).await.0.expect("no reset");
    });
    while simulation.step() != Step::Stuck {}
    assert_eq!(simulation.panics(), Vec::<String>::new());
    assert_eq!(simulation.disturbed().reads_lost, 1);
    assert_eq!(lent.in_use(), 0, "its buffer came back");
}

/// Polls once; whether it was ready.
async fn futures_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[test]
fn unread_bytes_make_a_close_a_reset() {
    let simulation = Simulation::new(3, Faults::none());
    let host = simulation.host(address_of(9));
    let bound = simulation.bind(&server());
    let runtime = host.clone();
    host.spawn(async move {
        let listener = runtime.listen(&server(), bound).expect("simulated");
        let stream = listener.accept().await.expect("open").expect("no faults");
        stream.readable().await.expect("bytes come");
    });
    let (client, runtime) = (simulation.host(address_of(1)), simulation.host(address_of(1)));
    let reset = Rc::new(Cell::new(false));
    let seen = reset.clone();
    client.spawn(async move {
        let stream = runtime.connect(&server()).await.expect("listens");
        let pool = BufferPool::new(2);
        let mut buf = pool.take().expect("a buffer");
        assert!(buf.put(b"hello"));
        stream.write_all(buf).await.0.expect("open");
        let (read, _) = stream.read(pool.take().expect("a buffer"), 64).await;
        seen.set(read.is_err());
    });
    while simulation.step() != Step::Stuck {}
    assert!(reset.get());
}

#[test]
fn the_clock_moves_only_when_nothing_is_ready() {
    let simulation = Simulation::new(3, Faults::none());
    let host = simulation.host(address_of(1));
    let runtime = host.clone();
    let woken = Rc::new(Cell::new(0));
    let at = woken.clone();
    host.spawn(async move {
        runtime.sleep_until(runtime.now() + Duration::from_secs(3600)).await;
        at.set(runtime.now().as_nanos());
    });
    assert_eq!(simulation.step(), Step::Ran);
    assert_eq!(simulation.step(), Step::Waited);
    assert_eq!(simulation.step(), Step::Ran);
    assert_eq!(simulation.step(), Step::Stuck);
    assert_eq!(woken.get(), 3600 * 1_000_000_000);
}
