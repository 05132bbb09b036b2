//! Networks in CIDR notation (RFC 4632): which peers are trusted to speak for others.
//!
//! An IPv4 address that came in mapped into IPv6 (RFC 4291 §2.5.5.2) is compared as IPv4, and a network of such
//! addresses is the IPv4 network: written as either, it holds the same clients. Otherwise a network never matches
//! the other family.

use std::net::IpAddr;
use std::str::FromStr;

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl Network {
    /// Its first address, and how many bits of it count.
    pub fn prefix(&self) -> (IpAddr, u8) {
        (self.address, self.prefix)
    }

    /// Whether `address` lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `10.0.0.0/8`, `::1/128` or a bare address.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text.parse().map_err(|_| NotANetwork)?,
            None => longest,
        };
        if prefix > longest {
            return Err(NotANetwork);
        }
        match address {
            IpAddr::V6(mapped) if prefix >= MAPPED_BITS && mapped.to_ipv4_mapped().is_some() => {
                Ok(Self { address: address.to_canonical(), prefix: prefix - MAPPED_BITS })
            }
            _ => Ok(Self { address, prefix }),
        }
    }
}

/// Bits before the IPv4 address in one that is mapped into IPv6.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn prefixes_of_both_families_hold_what_they_should() {
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::1", "::1") && !holds("::1", "::2"));
        assert!(holds("2001:db8::/32", "2001:db8:5::1"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1"), "mapped addresses are IPv4");
    }

    #[test]
    fn a_network_of_mapped_addresses_is_the_ipv4_network() {
        for (mapped, plain) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(mapped.parse::<Network>(), plain.parse(), "{mapped}");
        }
        assert!(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(holds("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
        assert!(!holds("::ffff:10.0.0.0/104", "11.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "host", "10.0.0/8", "::/129"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
