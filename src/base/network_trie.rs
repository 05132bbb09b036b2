//! A prefix trie over networks of both families: which of many holds an address, and what it says.
//!
//! The longest prefix decides, as in a routing table (RFC 4632 §5.1), so the order of the list never matters.
//! Finding costs at most one step for each bit of the longest prefix that fits, however many networks there
//! are, and never allocates. An IPv4 address mapped into IPv6 is looked up as IPv4. The choice refused: a
//! list that is walked, as in nginx, where a block list of ten thousand networks is ten thousand comparisons.

use std::net::IpAddr;

use crate::base::network::Network;

/// No node.
const NONE: u32 = 0;

/// A trie of networks that each say yes or no.
#[derive(Clone, Debug)]
pub struct NetworkTrie {
    /// The first two are the roots of IPv4 and of IPv6; no node has one of them as a child.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    children: [u32; 2],
    says: Option<bool>,
}

/// Two rules for one network that say different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Default for NetworkTrie {
    fn default() -> Self {
        Self { nodes: vec![Node::EMPTY; 2] }
    }
}

impl Node {
    const EMPTY: Node = Node { children: [NONE; 2], says: None };
}

impl NetworkTrie {
    /// Adds what `network` says.
    ///
    /// # Errors
    /// The same network says the contrary already.
    pub fn insert(&mut self, network: &Network, says: bool) -> Result<(), Contradiction> {
        let (address, prefix) = network.prefix();
        let (mut at, bits) = start(address);
        for depth in 0..prefix {
            let bit = bit(bits, depth);
            let mut next = self.nodes[at].children[bit];
            if next == NONE {
                next = u32::try_from(self.nodes.len()).map_err(|_| Contradiction)?;
                self.nodes.push(Node::EMPTY);
                self.nodes[at].children[bit] = next;
            }
            at = next as usize;
        }
        match self.nodes[at].says.replace(says) {
            Some(before) if before != says => Err(Contradiction),
            _ => Ok(()),
        }
    }

    /// What the longest network that holds `address` says; `None` when none does.
    pub fn find(&self, address: IpAddr) -> Option<bool> {
        let (mut at, bits) = start(address.to_canonical());
        let mut says = self.nodes[at].says;
        for depth in 0..128 {
            let next = self.nodes[at].children[bit(bits, depth)];
            if next == NONE {
                break;
            }
            at = next as usize;
            says = self.nodes[at].says.or(says);
        }
        says
    }
}

/// The root of a family, and the address with its first bit on top.
fn start(address: IpAddr) -> (usize, u128) {
    match address {
        IpAddr::V4(address) => (0, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (1, address.to_bits()),
    }
}

fn bit(bits: u128, depth: u8) -> usize {
    (bits >> (127 - depth) & 1) as usize
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::base::random::Rng;

    fn trie(rules: &[(&str, bool)]) -> NetworkTrie {
        let mut trie = NetworkTrie::default();
        for (network, says) in rules {
            trie.insert(&network.parse().unwrap(), *says).unwrap();
        }
        trie
    }

    #[test]
    fn the_longest_prefix_decides_in_any_order() {
        for rules in [
            [("10.0.0.0/8", true), ("10.1.0.0/16", false), ("10.1.2.3", true)],
            [("10.1.2.3", true), ("10.1.0.0/16", false), ("10.0.0.0/8", true)],
        ] {
            let trie = trie(&rules);
            let find = |address: &str| trie.find(address.parse().unwrap());
            assert_eq!(find("10.2.0.1"), Some(true));
            assert_eq!(find("10.1.0.1"), Some(false));
            assert_eq!(find("10.1.2.3"), Some(true));
            assert_eq!(find("::ffff:10.1.0.1"), Some(false), "mapped addresses are IPv4");
            assert_eq!(find("11.0.0.1"), None);
            assert_eq!(find("::10.1.2.3"), None, "another family");
        }
    }

    #[test]
    fn whole_families_and_single_addresses_are_networks() {
        let trie = trie(&[("0.0.0.0/0", true), ("::1", false)]);
        assert_eq!(trie.find("203.0.113.9".parse().unwrap()), Some(true));
        assert_eq!(trie.find("::1".parse().unwrap()), Some(false));
        assert_eq!(trie.find("::2".parse().unwrap()), None);
    }

    #[test]
    fn one_network_cannot_say_both() {
        let mut trie = trie(&[("10.0.0.0/8", true)]);
        let network = "10.0.0.0/8".parse().unwrap();
        assert_eq!(trie.insert(&network, true), Ok(()));
        assert_eq!(trie.insert(&network, false), Err(Contradiction));
    }

    /// Against a plain list in which the longest prefix is looked for.
    #[test]
    fn it_agrees_with_a_list() {
        let mut rng = Rng::new(7);
        for _ in 0..200 {
            let mut trie = NetworkTrie::default();
            let mut list: Vec<(Network, bool)> = Vec::new();
            for _ in 0..rng.below(40) {
                // Few high bits vary, so that prefixes nest.
                let network = match rng.below(2) {
                    0 => {
                        let prefix = rng.below(33);
                        let bits = (rng.bits() as u32) & 0x0f00_00ff;
                        format!("{}/{prefix}", Ipv4Addr::from_bits(bits))
                    }
                    _ => {
                        let bits = u128::from(rng.bits() & 0xf) << 120 | u128::from(rng.below(4));
                        format!("{}/{}", Ipv6Addr::from_bits(bits), rng.below(129))
                    }
                };
                let network: Network = network.parse().unwrap();
                let says = rng.below(2) == 0;
                // A contradiction leaves the later word, as in the list from the back.
                let _ = trie.insert(&network, says);
                list.push((network, says));
            }
            for _ in 0..200 {
                let address: IpAddr = match rng.below(2) {
                    0 => Ipv4Addr::from_bits((rng.bits() as u32) & 0x0f00_00ff).into(),
                    _ => Ipv6Addr::from_bits(
                        u128::from(rng.bits() & 0xf) << 120 | u128::from(rng.below(4)),
                    )
                    .into(),
                };
                let longest = list
                    .iter()
                    .filter(|(network, _)| network.contains(address))
                    .max_by_key(|(network, _)| network.prefix().1);
                assert_eq!(trie.find(address), longest.map(|(_, says)| *says), "{address}");
            }
        }
    }
}
