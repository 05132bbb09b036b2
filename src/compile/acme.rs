//! Certificates that are obtained: what is asked for, what is stored already, and what listeners show meanwhile.
//!
//! It reads the storage and never an authority. A certificate that cannot be used is a warning and never an error: the
//! next one is obtained, and every other name is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::base::limits::TLS_FILE_BYTES_MAX;
use crate::compile::codes;
use crate::compile::policy::Making;
use crate::compile::report::Report;
use crate::compile::tls;
use crate::config::acme::{Challenge, ExternalAccount, KeyType};
use crate::config::diagnostic::Diagnostic;
use crate::config::tls::Served;
use crate::config::{Acme, Config, Span, Text};
use crate::tls::certificate::hex;
use crate::tls::challenge::Challenges;
use crate::tls::stored::{self, Stored};

/// What the control side is to obtain, and from whom.
#[derive(Clone, Debug)]
pub struct AcmePlan {
    /// The authority's directory.
    pub directory: String,
    /// Whom the authority may write to.
    pub email: Vec<String>,
    /// The folder that replicas share.
    pub storage: PathBuf,
    /// How hosts are proven.
    pub challenge: Challenge,
    /// The kind of keys.
    pub key_type: KeyType,
    /// How long before its end a certificate is renewed, if not a third of its lifetime. Unit: seconds.
    pub renew_before: Option<u64>,
    /// The account that there is already.
    pub external_account: Option<ExternalAccount>,
    /// The roots by which the authority's server is checked; `None`: the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// One for each certificate.
    pub orders: Vec<AcmeOrder>,
    /// Where cores find what to answer.
    pub challenges: Arc<Challenges>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeOrder {
    /// Its hosts; the first names it.
    pub hosts: Vec<String>,
    /// Where it is stored, below the storage's `certificates`, without `.pem`.
    pub name: String,
    /// Whether it is stored already, and until when it holds. Unit: seconds since 1970.
    pub stored_until: Option<u64>,
}

/// The folder of certificates in a storage.
pub fn certificates(storage: &Path) -> PathBuf {
    storage.join("certificates")
}

/// What is to be obtained; `None` where there is nothing, or after an error was reported.
pub(super) fn compile(config: &Config, making: &Making<'_>) -> Option<AcmePlan> {
    check(config, making.report);
    let acme = config.acme.as_ref()?;
    let mut orders: Vec<AcmeOrder> = Vec::new();
    for (hosts, _) in named(config) {
        let name = name_of(acme, hosts);
        let path = certificates(&acme.storage).join(format!("{name}.pem"));
        let order = AcmeOrder {
            hosts: hosts.iter().map(|host| host.value.clone()).collect(),
            stored_until: read(&path, None, making).map(|stored| stored.facts.not_after),
            name,
        };
        if !orders.iter().any(|known| known.name == order.name) {
            orders.push(order);
        }
    }
    let roots = match &acme.ca {
        None => None,
        Some(path) => {
            let roots = tls::certificates(path, making)?;
            Some(roots.iter().map(|root| root.to_vec()).collect())
        }
    };
    let last = making.last.and_then(|last| last.challenges.clone());
    (!orders.is_empty()).then(|| AcmePlan {
        directory: acme.directory.clone(),
        email: acme.email.iter().map(|text| text.value.clone()).collect(),
        storage: acme.storage.clone(),
        challenge: acme.challenge.value,
        key_type: acme.key_type,
        renew_before: acme.renew_before.map(|time| time.as_secs()),
        external_account: acme.external_account.clone(),
        roots,
        orders,
        challenges: last.unwrap_or_default(),
    })
}

/// The hosts of each certificate that is to be obtained, and the listener that shows it.
fn named(config: &Config) -> impl Iterator<Item = (&Vec<Text>, usize)> {
    let listeners = config.listeners.iter().enumerate();
    listeners.flat_map(|(at, listener)| {
        let served = listener.tls.iter().flat_map(|tls| &tls.certificates);
        served.filter_map(move |one| match one {
            Served::Acme(hosts) => Some((hosts, at)),
            Served::Files(_) => None,
        })
    })
}

fn check(config: &Config, report: &Report) {
    check_twice(config, report);
    let first = named(config).find_map(|(hosts, _)| hosts.first());
    let Some(acme) = &config.acme else {
        if let (Some(host), false) = (first, config.declared.acme) {
            let message = "there is no `[acme]` that says who gives this certificate";
            let diagnostic = Diagnostic::error(codes::BAD_TLS, host.span, message);
            report.push(diagnostic.help(
                "write `[acme]` with `terms_agreed = true` and `email = \"ops@example.com\"`: Let's Encrypt is asked then",
            ));
        }
        return;
    };
    if first.is_none() && !report.has_errors() {
        let message = "no listener names a certificate that `[acme]` is to obtain";
        let diagnostic = Diagnostic::warning(codes::UNUSED, acme.span, message);
        report.push(diagnostic.help(
            "write `certificates = [{ acme = [\"api.example.com\"] }]` below `[listen.tls]`",
        ));
    }
    let answers = config.listeners.iter().any(|one| one.tls.is_none() && one.protocols.http1);
    if acme.challenge.value == Challenge::Http01 && !answers {
        let message = "`http-01` needs a listener that speaks HTTP/1.1 without TLS: the authority asks at port 80";
        let diagnostic = Diagnostic::error(codes::BAD_TLS, acme.challenge.span, message);
        report.push(diagnostic.help(
            "add `[[listen]]` with `address = \"0.0.0.0:80\"` and `redirect = \"https\"`, or write `challenge = \"tls-alpn-01\"`",
        ));
    }
}

/// One listener shows one certificate for a host.
fn check_twice(config: &Config, report: &Report) {
    let mut seen: Vec<(usize, &Text)> = Vec::new();
    for (hosts, at) in named(config) {
        let before = seen.len();
        for host in hosts {
            let known = seen[..before]
                .iter()
                .find(|(at_other, other)| *at_other == at && other.value == host.value);
            if let Some((_, first)) = known {
                let message = format!("two certificates of this listener are for `{}`", host.value);
                let diagnostic = Diagnostic::error(codes::BAD_TLS, host.span, message);
                report.push(diagnostic.also(first.span, "the other one"));
            }
            seen.push((at, host));
        }
    }
}

/// The name of a certificate's file: another authority, other hosts or another kind of key are another file.
fn name_of(acme: &Acme, hosts: &[Text]) -> String {
    let mut sorted: Vec<&str> = hosts.iter().map(|host| host.value.as_str()).collect();
    sorted.sort_unstable();
    let mut all = Context::new(&SHA256);
    for text in [acme.directory.as_str(), acme.key_type.word()].into_iter().chain(sorted) {
        all.update(text.as_bytes());
        all.update(b"\n");
    }
    let first = hosts.first().map_or("", |host| host.value.as_str());
    format!("{first}-{}", hex(&all.finish().as_ref()[..6]))
}

/// What a listener has to show for some hosts.
pub(super) struct Shown {
    /// Certificates, with the names they are shown for.
    pub(super) list: Vec<(Vec<String>, Stored)>,
    /// Hosts for which there is none yet.
    pub(super) awaited: Vec<String>,
}

/// What the storage has for these hosts: the certificate that was obtained for them, or, until there is one, whatever
/// other one is for some of them, so that a list may grow without a pause.
pub(super) fn stored(acme: &Acme, hosts: &[Text], making: &Making<'_>) -> Shown {
    let folder = certificates(&acme.storage);
    let files = making.assets.names(&folder);
    let name = format!("{}.pem", name_of(acme, hosts));
    let span = hosts.first().map_or(acme.span, |host| host.span);
    let mut left: Vec<String> = hosts.iter().map(|host| host.value.clone()).collect();
    let mut list = Vec::new();
    if files.contains(&name)
        && let Some(found) = read(&folder.join(&name), Some(span), making)
    {
        take(found, &mut left, &mut list);
    }
    if left.is_empty() {
        return Shown { list, awaited: left };
    }
    let now = making.assets.wall_secs();
    let others = files.iter().filter(|other| **other != name && other.ends_with(".pem"));
    let mut others: Vec<Stored> =
        others.filter_map(|other| read(&folder.join(other), None, making)).collect();
    others.retain(|other| other.facts.not_after > now);
    others.sort_by_key(|other| std::cmp::Reverse(other.facts.not_after));
    others.into_iter().for_each(|other| take(other, &mut left, &mut list));
    Shown { list, awaited: left }
}

/// Shows a certificate for those of the hosts that it names.
fn take(found: Stored, left: &mut Vec<String>, list: &mut Vec<(Vec<String>, Stored)>) {
    let (named, others): (Vec<_>, Vec<_>) =
        left.drain(..).partition(|host| found.facts.names.contains(host));
    *left = others;
    if !named.is_empty() {
        list.push((named, found));
    }
}

/// A file of the storage; where it is the one that was obtained for this very place, what is wrong with it is told.
fn read(path: &Path, place: Option<Span>, making: &Making<'_>) -> Option<Stored> {
    let text = making.assets.text(path, TLS_FILE_BYTES_MAX);
    let found = text.and_then(|text| stored::read(&text).map_err(str::to_owned));
    match (found, place) {
        (Ok(found), _) => Some(found),
        (Err(_), None) => None,
        (Err(why), Some(span)) => {
            let message =
                format!("the stored certificate {} cannot be used: {why}", path.display());
            let diagnostic = Diagnostic::warning(codes::BAD_STORED, span, message);
            making.report.push(diagnostic.help("another one is obtained in its place"));
            None
        }
    }
}
