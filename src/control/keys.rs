//! Key sets are fetched here: from files and from JWKS URLs, at start, at intervals and when a core misses
//! a key (RFC 7517 §5, RFC 8725 §3.8).
//!
//! One thread for each source that can change, so that an issuer that hangs delays no other. It never
//! takes keys away: while an issuer is down, or answers nonsense, the old keys stay, and the pause between
//! tries doubles up to a minute. A fetch is bounded in time, bytes and redirects, and goes only where the
//! operator's URL says: an `https://` URL is never left for `http://`. Nothing of an answer is ever told
//! on, only what kind of failure it was. ureq was chosen over a client on the cores' loop: this side may
//! block, and a small blocking client is the smallest thing to trust with TLS towards issuers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::base::limits::{
    KEY_FETCH_BACKOFF_MAX, KEY_FETCH_BACKOFF_MIN, KEY_FETCH_TIME_MAX, KEY_SET_BYTES_MAX,
};
use crate::base::name::Name;
use crate::base::shared::Word;
use crate::base::time::Instant;
use crate::policy::jose::Algorithm;
use crate::policy::jwks::{KeySet, KeySetError, LeftOut};
use crate::policy::key_cell::KeyCell;
use crate::runtime::clock;

/// Redirects followed by one fetch; issuers move their key set once at most.
const REDIRECTS_MAX: u32 = 3;

/// Where the keys of one issuer come from.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// Where cores find them.
    pub cell: Arc<KeyCell>,
    /// Where they come from.
    pub from: KeyOrigin,
    /// How often they are fetched again.
    pub refresh: Duration,
    /// The issuer's name in the configuration.
    pub name: Name,
    /// The algorithms that are permitted; empty: what the keys say.
    pub permitted: Vec<Algorithm>,
}

/// The place of a key set.
#[derive(Clone, Debug)]
pub enum KeyOrigin {
    /// An `http://` or `https://` URL.
    Url(String),
    /// A file.
    File(PathBuf),
    /// Keys that stand in the configuration and are in the cell already.
    Fixed,
}

/// What happened to one source, for the log.
#[derive(Clone, Debug)]
pub struct KeyEvent {
    /// The issuer's name.
    pub source: Name,
    /// What happened.
    pub what: KeyEventKind,
}

/// What can happen to a source.
#[derive(Clone, Debug)]
pub enum KeyEventKind {
    /// Keys were loaded.
    Loaded {
        /// How many can be used.
        keys: usize,
        /// Which ones cannot, and why.
        left_out: Vec<LeftOut>,
    },
    /// They were not; the old ones stay, if there are any.
    Failed {
        /// Why.
        why: FetchError,
        /// Whether there are old ones.
        kept: bool,
        /// When it is tried again, unless a core asks before.
        again_in: Duration,
    },
    /// The keys come over plain HTTP from a public address: whoever sits between can replace them.
    Insecure,
}

/// Why a fetch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The file cannot be read.
    File(std::io::ErrorKind),
    /// The host has no address, or refused, or the URL makes no sense.
    Connection,
    /// TLS failed, or there is no root certificate to trust.
    Tls,
    /// It took longer than `KEY_FETCH_TIME_MAX`.
    Timeout,
    /// The answer was not 200.
    Status(u16),
    /// The answer was no HTTP, too long, or led elsewhere too often.
    Answer,
    /// The text is not a key set that can be used.
    Keys(KeySetError),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(kind) => write!(f, "the file cannot be read: {kind}"),
            Self::Connection => f.write_str("no connection to the issuer"),
            Self::Tls => f.write_str("no trusted TLS connection to the issuer"),
            Self::Timeout => f.write_str("the issuer did not answer in time"),
            Self::Status(status) => write!(f, "the issuer answered {status}"),
            Self::Answer => f.write_str("the issuer's answer is malformed, too long, or redirects"),
            Self::Keys(error) => error.fmt(f),
        }
    }
}

/// The threads that keep key sets fresh. Dropping it stops them.
pub struct Keys {
    stop: Arc<Word>,
    threads: Vec<JoinHandle<()>>,
    cells: Vec<Arc<KeyCell>>,
}

impl Keys {
    /// Starts fetching. Each source is fetched at once; routes answer 503 until their keys are there.
    /// Sources that are `Fixed` need no thread. Fails when a thread cannot be started.
    pub fn start(
        sources: Vec<KeySource>,
        on_event: impl Fn(KeyEvent) + Send + Sync + 'static,
    ) -> std::io::Result<Keys> {
        let mut keys = Keys { stop: Arc::default(), threads: Vec::new(), cells: Vec::new() };
        let on_event = Arc::new(on_event);
        for source in sources {
            if matches!(source.from, KeyOrigin::Fixed) {
                continue;
            }
            let (stop, tell, cell) = (keys.stop.clone(), on_event.clone(), source.cell.clone());
            let keeper = Keeper { source, stop, agent: None, pause: KEY_FETCH_BACKOFF_MIN };
            let thread = std::thread::Builder::new()
                .name("ringway-keys".to_owned())
                .spawn(move || keeper.run(&*tell))?;
            cell.set_fetcher(thread.thread().clone());
            keys.cells.push(cell);
            keys.threads.push(thread);
        }
        Ok(keys)
    }

