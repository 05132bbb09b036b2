//! `ringway demo`: three real services, the gateway in front of them, and a screen to paste from.
//!
//! It never leaves loopback, never needs anything installed, and never shows more than one screen. The
//! configuration it runs is a file like any other, printed to be copied and edited.

mod services;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::cli::demo::services::Services;
use crate::cli::{FAILED, code};
use crate::control::{self, Options};
use crate::runtime::probe::DriverChoice;
use crate::runtime::{clock, entropy};

/// The demo's configuration; the words in capitals are filled in.
const TEMPLATE: &str = include_str!("ringway.toml");

/// How long the printed token holds. Unit: seconds.
const TOKEN_SECS: u64 = 24 * 3600;

/// Starts everything, prints the screen, serves until Ctrl-C; returns the exit code.
pub fn run(port: u16) -> u8 {
    match prepare(port) {
        Ok(demo) => demo.serve(),
        Err(error) => {
            eprintln!("error: the demo cannot start: {error}");
            FAILED
        }
    }
}

struct Demo {
    folder: PathBuf,
    config: PathBuf,
    port: u16,
    wanted: u16,
    token: String,
    _services: Services,
}

fn prepare(wanted: u16) -> io::Result<Demo> {
    let services = Services::start()?;
    let port = free_port(wanted)?;
    let admin = free_port(9901)?;
    let secret = format!("{:016x}{:016x}", entropy::seed(), entropy::seed());
    let folder = std::env::temp_dir().join(format!("ringway-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("ringway.toml");
    let text = TEMPLATE
        .replace("PORT", &port.to_string())
        .replace("ADMIN", &admin.to_string())
        .replace("USER", &services.user.to_string())
        .replace("ORDER", &services.order.to_string())
        .replace("NOTIF", &services.notif.to_string())
        .replace("SECRET", &secret)
        .replace("FOLDER", &folder.display().to_string());
    std::fs::write(&config, text)?;
    let token = sign(&secret)?;
    Ok(Demo { folder, config, port, wanted, token, _services: services })
}

/// The port wanted if nobody has it, else one that the kernel chooses.
fn free_port(wanted: u16) -> io::Result<u16> {
    let try_port = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = try_port(wanted).or_else(|_| try_port(0))?;
    Ok(listener.local_addr()?.port())
}

fn sign(secret: &str) -> io::Result<String> {
    let expires = clock::wall().as_secs() + TOKEN_SECS;
    let claims = json!({ "iss": "ringway-demo", "aud": "dashboard", "sub": "42", "exp": expires });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)
}

impl Demo {
    fn serve(&self) -> u8 {
        let options = Options {
            path: Some(self.config.clone()),
            driver: DriverChoice::Auto,
            events_as_json: false,
            quiet: true,
        };
        let end = control::run(&options, || {
            let screen = self.screen();
            let mut out = io::stdout().lock();
            let _ = out.write_all(screen.as_bytes()).and_then(|()| out.flush());
        });
        forget(&self.folder);
        code(end)
    }

    /// The first screen: everything a person needs, and nothing else.
    fn screen(&self) -> String {
        let Self { port, token, config, .. } = self;
        let url = format!("http://127.0.0.1:{port}/dashboard");
        let moved = if self.port == self.wanted {
            String::new()
        } else {
            format!(" (port {} is taken)", self.wanted)
        };
        let config = config.display();
        format!(
            "
Ringway demo: {url}{moved}
Three services behind it (user, order, notif); `order` is slow now and then, `notif` fails now and then.
Configuration, to copy and edit: {config}

Paste this first; it is a signed token for user 42:

  TOKEN={token}

One call, three services in parallel, one answer:

  curl -s {url} -H \"Authorization: Bearer $TOKEN\"

Without a token, 401:

  curl -i {url}

Every few calls a part is missing, and the answer says which (gateway-partial):

  for i in 1 2 3 4 5 6; do curl -si {url} -H \"Authorization: Bearer $TOKEN\" | grep -iE '^gateway-partial|^\\{{'; sleep 0.3; done

Too many calls, 429:

  for i in $(seq 30); do curl -s -o /dev/null -w '%{{http_code}} ' {url} -H \"Authorization: Bearer $TOKEN\"; done; echo

Ctrl-C ends it.
"
        )
    }
}

/// Removes what the demo wrote; a folder that somebody put something into stays.
fn forget(folder: &Path) {
    let _ = std::fs::remove_file(folder.join("ringway.toml"));
    let _ = std::fs::remove_file(folder.join("access.log"));
    let _ = std::fs::remove_dir(folder);
}
