//! The keys of TLS: at listeners and towards upstreams.
//!
//! A part of the table in `language.rs`, and like it never a place of behaviour.

use crate::config::schema::{Key, Section, Shape};

/// The oldest version that may be asked for.
const VERSIONS: Shape = Shape::Choice(&["1.2", "1.3"]);

/// `tls` of a listener.
pub static LISTEN_TLS: Section = Section {
    title: "listen.tls",
    here: "this `tls`",
    doc: "Makes the listener speak TLS 1.2 and 1.3, and nothing else. See docs/tls.md.",
    keys: &[
        Key::new(
            "certificates",
            Shape::List(&Shape::Table(&SERVED_CERTIFICATE)),
            "Certificates; a client is shown the one for the name that it asks for, and of several the one that it can check. The first is for clients that ask for none.",
        )
        .required(),
        Key::new(
            "unknown_name",
            Shape::Choice(&["first", "refuse"]),
            "What a client gets that asks for a name without a certificate: the first one, or a refusal.",
        )
        .or("`\"first\"`"),
        Key::new("min_version", VERSIONS, "The oldest version of TLS that is spoken.")
            .or("`\"1.2\"`"),
        Key::new(
            "suites",
            Shape::List(&Shape::Choice(crate::config::tls::SUITES)),
            "The cipher suites that are taken, the preferred first; a client's own order does not count. All that there are have forward secrecy and authenticated encryption.",
        )
        .or("all, AES of 128 bits first")
        ,
        Key::new(
            "client",
            Shape::Either(&[
                Shape::Table(&CLIENT_CERTIFICATES),
                Shape::List(&Shape::Table(&CLIENT_CERTIFICATES)),
            ]),
            "Asks clients for certificates (mutual TLS): a table for all hosts, or a list of tables for some hosts each.",
        ),
    ],
};

/// A certificate of a listener: from files, or obtained.
pub static SERVED_CERTIFICATE: Section = Section {
    title: "listen.tls.certificates",
    here: "this certificate",
    doc: "A certificate and its key, in PEM, or the hosts that one is obtained for. Paths are relative to the file that names them. Changed files are read again.",
    keys: &[
        Key::new(
            "cert",
            Shape::Text,
            "The file of the certificate, and behind it those that lead to a root.",
        ),
        Key::new("key", Shape::Text, "The file of its private key, not encrypted."),
        Key::new(
            "ocsp",
            Shape::Text,
            "A file with its OCSP answer, in PEM (`OCSP RESPONSE`) or base64, to be stapled.",
        ),
        Key::new(
            "acme",
            Shape::Texts,
            "Instead of files: the hosts of a certificate that `[acme]` obtains and renews. See docs/acme.md.",
        ),
    ],
};

/// A certificate with its key.
pub static CERTIFICATE: Section = Section {
    title: "certificate",
    here: "this certificate",
    doc: "A certificate and its key, in PEM. Paths are relative to the file that names them. Changed files are read again.",
    keys: &[
        Key::new(
            "cert",
            Shape::Text,
            "The file of the certificate, and behind it those that lead to a root.",
        )
        .required(),
        Key::new("key", Shape::Text, "The file of its private key, not encrypted.").required(),
        Key::new(
            "ocsp",
            Shape::Text,
            "A file with its OCSP answer, in PEM (`OCSP RESPONSE`) or base64, to be stapled.",
        ),
    ],
};

/// Client certificates of a listener.
pub static CLIENT_CERTIFICATES: Section = Section {
    title: "listen.tls.client",
    here: "these client certificates",
    doc: "Whose client certificates are believed, and whether there must be one.",
    keys: &[
        Key::new("roots", Shape::Text, "A file with the roots that sign them, in PEM.").required(),
        Key::new(
            "hosts",
            Shape::Texts,
            "The hosts that it is for, as clients name them (SNI): `\"admin.example.com\"`, `\"*.example.com\"`. Hosts that nobody names ask for no certificate.",
        )
        .or("all that are not named elsewhere"),
        Key::new(
            "mode",
            Shape::Choice(&["required", "optional"]),
            "`required`: who has none cannot connect. `optional`: who shows one must prove it.",
        )
        .or("`\"required\"`"),
    ],
};

/// `tls` of an upstream.
pub static UPSTREAM_TLS: Section = Section {
    title: "upstream.tls",
    here: "this `tls`",
    doc: "Makes every connection to the upstream TLS. The origin's certificate and name are always checked.",
    keys: &[
        Key::new(
            "name",
            Shape::Text,
            "The name that the origin must prove and is asked for (SNI).",
        )
        .or("the endpoint's address"),
        Key::new(
            "roots",
            Shape::Text,
            "A file with the roots that are believed, in PEM; `\"system\"` for those of the system.",
        )
        .or("`\"system\"`"),
        Key::new(
            "certificate",
            Shape::Table(&CERTIFICATE),
            "What we prove to the origin (mutual TLS).",
        ),
        Key::new(
            "pin",
            Shape::Texts,
            "SHA-256 of public keys, in base64, of which the origin must have one; on top of the other checks.",
        ),
        Key::new("min_version", VERSIONS, "The oldest version of TLS that is spoken.")
            .or("`\"1.2\"`"),
    ],
};
