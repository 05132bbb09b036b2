//! API keys: random texts that name their owner, known here by keyed hashes only.
//!
//! A key is hashed with HMAC-SHA-256 (RFC 2104) under the operator's secret and looked up by the result, so
//! that neither the file nor memory holds a key, and no comparison takes longer for a better guess. Keys are 256
//! random bits (`ringway hash-key`), so that a slow hash would protect nothing and cost everybody. What a
//! key opens is never guessed: unknown, expired and malformed keys are refused alike, and a key must never
//! stand in a field, an error or the log.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::gcra::Grant;
use crate::base::limits::{API_KEY_BYTES_MAX, API_KEYS_MAX};
use crate::base::name::Name;
use crate::exchange::Exchange;
use crate::exchange::fault::FaultKind;
use crate::exchange::identity::{Caller, Identity};
use crate::policy::bearer::{parameter, single};
use crate::policy::file_cell::{FileCell, LineError, lines};
use crate::policy::key_limit::{KeyLimit, KeyLimits};
use crate::policy::limit_key::quoted;
use crate::policy::{Env, Verdict, refuse};

/// Length of a hash as the file has it: 32 bytes in base64url.
const HASH_CHARS: usize = 43;

/// The keys of one file.
#[derive(Debug, Default)]
pub struct KeyBook {
    entries: HashMap<[u8; 32], Entry>,
    limits: KeyLimits,
}

/// What the file says of one key.
#[derive(Debug)]
struct Entry {
    caller: Arc<Caller>,
    /// The place of its limit.
    limit: Option<u16>,
}

impl KeyBook {
    /// Reads a file of keys: `HASH OWNER [scope=a,b] [until=2027-01-31] [limit=100/s] [burst=200]` a line. What has
    /// been spent of limits goes on from the file as it was `before`.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str, before: Option<&KeyBook>) -> Result<KeyBook, LineError> {
        let mut book = KeyBook::default();
        for (line, entry) in lines(text) {
            let Written { hash, caller, limit } =
                key(entry).map_err(|why| LineError { line, why })?;
            let limit = match limit {
                Some(limit) => {
                    let why =
                        "the file has too many different limits, or this one is beyond counting";
                    Some(book.limits.place(limit).ok_or(LineError { line, why })?)
                }
                None => None,
            };
            let entry = Entry { caller: Arc::new(caller), limit };
            if book.entries.insert(hash, entry).is_some() {
                return Err(LineError { line, why: "this key is there already" });
            }
            if book.entries.len() > API_KEYS_MAX {
                return Err(LineError { line, why: "the file has too many keys" });
            }
        }
        book.limits.settle(before.map(|before| &before.limits));
        Ok(book)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A line, taken apart.
struct Written {
    hash: [u8; 32],
    caller: Caller,
    limit: Option<KeyLimit>,
}

fn key(entry: &str) -> Result<Written, &'static str> {
    let mut words = entry.split_ascii_whitespace();
    let hash = words.next().unwrap_or_default();
    if hash.len() != HASH_CHARS {
        return Err("it begins with the hash of a key: `ringway hash-key` makes the line");
    }
    let bytes = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|bytes| bytes.try_into().ok());
    let hash = bytes.ok_or("the hash is not base64url")?;
    let owner = words.next().filter(|word| !word.contains('=')).ok_or("the owner is missing")?;
    let mut caller = Caller { owner: owner.into(), scopes: Box::default(), until: u64::MAX };
    let [mut rate, mut burst, mut scopes, mut until] = [None; 4];
    for word in words {
        let (place, text) = match word.split_once('=') {
            Some(("limit", text)) => (&mut rate, text),
            Some(("burst", text)) => (&mut burst, text),
            Some(("scope", text)) => (&mut scopes, text),
            Some(("until", text)) => (&mut until, text),
            _ => return Err("behind the owner stand `scope=`, `until=`, `limit=` and `burst=`"),
        };
        if place.replace(text).is_some() {
            return Err("a word stands twice: each of `scope=`, `until=`, `limit=`, `burst=` once");
        }
    }
    if let Some(list) = scopes {
        caller.scopes = list.split(',').map(Box::from).collect();
    }
    if let Some(date) = until {
        let until = moment(date);
        caller.until = until.ok_or("`until` is a day, `2027-01-31`, or seconds since 1970")?;
    }
    let limit = match (rate, burst) {
        (None, None) => None,
        (None, Some(_)) => return Err("`burst` is one of a `limit=`"),
        (Some(rate), burst) => {
            let limit = KeyLimit::parse(rate, burst);
            Some(limit.ok_or(
                "`limit` is a rate, `100/s`, `10/m`, `1000/h`, `5000/d`, `burst` a number",
            )?)
        }
    };
    Ok(Written { hash, caller, limit })
}

/// The first second of a day in UTC, or a number of seconds since 1970.
pub fn moment(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next(), parts.next());
    let (Some(month), Some(day), None) = (month, day, parts.next()) else {
        return text.parse().ok();
    };
    let (year, month, day): (i64, i64, i64) =
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    // Days of the civil calendar, years counted from March (Howard Hinnant, "chrono-compatible algorithms").
    let years = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (years / 400, years % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(days * 86_400).ok()
}

/// The hash of a key as the file has it.
pub fn hash(secret: &[u8], key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), key))
}

/// Where keys are, and where they stand in a request.
pub struct KeyRules {
    /// The name in the configuration.
    pub name: Name,
    /// The field, in lower case.
    pub header: Box<str>,
    /// The query parameter, if one may hold a key.
    pub query: Option<Box<str>>,
    /// The keys.
    pub book: Arc<FileCell<KeyBook>>,
    secret: hmac::Key,
    challenge: Box<[u8]>,
    /// The name as the limits of its keys go by.
    quoted: Box<[u8]>,
}

