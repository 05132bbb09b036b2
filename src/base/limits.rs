//! Every bound in the program, with unit, reason and source. Relations between them are asserted.
//!
//! A bound never stands as a bare number elsewhere; what an operator may change is a default here and
//! a key of the configuration.

// ---- buffers -------------------------------------------------------------------------------------

/// Size of one pooled buffer. Unit: bytes. 72 KiB hold any head and move bodies in few system calls: one of
/// 64 KiB, a common size of files and chunks, passes with its head in one piece, which costs a tenth less than in
/// two (docs/decisions/0012-large-bodies.md). Memory behind it is only touched as far as it is used.
pub const BUFFER_BYTES: usize = 72 * 1024;
/// Buffers that one core may have in use at once. 72 KiB × 16,384 = 1.1 GiB of address space; a request
/// in flight holds three to five.
pub const BUFFERS_MAX: usize = 16 * 1024;
/// Size of one bulk buffer, for the middle of a body that is known to be large. Unit: bytes. One read and one
/// write of 256 KiB cost less than four of 64 KiB (docs/decisions/0012-large-bodies.md); 512 KiB leave the
/// second-level cache and cost more again.
pub const BULK_BUFFER_BYTES: usize = 256 * 1024;
/// Bulk buffers that one core lends at once: 16 MiB. One is held from a read to the end of its write, so that
/// few are needed while clients take what they are given; readers that stand still can hold no more than
/// these, and everybody else goes on with ordinary buffers.
pub const BULK_BUFFERS_MAX: usize = 64;
/// Free buffers that one core keeps for reuse; more are given back to the allocator.
pub const BUFFERS_KEPT_MAX: usize = 512;
/// Free buffers that a core keeps through a lull, so that the next few requests find some: four requests'
/// worth, of which one page each is touched by ordinary messages.
pub const BUFFERS_KEPT_MIN: usize = 16;

// ---- request heads -------------------------------------------------------------------------------

/// Request head, request line to empty line. Unit: bytes. Default of `limits.head_bytes_max`.
/// nginx takes 32 KiB in all (4 × 8k), Envoy 60 KiB.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Fields in one head. Default of `limits.fields_max`; Envoy and nginx-like peers use 100.
pub const FIELDS_MAX: usize = 100;
/// The hard ceiling of `limits.fields_max`.
pub const FIELDS_CEILING: usize = 256;
/// Request target. Unit: bytes. Default of `limits.target_bytes_max`; RFC 9110 §4.1 asks for at least 8000.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Extensions of one chunk-size line. Unit: bytes. RFC 9112 §7.1.1 asks recipients to bound them.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;
/// Trailer section of a chunked body. Unit: bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// A part of a head that waits for its rest and is not counted in `HEADS_WAITING_BYTES_MAX`. Unit: bytes.
/// What a client sends byte by byte stays below it for a long time; 65,536 of them weigh 128 MiB.
pub const HEAD_WAITING_SMALL_BYTES: usize = 2 * 1024;
/// What the larger parts of heads that wait for their rest may weigh on one core. Unit: bytes. Heads come
/// whole in one read, or in a few that follow at once: 2,000 of the largest fit.
pub const HEADS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a client must move of a body while it is waited for, over a window of `listen.timeout.body`. Unit: bytes
/// per second. Default of `listen.limits.body_rate_min`. Kestrel's default for both directions; a modem of 1990
/// manages it.
pub const BODY_RATE_MIN: u64 = 240;
/// A client that takes nothing is looked at this often: the kernel does not say that it sent a part of what
/// it holds, one has to ask. Each look is one system call.
pub const WRITE_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// An origin that is silent for so long makes the gateway look whether the client is still there. Short
/// enough that an expensive answer is given up in time, long enough that ordinary answers never pay for it.
pub const CLIENT_WATCHED_AFTER: std::time::Duration = std::time::Duration::from_millis(100);
/// A client that has pipelined a request cannot be waited for, only looked at: so often.
pub const CLIENT_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// The hard ceiling of a route's `buffer_request`. Unit: bytes. Held in memory by each request in flight, in
/// buffers: 16 of them, and one that is being read or sent.
pub const GATHERED_BYTES_MAX: u64 = 1024 * 1024;
/// Interim (1xx) responses accepted from an origin before the final one.
pub const INTERIM_RESPONSES_MAX: u32 = 16;

const _: () = assert!(BULK_BUFFER_BYTES > BUFFER_BYTES, "bulk buffers are the larger ones");
const _: () = assert!(HEAD_BYTES_MAX < BUFFER_BYTES, "a head must fit a buffer");
const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX, "a target must fit a head");
const _: () = assert!(HEADS_WAITING_BYTES_MAX >= 512 * BUFFER_BYTES, "many heads must have room");

// ---- TLS -----------------------------------------------------------------------------------------

/// What a peer may have sent of a handshake message that is not whole yet. Unit: bytes. rustls takes messages of
/// 64 KiB, and one more record may lie behind.
pub const TLS_UNFINISHED_BYTES_MAX: usize = 96 * 1024;
/// Handshakes with clients that one core has under way at once; who comes then is closed. A handshake holds about
/// 20 KiB and takes up to a millisecond of the core with an RSA key: what waits behind so many has waited a second.
pub const TLS_HANDSHAKES_MAX: usize = 1024;
/// From the first byte of a client's handshake to its end. Default of `listen.timeout.handshake`. nginx has 60 s,
/// Envoy 15 s, HAProxy that of the first request; a mobile client far away needs two.
pub const TLS_HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Sessions of clients of TLS 1.2 that take no tickets, kept for all cores of a listener together. One weighs
/// about 200 bytes.
pub const TLS_SESSIONS_KEPT_MAX: usize = 4096;
/// Origins of one upstream whose sessions a core keeps to take up again.
pub const TLS_ORIGIN_SESSIONS_MAX: usize = 256;
/// Certificates of one listener: a hash of names finds one, but all are held in memory.
pub const TLS_CERTIFICATES_MAX: usize = 4096;
/// Kinds of clients that one listener tells apart by host, each with roots of its own: they are looked through in turn.
pub const TLS_CLIENT_RULES_MAX: usize = 64;
/// A file with certificates or a key. Unit: bytes. The system's store of roots has about 220 KiB.
pub const TLS_FILE_BYTES_MAX: usize = 1024 * 1024;

// ---- certificates that are obtained (RFC 8555) ------------------------------------------------------

