//! Key sets are fetched here: from files and from JWKS URLs, at start, at intervals and when a core misses
//! a key (RFC 7517 §5, RFC 8725 §3.8).
//!
//! One thread for each source that can change, so that an issuer that hangs delays no other. It never
//! takes keys away: while an issuer is down, or answers nonsense, the old keys stay, and the pause between
//! tries doubles up to a minute. A fetch is bounded in time, bytes and redirects, and goes only where the
//! operator's URL says: an `https://` URL is never left for `http://`. Nothing of an answer is ever told
//! on, only what kind of failure it was. ureq was chosen over a client on the cores' loop: this side may
//! block, and a small blocking client is the smallest thing to trust with TLS towards issuers.

mod fetch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::digest::{self, Digest};

use crate::base::limits::{KEY_FETCH_BACKOFF_MAX, KEY_FETCH_BACKOFF_MIN, KEY_REFRESH_MIN};
use crate::base::name::Name;
use crate::base::shared::Word;
use crate::base::time::Instant;
use crate::control::keys::fetch::{Fetched, Fetcher};
use crate::policy::jose::Algorithm;
use crate::policy::jwks::{KeySet, KeySetError, LeftOut};
use crate::policy::key_cell::KeyCell;
use crate::runtime::clock;

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
    /// An issuer, at its URL, whose metadata says where its keys are.
    Discovery(String),
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
    /// The issuer's metadata are none, name another issuer, or lead from `https` to elsewhere.
    Metadata,
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
            Self::Metadata => f.write_str(
                "the issuer's metadata are none, name another issuer, or lead away from https",
            ),
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
            let keeper = Keeper {
                source,
                stop,
                fetcher: Fetcher::default(),
                last: None,
                pause: KEY_FETCH_BACKOFF_MIN,
            };
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
    fetcher: Fetcher,
    /// SHA-256 of the text of the keys that are there.
    last: Option<Digest>,
    /// The pause after the next failure.
    pause: Duration,
}

impl Keeper {
    fn run(mut self, tell: &dyn Fn(KeyEvent)) {
        if matches!(&self.source.from, KeyOrigin::Url(url) | KeyOrigin::Discovery(url) if is_insecure(url))
        {
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
            what.into_iter().for_each(|what| self.tell(tell, what));
            self.sleep(clock::now() + wait);
        }
    }

    fn tell(&self, tell: &dyn Fn(KeyEvent), what: KeyEventKind) {
        tell(KeyEvent { source: self.source.name.clone(), what });
    }

    fn stopped(&self) -> bool {
        self.stop.load() != 0
    }

    /// Publishes what was fetched, or keeps the old keys; what to tell, and how long to wait until the next fetch.
    fn take_in(&mut self, fetched: Result<News, FetchError>) -> (Option<KeyEventKind>, Duration) {
        match fetched {
            Ok(News { keys, fresh_for }) => {
                self.pause = KEY_FETCH_BACKOFF_MIN;
                let loaded = keys.map(|set| {
                    let left_out = set.left_out().to_vec();
                    let loaded = KeyEventKind::Loaded { keys: set.len(), left_out };
                    self.source.cell.publish(set);
                    loaded
                });
                (loaded, next_fetch(self.source.refresh, fresh_for))
            }
            Err(why) => {
                let again_in = self.pause.min(self.source.refresh);
                self.pause = (self.pause * 2).min(KEY_FETCH_BACKOFF_MAX);
                let kept = self.source.cell.is_loaded();
                (Some(KeyEventKind::Failed { why, kept, again_in }), again_in)
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

    /// Fetches, and says what is new.
    fn fetch(&mut self) -> Result<News, FetchError> {
        let Fetched { text, fresh_for } = self.fetcher.fetch(&self.source.from)?;
        let digest = digest::digest(&digest::SHA256, &text);
        let same = self.last.as_ref().is_some_and(|last| last.as_ref() == digest.as_ref());
        if same && self.source.cell.is_loaded() {
            return Ok(News { keys: None, fresh_for });
        }
        let keys = KeySet::from_jwks(&text, &self.source.permitted).map_err(FetchError::Keys)?;
        self.last = Some(digest);
        Ok(News { keys: Some(keys), fresh_for })
    }
}

/// What a fetch brought.
struct News {
    /// The keys, unless they are those that are there already: cores go on remembering tokens then.
    keys: Option<KeySet>,
    /// For how long the issuer calls them fresh.
    fresh_for: Option<Duration>,
}

/// How long to wait for the next fetch: the configured time, or less where the issuer calls its keys fresh for
/// less; a fifth of that time before it is over, so that nobody ever sees keys that are not fresh.
fn next_fetch(refresh: Duration, fresh_for: Option<Duration>) -> Duration {
    let Some(fresh_for) = fresh_for else { return refresh };
    refresh.min((fresh_for * 4 / 5).max(KEY_REFRESH_MIN))
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
    use crate::base::limits::KEY_SET_BYTES_MAX;

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
    fn the_same_keys_again_change_nothing() {
        let (_keys, cell, events) = keep(KeyOrigin::Url(issuer(vec![ok(KEYS), ok(KEYS)])));
        assert!(matches!(events.recv_timeout(WAIT).unwrap(), KeyEventKind::Loaded { .. }));
        let generation = cell.generation();
        assert!(cell.request_refresh(clock::now()));
        let until = clock::now() + WAIT;
        while cell.refresh_is_wanted() {
            assert!(clock::now() < until, "the fetch ends");
            std::thread::yield_now();
        }
        assert_eq!(cell.generation(), generation, "remembered tokens stay remembered");
    }

    #[test]
    fn keys_are_fetched_ahead_of_the_end_of_their_freshness() {
        let secs = Duration::from_secs;
        assert_eq!(next_fetch(secs(300), None), secs(300));
        assert_eq!(next_fetch(secs(300), Some(secs(100))), secs(80));
        assert_eq!(next_fetch(secs(300), Some(secs(3600))), secs(300));
        assert_eq!(next_fetch(secs(300), Some(secs(0))), KEY_REFRESH_MIN, "never hammered");
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
