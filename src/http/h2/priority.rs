//! How urgent a response is, as its client and its origin say (RFC 9218).
//!
//! Both speak by the field `priority`, a client also by frames (§7). Of the dictionary (RFC 8941 §3.2) only `u` and `i` are
//! read; what is malformed or unknown says nothing and is never an error (§4).

/// What was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signal {
    /// From 0, the most urgent, to 7 (§4.1).
    pub urgency: Option<u8>,
    /// Whether a part is of use before the whole is there (§4.2).
    pub incremental: Option<bool>,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// From 0, the most urgent, to 7.
    pub urgency: u8,
    /// Whether it shares with others, or they go one after the other.
    pub incremental: bool,
}

/// Where nothing is said (§4.1).
const URGENCY: u8 = 3;
/// The least urgent.
pub const URGENCIES: usize = 8;

impl Signal {
    /// What a value of the field says.
    pub fn parse(value: &[u8]) -> Signal {
        let mut said = Signal::default();
        for member in value.split(|byte| *byte == b',') {
            // Parameters say nothing.
            let member = member.split(|byte| *byte == b';').next().unwrap_or_default();
            match member.trim_ascii() {
                [b'u', b'=', digit @ b'0'..=b'7'] => said.urgency = Some(digit - b'0'),
                b"i" | b"i=?1" => said.incremental = Some(true),
                b"i=?0" => said.incremental = Some(false),
                _ => {}
            }
        }
        said
    }

    /// The same, with what an origin says in its place (§8).
    pub fn or_rather(self, origin: Signal) -> Signal {
        Signal {
            urgency: origin.urgency.or(self.urgency),
            incremental: origin.incremental.or(self.incremental),
        }
    }

    /// What is done about it. Who says nothing at all does not know of this, and shares as ever.
    pub fn priority(self) -> Priority {
        let says_nothing = self == Signal::default();
        Priority {
            urgency: self.urgency.unwrap_or(URGENCY),
            incremental: self.incremental.unwrap_or(says_nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_members_are_read_and_the_rest_says_nothing() {
        let cases: [(&str, Option<u8>, Option<bool>); 14] = [
            ("u=0", Some(0), None),
            ("u=7, i", Some(7), Some(true)),
            ("i", None, Some(true)),
            ("i=?1", None, Some(true)),
            ("u=2,i=?0", Some(2), Some(false)),
            (" i , u=5 ", Some(5), Some(true)),
            ("u=1;x=2, i;y", Some(1), Some(true)),
            ("u=1, u=2", Some(2), None),
            ("u=8", None, None),
            ("u=-1", None, None),
            ("u=1.5", None, None),
            ("x=1, u=4", Some(4), None),
            ("", None, None),
            ("\u{fc}=1", None, None),
        ];
        for (value, urgency, incremental) in cases {
            assert_eq!(Signal::parse(value.as_bytes()), Signal { urgency, incremental }, "{value}");
        }
    }

    #[test]
    fn an_origin_has_the_last_word_and_silence_shares() {
        let client = Signal::parse(b"u=5, i");
        let merged = client.or_rather(Signal::parse(b"u=1")).priority();
        assert_eq!(merged, Priority { urgency: 1, incremental: true });
        assert_eq!(Signal::parse(b"u=3").priority(), Priority { urgency: 3, incremental: false });
        assert_eq!(Signal::default().priority(), Priority { urgency: 3, incremental: true });
    }
}