    /// Tells the threads to end. A fetch under way ends by itself within `KEY_FETCH_TIME_MAX`; nobody
    /// waits for it. What it brings is dropped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(1);
        for (thread, cell) in self.threads.iter().zip(&self.cells) {
            cell.clear_fetcher(thread.thread().id());
            thread.thread().unpark();
        }
    }
}

/// Keeps one source fresh.
struct Keeper {
    source: KeySource,
    stop: Arc<Word>,
    agent: Option<Agent>,
    /// The pause after the next failure.
    pause: Duration,
}

impl Keeper {
    fn run(mut self, tell: &dyn Fn(KeyEvent)) {
        if matches!(&self.source.from, KeyOrigin::Url(url) if is_insecure(url)) {
            self.tell(tell, KeyEventKind::Insecure);
        }
        while !self.stopped() {
            let wanted = self.source.cell.refresh_is_wanted();
            let fetched = self.fetch();
            if self.stopped() {
                return;
            }
            let (what, wait) = self.take_in(fetched);
            if wanted {
                self.source.cell.refresh_is_done();
            }
            self.tell(tell, what);
            self.sleep(clock::now() + wait);
        }
    }

    fn tell(&self, tell: &dyn Fn(KeyEvent), what: KeyEventKind) {
        tell(KeyEvent { source: self.source.name.clone(), what });
    }

    fn stopped(&self) -> bool {
        self.stop.load() != 0
    }

    /// Publishes what was fetched, or keeps the old keys; how long to wait until the next fetch.
    fn take_in(&mut self, fetched: Result<KeySet, FetchError>) -> (KeyEventKind, Duration) {
        match fetched {
            Ok(set) => {
                let loaded =
                    KeyEventKind::Loaded { keys: set.len(), left_out: set.left_out().to_vec() };
                self.source.cell.publish(set);
                self.pause = KEY_FETCH_BACKOFF_MIN;
                (loaded, self.source.refresh)
            }
            Err(why) => {
                let again_in = self.pause.min(self.source.refresh);
                self.pause = (self.pause * 2).min(KEY_FETCH_BACKOFF_MAX);
                let kept = self.source.cell.is_loaded();
                (KeyEventKind::Failed { why, kept, again_in }, again_in)
            }
        }
    }