/// Hosts of one certificate. Let's Encrypt takes no more.
pub const ACME_HOSTS_MAX: usize = 100;
/// The range of `acme.renew_before`; half of a certificate's lifetime is the most that ever holds.
pub const ACME_RENEW_BEFORE_RANGE: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(60), std::time::Duration::from_secs(180 * 86_400));
/// How long one request to the authority may take, from the name's resolution to the last byte.
pub const ACME_REQUEST_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// One answer of the authority. Unit: bytes. A chain has 8 KiB, a directory or an order of 100 hosts 20 KiB.
pub const ACME_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// From the moment that the challenges can be answered to the certificate. Let's Encrypt takes seconds.
pub const ACME_ORDER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(180);
/// How often the storage is looked through for challenges of other replicas: one `readdir`.
pub const ACME_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(250);
/// How long a challenge lies in the storage before the authority is told that it can be asked for: every replica has
/// looked twice by then.
pub const ACME_SETTLE: std::time::Duration = std::time::Duration::from_millis(1000);
/// Challenges that are answered at once: more files than that in the storage are not of our making.
pub const ACME_CHALLENGES_MAX: usize = 1024;
/// One file of the storage that is no certificate. Unit: bytes.
pub const ACME_FILE_BYTES_MAX: usize = 64 * 1024;
/// What is told and kept of what an authority said. Unit: bytes. Escaped in JSON it is six times as long, and fits a file.
pub const ACME_WHY_BYTES_MAX: usize = 4 * 1024;
/// A token of an authority. Unit: bytes. Let's Encrypt's have 43.
pub const ACME_TOKEN_BYTES_MAX: usize = 256;
/// A challenge that is older is a leftover of a holder that died. Unit: seconds.
pub const ACME_CHALLENGE_SECS_MAX: u64 = 900;
/// First pause after the authority could not be reached, or had an error of its own; it doubles up to the second one.
/// Unit: seconds.
pub const ACME_AWAY_PAUSE_SECS: (u64, u64) = (5, 3600);
/// First pause after the authority said no; it doubles up to the second one. Let's Encrypt closes the door for an
/// hour after five such orders for a host. Unit: seconds.
pub const ACME_REFUSED_PAUSE_SECS: (u64, u64) = (150, 6 * 3600);
/// The pause after a bound of the authority was met, where it does not say how long. Unit: seconds.
pub const ACME_LIMITED_PAUSE_SECS: u64 = 3600;
/// The longest pause that an authority's `Retry-After` is believed. Unit: seconds. Let's Encrypt counts weeks.
pub const ACME_PAUSE_SECS_MAX: u64 = 7 * 86_400;

const _: () = assert!(7 * ACME_WHY_BYTES_MAX < ACME_FILE_BYTES_MAX, "a failure's file can be read");
const _: () = assert!(ACME_REFUSED_PAUSE_SECS.1 < ACME_PAUSE_SECS_MAX, "a pause is no longer");
const _: () =
    assert!(TLS_UNFINISHED_BYTES_MAX + 32 * 1024 <= BULK_BUFFER_BYTES, "it fits a bulk buffer");

// ---- HTTP/2 ----------------------------------------------------------------------------------------

/// Streams that a client may have open at once on one connection. RFC 9113 §6.5.2 advises no fewer than 100;
/// nginx takes 128, HAProxy 100.
pub const H2_STREAMS_MAX: u32 = 128;
/// What a client may send of one body before it is read. Unit: bytes. What RFC 9113 §6.9.2 begins with, and what
/// HAProxy and Envoy's edge advice have.
pub const H2_STREAM_WINDOW_BYTES: u32 = 65_535;
/// The same for all bodies of one connection together. Unit: bytes. Sixteen that nobody reads do not hold up
/// the others; it is also all that a client can make a core hold. Envoy's edge advice.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// By how much DATA frames that wait to be read may be smaller, all together, than 256 bytes each. Unit: bytes. A stream's whole
/// window of the smallest messages of gRPC, of five bytes; it holds 16,000 frames, which take some 2 MiB.
pub const H2_SMALL_DATA_BYTES: usize = 4 * 1024 * 1024;
/// PRIORITY_UPDATE frames that are kept for streams which have not heard of them (RFC 9218 §7.1 asks for a bound).
pub const H2_PRIORITY_UPDATES_MAX: usize = 64;
/// What of a PRIORITY_UPDATE frame is read. Unit: bytes. Four and a field of two members.
pub const H2_PRIORITY_UPDATE_BYTES_MAX: usize = 64;
/// How many turns of a core a response waits for a more urgent one that has just sent, and may be reading more of it.
pub const H2_GRACE_TURNS: u8 = 64;
/// How often a response is called whose turn it is, before the next one goes.
pub const H2_TURN_CALLS_MAX: u8 = 8;
/// What is taken of a connection before its streams get to read. Unit: bytes. One buffer.
pub const H2_TURN_BYTES: usize = 64 * 1024;
/// What one stream may have written and not sent. Unit: bytes. One buffer.
pub const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Up to how much of a response is copied to be sent instead of moved with its buffer. Unit: bytes. What is moved then holds
/// at most five times what it says, and a stream at most four buffers.
pub const H2_COPIED_BYTES_MAX: usize = 16 * 1024;
/// Streams that a peer gave up before they were looked at.
pub const H2_UNSEEN_RESETS_MAX: usize = 20;
/// Streams that were reset because of what the peer sent on them; then the connection is closed.
pub const H2_ERROR_RESETS_MAX: usize = 256;
/// Streams that a peer may give up at once, beyond as many as end well; a twelfth of it comes back in five
/// seconds. A browser that leaves a page gives up what it has open: 128 at most.
pub const H2_RESETS_BURST: u32 = 240;
/// SETTINGS frames at once; peers send one or two.
pub const H2_SETTINGS_BURST: u32 = 60;
/// PING frames at once, beyond one for each KiB that is sent. Clients of gRPC measure with them.
pub const H2_PINGS_BURST: u32 = 240;
/// PRIORITY frames at once, beyond two for each stream. Old browsers send a tree of them.
pub const H2_PRIORITIES_BURST: u32 = 480;
/// WINDOW_UPDATE frames at once, beyond two for each KiB that is sent and each stream.
pub const H2_WINDOW_UPDATES_BURST: u32 = 1200;
/// Frames at once that have no payload and end nothing.
pub const H2_EMPTY_FRAMES_BURST: u32 = 60;
/// Frames at once whose type is not known, or that answer what was not asked.
pub const H2_UNKNOWN_BURST: u32 = 120;
/// Requests of one connection that are followed until they are whole or reset, so that trailers are known. Eight times as
/// many as may be open; with more the connection is closed.
pub const H2_OPEN_FOLLOWED_MAX: usize = 1024;
/// Requests of one connection that are known to be whole, so that what follows is an error of the connection (RFC 9113
/// §5.1). What came before these is left to the `h2` crate.
pub const H2_ENDED_FOLLOWED_MAX: usize = 32;
/// What of one header block is followed. Unit: bytes. Four times a head, where the `h2` crate closes.
pub const H2_BLOCK_BYTES_MAX: usize = 128 * 1024;
/// Tasks of one core that wait for a stream to serve; more end with theirs. As many as exchanges whose state is kept.
pub const H2_TASKS_KEPT_MAX: usize = 512;
/// Tasks that go on waiting through a lull.
pub const H2_TASKS_KEPT_MIN: usize = 8;
/// How long a client has to read what is left, and to close, once it was told that no more streams are taken.
pub const H2_GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// Streams that a core has open at once on one connection to an endpoint, if the endpoint allows as many. What Envoy
/// and Go take where nothing is said; more connections are made beyond it.
pub const H2_ORIGIN_STREAMS_MAX: u32 = 100;
/// Connections in HTTP/2 from one core to one endpoint: 6,400 requests at once.
pub const H2_ORIGIN_CONNECTIONS_MAX: usize = 64;
/// What an origin may send of one body before it is read. Unit: bytes. Twice what RFC 9113 §6.9.2 begins with.
pub const H2_ORIGIN_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all bodies of one connection together. Unit: bytes. As much as all its streams may have, so that
/// bodies whose clients are slow never hold up the others.
pub const H2_ORIGIN_CONNECTION_WINDOW_BYTES: u32 =
    H2_ORIGIN_STREAM_WINDOW_BYTES * H2_ORIGIN_STREAMS_MAX;
