//! Every metric, label and log field, once; `docs/operating.md` explains each.
//!
//! One of these words must never be spelt in another file. Metrics of HTTP follow the OpenTelemetry semantic
//! conventions (<https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>) as Prometheus spells
//! them: dots become underscores, units come last, counters end in `_total`.

/// How a metric is to be read (Prometheus text format 0.0.4, `# TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word in the `# TYPE` line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric family: its name, how to read it, what it means.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// How to read it.
    pub kind: Kind,
    /// One line of explanation.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($konst:ident $kind:ident $name:literal $help:literal;)*) => {
        /// The metric families, one constant each.
        pub mod metric {
            use super::{Kind, Metric};

            $(
                #[doc = $help]
                pub const $konst: Metric =
                    Metric { name: $name, kind: Kind::$kind, help: $help };
            )*

            /// All of them, in the order in which they are shown.
            pub const ALL: &[Metric] = &[$($konst,)*];
        }
    };
}

metrics! {
    REQUEST_DURATION Histogram "http_server_request_duration_seconds"
        "Time from the first byte of a request to the last byte of its response.";
    ACTIVE_REQUESTS Gauge "http_server_active_requests"
        "Requests being served now.";
    ORIGIN_DURATION Histogram "http_client_request_duration_seconds"
        "Time of one attempt at an origin, from choosing an endpoint to the last byte of its response.";
    OVERHEAD Histogram "ringway_overhead_duration_seconds"
        "Time of a request during which no attempt at an origin was under way: our own share, and the client's.";
    WORKER_REQUESTS Counter "ringway_worker_requests_total"
        "Requests finished, by worker.";
    FAULTS Counter "ringway_faults_total"
        "Requests that ended with a fault, by what went wrong and whose side failed.";
    BYTES Counter "ringway_client_bytes_total"
        "Bytes read from and written to clients, heads included.";
    CONNECTIONS_ACCEPTED Counter "ringway_connections_accepted_total"
        "Client connections accepted, by worker.";
    CONNECTIONS_REFUSED Counter "ringway_connections_refused_total"
        "Client connections closed at once because a bound was reached.";
    PROXY_HEADERS_REFUSED Counter "ringway_proxy_headers_refused_total"
        "Client connections closed because of their PROXY header, by reason.";
    TLS_HANDSHAKES Counter "ringway_tls_handshakes_total"
        "TLS handshakes with clients that ended, by result.";
    H2_CONNECTIONS Counter "ringway_http2_connections_total"
        "Client connections that spoke HTTP/2.";
    H2_STREAMS Counter "ringway_http2_streams_total"
        "Streams that clients opened in HTTP/2; each is a request.";
    H2_FLOODS Counter "ringway_http2_floods_total"
        "Client connections in HTTP/2 closed, and streams reset, because of what their client did too often or not at all, by kind.";
    GRPC_CALLS Counter "ringway_grpc_calls_total"
        "Calls of gRPC and gRPC-Web that ended with a status, an origin's or ours, by its code.";
    ORIGIN_H2_OPEN Gauge "ringway_upstream_http2_connections_open"
        "Connections to endpoints in HTTP/2 that are open now.";
    ORIGIN_H2_CONNECTIONS Counter "ringway_upstream_http2_connections_total"
        "Connections to endpoints in HTTP/2 that were made.";
    ORIGIN_H2_STREAMS Counter "ringway_upstream_http2_streams_total"
        "Streams opened to endpoints in HTTP/2; each is an attempt.";
    ORIGIN_H2_REFUSED Counter "ringway_upstream_http2_refused_total"
        "Streams that endpoints did not begin to serve (REFUSED_STREAM, GOAWAY); they may be tried again.";
    ORIGIN_H2_CLOSED Counter "ringway_upstream_http2_closed_total"
        "Connections to endpoints in HTTP/2 that were given up, by reason: no answer to a PING, or a flood of frames.";
    CONNECTIONS_GIVEN_UP Counter "ringway_connections_given_up_total"
        "Idle client connections closed to make room for others.";
    CONNECTIONS_OPEN Gauge "ringway_connections_open"
        "Client connections open now, by worker.";
    TUNNELS Counter "ringway_tunnels_total"
        "Connections that left HTTP: WebSockets, other upgrades, CONNECT.";
    TUNNELS_OPEN Gauge "ringway_tunnels_open"
        "Tunnels open now; each is an active request, too.";
    TUNNEL_BYTES Counter "ringway_tunnel_bytes_total"
        "Bytes carried in tunnels, counted as they pass, by the client's direction.";
    UPSTREAM_ATTEMPTS Counter "ringway_upstream_attempts_total"
        "Attempts at an upstream, retries included.";
    UPSTREAM_RETRIES Counter "ringway_upstream_retries_total"
        "Attempts at an upstream behind the first one of the same request or part.";
    UPSTREAM_HEDGES Counter "ringway_upstream_hedges_total"
        "Second attempts beside late ones, by whether their answer was used.";
    UPSTREAM_REUSED Counter "ringway_upstream_reused_total"
        "Attempts that were sent on a kept connection.";
    UPSTREAM_CONNECT_FAILURES Counter "ringway_upstream_connect_failures_total"
        "Attempts that failed before a connection was ready.";
    UPSTREAM_FAILURES Counter "ringway_upstream_failures_total"
        "Attempts that ended with a fault of the origin or the way to it, failed connects included.";
    UPSTREAM_BYTES Counter "ringway_upstream_bytes_total"
        "Bytes received from an upstream, heads included.";
    PART_FAILURES Counter "ringway_part_failures_total"
        "Parts of merges that failed, by route, part and reason, whether or not the answer was sent.";
    PART_CACHE Counter "ringway_part_cache_total"
        "What the store of parts' answers did, by route, part and result.";
    CACHE Counter "ringway_cache_requests_total"
        "Requests on routes with a response cache, by result.";
    CACHE_BYTES Gauge "ringway_cache_bytes"
        "What stored responses weigh, keys and fields included.";
    CACHE_EVICTED Counter "ringway_cache_evicted_total"
        "Stored responses that went for want of room.";
    POOL_IDLE Gauge "ringway_upstream_idle_connections"
        "Idle connections kept for reuse.";
    BUFFERS_IN_USE Gauge "ringway_buffers_in_use"
        "Buffers of 72 KiB in use now.";
    LIMITED Counter "ringway_rate_limited_total"
        "Requests refused by a rate limit.";
    LIMITS Counter "ringway_limit_requests_total"
        "What rate and concurrency limits said to requests, and to attempts at upstreams, by limit.";
    STORE_CONNECTIONS Gauge "ringway_limit_store_connections"
        "Cores that are connected to the store of the fleet's limits.";
    STORE_MISSED Counter "ringway_limit_store_missed_total"
        "Decisions of fleet limits that were made without the store.";
    STORE_AWAY Counter "ringway_limit_store_away_total"
        "How often the store of the fleet's limits went away from a core.";
    SEATS_TAKEN Gauge "ringway_concurrency_in_flight"
        "Requests of a route, or attempts at an upstream, that are there now, where a limit counts them.";
    SEATS_WAITING Gauge "ringway_concurrency_queue"
        "Requests that wait for a seat now.";
    SEATS_LIMIT Gauge "ringway_concurrency_limit"
        "How many may be there at once; of an adaptive limit the one in force.";
    JWT_CACHE Counter "ringway_jwt_cache_total"
        "Bearer tokens found among those verified before, or not.";
    COMPRESS_BYTES Counter "ringway_compressed_bytes_total"
        "Bytes of answers before (in) and behind (out) their compression.";
    COMPRESS_SKIPPED Counter "ringway_compress_skipped_total"
        "Answers that were not compressed because every encoder of the core was lent.";
    MIRRORED Counter "ringway_mirrored_requests_total"
        "Copies of requests for a second upstream, by result.";
    SPANS Counter "ringway_spans_exported_total"
        "Spans that a collector took, those of attempts included.";
    SPANS_DROPPED Counter "ringway_spans_dropped_total"
        "Spans that were lost, by reason; a request counts as one where its queue was full.";
    PANICS Counter "ringway_exchange_panics_total"
        "Connections lost to a mistake of ours.";
    LOG_LINES Counter "ringway_access_log_lines_total"
        "Lines written to the access log.";
    LOG_LINES_DROPPED Counter "ringway_access_log_lines_dropped_total"
        "Lines of the access log that were lost, by reason.";
    LOG_BYTES Counter "ringway_access_log_bytes_total"
        "Bytes written to the access log.";
    WORKERS Gauge "ringway_workers"
        "Worker threads, by state.";
    WORKER_RESTARTS Counter "ringway_worker_restarts_total"
        "Workers that died and were started again.";
    CONFIG_VERSION Gauge "ringway_config_version"
        "Version of the configuration in force; rises by one with each reload.";
    RELOADS Counter "ringway_config_reloads_total"
        "Reloads of the configuration, by result.";
    BUILD_INFO Gauge "ringway_build_info"
        "Always 1; the label tells the version of the program.";
    CERTIFICATE_END Gauge "ringway_certificate_not_after_timestamp_seconds"
        "When a certificate that clients are shown ends, in seconds since 1970.";
    ACME_END Gauge "ringway_acme_not_after_timestamp_seconds"
        "When a certificate that `[acme]` obtained ends, in seconds since 1970; 0 while there is none.";
    ACME_SUCCESS Gauge "ringway_acme_last_success_timestamp_seconds"
        "When a certificate was obtained last, in seconds since 1970; 0 where that is not known.";
    ACME_FAILURES Counter "ringway_acme_failures_total"
        "Attempts at a certificate that failed, of all replicas that share the storage.";
    PROCESS_START Gauge "process_start_time_seconds"
        "When the process started, in seconds since 1970-01-01 UTC.";
    PROCESS_CPU Counter "process_cpu_seconds_total"
        "Processor time spent in user and system mode.";
    PROCESS_MEMORY Gauge "process_resident_memory_bytes"
        "Resident memory.";
    PROCESS_FDS Gauge "process_open_fds"
        "Open file descriptors.";
}

