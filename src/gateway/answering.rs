//! What a route does to every answer, whoever made it: an origin, a merge, or the gateway itself.
//!
//! It never decides whether a request may pass (that is `policy`'s), and a route without any of it has none of
//! this: one look at an empty option is all that such a route pays.

use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::http::names::FieldName;
use crate::policy::compress::Compress;
use crate::policy::cors::Cors;
use crate::policy::header_edit::HeaderEdits;

/// The edits of answers, compiled.
#[derive(Debug, Default)]
pub struct Answering {
    /// What browsers are told about pages of other origins.
    pub cors: Option<Cors>,
    /// How answers are compressed.
    pub compress: Option<Compress>,
    /// Whether calls in gRPC-Web are translated to gRPC.
    pub grpc_web: bool,
    /// Fields set, added and removed.
    pub edits: HeaderEdits,
    /// Names that are left out of the answer, in lower case: of both.
    pub dropped: Box<[Box<str>]>,
}

impl Answering {
    /// Whether an origin's field of this name is left out of the answer, however it is spelt.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|known| FieldName::is_spelling(name, known.as_bytes()))
    }

    /// The same behind the body, where none of the rules for browsers may stand that are not ours.
    pub fn drops_trailer(&self, name: &[u8]) -> bool {
        const RULES: &[u8] = b"access-control-";
        let rule = |name: &[u8]| FieldName::is_spelling(name, RULES);
        self.drops(name) || self.cors.is_some() && name.get(..RULES.len()).is_some_and(rule)
    }

    /// Appends the lines that an answer to this request gets.
    ///
    /// # Errors
    /// A value is missing that a template needs.
    pub fn lines(&self, x: &Exchange, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.cors_lines(x, out);
        self.edits.render(x, out)
    }

    /// The same for an answer that must go out whatever is missing.
    pub fn some_lines(&self, x: &Exchange, out: &mut Vec<u8>) {
        self.cors_lines(x, out);
        self.edits.render_some(x, out);
    }

    fn cors_lines(&self, x: &Exchange, out: &mut Vec<u8>) {
        if let Some(cors) = &self.cors {
            cors.lines(x.request(), out);
        }
    }
}
