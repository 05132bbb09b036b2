//! `observe.otlp`: where spans go, and which.
//!
//! Only `http://`: a collector stands on the same host or in the same network, as a rule as an agent; a
//! certificate that nobody checks would be no protection. Values of headers may be secrets and are never shown.

use std::time::Duration;

use crate::config::codes;
use crate::config::defaults;
use crate::config::diagnostic::Diagnostic;
use crate::config::fields;
use crate::config::jwt::Secret;
use crate::config::language::OTLP;
use crate::config::mirror::{read_share, share_text};
use crate::config::reader::Reader;
use crate::config::span::Text;
use crate::config::tree::{Log, Node};

/// A collector of spans (OpenTelemetry protocol over HTTP).
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Its URL, path included.
    pub endpoint: Text,
    /// How many of a million traces that begin here are sampled; failed requests always are.
    pub millionths: u32,
    /// `service.name`.
    pub service: String,
    /// Fields sent with each batch.
    pub headers: Vec<(String, Secret)>,
    /// How long the collector may take.
    pub timeout: Duration,
}

/// Reads `otlp`.
pub(super) fn read(node: &Node, log: &Log) -> Option<Otlp> {
    let reader = Reader::open(&OTLP, node, log)?;
    if reader.node("endpoint").is_none() {
        reader.missing("endpoint", "write `endpoint = \"http://127.0.0.1:4318/v1/traces\"`");
    }
    let sample = share_text(&reader, "sample").map(|sample| read_share(&reader, &sample));
    let headers = fields::to_send(reader.fields("headers"), log);
    if let Some(node) = reader.node("headers") {
        log.mask(node.span);
    }
    let timeout = reader.duration("timeout");
    let service = reader.text("service");
    let endpoint = reader.text("endpoint")?;
    check(&reader, &endpoint)?;
    Some(Otlp {
        endpoint,
        millionths: sample.unwrap_or(Some(defaults::OTLP_SAMPLE))?,
        service: service.map_or_else(|| "ringway".to_owned(), |name| name.value),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.value, Secret::new(value.value)))
            .collect(),
        timeout: timeout.map_or(defaults::OTLP_TIMEOUT, |timeout| timeout.value),
    })
}

fn check(reader: &Reader<'_>, endpoint: &Text) -> Option<()> {
    let rest = endpoint.value.strip_prefix("http://");
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    if host.is_some_and(|host| !host.is_empty() && !host.contains('@')) {
        if rest.is_some_and(|rest| rest.split_once('/').is_none_or(|(_, path)| path.is_empty())) {
            let message = "spans are sent to this very address, and it has no path";
            let diagnostic = Diagnostic::warning(codes::SLIP, endpoint.span, message);
            reader.log.push(diagnostic.help("collectors take them at `/v1/traces`"));
        }
        return Some(());
    }
    let message = "this is not the address of a collector";
    let diagnostic = Diagnostic::error(codes::BAD_LOG, endpoint.span, message);
    reader.log.push(diagnostic.help(
        "write `http://HOST:4318/v1/traces`; send to another host through a collector on this one",
    ));
    None
}
