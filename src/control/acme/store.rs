//! The folder in which replicas share what they obtained: the account, certificates, challenges, what came of attempts.
//!
//! Every file is written aside, synced and renamed into place, with mode 0600: nobody ever reads half of one, and nobody
//! else reads any. Whoever obtains holds an advisory lock (flock(2)), which the kernel takes back from a holder that
//! died. What a file says is never believed further than its own certificate: one that is damaged counts as missing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::limits::{
    ACME_CHALLENGE_SECS_MAX, ACME_CHALLENGES_MAX, ACME_FILE_BYTES_MAX, TLS_FILE_BYTES_MAX,
};
use crate::compile::certificates;
use crate::tls::challenge::Challenge;
use crate::tls::stored::{self, Stored};

/// The folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// What came of the attempts at one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// Failures in a row.
    pub failures: u32,
    /// All failures there ever were.
    pub failures_total: u64,
    /// Before that nobody tries again. Unit: seconds since 1970.
    pub again_at: u64,
    /// When it was obtained last, or never. Unit: seconds since 1970.
    pub last_success: u64,
    /// What the last failure was, for people.
    pub why: String,
}

/// A challenge as it lies in the folder.
#[derive(Serialize, Deserialize)]
struct Lying {
    host: String,
    token: String,
    key_authorization: String,
    by_tls: bool,
    /// Unit: seconds since 1970.
    since: u64,
}

