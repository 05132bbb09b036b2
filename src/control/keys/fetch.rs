//! One fetch of a key set: from a file, from a URL, or from where the issuer says (OpenID Connect Discovery 1.0 §4).
//!
//! It never takes an issuer's word for another issuer: the `issuer` of its metadata is compared to the letter
//! (§4.3), or whoever can put a document on one host could speak for all. An `https` issuer never leads to
//! `http`. Nothing of an answer is told on, only what kind of failure it was.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::base::limits::{KEY_FETCH_TIME_MAX, KEY_SET_BYTES_MAX};
use crate::control::keys::{FetchError, KeyOrigin};
use crate::control::lists;

/// Redirects followed by one fetch; issuers move their key set once at most.
const REDIRECTS_MAX: u32 = 3;
/// Where an issuer's metadata is, behind its URL (§4: a slash at its end is taken off first).
const METADATA: &str = "/.well-known/openid-configuration";

/// A text as it came, and for how long its sender calls it fresh.
pub(super) struct Fetched {
    /// The text.
    pub(super) text: Vec<u8>,
    /// `max-age` of Cache-Control (RFC 9111 §5.2.2.1).
    pub(super) fresh_for: Option<Duration>,
}

/// Fetches from one place, again and again.
#[derive(Default)]
pub(super) struct Fetcher {
    agent: Option<Agent>,
    /// Where the issuer said last that its keys are: it holds while its metadata cannot be had.
    jwks_uri: Option<String>,
}

impl Fetcher {
    /// One fetch.
    pub(super) fn fetch(&mut self, from: &KeyOrigin) -> Result<Fetched, FetchError> {
        match from {
            KeyOrigin::Fixed => Err(FetchError::Answer),
            KeyOrigin::File(path) => Ok(Fetched { text: read(path)?, fresh_for: None }),
            KeyOrigin::Url(url) => self.get(url, url),
            KeyOrigin::Discovery(issuer) => {
                let found = self.get(issuer, &metadata_url(issuer));
                match found.and_then(|metadata| jwks_uri(&metadata.text, issuer)) {
                    Ok(uri) => self.jwks_uri = Some(uri),
                    // A wrong answer is no outage: who may speak for the issuer is not clear then.
                    Err(why @ FetchError::Metadata) => return Err(why),
                    Err(why) if self.jwks_uri.is_none() => return Err(why),
                    Err(_) => {}
                }
                let uri = self.jwks_uri.clone().ok_or(FetchError::Metadata)?;
                self.get(issuer, &uri)
            }
        }
    }

    /// `url`, by a client that is as strict as the operator's own URL asks for.
    fn get(&mut self, configured: &str, url: &str) -> Result<Fetched, FetchError> {
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => agent(configured.starts_with("https://"))?,
        };
        let fetched = get(&agent, url);
        self.agent = Some(agent);
        fetched
    }
}

fn metadata_url(issuer: &str) -> String {
    format!("{}{METADATA}", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Where an issuer says that its keys are.
fn jwks_uri(text: &[u8], issuer: &str) -> Result<String, FetchError> {
    let metadata: Value = serde_json::from_slice(text).map_err(|_| FetchError::Metadata)?;
    let says = |name: &str| metadata.get(name).and_then(Value::as_str);
    if says("issuer") != Some(issuer) {
        return Err(FetchError::Metadata);
    }
    let uri = says("jwks_uri").ok_or(FetchError::Metadata)?;
    let secure = uri.starts_with("https://");
    let fits = secure || (uri.starts_with("http://") && !issuer.starts_with("https://"));
    if fits { Ok(uri.to_owned()) } else { Err(FetchError::Metadata) }
}

fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |error: std::io::Error| FetchError::File(error.kind());
    let file = lists::open(path).map_err(failed)?;
    let mut text = Vec::new();
    // One byte more than is allowed, so that a longer file is seen to be too long.
    file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// A client for one source. Over `https` it trusts the system's root certificates.
fn agent(secure: bool) -> Result<Agent, FetchError> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(KEY_FETCH_TIME_MAX))
        .max_redirects(REDIRECTS_MAX)
        .https_only(secure)
        .max_idle_connections(0)
        .accept("application/jwk-set+json, application/json")
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")));
    if secure {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<Certificate<'static>> =
            found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        if roots.is_empty() {
            return Err(FetchError::Tls);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().new_agent())
}

fn get(agent: &Agent, url: &str) -> Result<Fetched, FetchError> {
    let mut response = agent.get(url).call().map_err(failure)?;
    if response.status() != 200 {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let control = response.headers().get("cache-control").and_then(|value| value.to_str().ok());
    let fresh_for = control.and_then(max_age);
    let body = response.body_mut().with_config().limit(KEY_SET_BYTES_MAX as u64);
    Ok(Fetched { text: body.read_to_vec().map_err(failure)?, fresh_for })
}

fn max_age(control: &str) -> Option<Duration> {
    control.split(',').find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

/// The kind of a failure, without the text that an issuer could have put into it.
fn failure(error: ureq::Error) -> FetchError {
    match error {
        ureq::Error::StatusCode(status) => FetchError::Status(status),
        ureq::Error::Timeout(_) => FetchError::Timeout,
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::RequireHttpsOnly(_) => FetchError::Connection,
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => FetchError::Tls,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            FetchError::Tls
        }
        ureq::Error::Io(_) => FetchError::Connection,
        _ => FetchError::Answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_of_the_metadata_is_compared_to_the_letter() {
        let says = |issuer: &str, uri: &str| {
            format!("{{\"issuer\":\"{issuer}\",\"jwks_uri\":\"{uri}\"}}").into_bytes()
        };
        let here = "https://idp.test";
        let good = says(here, "https://keys.test/jwks");
        assert_eq!(jwks_uri(&good, here).as_deref(), Ok("https://keys.test/jwks"));
        for bad in [
            says("https://idp.test/", "https://idp.test/jwks"),
            says("https://IDP.test", "https://idp.test/jwks"),
            says("https://evil.test", "https://idp.test/jwks"),
            says(here, "http://idp.test/jwks"),
            says(here, "file:///etc/passwd"),
            b"{\"issuer\":\"https://idp.test\"}".to_vec(),
            b"<html>".to_vec(),
        ] {
            assert_eq!(jwks_uri(&bad, here), Err(FetchError::Metadata));
        }
    }

    #[test]
    fn metadata_is_behind_the_issuer_without_its_last_slash() {
        let at = "https://idp.test/realms/a/.well-known/openid-configuration";
        assert_eq!(metadata_url("https://idp.test/realms/a"), at);
        assert_eq!(metadata_url("https://idp.test/realms/a/"), at);
    }

    #[test]
    fn max_age_is_found_among_other_directives() {
        assert_eq!(max_age("public, Max-Age=600, x"), Some(Duration::from_secs(600)));
        assert_eq!(max_age("s-maxage=1, no-store"), None);
        assert_eq!(max_age("max-age=soon"), None);
    }
}
