//! Certificates, keys and roots: from the files that the configuration names to rules for sessions.
//!
//! A key that is not its certificate's, a chain in the wrong order, a certificate whose time is over: each is
//! told with the place that names the file, before any client meets it. What stands in a key's file never
//! stands in a diagnostic.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

use crate::base::limits::TLS_FILE_BYTES_MAX;
use crate::compile::acme::{self, AcmePlan};
use crate::compile::codes;
use crate::compile::pem;
use crate::compile::policy::Making;
use crate::config::diagnostic::Diagnostic;
use crate::config::listener::Protocols;
use crate::config::tls::{Certificate, ListenTls, Served, UpstreamTls};
use crate::config::{Acme, Config, Span, Spanned, Text};
use crate::gateway::carry::{Carry, KeyDigest};
use crate::tls::VersionMin;
use crate::tls::certificate::{self, Facts};
use crate::tls::client::{ClientTls, OriginRules};
use crate::tls::ocsp;
use crate::tls::server::{
    ClientRules, DoorRules, ProofScope, ServerRules, ServerTls, Tickets, Unfit, certified,
};
use crate::tls::stored::Stored;

/// The protocols that are spoken behind TLS; the preferred first (RFC 7301).
const ALPN: &[&str] = &["http/1.1"];

/// What a listener offers, the preferred first.
fn offered(protocols: Protocols) -> &'static [&'static str] {
    match protocols {
        Protocols { http1: true, http2: true } => &["h2", "http/1.1"],
        Protocols { http2: true, .. } => &["h2"],
        Protocols { .. } => ALPN,
    }
}

/// A certificate this close to its end is warned about. Unit: seconds. Three weeks: issuers for 90 days advise to
/// renew a month before.
const ENDS_SOON: u64 = 21 * 86_400;

/// What to do about a certificate of files that ends.
const RENEW: &str = "renew it: files that change are read again by themselves";
/// The same of one that an authority signs for us.
const RENEWED_BY_ITSELF: &str =
    "the gateway renews it while it runs; the event `acme_not_renewed` says why it could not";

/// TLS of a listener; `None` after an error was reported.
pub fn listener(
    tls: &ListenTls,
    acme: Option<&Acme>,
    protocols: Protocols,
    making: &Making<'_>,
    carry: &mut Carry,
) -> Option<ServerTls> {
    let mut all = Shown::default();
    for one in &tls.certificates {
        match one {
            Served::Files(one) => all.add_files(one, making),
            Served::Acme(hosts) => all.add_stored(hosts, acme, making),
        }
    }
    let doors = doors(tls, making, carry)?;
    if all.is_broken || tls.certificates.is_empty() {
        return None;
    }
    if let Some(first) = tls.suites.first()
        && tls.only_13
        && tls.suites.iter().all(|suite| suite.value.contains("_WITH_"))
    {
        let message = "none of these suites is one of TLS 1.3, and nothing older is spoken";
        let diagnostic = Diagnostic::error(codes::BAD_TLS, first.span, message);
        let advice =
            "add one of TLS 1.3, such as `TLS_AES_128_GCM_SHA256`, or leave out `min_version`";
        making.report.push(diagnostic.help(advice));
        return None;
    }
    let suites: Vec<String> = tls.suites.iter().map(|suite| suite.value.to_owned()).collect();
    let rules = ServerRules {
        certificates: &all.list,
        awaited: &all.awaited,
        refuses_unknown: tls.refuses_unknown,
        version_min: version_min(tls.only_13),
        suites: &suites,
        doors,
    };
    let made = ServerTls::new(rules, all.facts.into(), offered(protocols));
    made.map_err(|why| making.report.error(codes::BAD_TLS, tls.span, why)).ok()
}

/// What a listener shows, as it is gathered.
#[derive(Default)]
struct Shown {
    /// With the names that each is for.
    list: Vec<(Vec<String>, Arc<CertifiedKey>)>,
    facts: Vec<Facts>,
    /// Hosts whose certificates are yet to be obtained.
    awaited: Vec<String>,
    /// Whether one was wrong, and that was reported.
    is_broken: bool,
}

impl Shown {
    fn add_files(&mut self, one: &Certificate, making: &Making<'_>) {
        let Some((shown, fact)) = chain_with_key(one, making) else {
            self.is_broken = true;
            return;
        };
        self.list.push((fact.names.clone(), Arc::new(shown)));
        self.facts.push(fact);
    }