/// Streams that were given up towards an origin and are remembered, for what it sends on them meanwhile.
pub const H2_ORIGIN_RESETS_KEPT_MAX: usize = 256;
/// Streams whose response was read and whose end has not come yet; others beyond them are cancelled.
pub const H2_ORIGIN_ENDINGS_MAX: usize = 100;
/// Heads of one response: interim ones, the final one, trailers. No window bounds them.
pub const H2_ORIGIN_HEADS_MAX: u32 = INTERIM_RESPONSES_MAX + 2;
/// How long the end of a stream may take whose response was read; then it is cancelled.
pub const H2_ORIGIN_ENDING: std::time::Duration = std::time::Duration::from_secs(5);
/// How long an origin may be silent while something is waited for before it is asked by PING, and each time after
/// that. Servers of gRPC close who asks thrice within five minutes while nothing is said.
pub const H2_ORIGIN_PINGS: [std::time::Duration; 3] = [
    std::time::Duration::from_secs(10),
    std::time::Duration::from_secs(30),
    std::time::Duration::from_secs(300),
];
/// How often a connection to an origin looks whether one of these times is over: a stream that begins moves none.
pub const H2_ORIGIN_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// How long an unused connection is silent before its origin is asked, once.
pub const H2_ORIGIN_PING_IDLE: std::time::Duration = std::time::Duration::from_secs(30);
/// How long the answer to a PING may take; then the connection is given up. HAProxy and gRPC advise 10 to 20 seconds.
pub const H2_ORIGIN_PING_ANSWER: std::time::Duration = std::time::Duration::from_secs(10);
/// How long no further connection is tried after one could not be made beside others.
pub const H2_ORIGIN_GROW_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// How long an endpoint that chose HTTP/1.1 is not asked again.
pub const H2_ORIGIN_HTTP1_KNOWN: std::time::Duration = std::time::Duration::from_secs(600);

const _: () = assert!(H2_SEND_BUFFER_BYTES < BUFFER_BYTES, "what is written is moved in buffers");

// ---- routing -------------------------------------------------------------------------------------

