//! What the client is told when parts fail (CONFIG.md rule 5).
//!
//! A required part's failure is the answer's: its 4xx is passed on as the status, its timeout is 504, all
//! else is 502 (503 when no endpoint could be asked). An optional one's is an entry in `gateway-partial`,
//! a List of RFC 9651 §3.1 whose items are the parts' names and whose one parameter is the reason:
//! `orders;timeout, unread;status`; `orders;timeout;stale` where an older answer stands in. Either never holds a byte that an origin sent.

use std::fmt::Write;

use crate::aggregate::json::JsonFault;
use crate::aggregate::plan::{PartOutcome, Plan};
use crate::aggregate::view::{OnPartial, View};
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::exchange::part::PartFailure;
use crate::exchange::template::Sink;
use crate::http::Status;
use crate::http::coding::CodingFault;

/// Why a part failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartFault {
    /// No whole answer in time.
    Timeout,
    /// An answer that is not 2xx.
    Status(Status),
    /// The body is not JSON.
    NotJson,
    /// The body is not UTF-8.
    NotUtf8,
    /// The body or its JSON ends too early.
    Truncated,
    /// The JSON is nested deeper than `JSON_DEPTH_MAX`.
    TooDeep,
    /// The body is larger than the part's `bytes_max`.
    TooLarge,
    /// What `pick` names is not there.
    Pick,
    /// The part is flattened, and its value has no members.
    NotObject,
    /// The answer to a call for several elements is no array.
    NotArray,
    /// The answer to a call for several elements lacks one.
    Missing,
    /// No connection.
    Connect,
    /// No endpoint may be asked, or a bound of ours is reached.
    Unavailable,
    /// The connection was closed before an answer.
    Reset,
    /// The answer is not HTTP as we read it.
    Protocol,
    /// The body is in a content coding that we do not know, or not what its coding says.
    Coding,
    /// A value that its request takes from another part's answer is not there.
    Reference,
    /// The same, because that other part failed.
    Dependency,
    /// A value of another part cannot stand where the request needs it.
    Unfit,
    /// There are more elements to call it for than it may be called for.
    TooMany,
    /// It is optional, failed, and `on_partial` does not excuse it.
    NotExcused,
    /// Our own mistake.
    Internal,
}

impl PartFault {
    /// The reason in `gateway-partial`, the access log and metrics. A parameter key of RFC 9651 §3.1.2.
    pub fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::NotJson => "not_json",
            Self::NotUtf8 => "not_utf8",
            Self::Truncated => "truncated",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::Pick => "pick",
            Self::NotObject => "not_object",
            Self::NotArray => "not_array",
            Self::Missing => "missing",
            Self::Connect => "connect",
            Self::Unavailable => "unavailable",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Coding => "coding",
            Self::Reference => "reference",
            Self::Dependency => "dependency",
            Self::Unfit => "unfit",
            Self::TooMany => "too_many",
            Self::NotExcused => "not_excused",
            Self::Internal => "internal",
        }
    }

    /// The status of the whole answer when the part is required.
    pub fn status(self) -> Status {
        match self {
            Self::Status(status) if (400..500).contains(&status.0) => status,
            _ => self.fault().kind.status(),
        }
    }

    /// The fault of the exchange when the part is required.
    pub fn fault(self) -> Fault {
        let (kind, side) = match self {
            Self::Timeout => (FaultKind::HttpResponseTimeout, Side::Upstream),
            Self::Unavailable => (FaultKind::DestinationUnavailable, Side::Upstream),
            Self::Internal => (FaultKind::ProxyInternalError, Side::Gateway),
            _ => (FaultKind::PartFailed, Side::Upstream),
        };
        Fault { kind, side, again: Again::Never }
    }
}

impl From<JsonFault> for PartFault {
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::Empty | JsonFault::Malformed => Self::NotJson,
            JsonFault::Truncated => Self::Truncated,
            JsonFault::TooDeep => Self::TooDeep,
            JsonFault::NotUtf8 => Self::NotUtf8,
        }
    }
}

impl From<CodingFault> for PartFault {
    fn from(fault: CodingFault) -> Self {
        match fault {
            CodingFault::Unknown | CodingFault::Malformed => Self::Coding,
            CodingFault::Truncated => Self::Truncated,
            CodingFault::TooLarge => Self::TooLarge,
        }
    }
}

