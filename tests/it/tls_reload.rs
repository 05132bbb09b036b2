//! Certificates that change under load, and OCSP answers that come and go: nobody's connection notices.
//!
//! Two clients of `openssl` ask over one connection each, two of `curl` over a new one each time, while files are
//! written anew and SIGHUPs come. Every single answer must be whole.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::certs::Authority;
use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;

const CONFIG: &str = r#"
[[listen]]
address = "@LISTEN@"
[listen.tls]
certificates = [{ cert = "@C@/a.pem", key = "@C@/a.key" @OCSP@ }]
[upstream.app]
endpoints = ["@app@"]
[[route]]
match = "/{*rest}"
forward = "app"
"#;

fn start(authority: &Authority, origin: &Origin, ocsp: &str) -> Gateway {
    let text = CONFIG.replace("@OCSP@", ocsp);
    gateway(&text).with("app", origin.address).with("C", authority.folder()).start()
}

fn is_in_force(gateway: &Gateway, version: usize) -> bool {
    gateway.stderr().contains(&format!("configuration {version} is in force"))
}

#[test]
fn certificates_change_under_load_and_no_request_is_lost() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    let origin = Origin::saying("x");
    let gateway = start(&authority, &origin, "");
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let port = gateway.address.port();
    let rounds = 6;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let how = format!("-connect {} -servername a.test", gateway.address);
                let mut kept = authority.keep_open(&how);
                while !stop.load(Ordering::Relaxed) {
                    let text = kept.ask("GET /kept HTTP/1.1\r\nHost: a.test\r\n\r\n");
                    assert!(text.contains("HTTP/1.1 200") && text.ends_with('x'), "kept: {text}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (good, text) = authority.curl(&format!(
                        "--resolve a.test:{port}:127.0.0.1 https://a.test:{port}/new"
                    ));
                    assert!(good && text == "x", "new: {text}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut version = 1;
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds {
                let before = asked.load(Ordering::Relaxed);
                // Made aside and put in place: a certificate and its key that belong together at any moment that
                // a reload may look.
                authority.server("next", "DNS:a.test");
                for kind in ["key", "pem"] {
                    std::fs::rename(
                        authority.path(&format!("next.{kind}")),
                        authority.path(&format!("a.{kind}")),
                    )
                    .unwrap();
                }
                if round % 2 == 0 {
                    gateway.signal("HUP");
                }
                version += 1;
                eventually("the next certificate", || is_in_force(&gateway, version));
                eventually("requests", || asked.load(Ordering::Relaxed) > before + 20);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        changed.unwrap();
    });
    let kept = origin.requests().iter().filter(|request| request.target == "/kept").count();
    assert!(kept > rounds, "{kept}");
    let opened = gateway.metric("ringway_tls_handshakes_total", &["result=\"full\""]);
    let opened = opened + gateway.metric("ringway_tls_handshakes_total", &["result=\"resumed\""]);
    let new = (asked.load(Ordering::Relaxed) - kept) as f64;
    assert!(opened <= new + 3.0, "a kept connection was opened again: {opened} for {new}");
}

/// An answer of the authority about `a.pem`, in the form that the configuration takes.
fn write_ocsp(authority: &Authority, status: char, more: &str) {
    make_ocsp(authority, status, more, Authority::openssl);
}

fn make_ocsp(
    authority: &Authority,
    status: char,
    more: &str,
    openssl: impl Fn(&Authority, &str) -> String,
) {
    let serial = authority.openssl("x509 -in a.pem -noout -serial");
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    let revoked = if status == 'R' { "240101000000Z" } else { "" };
    let line =
        format!("{status}\t360101000000Z\t{revoked}\t{serial}\tunknown\t/O=Test/CN=a.test\n");
    std::fs::write(authority.path("index"), line).unwrap();
    let how = format!(
        "ocsp -index index -rsigner root.pem -rkey root.key -CA root.pem -issuer root.pem -cert a.pem \
         -respout answer.der {more}"
    );
    openssl(authority, &how);
    authority.openssl("base64 -in answer.der -out new.ocsp");
    std::fs::rename(authority.path("new.ocsp"), authority.path("a.ocsp")).unwrap();
}

#[test]
fn an_ocsp_answer_is_stapled_and_exchanged() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    write_ocsp(&authority, 'V', "-ndays 5");
    let origin = Origin::saying("x");
    let gateway = start(&authority, &origin, ", ocsp = \"@C@/a.ocsp\"");
    let ask = |version: &str| {
        let how = format!("-connect {} -servername a.test -status {version}", gateway.address);
        authority.s_client(&how, "").1
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let text = ask(version);
        assert!(text.contains("OCSP Response Status: successful"), "{version}: {text}");
        assert!(text.contains("Cert Status: good"), "{version}: {text}");
    }
    let (_, text) = authority.s_client(&format!("-connect {}", gateway.address), "");
    assert!(!text.contains("OCSP Response Status"), "nobody asked: {text}");
    let until = |text: &str| {
        text.lines().find(|line| line.contains("Next Update")).unwrap_or_default().to_owned()
    };
    let before = until(&ask(""));
    write_ocsp(&authority, 'V', "-ndays 9");
    eventually("the new answer without a signal", || until(&ask("")) != before);
}

#[test]
fn an_ocsp_answer_that_would_harm_is_not_shown() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    write_ocsp(&authority, 'V', "-ndays 5");
    let origin = Origin::saying("x");
    // An answer about a certificate that has gone since.
    authority.server("a", "DNS:a.test");
    let gateway = start(&authority, &origin, ", ocsp = \"@C@/a.ocsp\"");
    let ask = || {
        let how = format!("-connect {} -servername a.test -status", gateway.address);
        authority.s_client(&how, "").1
    };
    assert!(gateway.stderr().contains("is about another certificate"), "{}", gateway.stderr());
    assert!(ask().contains("OCSP response: no response sent"), "{}", ask());
    write_ocsp(&authority, 'V', "-ndays 5");
    eventually("a good one", || ask().contains("Cert Status: good"));
    // One that ended five days ago.
    make_ocsp(&authority, 'V', "-ndays 5", |authority, how| authority.openssl_before("-10d", how));
    eventually("none", || ask().contains("OCSP response: no response sent"));
    assert!(gateway.stderr().contains("this OCSP answer has ended"), "{}", gateway.stderr());
}

#[test]
fn an_ocsp_answer_that_ends_is_shown_no_longer() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    // It holds for a minute, of which ten seconds are left.
    make_ocsp(&authority, 'V', "-nmin 1", |authority, how| authority.openssl_before("-50s", how));
    let origin = Origin::saying("x");
    let gateway = start(&authority, &origin, ", ocsp = \"@C@/a.ocsp\"");
    let how = format!("-connect {} -servername a.test -status", gateway.address);
    eventually("the end of the answer", || {
        authority.s_client(&how, "").1.contains("OCSP response: no response sent")
    });
    assert!(gateway.stderr().contains("this OCSP answer has ended"), "{}", gateway.stderr());
}

#[test]
fn an_ocsp_answer_that_says_revoked_is_told() {
    let authority = Authority::new();
    authority.server("a", "DNS:a.test");
    write_ocsp(&authority, 'R', "-ndays 5");
    let origin = Origin::saying("x");
    let gateway = start(&authority, &origin, ", ocsp = \"@C@/a.ocsp\"");
    assert!(
        gateway.stderr().contains("says that the certificate is revoked"),
        "{}",
        gateway.stderr()
    );
}