    /// Until the time, a core's wish, or the end.
    fn sleep(&self, until: Instant) {
        loop {
            let left = until.since(clock::now());
            if left.is_zero() || self.stopped() || self.source.cell.refresh_is_wanted() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn fetch(&mut self) -> Result<KeySet, FetchError> {
        let text = match &self.source.from {
            KeyOrigin::Fixed => return Err(FetchError::Answer),
            KeyOrigin::File(path) => read(path)?,
            KeyOrigin::Url(url) => {
                let url = url.clone();
                let agent = match self.agent.take() {
                    Some(agent) => agent,
                    None => agent(url.starts_with("https://"))?,
                };
                let text = get(&agent, &url);
                self.agent = Some(agent);
                text?
            }
        };
        KeySet::from_jwks(&text, &self.source.permitted).map_err(FetchError::Keys)
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, FetchError> {
    use std::io::Read;
    let failed = |error: std::io::Error| FetchError::File(error.kind());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    // One byte more than is allowed, so that a longer file is seen to be too long.
    file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// A client for one source. Over `https` it trusts the system's root certificates.
fn agent(secure: bool) -> Result<Agent, FetchError> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(KEY_FETCH_TIME_MAX))
        .max_redirects(REDIRECTS_MAX)
        .https_only(secure)
        .max_idle_connections(0)
        .accept("application/jwk-set+json, application/json")
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")));
    if secure {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<Certificate<'static>> =
            found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        if roots.is_empty() {
            return Err(FetchError::Tls);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().new_agent())
}

fn get(agent: &Agent, url: &str) -> Result<Vec<u8>, FetchError> {
    let mut response = agent.get(url).call().map_err(failure)?;
    if response.status() != 200 {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let body = response.body_mut().with_config().limit(KEY_SET_BYTES_MAX as u64);
    body.read_to_vec().map_err(failure)
}

/// The kind of a failure, without the text that an issuer could have put into it.
fn failure(error: ureq::Error) -> FetchError {
    match error {
        ureq::Error::StatusCode(status) => FetchError::Status(status),
        ureq::Error::Timeout(_) => FetchError::Timeout,
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::RequireHttpsOnly(_) => FetchError::Connection,
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => FetchError::Tls,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            FetchError::Tls
        }
        ureq::Error::Io(_) => FetchError::Connection,
        _ => FetchError::Answer,
    }
}

/// Whether a URL is plain HTTP to anything but this machine or a private address.
fn is_insecure(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or(bracketed),
        None => authority.split(':').next().unwrap_or(authority),
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        Ok(IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local()),
        Err(_) => host != "localhost" && !host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    const KEYS: &str =
        r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    const WAIT: Duration = Duration::from_secs(20);

    /// An issuer that gives these answers, one after the other, and then no more.
    fn issuer(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn keep(from: KeyOrigin) -> (Keys, Arc<KeyCell>, mpsc::Receiver<KeyEventKind>) {
        let cell = Arc::new(KeyCell::empty());
        let (sender, events) = mpsc::channel();
        let refresh = Duration::from_secs(3600);
        let source = KeySource {
            cell: cell.clone(),
            from,
            refresh,
            name: Name::new("idp"),
            permitted: vec![],
        };
        let keys = Keys::start(vec![source], move |event| {
            let _ = sender.send(event.what);
        });
        (keys.unwrap(), cell, events)
    }

    #[test]
    fn keys_are_loaded_at_start() {
        let (keys, cell, events) = keep(KeyOrigin::Url(issuer(vec![ok(KEYS)])));
        let event = events.recv_timeout(WAIT).unwrap();
        assert!(matches!(event, KeyEventKind::Loaded { keys: 1, .. }), "{event:?}");
        assert!(cell.is_loaded());
        keys.stop();
        assert!(!cell.request_refresh(clock::now()), "nobody fetches any more");
    }

    #[test]
    fn failures_are_tried_again_and_then_forgotten() {
        let down = "HTTP/1.1 503 Nope\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
        let (_keys, cell, events) = keep(KeyOrigin::Url(issuer(vec![down, ok("{}"), ok(KEYS)])));
        let why = |event| match event {
            KeyEventKind::Failed { why, kept: false, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(events.recv_timeout(WAIT).unwrap()), FetchError::Status(503));
        assert!(!cell.is_loaded());
        let error = FetchError::Keys(KeySetError::NotAKeySet);
        assert_eq!(why(events.recv_timeout(WAIT).unwrap()), error);
        assert!(matches!(events.recv_timeout(WAIT).unwrap(), KeyEventKind::Loaded { .. }));
    }

    #[test]
    fn a_core_that_misses_a_key_causes_a_fetch_and_old_keys_stay_when_it_fails() {
        let nonsense = ok("<html>");
        let (_keys, cell, events) = keep(KeyOrigin::Url(issuer(vec![ok(KEYS), nonsense])));
        assert!(matches!(events.recv_timeout(WAIT).unwrap(), KeyEventKind::Loaded { .. }));
        assert!(cell.request_refresh(clock::now()));
        let event = events.recv_timeout(WAIT).unwrap();
        assert!(matches!(event, KeyEventKind::Failed { kept: true, .. }), "{event:?}");
        assert!(cell.is_loaded() && !cell.refresh_is_wanted());
    }

    #[test]
    fn too_long_an_answer_is_refused() {
        let long = ok(&" ".repeat(KEY_SET_BYTES_MAX + 10));
        let (_keys, _cell, events) = keep(KeyOrigin::Url(issuer(vec![long])));
        let event = events.recv_timeout(WAIT).unwrap();
        assert!(matches!(event, KeyEventKind::Failed { why: FetchError::Answer, .. }), "{event:?}");
    }

    #[test]
    fn a_missing_file_is_a_failure() {
        let (_keys, _cell, events) = keep(KeyOrigin::File("/nonexistent/jwks.json".into()));
        let event = events.recv_timeout(WAIT).unwrap();
        let missing = FetchError::File(std::io::ErrorKind::NotFound);
        assert!(matches!(event, KeyEventKind::Failed { why, .. } if why == missing), "{event:?}");
    }

    #[test]
    fn plain_http_is_fine_near_by_only() {
        for url in
            ["http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost/", "http://10.1.2.3/"]
        {
            assert!(!is_insecure(url), "{url}");
        }
        for url in ["http://idp.example/x", "http://192.0.2.1/", "http://localhost.evil.example/"] {
            assert!(is_insecure(url), "{url}");
        }
        assert!(!is_insecure("https://idp.example/x"));
    }
}
