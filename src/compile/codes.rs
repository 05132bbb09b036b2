//! The codes of everything that can be wrong between the parts of a configuration.
//!
//! They go on where `config/codes.rs` ends, and as there a code is never used for two things and never
//! given a new meaning.

/// A name that no table has.
pub const UNKNOWN_NAME: &str = "E0200";
/// Two routes that can never be told apart.
pub const CLASH: &str = "E0201";
/// A template that cannot be read.
pub const BAD_TEMPLATE: &str = "E0202";
/// A claim is asked for where no token is.
pub const CLAIM_WITHOUT_JWT: &str = "E0203";
/// Keys that cannot be used.
pub const BAD_KEYS: &str = "E0204";
/// A file that the configuration names cannot be read.
pub const ASSET_UNREADABLE: &str = "E0205";
/// Two sockets that cannot both be there.
pub const ADDRESS_TAKEN: &str = "E0206";
/// A path into JSON that cannot be read or that contradicts another.
pub const BAD_PATH: &str = "E0207";
/// A header field that a part or `pass` may not set.
pub const RESERVED_FIELD: &str = "E0208";
/// A limit whose numbers are beyond what can be counted.
pub const BAD_LIMIT: &str = "E0209";
/// Parts of a merge that wait for each other.
pub const CYCLE: &str = "E0210";
/// A flattened part whose names cannot stand in the answer.
pub const BAD_FLATTEN: &str = "E0215";
/// `each` without elements, or an element without `each`.
pub const BAD_EACH: &str = "E0214";
/// A network that is both allowed and denied, or too many networks.
pub const CONTRADICTION: &str = "E0216";
/// Issuers that one route cannot tell apart, or a profile that lacks what it asks about.
pub const BAD_ISSUER: &str = "E0217";
/// Verdicts that would be remembered for all clients alike.
pub const BAD_VERDICT_KEY: &str = "E0219";
/// A file of revoked tokens, keys or users that cannot be read line by line.
pub const BAD_LIST: &str = "E0218";
/// A certificate, key or OCSP answer that cannot be used.
pub const BAD_CERTIFICATE: &str = "E0230";
/// TLS that cannot be spoken as it is asked for.
pub const BAD_TLS: &str = "E0231";
/// A certificate that has ended, ends soon, or does not hold yet.
pub const CERTIFICATE_TIME: &str = "W0230";
/// A certificate in the storage of `[acme]` that cannot be used.
pub const BAD_STORED: &str = "W0232";
/// A table that nothing names.
pub const UNUSED: &str = "W0200";
/// A route that is never reached.
pub const SHADOWED: &str = "W0201";
/// A key of a key set that is not used.
pub const KEY_LEFT_OUT: &str = "W0202";
/// Keys over a connection that is not encrypted.
pub const PLAIN_KEYS: &str = "W0203";
/// A limit's key that looks like a reference and is a constant.
pub const CONSTANT_KEY: &str = "W0204";
/// A route that nobody can use.
pub const CLOSED: &str = "W0206";
/// A credential that the access log keeps.
pub const SECRET_LOGGED: &str = "W0208";
/// A variable of nginx, which is a text here.
pub const FOREIGN_VARIABLE: &str = "W0209";
/// An endpoint at which this gateway listens itself.
pub const CIRCLE: &str = "W0205";
