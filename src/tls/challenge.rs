//! What cores answer to an authority that looks whether a host is ours (RFC 8555 §8.3, RFC 8737).
//!
//! The control side fills the table while an order is in flight, its own or another replica's, and empties it
//! afterwards; cores only look. A token that is not in flight is answered by nobody here, and a client that asks
//! for the protocol of challenges is never shown an ordinary certificate as the answer to one.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tls::{VersionMin, server_provider};

/// The protocol of a handshake that is a challenge (RFC 8737 §6.2).
pub const PROTOCOL: &[u8] = b"acme-tls/1";
/// Where tokens are asked for (RFC 8555 §8.3).
pub const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// One proof that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The host, in lower case.
    pub host: String,
    /// The token.
    pub token: String,
    /// The token and what stands for the account's key (RFC 8555 §8.1).
    pub key_authorization: String,
    /// Whether it is asked for in a handshake.
    pub by_tls: bool,
}

/// The challenges in flight; the same for the whole life of the process.
#[derive(Default)]
pub struct Challenges(ArcSwapOption<Table>);

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

/// A handful, looked through in turn.
struct Table {
    tokens: Vec<(String, Arc<[u8]>)>,
    handshakes: Vec<(String, Arc<ServerConfig>)>,
}

impl Challenges {
    /// These are in flight, and no others.
    ///
    /// # Errors
    /// In words: a certificate for one of them cannot be made; the others are in flight.
    pub fn publish(&self, all: &[Challenge]) -> Result<(), String> {
        let (by_tls, by_http): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.by_tls);
        let token =
            |one: &Challenge| (one.token.clone(), Arc::from(one.key_authorization.as_bytes()));
        let mut result = Ok(());
        let mut handshakes = Vec::new();
        for one in by_tls {
            match proof(one) {
                Ok(config) => handshakes.push((one.host.clone(), Arc::new(config))),
                Err(why) => result = Err(format!("{}: {why}", one.host)),
            }
        }
        let table = Table { tokens: by_http.into_iter().map(token).collect(), handshakes };
        self.0.store((!all.is_empty()).then(|| Arc::new(table)));
        result
    }

    /// What is answered to a request for this path, if a token of it is in flight.
    pub fn answer(&self, path: &[u8]) -> Option<Arc<[u8]>> {
        let token = path.strip_prefix(PATH)?;
        let table = self.0.load();
        let mut tokens = table.as_ref()?.tokens.iter();
        tokens.find(|(known, _)| known.as_bytes() == token).map(|(_, answer)| answer.clone())
    }

    /// Whether a handshake may be a challenge now.
    pub fn may_come_by_tls(&self) -> bool {
        self.0.load().as_ref().is_some_and(|table| !table.handshakes.is_empty())
    }

    /// A session that answers the challenge for this host, if one is in flight.
    pub fn begin(&self, host: &str) -> Option<UnbufferedServerConnection> {
        let table = self.0.load();
        let mut known = table.as_ref()?.handshakes.iter();
        let (_, config) = known.find(|(known, _)| known.eq_ignore_ascii_case(host))?;
        UnbufferedServerConnection::new(config.clone()).ok()
    }
}

/// The rules of a handshake that shows the certificate of RFC 8737 §3.
fn proof(challenge: &Challenge) -> Result<ServerConfig, String> {
    let said = |error: rcgen::Error| error.to_string();
    let sum = digest(&SHA256, challenge.key_authorization.as_bytes());
    let mut params = CertificateParams::new(vec![challenge.host.clone()]).map_err(said)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(sum.as_ref())];
    let key = KeyPair::generate().map_err(said)?;
    let certificate = params.self_signed(&key).map_err(said)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(server_provider(&[]))
        .with_protocol_versions(VersionMin::Tls12.versions())
        .map_err(|error| error.to_string())?;
    let key = any_supported_type(&key).map_err(|error| error.to_string())?;
    // Not by way of what checks certificates: the extension is critical, and no such check knows it.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let shown = Arc::new(SingleCertAndKey::from(shown));
    let mut made = builder.with_no_client_auth().with_cert_resolver(shown);
    made.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(host: &str, by_tls: bool) -> Challenge {
        Challenge {
            host: host.into(),
            token: format!("token-{host}"),
            key_authorization: format!("token-{host}.thumb"),
            by_tls,
        }
    }

    #[test]
    fn only_what_is_in_flight_is_answered() {
        let challenges = Challenges::default();
        let path = |token: &str| [PATH, token.as_bytes()].concat();
        assert_eq!(challenges.answer(&path("token-a.test")), None);
        assert_eq!(
            challenges.publish(&[challenge("a.test", false), challenge("b.test", true)]),
            Ok(())
        );
        let answer = challenges.answer(&path("token-a.test"));
        assert_eq!(answer.as_deref(), Some(&b"token-a.test.thumb"[..]));
        for other in ["token-b.test", "token-a.tes", "token-a.test/", ""] {
            assert_eq!(challenges.answer(&path(other)), None, "{other}");
        }
        assert!(challenges.may_come_by_tls());
        assert!(challenges.begin("B.test").is_some());
        assert!(challenges.begin("a.test").is_none());
        assert_eq!(challenges.publish(&[]), Ok(()));
        assert!(!challenges.may_come_by_tls() && challenges.begin("b.test").is_none());
        assert_eq!(challenges.answer(&path("token-a.test")), None);
    }
}
