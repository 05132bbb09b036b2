//! The flush thread: pages in order, rotation, targets that fail and recover.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::observe::access_log::AccessLog;
use crate::observe::fixture::page_of_one_line;

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringway-flush-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a folder can be made");
    path
}

type Told = Arc<Mutex<Vec<&'static str>>>;

fn started(target: LogTarget) -> (Flush, Arc<FlushMetrics>, Told) {
    let (metrics, told) = (Arc::<FlushMetrics>::default(), Told::default());
    let sink = told.clone();
    let tell = move |event: &Event<'_>| sink.lock().expect("not poisoned").push(event.name());
    let flush = Flush::start(target, metrics.clone(), tell).expect("the target can be opened");
    (flush, metrics, told)
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn stopping_writes_what_is_queued() {
    let path = folder("stop").join("access.log");
    let (flush, metrics, told) = started(LogTarget::File(path.clone()));
    let mut log = AccessLog::new(flush.pages());
    for _ in 0..20 {
        page_of_one_line(&mut log);
    }
    assert!(flush.stop(LONG));
    let text = fs::read_to_string(&path).expect("written");
    assert_eq!((text.lines().count(), metrics.lines.read()), (20, 20));
    assert_eq!(metrics.bytes.read(), text.len() as u64);
    assert!(told.lock().expect("not poisoned").is_empty());
}

#[test]
fn a_rotated_file_is_opened_again_and_no_line_is_lost() {
    let folder = folder("rotate");
    let (path, rotated) = (folder.join("access.log"), folder.join("access.log.1"));
    let _ = fs::remove_file(&path);
    let (flush, _, told) = started(LogTarget::File(path.clone()));
    let mut log = AccessLog::new(flush.pages());
    page_of_one_line(&mut log);
    fs::rename(&path, &rotated).expect("renamed");
    flush.reopen();
    page_of_one_line(&mut log);
    assert!(flush.stop(LONG));
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let lines = read(&path).lines().count() + read(&rotated).lines().count();
    assert_eq!(lines, 2);
    assert_eq!(*told.lock().expect("not poisoned"), ["log_reopened"]);
}

#[test]
fn a_file_that_cannot_be_opened_again_is_written_on_and_tried_with_each_page() {
    let folder = folder("kept");
    let below = folder.join("below");
    let (path, moved) = (below.join("access.log"), folder.join("moved"));
    let _ = (fs::remove_dir_all(&below), fs::remove_dir_all(&moved));
    fs::create_dir(&below).expect("a folder");
    let (flush, metrics, told) = started(LogTarget::File(path.clone()));
    let mut log = AccessLog::new(flush.pages());
    // Where the file was there is no folder any more.
    fs::rename(&below, &moved).expect("renamed");
    flush.reopen();
    while told.lock().expect("not poisoned").is_empty() {
        thread::yield_now();
    }
    for count in 1..=3 {
        page_of_one_line(&mut log);
        while metrics.lines.read() < count {
            thread::yield_now();
        }
    }
    fs::create_dir(&below).expect("a folder");
    page_of_one_line(&mut log);
    assert!(flush.stop(LONG));
    let lines = |path: &Path| fs::read_to_string(path).expect("written").lines().count();
    assert_eq!((lines(&moved.join("access.log")), lines(&path)), (3, 1));
    assert_eq!(metrics.lines_dropped.read(), 0);
    assert_eq!(*told.lock().expect("not poisoned"), ["log_kept", "log_reopened"]);
}

#[test]
fn a_full_disk_is_told_once_counted_and_left_behind() {
    let path = folder("full").join("access.log");
    let _ = fs::remove_file(&path);
    let (flush, metrics, told) = started(LogTarget::File("/dev/full".into()));
    let mut log = AccessLog::new(flush.pages());
    for _ in 0..5 {
        page_of_one_line(&mut log);
    }
    while metrics.lines_dropped.read() < 5 {
        thread::yield_now();
    }
    let next = Opened::open(LogTarget::File(path.clone())).expect("can be opened");
    flush.goes_to(next).expect("the thread listens");
    while told.lock().expect("not poisoned").len() < 2 {
        thread::yield_now();
    }
    page_of_one_line(&mut log);
    assert!(flush.stop(LONG));
    assert_eq!((metrics.lines.read(), metrics.lines_dropped.read()), (1, 5));
    assert_eq!(fs::read_to_string(&path).expect("written").lines().count(), 1);
    let told = told.lock().expect("not poisoned");
    assert_eq!(*told, ["log_failing", "log_reopened", "log_recovered"]);
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error_at_the_start() {
    let target = LogTarget::File("/nowhere/at/all/access.log".into());
    assert!(Flush::start(target, Arc::default(), |_| {}).is_err());
}

/// Takes `room` bytes and refuses the rest.
struct Full {
    taken: Vec<u8>,
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room - self.taken.len());
        if count == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_partial_write_tells_how_far_it_got() {
    let mut target = Full { taken: Vec::new(), room: 10 };
    let (written, result) = write_as_far_as_possible(&mut target, b"one line\nanother\n");
    assert_eq!((written, &target.taken[..]), (10, &b"one line\na"[..]));
    assert_eq!(result.expect_err("it was full").kind(), ErrorKind::StorageFull);
}