    fn add_stored(&mut self, hosts: &[Text], acme: Option<&Acme>, making: &Making<'_>) {
        // Without `[acme]` an error was reported.
        let Some(acme) = acme else { return };
        let found = acme::stored(acme, hosts, making);
        self.awaited.extend(found.awaited);
        for (names, Stored { shown, mut facts }) in found.list {
            // It is renewed by itself; only one that is late is worth a word.
            facts.ends_soon = ENDS_SOON.min(facts.not_after.saturating_sub(facts.not_before) / 6);
            if let Some(first) = hosts.first() {
                check_time(&facts, first.span, RENEWED_BY_ITSELF, making);
            }
            self.list.push((names, Arc::new(shown)));
            self.facts.push(facts);
        }
    }
}

/// Which clients come in by which name; behind those that are named, everybody else.
fn doors(tls: &ListenTls, making: &Making<'_>, carry: &mut Carry) -> Option<Vec<DoorRules>> {
    let mut doors = Vec::new();
    for client in &tls.clients {
        let roots = certificates(&client.roots, making)?;
        let mut digest = Context::new(&SHA256);
        digest.update(&[u8::from(client.required)]);
        roots.iter().for_each(|root| digest.update(root));
        let mut scope = ProofScope::default();
        scope.0.copy_from_slice(digest.finish().as_ref());
        let tickets = tickets(KeyDigest(scope.0), making, carry, tls.span)?;
        let hosts = client.hosts.iter().map(|host| host.value.clone()).collect();
        let clients = Some(ClientRules { roots, required: client.required });
        doors.push(DoorRules { hosts, clients, tickets, scope });
    }
    if doors.last().is_none_or(|door| !door.hosts.is_empty()) {
        let scope = ProofScope::default();
        let tickets = tickets(KeyDigest(scope.0), making, carry, tls.span)?;
        doors.push(DoorRules { hosts: Vec::new(), clients: None, tickets, scope });
    }
    Some(doors)
}

/// The keys of tickets for listeners that ask for the same client certificates: the last version's, if there are.
fn tickets(
    scope: KeyDigest,
    making: &Making<'_>,
    carry: &mut Carry,
    span: Span,
) -> Option<Tickets> {
    let last = || making.last.and_then(|last| last.carry.tickets.get(&scope)).cloned();
    let known = carry.tickets.get(&scope).cloned().or_else(last);
    let tickets = match known.map_or_else(Tickets::new, Ok) {
        Ok(tickets) => tickets,
        Err(error) => {
            making.report.error(codes::BAD_TLS, span, error.to_string());
            return None;
        }
    };
    carry.tickets.insert(scope, tickets.clone());
    Some(tickets)
}

/// TLS towards an upstream; `None` after an error was reported.
pub fn upstream(tls: &UpstreamTls, making: &Making<'_>) -> Option<ClientTls> {
    let mut all = Context::new(&SHA256);
    let roots = match &tls.roots {
        Some(path) => certificates(path, making)?,
        None => {
            let roots = making.assets.system_roots();
            roots.into_iter().map(CertificateDer::from).collect()
        }
    };
    roots.iter().for_each(|root| all.update(root));
    let name = match &tls.name {
        None => None,
        Some(text) => match ServerName::try_from(text.value.clone()) {
            Ok(name) => Some(name),
            Err(_) => {
                let message = "this is neither a name nor an address that a certificate could have";
                let diagnostic = Diagnostic::error(codes::BAD_TLS, text.span, message);
                making.report.push(diagnostic.help(
                    "write the name alone, `\"order.internal\"`: no `https://`, no port, no path",
                ));
                return None;
            }
        },
    };
    all.update(format!("{name:?} {} {:?}", tls.only_13, tls.pins).as_bytes());
    let proof = match &tls.certificate {
        None => None,
        Some(one) => {
            chain_with_key(one, making)?;
            let chain = certificates(&one.cert, making)?;
            let key = key(&one.key, making)?;
            chain.iter().for_each(|one| all.update(one));
            all.update(key.secret_der());
            Some((chain, key))
        }
    };
    let mut digest = [0; 32];
    digest.copy_from_slice(all.finish().as_ref());
    let version_min = version_min(tls.only_13);
    let rules = OriginRules { roots, name, pins: tls.pins.clone(), proof, version_min, digest };
    let made = ClientTls::new(rules);
    made.map_err(|why| making.report.error(codes::BAD_TLS, tls.span, why)).ok()
}

