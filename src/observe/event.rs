//! What operators are told: typed events, one clear line each, rate-limited by kind.
//!
//! Events are for a person at a terminal or a log collector (`Format::Json`); the path of a request never
//! tells one at `info`. Texts from outside (an issuer's error, a kernel's) are bounded and lose their
//! control characters, so that no event can forge a line. More than `EVENTS_PER_WINDOW_MAX` of a kind in a
//! minute are counted instead of shown, and the next one shown says how many.
//!
//! An event never carries a secret: no variant has room for a key or a token.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::limits::{EVENT_TEXT_BYTES_MAX, EVENT_WINDOW_SECS, EVENTS_PER_WINDOW_MAX};
use crate::base::time::{Instant, Wall};
use crate::observe::line::Line;
use crate::observe::names::field;

/// Something that an operator should know.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the sentence of `Display` says what each field is")]
pub enum Event<'a> {
    /// Every worker runs and the listeners accept.
    Started { version: &'a str, config: &'a str, workers: usize, driver: &'a str },
    /// Connections were closed because of their PROXY header.
    ProxyHeaderRefused { worker: usize, listener: &'a str, peer: &'a str, why: &'a str },
    /// The process ends.
    Stopped { requests: u64 },
    /// A listener accepts.
    ListenerBound { listener: &'a str, address: &'a str },
    /// The admin listener accepts.
    AdminBound { address: &'a str },
    /// A new configuration is in force on every core.
    ReloadInstalled { version: u64, routes: usize, took: Duration },
    /// A new configuration was not good; the old one stays.
    ReloadRefused { version: u64, errors: usize, first: &'a str },
    /// A worker's thread ended by itself.
    WorkerDied { worker: usize, why: &'a str },
    /// Something is wrong with a worker that goes on.
    WorkerTrouble { worker: usize, what: &'a str },
    /// A worker that had died runs again.
    WorkerRestarted { worker: usize },
    /// The wanted driver cannot run here.
    DriverFallback { wanted: &'a str, taken: &'a str, cause: &'a str, fix: &'a str },
    /// A key set was fetched.
    KeysFetched { set: &'a str, keys: usize },
    /// A key set could not be fetched.
    KeysFailed { set: &'a str, why: &'a str, kept: usize },
    /// A list from a file was loaded.
    ListLoaded { list: &'a str, file: &'a str, entries: usize },
    /// It was not; the old one stays.
    ListFailed { list: &'a str, file: &'a str, why: &'a str },
    /// No new connections; the running requests finish.
    DrainBegun { connections: u64, deadline: Duration },
    /// The drain is over.
    DrainOver { left: u64, took: Duration },
    /// Lines of the access log are being lost.
    LogFailing { target: &'a str, why: &'a str },
    /// It could not be opened again: what is open stays, and it is tried again.
    LogKept { target: &'a str, why: &'a str },
    /// The access log is written again.
    LogRecovered { target: &'a str, lines_lost: u64 },
    /// A collector does not take spans.
    SpansFailing { collector: &'a str, why: &'a str },
    /// It takes them again.
    SpansRecovered { collector: &'a str, lost: u64 },
    /// The access log was opened again.
    LogReopened { target: &'a str },
    /// Connections cannot be accepted or made for want of descriptors or memory.
    ShortageBegun { why: &'a str },
    /// They can again.
    ShortageOver,
    /// Connections were closed at once because a bound was reached.
    ConnectionsRefused { listener: &'a str, count: u64, bound: &'a str, client: Option<IpAddr> },
    /// An endpoint could not be connected to and is passed over for a while.
    EndpointAside { upstream: &'a str, address: &'a str, why: &'a str, pause: Duration },
    /// An endpoint that was set aside was connected to again.
    EndpointBack { upstream: &'a str, address: &'a str },
    /// A certificate that is shown to clients ends soon, or has ended.
    CertificateEnds { listener: &'a str, name: &'a str, left: Duration },
    /// An origin's handshake came to nothing.
    OriginUnproven { upstream: &'a str, address: &'a str, why: &'a str, advice: &'a str },
    /// A certificate is asked for.
    AcmeBegun { hosts: &'a str, from: &'a str, challenge: &'a str, held: bool },
    /// It was obtained.
    AcmeObtained { hosts: &'a str, holds: Duration },
    /// It was not, and there is none.
    AcmeFailed { hosts: &'a str, why: &'a str, again_in: Duration },
    /// It was not; the old one holds so long.
    AcmeNotRenewed { hosts: &'a str, why: &'a str, again_in: Duration, left: Duration },
    /// The store of the fleet's limits does not answer a core.
    StoreAway { address: &'a str, why: &'a str },
    /// It answers every core again.
    StoreBack { address: &'a str, took: Duration },
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Something is worse than it should be and the gateway goes on.
    Warn,
    /// Something does not work.
    Error,
}

impl Level {
    /// The word in the line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How many kinds of event there are.
const KINDS: usize = 36;

impl Event<'_> {
    /// The event's word for machines, its level, and its number below `KINDS`.
    fn kind(&self) -> (&'static str, Level, usize) {
        use Level::{Error, Info, Warn};
        match self {
            Self::Started { .. } => ("started", Info, 0),
            Self::Stopped { .. } => ("stopped", Info, 1),
            Self::ListenerBound { .. } => ("listener_bound", Info, 2),
            Self::AdminBound { .. } => ("admin_bound", Info, 3),
            Self::ReloadInstalled { .. } => ("reload_installed", Info, 4),
            Self::ReloadRefused { .. } => ("reload_refused", Error, 5),
            Self::WorkerDied { .. } => ("worker_died", Error, 6),
            Self::WorkerRestarted { .. } => ("worker_restarted", Warn, 7),
            Self::DriverFallback { .. } => ("driver_fallback", Warn, 8),
            Self::KeysFetched { .. } => ("keys_fetched", Info, 9),
            Self::KeysFailed { .. } => ("keys_failed", Error, 10),
            Self::DrainBegun { .. } => ("drain_begun", Info, 11),
            Self::DrainOver { .. } => ("drain_over", Info, 12),
            Self::LogFailing { .. } => ("log_failing", Error, 13),
            Self::LogRecovered { .. } => ("log_recovered", Warn, 14),
            Self::LogReopened { .. } => ("log_reopened", Info, 15),
            Self::WorkerTrouble { .. } => ("worker_trouble", Warn, 16),
            Self::ProxyHeaderRefused { .. } => ("proxy_header_refused", Warn, 17),
            Self::ShortageBegun { .. } => ("shortage_begun", Error, 18),
            Self::ShortageOver => ("shortage_over", Warn, 19),
            Self::ConnectionsRefused { .. } => ("connections_refused", Warn, 20),
            Self::EndpointAside { .. } => ("endpoint_aside", Warn, 21),
            Self::EndpointBack { .. } => ("endpoint_back", Info, 22),
            Self::ListLoaded { .. } => ("list_loaded", Info, 23),
            Self::ListFailed { .. } => ("list_failed", Error, 24),
            Self::CertificateEnds { .. } => ("certificate_ends", Warn, 25),
            Self::StoreAway { .. } => ("limit_store_away", Error, 26),
            Self::StoreBack { .. } => ("limit_store_back", Warn, 27),
            Self::SpansFailing { .. } => ("spans_failing", Error, 28),
            Self::SpansRecovered { .. } => ("spans_recovered", Warn, 29),
            Self::LogKept { .. } => ("log_kept", Warn, 30),
            Self::AcmeBegun { .. } => ("acme_begun", Info, 31),
            Self::AcmeObtained { .. } => ("acme_obtained", Info, 32),
            Self::AcmeFailed { .. } => ("acme_failed", Error, 33),
            Self::AcmeNotRenewed { .. } => ("acme_not_renewed", Warn, 34),
            Self::OriginUnproven { .. } => ("origin_unproven", Error, 35),
        }
    }

    /// The event's word for machines.
    pub fn name(&self) -> &'static str {
        self.kind().0
    }

    /// How much it matters.
    pub fn level(&self) -> Level {
        self.kind().1
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { .. }
            | Self::Stopped { .. }
            | Self::ListenerBound { .. }
            | Self::AdminBound { .. }
            | Self::ReloadInstalled { .. }
            | Self::ReloadRefused { .. }
            | Self::DrainBegun { .. }
            | Self::DrainOver { .. } => self.fmt_life(f),
            Self::WorkerDied { .. }
            | Self::WorkerRestarted { .. }
            | Self::DriverFallback { .. }
            | Self::ProxyHeaderRefused { .. }
            | Self::WorkerTrouble { .. }
            | Self::ShortageBegun { .. }
            | Self::ShortageOver
            | Self::ConnectionsRefused { .. } => self.fmt_core(f),
            _ => self.fmt_rest(f),
        }
    }
}

impl Event<'_> {
    fn fmt_life(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Started { version, config, workers, driver } => {
                let s = plural(workers as u64);
                write!(f, "ringway {version} runs {config} on {workers} worker{s} ({driver})")
            }
            Self::Stopped { requests } => {
                write!(f, "stopped after {requests} request{}", plural(requests))
            }
            Self::ListenerBound { listener, address } => {
                write!(f, "listener {listener} accepts on {address}")
            }
            Self::AdminBound { address } => write!(f, "admin accepts on {address}"),
            Self::ReloadInstalled { version, routes, took } => {
                let (took, s) = (Millis(took), plural(routes as u64));
                write!(f, "configuration {version} is in force: {routes} route{s}, after {took}")
            }
            Self::ReloadRefused { version, errors, first } => {
                let s = plural(errors as u64);
                write!(f, "the new configuration has {errors} error{s}, configuration {version} ")?;
                write!(f, "stays in force: {first}")
            }
            Self::DrainBegun { connections, deadline } => {
                let s = plural(connections);
                write!(f, "draining {connections} connection{s}, at most {}", Millis(deadline))
            }
            Self::DrainOver { left: 0, took } => write!(f, "drained in {}", Millis(took)),
            Self::DrainOver { left, took } => {
                let s = plural(left);
                write!(f, "{left} connection{s} cut off at the end of the drain, {}", Millis(took))
            }
            _ => Ok(()),
        }
    }

    fn fmt_core(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WorkerDied { worker, why } => write!(f, "worker {worker} died: {why}"),
            Self::WorkerTrouble { worker, what } => write!(f, "worker {worker}: {what}"),
            Self::ProxyHeaderRefused { worker, listener, peer, why } => {
                write!(f, "worker {worker}: a connection from {peer} to {listener} was closed ")?;
                write!(f, "because of its PROXY header: {why}")
            }
            Self::WorkerRestarted { worker } => write!(f, "worker {worker} runs again"),
            Self::ShortageBegun { why } => {
                write!(f, "connections cannot be accepted or made, idle ones are closed to make ")?;
                write!(f, "room and it is tried again: {why}; raise LimitNOFILE (tuning/README.md)")
            }
            Self::ShortageOver => f.write_str("connections are accepted and made again"),
            Self::ConnectionsRefused { listener, count, bound, client } => {
                let s = plural(count);
                write!(f, "{count} connection{s} to {listener} refused: {bound} reached")?;
                client.map_or(Ok(()), |client| write!(f, ", the last one by {client}"))
            }
            Self::DriverFallback { wanted, taken, cause, fix } => {
                write!(f, "{wanted} cannot be used here, {taken} is used instead: {cause}; {fix}")
            }
            _ => Ok(()),
        }
    }

    fn fmt_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::KeysFetched { set, keys } => {
                write!(f, "{keys} key{} of {set} fetched", plural(keys as u64))
            }
            Self::KeysFailed { set, why, kept: 0 } => {
                write!(f, "keys of {set} are not there, its routes answer 503: {why}")
            }
            Self::KeysFailed { set, why, kept } => {
                let s = plural(kept as u64);
                write!(f, "keys of {set} could not be fetched, the {kept} old key{s} stay: {why}")
            }
            Self::ListLoaded { list, file, entries } => {
                let s = if entries == 1 { "y" } else { "ies" };
                write!(f, "{entries} entr{s} of {list} loaded from {file}")
            }
            Self::ListFailed { list, file, why } => {
                write!(f, "the list of {list} stays as it is, {file} is not loaded: {why}")
            }
            Self::LogKept { target, why } => write!(
                f,
                "access log {target} cannot be opened again, it goes on where it was and tries with each page: {why}"
            ),
            Self::LogFailing { target, why } => {
                write!(f, "access log {target} cannot be written, lines are lost: {why}")
            }
            Self::LogRecovered { target, lines_lost } => {
                let s = plural(lines_lost);
                write!(f, "access log {target} is written again after {lines_lost} lost line{s}")
            }
            Self::SpansFailing { collector, why } => {
                write!(f, "the collector at {collector} does not take spans, they are lost: {why}")
            }
            Self::SpansRecovered { collector, lost } => {
                let s = plural(lost);
                write!(f, "the collector at {collector} takes spans again after {lost} lost one{s}")
            }
            Self::EndpointAside { upstream, address, why, pause } => {
                let pause = Millis(pause);
                write!(
                    f,
                    "endpoint {address} of {upstream} is set aside, at first for {pause}: {why}"
                )
            }
            Self::CertificateEnds { listener, name, left } if left.is_zero() => {
                write!(f, "the certificate of {name} at {listener} has ended: clients refuse it")
            }
            Self::CertificateEnds { listener, name, left } => {
                let days = left.as_secs() / 86_400;
                let s = plural(days);
                write!(f, "the certificate of {name} at {listener} ends in {days} day{s}")
            }
            Self::EndpointBack { upstream, address } => {
                write!(f, "endpoint {address} of {upstream} is used again")
            }
            Self::StoreAway { address, why } => {
                write!(
                    f,
                    "the store of the fleet's limits at {address} is away, each limit does "
                )?;
                write!(f, "what its `away` says: {why}")
            }
            Self::StoreBack { address, took } => {
                let took = Millis(took);
                write!(f, "the store of the fleet's limits at {address} is back after {took}")
            }
            Self::LogReopened { target } => write!(f, "access log {target} opened again"),
            _ => self.fmt_proofs(f),
        }
    }

    fn fmt_proofs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OriginUnproven { upstream, address, why, advice } => {
                write!(f, "no TLS with endpoint {address} of {upstream}, {why}: {advice}")
            }
            Self::AcmeBegun { hosts, from, challenge, held } => {
                write!(f, "asking {from} for a certificate for {hosts} by {challenge}")?;
                if held {
                    Ok(())
                } else {
                    f.write_str(", clients that ask for it are refused until it is there")
                }
            }
            Self::AcmeObtained { hosts, holds } => {
                write!(f, "a certificate for {hosts} was obtained, it holds for {}", Rough(holds))
            }
            Self::AcmeFailed { hosts, why, again_in } => write!(
                f,
                "no certificate for {hosts}, clients that ask for it are refused; tried again in {}: {why}",
                Rough(again_in)
            ),
            Self::AcmeNotRenewed { hosts, why, again_in, left } => write!(
                f,
                "the certificate for {hosts} is not renewed, it holds for {}; tried again in {}: {why}",
                Rough(left),
                Rough(again_in)
            ),
            _ => Ok(()),
        }
    }
}

/// A long time in the unit that people would choose.
struct Rough(Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            secs @ ..120 => write!(f, "{secs} s"),
            secs @ ..7_200 => write!(f, "{} min", secs / 60),
            secs @ ..172_800 => write!(f, "{} h", secs / 3_600),
            secs => write!(f, "{} days", secs / 86_400),
        }
    }
}

/// How events look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For a person: time, level, sentence.
    #[default]
    Plain,
    /// For a collector: one JSON object a line.
    Json,
}

/// Tells events, a bounded number of each kind in a minute.
#[derive(Debug)]
pub struct EventLog {
    format: Format,
    gates: [Gate; KINDS],
}

/// How often a kind was told in its window.
#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    since: Option<Instant>,
    told: u32,
    suppressed: u64,
}

impl EventLog {
    /// A log of this format.
    pub fn new(format: Format) -> Self {
        Self { format, gates: [Gate::default(); KINDS] }
    }

    /// Writes the event's line to `to` (standard error), unless too many of its kind were told lately.
    /// One write per line, so that threads' lines do not mix.
    ///
    /// # Errors
    /// What `to` answers; the caller may ignore it, for there is nobody left to tell.
    pub fn tell(
        &mut self,
        event: &Event<'_>,
        now: Instant,
        wall: Wall,
        to: &mut impl Write,
    ) -> io::Result<()> {
        match self.line(event, now, wall) {
            Some(line) => to.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }

    /// The event's line with its line feed; `None` when too many of its kind were told lately.
    pub fn line(&mut self, event: &Event<'_>, now: Instant, wall: Wall) -> Option<String> {
        let (name, level, number) = event.kind();
        let suppressed = self.gates[number].pass(now)?;
        let mut message = Bounded::default();
        // A bounded text refuses what is too long; the sentence so far is kept.
        let _ = write!(message, "{event}");
        let message = message.text;
        let time = time_text(wall);
        Some(match self.format {
            Format::Plain => {
                let more = match suppressed {
                    0 => String::new(),
                    count => format!(" ({count} more like this not shown)"),
                };
                format!("{time} {:<5} {message}{more}\n", level.name())
            }
            Format::Json => {
                let mut object = serde_json::Map::new();
                object.insert(field::TIME.into(), time.into());
                object.insert(field::LEVEL.into(), level.name().into());
                object.insert(field::EVENT.into(), name.into());
                object.insert(field::MESSAGE.into(), message.into());
                object.insert(field::SUPPRESSED.into(), suppressed.into());
                format!("{}\n", serde_json::Value::Object(object))
            }
        })
    }
}

impl Gate {
    /// How many were suppressed before this one, if it may be told.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let window = Duration::from_secs(EVENT_WINDOW_SECS);
        let fresh = self.since.is_none_or(|since| now.since(since) >= window);
        if fresh {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told >= EVENTS_PER_WINDOW_MAX {
            self.suppressed += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A text without control characters, of at most `EVENT_TEXT_BYTES_MAX`.
#[derive(Default)]
struct Bounded {
    text: String,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.text.len() + character.len_utf8() > EVENT_TEXT_BYTES_MAX {
                return Err(fmt::Error);
            }
            self.text.push(if character.is_control() { ' ' } else { character });
        }
        Ok(())
    }
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis < 10_000 { write!(f, "{millis} ms") } else { write!(f, "{} s", millis / 1000) }
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The moment as the access log writes it.
fn time_text(wall: Wall) -> String {
    let mut room = [0; 64];
    let mut line = Line::new(&mut room);
    line.moment("", wall);
    let len = line.finish().unwrap_or(0);
    // `"":"2026-…Z"`: the member's name is empty.
    let text = room[..len].strip_prefix(b"\"\":\"").and_then(|text| text.strip_suffix(b"\""));
    text.map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests;
