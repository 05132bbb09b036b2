//! The tables of `[[test]]`: a request, what upstreams answer, what must come of it.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::base::limits::TEST_REQUESTS_MAX;
use crate::config::schema::{Key, Section, Shape};

/// How an upstream fails.
pub const FAILURES: &[&str] = &["refuse", "reset", "silence", "cut"];

/// A field that must have a value, be there, or not be there.
const FIELD_WISHES: Shape = Shape::Named(&Shape::Either(&[Shape::Text, Shape::Boolean]));
/// One answer, or several that are given one after the other.
const ANSWERS: Shape =
    Shape::Either(&[Shape::Table(&TEST_ANSWER), Shape::List(&Shape::Table(&TEST_ANSWER))]);
/// What upstreams answer, by name; in general or by path.
const UPSTREAMS: Shape = Shape::Named(&Shape::Either(&[ANSWERS, Shape::Named(&ANSWERS)]));
/// One request that an upstream must have received.
const SENT_ONE: Shape = Shape::Either(&[Shape::Text, Shape::Table(&TEST_SENT)]);

const UPSTREAM_DOC: &str = "What each upstream answers: one answer, a list of answers that are given one after the other (the last one stays), or a table of answers by path, `\"GET /users/42\"`. An upstream that is asked and not named here fails the test.";

/// `[[test]]`
pub static TEST: Section = Section {
    title: "[[test]]",
    here: "this test",
    doc: "A request, what upstreams answer, and what must come of it: `ringway test` plays it without sockets and on virtual time. `run` ignores tests. See docs/testing-configurations.md.",
    keys: &[
        Key::new("name", Shape::Text, "What it shows, in a line.").required(),
        Key::new("request", Shape::Table(&TEST_REQUEST), "The request; or `steps`."),
        Key::new("upstream", UPSTREAMS, UPSTREAM_DOC),
        Key::new("expect", Shape::Table(&TEST_EXPECT), "What must come of the request."),
        Key::new(
            "steps",
            Shape::List(&Shape::Table(&TEST_STEP)),
            "Several requests, one after the other, in place of `request` and `expect`. Limits and pools remember between them, and never between tests.",
        ),
    ],
};

/// One of several requests of a test.
pub static TEST_STEP: Section = Section {
    title: "test.steps",
    here: "this step",
    doc: "One of several requests of a test.",
    keys: &[
        Key::new(
            "at",
            Shape::DurationOrZero,
            "When it is sent, by the clock of the test, which begins at zero.",
        )
        .or("when the step before is over"),
        Key::new(
            "repeat",
            Shape::Integer(1, TEST_REQUESTS_MAX as i64),
            "How many times it is sent, one after the other; `expect` holds for each.",
        )
        .or("`1`"),
        Key::new("request", Shape::Table(&TEST_REQUEST), "The request.").required(),
        Key::new(
            "upstream",
            UPSTREAMS,
            "What upstreams answer in this step, in place of what the test says of the same ones.",
        ),
        Key::new("expect", Shape::Table(&TEST_EXPECT), "What must come of it.").required(),
    ],
};

/// `request` of a test.
pub static TEST_REQUEST: Section = Section {
    title: "test.request",
    here: "this request",
    doc: "What a client sends.",
    keys: &[
        Key::new(
            "send",
            Shape::Text,
            "`\"GET api.example.com/dashboard?x=1\"`; a request that begins with the path is for `localhost`.",
        )
        .required(),
        Key::new("headers", Shape::Fields, "Its header fields."),
        Key::new(
            "body",
            Shape::Json,
            "Its body: a text is sent as it is, any other value as JSON.",
        ),
        Key::new(
            "jwt",
            Shape::Either(&[Shape::Choice(&["none"]), Shape::Named(&Shape::Json)]),
            "The claims of its token, whose signature is good. `iss`, `aud` and `exp` are filled in as the route's issuer asks for, unless they stand here.",
        )
        .or("`\"none\"`"),
        Key::new("from", Shape::Text, "The client's address: the other end of its connection.")
            .or("`\"192.0.2.1\"`"),
    ],
};

/// One answer of an upstream.
pub static TEST_ANSWER: Section = Section {
    title: "test.answer",
    here: "this answer",
    doc: "What an upstream answers.",
    keys: &[
        Key::new("status", Shape::Integer(200, 599), "The status.").or("`200`"),
        Key::new(
            "body",
            Shape::Json,
            "The body: a text is sent as it is, any other value as JSON.",
        ),
        Key::new(
            "headers",
            Shape::Fields,
            "Header fields; a `content-type` for JSON is there if the body is JSON.",
        ),
        Key::new("after", Shape::DurationOrZero, "How long the answer takes.").or("`\"0s\"`"),
        Key::new(
            "fail",
            Shape::Choice(FAILURES),
            "In place of an answer: the connection is refused, is reset once the request is read, stays silent, or ends in the middle of the body.",
        ),
    ],
};

/// `expect` of a test.
pub static TEST_EXPECT: Section = Section {
    title: "test.expect",
    here: "this expectation",
    doc: "What must come of a request; what is not named may be anything.",
    keys: &[
        Key::new("status", Shape::Integer(100, 599), "The status that the client sees."),
        Key::new(
            "body",
            Shape::Json,
            "The body: a text is compared byte for byte, any other value as JSON.",
        ),
        Key::new(
            "header",
            FIELD_WISHES,
            "Header fields: a value, `true` for \"is there\", `false` for \"is not there\". A field that comes several times is one list with `, `.",
        ),
        Key::new(
            "sent",
            Shape::Named(&Shape::Either(&[SENT_ONE, Shape::List(&SENT_ONE)])),
            "All that each of these upstreams must have received, in any order: `\"GET /users/42\"`, or `{ path, headers, body }`, or a list.",
        ),
        Key::new("not_sent", Shape::Texts, "Upstreams that must not have been asked."),
        Key::new(
            "fault",
            Shape::Text,
            "The `fault` of the access log, `\"http_response_timeout\"`; `\"none\"`: there must be none.",
        ),
        Key::new(
            "within",
            Shape::Duration,
            "How long it may take by the virtual clock, from the request to the whole answer.",
        ),
    ],
};

/// One request that an upstream must have received.
pub static TEST_SENT: Section = Section {
    title: "test.sent",
    here: "this request",
    doc: "A request that an upstream must have received.",
    keys: &[
        Key::new(
            "path",
            Shape::Text,
            "`\"GET /users/42?x=1\"`, the whole target; without a method any will do.",
        )
        .required(),
        Key::new("headers", FIELD_WISHES, "Header fields, as in `expect.header`."),
        Key::new("body", Shape::Json, "The body, as in `expect.body`."),
    ],
};
