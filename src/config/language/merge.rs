//! The tables beside a `merge`: what goes to its parts, and what kinds of clients get of it.
//!
//! Like the rest of the language a key never stands anywhere else.

use crate::base::limits::{EACH_AT_ONCE_MAX, EACH_BATCH_MAX, EACH_ELEMENTS_MAX};
use crate::config::schema::{Key, Section, Shape};

/// What a failed optional part does.
pub const ON_PARTIAL: &[&str] = &["answer", "fail"];

/// `[route.view.NAME]`
pub static VIEW: Section = Section {
    title: "[route.view.NAME]",
    here: "this view",
    doc: "What one kind of client gets of a `merge`. A part of which nothing is kept is not called, unless a part that is kept takes a value from it.",
    keys: &[
        Key::new(
            "when",
            Shape::Table(&VIEW_WHEN),
            "Which clients it is for; all conditions must hold.",
        )
        .required(),
        Key::new(
            "keep",
            Shape::Texts,
            "Parts, or what is in them: `[\"user.name\", \"orders[*].id\", \"unread\"]`.",
        )
        .or("everything"),
        Key::new("on_partial", Shape::Choice(ON_PARTIAL), "What a failed optional part does.")
            .or("the route's"),
    ],
};

/// `when` of a view.
pub static VIEW_WHEN: Section = Section {
    title: "route.view.when",
    here: "this condition",
    doc: "Which clients a view is for; all must hold.",
    keys: &[
        Key::new("header", Shape::Conditions, "Header fields and their values."),
        Key::new("query", Shape::Conditions, "Query parameters and their values."),
        Key::new(
            "host",
            Shape::Texts,
            "Hosts, one of which it must be: `\"m.example.com\"`, `\"*.example.com\"`.",
        ),
        Key::new(
            "jwt",
            Shape::Conditions,
            "Claims and their values; of a list, one of its elements. Names are paths with dots.",
        ),
    ],
};

/// `hedge` as a table.
pub static HEDGE: Section = Section {
    title: "hedge",
    here: "this table",
    doc: "A second call beside one that is late: it has taken longer than 95 of a hundred calls like it.",
    keys: &[Key::new(
        "budget",
        Shape::Percent,
        "How many of a hundred calls may be sent a second time; never more, however slow the origins are.",
    )
    .or("`\"5%\"`")],
};

/// `pass` of a route.
pub static PASS: Section = Section {
    title: "route.pass",
    here: "this list",
    doc: "What of the client's request goes to the parts of a `merge`. Nothing else does, but `traceparent`, `x-request-id` and the remaining time.",
    keys: &[
        Key::new("headers", Shape::Texts, "Header fields."),
        Key::new("query", Shape::Texts, "Query parameters."),
    ],
};

/// `each` as a table.
pub static EACH: Section = Section {
    title: "part.each",
    here: "this list of elements",
    doc: "Which elements a part is called for.",
    keys: &[
        Key::new("of", Shape::Text, "The elements: `\"{part.orders[*].user_id}\"`.").required(),
        Key::new(
            "max",
            Shape::Integer(1, EACH_ELEMENTS_MAX as i64),
            "Distinct elements at most; with more the part fails with `too_many`.",
        )
        .or("`100`"),
        Key::new("at_once", Shape::Integer(1, EACH_AT_ONCE_MAX as i64), "Calls at once.").or("`8`"),
        Key::new(
            "batch",
            Shape::Integer(1, EACH_BATCH_MAX as i64),
            "Elements of one call at most: `{each}` joins them by commas, `?id={each*}` repeats the pair. The answer, or what `pick` takes of it, is an array then.",
        )
        .or("a call for each"),
        Key::new(
            "by",
            Shape::Text,
            "With `batch`: the member that tells the elements of an answer apart, `\"id\"`.",
        ),
        Key::new(
            "into",
            Shape::Text,
            "Puts each answer next to its element, as a member of this name: `\"user\"` beside `user_id`.",
        )
        .or("an object of the answers by element, under the part's own name"),
    ],
};

/// `cache` of a part.
pub static PART_CACHE: Section = Section {
    title: "route.merge.NAME.cache",
    here: "this lifetime",
    doc: "How long answers of a part are used again, whatever the origin says of time. What the origin forbids (`no-store`, `private`, `no-cache`) stays forbidden.",
    keys: &[
        Key::new("ttl", Shape::Duration, "How long an answer is fresh: nobody is asked meanwhile.")
            .required(),
        Key::new(
            "stale_while_revalidate",
            Shape::Duration,
            "How long after that it is still used, while one call beside the clients' requests fetches a new one.",
        )
        .or("not at all"),
        Key::new(
            "stale_if_error",
            Shape::Duration,
            "How long after `ttl` it may stand in when the call fails; `gateway-partial` says so.",
        )
        .or("not at all"),
    ],
};
