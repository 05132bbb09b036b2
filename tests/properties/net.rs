//! PROXY headers and replies of a store: any first bytes of a connection keep the promises that the fuzz targets check,
//! and their corpora are replayed. Never a socket.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use proptest::prelude::*;

use ringway::base::buffer::BufferPool;
use ringway::net::fuzz;
use ringway::net::proxy_protocol::{Endpoints, write_v1, write_v2};

#[test]
fn the_fuzz_corpus_breaks_no_promise() {
    replay("proxy_header", fuzz::proxy_header);
    replay("resp", fuzz::resp);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let seeds: Vec<_> = std::fs::read_dir(folder).expect("the corpus is kept").collect();
    assert!(seeds.len() >= 19, "the corpus of {target} is whole: {}", seeds.len());
    for seed in seeds {
        run(&std::fs::read(seed.expect("readable").path()).expect("readable"));
    }
}

fn end() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|ip| IpAddr::from(ip).to_canonical()),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// A good header of either version with some bytes changed, cut and followed by others.
fn nearly_a_header() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..3);
    let tail = prop::collection::vec(any::<u8>(), 0..40);
    (end(), end(), any::<bool>(), changes, tail).prop_map(
        |(source, destination, v1, changes, tail)| {
            let mut out = BufferPool::new(1).take().expect("a buffer");
            let write = if v1 { write_v1 } else { write_v2 };
            assert!(write(&mut out, &Endpoints { source, destination }));
            let mut bytes = out.data().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.extend(tail);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn no_first_bytes_break_a_promise(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::proxy_header(&data);
    }

    #[test]
    fn no_damaged_header_breaks_a_promise(data in nearly_a_header()) {
        fuzz::proxy_header(&data);
    }

    #[test]
    fn no_reply_of_a_store_breaks_a_promise(
        data in prop::collection::vec(prop::sample::select(b"+-:$*0123456789\r\nx ".to_vec()), 0..80)
    ) {
        fuzz::resp(&data);
    }
}
