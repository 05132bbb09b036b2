//! Which state of policies survives into the next version, and by which key: same name, same settings.
//!
//! A limit that did not change keeps its cells, so that a reload never refills anybody's budget; an
//! issuer that did not change keeps its keys and what was remembered of its tokens. What did change
//! starts anew. Secrets never stand here: key material is known by its SHA-256 only.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::base::name::Name;
use crate::base::seats::Seats;
use crate::base::shared::Cells;
use crate::policy::basic::Basic;
use crate::policy::file_cell::List;
use crate::policy::jwt::Jwt;
use crate::policy::password::Desk;
use crate::policy::store::Machine;
use crate::tls::server::Tickets;
use crate::upstream::Upstream;

/// What one version leaves to the next.
#[derive(Default)]
pub struct Carry {
    /// Limits by name.
    pub limits: HashMap<Name, CarriedLimit>,
    /// Who is there at once, by the full name of the limit.
    pub seats: HashMap<Name, Arc<Seats>>,
    /// Issuers by name.
    pub issuers: HashMap<Name, CarriedIssuer>,
    /// Tables of users by name.
    pub basics: HashMap<Name, CarriedBasic>,
    /// Where passwords are checked.
    pub desk: Option<Arc<Desk>>,
    /// Lists by file.
    pub lists: HashMap<PathBuf, CarriedList>,
    /// Keys of session tickets, by what the listeners that use them ask of clients.
    pub tickets: HashMap<KeyDigest, Tickets>,
    /// The store of responses.
    pub machine: Option<Arc<Machine>>,
    /// Which responses in it belong to which route.
    pub caches: Vec<CarriedCache>,
}

/// The part of the store that belongs to a route.
pub struct CarriedCache {
    /// The route's name.
    pub route: String,
    /// What its answers depend on besides the upstreams.
    pub told: String,
    /// Who gives them; held, so that another one is never taken for it.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The number in the keys of its answers.
    pub space: u64,
}

/// A limit and its memory.
#[derive(Clone)]
pub struct CarriedLimit {
    /// What it says.
    pub shape: LimitShape,
    /// What it counted.
    pub cells: Arc<Cells>,
}

/// What a limit says: the cells are kept exactly while this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitShape {
    /// Requests in a period.
    pub count: u64,
    /// The period.
    pub period: Duration,
    /// Requests at once after a pause.
    pub burst: u64,
    /// Keys remembered.
    pub keys_max: usize,
    /// The key's template as written.
    pub key: Box<str>,
    /// How much of an IPv6 address is counted as one. Unit: bits.
    pub ipv6_prefix: u8,
    /// Whether it is counted for the fleet.
    pub stored: bool,
}

/// An issuer of tokens and its memory.
#[derive(Clone)]
pub struct CarriedIssuer {
    /// Where its keys come from, and the keys themselves unless they are fetched.
    pub keys: KeyDigest,
    /// The policy, with the cell of its keys.
    pub policy: Jwt,
}

/// A table of users and its memory.
#[derive(Clone)]
pub struct CarriedBasic {
    /// What it says.
    pub told: String,
    /// The policy.
    pub policy: Basic,
}

/// A list from a file, and what it was made from.
#[derive(Clone)]
pub struct CarriedList {
    /// The list.
    pub list: List,
    /// SHA-256 of the text that was compiled.
    pub digest: KeyDigest,
    /// That of the list when it held this text: whoever watches the file may have loaded others since.
    pub generation: u64,
}

/// SHA-256 of everything that decides about an issuer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    /// Of one text.
    pub fn of(text: &[u8]) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
        KeyDigest(bytes)
    }
}
