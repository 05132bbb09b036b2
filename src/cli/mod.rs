//! From the command line to a command, and from its end to an exit code.
//!
//! Nothing here ever serves a request: commands are thin, and all they do can be called without them.

pub mod audit;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod hash_key;
pub mod hash_password;
pub mod openapi;
pub mod schema;
pub mod test;
pub mod version;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::{self, End, Options};
use crate::runtime::probe::DriverChoice;

/// Everything went well.
pub const OK: u8 = 0;
/// Something failed while running.
pub const FAILED: u8 = 1;
/// The command line is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// The host cannot run us (EX_UNAVAILABLE of sysexits.h).
pub const UNAVAILABLE: u8 = 69;
/// The configuration is wrong (EX_CONFIG of sysexits.h).
pub const CONFIG: u8 = 78;

const ABOUT: &str =
    "An API gateway: routing, aggregation and offloading, thread per core on io_uring";

const AFTER_HELP: &str = "\
First steps:
  ringway demo                                  see it work: three services, one merged call
  ringway check -c ringway.toml                 every mistake in a configuration, with its place
  ringway test -c ringway.toml                  play its [[test]] tables, without sockets
  ringway explain 'GET http://localhost/users'  which route wins and why, without sending anything
  ringway doctor                                what this host gives, and what to change; changes nothing
  ringway run -c ringway.toml                   serve

Signals: HUP reloads the configuration, USR1 opens log files again, TERM drains and ends, a second TERM ends at once.
Exit codes: 0 ok, 1 failed while running (or a test failed, or doctor found a problem), 2 usage, 69 this host cannot run us, 78 configuration.";

#[derive(Parser)]
#[command(name = "ringway", version, about = ABOUT, after_help = AFTER_HELP, max_term_width = 110)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve: read the configuration, open the listeners, start one worker per core
    Run(Run),
    /// Check a configuration and print every mistake with file, line and column
    Check(Check),
    /// List every route that asks for no credentials; fails if one does not say that it is open
    Audit(Audit),
    /// Make an API key: printed once, with the line for the file of keys
    HashKey(HashKey),
    /// Keep a password, read from standard input, as a line for a file of users ([basic.NAME])
    HashPassword(HashPassword),
    /// Play a configuration's own tests, without sockets and on virtual time
    Test(Test),
    /// Look at this host: what it gives to the gateway, what is wanted, why, and the command for it
    Doctor(Doctor),
    /// Show what would happen to a request: route, policies, upstream calls; nothing is sent
    Explain(Explain),
    /// Print the configuration language: JSON Schema for editors, or a reference page
    Schema(Schema),
    /// Write what clients see of this gateway as a document of another language
    Export(Export),
    /// Make upstream and routes from a document of another language; the result is printed
    Import(Import),
    /// Start three small services and the gateway in front of them, with lines to paste
    Demo(Demo),
    /// Print the version; with -v also commit, compiler, kernel and what io_uring offers here
    Version(Version),
}