impl From<Fault> for PartFault {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            FaultKind::ConnectionTimeout | FaultKind::HttpResponseTimeout => Self::Timeout,
            FaultKind::RequestTimeout => Self::Timeout,
            FaultKind::ConnectionRefused => Self::Connect,
            FaultKind::DestinationUnavailable
            | FaultKind::ConnectionLimitReached
            | FaultKind::ConcurrencyLimited
            | FaultKind::UpstreamLimited => Self::Unavailable,
            FaultKind::ConnectionTerminated => Self::Reset,
            FaultKind::HttpResponseIncomplete => Self::Truncated,
            FaultKind::BodyTooLarge | FaultKind::HttpResponseHeaderSectionSize => Self::TooLarge,
            FaultKind::HttpProtocolError | FaultKind::VersionRefused => Self::Protocol,
            _ => Self::Internal,
        }
    }
}

/// Whether the answer may be given: the first required part, in plan order, that failed is why not, or
/// else the first optional one that the view does not excuse.
///
/// # Errors
/// The part's index in the plan, and its fault.
pub fn verdict(
    plan: &Plan,
    view: &View,
    outcomes: &[PartOutcome<'_>],
) -> Result<(), (usize, PartFault)> {
    let failed = |required: bool| {
        outcomes.iter().enumerate().find_map(|(index, outcome)| match outcome {
            PartOutcome::Failed(fault) if plan.parts[index].is_required() == required => {
                Some((index, *fault))
            }
            _ => None,
        })
    };
    match failed(true) {
        Some(failed) => Err(failed),
        None if view.on_partial == OnPartial::Fail => {
            failed(false).map_or(Ok(()), |(index, _)| Err((index, PartFault::NotExcused)))
        }
        None => Ok(()),
    }
}

/// Whether some part failed: the answer then carries `gateway-partial` and is not to be stored.
pub fn is_partial(outcomes: &[PartOutcome<'_>]) -> bool {
    outcomes.iter().any(|outcome| failure(outcome).is_some())
}

/// The parts that failed, for log and metrics, in plan order.
pub fn failures<'a>(outcomes: &'a [PartOutcome<'_>]) -> impl Iterator<Item = PartFailure> + 'a {
    outcomes.iter().enumerate().filter_map(|(index, outcome)| {
        let (fault, _) = failure(outcome)?;
        Some(PartFailure { part: index as u16, reason: fault.word() })
    })
}

/// Why a part failed, and for how many of its elements if it is called for several.
pub(super) fn failure(outcome: &PartOutcome<'_>) -> Option<(PartFault, Option<u32>)> {
    match outcome {
        PartOutcome::Failed(fault) | PartOutcome::Stale(_, fault) => Some((*fault, None)),
        PartOutcome::Several(_, failures) => Some((failures.first?, Some(failures.count))),
        _ => None,
    }
}

/// Appends the value of `gateway-partial`, in plan order; nothing when no part failed. `false` when the
/// sink is full.
#[must_use]
pub fn write<S: Sink>(plan: &Plan, outcomes: &[PartOutcome<'_>], out: &mut S) -> bool {
    let parts = plan.parts.iter().zip(outcomes);
    let failed = parts.filter_map(|(part, outcome)| Some((part, outcome, failure(outcome)?)));
    failed.enumerate().all(|(number, (part, outcome, (fault, count)))| {
        let comma: &[u8] = if number == 0 { b"" } else { b", " };
        let reason = fault.word().as_bytes();
        let stale: &[u8] = if matches!(outcome, PartOutcome::Stale(..)) { b";stale" } else { b"" };
        let named = [comma, &part.label, b";", reason, stale].iter().all(|piece| out.put(piece));
        named
            && count.is_none_or(|count| {
                out.put(b";failed=") && out.put(itoa::Buffer::new().format(count).as_bytes())
            })
    })
}

/// A part's name as an item of RFC 9651: a Token if it is one (§3.3.4), else a String (§3.3.3), else,
/// beyond ASCII, a Display String (§3.3.8).
pub(super) fn label(name: &str) -> Box<[u8]> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    if begins && name.bytes().all(token) {
        return name.as_bytes().into();
    }
    let mut text = String::with_capacity(name.len() + 2);
    if name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        text.push('"');
        for character in name.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    } else {
        text.push_str("%\"");
        for byte in name.bytes() {
            match byte {
                b'%' | b'"' | 0..0x20 | 0x7f.. => {
                    write!(text, "%{byte:02x}").expect("a String takes all text");
                }
                _ => text.push(char::from(byte)),
            }
        }
    }
    text.push('"');
    text.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::plan::{Part, Pass};
    use crate::base::ids::UpstreamId;
    use crate::base::name::Name;
    use crate::exchange::part::REASONS;
    use crate::exchange::template::{Template, TemplateKind};

    fn plan(parts: &[(&str, bool)]) -> Plan {
        let parts = parts.iter().map(|(name, required)| {
            let target = Template::parse("/", TemplateKind::Target, &[]).expect("fine");
            let mut part = Part::new(Name::new(name), UpstreamId(0), target, Duration::ZERO);
            part.otherwise = (!required).then(|| b"0".as_slice().into());
            part
        });
        Plan::new(parts.collect(), Pass::default())
    }

    const FAILED: PartOutcome<'_> = PartOutcome::Failed(PartFault::Timeout);
    const FINE: PartOutcome<'_> = PartOutcome::Value(b"1");

    #[test]
    fn failed_parts_are_named_in_plan_order_with_their_reasons() {
        let plan = plan(&[("user", true), ("orders", false), ("unread", false)]);
        let status = PartOutcome::Failed(PartFault::Status(Status(500)));
        let mut out = Vec::new();
        assert!(write(&plan, &[FINE, FAILED, status], &mut out));
        assert_eq!(out, b"orders;timeout, unread;status");
        out.clear();
        let stale = PartOutcome::Stale(b"7", PartFault::Connect);
        assert!(write(&plan, &[stale, FINE, FAILED], &mut out));
        assert_eq!(out, b"user;connect;stale, unread;timeout");
        assert!(is_partial(&[stale]));
        out.clear();
        assert!(write(&plan, &[FINE, PartOutcome::Empty, FINE], &mut out) && out.is_empty());
        assert!(is_partial(&[FINE, FAILED]) && !is_partial(&[FINE, PartOutcome::Empty]));
    }

    #[test]
    fn every_reason_is_counted_under_its_own_name() {
        let faults = [
            PartFault::Timeout,
            PartFault::Status(Status(500)),
            PartFault::NotJson,
            PartFault::NotUtf8,
            PartFault::Truncated,
            PartFault::TooDeep,
            PartFault::TooLarge,
            PartFault::Pick,
            PartFault::NotObject,
            PartFault::NotArray,
            PartFault::Missing,
            PartFault::Connect,
            PartFault::Unavailable,
            PartFault::Reset,
            PartFault::Protocol,
            PartFault::Coding,
            PartFault::Reference,
            PartFault::Dependency,
            PartFault::Unfit,
            PartFault::TooMany,
            PartFault::NotExcused,
            PartFault::Internal,
        ];
        for fault in faults {
            let failure = PartFailure { part: 0, reason: fault.word() };
            assert_eq!(REASONS[failure.reason_index()], fault.word());
        }
    }

    #[test]
    fn names_are_spelt_as_structured_fields() {
        for (name, spelt) in [
            ("orders", "orders"),
            ("a/b:c", "a/b:c"),
            ("2nd", "\"2nd\""),
            ("a \"b\\", "\"a \\\"b\\\\\""),
            ("", "\"\""),
            ("Grüße\n", "%\"Gr%c3%bc%c3%9fe%0a\""),
        ] {
            assert_eq!(&*label(name), spelt.as_bytes(), "{name}");
        }
    }

    #[test]
    fn the_first_required_part_that_failed_decides() {
        let plan = plan(&[("a", false), ("b", true), ("c", true)]);
        let status = |status| PartFault::Status(Status(status));
        let whole = View::whole(&plan, OnPartial::Answer);
        assert_eq!(verdict(&plan, &whole, &[FAILED, FINE, PartOutcome::Empty]), Ok(()));
        let stale = PartOutcome::Stale(b"7", PartFault::Connect);
        assert_eq!(verdict(&plan, &whole, &[stale, stale, stale]), Ok(()));
        let strict = View::whole(&plan, OnPartial::Fail);
        let unexcused = Err((0, PartFault::NotExcused));
        assert_eq!(verdict(&plan, &strict, &[FAILED, FINE, PartOutcome::Empty]), unexcused);
        let outcomes = [FAILED, PartOutcome::Failed(status(404)), FAILED];
        assert_eq!(verdict(&plan, &whole, &outcomes), Err((1, status(404))));
        for (fault, answer) in [
            (status(404), 404),
            (status(403), 403),
            (status(500), 502),
            (status(503), 502),
            (status(302), 502),
            (PartFault::Timeout, 504),
            (PartFault::NotJson, 502),
            (PartFault::Connect, 502),
            (PartFault::Unavailable, 503),
            (PartFault::Internal, 500),
        ] {
            assert_eq!(fault.status(), Status(answer), "{fault:?}");
        }
    }
}
