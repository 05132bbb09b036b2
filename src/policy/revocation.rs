//! Tokens and subjects that are refused although their signatures hold (RFC 7009 has no other way for JWTs).
//!
//! A list says `jti:ID` for one token, `sub:ID` for everything of a subject, `sub:ID SECONDS` for what was
//! issued to it until then (seconds since 1970), which is how "log out everywhere" is written. A token that
//! cannot be dated is never spared by a date: without `iat` it is refused.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::base::limits::REVOKED_MAX;
use crate::policy::file_cell::{LineError, lines};

/// What is revoked.
#[derive(Debug, Default)]
pub struct Revoked {
    tokens: HashSet<Box<str>>,
    /// Until which second of issue; `u64::MAX` for everything.
    subjects: HashMap<Box<str>, u64>,
}

impl Revoked {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that cannot be read: a list that is understood by half protects by half.
    pub fn parse(text: &str) -> Result<Revoked, LineError> {
        let mut revoked = Revoked::default();
        for (line, entry) in lines(text) {
            let wrong = |why| LineError { line, why };
            let id = |id: &str| -> Result<Box<str>, LineError> {
                if id.is_empty() { Err(wrong("the id is missing")) } else { Ok(id.into()) }
            };
            if let Some(token) = entry.strip_prefix("jti:") {
                revoked.tokens.insert(id(token)?);
            } else if let Some(subject) = entry.strip_prefix("sub:") {
                let (subject, until) = match subject.rsplit_once([' ', '\t']) {
                    None => (subject, u64::MAX),
                    Some((subject, until)) => {
                        let until = until.parse();
                        let until = until
                            .map_err(|_| wrong("behind a subject stand seconds since 1970"))?;
                        (subject.trim_end(), until)
                    }
                };
                let until = until.max(revoked.subjects.get(subject).copied().unwrap_or(0));
                revoked.subjects.insert(id(subject)?, until);
            } else {
                return Err(wrong("an entry begins with `jti:` or `sub:`"));
            }
            if revoked.len() > REVOKED_MAX {
                return Err(wrong("the list is too long"));
            }
        }
        Ok(revoked)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.subjects.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token with these claims is revoked.
    pub fn holds(&self, claims: &Value) -> bool {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("jti").is_some_and(|id| self.tokens.contains(id)) {
            return true;
        }
        let until = text("sub").and_then(|subject| self.subjects.get(subject));
        until.is_some_and(|until| {
            let issued = claims.get("iat").and_then(Value::as_f64);
            issued.is_none_or(|issued| issued <= *until as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_and_subjects_are_revoked_and_dates_are_kept() {
        let text = "# a list\n\njti:t1\nsub:alice\n  sub:bob 1700000000\n";
        let revoked = Revoked::parse(text).unwrap();
        assert_eq!(revoked.len(), 3);
        assert!(revoked.holds(&json!({"jti": "t1", "sub": "x"})));
        assert!(!revoked.holds(&json!({"jti": "t2", "sub": "x"})));
        assert!(revoked.holds(&json!({"sub": "alice", "iat": 9_999_999_999u64})));
        assert!(revoked.holds(&json!({"sub": "bob", "iat": 1_700_000_000})));
        assert!(!revoked.holds(&json!({"sub": "bob", "iat": 1_700_000_001})));
        assert!(revoked.holds(&json!({"sub": "bob"})), "a token without a date");
        assert!(!revoked.holds(&json!({"jti": 5, "sub": ["alice"]})), "ids are texts");
    }

    #[test]
    fn of_two_dates_the_later_holds() {
        let revoked = Revoked::parse("sub:a 20\nsub:a 10").unwrap();
        assert!(revoked.holds(&json!({"sub": "a", "iat": 15})));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_without_its_text() {
        for (text, line) in [("jti:a\nfoo", 2), ("jti:", 1), ("sub:a soon", 1), ("sub: 5", 1)] {
            let error = Revoked::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("foo") && !error.to_string().contains("soon"));
        }
    }
}
