//! The client's address: whatever a client wrote to the left of it, the entry of our trusted neighbour decides,
//! and nothing that a client writes is ever believed by itself. Never a socket.

use std::net::IpAddr;

use proptest::prelude::*;

use ringway::base::buffer::BufferPool;
use ringway::exchange::Exchange;
use ringway::exchange::client::{self, AddressSource, Said};
use ringway::http::h1::parse::{self, Parsed};

/// The client of a request from 10.0.0.1 with these lines of one field; 10/8 is trusted. And whether its
/// Forwarded lines are whole.
fn client(source: AddressSource, name: &str, lines: &[String]) -> (String, bool) {
    let mut text = String::from("GET / HTTP/1.1\r\nhost: a\r\n");
    for line in lines {
        text.push_str(&format!("{name}: {line}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = BufferPool::new(1).take().expect("a buffer");
    assert!(bytes.put(text.as_bytes()));
    let mut x = Exchange::default();
    let parsed = parse::request(bytes.data(), 0, &Default::default(), &mut x.head);
    assert_eq!(parsed, Ok(Parsed::Done));
    x.bytes = Some(bytes);
    let peer = Said { address: IpAddr::from([10, 0, 0, 1]), port: 1, tls: None };
    let trusts = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
    let said = client::behind(peer, false, &[source], x.request(), trusts);
    (said.address.to_string(), client::forwarded_is_whole(x.request()))
}

/// What an attacker might write: pieces of the grammar in any order, and noise.
fn made_up() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("for=".to_owned()),
        Just("for=10.0.0.9".to_owned()),
        Just("10.0.0.9".to_owned()),
        Just("6.6.6.6".to_owned()),
        Just("\"[::1]:80\"".to_owned()),
        Just("proto=https".to_owned()),
        "[\\\\\",; =_a-z]{1,3}",
        "[ -~]{1,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_stands_to_the_left_never_changes_our_neighbours_forwarded(
        left in made_up(),
        same_line in any::<bool>(),
    ) {
        let ours = "for=203.0.113.5;host=\"a, \\\"b\";proto=https, for=10.0.0.2".to_owned();
        let lines = if same_line { vec![format!("{left}, {ours}")] } else { vec![left, ours] };
        prop_assert_eq!(client(AddressSource::Forwarded, "forwarded", &lines).0, "203.0.113.5");
    }

    #[test]
    fn what_stands_to_the_left_never_changes_our_neighbours_entry(
        left in made_up(),
        same_line in any::<bool>(),
    ) {
        let ours = "203.0.113.5:4711, 10.0.0.2".to_owned();
        let lines = if same_line { vec![format!("{left}, {ours}")] } else { vec![left, ours] };
        prop_assert_eq!(client(AddressSource::XForwardedFor, "x-forwarded-for", &lines).0, "203.0.113.5");
    }

    #[test]
    fn whole_lines_have_balanced_quotes(line in made_up()) {
        if client(AddressSource::Forwarded, "forwarded", std::slice::from_ref(&line)).1 {
            let (mut quoted, mut escaped) = (false, false);
            for byte in line.trim().bytes() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    _ => {}
                }
            }
            prop_assert!(!quoted && !escaped, "{}", line);
        }
    }
}
