//! HTTP towards the authority: a blocking client under a library that asks for an asynchronous one.
//!
//! Each request is made when the library asks for it, on the thread of certificates, and its future is ready when it is
//! given out; so nothing ever waits inside a future, and no runtime is needed to drive one. Every request and answer is
//! bounded in time and bytes.

use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::base::limits::{ACME_ANSWER_BYTES_MAX, ACME_REQUEST_TIME_MAX};
use crate::http::date;
use crate::runtime::clock;

/// The client, and what the last answer asked for.
#[derive(Clone)]
pub struct Web {
    agent: Agent,
    /// `Retry-After` of the last answer, in seconds.
    retry_after: Arc<Mutex<Option<u64>>>,
}

impl Web {
    /// A client that believes these roots, or those of the system.
    ///
    /// # Errors
    /// In words: the system has none.
    pub fn new(roots: Option<&[Vec<u8>]>) -> Result<Self, String> {
        let system;
        let roots = match roots {
            Some(roots) => roots,
            None => {
                let found = rustls_native_certs::load_native_certs();
                system = found.certs.into_iter().map(|root| root.to_vec()).collect::<Vec<_>>();
                &system
            }
        };
        if roots.is_empty() {
            return Err("this machine has no root certificates to check the authority's server by (Debian: `apt install ca-certificates`)".to_owned());
        }
        let roots: Vec<Certificate<'static>> =
            roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(ACME_REQUEST_TIME_MAX))
            .max_redirects(0)
            .https_only(true)
            .http_status_as_error(false)
            .tls_config(tls);
        Ok(Self { agent: config.build().new_agent(), retry_after: Arc::default() })
    }

    /// For how long the last answer asked to be left alone. Unit: seconds.
    pub fn retry_after(&self) -> Option<u64> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let failed = |why: String| Error::Other(Box::new(io::Error::other(why)));
        let (mut parts, body) = request.into_parts();
        // The library lends no other way to what it wrote.
        let mut body = BytesResponse::from(Response::new(body)).body;
        let body = now(body.into_bytes()).map_err(Error::Other)?;
        let ours = concat!("ringway/", env!("CARGO_PKG_VERSION"), " instant-acme");
        parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(ours));
        let place = parts.uri.to_string();
        let request = Request::from_parts(parts, body.to_vec());
        let answer = self.agent.run(request);
        let answer = answer.map_err(|error| failed(format!("{place}: {error}")))?;
        let (parts, mut body) = answer.into_parts();
        let asked = asked(&parts.headers, clock::wall().as_secs());
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        let body = body.with_config().limit(ACME_ANSWER_BYTES_MAX as u64).read_to_vec();
        let body = body.map_err(|error| failed(format!("{place}: {error}")))?;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if parts.status.as_u16() >= 400 && !kind.contains("json") {
            // What is no problem document (RFC 8555 §6.7) comes from something in front of the authority.
            return Err(failed(format!("{place} answered {}", parts.status)));
        }
        Ok(BytesResponse::from(Response::from_parts(parts, BodyWrapper::from(body))))
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(ready(self.send(request)))
    }
}

/// Seconds of `Retry-After` (RFC 9110 §10.2.3): a number, or a date.
fn asked(headers: &HeaderMap, now: u64) -> Option<u64> {
    let value = headers.get(header::RETRY_AFTER)?.as_bytes().trim_ascii();
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.or_else(|| date::parse(value, now).map(|at| at.saturating_sub(now)))
}

/// What a future has that waits for nothing.
///
/// # Panics
/// It waits. Nothing that is driven here does: the client above has every answer before it gives out a future.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => {
            unreachable!("a future of the authority's client waits for something else")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let asks = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            asked(&headers, 784_111_777)
        };
        assert_eq!(asks("120"), Some(120));
        assert_eq!(asks("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(asks("soon"), None);
        assert_eq!(asked(&HeaderMap::new(), 0), None);
    }
}
