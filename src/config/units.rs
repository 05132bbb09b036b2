//! Values with their units: `"250ms"`, `"16KiB"`, `"100/s"`, `"10.0.0.0/8"`.
//!
//! A number without its unit is never taken: `timeout = 5` is five of what? Sizes know both families,
//! 1024 (`KiB`, IEC 80000-13) and 1000 (`KB`). Every function is total: any text gives a value or words
//! that say what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use crate::base::address::Address;
pub use crate::base::network::Network;

/// Units of durations, in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of sizes, in bytes.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];
/// Periods of rates, in milliseconds.
const PERIODS: [(&str, u64); 4] =
    [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units as other programs spell them.
const ELSEWHERE: [(&str, &str); 14] = [
    ("k", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gib", "GiB"),
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
];

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u64,
    /// In which time: a second, a minute, an hour or a day.
    pub per: Duration,
}

/// Advice about durations.
const ADVICE: &str = "write a number and a unit: `250ms`, `15s`, `5m`, `1h`";

/// A duration: one or several numbers with units, `"1m30s"`. The error is advice.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(ADVICE.into());
    }
    while !rest.is_empty() {
        let (number, unit, behind) = number_and_unit(rest);
        let Some(number) = number else {
            let fraction = unit.starts_with('.');
            let advice =
                if fraction { "write whole numbers: `500ms` rather than `0.5s`" } else { ADVICE };
            return Err(advice.into());
        };
        let Some(scale) = scale(&TIMES, unit) else {
            return Err(bad_unit(unit, number, "a duration", "ms, s, m, h, d", "s"));
        };
        let part = number.checked_mul(scale).ok_or("the number is too large")?;
        total = total.checked_add(part).ok_or("the number is too large")?;
        rest = behind;
    }
    Ok(Duration::from_millis(total))
}

/// A size in bytes. The error is advice.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit, behind) = number_and_unit(text.trim());
    let Some(number) = number.filter(|_| behind.is_empty()) else {
        return Err("write a whole number and a unit: `512B`, `16KiB`, `1MB`".into());
    };
    let Some(scale) = scale(&SIZES, unit) else {
        return Err(bad_unit(unit, number, "a size", "B, KiB, MiB, GiB, KB, MB, GB", "KiB"));
    };
    number.checked_mul(scale).ok_or_else(|| "the number is too large".into())
}

/// A rate. The error is advice.
pub fn rate(text: &str) -> Result<Rate, String> {
    let advice = "write a whole number and a period: `100/s`, `10/m`, `1000/h`, `5000/d`";
    let (count, period) = text.trim().split_once('/').ok_or(advice)?;
    let count: u64 = count.trim().parse().map_err(|_| advice)?;
    let millis = scale(&PERIODS, period.trim()).ok_or_else(|| {
        let word = period.trim();
        let ours = ELSEWHERE.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(word));
        match ours.filter(|(_, ours)| scale(&PERIODS, ours).is_some()) {
            Some((_, ours)) => format!("write `{count}/{ours}`"),
            None => advice.to_owned(),
        }
    })?;
    if count == 0 {
        return Err("a rate is at least one: to close a route, `respond` with a status".into());
    }
    Ok(Rate { count, per: Duration::from_millis(millis) })
}

/// A share of a whole, 1 to 100. The error is advice.
pub fn percent(text: &str) -> Result<u32, String> {
    let advice = "write a whole number from 1 to 100 and its sign: `5%`";
    let number = text.trim().strip_suffix('%').ok_or(advice)?;
    let percent: u32 = number.trim().parse().map_err(|_| advice)?;
    if (1..=100).contains(&percent) { Ok(percent) } else { Err(advice.into()) }
}

/// A network, or a single address. The error is advice.
pub fn network(text: &str) -> Result<Network, String> {
    let advice = "write a network or an address: `10.0.0.0/8`, `192.0.2.7`, `fd00::/8`";
    let text = text.trim();
    let network: Network = text.parse().map_err(|_| advice)?;
    let Some((address, prefix)) = text.split_once('/') else { return Ok(network) };
    let address: IpAddr = address.parse().map_err(|_| advice)?;
    let first = masked(address, prefix.parse().map_err(|_| advice)?);
    if first == address {
        Ok(network)
    } else {
        Err(format!("bits behind the prefix are set: write `{first}/{prefix}`"))
    }
}

