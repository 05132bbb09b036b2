//! Formats, rules and sinks of the access log.
//!
//! Whatever the format, no value stands in it that its rule drops, and no client ever forges a line.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::{PATIENCE, eventually};

fn logging(rules: &str) -> Gateway {
    let text = format!(
        "[observe]\naccess_log = {{ to = \"@DIR@/access.log\", {rules} }}\n\
         [[route]]\nname = \"in\"\nmatch = \"/{{*rest}}\"\nrespond = {{ body = \"in\" }}\n\
         [[route]]\nname = \"gone\"\nmatch = \"/gone\"\nrespond = {{ status = 404 }}\n"
    );
    gateway(&text).start()
}

/// Lines of the log once there are so many.
fn lines(gateway: &Gateway, count: usize) -> Vec<String> {
    let path = gateway.folder.path().join("access.log");
    let read = || fs::read_to_string(&path).unwrap_or_default();
    eventually(&format!("{count} lines"), || read().matches('\n').count() >= count);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn the_combined_format_is_the_one_that_tools_read() {
    let gateway = logging("format = \"combined\"");
    let fields = [("User-Agent", "curl/8 \"x\"\\"), ("Referer", "http://a/b")];
    gateway.get_with("/a%20b?token=secret", &fields).expect(200);
    let line = lines(&gateway, 1).remove(0);
    let (start, rest) = line.split_once(" - - [").expect("no user");
    assert_eq!(start, "127.0.0.1");
    let (when, rest) = rest.split_once("] ").expect("a moment");
    assert!(when.len() == 26 && when.ends_with(" +0000"), "{when}");
    let (request, rest) = rest[1..].split_once("\" 200 ").expect("a status");
    assert_eq!(request, "GET /a%20b HTTP/1.1");
    let (bytes, rest) = rest.split_once(' ').expect("bytes");
    assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 50), "{bytes}");
    assert_eq!(rest, "\"http://a/b\" \"curl/8 \\x22x\\x22\\x5c\"");
}

#[test]
fn the_query_of_a_referer_is_a_query() {
    for (rules, written) in [
        ("", "http://a/b"),
        ("fields = { query = { page = \"keep\" } }", "http://a/b?page=2"),
        ("fields = { query = { \"*\" = \"keep\", token = \"drop\" } }", "http://a/b?page=2&x"),
        ("fields = { headers = { referer = \"keep\" } }", "http://a/b?token=secret&page=2&x"),
    ] {
        let gateway = logging(&format!("format = \"{{header.referer}}\", {rules}"));
        gateway.get_with("/", &[("Referer", "http://a/b?token=secret&page=2&x")]).expect(200);
        assert_eq!(lines(&gateway, 1), [written], "{rules}");
    }
}

#[test]
fn a_template_has_the_fields_it_names() {
    let format = "format = \"{client}|{method}|{path}|{query}|{status}|{route}|{header.x-a}|{header.x-none}|{host}\"";
    let gateway = logging(format);
    gateway.get_with("/a?b=c", &[("X-A", "1|2")]).expect(200);
    assert_eq!(lines(&gateway, 1), ["127.0.0.1|GET|/a|-|200|in|1|2|-|test"]);
}

#[test]
fn values_are_kept_dropped_or_hashed_by_name() {
    let rules = "fields = { headers = { user-agent = \"keep\", x-user = \"hash\", cookie = \"drop\" }, \
                 query = { page = \"keep\", token = \"drop\", mail = \"hash\" }, hash_key = \"0123456789abcdef\" }";
    let gateway = logging(rules);
    let fields = [
        ("User-Agent", "a\"b"),
        ("X-User", "lovelace"),
        ("Cookie", "id=secret"),
        ("Authorization", "secret"),
    ];
    let target = "/a?page=2&token=secret&mail=lovelace&other=secret&flag";
    gateway.get_with(target, &fields).expect(200);
    gateway.get_with(target, &fields).expect(200);
    let lines = lines(&gateway, 2);
    assert!(
        !lines.concat().contains("secret") && !lines.concat().contains("lovelace"),
        "{lines:?}"
    );
    let parsed: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let headers = &parsed[0]["headers"];
    assert_eq!(headers["user-agent"], "a\"b");
    let hash = headers["x-user"].as_str().expect("a hash").to_owned();
    assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert_eq!(headers.as_object().expect("fields").len(), 2);
    assert_eq!(parsed[0]["query"], format!("page=2&mail={hash}"));
    // Equal values are equal, in every line.
    assert_eq!(parsed[1]["headers"]["x-user"], *hash);
}

#[test]
fn a_filter_writes_what_it_names() {
    let gateway = logging("only = { status = [\"404\", \"5xx\"], route = \"gone\" }");
    gateway.get("/a").expect(200);
    gateway.get("/gone").expect(404);
    let lines = lines(&gateway, 1);
    assert!(lines.len() == 1 && lines[0].contains("\"route\":\"gone\""), "{lines:?}");
    let gateway = logging("only = { slower_than = \"1h\" }");
    gateway.get("/a").expect(200);
    gateway.signal("TERM");
    let mut gateway = gateway;
    gateway.wait_for_exit();
    let log = fs::read_to_string(gateway.folder.path().join("access.log"));
    assert_eq!(log.unwrap_or_default(), "");
}