/// Every file that TLS is made of, once.
pub fn files(config: &Config, acme: Option<&AcmePlan>) -> Vec<PathBuf> {
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let upstreams = config.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    let shown = listeners.clone().flat_map(|tls| &tls.certificates);
    let shown = shown.filter_map(|served| match served {
        Served::Files(one) => Some(one),
        Served::Acme(_) => None,
    });
    let proofs = upstreams.clone().filter_map(|tls| tls.certificate.as_ref());
    let of_one = |one: &Certificate| {
        let ocsp = one.ocsp.as_ref().map(|path| path.value.clone());
        [Some(one.cert.value.clone()), Some(one.key.value.clone()), ocsp].into_iter().flatten()
    };
    let mut all: Vec<PathBuf> = shown.chain(proofs).flat_map(of_one).collect();
    let clients = listeners.flat_map(|tls| &tls.clients);
    all.extend(clients.map(|client| client.roots.value.clone()));
    all.extend(upstreams.filter_map(|tls| Some(tls.roots.as_ref()?.value.clone())));
    let obtained = acme.into_iter().flat_map(|plan| {
        let folder = acme::certificates(&plan.storage);
        plan.orders.iter().map(move |order| folder.join(format!("{}.pem", order.name)))
    });
    all.extend(obtained);
    all.sort();
    all.dedup();
    all
}

fn version_min(only_13: bool) -> VersionMin {
    if only_13 { VersionMin::Tls13 } else { VersionMin::Tls12 }
}

/// A certificate with its key, and what it says.
fn chain_with_key(one: &Certificate, making: &Making<'_>) -> Option<(CertifiedKey, Facts)> {
    let chain = certificates(&one.cert, making);
    let key = key(&one.key, making);
    let ocsp = match &one.ocsp {
        None => None,
        Some(path) => Some(read_ocsp(path, making)?),
    };
    let (chain, key) = (chain?, key?);
    let report = making.report;
    let Some(mut facts) = chain.first().and_then(|first| certificate::read(first)) else {
        report.error(codes::BAD_CERTIFICATE, one.cert.span, "its first certificate cannot be read");
        return None;
    };
    facts.ends_soon = ENDS_SOON;
    let in_order = check_order(&chain, one.cert.span, making);
    check_time(&facts, one.cert.span, RENEW, making);
    let ocsp = ocsp.filter(|answer| is_to_be_shown(answer, &facts, one, making));
    facts.stapled_until = ocsp.as_deref().and_then(ocsp::read).and_then(|said| said.until);
    match certified(chain, key, ocsp) {
        Ok(shown) => Some((shown, facts)),
        // In a chain that begins with another certificate no key would fit.
        Err(_) if !in_order => None,
        Err(why) => {
            let diagnostic = Diagnostic::error(codes::BAD_CERTIFICATE, one.key.span, why.what());
            let diagnostic = diagnostic.also(one.cert.span, "the certificate");
            report.push(match why {
                Unfit::Kind => diagnostic
                    .help("it can be RSA of 2048 bits or more, ECDSA with P-256, P-384 or P-521, or Ed25519"),
                Unfit::OtherKey => diagnostic.help(format!(
                    "these print the same where both belong together: `openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {}`",
                    one.cert.value.display(),
                    one.key.value.display()
                )),
                Unfit::Version => diagnostic,
            });
            None
        }
    }
}

/// Each certificate is signed by the next one (RFC 5246 §7.4.2; many clients insist although RFC 8446 does not).
fn check_order(chain: &[CertificateDer<'_>], span: Span, making: &Making<'_>) -> bool {
    let facts: Vec<Facts> = chain.iter().filter_map(|one| certificate::read(one)).collect();
    for (at, pair) in facts.windows(2).enumerate() {
        if pair[0].issuer != pair[1].subject {
            let message =
                format!("certificate {} of the chain is not signed by the one behind it", at + 1);
            let diagnostic = Diagnostic::error(codes::BAD_CERTIFICATE, span, message);
            making.report.push(diagnostic.help(
                "the server's own certificate comes first, then the one that signed it, and so on",
            ));
            return false;
        }
    }
    true
}

fn check_time(facts: &Facts, span: Span, renew: &str, making: &Making<'_>) {
    let now = making.assets.wall_secs();
    let days = |secs: u64| match secs / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    };
    let begins_in = facts.not_before.saturating_sub(now);
    let what = match now {
        0 => return,
        now if facts.not_after <= now => {
            format!("this certificate has ended, {} ago", days(now - facts.not_after))
        }
        now if facts.not_before > now => {
            format!("this certificate is not valid yet, it begins in {}", days(begins_in))
        }
        now if facts.not_after - now < facts.ends_soon => {
            format!("this certificate ends in {}", days(facts.not_after - now))
        }
        _ => return,
    };
    let advice = if now < facts.not_before {
        "clients refuse it until then; or the clock of this machine is wrong"
    } else {
        renew
    };
    making.report.push(Diagnostic::warning(codes::CERTIFICATE_TIME, span, what).help(advice));
}

