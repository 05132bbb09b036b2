//! The rules for sessions with clients: one set for each listener that speaks TLS.
//!
//! Keys of tickets live longer than a version of the configuration, so that a reload ends nobody's session, and
//! are shared by all cores. They are never shared by listeners that ask for different client certificates: a
//! ticket stands for the proof that was given when it was made (the mistake of CVE-2025-23419).

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions,
    UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use crate::base::limits::TLS_SESSIONS_KEPT_MAX;
use crate::tls::certificate::Facts;
use crate::tls::resolver::Certificates;
use crate::tls::{VersionMin, server_provider};

/// What a listener's TLS is made of.
pub struct ServerRules<'a> {
    /// Certificates with the names they are for, in the order of the file.
    pub certificates: &'a [(Vec<String>, Arc<CertifiedKey>)],
    /// Whether clients that ask for another name are refused.
    pub refuses_unknown: bool,
    /// The oldest version.
    pub version_min: VersionMin,
    /// Suites by name; empty for all.
    pub suites: &'a [String],
    /// Whose client certificates are believed.
    pub clients: Option<ClientRules>,
}

/// Client certificates.
pub struct ClientRules {
    /// Whose signatures are believed.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether there must be one.
    pub required: bool,
}

/// The keys of tickets, and the sessions of clients that take none.
#[derive(Clone)]
pub struct Tickets {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(***)")
    }
}

impl Tickets {
    /// New keys; they are replaced every six hours and accepted for as long again.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        let sessions = ServerSessionMemoryCache::new(TLS_SESSIONS_KEPT_MAX);
        Ok(Self { tickets: Ticketer::new()?, sessions })
    }
}

/// TLS at one listener, compiled.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// Whether clients may show certificates.
    pub asks_clients: bool,
    /// What its certificates say.
    pub facts: Box<[Facts]>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// From rules; `alpn` are the protocols that are spoken behind it, the preferred first (RFC 7301).
    ///
    /// # Errors
    /// In words: suites that no version has, roots that are none.
    pub fn new(
        rules: ServerRules<'_>,
        facts: Box<[Facts]>,
        tickets: &Tickets,
        alpn: &[&str],
    ) -> Result<Self, String> {
        let provider = server_provider(rules.suites);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rules.version_min.versions())
            .map_err(|_| "the suites that are named belong to none of the versions".to_owned())?;
        let asks_clients = rules.clients.is_some();
        let builder = match rules.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                for root in clients.roots {
                    roots.add(root).map_err(|error| error.to_string())?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier =
                    if clients.required { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certificates = Certificates::new(rules.certificates, rules.refuses_unknown);
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.ticketer = tickets.tickets.clone();
        config.session_storage = tickets.sessions.clone();
        // One is enough for one more connection, and that one brings the next.
        config.send_tls13_tickets = 1;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config), asks_clients, facts })
    }

    /// A session that has not begun; `None` when the machine has no randomness.
    pub fn begin(&self) -> Option<UnbufferedServerConnection> {
        UnbufferedServerConnection::new(self.config.clone()).ok()
    }
}

/// A certificate chain with its key, ready to be shown.
///
/// # Errors
/// In words, without the key: it cannot be used, or is another certificate's.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ocsp: Option<Vec<u8>>,
) -> Result<CertifiedKey, &'static str> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| "the key is of a kind that cannot be used")?;
    let mut certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate",
        _ => "the certificate cannot be used: it has to be X.509 of version 3",
    })?;
    certified.ocsp = ocsp;
    Ok(certified)
}