/// Labels of metrics.
pub mod label {
    /// The method; `_OTHER` for one that the conventions do not know.
    pub const METHOD: &str = "http_request_method";
    /// The route's name; `_none` when no route matched, `_other` past the bound of labels.
    pub const ROUTE: &str = "http_route";
    /// The status sent, or the fault's where none could be sent; `0` without either.
    pub const STATUS: &str = "http_response_status_code";
    /// The code that a call of gRPC ended with.
    pub const GRPC_STATUS: &str = "grpc_status";
    /// What went wrong (RFC 9209 words).
    pub const ERROR: &str = "error_type";
    /// Whose side failed.
    pub const SIDE: &str = "side";
    /// The upstream's name.
    pub const UPSTREAM: &str = "upstream";
    /// The worker's number.
    pub const WORKER: &str = "worker";
    /// `in` or `out`.
    pub const DIRECTION: &str = "direction";
    /// `hit` or `miss`, `installed` or `refused`, `won` or `lost`.
    pub const RESULT: &str = "result";
    /// The limit's name, or that of the route or upstream it belongs to.
    pub const LIMIT: &str = "limit";
    /// What a limit bounds: `rate` or `concurrency_route`, `concurrency_upstream`.
    pub const KIND: &str = "kind";
    /// The part's name in its merge.
    pub const PART: &str = "part";
    /// Why lines were lost, or why a part failed.
    pub const REASON: &str = "reason";
    /// `wanted` or `running`.
    pub const STATE: &str = "state";
    /// A listener's address.
    pub const LISTENER: &str = "listener";
    /// A name that a certificate is for.
    pub const NAME: &str = "name";
    /// The serial number of a certificate.
    pub const SERIAL: &str = "serial";
    /// The program's version.
    pub const VERSION: &str = "version";
    /// A bucket's upper bound (the format's own).
    pub const LE: &str = "le";
}

