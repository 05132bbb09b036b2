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

    /// The `sub` claim, if it is a string.
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }
}
