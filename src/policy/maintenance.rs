//! A route that is closed for a while: a fixed answer in place of its target.
//!
//! Closed by being written in the configuration (and opened by a reload), or, with a file's name, as long as
//! that file is there. Who looks for the file is the control thread; a core reads one word and never asks a
//! disk. Networks that may pass are asked by the client's address, so that operators can try what nobody else
//! sees yet.

use std::sync::Arc;

use crate::base::network::Network;
use crate::base::shared::Word;
use crate::exchange::Exchange;
use crate::exchange::reply::Reply;

/// The reason in the access log.
pub const REASON: &str = "maintenance";

/// What the problem document says.
pub const DETAIL: &str = "Closed for maintenance.";

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// One while the file is there; `None`: closed without one.
    pub switch: Option<Arc<Word>>,
    /// What everybody gets.
    pub reply: Reply,
    /// Whether its body is the gateway's own problem document, which names the request.
    pub problem: bool,
    /// Clients who pass all the same.
    pub passing: Box<[Network]>,
}

impl Maintenance {
    /// Whether this client finds the route closed.
    pub fn holds(&self, x: &Exchange) -> bool {
        let closed = self.switch.as_ref().is_none_or(|switch| switch.load() != 0);
        closed && !self.passing.iter().any(|network| network.contains(x.client.address))
    }
}
