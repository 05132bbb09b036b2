//! Limits of the whole fleet, counted in Redis: two gateways, one store, which is killed, frozen and brought back.
//!
//! What passes is bounded by what docs/policies/fleet-limits.md promises; time is measured around the whole of it,
//! so that no slowness of the machine can make a test fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::redis::Redis;
use crate::support::wire::Wire;

fn fleet(redis: &Redis, limit: &str) -> Gateway {
    let config = format!(
        "[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n\n[limit.it]\n{limit}\nstore = \"redis\"\n\n[[route]]\n\
         match = \"/{{*rest}}\"\nlimit = \"it\"\nrespond = {{ status = 200, body = \"in\" }}\n",
        redis.address
    );
    let gateway = gateway(&config).start();
    connected(&gateway, 2.0);
    gateway
}

/// Waits until so many cores of it are connected to the store.
fn connected(gateway: &Gateway, cores: f64) {
    eventually("the store is seen", || {
        gateway.metric("ringway_limit_store_connections", &[]) == cores
    });
}

/// How many of these requests pass.
fn passing(gateways: &[&Gateway], requests: usize) -> usize {
    let mut clients: Vec<Wire> = gateways.iter().map(|gateway| gateway.connect()).collect();
    let count = clients.len();
    (0..requests).filter(|n| clients[n % count].get("/", &[]).status == 200).count()
}