#[test]
fn a_sample_leaves_out_most_and_never_a_failure() {
    let (_port, refusing) = Origin::refusing();
    let text = "[observe]\naccess_log = { to = \"@DIR@/access.log\", sample = \"0.0001%\" }\n\
        [upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"/bad\"\nforward = \"api\"\n\
        [[route]]\nmatch = \"/good\"\nrespond = { body = \"in\" }\n";
    let gateway = gateway(text).with("api", refusing).start();
    let mut client = gateway.connect();
    for _ in 0..50 {
        client.get("/good", &[]).expect(200);
    }
    for _ in 0..3 {
        gateway.get("/bad").expect(502);
    }
    let lines = lines(&gateway, 3);
    // One in a million: that one of 50 is drawn happens once in twenty thousand runs, that two are, never.
    assert!(lines.len() <= 4 && lines.iter().filter(|line| line.contains("/bad")).count() == 3);
}

/// What comes to a socket of lines, one datagram each.
fn received(socket: &UnixDatagram) -> String {
    let mut room = [0; 16 * 1024];
    let count = socket.recv(&mut room).expect("a line in time");
    String::from_utf8(room[..count].to_vec()).expect("text")
}

/// The kernel holds ten datagrams for a receiver: a page of lines is more.
#[test]
fn a_receiver_that_reads_gets_every_line_of_a_burst_and_one_that_does_not_stops_nobody() {
    let folder = crate::support::gateway::Folder::new();
    let path = folder.path().join("log.sock");
    let receiver = UnixDatagram::bind(&path).expect("a socket");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let text = format!(
        "[observe]\naccess_log = \"syslog:{}\"\n[[route]]\nmatch = \"/{{*rest}}\"\nrespond = {{ body = \"in\" }}\n",
        path.display()
    );
    let gateway = gateway(&text).start();
    let mut client = gateway.connect();
    let burst = "GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(300);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            for _ in 0..300 {
                receiver.recv(&mut [0; 4096]).expect("a line");
            }
        });
        client.send(&burst);
        (0..300).for_each(|_| drop(client.response().expect(200)));
        reading.join().expect("every line came");
    });
    let lines = |name: &str, labels: &[&str]| {
        gateway.metric(&format!("ringway_access_log_lines{name}"), labels)
    };
    eventually("they are counted", || lines("_total", &[]) == 300.0);
    assert_eq!(lines("_dropped_total", &["write_failed"]), 0.0);
    client.send(&burst);
    (0..300).for_each(|_| drop(client.response().expect(200)));
    eventually("lines that nobody reads are lost", || {
        lines("_total", &[]) + lines("_dropped_total", &["write_failed"]) == 600.0
    });
    assert!(lines("_dropped_total", &["write_failed"]) > 0.0);
}

#[test]
fn syslog_and_the_journal_get_a_datagram_for_each_line() {
    for wrap in ["syslog", "journald"] {
        let folder = crate::support::gateway::Folder::new();
        let path = folder.path().join("log.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!(
            "[observe]\naccess_log = {{ to = \"{wrap}:{}\", format = \"{{method}} {{path}}\" }}\n\
             [[route]]\nmatch = \"/{{*rest}}\"\nrespond = {{ body = \"in\" }}\n",
            path.display()
        );
        let gateway = gateway(&text).start();
        gateway.get("/one").expect(200);
        let line = received(&socket);
        match wrap {
            "syslog" => {
                let (stamp, rest) = line.split_once(" ringway[").expect("a tag");
                assert!(stamp.starts_with("<134>") && stamp.len() == 5 + 15, "{stamp}");
                assert!(rest.ends_with("]: GET /one"), "{rest}");
            }
            _ => assert_eq!(line, "PRIORITY=6\nSYSLOG_IDENTIFIER=ringway\nMESSAGE=GET /one\n"),
        }
        // A receiver that was restarted is found again.
        drop(socket);
        fs::remove_file(&path).unwrap();
        gateway.get("/lost").expect(200);
        let lost = "ringway_access_log_lines_dropped_total";
        eventually("a line to be lost", || gateway.metric(lost, &["write_failed"]) == 1.0);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        gateway.get("/two").expect(200);
        assert!(received(&socket).contains("GET /two"));
        let _ = Duration::ZERO;
    }
}

#[test]
fn a_rotated_file_is_opened_again_by_a_signal() {
    let gateway = logging("format = \"{path}\"");
    gateway.get("/one").expect(200);
    assert_eq!(lines(&gateway, 1), ["/one"]);
    let (path, rotated) =
        (gateway.folder.path().join("access.log"), gateway.folder.path().join("access.log.1"));
    fs::rename(&path, &rotated).unwrap();
    gateway.signal("USR1");
    eventually("a new file", || path.exists());
    gateway.get("/two").expect(200);
    assert_eq!(lines(&gateway, 1), ["/two"]);
    assert_eq!(fs::read_to_string(rotated).unwrap(), "/one\n");
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_serves_on() {
    let text = "[observe]\naccess_log = \"/dev/full\"\n[[route]]\nmatch = \"/{*rest}\"\nrespond = { body = \"in\" }\n";
    let gateway = gateway(text).start();
    for _ in 0..10 {
        gateway.get("/a").expect(200);
    }
    let lost = "ringway_access_log_lines_dropped_total";
    eventually("ten lines to be lost", || gateway.metric(lost, &["write_failed"]) == 10.0);
    assert_eq!(gateway.metric("ringway_access_log_lines_total", &[]), 0.0);
    gateway.get("/a").expect(200);
}
