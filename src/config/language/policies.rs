//! The keys of the policies that change requests and answers on their way.
//!
//! They stand here once, for `[default]` and for routes; `language.rs` never repeats them.

use crate::config::schema::{Key, Section, Shape};

/// What `cors` may be.
pub const CORS_SHAPE: Shape = Shape::Either(&[Shape::Texts, Shape::Table(&CORS)]);
/// What `compress` may be.
pub const COMPRESS_SHAPE: Shape =
    Shape::Either(&[Shape::Boolean, Shape::Table(&COMPRESS), Shape::Choice(&["none"])]);
/// What `maintenance` may be.
pub const MAINTENANCE_SHAPE: Shape =
    Shape::Either(&[Shape::Table(&MAINTENANCE), Shape::Choice(&["none"])]);
/// What `mirror` may be.
pub const MIRROR_SHAPE: Shape = Shape::Either(&[Shape::Text, Shape::Table(&MIRROR)]);
/// What `request_headers` may be.
pub const REQUEST_EDITS_SHAPE: Shape =
    Shape::Either(&[Shape::Table(&REQUEST_EDITS), Shape::Choice(&["none"])]);
/// What `response_headers` may be.
pub const RESPONSE_EDITS_SHAPE: Shape =
    Shape::Either(&[Shape::Table(&RESPONSE_EDITS), Shape::Choice(&["none"])]);

/// `cors` of a route or of `[default]`.
pub static CORS: Section = Section {
    title: "route.cors",
    here: "this cors",
    doc: "Which pages of other origins may read answers (Fetch standard). Preflights are answered by the gateway, before authentication. See docs/policies/cors.md.",
    keys: &[
        Key::new(
            "origins",
            Shape::Texts,
            "`\"https://app.example.com\"`, `\"https://*.example.com\"` (every host below), `\"http://localhost:*\"` (every port), `\"null\"`; `\"*\"` alone for all.",
        )
        .required(),
        Key::new(
            "credentials",
            Shape::Boolean,
            "Whether cookies and HTTP authentication may go along; not together with `\"*\"`.",
        )
        .or("`false`"),
        Key::new("methods", Shape::Texts, "Methods that a preflight may ask for.")
            .or("those that routes take"),
        Key::new(
            "headers",
            Shape::Texts,
            "Request fields beyond the safelisted ones; `\"*\"` for whatever is asked for.",
        )
        .or("`[\"authorization\", \"content-type\"]`"),
        Key::new(
            "expose",
            Shape::Texts,
            "Response fields that scripts may read beyond the safelisted ones; `\"*\"` for all.",
        ),
        Key::new(
            "max_age",
            Shape::DurationOrZero,
            "How long a browser remembers a preflight; at most `1d`, and browsers have bounds of their own.",
        )
        .or("`\"10m\"`"),
        Key::new(
            "private_network",
            Shape::Boolean,
            "Whether pages of public networks may ask, where this gateway is in a private one.",
        )
        .or("`false`"),
    ],
};

/// `compress` of a route or of `[default]`.
pub static COMPRESS: Section = Section {
    title: "route.compress",
    here: "this compression",
    doc: "How answers are compressed, as `accept-encoding` asks. See docs/policies/compress.md.",
    keys: &[
        Key::new("codings", Shape::Texts, "`\"zstd\"`, `\"br\"`, `\"gzip\"`: the first is taken where the client does not care.")
            .or("`[\"zstd\", \"br\", \"gzip\"]`"),
        Key::new("min", Shape::Bytes, "Shortest body that is compressed, where its length is known.")
            .or("`\"1KiB\"`"),
        Key::new(
            "types",
            Shape::Texts,
            "Media types: `\"application/json\"`, `\"text/*\"`, `\"application/*+json\"`, `\"*/*\"`.",
        )
        .or("text in all its forms"),
        Key::new(
            "allow",
            Shape::Texts,
            "Secrets beside which answers are compressed all the same: `\"authorization\"`, `\"cookie\"` of the request, `\"set-cookie\"` of the answer. Only where answers never show what somebody else put in (BREACH).",
        )
        .or("none"),
    ],
};

/// `maintenance` of a route or of `[default]`.
pub static MAINTENANCE: Section = Section {
    title: "route.maintenance",
    here: "this maintenance",
    doc: "Closed for a while: everybody gets this answer, before any policy. In `[default]` it closes all routes that do not opt out. See docs/policies/maintenance.md.",
    keys: &[
        Key::new(
            "file",
            Shape::Text,
            "Closed while this file, relative to this one, is there, looked for every 100 ms; without the key it is closed until the next reload.",
        ),
        Key::new("status", Shape::Integer(400, 599), "The status.").or("`503`"),
        Key::new("body", Shape::Text, "The body.").or("a problem document"),
        Key::new("headers", Shape::Fields, "Header fields of the answer."),
        Key::new(
            "retry_after",
            Shape::DurationOrZero,
            "`Retry-After`, in whole seconds; `\"0s\"` for none.",
        )
        .or("`\"5m\"`"),
        Key::new("allow", Shape::Texts, "Networks of clients who pass all the same."),
    ],
};

/// `mirror` of a route or of `[default]`.
pub static MIRROR: Section = Section {
    title: "route.mirror",
    here: "this mirror",
    doc: "A second upstream that gets copies of requests. It never slows or fails a client; its answers are dropped. See docs/policies/mirror.md.",
    keys: &[
        Key::new("to", Shape::Text, "`\"UPSTREAM\"`, or `\"UPSTREAM /path/{path.id}\"`.")
            .required(),
        Key::new("share", Shape::Text, "How many requests are copied: `\"5%\"`, `\"0.01%\"`.")
            .or("`\"100%\"`"),
        Key::new(
            "body_max",
            Shape::Bytes,
            "Longest body that is copied, at most `1MiB`; requests with a longer one are not.",
        )
        .or("`\"64KiB\"`"),
        Key::new("timeout", Shape::Duration, "How long the second upstream may take.")
            .or("`\"15s\"`"),
    ],
};

/// `request_headers` of a route or of `[default]`.
pub static REQUEST_EDITS: Section = Section {
    title: "route.request_headers",
    here: "these edits",
    doc: "Fields of requests that are sent on by `forward`. Values are templates; a line whose value is empty is left out. See docs/policies/headers.md.",
    keys: &[
        Key::new("set", Shape::Fields, "Fields that replace all of that name; `host`, too."),
        Key::new("add", Shape::Fields, "Fields that are added; a list of texts for several lines."),
        Key::new("remove", Shape::Texts, "Names of fields that are left out."),
    ],
};

/// `response_headers` of a route or of `[default]`.
pub static RESPONSE_EDITS: Section = Section {
    title: "route.response_headers",
    here: "these edits",
    doc: "Fields of every answer of the route: an origin's, a merge's, the gateway's own, errors included. Values are templates; a line whose value is empty is left out. See docs/policies/headers.md.",
    keys: &[
        Key::new("set", Shape::Fields, "Fields that replace all of that name."),
        Key::new("add", Shape::Fields, "Fields that are added; a list of texts for several lines."),
        Key::new("remove", Shape::Texts, "Names of fields that are left out."),
    ],
};
