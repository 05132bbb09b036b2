//! Whole configurations, read into their types. Values of the language never depend on the machine here.

use std::time::Duration;

use super::*;
use crate::config::testing::World;

/// The dashboard of CONFIG.md, without what this version does not know.
const DASHBOARD: &str = r#"
workers = "0-1"
[[listen]]
address = "0.0.0.0:8443"
[upstream.user]
endpoints = ["10.0.0.11:8080", { address = "10.0.0.12:8080", weight = 3 }]
[upstream.order]
endpoints = ["unix:/run/order.sock"]
timeout = { first_byte = "2s" }
[jwt.idp]
jwks = "keys/jwks.json"
issuer = ["https://idp.internal"]
audience = "dashboard"
[limit.per_user]
rate = "50/s"
key = "{jwt.sub}"
[default]
timeout = "2s"
jwt = "idp"
[[route]]
match = "GET api.Example.com/dashboard"
limit = "per_user"
timeout = "800ms"
[route.merge]
user = { get = "user  /users/{jwt.sub}" }
orders = { get = "order /orders?user={jwt.sub}", timeout = "300ms", else = [] }
[[route]]
match = "/orders/{*rest}"
forward = "order /{*rest}"
jwt = "none"
body_max = "1MB"
"#;

fn good(text: &str) -> Config {
    let (config, diagnostics) = parse(&[("conf/ringway.toml", text)], &World::default());
    assert!(diagnostics.is_empty(), "{}", diagnostics.render());
    config
}

#[test]
fn the_dashboard_has_the_meaning_of_the_reference() {
    let config = good(DASHBOARD);
    assert_eq!(config.workers.value, Workers::Cores(vec![0, 1]));
    assert_eq!(config.upstreams[0].endpoints[1].weight, 3);
    assert_eq!(config.upstreams[1].timeout.first_byte, Duration::from_secs(2));
    let KeySource::JwksFile(path) = &config.jwts[0].keys.value else { panic!("a file") };
    assert_eq!(path, Path::new("conf/keys/jwks.json"));
    assert_eq!(config.limits[0].burst, 50);
    let dashboard = &config.routes[0];
    let Target::Merge(parts) = &dashboard.target else { panic!("a merge") };
    assert_eq!(parts[0].call.upstream.value, "user");
    assert_eq!(parts[0].call.target.as_ref().map(|t| t.value.as_str()), Some("/users/{jwt.sub}"));
    assert_eq!(parts[1].fallback.as_ref().map(|f| f.value.to_string()).as_deref(), Some("[]"));
}

#[test]
fn a_route_stands_before_the_default_and_the_default_before_the_language() {
    let config = good(DASHBOARD);
    let [dashboard, orders] = config.routes.as_slice() else { panic!("two routes") };
    assert_eq!(dashboard.policies.jwt.first().map(|jwt| jwt.value.as_str()), Some("idp"));
    assert_eq!(dashboard.policies.timeout.value, Duration::from_millis(800));
    assert_eq!(dashboard.policies.body_bytes_max.value, defaults::BODY_BYTES_MAX);
    assert!(dashboard.policies.body_bytes_max.span.is_built_in());
    assert!(orders.policies.jwt.is_empty(), "opened by name");
    assert_eq!(orders.policies.timeout.value, Duration::from_secs(2));
    assert_eq!(orders.policies.body_bytes_max.value, 1_000_000);
}

#[test]
fn a_secret_is_in_no_debug_output() {
    let secret = "0123456789abcdef0123456789abcdef";
    let text = format!(
        "[[listen]]\naddress = \"0.0.0.0:1\"\n[jwt.a]\nsecret = \"{secret}\"\n[[route]]\nmatch = \"/\"\nrespond = {{}}"
    );
    let config = good(&text);
    assert!(!format!("{config:?}").contains(secret));
    let KeySource::Secret(kept) = &config.jwts[0].keys.value else { panic!("a secret") };
    assert_eq!(kept.expose(), secret);
}

#[test]
fn substituted_values_have_the_type_that_is_asked_for() {
    let world = World::default().variable("N", "7");
    let text = "workers = \"${N}\"\n[[listen]]\naddress = \"0.0.0.0:1\"\n[limit.a]\nrate = \"${N}/m\"\nburst = \"${N}\"\nkey = \"x\"\n[[route]]\nmatch = \"/\"\nrespond = { status = \"20${N}\" }";
    let (config, diagnostics) = parse(&[("a.toml", text)], &world);
    assert!(diagnostics.is_empty(), "{}", diagnostics.render());
    assert_eq!(config.workers.value, Workers::Count(7));
    assert_eq!(config.limits[0].burst, 7);
    assert!(matches!(&config.routes[0].target, Target::Respond(respond) if respond.status == 207));
}

#[test]
fn a_template_is_pointed_into() {
    let (config, diagnostics) = parse(&[("a.toml", DASHBOARD)], &World::default());
    let Target::Merge(parts) = &config.routes[0].target else { panic!("a merge") };
    let target = parts[1].call.target.as_ref().expect("a path");
    let at = target.value.find("jwt.sub").expect("there");
    let span = diagnostics.sources.inside(target, at..at + 7);
    assert_eq!(diagnostics.sources.slice(span), "jwt.sub");
}

#[test]
fn tests_are_read_only_for_those_who_ask() {
    let text = "[[listen]]\naddress = \"127.0.0.1:1\"\n[[route]]\nmatch = \"/\"\nrespond = {}\n[[test]]\nnmae = 1";
    let around = World::default().file("ringway.toml", text);
    let path = Path::new("ringway.toml");
    let (config, found) = load(path, &around);
    assert!(found.is_empty() && config.tests.is_empty(), "{}", found.render());
    let (_, found) = load_with_tests(path, &around);
    assert!(found.has_errors());
}
