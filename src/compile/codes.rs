//! The codes of what can be wrong between the parts of a configuration; `config::codes` has those below.
//!
//! A code is never used for two things and never given a new meaning, since people search for it.

/// A name of an upstream, issuer or limit that nothing has.
pub const UNKNOWN_NAME: &str = "E0200";
/// Two routes that can never be told apart.
pub const CLASH: &str = "E0201";
/// A template that cannot be read.
pub const BAD_TEMPLATE: &str = "E0202";
/// A claim is used where no token is asked for.
pub const CLAIM_WITHOUT_JWT: &str = "E0203";
/// Keys that cannot be used.
pub const BAD_KEYS: &str = "E0204";
/// Too many path parameters in one route.
pub const TOO_MANY_PARAMS: &str = "E0205";
/// A `pick` that cannot be read.
pub const BAD_PICK: &str = "E0206";
/// Too many parts in one merge.
pub const TOO_MANY_PARTS: &str = "E0207";
/// A rate or burst outside of what can be counted.
pub const BAD_LIMIT: &str = "E0208";
/// The same path parameter twice.
pub const PARAM_TWICE: &str = "E0209";
/// A field of a part's answer that this version does not pass on.
pub const PART_FIELDS: &str = "E0210";
/// An upstream, issuer or limit that no route uses.
pub const UNUSED: &str = "W0200";
/// A route that is never reached.
pub const SHADOWED: &str = "W0201";
/// Keys over a connection that is not encrypted.
pub const PLAIN_KEYS: &str = "W0202";
