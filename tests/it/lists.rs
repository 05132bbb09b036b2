//! Files of lists (revoked tokens, API keys) that are replaced by odd things, or back and forth.

use std::fs;

use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::{Gateway, gateway};
use crate::support::tokens::{Signer, unix_now};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CONFIG: &str = r#"
[jwt.idp]
secret = "0123456789abcdef0123456789abcdef"
revoked = "revoked.txt"
[[route]]
match = "/{*rest}"
respond = { status = 200 }
jwt = "idp"
"#;

fn status(gateway: &Gateway, jti: &str) -> u16 {
    let claims = json!({"exp": unix_now() + 1000, "jti": jti});
    let token = Signer::hs256("k", SECRET).sign(&claims);
    gateway.get_with("/", &[("authorization", &format!("Bearer {token}"))]).status
}

#[test]
fn a_pipe_in_place_of_a_list_holds_up_nobody() {
    let gateway = gateway(CONFIG).file("revoked.txt", "jti:a\n").start();
    let at = |name: &str| gateway.folder.path().join(name);
    let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(pipe.success());
    fs::rename(at("pipe"), at("revoked.txt")).unwrap();
    eventually("the pipe is refused", || gateway.stderr().contains("is not loaded: it cannot be"));
    assert_eq!(status(&gateway, "a"), 401, "the old list stays");
    fs::write(at("next"), "jti:b\njti:c\n").unwrap();
    fs::rename(at("next"), at("revoked.txt")).unwrap();
    eventually("the next list", || gateway.stderr().contains("2 entries of idp loaded"));
    assert_eq!((status(&gateway, "a"), status(&gateway, "b")), (200, 401));
}

#[test]
fn a_reload_takes_a_list_that_went_back_to_what_it_was() {
    let gateway = gateway(CONFIG).file("revoked.txt", "jti:a\n").start();
    let file = gateway.folder.path().join("revoked.txt");
    fs::write(&file, "jti:b\njti:c\n").unwrap();
    eventually("the next list", || gateway.stderr().contains("2 entries of idp loaded"));
    assert_eq!((status(&gateway, "a"), status(&gateway, "b")), (200, 401));
    fs::write(&file, "jti:a\n").unwrap();
    gateway.signal("HUP");
    eventually("the first list again", || status(&gateway, "a") == 401);
    assert_eq!(status(&gateway, "b"), 200);
}