#[test]
fn exact_is_exact_over_two_gateways_and_all_their_cores() {
    let redis = Redis::start();
    let limit = "rate = \"1/h\"\nburst = 50\nkey = \"all\"\nmode = \"exact\"";
    let (one, other) = (fleet(&redis, limit), fleet(&redis, limit));
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for gateway in [&one, &other, &one, &other] {
            scope.spawn(|| {
                for _ in 0..5 {
                    let count = passing(&[gateway], 20) as u64;
                    passed.fetch_add(count, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::SeqCst), 50);
    assert_eq!(one.metric("ringway_limit_store_missed_total", &[]), 0.0);
    let refused = other.get("/").expect_problem(429);
    assert!(refused.field("retry-after").is_some(), "{:?}", refused.fields);
    let keys = redis.say("KEYS *\r\n").expect("keys");
    assert!(keys.contains("ringway:it:") && !keys.contains("all"), "keys are digests: {keys}");
}

#[test]
fn an_exact_limit_spends_nothing_of_what_another_refuses() {
    let redis = Redis::start();
    let config = format!(
        "[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n[limit.wide]\nrate = \"1/h\"\nburst = 5\nkey = \"all\"\nstore = \"redis\"\n\
         mode = \"exact\"\n[limit.narrow]\nrate = \"1/h\"\nburst = 1\nkey = \"{{header.x-tenant}}\"\n\
         store = \"redis\"\nmode = \"exact\"\n[[route]]\nmatch = \"/\"\nlimit = [\"wide\", \"narrow\"]\n\
         respond = {{ status = 200, body = \"in\" }}\n",
        redis.address
    );
    let (one, other) = (gateway(&config).start(), gateway(&config).start());
    connected(&one, 2.0);
    connected(&other, 2.0);
    let of =
        |gateway: &Gateway, tenant: &str| gateway.get_with("/", &[("X-Tenant", tenant)]).status;
    assert_eq!(of(&one, "a"), 200);
    for _ in 0..10 {
        assert_eq!((of(&one, "a"), of(&other, "a")), (429, 429));
    }
    let more = ["b", "c", "d", "e", "f"].map(|tenant| of(&other, tenant));
    assert_eq!(more, [200, 200, 200, 200, 429]);
}

#[test]
fn leased_passes_at_most_a_burst_more_for_each_further_gateway_and_pays_it_back() {
    let redis = Redis::start();
    let limit = "rate = \"20/s\"\nburst = 40\nkey = \"all\"";
    let (one, other) = (fleet(&redis, limit), fleet(&redis, limit));
    let started = Instant::now();
    let passed: usize = std::thread::scope(|scope| {
        let threads = [&one, &other, &one, &other].map(|gateway| {
            scope.spawn(move || {
                let mut passed = 0;
                while started.elapsed().as_secs() < 4 {
                    passed += passing(&[gateway], 20);
                }
                passed
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let took = started.elapsed().as_secs_f64();
    let most = 40.0 + 20.0 * took + 40.0;
    assert!(passed as f64 <= most.ceil(), "{passed} passed where {most} may");
    assert!(passed >= 40, "{passed} passed");
    assert_eq!(one.metric("ringway_limit_store_missed_total", &[]), 0.0);
    // One gateway's spending is seen by the other, although that never asked for this key.
    let key = "rate = \"1/h\"\nburst = 10\nkey = \"another\"";
    let (one, other) = (fleet(&redis, key), fleet(&redis, key));
    assert_eq!(passing(&[&one], 20), 10);
    eventually("the store knows", || redis.say("DBSIZE\r\n").is_some_and(|size| size != ":0\r\n"));
    eventually("the other gateway is told with its first answers", || other.get("/").status == 429);
    let more = passing(&[&other], 20);
    assert_eq!(more, 0, "ten were lent at most and are owed now");
}

#[test]
fn a_store_that_is_killed_under_load_slows_nobody_and_is_used_again_when_it_is_back() {
    for mode in ["exact", "leased"] {
        let mut redis = Redis::start();
        let limit =
            format!("rate = \"1000000/s\"\nburst = 1000000\nkey = \"all\"\nmode = \"{mode}\"");
        let gateways = [fleet(&redis, &limit), fleet(&redis, &limit)];
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = Stop(&ended);
            let threads: Vec<_> = gateways
                .iter()
                .map(|gateway| {
                    let (mut client, ended) = (gateway.connect(), &ended);
                    scope.spawn(move || {
                        while !ended.load(Ordering::SeqCst) {
                            client.get("/", &[]).expect(200);
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                redis.kill();
                gateways.iter().for_each(|gateway| connected(gateway, 0.0));
                redis.revive();
                gateways.iter().for_each(|gateway| connected(gateway, 2.0));
            }
            // A store that is there and never answers is noticed by whoever asks: by the client's core.
            redis.freeze();
            for gateway in &gateways {
                let cores = || gateway.metric("ringway_limit_store_connections", &[]);
                eventually("the store is away", || cores() < 2.0);
            }
            redis.thaw();
            gateways.iter().for_each(|gateway| connected(gateway, 2.0));
            drop(stop);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let known = redis.say("DBSIZE\r\n");
        assert!(known.is_some(), "it answers");
    }
}

/// Tells clients to stop, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn while_the_store_is_away_the_machine_counts_or_all_pass_or_none() {
    for (away, passes) in [("local", 5), ("allow", 20), ("deny", 0)] {
        let mut redis = Redis::start();
        let limit = format!(
            "rate = \"1/h\"\nburst = 5\nkey = \"{{client.address}}\"\nmode = \"exact\"\naway = \"{away}\""
        );
        let gateway = fleet(&redis, &limit);
        redis.kill();
        connected(&gateway, 0.0);
        assert_eq!(passing(&[&gateway], 20), passes, "{away}");
        if away == "deny" {
            let refused = gateway.get("/").expect_problem(503);
            assert_eq!(refused.field("retry-after"), Some("1"), "{:?}", refused.fields);
            assert_eq!(refused.field("proxy-status"), Some("ringway; error=limit_store_away"));
        }
        redis.revive();
        connected(&gateway, 2.0);
        assert!(passing(&[&gateway], 20) <= 5, "{away}");
    }
}

/// A client whose head took longer than the route's `timeout` once ended the connection to the store for everybody, and
/// passed where `away` lets everybody pass.
#[test]
fn a_late_head_is_no_store_that_is_away() {
    let redis = Redis::start();
    let limit = "[limit.it]\nrate = \"1/h\"\nburst = 1\nkey = \"{header.x-who}\"\nstore = \"redis\"\nmode = \"exact\"\n\
         away = \"allow\"";
    let config = format!(
        "[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n{limit}\n[[route]]\nmatch = \"/\"\nlimit = \"it\"\n\
         timeout = \"1ms\"\nrespond = {{ status = 200, body = \"in\" }}\n",
        redis.address
    );
    let (one, other) = (gateway(&config).start(), gateway(&config).start());
    [&one, &other].into_iter().for_each(|gateway| connected(gateway, 2.0));
    for who in ["a", "b", "c", "d"] {
        other.get_with("/", &[("x-who", who)]).expect(200);
        let mut late = one.connect();
        late.send(format!("GET / HTTP/1.1\r\nhost: x\r\nx-who: {who}\r\n"));
        // What the gateway has answered meanwhile took longer than its timeout.
        (0..3).for_each(|_| connected(&one, 2.0));
        late.send("\r\n");
        late.response().expect_problem(429);
    }
    connected(&one, 2.0);
    assert_eq!(one.metric("ringway_limit_store_missed_total", &[]), 0.0);
}

/// A store that knows the script and answers each call of it like this, whatever was asked.
fn store_that_says(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = vec![0; 65536];
                while let Ok(1..) = stream.read(&mut bytes) {
                    let loads = bytes.windows(4).any(|four| four == b"LOAD");
                    let said = if loads { &b"$5\r\nabcde\r\n"[..] } else { answer };
                    bytes.fill(0);
                    if stream.write_all(said).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn what_the_script_cannot_say_is_no_grant() {
    let answers: [(&[u8], u16); 8] = [
        (b"*2\r\n:0\r\n:0\r\n", 200),
        (b"*0\r\n", 503),
        (b"*1\r\n:0\r\n", 503),
        (b"*3\r\n:0\r\n:0\r\n:0\r\n", 503),
        (b"*2\r\n:-1\r\n:0\r\n", 503),
        (b"*2\r\n:2\r\n:0\r\n", 503),
        (b"*2\r\n:0\r\n:-1\r\n", 503),
        (b"-NOSCRIPT gone\r\n", 503),
    ];
    for (answer, status) in answers {
        let config = format!(
            "[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n[limit.it]\nrate = \"1/h\"\nkey = \"all\"\nstore = \"redis\"\n\
             mode = \"exact\"\naway = \"deny\"\n[[route]]\nmatch = \"/\"\nlimit = \"it\"\nrespond = {{ status = 200 }}\n",
            store_that_says(answer)
        );
        let gateway = gateway(&config).start();
        connected(&gateway, 2.0);
        let answered = gateway.get("/");
        assert_eq!(answered.status, status, "{:?}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn an_operator_is_told_once_that_the_store_is_away_and_once_that_it_is_back() {
    let mut redis = Redis::start();
    let limit = "rate = \"1000000/s\"\nkey = \"all\"\nmode = \"exact\"";
    let gateway = fleet(&redis, limit);
    let told = |what: &str| gateway.stderr().matches(what).count();
    assert_eq!((told("is away"), told("is back")), (0, 0), "{}", gateway.stderr());
    for round in 1..3 {
        redis.kill();
        connected(&gateway, 0.0);
        eventually("it is told", || told("is away") == round);
        assert_eq!(passing(&[&gateway], 50), 50);
        redis.revive();
        connected(&gateway, 2.0);
        eventually("its return is told", || told("is back") == round);
        assert_eq!((told("is away"), told("is back")), (round, round), "{}", gateway.stderr());
    }
    assert_eq!(gateway.metric("ringway_limit_store_away_total", &[]), 4.0, "two cores, twice");
    assert!(told(&redis.address.to_string()) >= 4, "{}", gateway.stderr());
}

#[test]
fn a_password_that_is_wrong_is_told_without_it() {
    let redis = Redis::start();
    assert_eq!(redis.say("CONFIG SET requirepass right\r\n").as_deref(), Some("+OK\r\n"));
    let config = format!(
        "[redis]\naddress = \"{}\"\npassword = \"wr0ng-and-secret\"\n[limit.it]\nrate = \"1/h\"\n\
         key = \"all\"\nstore = \"redis\"\n[[route]]\nmatch = \"/\"\nlimit = \"it\"\n\
         respond = {{ status = 200, body = \"in\" }}\n",
        redis.address
    );
    let gateway = gateway(&config).start();
    eventually("it is told", || gateway.stderr().contains("it refuses the user, the password"));
    assert!(!gateway.stderr().contains("wr0ng-and-secret"));
}

#[test]
fn a_reload_that_names_another_store_is_followed_under_load() {
    let (one, other) = (Redis::start(), Redis::start());
    let config = |redis: &Redis| {
        format!(
            "[redis]\naddress = \"{}\"\ntimeout = \"500ms\"\n[limit.it]\nrate = \"1000000/s\"\nkey = \"all\"\nstore = \"redis\"\n\
             mode = \"exact\"\n[[route]]\nmatch = \"/\"\nlimit = \"it\"\nrespond = {{ status = 200, body = \"in\" }}\n",
            redis.address
        )
    };
    let gateway = gateway(&config(&one)).start();
    connected(&gateway, 2.0);
    let mut client = gateway.connect();
    client.get("/", &[]).expect(200);
    gateway.rewrite(&config(&other));
    gateway.signal("HUP");
    eventually("the other store is asked", || {
        client.get("/", &[]).expect(200);
        other.say("DBSIZE\r\n").is_some_and(|size| size == ":1\r\n")
    });
}

#[test]
fn a_store_is_reached_by_socket_user_password_and_database() {
    let redis = Redis::with(&[]);
    for command in [
        "ACL SETUSER gate on >s3cret ~ringway:* +@read +@write +@scripting +@connection +time\r\n",
        "CONFIG SET requirepass other\r\n",
    ] {
        assert_eq!(redis.say(command).as_deref(), Some("+OK\r\n"), "{command}");
    }
    let config = |user: &str, password: &str| {
        format!(
            "[redis]\naddress = \"unix:{}\"\n{user}password = \"{password}\"\ndatabase = 3\ntimeout = \"500ms\"\n\
             [limit.it]\nrate = \"1/h\"\nburst = 3\nkey = \"all\"\nstore = \"redis\"\nmode = \"exact\"\n\
             [[route]]\nmatch = \"/\"\nlimit = \"it\"\nrespond = {{ status = 200, body = \"in\" }}\n",
            redis.socket().display()
        )
    };
    let by_user = gateway(&config("user = \"gate\"\n", "s3cret")).start();
    connected(&by_user, 2.0);
    assert_eq!(passing(&[&by_user], 10), 3);
    let by_password = gateway(&config("", "other")).start();
    connected(&by_password, 2.0);
    assert_eq!(passing(&[&by_password], 10), 0, "the same database");
    let wrong = gateway(&config("", "wrong")).start();
    assert_eq!(passing(&[&wrong], 10), 3, "away: the machine counts by itself");
    assert_eq!(wrong.metric("ringway_limit_store_connections", &[]), 0.0);
}

#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let redis = Redis::start();
    let page = include_str!("../../docs/policies/fleet-limits.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("a page begins with an example");
    // A machine that is busy with other tests is no reason to call the store away.
    let block = block.replace("10.0.0.30:6379", &redis.address.to_string());
    let block = block.replace("\"50ms\"", "\"500ms\"");
    let block = block
        .replace("${file:/run/secrets/redis}", "s3cret")
        .replace("user     = \"ringway\"\n", "");
    assert_eq!(redis.say("CONFIG SET requirepass s3cret\r\n").as_deref(), Some("+OK\r\n"));
    let gateway = gateway(&block).start();
    connected(&gateway, 2.0);
    let paid = |n: usize| (0..n).filter(|_| gateway.get("/pay").status == 200).count();
    assert_eq!(paid(12), 10);
}
