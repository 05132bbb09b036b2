//! Writes pages of the access log to standard output or a file, on a thread of its own.
//!
//! Cores hand pages over through a bounded queue and never wait: when this thread is behind, they drop
//! lines and count them. When the target does not take bytes (a full disk, a closed pipe), pages are
//! dropped and counted here, the operator is told once, and writing begins again by itself as soon as the
//! target takes bytes; a line torn by a partial write is closed with a line feed first, so that the next
//! one stands whole. A log file is never truncated and is created for its owner and group only, because
//! it holds clients' addresses.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, select_biased};

use crate::base::limits::{LOG_BUSY_PAUSES_MAX, LOG_PAGES_QUEUED_MAX};
use crate::config;
use crate::control::line_socket::{LineSocket, Wrap};
use crate::observe::access_log::LogPage;
use crate::observe::event::Event;
use crate::observe::metrics::FlushMetrics;

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to; created with mode 0640 when it is not there.
    File(PathBuf),
    /// A syslog socket: one datagram for each line, as RFC 3164 and syslog(3) have it.
    Syslog(PathBuf),
    /// The journal's own socket: one datagram with its fields for each line.
    Journald(PathBuf),
}

/// The flush thread. One for the life of the process: the target may change, the queue stays.
#[derive(Debug)]
pub struct Flush {
    pages: Sender<LogPage>,
    orders: Sender<Order>,
    over: Receiver<()>,
    thread: JoinHandle<()>,
}

/// What the flush thread is told besides pages.
enum Order {
    /// Open this target, or the present one again.
    Open(Option<Opened>),
    /// Write what is queued and end.
    Stop,
}

/// A target that is open; what is written goes there once [`Flush::goes_to`] says so.
pub struct Opened {
    target: LogTarget,
    sink: Sink,
}

/// Where bytes go.
enum Sink {
    File(File),
    Lines(LineSocket),
}

impl Flush {
    /// Opens `target` and starts the thread. `tell` is called from it, rarely, with what the operator
    /// should know.
    ///
    /// # Errors
    /// The target cannot be opened, or no thread can be started.
    pub fn start(
        target: LogTarget,
        metrics: Arc<FlushMetrics>,
        tell: impl Fn(&Event<'_>) + Send + 'static,
    ) -> Result<Self, String> {
        let name = target.name().display().to_string();
        let opened = Opened::open(target).map_err(|error| unopened(&name, &error))?;
        let (pages, queue) = bounded(LOG_PAGES_QUEUED_MAX);
        let (orders, told) = bounded(8);
        let (over_tx, over) = bounded::<()>(1);
        let thread = thread::Builder::new().name("ringway-log".into()).spawn(move || {
            let _ends_with_the_thread = over_tx;
            Flusher { opened, metrics, tell, torn: false, stale: false, lost: None }
                .run(&queue, &told);
        });
        let thread = thread.map_err(|error| error.to_string())?;
        Ok(Self { pages, orders, over, thread })
    }

    /// The queue that cores hand their pages to (`AccessLog::new`).
    pub fn pages(&self) -> Sender<LogPage> {
        self.pages.clone()
    }

    /// Opens the file again, for log rotation; if that fails the old one stays. For SIGUSR1 and SIGHUP.
    pub fn reopen(&self) {
        // A full queue of orders means that this very order waits there already.
        let _ = self.orders.try_send(Order::Open(None));
    }

    /// Goes on with another target, which a reload may name.
    ///
    /// # Errors
    /// The thread hangs in its present one, which stays.
    pub fn goes_to(&self, opened: Opened) -> io::Result<()> {
        self.orders
            .try_send(Order::Open(Some(opened)))
            .map_err(|_| io::Error::new(ErrorKind::ResourceBusy, "the log thread does not answer"))
    }

    /// Writes what is queued and ends the thread; `false` when it did not end within `wait` (its target
    /// blocks), in which case it is left behind.
    pub fn stop(self, wait: Duration) -> bool {
        if self.orders.send_timeout(Order::Stop, wait).is_err() {
            return false;
        }
        // Nothing is ever sent here: the thread's end closes the channel.
        let ended =
            self.over.recv_timeout(wait) == Err(crossbeam::channel::RecvTimeoutError::Disconnected);
        if ended {
            // Its panic, if any, was printed by the panic hook.
            let _ = self.thread.join();
        }
        ended
    }
}

impl LogTarget {
    /// What the configuration asks for; `None` when the log is off.
    pub fn of(written: &config::LogTarget) -> Option<Self> {
        match written {
            config::LogTarget::Off => None,
            config::LogTarget::Stdout => Some(Self::Stdout),
            config::LogTarget::Stderr => Some(Self::Stderr),
            config::LogTarget::File(path) => Some(Self::File(path.clone())),
            config::LogTarget::Syslog(path) => Some(Self::Syslog(path.clone())),
            config::LogTarget::Journald(path) => Some(Self::Journald(path.clone())),
        }
    }

    /// What operators are told of it: its path.
    pub fn name(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("stdout"),
            Self::Stderr => Path::new("stderr"),
            Self::File(path) | Self::Syslog(path) | Self::Journald(path) => path,
        }
    }
}

