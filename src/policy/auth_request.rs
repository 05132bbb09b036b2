//! Asking a service who may pass: what is asked for, what its answer means, and for how long it is remembered.
//!
//! A 2xx lets the request pass, 401 and 403 refuse it, and anything else, as no answer at all, closes the route: a
//! request never passes because a service is away. Fields of the answer that the operator names go on with the request;
//! the client's own of these names never do, in no spelling, so that nobody vouches for himself. A verdict is remembered
//! per core under a key that the operator chooses, because only he knows what the service looks at; without one every
//! request asks. The asking itself is `serve/auth_request.rs`.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::UpstreamId;
use crate::base::limits::{EDITED_LINES_BYTES_MAX, VERDICTS_ASKED_MAX};
use crate::base::name::Name;
use crate::base::shared::unique;
use crate::base::time::Instant;
use crate::exchange::Exchange;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::template::{Reference, Template};
use crate::http::head::Response;
use crate::http::names::FieldName;
use crate::http::withheld;
use crate::policy::{Env, Verdict};

/// What one route asks, and whom.
pub struct AuthRules {
    /// The name in the configuration.
    pub name: Name,
    /// Who is asked.
    pub upstream: UpstreamId,
    /// The path and query that are asked for.
    pub target: Template,
    /// Fields of its answer that go on with the request, in lower case.
    pub copy: Box<[Box<str>]>,
    /// How long it may take.
    pub timeout: Duration,
    /// What verdicts are remembered by, and for how long.
    pub cache: Option<(Template, Duration)>,
    /// The client's own fields that the service never sees.
    pub dropped: Box<[Box<str>]>,
}

struct Inner {
    rules: AuthRules,
    /// What this policy remembers is apart from what others remember.
    space: u64,
}

/// The compiled policy.
#[derive(Clone)]
pub struct AuthRequest {
    inner: Arc<Inner>,
}

impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest").field("name", &self.inner.rules.name).finish_non_exhaustive()
    }
}

/// What the service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its status: 2xx, 401 or 403.
    status: u16,
    /// Complete lines that go on with the request.
    lines: Rc<[u8]>,
    /// The challenge of a 401.
    challenge: Option<Rc<[u8]>>,
}

/// A verdict that is remembered.
#[derive(Clone)]
pub(crate) struct Remembered {
    said: Said,
    until: Instant,
}

/// A question that a core has under way.
pub(crate) struct Asking {
    space: u64,
    key: Box<[u8]>,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The verdict is there.
    Known(Said),
    /// Somebody asks the same: look again.
    Wait,
    /// Ask. `Some` names the question, which ends with [`AuthRequest::end`].
    Ask(Option<Box<[u8]>>),
}

impl Said {
    /// What an answer means; `None` where it decides nothing, or what it vouches for is too long.
    pub fn of(response: Response<'_>, copy: &[Box<str>]) -> Option<Said> {
        let status = response.head.status.0;
        let mut lines = Vec::new();
        let mut challenge = None;
        match status {
            200..=299 => {
                for field in response.head.fields.iter() {
                    let (name, value) = (field.name.of(response.raw), field.value.of(response.raw));
                    let Some(name) = copy.iter().find(|n| n.as_bytes().eq_ignore_ascii_case(name))
                    else {
                        continue;
                    };
                    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
                        lines.extend_from_slice(piece);
                    }
                }
                if lines.len() > EDITED_LINES_BYTES_MAX {
                    return None;
                }
            }
            401 => {
                let mut fields = response.head.fields.named(b"www-authenticate", response.raw);
                challenge = fields.next().map(Rc::from);
            }
            403 => {}
            _ => return None,
        }
        Some(Said { status, lines: lines.into(), challenge })
    }
}

impl AuthRequest {
    /// From its rules.
    pub fn new(rules: AuthRules) -> AuthRequest {
        AuthRequest { inner: Arc::new(Inner { rules, space: unique() }) }
    }

    /// The rules.
    pub fn rules(&self) -> &AuthRules {
        &self.inner.rules
    }

    /// Decides about a request by what is remembered, or has the service asked.
    pub fn on_request(&self, x: &mut Exchange, env: &mut Env<'_>) -> Verdict {
        let mut key = std::mem::take(&mut env.slots.auth_key);
        let known = self.key(x, &mut key).then(|| self.recall(&key, env)).flatten();
        env.slots.auth_key = key;
        match known.map(|said| self.apply(&said, x)) {
            None => Verdict::AskService,
            Some(Ok(())) => Verdict::Continue,
            Some(Err(fault)) => Verdict::Refuse(fault),
        }
    }

