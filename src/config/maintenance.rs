//! `maintenance` of a route or of `[default]`: closed for a while.
//!
//! `[default]` closes every route that does not opt out, which is the whole gateway. The answer is never a guess:
//! without a body of its own it is the gateway's usual problem document.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::limits::MAINTENANCE_NETWORKS_MAX;
use crate::config::codes;
use crate::config::defaults;
use crate::config::fields;
use crate::config::jwt::beside;
use crate::config::language::MAINTENANCE;
use crate::config::reader::{Reader, wrong_type};
use crate::config::tree::{Kind, Node};
use crate::config::units::{self, Network};

/// What a closed route answers.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// The file that closes it by being there; `None`: closed as it stands.
    pub file: Option<PathBuf>,
    /// 400–599. Default: 503.
    pub status: u16,
    /// The body; `None`: a problem document.
    pub body: Option<String>,
    /// Fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// When to come back. Default: 5 min.
    pub retry_after: Duration,
    /// Clients who pass.
    pub allow: Vec<Network>,
}

/// Reads `maintenance`.
pub(super) fn read(outer: &Reader<'_>, node: &Node) -> Option<Maintenance> {
    if !matches!(node.kind, Kind::Table(_)) {
        let advice = "write `maintenance = {}` to close it now, or `maintenance = { file = \"/run/ringway/closed\" }`";
        wrong_type(outer.log, node, "a table or \"none\"", advice);
        return None;
    }
    let reader = Reader::open(&MAINTENANCE, node, outer.log)?;
    let file = reader.text("file");
    if let Some(empty) = file.as_ref().filter(|file| file.value.is_empty()) {
        reader.error(codes::BAD_MAINTENANCE, empty.span, "the file's name is missing");
    }
    let networks = reader.texts("allow");
    if networks.len() > MAINTENANCE_NETWORKS_MAX {
        let message = format!("`allow` names at most {MAINTENANCE_NETWORKS_MAX} networks here");
        reader.error(codes::OUT_OF_RANGE, reader.place, message);
    }
    let mut allow = Vec::new();
    for text in networks {
        match units::network(&text.value) {
            Ok(network) => allow.push(network),
            Err(advice) => {
                let message = format!("`{}` is not a network", text.value);
                let diagnostic = crate::config::diagnostic::Diagnostic::error(
                    codes::BAD_ADDRESS,
                    text.span,
                    message,
                );
                reader.log.push(diagnostic.help(advice));
            }
        }
    }
    let sent = fields::to_send(reader.fields("headers"), reader.log);
    let headers = sent.into_iter().map(|(name, value)| (name.value, value.value)).collect();
    let retry = reader.duration_in("retry_after", Duration::ZERO, defaults::DURATION_MAX);
    Some(Maintenance {
        file: file.map(|file| beside(&file.value, file.span, outer.log)),
        status: reader.integer("status").map_or(defaults::MAINTENANCE_STATUS, |s| s.value as u16),
        body: reader.text("body").map(|body| body.value),
        headers,
        retry_after: retry.map_or(defaults::MAINTENANCE_RETRY_AFTER, |retry| retry.value),
        allow,
    })
}