/// Segments of a request path that are looked at. RFC 3986 sets no bound; deeper paths are refused (400).
pub const PATH_SEGMENTS_MAX: usize = 128;
/// Captured parameters of one route.
pub const PARAMS_MAX: usize = 16;
/// Whoever is next in a core's line for a seat asks so often whether one was freed on another core: a fifth of a
/// request's usual time, and half a thousandth of a core.
pub const SEAT_ASK_AGAIN: std::time::Duration = std::time::Duration::from_millis(2);
/// Everybody else in the line looks so often whether he is next: what a lost ring costs at most.
pub const SEAT_LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(10);
/// Most that may wait for a seat of one limit, on all cores. Each holds its request's head, and all of them look
/// a hundred times a second.
pub const SEAT_QUEUE_MAX: u64 = 16 * 1024;
/// How long a client that got no seat is told to stay away. Unit: seconds. The least that Retry-After can say: a
/// seat is free again within one request's time.
pub const SEAT_RETRY_AFTER_SECS: u64 = 1;
/// How long an adaptive limit collects times before it takes a step. Envoy's `concurrency_update_interval` in its
/// examples.
pub const GRADIENT_WINDOW: std::time::Duration = std::time::Duration::from_millis(100);
/// Fewest times in a window; a quieter one goes on until it has them.
pub const GRADIENT_SAMPLES_MIN: u64 = 10;
/// How often an adaptive limit measures what its origin needs without a queue. Envoy's examples have 60 s; half of
/// it follows a changed origin sooner and holds the limit down for less than a hundredth of the time.
pub const GRADIENT_BASE_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
/// How long what was spent of leased limits waits for more before the store is told: ten round trips in a data
/// centre, and a small part of what anybody notices.
pub const STORE_TELL_AFTER: std::time::Duration = std::time::Duration::from_millis(5);
/// Keys spent and not yet told to the store, of one core; what comes beyond is decided without it.
pub const STORE_KEYS_UNTOLD_MAX: usize = 16 * 1024;
/// How often a core looks whether the store is too slow, while it waits for it.
pub const STORE_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);
/// How long after a connection to the store was lost the next one is tried; a store that comes back is used within
/// a second.
pub const STORE_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(200);
/// How many bursts a fleet may be ahead of a leased limit, one for each gateway at worst; beyond, a machine asks
/// again before all is paid back.
pub const STORE_DEBT_MAX: u64 = 8;
/// How far a paced response may be ahead of its bandwidth: what a late wake-up costs within it is caught up. Twenty
/// pieces a second are smooth to whoever watches.
pub const PACING_AHEAD: std::time::Duration = std::time::Duration::from_millis(50);
/// The least that a paced response reads at once. Unit: bytes. A page; less costs a system call for a few packets.
pub const PACING_PIECE_BYTES_MIN: usize = 4096;
/// Names of limits in the life of the process; what comes later is counted under `_other`.
pub const LIMIT_LABELS_MAX: usize = 4096;
/// Limits (rate limits) that one route, or one upstream, may name.
pub const LIMITS_PER_ROUTE_MAX: usize = 8;
/// Issuers whose tokens one route may take. Each remembered token is looked for with each of them.
pub const ISSUERS_PER_ROUTE_MAX: usize = 8;
/// Networks of one rule of `allow`. A trie of so many IPv4 networks weighs about 12 MiB, and a block list of a
/// country fits.
pub const NETWORKS_MAX: usize = 65_536;
/// Lines that one route sets or adds, in one direction. Each is a template to fill.
pub const EDITS_PER_ROUTE_MAX: usize = 64;
/// Those lines, filled. Unit: bytes. A content security policy of 4 KiB, and as much again.
pub const EDITED_LINES_BYTES_MAX: usize = 8 * 1024;
/// Origins that one `cors` names. Each request with Origin is compared with all of them.
pub const CORS_ORIGINS_MAX: usize = 64;
/// Methods, request fields or response fields that one `cors` names: a line of a head each.
pub const CORS_NAMES_MAX: usize = 64;
/// Encoders that a core lends at once, each for one answer that is compressed: about 300 KiB for gzip, 1.5 MiB for
/// br, 1 MiB for zstd, so that 128 take at most 192 MiB. Streams hold theirs for hours; further answers go out as they
/// are.
pub const ENCODERS_MAX: usize = 128;
/// Of these, encoders that are kept for the next answer.
pub const ENCODERS_KEPT_MAX: usize = 8;
/// What is compressed at once. Unit: bytes. About a millisecond, after which others have their turn.
pub const ENCODING_SLICE_BYTES: usize = 32 * 1024;
/// Copies of requests (`mirror`) in flight on one core; more are left out. Each holds a connection, and a body of at
/// most `MIRROR_BODY_BYTES_MAX`: 64 MiB when all are as large as may be.
pub const MIRRORS_IN_FLIGHT_MAX: usize = 64;
/// The hard ceiling of `mirror.body_max`. Unit: bytes.
pub const MIRROR_BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Answers to copies are read so far, so that their connections can be used again. Unit: bytes.
pub const MIRROR_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Networks that pass a route closed for maintenance: operators' own, looked at one by one.
pub const MAINTENANCE_NETWORKS_MAX: usize = 64;
/// One request field in a line of the access log. Unit: bytes. A user agent has some hundred.
pub const LOG_HEADER_BYTES_MAX: usize = 512;
/// Request fields that a line of the access log may have: with the rest of a line they fit it.
pub const LOG_HEADERS_MAX: usize = 16;
/// Query keys, statuses and routes that the rules of the access log name: each line is compared with them.
pub const LOG_RULES_MAX: usize = 64;
/// Spans that wait for their collector. Each weighs about 1 KiB: 4 MiB.
pub const SPANS_QUEUED_MAX: usize = 4096;
/// Spans of requests in one batch, those of their attempts beside them.
pub const SPANS_PER_BATCH_MAX: usize = 256;
/// Protocols that one route may be left for. Each upgrade is compared with all of them; real routes have one.
pub const UPGRADES_PER_ROUTE_MAX: usize = 8;

// ---- upstreams and aggregation -------------------------------------------------------------------

/// Tries of one request at one upstream, the first included.
pub const ATTEMPTS_MAX: u32 = 3;
/// Parts of one merge.
pub const PARTS_MAX: usize = 32;
/// Views of one merge; they are tried in order, each by a few comparisons.
pub const VIEWS_MAX: usize = 32;
/// Distinct elements that a part with `each` is called for. Default of `each.max`: a page of a list.
pub const EACH_ELEMENTS: usize = 100;
/// The hard ceiling of `each.max`.
pub const EACH_ELEMENTS_MAX: usize = 1000;
/// Calls of a part with `each` in flight at once. Default of `each.at_once`.
pub const EACH_AT_ONCE: usize = 8;
/// The hard ceiling of `each.at_once`; a request holds as many buffers.
pub const EACH_AT_ONCE_MAX: usize = 64;
/// The hard ceiling of `each.batch`: elements in one call. The target with all of them has to fit one buffer.
pub const EACH_BATCH_MAX: usize = 1000;
/// Problem document of a part that is passed on. Unit: bytes. RFC 9457 documents have a few lines.
pub const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// Time that a part must have left of its exchange's deadline to be asked at all. Deadlines are met within
/// about two milliseconds, so that a call with less is lost before it is made.
pub const PART_TIME_MIN: std::time::Duration = std::time::Duration::from_millis(2);
/// Answers of parts that a core keeps. Unit: bytes, keys and bookkeeping included. A budget as nginx's
/// `keys_zone` and Varnish's `malloc` have one; sixteen of the largest answers or some ten thousand usual ones.
pub const PART_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same, counted. 96 bytes of bookkeeping each, once there are any.
pub const PART_CACHE_ENTRIES_MAX: usize = 16 * 1024;
/// One answer among them, so that no single one drives out all others. Unit: bytes.
pub const PART_CACHE_ENTRY_BYTES_MAX: usize = PART_CACHE_BYTES_MAX / 8;
/// Longest request of a part that is kept apart from others, with what else its key is made of. Unit: bytes.
/// Most have a few hundred.
pub const PART_KEY_BYTES_MAX: usize = 16 * 1024;
/// Calls of parts in flight that others may wait for, on one core; further ones are made for themselves.
pub const PART_FLIGHTS_MAX: usize = 4096;
/// Parts whose answers belong to one request each, remembered by a core so that nobody waits for them.
pub const PART_UNSHARED_MAX: usize = 1024;
/// Stale answers that a core renews at once beside its clients' requests.
pub const PART_REFRESHES_MAX: usize = 64;
/// Default of `cache.memory`: what stored responses may weigh on the whole machine, keys and fields included.
/// Unit: bytes. nginx's examples have `keys_zone=…:10m` with a disk behind it, Varnish's package starts with
/// 256 MiB of memory; a gateway shares its machine.
pub const CACHE_MEMORY: u64 = 64 * 1024 * 1024;
/// Default of `cache.object_max`: the largest response that is stored. Unit: bytes. Larger ones are files, for
/// which a store in memory is the wrong place.
pub const CACHE_OBJECT_BYTES: u64 = 1024 * 1024;
/// Keys that one core finds again. 4 bytes each from the start, 64 once there are any.
pub const CACHE_KEYS_MAX: usize = 256 * 1024;
/// Responses of one key that `Vary` tells apart; the oldest makes room for one more.
pub const CACHE_VARIANTS_MAX: usize = 16;
/// Fields that one response may vary by. Real responses name up to four.
pub const CACHE_VARY_FIELDS_MAX: usize = 16;
/// Longest key: scheme, host, path, query and what the route adds. Unit: bytes. A request with a longer one
/// passes the store by.
pub const CACHE_KEY_BYTES_MAX: usize = 16 * 1024;
/// Stored and removed responses that wait for a core to look: it looks at each request and at each tick of
/// 50 ms. Whose queue is full forgets all it has, when a removal is lost.
pub const CACHE_NEWS_MAX: usize = 4096;
/// Keys that one core fetches at once, with others waiting for them; further ones are fetched alone.
pub const CACHE_FLIGHTS_MAX: usize = 4096;
/// How long a request waits for another one's fetch of the same key before it fetches for itself: the default
/// of nginx's `proxy_cache_lock_timeout`.
pub const CACHE_FLIGHT_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Stale responses that a core renews at once beside its clients' requests.
pub const CACHE_RENEWALS_MAX: usize = 64;
/// Tags of one stored response by which it can be removed; further ones are not heeded, and the response is
/// not stored. Fastly and Cloudflare bound the field at 16 KiB.
pub const CACHE_TAGS_MAX: usize = 256;
/// How long behind its freshness a response stands in while the origin cannot be reached at all, when nobody
/// says how long (RFC 9111 §4.2.4: a cache that is disconnected may use stale responses).
pub const CACHE_STALE_UNREACHABLE: std::time::Duration = std::time::Duration::from_secs(600);
/// Stored content that is kept in other codings, too, where a route compresses. Unit: bytes. Its first reader waits
/// until it is coded whole, about 30 ms for each MiB; larger content is coded for each reader while it goes out.
pub const CACHE_RECODED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest heuristic freshness (RFC 9111 §4.2.2 warns of more than a day).
pub const CACHE_HEURISTIC_MAX: std::time::Duration = std::time::Duration::from_secs(86_400);
/// Default bound on one part's body. Unit: bytes.
pub const PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// All bodies of one merge together, those of a part with `each` above all, and what one part may become with
/// answers embedded. Unit: bytes. Sixteen of the largest parts: what one request may hold of a core's memory.
pub const MERGE_BYTES_MAX: usize = 16 * PART_BYTES_MAX;
/// Nesting of one part's JSON. Deeper documents are refused so that no parser can be made to recurse.
pub const JSON_DEPTH_MAX: usize = 128;
/// The value of Server-Timing; parts that would make it longer are left out. Unit: bytes. `PARTS_MAX` parts with
/// names of a hundred bytes; a head of ours fits a buffer with it.
pub const SERVER_TIMING_BYTES_MAX: usize = 4096;
/// Field lines of one merged answer, those kept from its parts above all. Unit: bytes. As much as a head may
/// have by default: a client has no use for more, and a local head must fit a buffer.
pub const MERGED_FIELDS_BYTES_MAX: usize = HEAD_BYTES_MAX;
const _: () =
    assert!(MERGED_FIELDS_BYTES_MAX + 4096 < BUFFER_BYTES, "a local head must fit a buffer");
