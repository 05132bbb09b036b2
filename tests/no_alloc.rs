//! A warm forwarded request makes no heap allocation: a counting allocator around a whole worker.
//!
//! The gateway runs in this process on its own thread; the client and the origin are threads of this test
//! that use fixed buffers, so that every allocation counted is the gateway's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossbeam::channel::bounded;
use ringway::base::gcra::Rule;
use ringway::base::ids::{EndpointId, RouteId, UpstreamId, WorkerId};
use ringway::base::name::Name;
use ringway::base::queue::QueueLaw;
use ringway::base::seats::Seats;
use ringway::base::shared::Cells;
use ringway::exchange::client::AddressSource;
use ringway::exchange::template::{Template, TemplateKind};
use ringway::gateway::Gateway;
use ringway::gateway::carry::Carry;
use ringway::gateway::listener::{Listener, Protocols, ProxyProtocol};
use ringway::gateway::route::{Forward, Route, Target};
use ringway::http::caching::Terms;
use ringway::http::h1::parse::HeadLimits;
use ringway::net::listener::{bind, bound_to};
use ringway::observe::metrics::CoreMetrics;
use ringway::observe::plan::{LabelBook, RecordPlan, RouteNames};
use ringway::policy::Policy;
use ringway::policy::api_key::{ApiKey, KeyBook, KeyRules};
use ringway::policy::basic::{Basic, BasicRules, UserBook};
use ringway::policy::bearer::Bearer;
use ringway::policy::cache::{Cache, KeyRule};
use ringway::policy::concurrency::{Concurrency, ConcurrencyRules};
use ringway::policy::file_cell::FileCell;
use ringway::policy::jwks::KeySet;
use ringway::policy::jwt::{Jwt, JwtRules};
use ringway::policy::key_cell::KeyCell;
use ringway::policy::password::{self, Desk, Kept};
use ringway::policy::rate_limit::{Cost, RateLimit, RateLimitRules};
use ringway::policy::store::Machine;
use ringway::route::Router;
use ringway::route::pattern::{HostPattern, Pattern, Segment};
use ringway::route::spelling::PathSpelling;
use ringway::runtime::probe::{Driver, ring_flags};
use ringway::upstream::{Balance, Endpoint, Rules, Upstream};
use ringway::worker::boot::{Birth, Ended, start};
use ringway::worker::mailbox::{NewListener, Order, Report};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"hello\":\"x\"}";

/// A body that needs bulk buffers; its last bytes are those of `ANSWER`.
const LARGE_BYTES: usize = 1024 * 1024;

const CHUNKS: &[u8] =
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

/// The requests, and what ends the answer to each.
fn kinds() -> Vec<(Vec<u8>, &'static [u8])> {
    let get = |path: &str, field: &str| {
        let head = format!("GET /{path} HTTP/1.1\r\nHost: example.test\r\n{field}\r\n\r\n");
        (head.into_bytes(), ENDING)
    };
    let mut kinds: Vec<_> = OPEN.iter().map(|(bytes, ending)| (bytes.to_vec(), *ending)).collect();
    kinds.push(get("token", &format!("Authorization: Bearer {}", token())));
    kinds.push(get("key", "X-Api-Key: the-key"));
    kinds.push(get("user", "Authorization: Basic YWRhOmxvdmVsYWNl"));
    kinds
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn tag(message: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message))
}

/// A token that does not end while this test runs.
fn token() -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = "{\"sub\":\"ada\",\"exp\":9999999999}";
    let message = format!("{}.{}", part("{\"alg\":\"HS256\"}"), part(claims));
    format!("{message}.{}", tag(message.as_bytes()))
}

/// Whoever proves who he is by one of these, and a limit by what is proven.
fn proving(proof: Policy, key: &str) -> Box<[Policy]> {
    let rule = Rule::new(1_000_000_000, Duration::from_secs(1), 1_000_000).expect("a rule");
    let key = Template::parse(key, TemplateKind::Plain, &[]).expect("a template");
    let name = Name::new("proven");
    let cost = Cost::default();
    let rules = RateLimitRules { name, place: 0, key, cost, dry_run: false, fleet: None };
    let limit = RateLimit::new(rules, Arc::new(Cells::new(rule, 1024, 7)));
    let mut all = vec![proof];
    all.extend(Policy::limits(vec![limit]));
    all.into()
}