/// Values of labels that are not names of something else.
pub mod value {
    use crate::exchange::attempt::Hedge;
    use crate::exchange::part::CacheUse;
    use crate::http::h2::flood::Flood;

    /// What the store of answers did, in one word.
    pub fn of_cache(how: CacheUse) -> &'static str {
        match how {
            CacheUse::Hit => HIT,
            CacheUse::Miss => MISS,
            CacheUse::Stale => STALE,
            CacheUse::Collapsed => COLLAPSED,
            CacheUse::Renewal => RENEWAL,
        }
    }

    /// A kind of flood, in one word.
    pub fn of_flood(kind: Flood) -> &'static str {
        match kind {
            Flood::Resets => RESETS,
            Flood::Settings => SETTINGS,
            Flood::Pings => PINGS,
            Flood::Priorities => PRIORITIES,
            Flood::WindowUpdates => WINDOW_UPDATES,
            Flood::EmptyFrames => EMPTY_FRAMES,
            Flood::Unknown => UNKNOWN,
            Flood::Bounded => BOUNDED,
            Flood::SlowHead => SLOW_HEAD,
            Flood::Stalled => STALLED,
        }
    }

    /// What became of a second try, in one word.
    pub fn of_hedge(how: Hedge) -> &'static str {
        match how {
            Hedge::Lost => LOST,
            Hedge::Won => WON,
        }
    }

    /// Requests that no route matched.
    pub const ROUTE_NONE: &str = "_none";
    /// What came after the bound on labels or series.
    pub const OTHER: &str = "_other";
    /// A method that the conventions do not know (their spelling).
    pub const METHOD_OTHER: &str = "_OTHER";
    /// A limit on requests in a time.
    pub const RATE: &str = "rate";
    /// A limit on a route's requests at once.
    pub const CONCURRENCY_ROUTE: &str = "concurrency_route";
    /// A limit on an upstream's attempts at once.
    pub const CONCURRENCY_UPSTREAM: &str = "concurrency_upstream";
    /// A request got its seat after a wait.
    pub const QUEUED: &str = "queued";
    /// A request waited for a seat for too long.
    pub const SHED: &str = "shed";
    /// A limit let a request pass.
    pub const ALLOWED: &str = "allowed";
    /// A limit in dry run would have refused it.
    pub const DRY_RUN: &str = "dry_run";
    /// Towards us.
    pub const IN: &str = "in";
    /// From us.
    pub const OUT: &str = "out";
    /// A stale answer was used.
    pub const STALE: &str = "stale";
    /// The answer to another request was used.
    pub const COLLAPSED: &str = "collapsed";
    /// A stale answer was renewed.
    pub const RENEWAL: &str = "renewal";
    /// A second try whose answer was not used.
    pub const LOST: &str = "lost";
    /// A second try whose answer was used.
    pub const WON: &str = "won";
    /// Found.
    pub const HIT: &str = "hit";
    /// Not found.
    pub const MISS: &str = "miss";
    /// A configuration that is in force.
    pub const INSTALLED: &str = "installed";
    /// A configuration that was refused.
    pub const REFUSED: &str = "refused";
    /// Nothing came, not even the answer to a PING.
    pub const SILENT: &str = "silent";
    /// Too many frames that mean little.
    pub const FLOOD: &str = "flood";
    /// Every page of the core was on its way.
    pub const QUEUE_FULL: &str = "queue_full";
    /// The file or pipe did not take the bytes.
    pub const WRITE_FAILED: &str = "write_failed";
    /// A peer that may not send a PROXY header where all must.
    pub const UNTRUSTED: &str = "untrusted";
    /// No PROXY header where one was due.
    pub const MISSING: &str = "missing";
    /// A PROXY header that is not good.
    pub const MALFORMED: &str = "malformed";
    /// A handshake from the beginning.
    pub const FULL: &str = "full";
    /// A handshake that took up an earlier session.
    pub const RESUMED: &str = "resumed";
    /// The client closed in the handshake.
    pub const GONE: &str = "gone";
    /// HTTP without TLS where only TLS is spoken.
    pub const PLAIN_HTTP: &str = "plain_http";
    /// Streams given up.
    pub const RESETS: &str = "resets";
    /// SETTINGS frames.
    pub const SETTINGS: &str = "settings";
    /// PING frames.
    pub const PINGS: &str = "pings";
    /// PRIORITY frames.
    pub const PRIORITIES: &str = "priorities";
    /// WINDOW_UPDATE frames.
    pub const WINDOW_UPDATES: &str = "window_updates";
    /// Frames without a payload.
    pub const EMPTY_FRAMES: &str = "empty_frames";
    /// Frames of unknown types.
    pub const UNKNOWN: &str = "unknown";
    /// CONTINUATION frames, header lists, tiny DATA frames.
    pub const BOUNDED: &str = "bounded";
    /// A header block that does not end.
    pub const SLOW_HEAD: &str = "slow_head";
    /// A response that nobody takes.
    pub const STALLED: &str = "stalled";
    /// A PROXY header that took too long.
    pub const TIMEOUT: &str = "timeout";
    /// A copy that was answered.
    pub const ANSWERED: &str = "answered";
    /// A copy that was not.
    pub const FAILED: &str = "failed";
    /// A request that was not copied for want of room.
    pub const LEFT_OUT: &str = "left_out";
    /// A collector did not take them.
    pub const EXPORT_FAILED: &str = "export_failed";
    /// Asked for.
    pub const WANTED: &str = "wanted";
    /// At work.
    pub const RUNNING: &str = "running";
}

