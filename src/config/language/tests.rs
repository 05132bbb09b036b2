//! The table of keys against the readers, the defaults and the schema; a key never stands there for show.

use serde_json::Value;

use super::*;
use crate::config::schema::Key;
use crate::config::testing::World;
use crate::config::{defaults, json_schema, parse, units};

/// A value that no key of the language takes.
const DATE: &str = "1979-05-27";

/// Where a section stands: the text before one of its keys, and behind it.
const PLACES: &[(&Section, &str, &str)] = &[
    (&ROOT, "", ""),
    (&LISTEN, "[[listen]]\n", ""),
    (&PATH, "[[listen]]\n[listen.path]\n", ""),
    (&LIMITS, "[[listen]]\n[listen.limits]\n", ""),
    (&LISTEN_TIMEOUT, "[[listen]]\n[listen.timeout]\n", ""),
    (&LISTEN_TLS, "[[listen]]\n[listen.tls]\n", ""),
    (&CLIENT_CERTIFICATES, "[[listen]]\n[listen.tls.client]\n", ""),
    (&SERVED_CERTIFICATE, "[[listen]]\n[[listen.tls.certificates]]\n", ""),
    (&ACME, "[acme]\n", ""),
    (&EXTERNAL_ACCOUNT, "[acme.external_account]\n", ""),
    (&CERTIFICATE, "[upstream.a.tls.certificate]\n", ""),
    (&UPSTREAM_TLS, "[upstream.a.tls]\n", ""),
    (&UPSTREAM, "[upstream.a]\n", ""),
    (&ENDPOINT, "[upstream.a]\nendpoints = [{ ", " }]"),
    (&UPSTREAM_TIMEOUT, "[upstream.a.timeout]\n", ""),
    (&POOL, "[upstream.a.pool]\n", ""),
    (&JWT, "[jwt.a]\n", ""),
    (&REVOKED_STORE, "[jwt.a.revoked_store]\n", ""),
    (&API_KEY, "[api_key.a]\n", ""),
    (&BASIC, "[basic.a]\n", ""),
    (&AUTH_REQUEST, "[auth_request.a]\n", ""),
    (&AUTH_CACHE, "[auth_request.a.cache]\n", ""),
    (&LIMIT, "[limit.a]\n", ""),
    (&DEFAULT, "[default]\n", ""),
    (&CONCURRENCY, "[[route]]\n[route.concurrency]\n", ""),
    (&BANDWIDTH, "[[route]]\n[route.bandwidth]\n", ""),
    (&REDIS, "[redis]\n", ""),
    (&ALLOW_ALL, "[[route]]\n[route.allow.role]\n", ""),
    (&ALLOW_CERT, "[default]\nallow = { client_cert = { ", " } }"),
    (&CACHE, "[cache]\n", ""),
    (&ROUTE_CACHE, "[default.cache]\n", ""),
    (&CACHE_KEY, "[default.cache.key]\n", ""),
    (&ROUTE_TIMEOUT, "[default.timeout]\n", ""),
    (&ROUTE, "[[route]]\n", ""),
    (&WHEN, "[[route]]\n[route.when]\n", ""),
    (&PASS, "[[route]]\n[route.pass]\n", ""),
    (&REDIRECT, "[[route]]\n[route.redirect]\n", ""),
    (&RESPOND, "[[route]]\n[route.respond]\n", ""),
    (&PART, "[[route]]\n[route.merge.a]\n", ""),
    (&EACH, "[[route]]\n[route.merge.a.each]\n", ""),
    (&HEDGE, "[default]\n[default.hedge]\n", ""),
    (&PART_CACHE, "[[route]]\n[route.merge.a.cache]\n", ""),
    (&VIEW, "[[route]]\n[route.view.a]\n", ""),
    (&VIEW_WHEN, "[[route]]\n[route.view.a.when]\n", ""),
    (&TEST, "[[test]]\n", ""),
    (&TEST_REQUEST, "[[test]]\n[test.request]\n", ""),
    (&TEST_ANSWER, "[[test]]\nrequest = {}\n[test.upstream.a]\n", ""),
    (&TEST_EXPECT, "[[test]]\n[test.expect]\n", ""),
    (&TEST_SENT, "[[test]]\n[test.expect.sent.a]\n", ""),
    (&TEST_STEP, "[[test]]\n[[test.steps]]\n", ""),
    (&ADMIN, "[admin]\n", ""),
    (&OBSERVE, "[observe]\n", ""),
    (&ACCESS_LOG, "[observe.access_log]\n", ""),
    (&LOG_FIELDS, "[observe.access_log.fields]\n", ""),
    (&LOG_ONLY, "[observe.access_log.only]\n", ""),
    (&OTLP, "[observe.otlp]\n", ""),
    (&CORS, "[default.cors]\n", ""),
    (&COMPRESS, "[default.compress]\n", ""),
    (&REQUEST_EDITS, "[default.request_headers]\n", ""),
    (&RESPONSE_EDITS, "[default.response_headers]\n", ""),
    (&MAINTENANCE, "[default.maintenance]\n", ""),
    (&MIRROR, "[default.mirror]\n", ""),
];

fn errors_at_the_value(before: &str, key: &Key, behind: &str) -> Vec<String> {
    let text = format!("{before}{} = {DATE}{behind}\n", key.name);
    let (_, diagnostics) = parse(&[("a.toml", &text)], &World::default());
    let at_value = diagnostics.iter().filter(|one| {
        let slice = diagnostics.sources.slice(one.primary.span);
        slice == DATE || slice == key.name
    });
    at_value.map(|one| one.message.clone()).collect()
}

