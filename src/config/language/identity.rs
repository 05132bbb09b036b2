//! Who is asking and who may pass: `[jwt.NAME]`, `[api_key.NAME]`, `[basic.NAME]`, `[auth_request.NAME]`,
//! and `allow`.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::config::schema::{Key, Section, Shape};

/// `[jwt.NAME]`
pub static JWT: Section = Section {
    title: "[jwt.NAME]",
    here: "this issuer",
    doc: "An issuer of tokens, and what a token must say. Exactly one of `jwks`, `secret`, `pem` gives the keys; without one the `issuer`, a URL, tells where they are (OpenID Connect Discovery).",
    keys: &[
        Key::new(
            "jwks",
            Shape::Text,
            "Its key set: a file, relative to this one, or an `http://` or `https://` URL.",
        ),
        Key::new(
            "secret",
            Shape::Text,
            "A shared secret for HS256, HS384, HS512; best as `\"${file:…}\"` or `\"${VAR}\"`.",
        ),
        Key::new("pem", Shape::Text, "A public key in PEM; `\"${file:…}\"` reads it from a file."),
        Key::new("issuer", Shape::Texts, "The `iss` that a token must have: one of these."),
        Key::new("audience", Shape::Texts, "The `aud` that a token must have: one of these."),
        Key::new(
            "algorithms",
            Shape::List(&Shape::Choice(ALGORITHMS)),
            "The signatures that are taken. The key decides in any case: a token never chooses.",
        )
        .or("what the key can do"),
        Key::new(
            "leeway",
            Shape::DurationOrZero,
            "How far clocks may differ for `exp` and `nbf`; at most `5m`.",
        )
        .or("`\"30s\"`"),
        Key::new(
            "required",
            Shape::Texts,
            "Claims that must be there, besides `exp`, which always must.",
        ),
        Key::new("refresh", Shape::Duration, "How often a key set from a URL is fetched again.")
            .or("`\"5m\"`"),
        Key::new("header", Shape::Text, "A field that may hold the token besides `Authorization: Bearer`."),
        Key::new("cookie", Shape::Text, "A cookie that may hold the token."),
        Key::new("query", Shape::Text, "A query parameter that may hold the token. Such a URL is a password: it stands in histories and other people's logs."),
        Key::new("forward", Shape::Boolean, "Whether the token goes on to services, wherever it stands.")
            .or("from a field it does, from a cookie or the query it does not"),
        Key::new("profile", Shape::Choice(&["rfc7519", "rfc9068"]), "What a token is: any JWT, or an access token after RFC 9068 with its type and all of its claims.")
            .or("`\"rfc7519\"`"),
        Key::new("revoked", Shape::Text, "A file of tokens and subjects that are refused, one `jti:ID`, `sub:ID` or `sub:ID SECONDS` a line; read again when it changes."),
        Key::new("revoked_store", Shape::Table(&REVOKED_STORE), "Asks the store of `[redis]` besides."),
        Key::later("tls"),
    ],
};

/// `revoked_store` of an issuer.
pub static REVOKED_STORE: Section = Section {
    title: "jwt.NAME.revoked_store",
    here: "this store",
    doc: "Whether tokens and subjects are revoked, as others write it into `[redis]`: the keys `ringway:revoked:jti:ID` and `ringway:revoked:sub:ID`.",
    keys: &[
        Key::new("ttl", Shape::Duration, "How long each core remembers the answer, and a revoked token may still pass; at most `1h`.")
            .or("`\"5s\"`"),
        Key::new("away", Shape::Choice(&["deny", "allow"]), "While the store is away: tokens of which nothing is remembered are refused (503), or pass.")
            .or("`\"deny\"`"),
    ],
};

/// Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1). `none` is not one.
pub const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
];

/// `[api_key.NAME]`
pub static API_KEY: Section = Section {
    title: "[api_key.NAME]",
    here: "these keys",
    doc: "API keys, known by keyed hashes. `ringway hash-key` makes a key and its line. See docs/policies/api-key.md.",
    keys: &[
        Key::new("keys", Shape::Text, "The file, relative to this one: `HASH OWNER [scope=a,b] [until=2027-01-31] [limit=100/s] [burst=200]` a line; read again when it changes.")
            .required(),
        Key::new("secret", Shape::Text, "What keys are hashed with, at least 32 bytes; best as `\"${file:…}\"` or `\"${VAR}\"`.")
            .required(),
        Key::new("header", Shape::Text, "The field that holds a key.").or("`\"x-api-key\"`"),
        Key::new("query", Shape::Text, "A query parameter that may hold it. Such a URL is a password: it stands in histories and other people's logs."),
        Key::new("forward", Shape::Boolean, "Whether the key goes on to services, which cannot check it.").or("`false`"),
    ],
};