fn token_policy() -> Policy {
    let keys = KeySet::from_secret(SECRET, &[]).expect("a secret");
    let rules = JwtRules {
        name: Name::new("idp"),
        keys: Arc::new(KeyCell::fixed(keys)),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        required: vec!["sub".into()],
        places: Vec::new(),
        rfc9068: false,
        revoked: None,
        store: None,
    };
    Policy::Jwt(Bearer::new(vec![Jwt::new(rules)]))
}

fn key_policy() -> Policy {
    let line = format!("{} acme limit=1000000/s", tag(b"the-key"));
    let book = KeyBook::parse(&line, None).expect("a line");
    let book = Arc::new(FileCell::new(book));
    Policy::ApiKey(ApiKey::new(KeyRules::new(Name::new("keys"), SECRET, "x-api-key", None, book)))
}

fn user_policy() -> Policy {
    let cost = password::Cost { memory_kib: 8, passes: 1, lanes: 1 };
    let kept = Kept::make(b"lovelace", b"0123456789abcdef", cost).expect("a cost");
    let book = UserBook::parse(&format!("ada:{kept}")).expect("a line");
    let (desk, _) = Desk::new(b"a key");
    desk.check_at_once();
    let rule = Rule::new(20, Duration::from_secs(60), 20).expect("a rule");
    Policy::Basic(Basic::new(BasicRules {
        name: Name::new("team"),
        realm: "team".into(),
        book: Arc::new(FileCell::new(book)),
        ttl: Duration::from_secs(3600),
        failures: Arc::new(Cells::new(rule, 1024, 7)),
        desk: Arc::new(desk),
    }))
}

/// Those that anybody may send.
const OPEN: [(&[u8], &[u8]); 4] = [
    (b"GET /small?x=1 HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nUser-Agent: test/1.0\r\nX-A: b\r\n\r\n", ENDING),
    (b"GET /large HTTP/1.1\r\nHost: example.test\r\n\r\n", ENDING),
    (b"GET /chunks HTTP/1.1\r\nHost: example.test\r\n\r\n", b"\r\n0\r\n\r\n"),
    (b"GET /stored HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n\r\n", ENDING),
];

const ENDING: &[u8] = b"{\"hello\":\"x\"}";

/// The large answer.
fn large() -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE_BYTES}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + LARGE_BYTES - ENDING.len(), b' ');
    answer.extend_from_slice(ENDING);
    answer
}

/// An origin that answers each request head from fixed memory.
fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                let large = large();
                while stream.read(&mut buf).is_ok_and(|read| read > 0) {
                    let answer = match &buf[..10] {
                        b"GET /large" => &large,
                        b"GET /chunk" => CHUNKS,
                        _ => ANSWER,
                    };
                    stream.write_all(answer).expect("the gateway reads");
                }
            });
        }
    });
    address
}

/// Two limits that all requests pass, one of them with a cost, and a bound on who is there, with a line.
fn policies() -> Box<[Policy]> {
    let template = |text| Template::parse(text, TemplateKind::Plain, &[]).expect("a template");
    let limit = |place, key, cost| {
        let rule = Rule::new(1_000_000_000, Duration::from_secs(1), 1_000_000).expect("a rule");
        let cost = Cost { from: Some(template(cost)), default: 1, max: 10 };
        let (name, key) = (Name::new("limit"), template(key));
        let rules = RateLimitRules { name, place, key, cost, dry_run: false, fleet: None };
        RateLimit::new(rules, Arc::new(Cells::new(rule, 1024, 7)))
    };
    let limits = vec![limit(0, "{client.address}", "{query.x}"), limit(1, "{header.host}", "2")];
    let rules = ConcurrencyRules {
        place: 2,
        max: 100,
        key: Some((template("{client.address}"), 50)),
        queue: 10,
        law: QueueLaw { interval: Duration::from_millis(100), target: Duration::from_millis(5) },
        adaptive: None,
    };
    let seats = Concurrency::new(rules, Arc::new(Seats::new(true)), 7);
    let mut all = Policy::limits(limits);
    all.push(Policy::Concurrency(Box::new(seats)));
    all.into()
}

