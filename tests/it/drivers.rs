//! io_uring where it is refused: by real filters of system calls, as Docker, Kubernetes and systemd have them.
//!
//! The gateway serves on epoll and names cause and fix in one line, or ends with 69 where io_uring was asked for. It
//! never limps on a ring that works by half.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::eventually;
use crate::support::gateway::{FORWARD, Folder, gateway};
use crate::support::origin::Origin;
use crate::support::seccomp::Filter;

/// What the default profiles of Docker, containerd and Kubernetes refuse.
const RING_CALLS: [libc::c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// The lines of standard error that have `text` in them.
fn lines(stderr: &str, text: &str) -> Vec<String> {
    stderr.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Our program with these words, behind this filter.
fn ringway(filter: Filter, folder: &Folder, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    filter.apply(&mut command);
    command.args(words).current_dir(folder.path()).output().expect("the built binary")
}

fn falls_back(filter: Filter, cause: &str, fix: &str) {
    let origin = Origin::saying("served");
    let gateway = gateway(FORWARD).driver("auto").filtered(filter).with("app", origin.address);
    let gateway = gateway.start();
    for _ in 0..8 {
        assert_eq!(gateway.get("/").expect(200).text(), "served");
    }
    let stderr = gateway.stderr();
    let told = lines(&stderr, "epoll is used instead");
    assert_eq!(told.len(), 1, "{stderr}");
    assert!(told[0].contains(cause) && told[0].contains(fix), "{stderr}");
    assert!(lines(&stderr, "on 2 workers (epoll)").len() == 1, "{stderr}");
}

#[test]
fn a_profile_that_forbids_io_uring_means_epoll_and_one_line_with_cause_and_fix() {
    let filter = Filter::refusing(&RING_CALLS, libc::EPERM);
    falls_back(filter, "seccomp profile of Docker", "allows io_uring_setup, io_uring_enter");
}

#[test]
fn a_filter_that_hides_io_uring_means_epoll_and_one_line_with_cause_and_fix() {
    let filter = Filter::refusing(&RING_CALLS, libc::ENOSYS);
    falls_back(filter, "does not exist here", "use Linux 6.1 or later");
}

#[test]
fn too_little_lockable_memory_means_epoll_and_one_line_with_cause_and_fix() {
    let filter = Filter::refusing(&RING_CALLS[..1], libc::ENOMEM);
    falls_back(filter, "may not lock enough memory", "raise `ulimit -l`");
}

#[test]
fn a_ring_that_can_be_made_and_not_entered_is_no_ring() {
    for (call, name) in RING_CALLS[1..].iter().zip(["io_uring_enter", "io_uring_register"]) {
        let cause = format!("{name}(2) is forbidden");
        falls_back(
            Filter::refusing(&[*call], libc::EPERM),
            &cause,
            "a seccomp profile that allows",
        );
    }
}

#[test]
fn io_uring_asked_for_and_refused_is_69_and_says_why() {
    let folder = Folder::new();
    let config = "[[listen]]\naddress = \"127.0.0.1:1\"\n[[route]]\nmatch = \"/\"\nrespond = { status = 200 }\n";
    fs::write(folder.path().join("ringway.toml"), config).unwrap();
    for (error, cause) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "does not exist here")] {
        let filter = Filter::refusing(&RING_CALLS, error);
        let ended = ringway(filter, &folder, &["run", "--driver", "io_uring"]);
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(69), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: this host cannot run the io_uring driver"), "{stderr}");
        assert!(stderr.contains(cause), "{stderr}");
    }
}

#[test]
fn version_and_doctor_tell_the_same_about_a_filter() {
    let folder = Folder::new();
    let filter = Filter::refusing(&RING_CALLS, libc::EPERM);
    let version = ringway(filter.clone(), &folder, &["version", "-v"]);
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(
        version.contains("driver   epoll; no io_uring: io_uring_setup(2) is forbidden"),
        "{version}"
    );
    let doctor = ringway(filter, &folder, &["doctor", "--json"]);
    let document: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    for item in ["io_uring", "seccomp"] {
        let finding = findings.iter().find(|finding| finding["item"] == item).unwrap();
        assert_eq!(finding["verdict"], "advice", "{finding}");
        assert!(finding["why"].as_str().unwrap().contains("io_uring"), "{finding}");
        assert!(finding["command"].is_string(), "{finding}");
    }
}

/// What we ourselves could have says nothing of a process behind a filter.
#[test]
fn doctor_says_what_a_running_gateway_runs_on() {
    let folder = Folder::new();
    let refusing = || Filter::refusing(&RING_CALLS, libc::EPERM);
    for (filter, verdict) in [(Some(refusing()), "advice"), (None, "ok")] {
        let origin = Origin::saying("served");
        let gateway = gateway(FORWARD).driver("auto").with("app", origin.address);
        let gateway = match filter {
            Some(filter) => gateway.filtered(filter).start(),
            None => gateway.start(),
        };
        let pid = gateway.pid().to_string();
        let doctor = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["doctor", "--json", "--pid", &pid])
            .current_dir(folder.path())
            .output()
            .expect("the built binary");
        let document: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap();
        for item in ["io_uring", "seccomp"] {
            let finding = findings.iter().find(|finding| finding["item"] == item).unwrap();
            assert_eq!(finding["verdict"], verdict, "{finding}");
        }
    }
}

/// As far as it can be shown without systemd itself: any system call beyond the unit's list ends the process.
#[test]
fn the_unit_of_systemd_leaves_the_gateway_all_that_it_needs() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/ringway.service");
    let unit = fs::read_to_string(unit).unwrap();
    for driver in ["auto", "epoll"] {
        let filter = Filter::of_unit(&unit);
        let origin = Origin::saying("served");
        let gateway = gateway(FORWARD).driver(driver).filtered(filter).with("app", origin.address);
        let mut gateway = gateway.start();
        assert_eq!(gateway.get("/").expect(200).text(), "served", "{driver}");
        let is_on_ring = gateway.stderr().contains("on 2 workers (io_uring");
        assert_eq!(is_on_ring, driver == "auto", "{}", gateway.stderr());
        gateway.rewrite(&format!(
            "{FORWARD}\n[[route]]\nmatch = \"/new\"\nrespond = {{ status = 204 }}\n"
        ));
        gateway.signal("HUP");
        eventually("the new route", || gateway.get("/new").status == 204);
        gateway.signal("USR1");
        eventually("the new version", || gateway.metric("ringway_config_version", &[]) >= 2.0);
        gateway.access_log(2);
        gateway.signal("TERM");
        let status = gateway.wait_for_exit();
        assert!(status.success(), "{driver}: {status}\n{}", gateway.stderr());
    }
}