#[derive(Args)]
struct Where {
    /// File or folder to read [default: ringway.toml here, then /etc/ringway/]
    #[arg(short, long, value_name = "FILE|DIR")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct WhereOrFile {
    #[command(flatten)]
    from: Where,
    /// The same without -c
    #[arg(value_name = "FILE|DIR", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl WhereOrFile {
    fn path(self) -> Option<PathBuf> {
        self.from.config.or(self.file)
    }
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    from: WhereOrFile,
    /// What the event loops run on; auto takes io_uring where the host allows it
    #[arg(long, value_enum, default_value = "auto")]
    driver: DriverName,
    /// How events are written to standard error
    #[arg(long, value_enum, default_value = "plain")]
    events: EventFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum DriverName {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    Plain,
    Json,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    from: WhereOrFile,
    /// Print diagnostics as JSON, for editors and pipelines
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Audit {
    #[command(flatten)]
    from: WhereOrFile,
    /// Fail also for open routes that say so
    #[arg(long)]
    strict: bool,
    /// Print the routes as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct HashKey {
    /// The [api_key.NAME] it is for [default: the only one]
    name: Option<String>,
    #[command(flatten)]
    from: Where,
    /// Whose key it is
    #[arg(long)]
    owner: String,
    /// What it may be used for; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The first day on which it does not hold any more
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
    /// How often it may be used: 100/s, 10/m, 1000/h, 5000/d
    #[arg(long, value_name = "RATE")]
    limit: Option<String>,
    /// How often at once after a pause [default: one second's worth]
    #[arg(long, value_name = "NUMBER")]
    burst: Option<String>,
}

#[derive(Args)]
struct HashPassword {
    /// Whose password it is
    #[arg(long)]
    user: String,
    /// Memory that a check takes [default: 19]
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// Passes over that memory [default: 2]
    #[arg(long, value_name = "NUMBER")]
    passes: Option<u32>,
}

#[derive(Args)]
struct Test {
    #[command(flatten)]
    from: WhereOrFile,
    /// Only tests whose names hold this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print outcomes and coverage as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 no problem, 1 a problem (with --strict also advice) or a change that failed, 78 the configuration.\nNothing here was measured on your machine; loadtest/ does that. Sources: tuning/README.md."
)]
struct Doctor {
    #[command(flatten)]
    from: WhereOrFile,
    /// Print the findings as JSON
    #[arg(long, group = "deed")]
    json: bool,
    /// Make the changes that are safe, as root; what was there before is remembered
    #[arg(long, group = "deed")]
    fix: bool,
    /// Print what --fix would do as a shell script, and the rest as comments
    #[arg(long, group = "deed")]
    script: bool,
    /// Undo what --fix did
    #[arg(long, group = "deed")]
    revert: bool,
    /// Explain every item, not only what is not as it should be
    #[arg(long)]
    all: bool,
    /// Fail also where there is only advice
    #[arg(long)]
    strict: bool,
    /// Look at the limits of a running process, not at those of this shell
    #[arg(long)]
    pid: Option<u32>,
    /// Look at the files of another host: a folder with its /proc, /sys and /etc
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Doctor {
    fn wishes(self) -> doctor::Wishes {
        let deeds = [
            (self.json, doctor::Deed::Json),
            (self.fix, doctor::Deed::Fix),
            (self.script, doctor::Deed::Script),
            (self.revert, doctor::Deed::Revert),
        ];
        let deed = deeds.into_iter().find(|(said, _)| *said).map(|(_, deed)| deed);
        doctor::Wishes {
            config: self.from.path(),
            root: self.root,
            pid: self.pid,
            deed: deed.unwrap_or_default(),
            all: self.all,
            strict: self.strict,
        }
    }
}

#[derive(Args)]
struct Explain {
    /// The request
    #[arg(
        value_name = "[FILE|DIR] REQUEST",
        num_args = 1..=2,
        required = true,
        help = "The request, as one text: 'GET http://api.example.com/dashboard?x=1'; the configuration may stand in front of it, without -c"
    )]
    words: Vec<String>,
    #[command(flatten)]
    config: Where,
    /// A header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A claim of a token taken as verified; may be given several times
    #[arg(long, value_name = "CLAIM=VALUE")]
    jwt: Vec<String>,
    /// The address that the request comes from: a client's, or that of a proxy in front
    #[arg(long, value_name = "ADDRESS")]
    from: Option<std::net::IpAddr>,
}

