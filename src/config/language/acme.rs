//! The keys of `[acme]`: certificates that are obtained from an authority by themselves.
//!
//! A part of the table in `language.rs`, and like it never a place of behaviour.

use crate::config::schema::{Key, Section, Shape};

/// `[acme]`
pub static ACME: Section = Section {
    title: "[acme]",
    here: "this `[acme]`",
    doc: "Obtains and renews the certificates that listeners name by `{ acme = [hosts] }` (RFC 8555). See docs/acme.md.",
    keys: &[
        Key::new(
            "terms_agreed",
            Shape::Boolean,
            "`true` says that you agree to the terms of the authority; without it nothing is asked of it.",
        )
        .required(),
        Key::new(
            "email",
            Shape::Texts,
            "Where the authority may write to about the account.",
        ),
        Key::new("directory", Shape::Text, "The URL of the authority's directory.")
            .or("`\"https://acme-v02.api.letsencrypt.org/directory\"`"),
        Key::new(
            "storage",
            Shape::Text,
            "The folder of the account's key, the certificates and what is under way; replicas share it. Relative to the file that names it.",
        )
        .or("`\"/var/lib/ringway/acme\"`"),
        Key::new(
            "challenge",
            Shape::Choice(crate::config::acme::CHALLENGES),
            "How the hosts are proven: over TLS at port 443, or over HTTP at port 80.",
        )
        .or("`\"tls-alpn-01\"`"),
        Key::new(
            "key_type",
            Shape::Choice(crate::config::acme::KEY_TYPES),
            "The kind of the certificates' keys; each certificate has a new one.",
        )
        .or("`\"p256\"`"),
        Key::new(
            "renew_before",
            Shape::Duration,
            "How long before its end a certificate is renewed, at most half of its lifetime.",
        )
        .or("a third of its lifetime"),
        Key::new(
            "external_account",
            Shape::Table(&EXTERNAL_ACCOUNT),
            "Binds the account to one that you have with the authority already.",
        ),
        Key::new(
            "ca",
            Shape::Text,
            "A file with the roots that the authority's own server is checked by, in PEM; for private authorities.",
        )
        .or("the system's roots"),
    ],
};

/// `external_account` of `[acme]`.
pub static EXTERNAL_ACCOUNT: Section = Section {
    title: "acme.external_account",
    here: "this external account",
    doc: "What the authority gave you to bind accounts to (RFC 8555 §7.3.4).",
    keys: &[
        Key::new("key_id", Shape::Text, "The name of the key.").required(),
        Key::new(
            "secret",
            Shape::Text,
            "The HMAC key itself, in base64url as the authority shows it; best by `${file:…}`.",
        )
        .required(),
    ],
};
