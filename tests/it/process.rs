//! What may befall the process: its threads, files, pipes, signals, clock. It serves on, or ends with an
//! exit code that a service manager understands; it never limps.

use std::fs;
use std::net::TcpListener;

use crate::support::eventually;
use crate::support::gateway::{Folder, Gateway, gateway, ringway};
use crate::support::origin::Origin;
use crate::support::wire::{Wire, request};

const RESPOND: &str = "[[route]]\nmatch = \"/\"\nrespond = { status = 200, body = \"in\" }\n";

/// How a configuration begins whose access log goes there.
fn logging_to(target: &str) -> String {
    format!("[observe]\naccess_log = \"{target}\"\n{RESPOND}")
}

fn dropped(gateway: &Gateway) -> f64 {
    gateway.metric("ringway_access_log_lines_dropped_total", &["write_failed"])
}

#[test]
fn an_access_log_that_cannot_be_opened_is_named() {
    let mut gateway = gateway(&logging_to("@DIR@/nowhere/access.log")).spawn();
    assert!(!gateway.wait_for_exit().success());
    let stderr = gateway.stderr();
    assert!(stderr.contains("/nowhere/access.log cannot be opened: its folder"), "{stderr}");
}

#[test]
#[cfg(debug_assertions)] // the trigger is not in a release
fn a_worker_that_panics_is_replaced_and_both_serve() {
    let folder = Folder::new();
    let trigger = folder.path().join("die");
    let config = format!("workers = 2\n{RESPOND}");
    let told = trigger.display().to_string();
    let gateway = gateway(&config).environment("RINGWAY_TEST_WORKER_DIES", &told).start();
    let mut kept: Vec<Wire> = (0..20).map(|_| gateway.connect()).collect();
    for client in &mut kept {
        client.get("/", &[]).expect(200);
    }
    fs::write(&trigger, "").unwrap();
    eventually("the worker to be replaced", || {
        gateway.metric("ringway_worker_restarts_total", &[]) == 1.0
    });
    eventually("both to be told", || {
        let stderr = gateway.stderr();
        stderr.contains("died: it panicked") && stderr.contains("runs again")
    });
    // Its clients were let go, those of the other worker are served, and nobody is left waiting.
    let mut open = 0;
    for mut client in kept {
        client.send_perhaps(request("GET", "/", &[], b""));
        match client.try_response("GET") {
            Ok(response) => {
                response.expect(200);
                open += 1;
            }
            Err(why) => assert!(!why.contains("nothing came"), "{why}"),
        }
    }
    assert!(open > 0 && open < 20, "both workers had clients: {open} were kept");
    eventually("/readyz to say 200", || gateway.admin("/readyz").status == 200);
    let served = |worker: &str| gateway.metric("ringway_worker_requests_total", &[worker]);
    let before = [served("worker=\"0\""), served("worker=\"1\"")];
    eventually("both workers to serve", || {
        gateway.get("/").expect(200);
        served("worker=\"0\"") > before[0] && served("worker=\"1\"") > before[1]
    });
    // No socket of the dead worker is left, to which the kernel would give a third of all clients.
    for _ in 0..60 {
        gateway.get("/").expect(200);
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn a_process_whose_worker_vanished_ends_with_a_failure() {
    let mut gateway = gateway(&format!("workers = 2\n{RESPOND}")).start();
    gateway.get("/").expect(200);
    gateway.end_thread("worker-1");
    assert_eq!(gateway.wait_for_exit().code(), Some(1));
    assert!(gateway.stderr().contains("worker 1 died"), "{}", gateway.stderr());
}

#[test]
fn a_storm_of_hangups_fails_no_request_and_ends_on_the_last_configuration() {
    let gateway = gateway(RESPOND).start();
    let mut client = gateway.connect();
    for number in 0..60 {
        gateway.rewrite(&RESPOND.replace("\"in\"", &format!("\"{number}\"")));
        gateway.signal("HUP");
        client.get("/", &[]).expect(200);
    }
    eventually("the last configuration", || {
        gateway.signal("HUP");
        gateway.get("/").expect(200).text() == "59"
    });
}

#[test]
fn a_configuration_that_is_gone_or_broken_changes_nothing() {
    let gateway = gateway(RESPOND).start();
    fs::remove_file(gateway.folder.path().join("ringway.toml")).unwrap();
    gateway.signal("HUP");
    eventually("the refusal", || gateway.stderr().contains("stays in force"));
    assert_eq!(gateway.get("/").expect(200).text(), "in");
    gateway.rewrite("[[route]]\nmatch = 7\n");
    gateway.signal("HUP");
    eventually("the error with its place", || gateway.stderr().contains("ringway.toml:"));
    assert_eq!(gateway.get("/").expect(200).text(), "in");
    gateway.rewrite(&RESPOND.replace("\"in\"", "\"new\""));
    gateway.signal("HUP");
    eventually("the new one", || gateway.get("/").expect(200).text() == "new");
}

#[test]
fn a_log_file_that_was_moved_away_is_made_anew_at_usr1() {
    let gateway = gateway(RESPOND).start();
    gateway.get("/").expect(200);
    gateway.access_log(1);
    let log = gateway.folder.path().join("access.log");
    fs::rename(&log, log.with_extension("1")).unwrap();
    gateway.signal("USR1");
    eventually("the new file", || log.exists());
    gateway.get("/").expect(200);
    gateway.access_log(1);
    fs::remove_file(&log).unwrap();
    gateway.get("/").expect(200);
    gateway.signal("USR1");
    eventually("a file again", || log.exists());
}

#[test]
fn a_full_disk_loses_lines_and_no_request_and_is_over_when_there_is_room() {
    let gateway = gateway(&logging_to("@DIR@/access.log")).start();
    let log = gateway.folder.path().join("access.log");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    gateway.signal("USR1");
    eventually("lines to be lost", || {
        gateway.get("/").expect(200);
        dropped(&gateway) > 0.0
    });
    // The line on standard error comes from another thread than the count.
    eventually("it to be told", || gateway.stderr().contains("cannot be written"));
    fs::remove_file(&log).unwrap();
    gateway.signal("USR1");
    eventually("lines again", || {
        gateway.get("/").expect(200);
        fs::read_to_string(&log).is_ok_and(|text| !text.is_empty())
    });
    eventually("the end of it to be told", || gateway.stderr().contains("written again"));
    assert_eq!(gateway.stderr().matches("cannot be written").count(), 1, "told once");
}

#[test]
fn a_log_whose_reader_is_gone_loses_lines_and_nothing_else() {
    let mut gateway = gateway(&logging_to("stdout")).without_reader().start();
    eventually("lines to be lost", || {
        gateway.get("/").expect(200);
        dropped(&gateway) > 0.0
    });
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn an_address_in_use_is_said_and_ends_with_a_failure() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    let address = other.local_addr().unwrap();
    let config =
        format!("[admin]\naddress = \"off\"\n[[listen]]\naddress = \"{address}\"\n{RESPOND}");
    fs::write(folder.path().join("ringway.toml"), config).unwrap();
    let (code, _, stderr) = ringway(folder.path(), &["run", "-c", "ringway.toml"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&address.to_string()), "{stderr}");
    assert!(stderr.contains("another program listens there"), "{stderr}");
}

#[test]
fn a_stopped_process_goes_on_where_it_was() {
    let origin = Origin::saying("x");
    let config = "[upstream.a]\nendpoints = [\"@a@\"]\n[[route]]\nmatch = \"/\"\nforward = \"a\"\n";
    let gateway = gateway(config).with("a", origin.address).start();
    let mut client = gateway.connect();
    client.get("/", &[]).expect(200);
    gateway.signal("STOP");
    client.send(request("GET", "/", &[], b""));
    gateway.signal("CONT");
    client.response().expect(200);
}

/// The library that shifts the wall clock and leaves the monotonic one alone.
fn libfaketime() -> String {
    let folders = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];
    let paths = folders.map(|folder| format!("{folder}/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path| fs::exists(path).unwrap_or_default());
    found.expect("libfaketime: apt-get install faketime")
}

#[test]
fn a_wall_clock_that_jumps_moves_the_log_and_no_wait() {
    let clock = Folder::new();
    let now = clock.path().join("now");
    fs::write(&now, "+0").unwrap();
    let gateway = gateway(RESPOND)
        .environment("LD_PRELOAD", &libfaketime())
        .environment("FAKETIME_TIMESTAMP_FILE", &now.display().to_string())
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    let mut client = gateway.connect();
    client.get("/", &[]).expect(200);
    let times = |count: usize| {
        let lines = gateway.access_log(count);
        lines.iter().map(|line| line["time"].as_str().unwrap()[..4].to_string()).collect::<Vec<_>>()
    };
    let before: u32 = times(1)[0].parse().unwrap();
    // A year and more ahead: the idle connection is still served, and the line has the new year.
    fs::write(&now, "+400d").unwrap();
    client.get("/", &[]).expect(200);
    assert!(times(2).iter().any(|year| year.parse::<u32>().unwrap() > before), "{:?}", times(2));
    fs::write(&now, "-800d").unwrap();
    client.get("/", &[]).expect(200);
    assert!(times(3).iter().any(|year| year.parse::<u32>().unwrap() < before), "{:?}", times(3));
}
