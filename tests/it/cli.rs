//! The command line: exit codes, what goes to which stream, and that nothing but `run` and `demo` listens.
//!
//! Exit codes: 0 ok, 1 runtime failure, 2 usage, 69 the host cannot run us, 78 configuration (sysexits.h).

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::support::gateway::{Folder, ringway};

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:8080"

[upstream.user]
endpoints = ["127.0.0.1:1"]

[jwt.key]
secret = "0123456789abcdef0123456789abcdef"

[limit.per_user]
rate = "50/s"
burst = 100
key = "{jwt.sub}"

[[route]]
match = "GET api.example.com/dashboard"
jwt = "key"
limit = "per_user"

[route.merge]
user = { get = "user /users/{jwt.sub}" }

[[route]]
match = "/{*rest}"
forward = "user"
"#;

fn folder(config: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.path().join("ringway.toml"), config).unwrap();
    folder
}

#[test]
fn check_says_nothing_wrong_with_0() {
    let folder = folder(CONFIG);
    let (code, _, stderr) = ringway(folder.path(), &["check"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = ringway(folder.path(), &["check", "-c", "ringway.toml"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn check_shows_every_mistake_of_one_run_with_78() {
    let config = CONFIG
        .replace("forward = \"user\"", "forward = \"usr\"")
        .replace("rate = \"50/s\"", "rat = \"50/s\"");
    let folder = folder(&config);
    let (code, stdout, stderr) = ringway(folder.path(), &["check"]);
    assert_eq!(code, 78);
    let text = format!("{stdout}{stderr}");
    assert!(text.contains("did you mean `user`") && text.contains("did you mean `rate`"), "{text}");
    assert!(text.contains("--> ringway.toml:") && text.contains("^^^"), "{text}");
}

#[test]
fn run_with_a_bad_configuration_is_78_and_does_not_start() {
    let folder = folder("[[route]]\nmatch = \"/\"\nforward = \"nobody\"\n");
    let (code, _, stderr) = ringway(folder.path(), &["run"]);
    assert_eq!(code, 78, "{stderr}");
}

#[test]
fn a_missing_configuration_is_78_and_names_the_path() {
    let folder = Folder::new();
    let (code, _, stderr) = ringway(folder.path(), &["run", "-c", "not-here.toml"]);
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("not-here.toml"), "{stderr}");
}

#[test]
fn a_directory_of_files_is_one_configuration() {
    let folder = Folder::new();
    let conf = folder.path().join("conf.d");
    fs::create_dir(&conf).unwrap();
    let (listen, rest) = CONFIG.split_at(CONFIG.find("[upstream").unwrap());
    fs::write(conf.join("10-listen.toml"), listen).unwrap();
    fs::write(conf.join("20-rest.toml"), rest).unwrap();
    let (code, _, stderr) = ringway(folder.path(), &["check", "-c", "conf.d"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn wrong_usage_is_2() {
    let folder = Folder::new();
    for arguments in
        [&["no-such-command"][..], &["run", "--no-such-option"], &["run", "--driver", "kqueue"]]
    {
        let (code, _, stderr) = ringway(folder.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_taken_port_is_1_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder(&CONFIG.replace("127.0.0.1:8080", &address));
    let (code, _, stderr) = ringway(folder.path(), &["run"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&address) && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn help_teaches_and_names_every_command() {
    let folder = Folder::new();
    let (code, stdout, _) = ringway(folder.path(), &["--help"]);
    assert_eq!(code, 0);
    for command in ["run", "check", "explain", "schema", "demo", "doctor", "version"] {
        assert!(stdout.contains(command), "{command} is not in:\n{stdout}");
        let (code, help, _) = ringway(folder.path(), &[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(help.len() > 100, "{command}: {help}");
    }
}

#[test]
fn schema_is_one_json_schema() {
    let folder = Folder::new();
    let (code, stdout, _) = ringway(folder.path(), &["schema"]);
    assert_eq!(code, 0);
    let schema: Value = serde_json::from_str(&stdout).expect("JSON");
    assert!(schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")));
    for table in ["listen", "upstream", "jwt", "limit", "route", "default", "admin", "observe"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn version_v_says_what_this_build_and_host_are() {
    let folder = Folder::new();
    let (code, stdout, stderr) = ringway(folder.path(), &["version", "-v"]);
    assert_eq!(code, 0, "{stderr}");
    for word in [env!("CARGO_PKG_VERSION"), "rustc", "kernel", "io_uring"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn explain_names_the_winner_the_losers_the_policies_and_the_calls() {
    let folder = folder(CONFIG);
    let arguments =
        ["explain", "GET http://api.example.com/dashboard", "--jwt", "sub=42", "-H", "X-A: 1"];
    let (code, stdout, stderr) = ringway(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    for part in ["GET api.example.com/dashboard", "/{*rest}", "/users/42", "per_user", "key"] {
        assert!(stdout.contains(part), "`{part}` is not in:\n{stdout}");
    }
    assert!(!stdout.contains("0123456789abcdef"), "a secret in:\n{stdout}");
}

#[test]
fn explain_tells_the_story_of_each_listener_once() {
    let second = "address = \"127.0.0.1:8080\"\n[[listen]]\naddress = \"127.0.0.1:8081\"\n\
        [[listen]]\naddress = \"127.0.0.1:8082\"\npath = { encoded_slash = \"refuse\" }";
    let folder = folder(&CONFIG.replace("address = \"127.0.0.1:8080\"", second));
    let asked = |path: &str| {
        let (code, stdout, stderr) = ringway(folder.path(), &["explain", path]);
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let same = asked("GET http://a.test/x");
    assert!(same.contains("  listener 127.0.0.1:8080, 127.0.0.1:8081, 127.0.0.1:8082\n"), "{same}");
    assert_eq!(same.matches("route `").count(), 1, "{same}");
    let differs = asked("GET http://a.test/x%2Fy");
    let parts = [
        "at 127.0.0.1:8080, 127.0.0.1:8081\n\nroute `",
        "at 127.0.0.1:8082\n\nthe path is refused",
    ];
    assert!(parts.iter().all(|part| differs.contains(part)), "{differs}");
}

#[test]
fn explain_knows_a_listener_that_only_redirects() {
    let second = "address = \"127.0.0.1:8080\"\n[[listen]]\naddress = \"127.0.0.1:8081\"\nredirect = \"https\"";
    let folder = folder(&CONFIG.replace("address = \"127.0.0.1:8080\"", second));
    let (code, stdout, stderr) = ringway(folder.path(), &["explain", "GET http://a.test/x"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("at 127.0.0.1:8080\n\nroute `"), "{stdout}");
    assert!(stdout.contains("at 127.0.0.1:8081\n\nanswers every request with 308"), "{stdout}");
}

#[test]
fn explain_of_a_request_that_no_route_matches_says_why() {
    let folder = folder(&CONFIG.replace("/{*rest}", "only.example.com/x"));
    let (_, stdout, stderr) = ringway(folder.path(), &["explain", "GET http://api.example.com/y"]);
    let text = format!("{stdout}{stderr}");
    assert!(text.contains("404") || text.contains("no route"), "{text}");
}

#[test]
fn secrets_never_appear_in_messages() {
    let folder = folder(&CONFIG.replace("secret =", "sekret ="));
    let (code, stdout, stderr) = ringway(folder.path(), &["check"]);
    assert_eq!(code, 78);
    assert!(!format!("{stdout}{stderr}").contains("0123456789abcdef"), "{stdout}{stderr}");
}

const TESTS: &str = r#"
[[test]]
name = "the dashboard is one call"
request = { send = "GET api.example.com/dashboard", jwt = { sub = "42" } }
upstream = { user = { body = { name = "Ada" } } }
expect = { status = 200, body = '{"user":{"name":"Ada"}}' }

[[test]]
name = "everything else goes on"
request = { send = "GET /x" }
upstream = { user = { status = 404 } }
expect = { status = 404 }
"#;

#[test]
fn tests_that_pass_are_0_and_open_nothing() {
    // Where the configuration listens somebody is already, and at its endpoint nobody.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&format!("{CONFIG}{TESTS}").replace(":8080", &format!(":{port}")));
    let before = fs::read_dir(folder.path()).unwrap().count();
    let (code, stdout, stderr) = ringway(folder.path(), &["test"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("ok   the dashboard is one call\n"), "{stdout}");
    assert!(stdout.contains("\n2 passed, 0 failed\ncovered: 2 of 2 routes"), "{stdout}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    taken.set_nonblocking(true).unwrap();
    assert!(taken.accept().is_err());
}

#[test]
fn a_test_that_fails_is_1_and_says_where() {
    let folder = folder(
        &format!("{CONFIG}{TESTS}")
            .replace("expect = { status = 404 }", "expect = { status = 200 }"),
    );
    let (code, stdout, _) = ringway(folder.path(), &["test", "ringway.toml"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("FAIL everything else goes on\n  --> ringway.toml:"), "{stdout}");
    let (code, stdout, _) = ringway(folder.path(), &["test", "--filter", "dashboard"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\n1 passed, 0 failed\n") && stdout.contains("alone"), "{stdout}");
    let (code, stdout, _) = ringway(folder.path(), &["test", "--json", "-c", "ringway.toml"]);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &said["passed"], &said["failed"]), (1, &1.into(), &1.into()));
    assert_eq!(said["tests"][1]["told"][0], "status: expected 200, but it is 404");
    assert_eq!(said["covered"]["routes"], 2);
}

#[test]
fn a_mistake_in_a_test_is_78_for_check_and_test() {
    let folder = folder(
        &format!("{CONFIG}{TESTS}").replace("user = { status = 404 }", "usr = { status = 404 }"),
    );
    for command in ["check", "test"] {
        let (code, _, stderr) = ringway(folder.path(), &[command]);
        assert_eq!(code, 78);
        assert!(stderr.contains("did you mean `user`?"), "{stderr}");
    }
    // What would be served is not touched by it: `run` reads as `export` does.
    let (code, _, stderr) = ringway(folder.path(), &["export", "openapi"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn explain_tells_what_is_done_to_a_request_and_its_answer() {
    let folder = crate::support::gateway::Folder::new();
    let path = folder.path().join("ringway.toml");
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.api]\nendpoints = [\"127.0.0.1:1\"]\n\
        [upstream.next]\nendpoints = [\"127.0.0.1:2\"]\n[[route]]\nmatch = \"/a/{id}\"\nforward = \"api\"\n\
        cors = { origins = [\"https://*.example.com\"], credentials = true }\n\
        request_headers = { set = { x-id = \"{path.id}\" }, remove = [\"cookie\"] }\n\
        response_headers = { add = { x-b = \"1\" } }\ncompress = { codings = [\"gzip\"], allow = [\"cookie\"] }\n\
        mirror = { to = \"next\", share = \"0.5%\" }\nmaintenance = { file = \"/nowhere\", allow = [\"10.0.0.0/8\"] }\n";
    std::fs::write(&path, text).unwrap();
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["explain", path.to_str().unwrap(), "GET http://localhost/a/7", "--from", "10.1.2.3"])
        .args(["-H", "origin: https://app.example.com"])
        .output()
        .unwrap();
    let out = String::from_utf8(said.stdout).unwrap();
    for wanted in [
        "closed for maintenance while its file is there: 503",
        "this client passes all the same",
        "may read answers: https://*.example.com",
        "a page of `https://app.example.com` may read this one",
        "removed: cookie",
        "set x-id: `7`",
        "added x-b: `1`",
        "compressed by gzip as the client asks, from 1 KiB",
        "never for requests with authorization, answers with set-cookie",
        "0.5% of requests are copied to `next`, bodies up to 64 KiB",
    ] {
        assert!(
            out.contains(wanted),
            "`{wanted}` is missing:\n{out}{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

/// What is said about made-up hosts: tests/golden/doctor.rs.
#[test]
fn doctor_looks_at_this_host_and_changes_nothing() {
    let folder = folder(CONFIG);
    let (code, stdout, stderr) = ringway(folder.path(), &["doctor", "-c", "ringway.toml"]);
    assert!(code == 0 || code == 1, "{code}: {stderr}");
    assert!(stdout.contains("configuration ringway.toml\n"), "{stdout}");
    assert!(!stdout.contains('\x1b'), "colours in a pipe: {stdout}");
    let (code, stdout, stderr) = ringway(folder.path(), &["doctor", "--json"]);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    let findings = document["findings"].as_array().expect("findings");
    let problem = findings.iter().any(|finding| finding["verdict"] == "problem");
    assert_eq!(code, i32::from(problem), "{stderr}");
    let ring = findings.iter().find(|finding| finding["item"] == "io_uring").expect("io_uring");
    assert_ne!(ring["verdict"], "unknown", "a ring is tried: {ring}");
    // Two deeds at once are a mistake.
    assert_eq!(ringway(folder.path(), &["doctor", "--fix", "--revert"]).0, 2);
}

#[test]
fn doctor_tells_a_bad_configuration_from_a_bad_host() {
    let folder = folder("[[route]]\nmatch = 5\n");
    let (code, stdout, stderr) = ringway(folder.path(), &["doctor", "-c", "ringway.toml"]);
    assert_eq!((code, stdout.as_str()), (78, ""), "{stderr}");
    assert!(stderr.contains("--> ringway.toml:2:9"), "{stderr}");
    // One that only lies there does not keep the doctor from looking at the host.
    let (code, stdout, stderr) = ringway(folder.path(), &["doctor"]);
    assert!(code <= 1 && stdout.contains("no configuration"), "{stdout}");
    assert!(stderr.contains("ringway.toml has mistakes"), "{stderr}");
}

#[test]
fn doctor_looks_at_a_process_and_says_when_it_is_gone() {
    let folder = Folder::new();
    let ours = std::process::id().to_string();
    let (code, stdout, stderr) = ringway(folder.path(), &["doctor", "--all", "--pid", &ours]);
    assert!(code <= 1, "{stderr}");
    assert!(stdout.contains(&format!("(process {ours})")), "{stdout}");
    let (code, _, stderr) = ringway(folder.path(), &["doctor", "--pid", "4194305"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("process 4194305"), "{stderr}");
}

/// As systemd itself reads it; only the program's place is another one.
#[test]
fn the_unit_of_systemd_is_well_formed() {
    let folder = Folder::new();
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/ringway.service");
    let text = fs::read_to_string(unit).unwrap();
    let text = text.replace("/usr/local/bin/ringway", env!("CARGO_BIN_EXE_ringway"));
    let path = folder.path().join("ringway.service");
    fs::write(&path, text).unwrap();
    let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let verified = verified.expect("systemd-analyze (Debian: systemd)");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("ringway.service"), "{said}");
}
