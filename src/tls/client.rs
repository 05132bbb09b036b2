//! The rules for sessions with origins: whom to believe, whom to expect, what to prove.
//!
//! An origin's chain and name are always checked; a pin is asked for on top and never instead. Each core keeps
//! the sessions that it may take up again for itself (RFC 8446 §2.2).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::base::limits::TLS_ORIGIN_SESSIONS_MAX;
use crate::tls::{VersionMin, certificate, client_provider};

/// A chain and its private key.
pub type Proof = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What an upstream's TLS is made of.
pub struct OriginRules {
    /// Whose signatures are believed.
    pub roots: Vec<CertificateDer<'static>>,
    /// The name that the origin must prove, and is asked for; without one it is the endpoint's address.
    pub name: Option<ServerName<'static>>,
    /// SHA-256 of keys of which the origin must have one; empty: not asked for.
    pub pins: Vec<[u8; 32]>,
    /// What we prove, with the key.
    pub proof: Option<Proof>,
    /// The oldest version.
    pub version_min: VersionMin,
    /// SHA-256 of all that decides about these rules: two with the same one are the same.
    pub digest: [u8; 32],
}

/// TLS towards one upstream, compiled.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    digest: [u8; 32],
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// From rules.
    ///
    /// # Errors
    /// In words: no root can be used, or the key is not the certificate's.
    pub fn new(rules: OriginRules) -> Result<Self, String> {
        let provider = client_provider();
        let mut roots = RootCertStore::empty();
        // A system store has certificates that cannot be used; one that can is enough.
        let (usable, _) = roots.add_parsable_certificates(rules.roots);
        if usable == 0 {
            return Err("there is no root certificate that can be used".to_owned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        let chain = verifier.build().map_err(|error| error.to_string())?;
        let verifier = Arc::new(Pinned { chain, pins: rules.pins });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rules.version_min.versions())
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match rules.proof {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| "the key does not belong to the certificate".to_owned())?,
        };
        Ok(Self { config: Arc::new(config), name: rules.name, digest: rules.digest })
    }

    /// The same for one core, which keeps its sessions for itself.
    #[must_use]
    pub fn of_core(&self) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::in_memory_sessions(TLS_ORIGIN_SESSIONS_MAX);
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// A session with the endpoint at `address` that has not begun; `offer` are the protocols that are spoken behind it,
    /// the preferred first (RFC 7301). `None` when the machine has no randomness.
    pub fn begin(
        &self,
        address: Option<IpAddr>,
        offer: &[&[u8]],
    ) -> Option<UnbufferedClientConnection> {
        let by_address = || address.map(|address| ServerName::IpAddress(address.into()));
        let name = self.name.clone().or_else(by_address)?;
        let offer = offer.iter().map(|protocol| protocol.to_vec()).collect();
        UnbufferedClientConnection::new_with_alpn(self.config.clone(), name, offer).ok()
    }
}

/// Checks chain and name as everybody does, and then the pins.
#[derive(Debug)]
struct Pinned {
    chain: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let key = || certificate::read(end_entity).map(|facts| facts.key_sha256);
        if self.pins.is_empty() || key().is_some_and(|key| self.pins.contains(&key)) {
            return Ok(verified);
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
