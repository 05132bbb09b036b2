//! Forwarding fields by trust, and whose address is the client's.

use crate::support::edge::{connect_from, echoed, forwarding};
use crate::support::gateway::gateway;
use crate::support::origin::{Origin, Step, ok};

#[test]
fn a_stranger_says_nothing_about_itself() {
    let origin = Origin::echo();
    let listener = "trusted_proxies = [\"127.0.0.1\"]\nclient_address = [\"cf-connecting-ip\", \"forwarded\", \"x-forwarded-for\"]";
    let gateway = forwarding(&origin, listener);
    let made_up = [
        ("CF-Connecting-IP", "6.6.6.6"),
        ("Cf_Connecting_Ip", "6.6.6.6"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "6.6.6.6"),
        ("X-Forwarded-Port", "6666"),
        ("X-Forwarded-Prefix", "/6.6.6.6"),
        ("X-Forwarded-Server", "6.6.6.6"),
        ("X_Forwarded_Ssl", "6.6.6.6"),
        ("X-Other", "kept"),
    ];
    let mut stranger = connect_from(9, gateway.address);
    let answer = stranger.get("/", &made_up).expect(200);
    assert!(
        !answer.text().contains("6.6.6.6") && !answer.text().contains("6666"),
        "{}",
        answer.text()
    );
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.9"),
        ("x-real-ip", "127.0.0.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "test"),
        ("x-forwarded-port", "80"),
        ("forwarded", "for=127.0.0.9;host=\"test\";proto=http"),
        ("x-other", "kept"),
    ] {
        assert_eq!(echoed(&answer, name), value, "{name}");
    }
    // The same from a trusted proxy is believed, and only its disguises go.
    let answer = gateway.get_with("/", &made_up).expect(200);
    assert_eq!(echoed(&answer, "cf-connecting-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-for"), "6.6.6.6, 127.0.0.1");
    assert_eq!(echoed(&answer, "x-forwarded-proto"), "https");
    assert_eq!(echoed(&answer, "x-forwarded-port"), "6666");
    assert_eq!(echoed(&answer, "x-real-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-prefix"), "/6.6.6.6");
    assert!(
        !answer.text().contains("_Ip:") && !answer.text().contains("_For:"),
        "{}",
        answer.text()
    );
    let log = gateway.access_log(2);
    assert_eq!((&log[0]["client"], log[0].get("peer")), (&"127.0.0.9".into(), None));
    assert_eq!((&log[1]["client"], &log[1]["peer"]), (&"6.6.6.6".into(), &"127.0.0.1".into()));
}

#[test]
fn the_configured_chain_decides_whose_address_it_is() {
    let xff = ("X-Forwarded-For", "203.0.113.5:567");
    let forwarded = ("Forwarded", "for=\"[2001:db8::5]:80\"");
    let real = ("X-Real-IP", "203.0.113.6");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        ("", &[xff, forwarded, real], "203.0.113.5"),
        ("", &[forwarded, real], "127.0.0.1"),
        ("client_address = []", &[xff, forwarded], "127.0.0.1"),
        ("client_address = [\"forwarded\", \"x-forwarded-for\"]", &[xff, forwarded], "2001:db8::5"),
        ("client_address = [\"forwarded\", \"x-forwarded-for\"]", &[xff], "203.0.113.5"),
        (
            "client_address = [\"forwarded\", \"x-forwarded-for\"]",
            &[xff, ("Forwarded", "for=_hidden")],
            "127.0.0.1",
        ),
        ("client_address = [\"x-real-ip\"]", &[xff, real], "203.0.113.6"),
        ("client_address = [\"x-real-ip\"]", &[("X-Real-IP", "1.1.1.1, 2.2.2.2")], "127.0.0.1"),
        ("client_address = \"true-client-ip\"", &[("True-Client-IP", "::1")], "::1"),
    ];
    for (line, fields, expected) in table {
        let origin = Origin::echo();
        let listener = format!("trusted_proxies = [\"private\"]\n{line}");
        let gateway = forwarding(&origin, &listener);
        let answer = gateway.get_with("/", fields).expect(200);
        assert_eq!(echoed(&answer, "x-real-ip"), *expected, "{line} {fields:?}");
        assert_eq!(gateway.access_log(1)[0]["client"], *expected, "{line} {fields:?}");
    }
}

