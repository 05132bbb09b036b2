//! What is known of TLS before a byte is read: certificates, rules for sessions, and who a client proved to be.
//!
//! It never reads a file or a socket, and a private key never leaves rustls: nothing here has a readable
//! `Debug` for one. The sections are RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 6066 §3 (names) and RFC 5280
//! (certificates).

pub mod certificate;
pub mod challenge;
pub mod client;
pub mod ocsp;
pub mod resolver;
pub mod server;
pub mod stored;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum VersionMin {
    /// TLS 1.2. The default, as Mozilla's "intermediate" has it.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl VersionMin {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        match self {
            Self::Tls12 => BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

/// The name that the registry of cipher suites has for it (RFC 8446 §B.4); the library begins those of TLS 1.3 otherwise.
pub fn standard_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// The cryptography with these suites (all when none is named) and these key exchanges.
fn provider(suites: &[String], kx_groups: Vec<&'static dyn SupportedKxGroup>) -> CryptoProvider {
    let named =
        |suite: &SupportedCipherSuite| suites.is_empty() || suites.contains(&standard_name(suite));
    let provider = aws_lc_rs::default_provider();
    let mut cipher_suites: Vec<_> = provider.cipher_suites.iter().copied().filter(named).collect();
    cipher_suites.sort_by_key(|suite| rank(&standard_name(suite), suites));
    CryptoProvider { cipher_suites, kx_groups, ..provider }
}

/// Where a suite stands: in the order in which suites are named, else as Mozilla has them, AES of 128 bits before that of
/// 256. The former is no weaker in any way that is known, and its SHA-256 has instructions of its own where SHA-384 has none.
fn rank(name: &str, suites: &[String]) -> usize {
    let written = suites.iter().position(|known| known == name);
    written.unwrap_or(match name {
        _ if name.contains("AES_128") => 0,
        _ if name.contains("AES_256") => 1,
        _ => 2,
    })
}

/// Towards clients the hybrid exchange comes first: whoever offers it wants it. Nobody else pays for it.
fn server_provider(suites: &[String]) -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    Arc::new(provider(suites, vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1]))
}

/// Towards origins it comes last: its share of a key is longer than the rest of a greeting.
fn client_provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    Arc::new(provider(&[], vec![X25519, SECP256R1, SECP384R1, X25519MLKEM768]))
}
