//! The known field names, once, with what an intermediary must know of each.
//!
//! A field is looked up here once, when its head is parsed; nobody ever compares field names on the hot
//! path again. RFC 9110 §18.4 and the IANA field name registry.

/// A field name that the gateway acts on; everything else is `Other` and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field of that name")]
pub enum FieldName {
    Other,
    AcceptEncoding,
    Age,
    Authorization,
    CacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Etag,
    Expect,
    Forwarded,
    GatewayPartial,
    Host,
    IfModifiedSince,
    IfNoneMatch,
    KeepAlive,
    Location,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    ProxyStatus,
    Range,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    WwwAuthenticate,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRealIp,
    XRequestId,
}
