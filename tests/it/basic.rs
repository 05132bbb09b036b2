//! Names and passwords: checked beside the cores, remembered, bounded, and never shown.
//!
//! Lines come from `ringway hash-password` or from Argon2 itself; the hashes of tests are cheap, because how long a
//! check takes is nobody's subject here.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;

const CONFIG: &str = r#"
[upstream.app]
endpoints = ["@app@"]
[basic.team]
users = "users.txt"
realm = "the \"team\""
[basic.strict]
users = "users.txt"
failures = "2/h"
forward = true
[limit.per_user]
rate = "1/h"
burst = 2
key = "{basic.user}"
[[route]]
match = "/in/{*rest}"
forward = "app"
basic = "team"
request_headers = { set = { x-user = "{basic.user}" } }
[[route]]
match = "/strict"
forward = "app"
basic = "strict"
[[route]]
match = "/limited"
forward = "app"
basic = "team"
limit = "per_user"
"#;

/// A line as the command makes it.
fn made(user: &str, password: &str, more: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["hash-password", "--user", user]).args(more);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // Whoever is refused for his name is not asked for a password.
    let _ = writeln!(child.stdin.take().unwrap(), "{password}");
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// A line that is checked quickly.
fn line(user: &str, password: &str) -> String {
    let (good, line, err) = made(user, password, &["--memory", "1", "--passes", "1"]);
    assert!(good, "{err}");
    line
}

fn house(origin: &Origin, lines: &[&str]) -> Gateway {
    gateway(CONFIG).with("app", origin.address).file("users.txt", &lines.concat()).start()
}

