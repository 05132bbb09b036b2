//! `load`: the load generator's command line. `load --help` says everything; loopback only unless `--remote`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ringway_loadtest::bounds::*;
use ringway_loadtest::drive::{self, Requests};
use ringway_loadtest::plan::{Expect, Line, Mix, Plan, Request, Target, turns};
use ringway_loadtest::record::Record;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// Loads an HTTP server and says what came of it.
///
/// With --rate the loop is open: starts come at that rate whatever happens, and latency counts from the start that was
/// meant, so that a server that stands still cannot hide it (coordinated omission). Without it the loop is closed: every
/// connection asks again as soon as it was answered, which finds the largest throughput and says little about latency.
#[derive(Parser)]
#[command(name = "load", version)]
struct Arguments {
    /// http://HOST[:PORT]/PATH or https://…
    url: String,
    /// Requests a second in all: an open loop. A closed one without it.
    #[arg(long, short)]
    rate: Option<f64>,
    /// Connections that carry load.
    #[arg(long, short, default_value_t = 64)]
    connections: usize,
    #[arg(long, short, default_value_t = 1)]
    threads: usize,
    /// Seconds that are measured.
    #[arg(long, short, default_value_t = 5.0)]
    secs: f64,
    /// Seconds before that, which are not.
    #[arg(long, default_value_t = 0.0)]
    warm: f64,
    /// At most this many requests.
    #[arg(long, short = 'n', default_value_t = REQUESTS_MAX)]
    requests: u64,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
    /// HTTP/2: by prior knowledge without TLS, by ALPN with it.
    #[arg(long)]
    http2: bool,
    /// Streams at once on each connection of HTTP/2.
    #[arg(long, short = 'm', default_value_t = 1)]
    streams: usize,
    /// A field of every request, `Name: value`. `{unique}` in it stands for a number that never comes again.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    #[arg(long, short = 'X', default_value = "GET")]
    method: String,
    /// Bytes of every request's body.
    #[arg(long, default_value_t = 0)]
    body: usize,
    /// A line of a mix, in place of the URL's path: `[WEIGHT] METHOD PATH [BODY_BYTES]`, with `{A..B}` for numbers.
    #[arg(long = "mix")]
    mix: Vec<String>,
    /// A new connection after so many requests; 0 never.
    #[arg(long, default_value_t = 0)]
    churn: u64,
    /// The only status that is right; learnt from the first answer without it.
    #[arg(long)]
    expect_status: Option<u16>,
    /// The only length that is right; learnt without it.
    #[arg(long)]
    expect_length: Option<u64>,
    /// XXH3 of the only body that is right, 16 hexadecimal digits; learnt without it.
    #[arg(long)]
    expect_hash: Option<String>,
    /// Bodies may differ.
    #[arg(long)]
    any_body: bool,
    /// The certificates (PEM) that the server's must lead to; needed for https.
    #[arg(long)]
    ca: Option<String>,
    /// No session is taken up again: every connection is a full handshake.
    #[arg(long)]
    no_resumption: bool,
    /// The address is not loopback, and the host is mine to load.
    #[arg(long)]
    remote: bool,
    /// One JSON object on standard output in place of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            eprintln!("load: {what}");
            ExitCode::from(2)
        }
    }
}

