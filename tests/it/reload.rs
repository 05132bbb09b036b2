//! SIGHUP: a good configuration takes over without a lost request, a bad one changes nothing.
//!
//! A test never waits a length of time for a reload: it asks until the new configuration answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, ok};
use crate::support::wire::request;
use crate::support::{Gate, eventually};

/// Says which version of the configuration answers, and forwards everything else.
fn version(number: u32) -> String {
    format!(
        "[upstream.app]\nendpoints = [\"@app@\"]\n\n[[route]]\nmatch = \"/version\"\n\
         respond = {{ status = 200, body = \"{number}\" }}\n\n[[route]]\nmatch = \"/{{*rest}}\"\nforward = \"app\"\n"
    )
}

fn install(gateway: &Gateway, number: u32) {
    gateway.rewrite(&version(number));
    gateway.signal("HUP");
    let wanted = number.to_string();
    // Every core has it when several fresh connections in a row say so.
    eventually("the new configuration", || {
        (0..4).all(|_| gateway.get("/version").expect(200).text() == wanted)
    });
}

#[test]
fn a_good_configuration_takes_over_on_every_core_and_connection() {
    let origin = Origin::saying("x");
    let gateway = gateway(&version(1)).with("app", origin.address).start();
    let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/version", &[]).expect(200).text(), "1");
    }
    install(&gateway, 2);
    // Fresh connections may all have met one core: this is told when every core has acknowledged.
    eventually("every core to have it", || {
        gateway.stderr().contains("configuration 2 is in force")
    });
    for client in &mut clients {
        assert_eq!(client.get("/version", &[]).expect(200).text(), "2", "an old connection");
    }
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_where_it_is_wrong() {
    let origin = Origin::saying("x");
    let gateway = gateway(&version(1)).with("app", origin.address).start();
    gateway.rewrite(
        "[upstream.users]\nendpoints = [\"@app@\"]\n[[route]]\nmatch = \"/\"\nforward = \"user\"\n",
    );
    gateway.signal("HUP");
    eventually("the errors", || gateway.stderr().contains("did you mean `users`"));
    assert!(gateway.stderr().contains("ringway.toml:"), "{}", gateway.stderr());
    eventually("what stays", || gateway.stderr().contains("configuration 1 stays in force"));
    for _ in 0..4 {
        assert_eq!(gateway.get("/version").expect(200).text(), "1");
    }
    gateway.admin("/readyz").expect(200);
    install(&gateway, 3);
}

#[test]
fn a_request_in_flight_finishes_on_the_configuration_it_began_with() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |_| vec![Step::Wait(held.clone()), Step::Send(ok("old"))]);
    let other = Origin::saying("new");
    let gateway =
        gateway(&version(1)).with("app", origin.address).with("other", other.address).start();
    let mut client = gateway.connect();
    client.send(request("GET", "/slow", &[], b""));
    origin.wait_for(1);
    gateway.rewrite(&version(2).replace("@app@", "@other@"));
    gateway.signal("HUP");
    // Asked in a way that the old configuration answers, too: its origin is held.
    eventually("the new configuration", || {
        (0..8).all(|_| gateway.get("/version").expect(200).text() == "2")
    });
    assert_eq!(gateway.get("/x").expect(200).text(), "new");
    gate.open();
    assert_eq!(client.response().expect(200).text(), "old");
    assert_eq!(client.get("/x", &[]).expect(200).text(), "new", "the same connection");
}

#[test]
fn a_limit_goes_on_counting_through_a_reload() {
    let config = |body: &str| {
        format!(
            "[limit.it]\nrate = \"1/m\"\nburst = 3\nkey = \"{{client.address}}\"\n[[route]]\nmatch = \"/limited\"\n\
             limit = \"it\"\nrespond = {{ status = 200, body = \"in\" }}\n[[route]]\nmatch = \"/version\"\n\
             respond = {{ status = 200, body = \"{body}\" }}\n"
        )
    };
    let gateway = gateway(&config("1")).start();
    for _ in 0..3 {
        gateway.get("/limited").expect(200);
    }
    gateway.get("/limited").expect(429);
    gateway.rewrite(&config("2"));
    gateway.signal("HUP");
    eventually("the new configuration", || gateway.get("/version").text() == "2");
    gateway.get("/limited").expect(429);
}

#[test]
fn two_hundred_reloads_under_load_fail_no_request() {
    let origin = Origin::saying("x");
    let gateway = gateway(&version(0)).with("app", origin.address).start();
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept = gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    kept.get("/x", &[]).expect(200);
                    gateway.get("/version").expect(200);
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        // The load must stop when an assertion below fails, or the scope would never end.
        let done = StopOnDrop(&stop);
        for number in 1..=200 {
            gateway.rewrite(&version(number));
            gateway.signal("HUP");
            if number % 20 == 0 {
                install(&gateway, number);
            }
        }
        drop(done);
    });
    // Those that were asked may all have met one core.
    eventually("every core to have the last one", || {
        (0..16).all(|_| gateway.get("/version").expect(200).text() == "200")
    });
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked >= 200, "only {asked} requests during 200 reloads");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_log_that_cannot_be_opened_refuses_a_reload_as_it_refuses_a_start() {
    let config = |log: &str, body: &str| {
        format!(
            "[observe]\naccess_log = \"{log}\"\n[[route]]\nmatch = \"/version\"\n\
             respond = {{ status = 200, body = \"{body}\" }}\n"
        )
    };
    let gateway = gateway(&config("@DIR@/1.log", "1")).start();
    // A pipe without a reader once held the reload up for ever, and every signal after it.
    let pipe = gateway.folder.path().join("pipe.log");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    for log in ["nowhere/2.log", "pipe.log"] {
        gateway.rewrite(&config(&format!("@DIR@/{log}"), "2"));
        gateway.signal("HUP");
        eventually("the reason", || {
            let told = gateway.stderr();
            told.contains(&format!("{log} cannot be opened")) && told.contains("stays in force")
        });
        assert_eq!(gateway.get("/version").expect(200).text(), "1");
    }
    gateway.rewrite(&config("@DIR@/3.log", "3"));
    gateway.signal("HUP");
    eventually("the new configuration", || gateway.get("/version").text() == "3");
    let path = gateway.folder.path().join("3.log");
    eventually("a line in the new log", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text.contains("/version"))
    });
}