/// An address: `ip:port` or `unix:/path`. The error is advice.
pub fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let parsed: Result<SocketAddr, _> = text.parse();
    parsed.map(Address::Tcp).map_err(|_| {
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match text.rsplit_once(':') {
            None if digits(text) => format!("write address and port: `0.0.0.0:{text}`"),
            None if text.parse::<IpAddr>().is_ok() => {
                format!(
                    "the port is missing: `{}`",
                    SocketAddr::new(text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])), 8080)
                )
            }
            Some(("" | "*", port)) if digits(port) => {
                format!("write `0.0.0.0:{port}` or `[::]:{port}`")
            }
            Some(("localhost", port)) if digits(port) => format!("write `127.0.0.1:{port}`"),
            _ => "write `ip:port` or `unix:/path`: `127.0.0.1:8080`, `[::1]:8080`".into(),
        }
    })
}

/// Longest path of a Unix socket. Unit: bytes. `sun_path` has 108 with the closing zero (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

fn unix(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') {
        return Err("write the whole path: `unix:/run/ringway.sock`".into());
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!("a socket's path has at most {UNIX_PATH_BYTES_MAX} bytes"));
    }
    if path.contains('\0') {
        return Err("a path cannot hold a zero byte".into());
    }
    Ok(Address::Unix(PathBuf::from(path).into_boxed_path()))
}

/// The leading digits as a number, the letters behind them, and what follows.
fn number_and_unit(text: &str) -> (Option<u64>, &str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(rest.len());
    let (unit, behind) = rest.split_at(end);
    if unit.starts_with('.') {
        return (None, unit, behind);
    }
    (number.parse().ok(), unit, behind.trim_start())
}

fn scale(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

/// Advice about a unit that is missing or unknown.
fn bad_unit(unit: &str, number: u64, what: &str, valid: &str, usual: &str) -> String {
    if unit.is_empty() {
        return format!("the unit is missing: `{number}{usual}`? Units of {what}: {valid}");
    }
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(unit))
        && valid.split(", ").any(|known| known == *ours)
    {
        return format!("write `{number}{ours}`; units of {what}: {valid}");
    }
    format!("units of {what}: {valid}")
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::from((u32::from(v4) & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask =
                u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::from((u128::from(v6) & mask).to_be_bytes())
        }
    }
}

/// A size as a person would write it, exactly.
pub fn shown_bytes(bytes: u64) -> String {
    let mut binary = SIZES[..4].iter().rev();
    let exact = binary.find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    exact.map_or("0B".into(), |(unit, scale)| format!("{}{unit}", bytes / scale))
}

/// A duration as a person would write it; for messages and pages.
pub fn shown_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = TIMES.iter().rev().find(|(_, scale)| millis > 0 && millis % scale == 0);
    exact.map_or("0s".into(), |(unit, scale)| format!("{}{unit}", millis / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("15 s"), Ok(Duration::from_secs(15)));
        for bad in ["", "5", "0.5s", "5 parsecs", "s", "-1s", "99999999999999999999s", "ä", "5µs"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("5").is_err_and(|advice| advice.contains("`5s`")));
    }

    #[test]
    fn sizes_know_both_families() {
        assert_eq!(bytes("16KiB"), Ok(16 * 1024));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        assert_eq!(bytes("512B"), Ok(512));
        for bad in ["", "16", "16kib", "1.5MB", "16KiB1", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_have_periods() {
        assert_eq!(rate("100/s"), Ok(Rate { count: 100, per: Duration::from_secs(1) }));
        assert_eq!(rate("10/m"), Ok(Rate { count: 10, per: Duration::from_secs(60) }));
        for bad in ["", "100", "0/s", "100/x", "/s", "1.5/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_no_bits_behind_the_prefix() {
        for good in ["10.0.0.0/8", "192.0.2.7", "::/0", "0.0.0.0/0", "fd00::/8"] {
            assert!(network(good).is_ok(), "{good}");
        }
        assert!(network("10.1.2.3/8").is_err_and(|advice| advice.contains("`10.0.0.0/8`")));
        for bad in ["", "10.0.0.0/33", "::/129", "host", "10.0.0.0/x"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_tcp_or_unix() {
        assert!(address("127.0.0.1:80").is_ok() && address("[::1]:80").is_ok());
        assert_eq!(address("unix:/a").map(|a| a.to_string()), Ok("unix:/a".into()));
        assert!(address(":8080").is_err_and(|advice| advice.contains("`0.0.0.0:8080`")));
        assert!(address("10.0.0.1").is_err_and(|advice| advice.contains("`10.0.0.1:8080`")));
        for bad in ["", "8080", "localhost:1", "unix:a", "1.2.3.4:99999"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shown_size_reads_back() {
        for text in ["0B", "1B", "1MiB", "60KiB", "1000B", "2GiB"] {
            assert_eq!(shown_bytes(bytes(text).expect("good")), text);
        }
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for text in ["250ms", "15s", "5m", "1h", "90s"] {
            assert_eq!(duration(&shown_duration(duration(text).expect("good"))), duration(text));
        }
    }
}
