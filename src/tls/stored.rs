//! A certificate as `[acme]` keeps it: the key and the chain in one file, so that they are exchanged in one step.
//!
//! It only takes text and gives text, and never touches a disk. What it says about a text that is wrong never shows
//! what stands in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::tls::certificate::{self, Facts};
use crate::tls::server::certified;

/// A certificate with its key, ready to be shown, and what it says.
#[derive(Debug)]
pub struct Stored {
    /// To be shown.
    pub shown: CertifiedKey,
    /// What stands in it.
    pub facts: Facts,
}

/// Reads a file of the storage.
///
/// # Errors
/// In words: it is cut, no key, no chain, or they do not belong together.
pub fn read(text: &str) -> Result<Stored, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "there is no private key in PEM in it")?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|_| "its certificates are not whole")?;
    let facts = chain.first().and_then(|first| certificate::read(first));
    let facts = facts.ok_or("there is no certificate in PEM in it")?;
    let shown = certified(chain, key, None)?;
    Ok(Stored { shown, facts })
}

/// The text of a file: the key, then the chain as the authority gave it.
pub fn write(key_der: &[u8], chain: &str) -> String {
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let digits = STANDARD.encode(key_der);
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text.push_str(chain);
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_damaged_is_told() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        let chain = params.self_signed(&key).expect("a certificate").pem();
        let text = write(&key.serialize_der(), &chain);
        let stored = read(&text).expect("whole");
        assert_eq!(stored.facts.names, ["a.test"]);
        assert_eq!(read("").err(), Some("there is no private key in PEM in it"));
        assert!(read(&text[..text.len() / 2]).is_err());
        let other = write(&KeyPair::generate().expect("a key").serialize_der(), &chain);
        assert_eq!(read(&other).err(), Some("the key does not belong to the certificate"));
    }
}