fn gateway(listen: ringway::base::address::Address, origin: std::net::SocketAddr) -> Gateway {
    let secs = Duration::from_secs;
    let endpoint = Endpoint {
        id: EndpointId(0),
        address: ringway::base::address::Address::Tcp(origin),
        host: origin.to_string().into(),
        weight: 1,
    };
    let upstream = Upstream {
        tls: None,
        id: UpstreamId(0),
        name: Name::new("origin"),
        endpoints: [endpoint].into(),
        balance: Balance::RoundRobin,
        rules: Rules::default(),
    };
    let pattern = Pattern {
        route: RouteId(0),
        methods: Vec::new(),
        host: HostPattern::Any,
        path: vec![Segment::Rest],
        conditions: Vec::new(),
    };
    let named_one = |number: u32, name: &str| Pattern {
        route: RouteId(number),
        path: vec![Segment::Literal(name.as_bytes().into())],
        methods: Vec::new(),
        host: HostPattern::Any,
        conditions: Vec::new(),
    };
    let patterns = vec![
        pattern,
        named_one(1, "stored"),
        named_one(2, "token"),
        named_one(3, "key"),
        named_one(4, "user"),
    ];
    let machine = Arc::new(Machine::new(1));
    let cache = Cache {
        space: 1,
        terms: Terms { ttl: Some(secs(3600)), ..Terms::default() },
        key: KeyRule::default(),
        object_bytes_max: 1 << 20,
        tags: Box::default(),
        stale_while_revalidate: None,
        stale_if_error: None,
        heeds_clients: true,
        machine: machine.clone(),
    };
    let route = |name: &str, policies: Box<[Policy]>, cache: Option<Cache>| Route {
        name: Name::new(name),
        policies,
        target: Target::Forward(Forward { upstream: UpstreamId(0), target: None }),
        answering: None,
        request_edits: None,
        maintenance: None,
        mirror: None,
        cache: cache.map(Box::new),
        timeout: secs(5),
        idle_timeout: None,
        retries: None,
        body_bytes_max: u64::MAX,
        hedge_percent: None,
        buffer_request_bytes: 0,
        upgrades: Box::default(),
        bandwidth: None,
        tunnel_idle_timeout: Duration::from_secs(1),
    };
    let named =
        |name: &str| RouteNames { name: Name::new(name), parts: Vec::new(), views: Vec::new() };
    let names = ["all", "stored", "token", "key", "user"].map(named);
    Gateway {
        version: 1,
        hedged: Box::default(),
        throttles: Box::default(),
        challenges: None,
        store: None,
        carry: Carry { machine: Some(machine), ..Carry::default() },
        listeners: [Listener {
            protocols: Protocols { http1: true, http2: true },
            tls: None,
            handshake_timeout: Duration::ZERO,
            to_https: false,
            proxy_protocol: ProxyProtocol::Off,
            client_address: [AddressSource::XForwardedFor].into(),
            tells_destination: false,
            address: listen,
            trusted: [].into(),
            spelling: PathSpelling::default(),
            head_limits: HeadLimits::default(),
            head_timeout: secs(5),
            idle_timeout: secs(60),
            body_timeout: secs(5),
            body_rate_min: 240,
            connections_max: 1000,
            connections_per_client_max: 1000,
        }]
        .into(),
        router: Router::build(patterns).expect("routes").0,
        routes: [
            route("all", policies(), None),
            route("stored", policies(), Some(cache)),
            route("token", proving(token_policy(), "{jwt.sub}"), None),
            route("key", proving(key_policy(), "{key.owner}"), None),
            route("user", proving(user_policy(), "{basic.user}"), None),
        ]
        .into(),
        upstreams: [Arc::new(upstream)].into(),
        record: RecordPlan::new(&mut LabelBook::default(), &names, &[Name::new("origin")], false),
    }
}

/// Sends `request` and reads into `buf`, over and over, until what was read ends with `ending`.
fn exchange(stream: &mut TcpStream, buf: &mut [u8], (request, ending): (&[u8], &[u8])) -> usize {
    stream.write_all(request).expect("the gateway reads");
    let mut filled = 0;
    while !buf[..filled].ends_with(ending) {
        if filled > buf.len() / 2 {
            // The end may come in two reads.
            buf.copy_within(filled - ending.len()..filled, 0);
            filled = ending.len();
        }
        let read = match stream.read(&mut buf[filled..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.expect("the gateway answers"),
        };
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&buf[..filled]));
        filled += read;
    }
    filled
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[2] = payload.len() as u8;
    (frame[3], frame[4]) = (kind, flags);
    frame[5..9].copy_from_slice(&stream.to_be_bytes());
    frame[9..9 + payload.len()].copy_from_slice(payload);
    frame
}

/// `GET /small?x=1` at `example.test`, in HPACK: two entries of the static table, two literals.
const BLOCK: &[u8] = b"\x82\x86\x04\x0a/small?x=1\x01\x0cexample.test";