impl Opened {
    /// What a reload names, if it is another one. It is opened before anything changes: what a start refuses a
    /// reload refuses, too.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn next(old: &config::LogTarget, new: &config::LogTarget) -> Result<Option<Self>, String> {
        let Some(target) = LogTarget::of(new).filter(|_| old != new) else { return Ok(None) };
        let name = target.name().display().to_string();
        Self::open(target).map(Some).map_err(|error| unopened(&name, &error))
    }

    fn open(target: LogTarget) -> io::Result<Self> {
        let sink = match &target {
            // A descriptor of our own: the standard library's handle would split pages at line ends.
            LogTarget::Stdout => Sink::File(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            LogTarget::Stderr => Sink::File(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            LogTarget::File(path) => {
                // A pipe that nobody reads is refused: to wait for its reader would hold up signals, too.
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
                Sink::File(options.open(path)?)
            }
            LogTarget::Syslog(path) => Sink::Lines(LineSocket::open(path, Wrap::Syslog)?),
            LogTarget::Journald(path) => Sink::Lines(LineSocket::open(path, Wrap::Journald)?),
        };
        Ok(Self { target, sink })
    }
}

fn unopened(name: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "its folder, or the socket, is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "this process may not write it".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody receives there".to_owned(),
        _ => error.to_string(),
    };
    format!("the access log {name} cannot be opened: {why}")
}

/// What the thread holds.
struct Flusher<T> {
    opened: Opened,
    metrics: Arc<FlushMetrics>,
    tell: T,
    /// Whether the last byte written stands in the middle of a line.
    torn: bool,
    /// Whether the target is to be opened again, and could not be until now.
    stale: bool,
    /// Lines lost since writing began to fail; `None` while all is well.
    lost: Option<u64>,
}

impl<T: Fn(&Event<'_>)> Flusher<T> {
    fn run(&mut self, pages: &Receiver<LogPage>, orders: &Receiver<Order>) {
        loop {
            // Orders first: under load there is always a page.
            select_biased! {
                recv(orders) -> order => match order {
                    Ok(Order::Open(opened)) => self.open(opened),
                    Ok(Order::Stop) | Err(_) => break,
                },
                recv(pages) -> page => match page {
                    Ok(page) => self.write_page(page),
                    Err(_) => break,
                },
            }
        }
        while let Ok(page) = pages.try_recv() {
            self.write_page(page);
        }
    }

    fn open(&mut self, opened: Option<Opened>) {
        let opened = match opened {
            Some(opened) => Ok(opened),
            None => Opened::open(self.opened.target.clone()),
        };
        let name = self.opened.target.name().to_string_lossy().into_owned();
        match opened {
            Ok(opened) => {
                self.opened = opened;
                (self.torn, self.stale) = (false, false);
                let name = self.opened.target.name().to_string_lossy();
                (self.tell)(&Event::LogReopened { target: &name });
            }
            // Told once, and tried with each page: whoever moved the file away waits for this one to be let go.
            Err(_) if self.stale => {}
            Err(error) => {
                self.stale = true;
                (self.tell)(&Event::LogKept { target: &name, why: &error.to_string() });
            }
        }
    }

    fn write_page(&mut self, page: LogPage) {
        if self.stale {
            self.open(None);
        }
        match self.write(page.bytes()) {
            (_, Ok(())) => self.recovered(),
            (whole_lines, Err(error)) => self.failed(&error, page.lines() - whole_lines),
        }
        page.give_back();
    }

    /// How many whole lines of `bytes` were written, and what stopped the rest.
    fn write(&mut self, bytes: &[u8]) -> (u64, io::Result<()>) {
        let file = match &mut self.opened.sink {
            Sink::File(file) => file,
            Sink::Lines(socket) => {
                let (lines, bytes, result) = socket.send(bytes);
                self.metrics.lines.add(lines);
                self.metrics.bytes.add(bytes);
                return (lines, result);
            }
        };
        if self.torn {
            let (_, result) = write_as_far_as_possible(file, b"\n");
            if result.is_err() {
                return (0, result);
            }
            self.torn = false;
        }
        let (written, result) = write_as_far_as_possible(file, bytes);
        let done = &bytes[..written];
        self.torn = done.last().is_some_and(|byte| *byte != b'\n');
        let whole_lines = memchr::memchr_iter(b'\n', done).count() as u64;
        self.metrics.lines.add(whole_lines);
        self.metrics.bytes.add(written as u64);
        (whole_lines, result)
    }

    fn failed(&mut self, error: &io::Error, lines: u64) {
        self.metrics.lines_dropped.add(lines);
        if self.lost.is_none() {
            let name = self.opened.target.name().to_string_lossy();
            (self.tell)(&Event::LogFailing { target: &name, why: &error.to_string() });
        }
        self.lost = Some(self.lost.unwrap_or(0) + lines);
    }

    fn recovered(&mut self) {
        if let Some(lines_lost) = self.lost.take() {
            let name = self.opened.target.name().to_string_lossy();
            (self.tell)(&Event::LogRecovered { target: &name, lines_lost });
        }
    }
}

/// How many bytes went out, and what stopped the rest. A target that is busy without blocking (a pipe
/// set so by somebody else) is tried again for a bounded time.
fn write_as_far_as_possible(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    let mut pauses = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && pauses < LOG_BUSY_PAUSES_MAX => {
                pauses += 1;
                thread::park_timeout(Duration::from_millis(5));
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests;