/// Buffers in use on a core from which on request bodies stream although `buffer_request` would wait for
/// them: a quarter, so that slow uploads never take what other exchanges need.
pub const BUFFERS_GATHERING_MAX: usize = BUFFERS_MAX / 4;
/// Calls whose time a core must have seen before it sends a second one beside a late one (`hedge`): five of them
/// took longer than the 95th percentile.
pub const HEDGE_SAMPLES_MIN: u32 = 100;
/// Calls after which what was seen before weighs half: some seconds of a busy part, so that a new pace of the
/// origin is known soon.
pub const HEDGE_WINDOW: u32 = 1024;
/// Second tries that a core saves up for one part while none is needed: a short pause of an origin is met by at
/// most so many at once.
pub const HEDGES_SAVED_MAX: u32 = 10;
/// Second tries, as a share of a part's calls. Default of `hedge.budget`. Unit: percent. The part that is late
/// by definition; Envoy and gRPC leave it to the operator.
pub const HEDGE_BUDGET_PERCENT: u32 = 5;
/// Attempts recorded of one exchange: every part tried as often as allowed.
pub const ATTEMPTS_RECORDED_MAX: usize = PARTS_MAX * ATTEMPTS_MAX as usize;

// ---- http ----------------------------------------------------------------------------------------

/// Entity tags of If-None-Match that are compared; a head has room for more. What comes later counts as no match,
/// which costs the client a whole answer and nothing else.
pub const ETAGS_MATCHED_MAX: usize = 64;
/// What one step of decoding a content coding uses or makes. Unit: bytes. About half a millisecond, after which
/// others have their turn. A block of zstd is at most as long (RFC 8878 §3.1.1.2.4).
pub const CODING_STEP_BYTES: usize = 128 * 1024;
/// Members of one gzip body, or frames of one zstd body. Each costs tables of its own; real bodies have one.
pub const CODING_MEMBERS_MAX: usize = 64;
/// Largest window of a zstd frame. Unit: bytes. RFC 9659 §3 lets no sender use more for the coding `zstd`.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Digits of a Content-Length. Nineteen always fit 64 bits; RFC 9110 §8.6 asks to guard against overflow.
pub const CONTENT_LENGTH_DIGITS_MAX: usize = 19;
/// The largest body or chunk whose length we accept. Unit: bytes. 2^63 - 1, so that offsets never wrap,
/// signed or not, here or at an origin.
pub const BODY_BYTES_CEILING: u64 = i64::MAX as u64;
/// Options in the Connection fields of one head. Real messages have one or two; each is compared with
/// every unknown field of the head, so the product must stay small.
pub const CONNECTION_OPTIONS_MAX: usize = 16;
/// Hex digits of one chunk size, leading zeros included; sixteen fill 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;
/// Bytes of chunk framing that one body may have beyond 16 and twice the data of each chunk, summed.
/// Unit: bytes. Go's net/http bounds it so (CVE-2023-39326): plain tiny chunks pass, extension floods do not.
pub const CHUNK_EXCESS_BYTES_MAX: i64 = 16 * 1024;
// ---- the edge -------------------------------------------------------------------------------------