/// `[basic.NAME]`
pub static BASIC: Section = Section {
    title: "[basic.NAME]",
    here: "these users",
    doc: "Names and passwords (`Authorization: Basic`), kept as Argon2. `ringway hash-password` makes a line. See docs/policies/basic.md.",
    keys: &[
        Key::new("users", Shape::Text, "The file, relative to this one: `NAME:$argon2id$…` a line; read again when it changes.")
            .required(),
        Key::new("realm", Shape::Text, "What browsers show when they ask for the password.").or("the name"),
        Key::new("ttl", Shape::Duration, "How long a password that was checked is remembered, `1s` to `1d`; a change of the file counts at once.")
            .or("`\"5m\"`"),
        Key::new("failures", Shape::Rate, "Wrong passwords that one network may bring; beyond them 429.").or("`\"20/m\"`"),
        Key::new("forward", Shape::Boolean, "Whether name and password go on to services.").or("`false`"),
    ],
};

/// `[auth_request.NAME]`
pub static AUTH_REQUEST: Section = Section {
    title: "[auth_request.NAME]",
    here: "this service",
    doc: "A service that is asked who may pass: 2xx lets the request pass, 401 and 403 refuse it, all else closes the route. See docs/policies/auth-request.md.",
    keys: &[
        Key::new(
            "to",
            Shape::Text,
            "Who is asked, and for what: `\"UPSTREAM /verify\"`, with templates.",
        )
        .required(),
        Key::new(
            "copy",
            Shape::Texts,
            "Fields of its answer that go on with the request; the client's own of these names do not.",
        ),
        Key::new("timeout", Shape::Duration, "How long it may take.").or("`\"5s\"`"),
        Key::new("cache", Shape::Table(&AUTH_CACHE), "Remembers verdicts on each core.")
            .or("every request asks"),
    ],
};

/// `cache` of a service that is asked.
pub static AUTH_CACHE: Section = Section {
    title: "auth_request.NAME.cache",
    here: "this cache",
    doc: "What verdicts are remembered by, and for how long.",
    keys: &[
        Key::new("key", Shape::Text, "A template of all that the service looks at: `\"{header.authorization?} {request.path}\"`. A request that lacks a value of it asks.").required(),
        Key::new("ttl", Shape::Duration, "How long a verdict holds, at most `1h`.").required(),
    ],
};

/// Words that `allow` may be.
pub const ALLOW_WORDS: &[&str] = &["anyone", "authenticated", "nobody"];

/// A rule of `allow`: `networks`, `scope` and ways to claims, as the user names them.
pub(super) const ALLOW_RULE: Shape = Shape::Named(&Shape::Either(&[
    Shape::Texts,
    Shape::Boolean,
    Shape::Integer(i64::MIN, i64::MAX),
    Shape::Table(&ALLOW_ALL),
    Shape::Table(&ALLOW_CERT),
]));

/// Words that `client_cert` may be.
pub const CLIENT_CERT_WORDS: &[&str] = &["required", "optional", "none"];

/// What the certificate of a client must say.
pub static ALLOW_CERT: Section = Section {
    title: "route.allow.client_cert",
    here: "this certificate",
    doc: "What a client's certificate must say; of a list any one is enough. Values are compared exactly.",
    keys: &[
        Key::new(
            "subject",
            Shape::Texts,
            "Whom it is about, as RFC 4514 writes names: `CN=billing,O=Example`.",
        ),
        Key::new("issuer", Shape::Texts, "Who signed it, the same way."),
        Key::new("serial", Shape::Texts, "Its serial number, in hexadecimal."),
        Key::new("fingerprint", Shape::Texts, "SHA-256 of the whole, in hexadecimal."),
        Key::new("dns", Shape::Texts, "A DNS name among its alternative names."),
        Key::new(
            "uri",
            Shape::Texts,
            "A URI among them; with `/*` at its end, one that begins so: `\"spiffe://example.com/*\"`.",
        ),
        Key::new("email", Shape::Texts, "A mail address among them."),
    ],
};

/// What a claim must hold all of.
pub static ALLOW_ALL: Section = Section {
    title: "route.allow.CLAIM",
    here: "this claim",
    doc: "Values that a claim must hold all of; a plain list asks for any one.",
    keys: &[Key::new("all", Shape::Texts, "The values.").required()],
};