/// Fields of a line of the access log, and of events in JSON.
pub mod field {
    /// When the request began, RFC 3339 in UTC with microseconds.
    pub const TIME: &str = "time";
    /// The request id.
    pub const REQUEST_ID: &str = "request_id";
    /// The W3C trace id.
    pub const TRACE_ID: &str = "trace_id";
    /// Our span in the trace.
    pub const SPAN_ID: &str = "span_id";
    /// The route's name.
    pub const ROUTE: &str = "route";
    /// The method.
    pub const METHOD: &str = "method";
    /// The effective host with its port.
    pub const HOST: &str = "host";
    /// The raw path.
    pub const PATH: &str = "path";
    /// The raw query; only when asked for.
    pub const QUERY: &str = "query";
    /// The version that the client speaks, as in `HTTP/2.0`.
    pub const PROTOCOL: &str = "protocol";
    /// Request fields that the configuration names.
    pub const HEADERS: &str = "headers";
    /// The status sent, or the attempt's status.
    pub const STATUS: &str = "status";
    /// How a call of gRPC ended.
    pub const GRPC_STATUS: &str = "grpc_status";
    /// What went wrong.
    pub const FAULT: &str = "fault";
    /// Whose side failed.
    pub const FAULT_SIDE: &str = "fault_side";
    /// Why a policy, or we because of its head or path, refused it, in one word.
    pub const REASON: &str = "reason";
    /// The user who knew the password.
    pub const USER: &str = "user";
    /// The subject of the token.
    pub const SUBJECT: &str = "subject";
    /// The owner of the key.
    pub const KEY_OWNER: &str = "key_owner";
    /// Whom the client's certificate is about.
    pub const CLIENT_CERT: &str = "client_cert";
    /// What was too long, if it is one of these.
    pub const IDENTITY: &str = "identity";
    /// The limit that refused it.
    pub const LIMIT: &str = "limit";
    /// How long it waited for a seat. Unit: milliseconds.
    pub const QUEUED_MS: &str = "queued_ms";
    /// Limits in dry run that would have refused it.
    pub const LIMIT_DRY_RUN: &str = "limit_dry_run";
    /// The protocol that HTTP was left for.
    pub const UPGRADE: &str = "upgrade";
    /// Which side ended a tunnel.
    pub const CLOSED_BY: &str = "closed_by";
    /// How many parts of a merge failed although the answer was sent.
    pub const PARTIAL: &str = "partial";
    /// Why parts of a merge failed, by their names.
    pub const PARTS: &str = "parts";
    /// What the store of answers did for parts of a merge, by their names.
    pub const CACHE: &str = "cache";
    /// How the response cache of the route treated the request.
    pub const CACHED: &str = "cache_status";
    /// The view of a merge that the client got.
    pub const VIEW: &str = "view";
    /// Bytes read from the client.
    pub const BYTES_IN: &str = "bytes_in";
    /// Bytes written to the client.
    pub const BYTES_OUT: &str = "bytes_out";
    /// The client's address, as a trusted proxy tells it or the peer's.
    pub const CLIENT: &str = "client";
    /// The peer's address, when it is not the client's.
    pub const PEER: &str = "peer";
    /// The connection's own peer, when a PROXY header names another.
    pub const PROXY: &str = "proxy";
    /// Whole time. Unit: milliseconds.
    pub const DURATION_MS: &str = "duration_ms";
    /// Time in which no attempt was under way. Unit: milliseconds.
    pub const OVERHEAD_MS: &str = "overhead_ms";
    /// Moments of the stages since the beginning.
    pub const STAGES_MS: &str = "stages_ms";
    /// Stage: the head was parsed.
    pub const STAGE_HEAD: &str = "head";
    /// Stage: policies were done.
    pub const STAGE_TARGET: &str = "target";
    /// Stage: an upstream connection was ready.
    pub const STAGE_CONNECTED: &str = "connected";
    /// Stage: the upstream's head was here.
    pub const STAGE_ANSWERED: &str = "answered";
    /// The upstream's name.
    pub const UPSTREAM: &str = "upstream";
    /// The endpoint's address.
    pub const ADDRESS: &str = "address";
    /// Every try at an origin.
    pub const ATTEMPTS: &str = "attempts";
    /// The part's name in its merge.
    pub const PART: &str = "part";
    /// Whether a kept connection was used.
    pub const REUSED: &str = "reused";
    /// That the attempt was a second one beside a late one: `won` if its answer was used, else `lost`.
    pub const HEDGED: &str = "hedged";
    /// Whether the attempt was given up because its answer was not needed any more.
    pub const CANCELLED: &str = "cancelled";
    /// Whether the attempt was a stream of HTTP/2; absent when it was not.
    pub const HTTP2: &str = "http2";
    /// Beginning of the attempt since the beginning of the request. Unit: milliseconds.
    pub const START_MS: &str = "start_ms";
    /// From the attempt's beginning to a ready connection. Unit: milliseconds.
    pub const CONNECT_MS: &str = "connect_ms";
    /// From the attempt's beginning to its response head. Unit: milliseconds.
    pub const FIRST_BYTE_MS: &str = "first_byte_ms";
    /// Bytes received in the attempt.
    pub const BYTES: &str = "bytes";
    /// How many attempts did not fit the line.
    pub const ATTEMPTS_OMITTED: &str = "attempts_omitted";
    /// Names of the fields that were cut.
    pub const CUT: &str = "cut";
    /// An event's level.
    pub const LEVEL: &str = "level";
    /// An event's kind.
    pub const EVENT: &str = "event";
    /// An event in words.
    pub const MESSAGE: &str = "message";
    /// How many events of the kind were not shown before this one.
    pub const SUPPRESSED: &str = "suppressed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules_of_the_format() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in metric::ALL {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            let fine =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(metric.name.bytes().all(fine), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'));
        }
    }

    #[test]
    fn every_metric_is_explained_to_operators() {
        let page = include_str!("../../docs/operating.md");
        for metric in metric::ALL {
            assert!(page.contains(&format!("`{}`", metric.name)), "{} is missing", metric.name);
        }
    }
}
