//! Who asked, in the access log: the user, the subject of a token, the owner of a key, whom a certificate is about.
//!
//! Only what was proven is written, never what a client merely says of itself: a password typed into the field of the
//! name must not stand in a file. Written as it is unless the operator drops or hashes it, as nginx, Apache, Caddy
//! and Traefik write the user they know: an access log is read to find out who did it.

use crate::base::limits::LOG_IDENTITY_BYTES_MAX;
use crate::exchange::Exchange;
use crate::exchange::client_cert::CertField;
use crate::exchange::identity::Identity;
use crate::observe::line::Line;
use crate::observe::log_rules::{Keep, LogRules};
use crate::observe::names::field;

/// The names that an identity has, in the order in which one stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever knew a password.
    User,
    /// Of a token.
    Subject,
    /// Of a key.
    KeyOwner,
    /// Of a certificate.
    ClientCert,
}

impl Who {
    const ALL: [Who; 4] = [Self::User, Self::Subject, Self::KeyOwner, Self::ClientCert];

    fn name(self) -> &'static str {
        match self {
            Self::User => field::USER,
            Self::Subject => field::SUBJECT,
            Self::KeyOwner => field::KEY_OWNER,
            Self::ClientCert => field::CLIENT_CERT,
        }
    }

    fn of(self, identity: &Identity) -> Option<&str> {
        match self {
            Self::User => identity.user(),
            Self::Subject => identity.subject(),
            Self::KeyOwner => identity.key_owner(),
            Self::ClientCert => {
                identity.client_cert().and_then(|cert| cert.value(CertField::Subject))
            }
        }
    }
}

/// Writes the members of a JSON line; whether one was cut.
pub(crate) fn write(line: &mut Line<'_>, x: &Exchange, rules: Option<&LogRules>) -> bool {
    let Some(identity) = &x.identity else { return false };
    let keep = rules.map_or(Keep::Keep, |rules| rules.identity);
    let mut cut = false;
    for who in Who::ALL {
        let Some(value) = who.of(identity).filter(|_| keep != Keep::Drop) else { continue };
        match rules.and_then(|rules| rules.hashed(keep, value.as_bytes())) {
            Some(hash) => line.plain(who.name(), &hash),
            None => cut |= line.outside(who.name(), value.as_bytes(), LOG_IDENTITY_BYTES_MAX),
        }
    }
    cut
}

impl LogRules {
    /// Writes one name in a line of text, `-` where there is none; of `None` the first that there is.
    pub(crate) fn write_who(&self, line: &mut Line<'_>, x: &Exchange, who: Option<Who>) {
        let identity = x.identity.as_ref().filter(|_| self.identity != Keep::Drop);
        let value = identity.and_then(|identity| match who {
            Some(who) => who.of(identity),
            None => Who::ALL.into_iter().find_map(|who| who.of(identity)),
        });
        let value = value.unwrap_or_default().as_bytes();
        match self.hashed(self.identity, value).filter(|_| !value.is_empty()) {
            Some(hash) => line.put(&hash),
            None => line.word(value, LOG_IDENTITY_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::json;

    use super::*;
    use crate::observe::fixture::forwarded;

    #[test]
    fn what_is_proven_is_written_and_escaped() {
        let mut x = forwarded();
        let mut room = [0; 1024];
        let mut line = Line::new(&mut room);
        line.put(b"{\"a\":1");
        assert!(!write(&mut line, &x, None), "nobody is known");
        let claims = Rc::new(json!({"sub": "a\"\n b"}));
        x.identity = Some(Identity::from_verified(claims));
        assert!(!write(&mut line, &x, None));
        let claims = Rc::new(json!({"sub": "s".repeat(LOG_IDENTITY_BYTES_MAX + 1)}));
        x.identity = Some(Identity::from_verified(claims));
        assert!(write(&mut line, &x, None), "a long one is cut");
        let written = line.finish().map(|length| room[..length].to_vec()).expect("it fits");
        assert!(written.starts_with(b"{\"a\":1,\"subject\":\"a\\\"\\u000a b\",\"subject\":\"sss"));
    }
}