impl KeyRules {
    /// Compiles the rules.
    pub fn new(
        name: Name,
        secret: &[u8],
        header: &str,
        query: Option<&str>,
        book: Arc<FileCell<KeyBook>>,
    ) -> KeyRules {
        let challenge = format!("ApiKey header=\"{header}\"").into_bytes().into();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let quoted = quoted(name.as_str()).into_bytes().into();
        KeyRules {
            quoted,
            name,
            header: header.into(),
            query: query.map(Box::from),
            book,
            secret,
            challenge,
        }
    }
}

/// The compiled policy. Clones share everything.
#[derive(Clone)]
pub struct ApiKey {
    rules: Arc<KeyRules>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.rules.name).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// From its rules.
    pub fn new(rules: KeyRules) -> ApiKey {
        ApiKey { rules: Arc::new(rules) }
    }

    /// The rules.
    pub fn rules(&self) -> &KeyRules {
        &self.rules
    }

    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, env: &Env<'_>) -> Verdict {
        match self.find(x, env) {
            Ok(Passed { caller, told }) => {
                if let Some((place, grant)) = told {
                    self.tell(place, &grant, x);
                }
                let before = x.identity.take();
                x.identity = Some(Identity::of_caller(caller).and(before));
                Verdict::Continue
            }
            Err(Refused::Limited(place, grant)) => {
                x.reason = "key_rate_limited";
                self.tell(place, &grant, x);
                refuse(FaultKind::RateLimited)
            }
            Err(Refused::Unproven(kind, reason)) => {
                x.reason = reason;
                if kind == FaultKind::Unauthorized {
                    x.reply_fields.add("www-authenticate", &self.rules.challenge);
                }
                refuse(kind)
            }
        }
    }

    fn tell(&self, place: u16, grant: &Grant, x: &mut Exchange) {
        if let Some(book) = self.rules.book.current().as_ref() {
            book.limits.tell(place, &self.rules.quoted, grant, x);
        }
    }

    fn find(&self, x: &Exchange, env: &Env<'_>) -> Result<Passed, Refused> {
        let request = x.request();
        let twice = |_| Refused::Unproven(FaultKind::HttpRequestError, "credentials_malformed");
        let mut key = single(&request, &self.rules.header).map_err(twice)?;
        if let (None, Some(name)) = (key, &self.rules.query) {
            key = parameter(&request, name).map_err(twice)?;
        }
        let no = |reason| Refused::Unproven(FaultKind::Unauthorized, reason);
        let key = key.filter(|key| !key.is_empty()).ok_or(no("key_missing"))?;
        let unknown = no("key_unknown");
        if key.len() > API_KEY_BYTES_MAX {
            return Err(unknown);
        }
        let mark = hmac::sign(&self.rules.secret, key);
        let mark: [u8; 32] = mark.as_ref().try_into().map_err(|_| unknown)?;
        let book = self.rules.book.current();
        let book = book.as_ref().ok_or(unknown)?;
        let entry = book.entries.get(&mark).ok_or(unknown)?;
        if env.wall.as_secs() >= entry.caller.until {
            return Err(no("key_expired"));
        }
        let told = entry
            .limit
            .and_then(|place| book.limits.take(place, &mark, env.now).map(|grant| (place, grant)));
        match told {
            Some((place, grant)) if !grant.granted => Err(Refused::Limited(place, grant)),
            told => Ok(Passed { caller: entry.caller.clone(), told }),
        }
    }
}

/// A key that opens.
struct Passed {
    caller: Arc<Caller>,
    /// What its limit says, by its place.
    told: Option<(u16, Grant)>,
}

/// Why one does not.
#[derive(Clone, Copy)]
enum Refused {
    Unproven(FaultKind, &'static str),
    Limited(u16, Grant),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn days_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-11-25", 1_795_564_800),
            ("9999-12-31", 253_402_214_400),
            ("1795564800", 1_795_564_800),
        ] {
            assert_eq!(moment(text), Some(seconds), "{text}");
        }
        for bad in ["", "soon", "2026-13-01", "2026-11", "1969-12-31", "2026-11-25-1"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_names_owners_scopes_and_ends() {
        let (one, two) = (hash(SECRET, b"one"), hash(SECRET, b"two"));
        let text = format!("# keys\n{one} acme scope=a,b until=2027-01-31\n{two} umbrella\n");
        let book = KeyBook::parse(&text, None).unwrap();
        let mark: [u8; 32] = URL_SAFE_NO_PAD.decode(&one).unwrap().try_into().unwrap();
        let caller = &book.entries[&mark].caller;
        assert_eq!((&*caller.owner, caller.scopes.len(), caller.until), ("acme", 2, 1_801_353_600));
        assert_eq!(book.len(), 2);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_without_its_text() {
        let mark = hash(SECRET, b"one");
        for (text, line) in [
            ("a-plain-key acme".to_owned(), 1),
            (mark.clone(), 1),
            (format!("{mark} acme\n{mark} other"), 2),
            (format!("{mark} acme scope"), 1),
            (format!("{mark} acme until=never"), 1),
            (format!("{mark} acme until=2026-02-29"), 1),
            (format!("{mark} acme until=2027-01-31 until=2028-01-31"), 1),
            (format!("{mark} acme limit=1/s limit=9/s"), 1),
            (format!("{mark} acme limit=fast"), 1),
            (format!("{mark} acme burst=5"), 1),
            (format!("{mark} acme limit=1/s burst=0"), 1),
            (format!("{} acme", mark.replace(|c: char| c.is_ascii_digit(), "+")), 1),
        ] {
            let error = KeyBook::parse(&text, None).expect_err(&text);
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("plain-key"));
        }
    }
}
