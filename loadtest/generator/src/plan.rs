//! What a run is: whom it asks, what, how much, for how long; and what must come back.
//!
//! Built once from the command line and shared by all threads. Never larger than `bounds`; never aimed at an address that
//! is not loopback unless `remote` says so: a load generator pointed at somebody else's host is an attack.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Seen;
use crate::bounds::REQUESTS_OF_MIX_MAX;
use crate::record::Failure;

pub struct Plan {
    pub address: SocketAddr,
    /// What the client says whom it asks: `Host`, `:authority`, SNI.
    pub authority: String,
    pub tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub http2: bool,
    /// Streams at once on one connection of HTTP/2.
    pub streams: usize,
    /// Requests a second in all; None is a closed loop.
    pub rate: Option<f64>,
    pub connections: usize,
    pub threads: usize,
    pub warm: Duration,
    /// The run's length, warming up included.
    pub length: Duration,
    pub requests_max: u64,
    pub timeout: Duration,
    /// A connection ends after this many requests; 0 never.
    pub churn: u64,
    pub mix: Mix,
}

/// The requests, in the order in which they take turns.
pub struct Mix {
    pub requests: Vec<Request>,
    pub expect: Vec<Expect>,
}

pub struct Request {
    pub method: String,
    pub path: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Its line of the mix: all requests of a line are answered alike.
    pub line: usize,
}

/// What a request must be answered. What is not said is learnt from the first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    pub status: Option<u16>,
    pub length: Option<u64>,
    pub hash: Option<u64>,
    /// Whether bodies are compared at all.
    pub any_body: bool,
}

impl Expect {
    /// None when the answer is right. Length and hash are learnt from an answer of the right status only.
    pub fn judge(&mut self, seen: Seen) -> Option<(Failure, String)> {
        let status = *self.status.get_or_insert(seen.status);
        if seen.status != status {
            return Some((Failure::Status, format!("status {} instead of {status}", seen.status)));
        }
        if self.any_body {
            return None;
        }
        let length = *self.length.get_or_insert(seen.length);
        if seen.length != length {
            return Some((Failure::Length, format!("{} bytes instead of {length}", seen.length)));
        }
        let hash = *self.hash.get_or_insert(seen.hash);
        (seen.hash != hash).then(|| {
            (
                Failure::Content,
                format!(
                    "a body of {length} bytes with hash {:016x} instead of {hash:016x}",
                    seen.hash
                ),
            )
        })
    }

    /// Keeps what either knows.
    pub fn merge(&mut self, other: Expect) {
        self.status = self.status.or(other.status);
        self.length = self.length.or(other.length);
        self.hash = self.hash.or(other.hash);
    }

    pub fn to_json(&self) -> Value {
        json!({ "status": self.status, "length": self.length, "hash": self.hash.map(|hash| format!("{hash:016x}")) })
    }
}

/// `http://host[:port]/path` in its parts; the address is looked up once.
pub struct Target {
    pub https: bool,
    pub authority: String,
    pub host: String,
    pub path: String,
    pub address: SocketAddr,
}

impl Target {
    pub fn parse(url: &str, remote: bool) -> Result<Target, String> {
        let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{url}: http:// or https://")),
        };
        let host = uri
            .host()
            .ok_or_else(|| format!("{url}: no host"))?
            .trim_matches(['[', ']'])
            .to_string();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let address = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?
            .next()
            .ok_or_else(|| format!("{host}: no address"))?;
        if !address.ip().is_loopback() && !remote {
            return Err(format!(
                "{address} is not loopback: load on a host that is not yours is an attack. --remote says that it is yours"
            ));
        }
        let authority = uri.authority().map(|a| a.to_string()).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_string();
        Ok(Target { https, authority, host, path, address })
    }
}

/// A line of a mix: `[WEIGHT] METHOD PATH [BODY_BYTES]`. `{A..B}` in a path stands for each number from A up to but not B.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub weight: usize,
    pub method: String,
    pub paths: Vec<String>,
    pub body_bytes: usize,
}

