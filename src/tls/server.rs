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
    Acceptor, ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions,
    UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use crate::base::limits::TLS_SESSIONS_KEPT_MAX;
use crate::tls::certificate::Facts;
use crate::tls::challenge::PROTOCOL;
use crate::tls::resolver::Certificates;
use crate::tls::{VersionMin, server_provider};

/// What a listener's TLS is made of.
pub struct ServerRules<'a> {
    /// Certificates with the names they are for, in the order of the file.
    pub certificates: &'a [(Vec<String>, Arc<CertifiedKey>)],
    /// Names whose certificates are yet to be obtained, in lower case.
    pub awaited: &'a [String],
    /// Whether clients that ask for another name are refused.
    pub refuses_unknown: bool,
    /// The oldest version.
    pub version_min: VersionMin,
    /// Suites by name; empty for all.
    pub suites: &'a [String],
    /// Which clients come in by which name: the first that fits the name decides, the last fits all.
    pub doors: Vec<DoorRules>,
}

/// Whose client certificates are believed by whoever asks for these hosts.
pub struct DoorRules {
    /// The hosts, in lower case; `*.example.com` stands for one label. Empty: all.
    pub hosts: Vec<String>,
    /// `None`: clients are asked for nothing.
    pub clients: Option<ClientRules>,
    /// The keys of its tickets.
    pub tickets: Tickets,
    /// What tells apart whom it believes; equal where the same is asked for.
    pub scope: ProofScope,
}

/// Client certificates.
pub struct ClientRules {
    /// Whose signatures are believed.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether there must be one.
    pub required: bool,
}

/// Stands for what was asked of a client in its handshake: a digest of roots and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProofScope(pub [u8; 32]);

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
    doors: Arc<[Door]>,
    /// Whether clients may show certificates.
    pub asks_clients: bool,
    /// What its certificates say.
    pub facts: Box<[Facts]>,
}

/// One set of rules, for some hosts.
struct Door {
    hosts: Box<[String]>,
    config: Arc<ServerConfig>,
    scope: ProofScope,
}

impl Door {
    fn is_for(&self, name: &str) -> bool {
        let behind = name.split_once('.').map(|(_, behind)| behind);
        let fits = |host: &String| match host.strip_prefix("*.") {
            Some(all) => behind.is_some_and(|behind| behind.eq_ignore_ascii_case(all)),
            None => host.eq_ignore_ascii_case(name),
        };
        self.hosts.is_empty() || self.hosts.iter().any(fits)
    }
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
    pub fn new(rules: ServerRules<'_>, facts: Box<[Facts]>, alpn: &[&str]) -> Result<Self, String> {
        let certificates =
            Certificates::new(rules.certificates, rules.awaited, rules.refuses_unknown);
        let certificates = Arc::new(certificates);
        let asks_clients = rules.doors.iter().any(|door| door.clients.is_some());
        let (suites, version_min) = (rules.suites, rules.version_min);
        let door = |door: DoorRules| {
            let DoorRules { hosts, clients, tickets, scope } = door;
            let mut config = config(suites, version_min, clients, certificates.clone())?;
            config.ticketer = tickets.tickets;
            config.session_storage = tickets.sessions;
            // Our order of suites holds.
            config.ignore_client_order = true;
            // One is enough for one more connection, and that one brings the next.
            config.send_tls13_tickets = 1;
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            Ok(Door { hosts: hosts.into(), config: Arc::new(config), scope })
        };
        let doors = rules.doors.into_iter().map(door).collect::<Result<Vec<_>, String>>()?;
        Ok(Self { doors: doors.into(), asks_clients, facts })
    }

    /// Whether the name that a client asks for decides what it is asked for.
    pub fn needs_name(&self) -> bool {
        self.doors.len() > 1
    }

    /// What is asked of clients that come for this host.
    pub fn scope(&self, host: &str) -> ProofScope {
        self.door(host).map_or_else(ProofScope::default, |door| door.scope)
    }

    fn door(&self, host: &str) -> Option<&Door> {
        let host = host.trim_end_matches('.');
        self.doors.iter().find(|door| door.is_for(host))
    }

    /// A session that has not begun, with a client that asks for this name, and what it will have proven;
    /// `None` when the machine has no randomness.
    pub fn begin(&self, name: &str) -> Option<(UnbufferedServerConnection, ProofScope)> {
        let door = self.door(name)?;
        Some((UnbufferedServerConnection::new(door.config.clone()).ok()?, door.scope))
    }
}

fn config(
    suites: &[String],
    version_min: VersionMin,
    clients: Option<ClientRules>,
    certificates: Arc<Certificates>,
) -> Result<ServerConfig, String> {
    let provider = server_provider(suites);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(version_min.versions())
        .map_err(|_| "the suites that are named belong to none of the versions".to_owned())?;
    let builder = match clients {
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
    Ok(builder.with_cert_resolver(certificates))
}

/// What a client's greeting says, as far as it is here.
#[derive(Default)]
pub struct Greeting(Acceptor);

/// What decides about the rules of a handshake.
#[derive(Default)]
pub struct Hello {
    /// The name that the client asks for; empty for none.
    pub name: String,
    /// Whether it is an authority's that looks whether the name is ours: it offers that protocol and no other
    /// (RFC 8737 §3).
    pub is_challenge: bool,
}

impl Greeting {
    /// Looks at further bytes of the greeting: `None` while more of it must come. A client that names nobody, and what
    /// is no greeting, says nothing: the handshake itself says what is wrong with it.
    pub fn hello(&mut self, mut bytes: &[u8]) -> Option<Hello> {
        while !bytes.is_empty() {
            if !matches!(self.0.read_tls(&mut bytes), Ok(1..)) {
                return Some(Hello::default());
            }
            match self.0.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let mut offered = hello.alpn().into_iter().flatten();
                    return Some(Hello {
                        name: hello.server_name().unwrap_or("").to_owned(),
                        is_challenge: offered.next() == Some(PROTOCOL) && offered.next().is_none(),
                    });
                }
                Ok(None) => {}
                Err(_) => return Some(Hello::default()),
            }
        }
        None
    }
}

/// Why a key cannot be used with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The key's kind or size is not supported.
    Kind,
    /// It is another certificate's.
    OtherKey,
    /// The certificate is older than X.509 version 3.
    Version,
}

impl Unfit {
    /// The sentence of an error.
    pub fn what(self) -> &'static str {
        match self {
            Self::Kind => "the key is of a kind that cannot be used",
            Self::OtherKey => "the key does not belong to the certificate",
            Self::Version => "the certificate cannot be used: it has to be X.509 of version 3",
        }
    }
}

impl From<Unfit> for &'static str {
    fn from(unfit: Unfit) -> Self {
        unfit.what()
    }
}

/// A certificate chain with its key, ready to be shown.
///
/// # Errors
/// The key cannot be used, or is another certificate's.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ocsp: Option<Vec<u8>>,
) -> Result<CertifiedKey, Unfit> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|_| Unfit::Kind)?;
    let mut certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Unfit::OtherKey,
        _ => Unfit::Version,
    })?;
    certified.ocsp = ocsp;
    Ok(certified)
}