fn credentials(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn status(gateway: &Gateway, target: &str, user: &str, password: &str) -> u16 {
    gateway.get_with(target, &[("Authorization", &credentials(user, password))]).status
}

#[test]
fn the_right_password_opens_and_names_its_user() {
    let origin = Origin::saying("in");
    let gateway = house(&origin, &[&line("ada", "love:läce"), &line("bob", "hunter2")]);
    let ada = credentials("ada", "love:läce");
    let own = [("Authorization", ada.as_str()), ("X-User", "root"), ("X_USER", "root")];
    gateway.get_with("/in/a", &own).expect(200);
    let request = origin.request();
    assert_eq!((request.all("x-user"), request.field("x_user")), (vec!["ada"], None));
    assert_eq!(request.field("authorization"), None, "the password stays here");
    let scheme = ada.replace("Basic", "bAsIc");
    gateway.get_with("/in/a", &[("Authorization", &scheme)]).expect(200);
    for (user, password) in [
        ("ada", "hunter2"),
        ("bob", "love:läce"),
        ("eve", "hunter2"),
        ("ada", ""),
        ("Ada", "love:läce"),
    ] {
        assert_eq!(status(&gateway, "/in/a", user, password), 401, "{user} {password}");
    }
    let refused = gateway.get("/in/a").expect_problem(401);
    let challenge = "Basic realm=\"the team\", charset=\"UTF-8\"";
    assert_eq!(refused.field("www-authenticate"), Some(challenge));
    for bad in ["Basic", "Basic YWRh", "Basic !", "Basic YWRhOmI", "Basic YQo6Yg=="] {
        let status = gateway.get_with("/in/a", &[("Authorization", bad)]).status;
        assert_eq!(status, 400, "{bad}");
    }
    gateway.get_with("/in/a", &[("Authorization", "Bearer x")]).expect(401);
    gateway.get_with("/in/a", &[("Authorization", &ada), ("Authorization", &ada)]).expect(400);
    assert_eq!(status(&gateway, "/strict", "bob", "hunter2"), 200);
    assert_eq!(origin.requests()[2].all("authorization"), [credentials("bob", "hunter2")]);
    let lines = gateway.access_log(16);
    assert_eq!((&lines[0]["user"], &lines[2]["reason"]), (&"ada".into(), &"password_wrong".into()));
    assert!(lines[2].get("user").is_none());
    let all = format!("{lines:?}{}{}", gateway.stderr(), gateway.stdout());
    for secret in ["love:läce", "hunter2", &ada[6..], "argon2id"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn a_limit_counts_the_requests_of_one_user() {
    let origin = Origin::saying("in");
    let gateway = house(&origin, &[&line("ada", "a"), &line("bob", "b")]);
    for (user, password, expected) in
        [("ada", "a", 200), ("ada", "a", 200), ("ada", "a", 429), ("bob", "b", 200)]
    {
        assert_eq!(status(&gateway, "/limited", user, password), expected);
    }
}

#[test]
fn users_come_and_go_while_the_gateway_runs() {
    let origin = Origin::saying("in");
    let (ada, bob) = (line("ada", "old"), line("bob", "b"));
    let gateway = house(&origin, &[&ada, &bob]);
    let file = gateway.folder.path().join("users.txt");
    assert_eq!(status(&gateway, "/in/a", "ada", "old"), 200);
    assert_eq!(status(&gateway, "/in/a", "ada", "new"), 401);
    fs::write(&file, format!("{}{bob}", line("ada", "new"))).unwrap();
    eventually("the new password", || status(&gateway, "/in/a", "ada", "new") == 200);
    assert_eq!(status(&gateway, "/in/a", "ada", "old"), 401, "what was remembered does not hold");
    assert_eq!(status(&gateway, "/in/a", "bob", "b"), 200);
    fs::write(&file, "ada:a-plain-password\n").unwrap();
    eventually("the refusal", || gateway.stderr().contains("line 1: "));
    assert_eq!(status(&gateway, "/in/a", "ada", "new"), 200, "the old list stays");
    assert!(!gateway.stderr().contains("a-plain-password"));
    fs::write(&file, &bob).unwrap();
    eventually("ada to be gone", || status(&gateway, "/in/a", "ada", "new") == 401);
}

#[test]
fn a_network_that_guesses_is_refused_and_who_is_known_is_not() {
    let origin = Origin::saying("in");
    let gateway = house(&origin, &[&line("ada", "right")]);
    // Every core remembers by itself: ask until both know the password.
    for _ in 0..40 {
        assert_eq!(status(&gateway, "/strict", "ada", "right"), 200);
    }
    let mut refused = 0;
    for number in 0..10 {
        let guess = format!("guess-{number}");
        let response =
            gateway.get_with("/strict", &[("Authorization", &credentials("eve", &guess))]);
        if response.status == 429 {
            refused += 1;
            assert!(response.field("retry-after").unwrap().parse::<u64>().unwrap() > 60);
        } else {
            assert_eq!(response.status, 401);
        }
    }
    assert_eq!(refused, 8, "two wrong ones in an hour");
    assert_eq!(status(&gateway, "/in/a", "ada", "wrong"), 401, "another table counts by itself");
    for _ in 0..20 {
        assert_eq!(status(&gateway, "/strict", "ada", "right"), 200, "who is remembered passes");
    }
}

#[test]
fn a_flood_of_guesses_fills_a_bounded_line_and_slows_nobody_who_is_known() {
    let origin = Origin::saying("in");
    // This hash takes long enough for a line to form.
    let (good, slow, err) = made("ada", "right", &["--memory", "64", "--passes", "4"]);
    assert!(good, "{err}");
    let gateway = house(&origin, &[&slow]);
    for _ in 0..40 {
        assert_eq!(status(&gateway, "/in/a", "ada", "right"), 200);
    }
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guess = |number: usize| {
            let gateway = &gateway;
            scope.spawn(move || status(gateway, "/in/a", "ada", &format!("guess-{number}")))
        };
        let guesses: Vec<_> = (0..40).map(guess).collect();
        for _ in 0..20 {
            assert_eq!(status(&gateway, "/in/a", "ada", "right"), 200);
        }
        guesses.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!(count(401) + count(503) + count(429), 40, "{statuses:?}");
    assert!(count(503) > 0, "8 of one network wait on each of two cores: {statuses:?}");
    assert!(count(401) > 0 && count(401) <= 36, "{statuses:?}");
}

#[test]
fn the_command_keeps_passwords_and_refuses_what_cannot_be_one() {
    let (good, line, _) = made("ada", "secret", &[]);
    assert!(
        good && line.starts_with("ada:$argon2id$v=19$m=19456,t=2,p=1$") && !line.contains("secret")
    );
    for (user, password, more) in [
        ("", "x", vec![]),
        ("a:b", "x", vec![]),
        ("#a", "x", vec![]),
        ("ada", "", vec![]),
        ("ada", "a\u{1}b", vec![]),
        ("ada", "x", vec!["--memory", "4096"]),
        ("ada", "x", vec!["--passes", "0"]),
    ] {
        let (good, out, err) = made(user, password, &more);
        assert!(
            !good && out.is_empty() && err.starts_with("error: "),
            "{user} {password} {more:?}"
        );
    }
}
