//! What a client's certificate says, once a handshake has proven it (RFC 8446 §4.4.2, RFC 5280).
//!
//! It is read once for each connection and shared by its requests. It never decides whom to believe: only what a
//! listener's roots signed, and whose key the client has, comes to be one. Every text is printable ASCII, so that it
//! can stand in a field; what else a name holds is escaped (RFC 4514 §2.4).

use std::rc::Rc;

/// A client's certificate, proven.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientCert {
    /// Whom it is about (RFC 4514).
    pub subject: Box<str>,
    /// Who signed it (RFC 4514).
    pub issuer: Box<str>,
    /// Its serial number, in hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 of the whole, in hexadecimal.
    pub fingerprint: Box<str>,
    /// Alternative names: DNS names in lower case.
    pub dns: Box<[Box<str>]>,
    /// Alternative names: URIs, such as SPIFFE's.
    pub uri: Box<[Box<str>]>,
    /// Alternative names: mail addresses.
    pub email: Box<[Box<str>]>,
    /// The whole, as the field `Client-Cert` has it (RFC 9440 §2.2): base64 between colons.
    pub encoded: Box<str>,
    /// The second since 1970 at which it ends.
    pub not_after: u64,
}

/// What a client proved in a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Proof {
    /// Its certificate, if it showed one.
    pub cert: Option<Rc<ClientCert>>,
    /// Stands for what it was asked for; what it proved is worth nothing where something else is.
    pub scope: [u8; 32],
}

/// What one can ask a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertField {
    /// Whom it is about.
    Subject,
    /// Who signed it.
    Issuer,
    /// Its serial number.
    Serial,
    /// SHA-256 of the whole.
    Fingerprint,
    /// DNS names.
    Dns,
    /// URIs.
    Uri,
    /// Mail addresses.
    Email,
    /// The whole.
    Encoded,
}

impl CertField {
    /// All, as users name them.
    pub const ALL: [(&'static str, CertField); 8] = [
        ("subject", Self::Subject),
        ("issuer", Self::Issuer),
        ("serial", Self::Serial),
        ("fingerprint", Self::Fingerprint),
        ("dns", Self::Dns),
        ("uri", Self::Uri),
        ("email", Self::Email),
        ("encoded", Self::Encoded),
    ];

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// The name of the field.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

impl ClientCert {
    /// Everything that it says about `field`: several values for alternative names alone.
    pub fn values(&self, field: CertField) -> impl Iterator<Item = &str> {
        let (one, several): (_, &[Box<str>]) = match field {
            CertField::Subject => (Some(&self.subject), &[]),
            CertField::Issuer => (Some(&self.issuer), &[]),
            CertField::Serial => (Some(&self.serial), &[]),
            CertField::Fingerprint => (Some(&self.fingerprint), &[]),
            CertField::Encoded => (Some(&self.encoded), &[]),
            CertField::Dns => (None, &self.dns),
            CertField::Uri => (None, &self.uri),
            CertField::Email => (None, &self.email),
        };
        one.into_iter().chain(several).map(|text| &**text).filter(|text| !text.is_empty())
    }

    /// The first thing that it says about `field`.
    pub fn value(&self, field: CertField) -> Option<&str> {
        self.values(field).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_may_be_several_and_an_empty_subject_is_none() {
        let cert = ClientCert {
            dns: ["a.test".into(), "b.test".into()].into(),
            serial: "01".into(),
            ..ClientCert::default()
        };
        assert_eq!(cert.values(CertField::Dns).collect::<Vec<_>>(), ["a.test", "b.test"]);
        assert_eq!(cert.value(CertField::Serial), Some("01"));
        assert_eq!(cert.value(CertField::Subject), None);
        assert_eq!(cert.value(CertField::Uri), None);
        for (name, field) in CertField::ALL {
            assert_eq!((CertField::named(name), field.name()), (Some(field), name));
        }
    }
}
