//! Conditions beyond host, method and path: header fields and query parameters.
//!
//! They compare bytes as received (query values after decoding) and never allocate.

use crate::http::head::Request;
use crate::http::target::query_pairs;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Where to look.
    pub place: Place,
    /// The name: of a field, compared without case, or of a query parameter, compared exactly.
    pub name: Box<str>,
    /// What it must be.
    pub test: Test,
}

/// Where a condition looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header field.
    Header,
    /// A query parameter.
    Query,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// There is one.
    Present,
    /// There is none.
    Absent,
    /// One of its values is exactly this.
    Equals(Box<str>),
}

impl Condition {
    /// Whether `other` holds wherever this one does.
    pub(super) fn implies(&self, other: &Self) -> bool {
        let same_name = match self.place {
            Place::Header => self.name.eq_ignore_ascii_case(&other.name),
            Place::Query => self.name == other.name,
        };
        let present = matches!((&self.test, &other.test), (Test::Equals(_), Test::Present));
        self.place == other.place && same_name && (self.test == other.test || present)
    }

    /// Whether it holds for the request.
    pub fn holds(&self, request: Request<'_>) -> bool {
        match self.place {
            Place::Header => {
                let named = request.head.fields.named(self.name.as_bytes(), request.raw);
                self.test.holds(named, |value, wanted| value == wanted)
            }
            Place::Query => {
                let pairs = query_pairs(request.query().unwrap_or_default());
                let named = pairs.filter(|(name, _)| decoded_equals(name, self.name.as_bytes()));
                self.test.holds(named.map(|(_, value)| value), decoded_equals)
            }
        }
    }
}

impl Test {
    fn holds<'v>(
        &self,
        mut values: impl Iterator<Item = &'v [u8]>,
        equal: impl Fn(&[u8], &[u8]) -> bool,
    ) -> bool {
        match self {
            Self::Present => values.next().is_some(),
            Self::Absent => values.next().is_none(),
            Self::Equals(wanted) => values.any(|value| equal(value, wanted.as_bytes())),
        }
    }
}

/// Whether `raw`, percent-decoded and with `+` as a space, is `wanted`.
fn decoded_equals(raw: &[u8], wanted: &[u8]) -> bool {
    let mut wanted = wanted.iter();
    let mut at = 0;
    while at < raw.len() {
        let digits = raw.get(at + 1..at + 3).filter(|_| raw[at] == b'%');
        let byte = match digits.and_then(|digits| hex(digits[0]).zip(hex(digits[1]))) {
            Some((high, low)) => {
                at += 2;
                high << 4 | low
            }
            None if raw[at] == b'+' => b' ',
            None => raw[at],
        };
        at += 1;
        if wanted.next() != Some(&byte) {
            return false;
        }
    }
    wanted.next().is_none()
}

/// The value of a hex digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