/// The lock; it is given back when it is dropped, or with the process.
pub struct Lock(#[expect(dead_code, reason = "held open")] File);

impl Store {
    /// The folder at `root`, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        let store = Self { root: root.to_path_buf() };
        let folders = [store.challenges(), store.folder("accounts"), store.folder("state")];
        for folder in folders.iter().chain([&certificates(root)]) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(store)
    }

    /// The lock, unless somebody else has it.
    ///
    /// # Errors
    /// Its file cannot be opened.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Where a certificate lies.
    pub fn certificate_path(&self, name: &str) -> PathBuf {
        certificates(&self.root).join(format!("{name}.pem"))
    }

    /// A certificate.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub fn certificate(&self, name: &str) -> io::Result<Stored> {
        let text = read(&self.certificate_path(name), TLS_FILE_BYTES_MAX)?;
        stored::read(&text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Keeps a certificate.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_certificate(&self, name: &str, text: &str) -> io::Result<()> {
        write(&self.certificate_path(name), text.as_bytes())
    }

    /// The account at an authority.
    pub fn account(&self, name: &str) -> Option<String> {
        read(&self.account_path(name), ACME_FILE_BYTES_MAX).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_account(&self, name: &str, text: &str) -> io::Result<()> {
        write(&self.account_path(name), text.as_bytes())
    }

    /// Forgets it, for the authority has.
    pub fn forget_account(&self, name: &str) {
        // Where that fails the next attempt fails the same way, and is told.
        let _ = fs::remove_file(self.account_path(name));
    }

    /// Where that lies which came of the attempts at a certificate.
    pub fn past_path(&self, name: &str) -> PathBuf {
        self.folder("state").join(format!("{name}.json"))
    }

    /// What came of them; nothing where that is not known.
    pub fn past(&self, name: &str) -> Past {
        let text = read(&self.past_path(name), ACME_FILE_BYTES_MAX).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_past(&self, name: &str, past: &Past) -> io::Result<()> {
        write(&self.past_path(name), &serde_json::to_vec(past)?)
    }

    /// Puts challenges where every replica sees them.
    ///
    /// # Errors
    /// One cannot be written.
    pub fn put_challenges(&self, all: &[Challenge], now: u64) -> io::Result<()> {
        for (number, one) in all.iter().enumerate() {
            let lying = Lying {
                host: one.host.clone(),
                token: one.token.clone(),
                key_authorization: one.key_authorization.clone(),
                by_tls: one.by_tls,
                since: now,
            };
            write(&self.challenges().join(format!("{number}.json")), &serde_json::to_vec(&lying)?)?;
        }
        Ok(())
    }

    /// Takes all challenges away; only for the holder of the lock.
    pub fn clear_challenges(&self) {
        let Ok(entries) = fs::read_dir(self.challenges()) else { return };
        for entry in entries.take(ACME_CHALLENGES_MAX).flatten() {
            // One that stays is too old soon.
            let _ = fs::remove_file(entry.path());
        }
    }

    /// The challenges that lie there.
    pub fn challenges_in_flight(&self, now: u64) -> Vec<Challenge> {
        let Ok(entries) = fs::read_dir(self.challenges()) else { return Vec::new() };
        let one = |path: &Path| {
            let lying: Lying = serde_json::from_str(&read(path, ACME_FILE_BYTES_MAX).ok()?).ok()?;
            let Lying { host, token, key_authorization, by_tls, since } = lying;
            let fresh = since.saturating_add(ACME_CHALLENGE_SECS_MAX) > now;
            fresh.then_some(Challenge { host, token, key_authorization, by_tls })
        };
        let paths = entries.take(ACME_CHALLENGES_MAX).flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        paths.sort();
        paths.iter().filter_map(|path| one(path)).collect()
    }

    fn account_path(&self, name: &str) -> PathBuf {
        self.folder("accounts").join(format!("{name}.json"))
    }

    fn challenges(&self) -> PathBuf {
        self.folder("challenges")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn read(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut text = String::new();
    let bytes = File::open(path)?.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    if bytes > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Writes a file in one step: whoever reads it sees the old content or the new one, also after a crash.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let aside = folder.join(format!(".{name}.{}.new", std::process::id()));
    // What a crash left is not written into: it could be anybody's.
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::rename(&aside, path));
    if placed.is_err() {
        let _ = fs::remove_file(&aside);
        return placed;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("ringway-acme-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_we_read_what_is_kept_and_nothing_half_written_stays() {
        let folder = Folder::new("modes");
        let store = Store::open(&folder.0).expect("a folder");
        store.keep_certificate("a", "one").expect("written");
        store.keep_certificate("a", "two").expect("written again");
        store.keep_account("b", "{}").expect("written");
        assert_eq!(fs::read_to_string(store.certificate_path("a")).expect("there"), "two");
        for path in [store.certificate_path("a"), store.account_path("b")] {
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let mode = fs::metadata(store.challenges()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let left = fs::read_dir(certificates(&folder.0)).expect("there").count();
        assert_eq!(left, 1, "what was written aside");
    }

    #[test]
    fn challenges_are_seen_until_they_are_taken_away_or_too_old() {
        let folder = Folder::new("challenges");
        let store = Store::open(&folder.0).expect("a folder");
        let challenge = Challenge {
            host: "a.test".into(),
            token: "t".into(),
            key_authorization: "t.k".into(),
            by_tls: true,
        };
        store.put_challenges(std::slice::from_ref(&challenge), 1000).expect("written");
        fs::write(store.challenges().join("9.json"), "{ half").expect("written");
        assert_eq!(store.challenges_in_flight(1001), [challenge]);
        assert_eq!(store.challenges_in_flight(1000 + ACME_CHALLENGE_SECS_MAX), []);
        store.clear_challenges();
        assert_eq!(store.challenges_in_flight(1001), []);
    }

    #[test]
    fn whatever_an_authority_says_the_pause_after_it_is_kept() {
        let folder = Folder::new("said");
        let store = Store::open(&folder.0).expect("a folder");
        for said in ["\u{1}", "é", "\u{1f980}", "x"] {
            let said = format!("{}{}", "y", said.repeat(1024 * 1024));
            let why = crate::control::acme::ca::cut(&said).to_owned();
            assert!(why.len() > 1000);
            let past = Past { failures: 3, again_at: 7, why, ..Past::default() };
            store.keep_past("a", &past).expect("written");
            assert_eq!(store.past("a"), past);
        }
    }

    #[test]
    fn the_lock_is_one_persons_at_a_time_and_what_is_damaged_is_nothing() {
        let folder = Folder::new("lock");
        let store = Store::open(&folder.0).expect("a folder");
        let held = store.lock().expect("a file");
        assert!(held.is_some());
        let other = Store::open(&folder.0).expect("the same folder");
        assert!(other.lock().expect("a file").is_none());
        drop(held);
        assert!(other.lock().expect("a file").is_some());
        fs::write(store.past_path("a"), "nonsense").expect("written");
        assert_eq!(store.past("a"), Past::default());
        let past = Past { failures: 2, again_at: 7, why: "x".into(), ..Past::default() };
        store.keep_past("a", &past).expect("written");
        assert_eq!(other.past("a"), past);
    }
}