#[test]
fn no_key_is_ignored_in_silence() {
    for (section, before, behind) in PLACES {
        for key in section.keys.iter().filter(|key| !matches!(key.shape, Shape::Json)) {
            let errors = errors_at_the_value(before, key, behind);
            assert!(!errors.is_empty(), "`{}` of {} is not read", key.name, section.title);
            let refused =
                errors.iter().any(|error| error.contains("not supported by this version"));
            assert_eq!(refused, !key.is_supported(), "`{}` of {}", key.name, section.title);
        }
    }
}

#[test]
fn every_section_of_the_schema_has_its_place() {
    let schema: Value = serde_json::from_str(&json_schema()).expect("is JSON");
    let sections = schema["$defs"].as_object().expect("definitions").len() + 1;
    assert_eq!(sections, PLACES.len());
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    let text = json_schema();
    let schema: Value = serde_json::from_str(&text).expect("is JSON");
    let references = text.split("\"$ref\": \"#").skip(1);
    let mut count = 0;
    for reference in references {
        let pointer = reference.split('"').next().unwrap_or("");
        let pointer = pointer.replace("%5B", "[").replace("%5D", "]").replace("%20", " ");
        assert!(schema.pointer(&pointer).is_some_and(Value::is_object), "{pointer}");
        count += 1;
    }
    assert!(count >= PLACES.len() - 1);
}

#[test]
fn defaults_in_words_are_the_defaults_in_numbers() {
    let word = |section: &Section, key: &str| {
        section.key(key).expect("a key").default.trim_matches(['`', '"']).to_owned()
    };
    let duration = |section, key| units::duration(&word(section, key)).expect("a duration");
    let bytes = |section, key| units::bytes(&word(section, key)).expect("a size");
    let number = |section, key| word(section, key).parse::<u64>().expect("a number");
    assert_eq!(duration(&ROOT, "drain_timeout"), defaults::DRAIN_TIMEOUT);
    assert_eq!(bytes(&LIMITS, "head_bytes_max"), defaults::HEAD_BYTES_MAX);
    assert_eq!(bytes(&LIMITS, "target_bytes_max"), defaults::TARGET_BYTES_MAX);
    assert_eq!(number(&LIMITS, "fields_max"), defaults::FIELDS_MAX as u64);
    assert_eq!(number(&LIMITS, "connections_max"), defaults::CONNECTIONS_MAX as u64);
    assert_eq!(bytes(&LIMITS, "body_rate_min"), defaults::BODY_RATE_MIN);
    let per_client = number(&LIMITS, "connections_per_client_max");
    assert_eq!(per_client, defaults::CONNECTIONS_PER_CLIENT_MAX as u64);
    assert_eq!(duration(&LISTEN_TIMEOUT, "head"), defaults::HEAD_TIMEOUT);
    assert_eq!(duration(&LISTEN_TIMEOUT, "body"), defaults::BODY_TIMEOUT);
    assert_eq!(duration(&LISTEN_TIMEOUT, "idle"), defaults::IDLE_TIMEOUT);
    assert_eq!(duration(&UPSTREAM_TIMEOUT, "connect"), defaults::CONNECT_TIMEOUT);
    assert_eq!(duration(&UPSTREAM_TIMEOUT, "first_byte"), defaults::FIRST_BYTE_TIMEOUT);
    assert_eq!(duration(&UPSTREAM_TIMEOUT, "idle"), defaults::UPSTREAM_IDLE_TIMEOUT);
    assert_eq!(number(&POOL, "idle_max"), defaults::POOL_IDLE_MAX as u64);
    assert_eq!(duration(&POOL, "idle_timeout"), defaults::POOL_IDLE_TIMEOUT);
    assert_eq!(number(&UPSTREAM, "retry"), u64::from(defaults::RETRIES));
    assert_eq!(number(&ENDPOINT, "weight"), u64::from(defaults::WEIGHT));
    assert_eq!(duration(&JWT, "leeway"), defaults::JWT_LEEWAY);
    assert_eq!(duration(&JWT, "refresh"), defaults::JWKS_REFRESH);
    assert_eq!(number(&LIMIT, "keys_max"), defaults::LIMIT_KEYS_MAX as u64);
    assert_eq!(duration(&DEFAULT, "timeout"), defaults::TOTAL_TIMEOUT);
    assert_eq!(duration(&ROUTE_TIMEOUT, "total"), defaults::TOTAL_TIMEOUT);
    assert_eq!(bytes(&DEFAULT, "buffer_request"), defaults::BUFFER_REQUEST);
    assert_eq!(duration(&ROUTE_TIMEOUT, "tunnel_idle"), defaults::TUNNEL_IDLE_TIMEOUT);
    assert_eq!([word(&DEFAULT, "upgrade").as_str()], defaults::UPGRADES);
    assert_eq!(bytes(&DEFAULT, "body_max"), defaults::BODY_BYTES_MAX);
    assert_eq!(number(&REDIRECT, "status"), u64::from(defaults::REDIRECT_STATUS));
    assert_eq!(number(&RESPOND, "status"), u64::from(defaults::RESPOND_STATUS));
    assert_eq!(word(&ADMIN, "address"), defaults::admin_address().to_string());
}
