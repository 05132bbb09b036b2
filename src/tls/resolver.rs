//! Which certificate a client is shown: by the name that it asks for (RFC 6066 §3) and by what it can check.
//!
//! An exact name wins over a wildcard, which stands for one label (RFC 6125 §6.4.3). Of several certificates for
//! a name the first that the client can check is shown, elliptic curves before RSA. A client that names nobody
//! gets the first certificate of the file; one that names somebody else gets it, too, or is refused: it is never
//! shown a certificate of another name because of a part of its own. A name whose certificate is yet to be obtained
//! is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureAlgorithm};

/// The certificates of one listener.
#[derive(Debug)]
pub struct Certificates {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Vec<Arc<CertifiedKey>>,
    /// Names whose certificates are yet to be obtained: they are refused, and never shown another's.
    awaited: HashSet<String>,
    refuses_unknown: bool,
}

impl Certificates {
    /// Certificates with their names, in the order of the file. The first one, and those for the same names
    /// with another kind of key, are for clients that name nobody.
    pub fn new(
        list: &[(Vec<String>, Arc<CertifiedKey>)],
        awaited: &[String],
        refuses_unknown: bool,
    ) -> Self {
        let mut all = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            first: Vec::new(),
            awaited: awaited.iter().cloned().collect(),
            refuses_unknown,
        };
        let mut add = |names: &[String], key: &Arc<CertifiedKey>| {
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(behind) => (&mut all.wildcard, behind),
                    None => (&mut all.exact, name.as_str()),
                };
                map.entry(name.to_ascii_lowercase()).or_default().push(key.clone());
            }
        };
        list.iter().for_each(|(names, key)| add(names, key));
        if let Some((names, _)) = list.first() {
            let twins = list.iter().filter(|(others, _)| others == names);
            all.first = twins.map(|(_, key)| key.clone()).collect();
        }
        let lists = all.exact.values_mut().chain(all.wildcard.values_mut());
        lists.chain([&mut all.first]).for_each(|list| list.sort_by_key(|key| is_rsa(key)));
        all
    }

    /// The certificates for a name, the best first; none when it is refused.
    fn named(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else { return &self.first };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let behind = name.split_once('.').map(|(_, behind)| behind);
        let found = self.exact.get(&name);
        let found = found.or_else(|| self.wildcard.get(behind?));
        match found {
            Some(found) => found,
            None if self.refuses_unknown || self.awaited.contains(&name) => &[],
            None => &self.first,
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let suits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(schemes).is_some()
                && (is_rsa(key) || can_do_curves(hello.cipher_suites()))
        };
        let named = self.named(hello.server_name());
        named.iter().find(suits).or(named.last()).cloned()
    }
}

fn is_rsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}

/// Whether one of these suites goes with a certificate of elliptic curves: those of TLS 1.3 go with any.
fn can_do_curves(suites: &[CipherSuite]) -> bool {
    suites.iter().any(|suite| {
        matches!(
            suite,
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS13_AES_256_GCM_SHA384
                | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        )
    })
}