#[test]
fn behind_a_proxy_header_fields_are_believed_from_whom_it_names() {
    let origin = Origin::echo();
    let listener =
        "trusted_proxies = [\"127.0.0.1\", \"192.0.2.0/24\"]\nproxy_protocol = \"required\"";
    let gateway = forwarding(&origin, listener);
    let asked = |header: &str| {
        let mut client = gateway.connect();
        client.send(header);
        let fields = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https")];
        client.get("/", &fields).expect(200)
    };
    // A content network behind a load balancer: it is trusted, and so is what it says.
    let answer = asked("PROXY TCP4 192.0.2.8 198.51.100.1 1 2\r\n");
    assert_eq!(echoed(&answer, "x-real-ip"), "6.6.6.6");
    assert_eq!(echoed(&answer, "x-forwarded-for"), "6.6.6.6, 192.0.2.8");
    // A client behind a load balancer: that the balancer is trusted gives the client no credit.
    let answer = asked("PROXY TCP4 203.0.113.7 198.51.100.1 1 2\r\n");
    assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.7");
    assert_eq!(echoed(&answer, "x-forwarded-proto"), "http");
}

#[test]
fn the_chain_can_end_at_the_proxy_header() {
    let origin = Origin::echo();
    let listener = "trusted_proxies = \"private\"\nproxy_protocol = \"optional\"\n\
        client_address = [\"proxy_protocol\", \"x-forwarded-for\"]";
    let gateway = forwarding(&origin, listener);
    let fields = [("X-Forwarded-For", "203.0.113.5")];
    let mut client = gateway.connect();
    client.send("PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\n");
    assert_eq!(echoed(&client.get("/", &fields).expect(200), "x-real-ip"), "10.1.2.3");
    let answer = gateway.get_with("/", &fields).expect(200);
    assert_eq!(echoed(&answer, "x-real-ip"), "203.0.113.5");
}

#[test]
fn clients_of_one_ipv6_network_share_a_limit_by_network() {
    let gateway = gateway(
        "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\
         [limit.it]\nrate = \"1/m\"\nburst = 2\nkey = \"{client.network}\"\n\
         [[route]]\nmatch = \"/\"\nlimit = \"it\"\nrespond = { status = 200 }\n",
    )
    .start();
    let from = |address: &str| gateway.get_with("/", &[("X-Forwarded-For", address)]).status;
    assert_eq!(from("2001:db8:0:1::1"), 200);
    assert_eq!(from("2001:db8:0:1:ffff::2"), 200);
    assert_eq!(from("2001:db8:0:1::3"), 429);
    assert_eq!(from("2001:db8:0:2::1"), 200, "another network");
    assert_eq!((from("203.0.113.1"), from("203.0.113.2"), from("203.0.113.1")), (200, 200, 200));
    assert_eq!(from("203.0.113.1"), 429);
}

#[test]
fn parts_and_templates_see_no_made_up_address() {
    let origin = Origin::script(|request| {
        let seen = format!("{:?}", String::from_utf8_lossy(&request.raw));
        vec![Step::Send(ok(&seen.replace("\\r\\n", " ").replace('\\', "")))]
    });
    let config = "[[listen]]\naddress = \"@LISTEN@\"\ntrusted_proxies = \"127.0.0.1\"\n\
        client_address = [\"cf-connecting-ip\"]\n\n[upstream.app]\nendpoints = [\"@app@\"]\n\n\
        [[route]]\nmatch = \"/\"\npass = { headers = [\"cf-connecting-ip\", \"x-forwarded-for\", \"x-other\"] }\n\
        [route.merge]\na = { get = \"app /{header.cf-connecting-ip|nobody}\" }\n";
    let gateway = gateway(config).with("app", origin.address).start();
    let fields =
        [("CF-Connecting-IP", "6.6.6.6"), ("X-Forwarded-For", "6.6.6.6"), ("X-Other", "kept")];
    connect_from(9, gateway.address).get("/", &fields).expect(200);
    let seen = origin.request();
    assert_eq!(seen.target, "/nobody");
    assert_eq!((seen.field("cf-connecting-ip"), seen.field("x-forwarded-for")), (None, None));
    assert_eq!(seen.field("x-other"), Some("kept"));
    gateway.get_with("/", &fields).expect(200);
    assert_eq!(origin.requests()[1].target, "/6.6.6.6");
}