    /// What is to be done about a request that was not decided at once.
    pub fn begin(&self, x: &Exchange, env: &mut Env<'_>) -> Step {
        let mut key = Vec::new();
        if !self.key(x, &mut key) {
            return Step::Ask(None);
        }
        if let Some(said) = self.recall(&key, env) {
            return Step::Known(said);
        }
        let space = self.inner.space;
        let asking = &mut env.slots.asking;
        if asking.iter().any(|one| one.space == space && *one.key == *key) {
            return Step::Wait;
        }
        // Beyond the bound nobody waits for anybody.
        if asking.len() < VERDICTS_ASKED_MAX {
            asking.push(Asking { space, key: key.as_slice().into() });
        }
        Step::Ask(Some(key.into()))
    }

    /// A question is over; what was `said`, if anything, is remembered.
    pub fn end(&self, key: &[u8], said: Option<&Said>, env: &mut Env<'_>) {
        let space = self.inner.space;
        env.slots.asking.retain(|one| one.space != space || *one.key != *key);
        if let (Some((_, ttl)), Some(said)) = (&self.inner.rules.cache, said) {
            let weight = key.len() + said.lines.len() + 128;
            let known = Remembered { said: said.clone(), until: env.now + *ttl };
            env.slots.verdicts().insert(space, key, known, weight);
        }
    }

    /// Does what was said.
    ///
    /// # Errors
    /// The request may not pass.
    pub fn apply(&self, said: &Said, x: &mut Exchange) -> Result<(), Fault> {
        let refused = |kind| Fault { kind, side: Side::Downstream, again: Again::Never };
        match said.status {
            200..=299 => {
                self.hide_own(x);
                x.request_lines.extend_from_slice(&said.lines);
                Ok(())
            }
            401 => {
                x.reason = "auth_request_401";
                if let Some(challenge) = &said.challenge {
                    x.reply_fields.add("www-authenticate", challenge);
                }
                Err(refused(FaultKind::Unauthorized))
            }
            _ => {
                x.reason = "auth_request_403";
                Err(refused(FaultKind::HttpRequestDenied))
            }
        }
    }

    /// Takes the client's own fields of the names that the service vouches for out of everybody's sight: a template that
    /// reads one must not read what the client says of itself.
    fn hide_own(&self, x: &mut Exchange) {
        let copy = &self.inner.rules.copy;
        let Exchange { head, bytes: Some(bytes), .. } = x else { return };
        for field in head.fields.iter_mut() {
            let name = field.name.of(bytes.data());
            if copy.iter().any(|copied| FieldName::is_spelling(name, copied.as_bytes())) {
                field.id = FieldName::LookAlike;
            }
        }
    }

    /// The key of a request; `false` when it has none. Method and authority are always in it, for no service that is asked
    /// can be trusted to look at neither. A field or parameter of the key that stands there twice has none: the service
    /// sees all of them and a template only the first, so that one verdict would be given for another credential.
    fn key(&self, x: &Exchange, key: &mut Vec<u8>) -> bool {
        key.clear();
        let Some((template, _)) = &self.inner.rules.cache else { return false };
        let request = x.request();
        let is_repeated = |reference| match reference {
            Reference::Header(name) => request.all_named(name.as_bytes()).nth(1).is_some(),
            Reference::Query(name) => {
                let pairs = request.query().unwrap_or_default().split(|byte| *byte == b'&');
                pairs.filter(|pair| withheld::is_named(pair, name.as_bytes())).nth(1).is_some()
            }
            _ => false,
        };
        if template.references().any(is_repeated) {
            return false;
        }
        for piece in [request.method_text(), request.authority()] {
            key.extend_from_slice(&piece.len().to_ne_bytes());
            key.extend_from_slice(piece);
        }
        template.render(x, key).is_ok()
    }

    fn recall(&self, key: &[u8], env: &mut Env<'_>) -> Option<Said> {
        let (space, now) = (self.inner.space, env.now);
        let known = env.slots.verdicts().find(space, key)?;
        if now < known.until {
            return Some(known.said.clone());
        }
        env.slots.verdicts().remove(space, key);
        None
    }
}