fn text(path: &Spanned<PathBuf>, making: &Making<'_>) -> Option<String> {
    match making.assets.text(&path.value, TLS_FILE_BYTES_MAX) {
        Ok(text) => Some(text),
        Err(why) => {
            let message = format!("{} cannot be read: {why}", path.value.display());
            let diagnostic = Diagnostic::error(codes::ASSET_UNREADABLE, path.span, message);
            let advice = pem::unread_advice(&why);
            making.report.push(advice.into_iter().fold(diagnostic, Diagnostic::help));
            None
        }
    }
}

/// All certificates of a file, at least one.
pub(super) fn certificates(
    path: &Spanned<PathBuf>,
    making: &Making<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let text = text(path, making)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let list = read.unwrap_or_default();
    if list.is_empty() || list.iter().any(|one| certificate::read(one).is_none()) {
        let pem::Fault { message, advice } = pem::without_certificate(&text);
        let diagnostic = Diagnostic::error(codes::BAD_CERTIFICATE, path.span, message);
        making.report.push(diagnostic.help(advice));
        return None;
    }
    Some(list)
}

fn key(path: &Spanned<PathBuf>, making: &Making<'_>) -> Option<PrivateKeyDer<'static>> {
    let text = text(path, making)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        return Some(key);
    }
    let pem::Fault { message, advice } = pem::without_key(&text);
    let diagnostic = Diagnostic::error(codes::BAD_CERTIFICATE, path.span, message);
    making.report.push(diagnostic.help(advice));
    None
}

/// Whether an OCSP answer does good: one that has ended, or is about another certificate, is left out.
fn is_to_be_shown(answer: &[u8], facts: &Facts, one: &Certificate, making: &Making<'_>) -> bool {
    let Some(path) = &one.ocsp else { return false };
    let now = making.assets.wall_secs();
    let ended = |until: u64| now > 0 && until <= now;
    let (shown, message) = match ocsp::read(answer) {
        None => (false, "this OCSP answer is no successful one, and is left out"),
        Some(said) if said.serial != facts.serial => {
            (false, "this OCSP answer is about another certificate, and is left out")
        }
        Some(said) if said.until.is_some_and(ended) => {
            (false, "this OCSP answer has ended, and is left out")
        }
        // It is the truth, and clients may know it.
        Some(said) if said.revoked => {
            (true, "this OCSP answer says that the certificate is revoked")
        }
        Some(_) => return true,
    };
    let warning = Diagnostic::warning(codes::CERTIFICATE_TIME, path.span, message);
    making.report.push(warning.also(one.cert.span, "the certificate"));
    shown
}

/// An OCSP answer: PEM, or base64 alone.
fn read_ocsp(path: &Spanned<PathBuf>, making: &Making<'_>) -> Option<Vec<u8>> {
    let text = text(path, making)?;
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let answer = STANDARD.decode(body.trim()).ok().filter(|answer| answer.first() == Some(&0x30));
    if answer.is_none() {
        let message = "there is no OCSP answer in base64 in this file";
        let diagnostic = Diagnostic::error(codes::BAD_CERTIFICATE, path.span, message);
        making.report.push(diagnostic.help(
            "`base64 answer.der` makes one of what `openssl ocsp -respout answer.der` writes",
        ));
    }
    answer
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use crate::config::tls::SUITES;

    #[test]
    fn every_suite_of_the_language_is_one_of_the_cryptography() {
        let provider = aws_lc_rs::default_provider();
        let known = provider.cipher_suites.iter().map(crate::tls::standard_name);
        assert_eq!(known.collect::<Vec<_>>(), SUITES);
    }
}
