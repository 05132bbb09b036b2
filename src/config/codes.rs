//! The codes of everything that can be wrong with the text of a configuration.
//!
//! A code is never used for two things and never given a new meaning, since people search for it.
//! `compile` continues at E0200 with what is wrong between the parts of a configuration.

/// The file is not TOML (or JSON).
pub const SYNTAX: &str = "E0100";
/// A file cannot be read.
pub const UNREADABLE: &str = "E0101";
/// `${VAR}` or `${file:…}` has no value and no default.
pub const UNSET: &str = "E0102";
/// `${` that is not closed, or names nothing.
pub const SUBSTITUTION: &str = "E0103";
/// The same name or key twice.
pub const DUPLICATE: &str = "E0104";
/// `include` that matches nothing, or stands where it may not.
pub const INCLUDE: &str = "E0105";
/// A value of the wrong type.
pub const WRONG_TYPE: &str = "E0106";
/// A key that the language does not have.
pub const UNKNOWN_KEY: &str = "E0107";
/// A key that must be there.
pub const MISSING_KEY: &str = "E0108";
/// A key or value of the language that this version cannot do yet.
pub const NOT_SUPPORTED: &str = "E0109";
/// A duration, size or rate that cannot be read.
pub const BAD_UNIT: &str = "E0110";
/// A number, size or duration outside of its range.
pub const OUT_OF_RANGE: &str = "E0111";
/// A `match` that cannot be read.
pub const BAD_MATCH: &str = "E0112";
/// A route without a target.
pub const NO_TARGET: &str = "E0113";
/// A route with several targets.
pub const SEVERAL_TARGETS: &str = "E0114";
/// A part that may take longer than its route.
pub const PART_TIMEOUT: &str = "E0115";
/// An address or network that cannot be read.
pub const BAD_ADDRESS: &str = "E0116";
/// None, or several, of keys of which exactly one must be there.
pub const NOT_ONE_OF: &str = "E0117";
/// A part that does not say its one call.
pub const BAD_PART: &str = "E0118";
/// A `forward` or a part that is not `UPSTREAM PATH`.
pub const BAD_CALL: &str = "E0119";
/// A key that means nothing beside this route's target.
pub const WRONG_TARGET: &str = "E0120";
/// A name with characters that names cannot have.
pub const BAD_NAME: &str = "E0121";
/// A text that is not one of the words that are allowed.
pub const BAD_CHOICE: &str = "E0122";
/// A list of cores that cannot be read.
pub const BAD_CORES: &str = "E0123";
/// A header field name or value that cannot be sent.
pub const BAD_FIELD: &str = "E0124";
/// A view of a merge that is for everybody, or for nothing.
pub const BAD_VIEW: &str = "E0125";
/// A test that says two things at once, or nothing.
pub const BAD_TEST: &str = "E0126";
/// Something that an answer which goes out early cannot have.
pub const BAD_STREAM: &str = "E0127";
/// A version of HTTP that cannot be spoken there.
pub const BAD_PROTOCOL: &str = "E0128";
/// Rules for pages of other origins that no browser would follow.
pub const BAD_CORS: &str = "E0140";
/// An edit of a field that is the gateway's own business, or that changes nothing.
pub const BAD_EDIT: &str = "E0141";
/// A closed route that says something impossible.
pub const BAD_MAINTENANCE: &str = "E0142";
/// A log or a collector that says something impossible.
pub const BAD_LOG: &str = "E0143";
/// A key of a cache that contradicts another.
pub const BAD_CACHE: &str = "E0150";
/// A certificate that cannot be obtained, or an authority that cannot be asked.
pub const BAD_ACME: &str = "E0160";
/// A configuration without routes: every request is answered with 404.
pub const NO_ROUTES: &str = "W0100";
/// An admin listener that other machines can reach.
pub const ADMIN_OPEN: &str = "W0101";
/// A pattern of `include` that matches no file.
pub const INCLUDES_NOTHING: &str = "W0102";
/// A streamed answer that never begins before its end.
pub const STREAM_WAITS: &str = "W0103";
/// A word that may be anything and is nearly one that is usual.
pub const SLIP: &str = "W0104";