/// Whether anything was answered.
fn run(arguments: &Arguments) -> Result<bool, String> {
    raise_descriptor_limit();
    let plan = plan(arguments)?;
    let requests: Vec<Requests> =
        (0..plan.threads).map(|_| Requests::new(&plan)).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let records: Vec<Result<Record, String>> = std::thread::scope(|scope| {
        let plan = &plan;
        let threads = requests.iter().enumerate();
        let threads: Vec<_> = threads
            .map(|(index, requests)| {
                scope.spawn(move || drive::run(plan, requests, index, started))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    });
    let mut merged = Record::new(plan.mix.expect.clone(), 0);
    for record in records {
        merged.merge(record?);
    }
    // A run that ended by its count is as long as it took, and one whose server was behind as long as it answered.
    let length = started.elapsed().min(plan.length).max(merged.last_answer());
    let measured = length.saturating_sub(plan.warm).as_secs_f64().max(1e-9);
    match arguments.json {
        false => print!("{}", merged.to_text(measured)),
        true => {
            let mut out = merged.to_json(measured);
            out.insert("url".into(), json!(arguments.url));
            out.insert("loop".into(), json!(if plan.rate.is_some() { "open" } else { "closed" }));
            out.insert("asked_rate".into(), json!(plan.rate));
            println!("{}", Value::Object(out));
        }
    }
    Ok(merged.answers() > 0)
}

fn plan(arguments: &Arguments) -> Result<Plan, String> {
    let target = Target::parse(&arguments.url, arguments.remote)?;
    bound("--connections", arguments.connections, 1, CONNECTIONS_MAX)?;
    bound("--threads", arguments.threads, 1, THREADS_MAX.min(arguments.connections))?;
    bound("--streams", arguments.streams, 1, STREAMS_MAX)?;
    bound("--requests", arguments.requests, 1, REQUESTS_MAX)?;
    bound("--rate", arguments.rate.unwrap_or(1.0), f64::MIN_POSITIVE, RATE_MAX)?;
    bound("--secs", arguments.secs, 0.0, RUN_MAX.as_secs_f64() - arguments.warm)?;
    bound("--timeout", arguments.timeout, 0.0, TIMEOUT_MAX.as_secs_f64())?;
    let tls = match (target.https, &arguments.ca) {
        (false, _) => None,
        (true, None) => {
            return Err("https needs --ca FILE: what the server's certificate must lead to".into());
        }
        (true, Some(file)) => Some(Arc::new(tls(file, arguments)?)),
    };
    let warm = Duration::from_secs_f64(arguments.warm);
    Ok(Plan {
        address: target.address,
        tls,
        http2: arguments.http2,
        streams: arguments.streams,
        rate: arguments.rate,
        connections: arguments.connections,
        threads: arguments.threads,
        warm,
        length: warm + Duration::from_secs_f64(arguments.secs),
        requests_max: arguments.requests,
        timeout: Duration::from_secs_f64(arguments.timeout),
        churn: arguments.churn,
        mix: mix(arguments, &target)?,
        authority: target.authority,
    })
}

fn bound<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), String> {
    match value >= least && value <= most {
        true => Ok(()),
        false => Err(format!("{name} {value}: from {least} to {most}")),
    }
}

fn mix(arguments: &Arguments, target: &Target) -> Result<Mix, String> {
    let mut lines =
        arguments.mix.iter().map(|text| Line::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if lines.is_empty() {
        let (method, paths) = (arguments.method.clone(), vec![target.path.clone()]);
        lines.push(Line { weight: 1, method, paths, body_bytes: arguments.body });
    }
    let fields = arguments.headers.iter().map(|field| {
        let (name, value) =
            field.split_once(':').ok_or_else(|| format!("`{field}`: Name: value"))?;
        Ok((name.trim().to_string(), value.trim().to_string()))
    });
    let fields = fields.collect::<Result<Vec<_>, String>>()?;
    let hash = arguments.expect_hash.as_deref().map(|text| u64::from_str_radix(text, 16));
    let expect = Expect {
        status: arguments.expect_status,
        length: arguments.expect_length,
        hash: hash.transpose().map_err(|_| "--expect-hash: 16 hexadecimal digits")?,
        any_body: arguments.any_body,
    };
    let mut requests = Vec::new();
    for (line, path) in turns(&lines) {
        let from = &lines[line];
        bound("a body of", from.body_bytes, 0, BODY_MAX)?;
        requests.push(Request {
            method: from.method.clone(),
            path: from.paths[path].clone(),
            fields: fields.clone(),
            body: (0..from.body_bytes).map(|at| b'a' + (at % 26) as u8).collect(),
            line,
        });
    }
    Ok(Mix { requests, expect: vec![expect; lines.len()] })
}

fn tls(file: &str, arguments: &Arguments) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| format!("{file}: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("{file}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols =
        vec![if arguments.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    if arguments.no_resumption {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Ok(config)
}

/// As many descriptors as the system lets us have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
