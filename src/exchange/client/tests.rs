//! The client's address by table: chains, their order, and everything that must not be believed.

use super::*;
use crate::base::buffer::BufferPool;
use crate::exchange::Exchange;
use crate::http::h1::parse;

/// The client of a request with these fields from `peer`; 10/8 is trusted.
fn client(sources: &[AddressSource], peer: &str, named: bool, fields: &[(&str, &str)]) -> Said {
    let mut text = String::from("GET / HTTP/1.1\r\nhost: a\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut x = Exchange::default();
    let mut bytes = BufferPool::new(1).take().expect("a buffer");
    assert!(bytes.put(text.as_bytes()));
    let parsed = parse::request(bytes.data(), 0, &Default::default(), &mut x.head);
    parsed.expect("a good head");
    x.bytes = Some(bytes);
    let trusts = |address: IpAddr| address.to_string().starts_with("10.");
    let peer = Said::of(peer.parse().expect("an address"), 4711);
    behind(peer, named, sources, x.request(), trusts)
}

fn address(sources: &[AddressSource], fields: &[(&str, &str)]) -> String {
    client(sources, "10.0.0.1", false, fields).address.to_string()
}

fn xff(value: &str) -> String {
    address(&[AddressSource::XForwardedFor], &[("x-forwarded-for", value)])
}

fn forwarded(value: &str) -> String {
    address(&[AddressSource::Forwarded], &[("forwarded", value)])
}

fn field(name: &str) -> AddressSource {
    AddressSource::Field(name.into())
}

#[test]
fn the_rightmost_untrusted_entry_is_the_client() {
    assert_eq!(xff("1.1.1.1, 203.0.113.5, 10.0.0.2"), "203.0.113.5");
    let lines = [("x-forwarded-for", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.5")];
    assert_eq!(address(&[AddressSource::XForwardedFor], &lines), "203.0.113.5");
    assert_eq!(xff("10.0.0.3,10.0.0.2"), "10.0.0.3", "all trusted: the furthest");
}

#[test]
fn entries_may_have_ports_and_brackets() {
    let chain = [AddressSource::XForwardedFor];
    for (text, expected, port) in [
        ("203.0.113.5:567", "203.0.113.5", 567),
        ("[2001:db8::1]:80", "2001:db8::1", 80),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("2001:db8::1", "2001:db8::1", 0),
        ("::ffff:203.0.113.5", "203.0.113.5", 0),
    ] {
        let said = client(&chain, "10.0.0.1", false, &[("x-forwarded-for", text)]);
        assert_eq!((said.address.to_string().as_str(), said.port), (expected, port), "{text}");
    }
}

#[test]
fn a_malformed_entry_ends_the_walk() {
    for bad in [
        "bogus",
        "",
        "1.2.3",
        "1.2.3.4:99999",
        "01.2.3.4",
        "[::1",
        "::1]:80",
        "a.example",
        "1.2.3.4 5",
    ] {
        assert_eq!(xff(&format!("203.0.113.5, {bad}, 10.0.0.2")), "10.0.0.2", "{bad}");
        assert_eq!(xff(bad), "10.0.0.1", "{bad}");
    }
}

#[test]
fn at_most_sixteen_proxies_are_looked_through() {
    let chain = vec!["10.0.0.9"; 40].join(", ");
    assert_eq!(xff(&format!("203.0.113.5, {chain}")), "10.0.0.9");
}

#[test]
fn forwarded_is_read_by_its_whole_grammar() {
    for (value, expected) in [
        ("for=203.0.113.5", "203.0.113.5"),
        ("For=\"203.0.113.5\"", "203.0.113.5"),
        ("for=\"203.0.113.5:47011\"", "203.0.113.5"),
        ("FOR=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=\"[2001:db8::1]\";proto=https;by=203.0.113.43", "2001:db8::1"),
        ("proto=http;for=203.0.113.5;by=_hidden;host=\"a, b\"", "203.0.113.5"),
        ("for=\"203.0.113.5:_port\"", "203.0.113.5"),
        (";for=203.0.113.5;;ext=\"\\\"\"", "203.0.113.5"),
        ("for=1.1.1.1, for=203.0.113.5, for=10.0.0.2", "203.0.113.5"),
        ("for=203.0.113.5,for=10.0.0.2;host=\"x\\\"y,\"", "203.0.113.5"),
    ] {
        assert_eq!(forwarded(value), expected, "{value}");
    }
}

#[test]
fn what_forwarded_hides_or_breaks_ends_the_walk() {
    for bad in [
        "for=unknown",
        "for=_gazonk",
        "for=\"_gazonk:1\"",
        "proto=https",
        "",
        "for=",
        "for",
        "for = 203.0.113.5",
        "for=203.0.113.5:80",
        "for=[2001:db8::1]",
        "for=\"2001:db8::1\"",
        "for=2001:db8::1",
        "for=\"203.0.113.5",
        "for=\"203.0.113.5\"x",
        "for=203.0.113.5;for=203.0.113.6",
        "for=203.0.113.5;proto=http;proto=https",
        "for=\"203.0.113.5:99999\"",
        "for=\"203.0.113.5:\"",
        "for=\"20\\3.0.113.5\"",
        "f or=203.0.113.5",
    ] {
        assert_eq!(forwarded(bad), "10.0.0.1", "{bad}");
        assert_eq!(
            forwarded(&format!("for=203.0.113.5, {bad}, for=10.0.0.2")),
            "10.0.0.2",
            "{bad}"
        );
    }
}

#[test]
fn what_a_client_wrote_never_changes_how_our_neighbour_is_read() {
    for made_up in
        ["for=\"", "for=\"_x, ", "\\", "\"\\", "for=1.1.1.1;host=\"", ",,,\"", "for=\"\\\""]
    {
        let line = format!("{made_up}, for=203.0.113.5;host=\"api.example.com\"");
        assert_eq!(forwarded(&line), "203.0.113.5", "{line}");
    }
}

#[test]
fn a_line_is_whole_when_all_its_elements_are() {
    for good in [
        "for=_hidden, for=unknown",
        "",
        ", ,for=1.2.3.4",
        "a=b;c=\"d, e\\\"\"",
        "host=\"x\";proto=http",
    ] {
        assert!(forwarded::is_whole(good.as_bytes()), "{good}");
    }
    for bad in
        ["for=\", for=1.2.3.4", "for", "for=1.2.3.4 , x y", "a=b;a", "for=1;for=2", "a=\"b\\\""]
    {
        assert!(!forwarded::is_whole(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn forwarded_tells_how_the_client_came() {
    let chain = [AddressSource::Forwarded];
    let line = "for=203.0.113.5;proto=https, for=10.0.0.2;proto=http";
    assert_eq!(client(&chain, "10.0.0.1", false, &[("forwarded", line)]).tls, Some(true));
    let line = "for=203.0.113.5, for=10.0.0.2;proto=https";
    assert_eq!(client(&chain, "10.0.0.1", false, &[("forwarded", line)]).tls, None);
}

#[test]
fn the_first_source_that_is_there_decides() {
    let (xff, forwarded) = (AddressSource::XForwardedFor, AddressSource::Forwarded);
    let both = [("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=198.51.100.7")];
    assert_eq!(address(&[xff.clone(), forwarded.clone()], &both), "203.0.113.5");
    assert_eq!(address(&[forwarded.clone(), xff.clone()], &both), "198.51.100.7");
    assert_eq!(address(&[forwarded.clone(), xff.clone()], &both[..1]), "203.0.113.5");
    assert_eq!(address(&[], &both), "10.0.0.1");
    assert_eq!(address(std::slice::from_ref(&xff), &both[1..]), "10.0.0.1");
    let broken = [("forwarded", "for=unknown"), ("x-forwarded-for", "203.0.113.5")];
    assert_eq!(address(&[forwarded, xff], &broken), "10.0.0.1", "the next is not tried");
}

#[test]
fn a_field_with_one_address_is_taken_as_it_is() {
    let chain = [field("cf-connecting-ip"), AddressSource::XForwardedFor];
    let with = |value| [("CF-Connecting-IP", value), ("x-forwarded-for", "203.0.113.5")];
    assert_eq!(address(&chain, &with("198.51.100.7")), "198.51.100.7");
    assert_eq!(address(&chain, &with("2001:db8::1")), "2001:db8::1");
    for bad in ["", "198.51.100.7, 1.1.1.1", "somebody", "198.51.100.7 "] {
        let expected = if bad.ends_with(' ') { "198.51.100.7" } else { "10.0.0.1" };
        assert_eq!(address(&chain, &with(bad)), expected, "{bad:?}");
    }
    let twice = [("cf-connecting-ip", "1.1.1.1"), ("cf-connecting-ip", "1.1.1.1")];
    assert_eq!(address(&chain, &twice), "10.0.0.1");
    assert_eq!(address(&chain, &[("x-forwarded-for", "203.0.113.5")]), "203.0.113.5");
}

#[test]
fn a_proxy_header_decides_where_the_chain_says_so() {
    let chain = [AddressSource::ProxyProtocol, AddressSource::XForwardedFor];
    let fields = [("x-forwarded-for", "203.0.113.5")];
    let named = client(&chain, "10.0.0.1", true, &fields);
    assert_eq!((named.address.to_string().as_str(), named.port), ("10.0.0.1", 4711));
    assert_eq!(client(&chain, "10.0.0.1", false, &fields).address.to_string(), "203.0.113.5");
}

#[test]
fn a_network_is_what_one_client_has_to_itself() {
    let network = |address: &str| {
        let address = address.parse().expect("an address");
        Client { address, ..Client::default() }.network().to_string()
    };
    assert_eq!(network("203.0.113.5"), "203.0.113.5");
    assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    assert_eq!(network("::1"), "::/64");
}

#[test]
fn the_longest_address_fits_its_text() {
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".parse().expect("an address");
    let mut text = AddressText::default();
    assert!(!text.of(longest).is_empty());
    assert_eq!(AddressText::default().of("::1".parse().expect("an address")), b"::1");
}

#[test]
fn every_octet_is_written_as_it_displays() {
    let mut text = AddressText::default();
    for octet in 0..=255u8 {
        for octets in [[octet, 0, 9, 10], [99, octet, 100, octet], [255, 255, octet, octet]] {
            let address = IpAddr::from(octets);
            assert_eq!(text.of(address), address.to_string().as_bytes());
        }
    }
}