/// A PROXY protocol header of version 1, CRLF included. Unit: bytes. The specification's own bound (§2.1).
pub const PROXY_V1_BYTES_MAX: usize = 107;
/// A PROXY protocol header of version 2, TLVs included. Unit: bytes. Addresses take 232 at most, TLVs of
/// load balancers some tens; nginx takes 4096, too. Longer ones close the connection.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;
/// Proxies in front of us that are looked through: entries of X-Forwarded-For or Forwarded that are read,
/// from the right. Real chains have two or three; more are somebody's invention.
pub const PROXIES_MAX: usize = 16;
/// Sources that a listener's `client_address` may name.
pub const CLIENT_SOURCES_MAX: usize = 8;

const _: () = assert!(PROXY_HEADER_BYTES_MAX < BUFFER_BYTES, "a PROXY header must fit a buffer");
const _: () = assert!(PROXY_V1_BYTES_MAX < PROXY_HEADER_BYTES_MAX);

// ---- observe -------------------------------------------------------------------------------------

/// Series (method, route, status) of one core's duration histograms. A series takes about 200 bytes and
/// is touched when first used; what comes after the bound is counted under the route `_other`.
pub const REQUEST_SERIES_MAX: usize = 8192;
/// Series (upstream, status) of one core's histograms of origins' durations.
pub const ORIGIN_SERIES_MAX: usize = 1024;
/// Names of routes that get a label of their own in metrics during the life of the process, vanished ones
/// included; later names share `_other`, so that reloads cannot grow memory for ever.
pub const ROUTE_LABELS_MAX: usize = 64 * 1024;
/// Parts of merges that get a label of their own in metrics, vanished ones included; later ones share `_other`.
/// 152 bytes on each core when a part has failed.
pub const PART_LABELS_MAX: usize = 4096;
/// Names of upstreams that get a label of their own, vanished ones included. 80 bytes on each core.
pub const UPSTREAM_LABELS_MAX: usize = 4096;
/// One page of the access log. Unit: bytes. About 100 lines: one hand-over and one write for all of them.
pub const LOG_PAGE_BYTES: usize = 64 * 1024;
/// Pages of one core, the one being filled included: 4 MiB, which bridges a disk that stalls for 100 ms at
/// 80,000 requests per second. When all are on their way, lines are dropped and counted.
pub const LOG_PAGES_PER_CORE: usize = 64;
/// Pages of the whole process that may wait for the flush thread.
pub const LOG_PAGES_QUEUED_MAX: usize = 4096;
/// One line of the access log. Unit: bytes. Attempts that do not fit are left out and counted in the line.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// A path or query in the log, after escaping. Unit: bytes. Longer ones are cut and the line says so.
pub const LOG_TARGET_BYTES_MAX: usize = 2048;
/// A host in the log, after escaping. Unit: bytes. RFC 1035 §2.3.4 bounds names at 255.
pub const LOG_HOST_BYTES_MAX: usize = 320;
/// The name of a user, subject or owner in the log, after escaping. Unit: bytes. Longer ones are cut and the line says
/// so; an address of mail has at most 254 (RFC 5321 §4.5.3.1).
pub const LOG_IDENTITY_BYTES_MAX: usize = 256;
/// A method in the log, after escaping. Unit: bytes.
pub const LOG_METHOD_BYTES_MAX: usize = 64;
/// A name from the configuration in the log, after escaping. Unit: bytes.
pub const LOG_NAME_BYTES_MAX: usize = 256;
/// Pauses of 5 ms that the flush thread makes for a target that is busy: one second, then the page goes.
pub const LOG_BUSY_PAUSES_MAX: u32 = 200;
/// How long the flush thread waits for syslog or the journal to take a line. One that reads takes microseconds.
pub const LOG_RECEIVER_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
/// Events of one kind told to the operator within `EVENT_WINDOW_SECS`; more are counted and mentioned.
pub const EVENTS_PER_WINDOW_MAX: u32 = 20;
/// The window of `EVENTS_PER_WINDOW_MAX`. Unit: seconds.
pub const EVENT_WINDOW_SECS: u64 = 60;
/// A text of unknown origin inside an event. Unit: bytes.
pub const EVENT_TEXT_BYTES_MAX: usize = 2048;

const _: () = assert!(LOG_LINE_BYTES_MAX * 2 <= LOG_PAGE_BYTES, "a page must hold lines");
const _: () = assert!(
    2 * LOG_TARGET_BYTES_MAX
        + LOG_HOST_BYTES_MAX
        + LOG_METHOD_BYTES_MAX
        + 4 * LOG_NAME_BYTES_MAX
        + 3 * LOG_IDENTITY_BYTES_MAX
        <= LOG_LINE_BYTES_MAX / 2,
    "the longest line must keep room for its numbers and some attempts"
);

// ---- admin ---------------------------------------------------------------------------------------

/// Head of a request to the admin listener. Unit: bytes.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Fields of a request to the admin listener; browsers send about 20.
pub const ADMIN_FIELDS_MAX: usize = 64;
/// Connections to the admin listener at once; one more makes the oldest unanswered one go.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;
/// Descriptors that the admin listener holds for the time when none is left: a probe that gets no answer just then has
/// the process ended for being busy. Two probes and a scraper at once, and one more; the others wait 50 ms.
pub const ADMIN_DESCRIPTORS_KEPT: usize = 4;
/// Time for one request to the admin listener, and again for its answer. Unit: seconds.
pub const ADMIN_TIMEOUT_SECS: u64 = 5;

// ---- doctor --------------------------------------------------------------------------------------

/// Largest file of a host that `ringway doctor` reads. Unit: bytes. /proc/interrupts is the longest: 512 CPUs and
/// 1,500 interrupts make 8 MiB.
pub const DOCTOR_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Entries of one folder that `ringway doctor` looks at: the CPUs of the largest kernel (8,192) and what stands
/// beside them.
pub const DOCTOR_ENTRIES_MAX: usize = 10_000;
/// Control groups between a process and the root that `ringway doctor` looks at; Kubernetes has five.
pub const DOCTOR_GROUP_DEPTH_MAX: usize = 32;

// ---- cores ---------------------------------------------------------------------------------------

