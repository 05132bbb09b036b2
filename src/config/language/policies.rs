//! The keys of the policies that change requests and answers on their way.
//!
//! They stand here once, for `[default]` and for routes; `language.rs` never repeats them.

use crate::config::schema::{Key, Section, Shape};

/// What `cors` may be.
pub const CORS_SHAPE: Shape = Shape::Either(&[Shape::Texts, Shape::Table(&CORS)]);
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
