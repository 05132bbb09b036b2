//! What is wrong with a file that should hold a certificate or a key (RFC 7468), and what to do about it.
//!
//! Only the labels of its blocks are looked at, and nothing else of a file's text ever stands in what is said: it
//! may be a key.

/// What is wrong, and what to do.
pub struct Fault {
    /// The sentence of the error.
    pub message: &'static str,
    /// The advice below it.
    pub advice: &'static str,
}

/// Why no certificate was found in `text`.
pub fn without_certificate(text: &str) -> Fault {
    let (message, advice) = if begins(text, "CERTIFICATE") {
        (
            "a certificate in this file is damaged or cut off",
            "copy it anew, from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`; `openssl x509 -noout -text -in FILE` reads a good one",
        )
    } else if text.contains("PRIVATE KEY-----") {
        (
            "there is a private key in this file, and no certificate",
            "name the file of the certificate here; that of the private key belongs in `key`",
        )
    } else if text.contains("CERTIFICATE REQUEST-----") {
        (
            "there is a request for a certificate (CSR) in this file, and no certificate",
            "name the file that the issuer made of the request",
        )
    } else {
        (
            "there is no certificate in PEM in this file",
            "a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`",
        )
    };
    Fault { message, advice }
}

/// Why no private key that could be used was found in `text`.
pub fn without_key(text: &str) -> Fault {
    let (message, advice) = if text.contains("ENCRYPTED") {
        (
            "the private key in this file is encrypted, and nobody is there to ask for its password",
            "decrypt it, and let only the gateway's user read it: `openssl pkey -in api.key -out plain.key`",
        )
    } else if text.contains("PRIVATE KEY-----") {
        (
            "the private key in this file is damaged or cut off",
            "copy it anew, from `-----BEGIN …` to `-----END …`; `openssl pkey -noout -in FILE` says nothing of a good one",
        )
    } else if begins(text, "CERTIFICATE") {
        (
            "there is a certificate in this file, and no private key",
            "name the file of the private key here; that of the certificate belongs in `cert`",
        )
    } else {
        (
            "there is no private key in PEM in this file",
            "a private key in PEM begins with `-----BEGIN PRIVATE KEY-----`",
        )
    };
    Fault { message, advice }
}

/// What to do about a file that could not be read, by the words of `unreadable`.
pub fn unread_advice(why: &str) -> Option<&'static str> {
    match why {
        "it is not UTF-8" => Some(
            "PEM is wanted, and this is perhaps DER: `openssl x509 -inform der -in api.der -out api.pem` makes PEM of a certificate, `openssl pkey -inform der` of a key",
        ),
        "this process may not read it" => {
            Some("let the user that the gateway runs as read it: `chgrp`, `chmod 0640`")
        }
        "it is a folder" => Some("name the file in it"),
        _ => None,
    }
}

fn begins(text: &str, label: &str) -> bool {
    text.contains(&format!("-----BEGIN {label}-----"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unreadable;

    #[test]
    fn each_mistake_is_told_by_its_label() {
        let of_cert = |text| without_certificate(text).message;
        assert!(of_cert("-----BEGIN CERTIFICATE-----\nMIIB").contains("cut off"));
        assert!(of_cert("-----BEGIN EC PRIVATE KEY-----\nMIIB").contains("a private key"));
        assert!(of_cert("-----BEGIN CERTIFICATE REQUEST-----\nMIIB").contains("request"));
        assert!(of_cert("hello").contains("no certificate in PEM"));
        let of_key = |text| without_key(text).message;
        assert!(of_key("-----BEGIN ENCRYPTED PRIVATE KEY-----\n").contains("encrypted"));
        assert!(of_key("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED").contains("encr"));
        assert!(of_key("-----BEGIN PRIVATE KEY-----\nMIIB").contains("cut off"));
        assert!(of_key("-----BEGIN CERTIFICATE-----\n").contains("a certificate"));
        assert!(of_key("hello").contains("no private key in PEM"));
    }

    #[test]
    fn a_file_that_is_no_text_is_perhaps_der() {
        let why = |kind: std::io::ErrorKind| unreadable(&kind.into());
        let advice = |kind| unread_advice(&why(kind));
        assert!(advice(std::io::ErrorKind::InvalidData).is_some_and(|text| text.contains("DER")));
        assert!(advice(std::io::ErrorKind::PermissionDenied).is_some());
        assert!(advice(std::io::ErrorKind::IsADirectory).is_some());
        assert_eq!(advice(std::io::ErrorKind::NotFound), None);
    }
}
