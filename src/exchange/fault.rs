//! What went wrong in an exchange, on whose side, and whether trying again could help.
//!
//! A fault is made where it happens and decided there; it is small, `Copy` and never allocates.
//! `serve/answer.rs` alone turns one into a response. Kinds use the registered error types of the
//! Proxy-Status field (RFC 9209 §2.3 and the IANA registry) wherever one exists.

use crate::http::Status;

/// What went wrong, where, and may it be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// On whose side.
    pub side: Side,
    /// Whether another attempt may be made.
    pub again: Again,
}

/// Whose side failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// Ours.
    Gateway,
    /// An origin's.
    Upstream,
}

impl Side {
    /// The word in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// Whether another attempt may be made (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// Only if the method is idempotent: something may have reached the origin.
    IfIdempotent,
    /// Nothing was sent: any request may be tried again.
    Always,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $text:literal $status:literal;)*) => {
        /// What went wrong. The comment behind each names the status the client sees.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FaultKind {
            $($(#[$doc])* $name,)*
        }

        impl FaultKind {
            /// Every kind, in order of declaration.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$name,)*];

            /// The one spelling in header, log and metric label.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The status that a client sees.
            pub fn status(self) -> Status {
                match self {
                    $(Self::$name => Status($status),)*
                }
            }
        }
    };
}

impl FaultKind {
    /// Whether a client did it in the middle of an attempt: it proves nothing against the origin.
    pub fn is_of_client(self) -> bool {
        matches!(self, Self::ClientGone | Self::RequestTimeout | Self::HttpRequestError)
    }

    /// Whether a limit of this gateway refused the attempt, so that its origin was never asked.
    pub fn is_of_limit(self) -> bool {
        matches!(
            self,
            Self::ConnectionLimitReached
                | Self::ConcurrencyLimited
                | Self::LimitStoreAway
                | Self::UpstreamLimited
        )
    }
}

kinds! {
    /// The request is malformed or ambiguous (RFC 9209 §2.3.17).
    HttpRequestError "http_request_error" 400;
    /// The path is spelt in a way that the listener refuses (`..`, `//`, `%2F` …).
    PathRefused "path_refused" 400;
    /// A template's value is missing from the request.
    ValueMissing "value_missing" 400;
    /// The credentials are missing or do not prove anything.
    Unauthorized "unauthorized" 401;
    /// A policy refused the request (RFC 9209 §2.3.16).
    HttpRequestDenied "http_request_denied" 403;
    /// The connection is for another host: what its client proved is not what this one asks for (RFC 9110 §15.5.20).
    MisdirectedRequest "misdirected_request" 421;
    /// No route matches.
    RouteMissing "route_missing" 404;
    /// A route matches but not with this method.
    MethodRefused "method_refused" 405;
    /// The client did not send its request in time.
    RequestTimeout "request_timeout" 408;
    /// The body is larger than the route allows.
    BodyTooLarge "body_too_large" 413;
    /// The target is longer than the listener allows.
    TargetTooLong "target_too_long" 414;
    /// An Expect field asks for what we do not know.
    ExpectationRefused "expectation_refused" 417;
    /// A rate limit is spent.
    RateLimited "rate_limited" 429;
    /// The head is too large or has too many fields.
    HeadTooLarge "head_too_large" 431;
    /// The client closed before the exchange was over; 499 is nginx's word and appears in the log only.
    ClientGone "client_gone" 499;
    /// Our own mistake (RFC 9209 §2.3.30).
    ProxyInternalError "proxy_internal_error" 500;
    /// A transfer coding or method that we do not implement.
    NotImplemented "not_implemented" 501;
    /// A tunnel was silent, or its receiver took nothing, for too long; appears in the log only.
    TunnelIdle "tunnel_idle" 504;
    /// The process ended at its drain deadline; appears in the log only.
    GatewayStopping "gateway_stopping" 503;
    /// The connection was refused (RFC 9209 §2.3.8).
    ConnectionRefused "connection_refused" 502;
    /// The connection was closed before the response was whole (RFC 9209 §2.3.9).
    ConnectionTerminated "connection_terminated" 502;
    /// The origin does not speak TLS as we do (RFC 9209 §2.3.14).
    TlsProtocolError "tls_protocol_error" 502;
    /// The origin's certificate does not prove that it is who it should be (RFC 9209 §2.3.15).
    TlsCertificateError "tls_certificate_error" 502;
    /// The origin refused our part of a TLS handshake (RFC 9209 §2.3.16).
    TlsAlertReceived "tls_alert_received" 502;
    /// The origin's response is malformed or ambiguous (RFC 9209 §2.3.27).
    HttpProtocolError "http_protocol_error" 502;
    /// The origin closed in the middle of its response (RFC 9209 §2.3.19).
    HttpResponseIncomplete "http_response_incomplete" 502;
    /// The origin's head is too large (RFC 9209 §2.3.20).
    HttpResponseHeaderSectionSize "http_response_header_section_size" 502;
    /// A part of a merge failed that may not be missing.
    PartFailed "part_failed" 502;
    /// No endpoint of the upstream can be used (RFC 9209 §2.3.3).
    DestinationUnavailable "destination_unavailable" 503;
    /// The keys that would prove a token are not there yet.
    KeysUnavailable "keys_unavailable" 503;
    /// A bound of this gateway is reached (RFC 9209 §2.3.12).
    ConnectionLimitReached "connection_limit_reached" 503;
    /// As many are there at once as may be.
    ConcurrencyLimited "concurrency_limited" 503;
    /// The store of a fleet's limit is away, and the limit lets nobody pass without it.
    LimitStoreAway "limit_store_away" 503;
    /// A limit towards the upstream is spent.
    UpstreamLimited "upstream_limited" 503;
    /// The origin did not accept the connection in time (RFC 9209 §2.3.7).
    ConnectionTimeout "connection_timeout" 504;
    /// The origin did not answer in time (RFC 9209 §2.3.28).
    HttpResponseTimeout "http_response_timeout" 504;
    /// The HTTP version is not one that we speak.
    VersionRefused "version_refused" 505;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_can_look_up_every_kind() {
        let page = include_str!("../../docs/operating.md");
        for kind in FaultKind::ALL {
            let row = page.lines().filter(|line| line.starts_with('|')).find(|line| {
                line.contains(&format!("`{}`", kind.name()))
                    && line.contains(&format!("| {}", kind.status().0))
            });
            assert!(row.is_some(), "{} with {} is not in the page", kind.name(), kind.status().0);
        }
    }
}