#[derive(Args)]
struct Schema {
    /// json: JSON Schema for editors; markdown: the reference page
    #[arg(long, value_enum, default_value = "json")]
    format: SchemaFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchemaFormat {
    Json,
    Markdown,
}

#[derive(Args)]
struct Export {
    #[command(subcommand)]
    what: ExportWhat,
}

#[derive(Subcommand)]
enum ExportWhat {
    /// An OpenAPI 3.1 document in JSON
    Openapi(ExportOpenapi),
}

#[derive(Args)]
struct ExportOpenapi {
    #[command(flatten)]
    from: WhereOrFile,
    /// The document's title [default: API]
    #[arg(long)]
    title: Option<String>,
    /// The API's version [default: 1.0.0]
    #[arg(long, value_name = "VERSION")]
    api_version: Option<String>,
    /// Only routes that this host reaches
    #[arg(long)]
    host: Option<String>,
}

#[derive(Args)]
struct Import {
    #[command(subcommand)]
    what: ImportWhat,
}

#[derive(Subcommand)]
enum ImportWhat {
    /// An OpenAPI 3 document in JSON or YAML
    Openapi(ImportOpenapi),
}

#[derive(Args)]
struct ImportOpenapi {
    /// The document
    file: PathBuf,
    /// The upstream's name [default: from the document's title]
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// The service's address [default: the document's first server]
    #[arg(long, value_name = "IP:PORT")]
    endpoint: Option<String>,
    /// What clients put in front of the document's paths
    #[arg(long, value_name = "/PATH")]
    prefix: Option<String>,
    /// The host of the routes [default: any]
    #[arg(long)]
    host: Option<String>,
    /// The [jwt.NAME] for operations that ask for a token
    #[arg(long, value_name = "NAME")]
    jwt: Option<String>,
}

#[derive(Args)]
struct Demo {
    /// Port of the gateway on loopback; a taken one is replaced by a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

#[derive(Args)]
struct Version {
    /// Also commit, compiler, kernel, cores and io_uring
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the command that the words say; returns the exit code.
pub fn run(words: impl Iterator<Item = OsString>) -> u8 {
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(USAGE);
        }
    };
    match line.command {
        Command::Run(run) => {
            let driver = match run.driver {
                DriverName::Auto => DriverChoice::Auto,
                DriverName::IoUring => DriverChoice::IoUring,
                DriverName::Epoll => DriverChoice::Epoll,
            };
            let events_as_json = run.events == EventFormat::Json;
            let options = Options { path: run.from.path(), driver, events_as_json, quiet: false };
            code(control::run(&options, || ()))
        }
        Command::Check(check) => said(check::run(check.from.path().as_deref(), check.json)),
        Command::Audit(Audit { from, strict, json }) => {
            said(audit::run(from.path().as_deref(), audit::Wishes { strict, json }))
        }
        Command::HashKey(HashKey { name, from, owner, scopes, until, limit, burst }) => {
            let wishes = hash_key::Wishes { name, owner, scopes, until, limit, burst };
            said(hash_key::run(from.config.as_deref(), &wishes))
        }
        Command::HashPassword(HashPassword { user, memory, passes }) => {
            said(hash_password::run(&hash_password::Wishes { user, memory_mib: memory, passes }))
        }
        Command::Test(Test { from, filter, json }) => {
            let wishes = test::Wishes { filter: filter.as_deref(), json };
            said(test::run(from.path().as_deref(), wishes))
        }
        Command::Explain(explain) => {
            let Explain { words, config, headers, jwt, from } = explain;
            let asked = explain::Asked { headers: &headers, claims: &jwt, from };
            said(match (words.as_slice(), &config.config) {
                ([request], config) => explain::run(config.as_deref(), request, asked),
                ([method, rest], None) if explain::is_method(method) => explain::usage(&format!(
                    "the request is one text, in quotes: `ringway explain '{method} {rest}'`"
                )),
                ([file, request], None) => explain::run(Some(file.as_ref()), request, asked),
                _ => explain::usage(
                    "the configuration is given twice, or the request is several texts",
                ),
            })
        }
        Command::Doctor(doctor) => said(doctor::run(&doctor.wishes())),
        Command::Schema(schema) => said(schema::run(schema.format == SchemaFormat::Markdown)),
        Command::Export(Export { what: ExportWhat::Openapi(export) }) => {
            let ExportOpenapi { from, title, api_version, host } = export;
            let about = openapi::export::About { title, version: api_version, host };
            said(openapi::export::run(from.path().as_deref(), &about))
        }
        Command::Import(Import { what: ImportWhat::Openapi(import) }) => {
            let ImportOpenapi { file, upstream, endpoint, prefix, host, jwt } = import;
            let wishes = openapi::import::Wishes { upstream, endpoint, prefix, host, jwt };
            said(openapi::import::run(&file, &wishes))
        }
        Command::Demo(demo) => demo::run(demo.port),
        Command::Version(version) => said(version::run(version.verbose)),
    }
}

/// The exit code of a process that ended so.
fn code(end: End) -> u8 {
    match end {
        End::Ok => OK,
        End::Failed => FAILED,
        End::Unavailable => UNAVAILABLE,
        End::Config => CONFIG,
    }
}

/// What a command has to say, and its exit code.
pub struct Said {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub code: u8,
}

fn said(said: Said) -> u8 {
    use std::io::Write;
    let _ = std::io::stderr().write_all(said.err.as_bytes());
    // A closed pipe (`ringway schema | head`) is no failure of ours.
    let _ = std::io::stdout().write_all(said.out.as_bytes());
    said.code
}