/// Client connections open on one core; more are closed at once. The kernel's descriptor limit is
/// usually met first.
pub const CONNECTIONS_PER_CORE_MAX: usize = 100_000;
/// Client addresses of one listener whose connections can be counted at once: words of 8 bytes in buckets of
/// sixteen, 2 MiB of which only the touched pages are real. Four for each connection of the default bound,
/// so that a bucket is full for one client in a million; such a client is not counted by itself.
pub const CLIENT_COUNTS_MAX: usize = 1 << 18;
/// Connections that one client address may have open on one listener. Default of
/// `limits.connections_per_client_max`; a quarter of the default for all, so that no address takes a
/// listener for itself. Browsers open 6 to an origin (RFC 9112 §9.4 names no number), so it stands for
/// 2,700 people behind one address of a carrier's NAT, or for a load balancer with its whole pool.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 16_384;
/// Connections looked at when one is to be given up: one on which bytes have just arrived is passed over.
pub const GIVE_UP_LOOKS_MAX: usize = 16;
/// Idle connections given up at once when descriptors run out; nginx's number.
pub const GIVE_UP_BATCH_MAX: usize = 32;
/// Endpoints whose turns (set aside, used again) one core tells between two ticks; others are told at their next
/// turn, or by another core.
pub const ENDPOINT_TURNS_MAX: usize = 64;
/// Connections of one core that keep the state of a walk (about 10 KiB) for a tenth of a second after a request, which
/// saves its making for the next one: 5 MiB. Eight times as many as a core has busy clients in the load
/// tests; in a flood of short visits the others become idle, and small, at once.
pub const LINGERING_MAX: usize = 512;
// ---- policy --------------------------------------------------------------------------------------

/// Largest count of a rate. Unit: requests per period. Above a thousand million a second one request has
/// less than a nanosecond, the clock's own unit.
pub const LIMIT_RATE_MAX: u64 = 1_000_000_000;
/// Largest burst. Unit: requests. Chosen so that a spent burst lies within half a turn of the 44-bit clock
/// of `base/gcra.rs` (asserted there).
pub const LIMIT_BURST_MAX: u64 = 1_000_000_000;
/// How much older than another core's the time of one core may be before a limit could forget a charge.
/// `now` is read after every await, so that real differences are milliseconds.
pub const GCRA_SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// How long a cell must have been past before another key may take its place: longer than the `now` of
/// two cores differs, so that both agree that it is past.
pub const GCRA_EVICTION_MARGIN: std::time::Duration = std::time::Duration::from_millis(100);
/// The hard ceiling of `limit.keys_max`: 2 × 2^26 cells of 8 bytes, 1 GiB, of which only the touched pages
/// are real.
pub const LIMIT_KEYS_MAX: usize = 1 << 26;
/// Tries of one compare-and-swap before a request is refused. Each failure means that another core's
/// request for the same cell was decided; 64 in a row is a storm on one key.
pub const CELL_TRIES_MAX: u32 = 64;

/// A compact token in the Authorization field. Unit: bytes. Half of the default head; identity providers
/// warn from 4 KiB on (Auth0, Okta) because servers commonly stop at 8 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The header of a token, decoded. Unit: bytes. `alg`, `kid`, `typ` and a thumbprint need under 300.
pub const TOKEN_HEADER_BYTES_MAX: usize = 2 * 1024;
/// Nesting of a token's claims and of a key set. Claims of OpenID providers nest to about five.
pub const TOKEN_DEPTH_MAX: u32 = 16;
/// Keys of a set that are tried for one token that names none: a rotation has two at once, seldom three.
pub const TOKEN_KEYS_TRIED_MAX: usize = 4;
/// Verified tokens that one core remembers. With 1 KiB each, 4 MiB: half of the byte bound.
pub const TOKENS_REMEMBERED_MAX: usize = 8 * 1024;
/// What the remembered tokens of one core may weigh, claims included (counted as three times the token).
/// Unit: bytes.
pub const TOKENS_REMEMBERED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A key set as text. Unit: bytes. A key with a certificate chain is about 8 KiB.
pub const KEY_SET_BYTES_MAX: usize = 512 * 1024;
/// Keys of one set. Google publishes 2, Entra ID about 10.
pub const KEY_SET_KEYS_MAX: usize = 64;
/// Between two fetches of a key set that unknown key ids asked for, however many there are.
pub const KEY_FETCH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
/// How long a request with an unknown key id waits for that fetch.
pub const KEY_FETCH_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// How long one fetch of a key set may take, from the name's resolution to the last byte.
pub const KEY_FETCH_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// First pause after a failed fetch; it doubles up to `KEY_FETCH_BACKOFF_MAX` or the refresh interval.
pub const KEY_FETCH_BACKOFF_MIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Shortest time between two fetches of keys that an issuer calls fresh for less.
pub const KEY_REFRESH_MIN: std::time::Duration = std::time::Duration::from_secs(10);
/// Longest pause after failed fetches.
pub const KEY_FETCH_BACKOFF_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Key ids that a core remembers as unknown to an issuer, so that each asks for one fetch and then for none.
pub const UNKNOWN_KIDS_MAX: usize = 256;
/// What they may weigh. Unit: bytes. A key id is at most as long as the header of a token.
pub const UNKNOWN_KIDS_BYTES_MAX: usize = 64 * 1024;
/// How long an unknown key id is remembered while the key set stays the same.
pub const UNKNOWN_KID_KEPT: std::time::Duration = std::time::Duration::from_secs(60);
/// An API key in a request. Unit: bytes. Ours have 47; those of others that are brought along seldom over 100.
pub const API_KEY_BYTES_MAX: usize = 512;
/// Keys of one file. With 100 bytes of owner and scopes each, some 200 MiB.
pub const API_KEYS_MAX: usize = 1_000_000;
/// Tokens that a core remembers the store's word of, and what they may weigh. Unit of the second: bytes.
pub const REVOCATIONS_REMEMBERED_MAX: usize = 8192;
/// See `REVOCATIONS_REMEMBERED_MAX`.
pub const REVOCATIONS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Verdicts of services that a core remembers, and what they may weigh. Unit of the second: bytes.
pub const VERDICTS_REMEMBERED_MAX: usize = 8192;
/// See `VERDICTS_REMEMBERED_MAX`.
pub const VERDICTS_REMEMBERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Questions under way on a core that others may wait for; beyond them everybody asks for himself.
pub const VERDICTS_ASKED_MAX: usize = 256;
/// The body of a verdict that is read over, so that its connection serves again. Unit: bytes.
pub const AUTH_ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Credentials of `Authorization: Basic`, in base64. Unit: bytes.
pub const BASIC_BYTES_MAX: usize = 1024;
/// Users of one file. With 200 bytes each, some 40 MiB.
pub const BASIC_USERS_MAX: usize = 100_000;
/// Networks whose wrong passwords are counted at once; of more some share a count.
pub const BASIC_NETWORKS_MAX: usize = 65_536;
/// Credentials that a core remembers as checked, and what they may weigh. Unit of the second: bytes.
pub const PASSWORDS_REMEMBERED_MAX: usize = 4096;
/// See `PASSWORDS_REMEMBERED_MAX`.
pub const PASSWORDS_REMEMBERED_BYTES_MAX: usize = 4096 * 128;
/// How often a request that waits for a policy (for keys, for a password's check, for a verdict that somebody else asks for)
/// looks again. Far below what any of them takes; each look costs under a microsecond.
pub const POLICY_LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(5);
/// When a password's check is given up that no request has looked for: 200 looks.
pub const PASSWORD_ABANDONED_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
/// Checks of passwords that a core waits for.
pub const PASSWORDS_PENDING_MAX: usize = 32;
/// The same for one network, so that no guesser takes all places of a core.
pub const PASSWORDS_PENDING_PER_NETWORK_MAX: usize = 8;
/// Checks of the whole machine that wait: some seconds of work for one thread.
pub const PASSWORD_QUEUE_MAX: usize = 128;
/// Threads that check passwords: each needs the memory that a hash says.
pub const PASSWORD_THREADS_MAX: usize = 4;
/// Memory that one check may take. Unit: KiB. RFC 9106 §4 recommends 64 MiB for servers with little of it.
pub const PASSWORD_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Passes over that memory.
pub const PASSWORD_PASSES_MAX: u32 = 32;
/// Memory times passes of one check, which is what its time goes by. Unit: KiB. About a second.
pub const PASSWORD_WORK_KIB_MAX: u64 = 1024 * 1024;
/// Different limits that the lines of a file of keys carry: plans that customers have, each a table of cells.
pub const KEY_LIMITS_MAX: usize = 64;
/// Keys that a table of such a limit has room for at least, so that a new line seldom makes a new table.
pub const KEY_LIMIT_TABLE_MIN: usize = 1024;
/// Entries of a list of revoked tokens and subjects. With 36 bytes each, some 100 MiB.
pub const REVOKED_MAX: usize = 1_000_000;
/// A file of revoked tokens, keys or users. Unit: bytes.
pub const LIST_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often the files of lists are looked at for a change: one stat(2) each.
pub const LIST_FILE_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a file of a list must have been the same before it is loaded: between `>` and the first line that a shell
/// writes lie milliseconds.
pub const LIST_FILE_RESTS_AFTER: std::time::Duration = std::time::Duration::from_millis(100);
/// At how many looks in a row, `LIST_FILE_RESTS_AFTER` apart, a file may be another one until it is loaded as it is.
pub const LIST_FILE_UNREST_MAX: u32 = 20;
/// The latest `exp` that is believed: 9999-12-31. Unit: seconds since 1970. A later one is milliseconds by
/// mistake, and would never expire.
pub const TOKEN_EXP_MAX: u64 = 253_402_300_799;