/// Sends `BLOCK` on `stream` and reads until the answer to it ends; a server's SETTINGS are acknowledged.
fn exchange_h2(wire: &mut TcpStream, buf: &mut [u8], stream: u32) {
    let request = frame(1, 0x5, stream, BLOCK);
    wire.write_all(&request[..9 + BLOCK.len()]).expect("the gateway reads");
    let mut filled = 0;
    loop {
        let whole = |at: usize, filled: usize, buf: &[u8]| {
            let bytes = (usize::from(buf[at + 1]) << 8 | usize::from(buf[at + 2])) + 9;
            (at + bytes <= filled).then_some(bytes)
        };
        let mut at = 0;
        while let Some(bytes) = (at + 9 <= filled).then(|| whole(at, filled, buf)).flatten() {
            let (kind, flags) = (buf[at + 3], buf[at + 4]);
            if (kind, flags & 1) == (4, 0) {
                wire.write_all(&frame(4, 1, 0, b"")[..9]).expect("the gateway reads");
            }
            if (kind, flags & 1) == (0, 1) {
                assert!(buf[..at + bytes].ends_with(ENDING));
                return;
            }
            at += bytes;
        }
        buf.copy_within(at..filled, 0);
        filled -= at;
        let read = wire.read(&mut buf[filled..]).expect("the gateway answers");
        assert!(read > 0, "closed");
        filled += read;
    }
}

/// Allocations of a warm exchange in HTTP/2: what the `h2` crate makes of two heads, one copy of the text of the
/// response's, and one of its body. None of them is the exchange's own.
const H2_ALLOCATIONS_MAX: u64 = 14;

fn allocations_in_h2(address: std::net::SocketAddr, buf: &mut [u8]) -> u64 {
    let mut wire = TcpStream::connect(address).expect("accepted");
    wire.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    wire.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the gateway reads");
    wire.write_all(&frame(4, 0, 0, b"")[..9]).expect("the gateway reads");
    let mut streams = (1..).step_by(2);
    streams.by_ref().take(500).for_each(|stream| exchange_h2(&mut wire, buf, stream));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    streams.take(1000).for_each(|stream| exchange_h2(&mut wire, buf, stream));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_warm_forwarded_request_allocates_nothing() {
    let origin = origin();
    let any = "127.0.0.1:0".parse().expect("an address");
    let socket = bind(&any, 1).expect("loopback").remove(0);
    let actual = bound_to(&any, &socket);
    let (reports, heard) = bounded(64);
    let (pages, _lines) = bounded(64);
    let birth = Birth {
        worker: WorkerId(0),
        cpu: None,
        driver: ring_flags().map_or(Driver::Epoll, Driver::IoUring),
        gateway: Arc::new(gateway(any.clone(), origin)),
        connections_max: 100,
        metrics: Arc::new(CoreMetrics::default()),
        listeners: vec![NewListener { address: Arc::new(any), socket, open: Arc::default() }],
        pages: Some(pages),
        reports,
    };
    let (voice, thread) = start(birth).expect("a thread");
    assert_eq!(heard.recv(), Ok(Report::Started { worker: WorkerId(0) }));
    let mut stream = TcpStream::connect(actual.tcp().expect("TCP")).expect("accepted");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut buf = [0; 64 * 1024];
    let kinds = kinds();
    let warm = exchange(&mut stream, &mut buf, (&kinds[0].0, kinds[0].1));
    let text = String::from_utf8_lossy(&buf[..warm]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let mut made = vec![0; kinds.len()];
    for (made, (request, ending)) in made.iter_mut().zip(&kinds) {
        let kind = (request.as_slice(), *ending);
        for _ in 0..500 {
            exchange(&mut stream, &mut buf, kind);
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..1000 {
            exchange(&mut stream, &mut buf, kind);
        }
        *made = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    let made_h2 = allocations_in_h2(actual.tcp().expect("TCP"), &mut buf);
    assert!(voice.tell(Order::Stop).is_ok());
    assert_eq!(thread.join(), Ended::Returned);
    let bound = 1000 * H2_ALLOCATIONS_MAX;
    assert!(made_h2 <= bound, "{made_h2} allocations in 1000 warm exchanges in HTTP/2");
    // Handing over a page of the access log at the core's tick is the only thing that may allocate.
    assert_eq!(made, vec![0; kinds.len()], "allocations in 1000 warm exchanges of each kind");
}
