//! What authentication proved about the client.
//!
//! An `Identity` is only ever made by a policy that proved it, and is shared by reference count within
//! its core, so that a remembered token costs no copy.

use std::rc::Rc;

use serde_json::Value;

/// A proven identity: the claims of a verified token.
#[derive(Clone, Debug)]
pub struct Identity {
    claims: Rc<Value>,
}

impl Identity {
    /// From the claims of a token that was verified.
    pub fn from_verified(claims: Rc<Value>) -> Self {
        Self { claims }
    }

    /// The claim at `path` (`["realm", "roles"]`), or `None`.
    pub fn claim<S: AsRef<str>>(&self, path: &[S]) -> Option<&Value> {
        path.iter().try_fold(&*self.claims, |value, name| value.get(name.as_ref()))
    }

    /// Whether `scope` is among its scopes: words of the claim `scope` (RFC 8693 §4.2, RFC 9068 §2.2.3), or
    /// of `scp`, as some issuers call it; a text with blanks between, or a list.
    pub fn has_scope(&self, scope: &str) -> bool {
        let claim = self.claims.get("scope").or_else(|| self.claims.get("scp"));
        match claim {
            Some(Value::String(text)) => text.split(' ').any(|word| word == scope),
            Some(Value::Array(list)) => list.iter().any(|word| word.as_str() == Some(scope)),
            _ => false,
        }
    }

    /// The `sub` claim, if it is a string.
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }
}