impl Line {
    pub fn parse(text: &str) -> Result<Line, String> {
        let wrong = || format!("`{text}`: [WEIGHT] METHOD PATH [BODY_BYTES]");
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (weight, words) = match words.first().ok_or_else(wrong)?.parse::<usize>() {
            Ok(weight) => (weight.clamp(1, 1000), &words[1..]),
            Err(_) => (1, &words[..]),
        };
        let (method, path, body) = match words {
            [method, path] => (method, path, "0"),
            [method, path, body] => (method, path, *body),
            _ => return Err(wrong()),
        };
        if !path.starts_with('/') || !method.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let body_bytes = body.parse().map_err(|_| wrong())?;
        Ok(Line { weight, method: method.to_string(), paths: written_out(path)?, body_bytes })
    }
}

/// One `{A..B}` of a path written out.
fn written_out(path: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = path.split_once('{') else { return Ok(vec![path.to_string()]) };
    let range = rest.split_once('}').and_then(|(range, after)| {
        let (from, to) = range.split_once("..")?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?, after))
    });
    match range {
        Some((from, to, after)) if from < to && to - from <= REQUESTS_OF_MIX_MAX => {
            Ok((from..to).map(|n| format!("{before}{n}{after}")).collect())
        }
        _ => Err(format!("{path}: {{A..B}} with A < B, at most {REQUESTS_OF_MIX_MAX} numbers")),
    }
}

/// The order in which requests take turns: each line as often as its weight says, spread evenly and always the same way.
pub fn turns(lines: &[Line]) -> Vec<(usize, usize)> {
    let rounds = lines.iter().map(|line| line.paths.len()).max().unwrap_or(0);
    let in_round: usize = lines.iter().map(|line| line.weight).sum();
    let rounds = rounds.min((REQUESTS_OF_MIX_MAX / in_round.max(1)).max(1));
    let mut turns = Vec::with_capacity(rounds * in_round);
    for round in 0..rounds {
        let mut credit = vec![0i64; lines.len()];
        for _ in 0..in_round {
            // Smooth weighted round robin: the line that is owed most goes next.
            for (owed, line) in credit.iter_mut().zip(lines) {
                *owed += line.weight as i64;
            }
            let next =
                (0..lines.len()).max_by_key(|at| (credit[*at], usize::MAX - at)).unwrap_or(0);
            credit[next] -= in_round as i64;
            // A stride that shares no factor with the count walks through all paths without going up one by one.
            let count = lines[next].paths.len();
            let stride = if count.is_multiple_of(7919) { 1 } else { 7919 };
            turns.push((next, round * stride % count));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_asked_unless_told() {
        assert!(Target::parse("http://127.0.0.1:8080/a", false).is_ok());
        assert!(Target::parse("http://[::1]:8080/a", false).is_ok());
        let refused = Target::parse("http://192.0.2.1:8080/a", false).err().unwrap();
        assert!(refused.contains("not loopback") && refused.contains("--remote"), "{refused}");
        assert!(Target::parse("http://192.0.2.1:8080/a", true).is_ok());
        assert!(Target::parse("ftp://127.0.0.1/", false).is_err());
    }

    #[test]
    fn a_mix_keeps_its_weights() {
        let lines = [Line::parse("3 GET /a").unwrap(), Line::parse("POST /b/{0..4} 100").unwrap()];
        assert_eq!(lines[1].paths, ["/b/0", "/b/1", "/b/2", "/b/3"]);
        assert_eq!((lines[0].weight, lines[1].weight, lines[1].body_bytes), (3, 1, 100));
        let turns = turns(&lines);
        assert_eq!(turns.len(), 16);
        assert_eq!(turns.iter().filter(|(line, _)| *line == 0).count(), 12);
        let mut paths: Vec<usize> =
            turns.iter().filter(|(line, _)| *line == 1).map(|(_, path)| *path).collect();
        paths.sort_unstable();
        assert_eq!(paths, [0, 1, 2, 3]);
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for text in ["", "GET", "get /a", "GET a", "GET /a b", "GET /{5..2}", "GET /{0..99999999}"]
        {
            assert!(Line::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_learnt_only_from_the_right_status() {
        let mut expect = Expect { status: Some(200), ..Expect::default() };
        let refusal = Seen { status: 503, length: 1, hash: 1 };
        assert_eq!(expect.judge(refusal).unwrap().0, Failure::Status);
        assert_eq!(expect.length, None);
        assert_eq!(expect.judge(Seen { status: 200, length: 2, hash: 2 }), None);
        assert_eq!(
            expect.judge(Seen { status: 200, length: 2, hash: 3 }).unwrap().0,
            Failure::Content
        );
    }
}