const _: () = assert!(TOKEN_BYTES_MAX < HEAD_BYTES_MAX, "a token must fit a head");
const _: () = assert!(TOKENS_REMEMBERED_BYTES_MAX > 64 * TOKEN_BYTES_MAX, "large tokens must fit");

// ---- aggregate -----------------------------------------------------------------------------------

/// Steps of one path into JSON (`pick`, `keep`, `drop`, `rename`, references). Deeper than any API is
/// written by hand; walks along paths nest at most as deep.
pub const PATH_STEPS_MAX: usize = 16;
/// Paths of one part's `keep`, `drop` and `rename` together. A part with more fields is better dropped from.
pub const SHAPE_PATHS_MAX: usize = 256;
/// Renamed members of one object. Unit: one bit of a word each, which says whether the member is there.
pub const RENAMES_PER_OBJECT_MAX: usize = 64;
/// Nodes of one compiled `Selection`. Only lists that mix `[0]` and `[*]` on many levels have more nodes
/// than steps; the bound keeps them from doubling with each level.
pub const SHAPE_NODES_MAX: usize = 4096;
/// Places of tokens for which a core keeps room between two answers. Unit: 8 bytes each, 512 KiB in all; an
/// answer of 4 MiB may need 32 MiB for the moment of its check.
pub const JSON_TOKENS_KEPT_MAX: usize = 64 * 1024;

// ---- upstream ------------------------------------------------------------------------------------

/// How long a connection to an origin may take to be made. Default of `upstream.timeout.connect`. Within a
/// data centre it takes under 10 ms; one lost SYN is sent again after 1 s (RFC 6298 §2), and by then another
/// endpoint is the better choice.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a connect must have been tried to prove something against its endpoint, where the request's own time ended
/// it: a client that was slow leaves less.
pub const CONNECT_PROVES_AFTER: std::time::Duration = std::time::Duration::from_millis(100);
/// From the whole request to the head of the response. Default of `upstream.timeout.first_byte`; equal to the
/// default total of a route.
pub const FIRST_BYTE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
/// How long an origin may pause in the middle of a body. Default of `upstream.timeout.idle`; as towards clients.
pub const UPSTREAM_IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Idle connections kept by one core to one endpoint. Default of `upstream.pool.idle_max`. A busy core
/// needs about as many as it has requests in flight to that endpoint, and three HTTP/2 clients bring 256 of them; an idle
/// one holds a descriptor and no buffer. With 64, 256 streams at once cost 29.6 µs each, with enough 16.1 µs.
pub const POOL_IDLE_MAX: usize = 256;
/// How long an unused upstream connection is kept. Default of `upstream.pool.idle_timeout`: under nginx's usual
/// 75 s, so that we close first and no request meets a connection that the origin is closing (RFC 9112 §9.5).
pub const POOL_IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
/// How long an upstream connection is used at all.
pub const POOL_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(3600);
/// Further attempts after the first. Default of `upstream.retry`: what Envoy, HAProxy and nginx users set; a
/// second rarely helps and doubles a storm.
pub const UPSTREAM_RETRIES: u32 = 1;
/// First pause of an endpoint that could not be reached; it doubles with each failure in a row.
pub const ASIDE_MIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Longest pause of an endpoint that cannot be reached.
pub const ASIDE_MAX: std::time::Duration = std::time::Duration::from_secs(30);

const _: () = assert!(UPSTREAM_RETRIES < ATTEMPTS_MAX, "retries are part of the attempts");

// ---- tests of a configuration ----------------------------------------------------------------------

/// Requests of one `[[test]]`, repeated ones included: enough to spend a large limit, and over in seconds.
pub const TEST_REQUESTS_MAX: usize = 10_000;
/// Virtual time that one test may take: the longest duration of the language.
pub const TEST_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(864_000);
/// Turns of tasks and moves of the clock in one request of a test; an ordinary request takes about a hundred.
pub const TEST_TURNS_MAX: u64 = 1_000_000;
/// Longest message that a test's client or upstream takes. Unit: bytes. Above what any merge can answer.
pub const TEST_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
