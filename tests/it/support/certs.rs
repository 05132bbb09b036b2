//! Certificates made for one test by `openssl`: roots, servers, clients; RSA and elliptic curves.
//!
//! Nothing is kept: a certificate that a test needs is made in the test's folder, and no key ever stands in the
//! repository.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::gateway::Folder;

/// A folder with an authority and what it signed.
pub struct Authority {
    folder: Folder,
}

impl Authority {
    /// A new root.
    #[track_caller]
    pub fn new() -> Authority {
        let authority = Authority { folder: Folder::new() };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN=Test-Root -keyout root.key -out root.pem",
        );
        authority
    }

    /// A certificate for these names, with a key of elliptic curves.
    #[track_caller]
    pub fn server(&self, file: &str, names: &str) -> &Self {
        self.signed(file, names, "ec -pkeyopt ec_paramgen_curve:P-256", "30")
    }

    /// The same with an RSA key.
    #[track_caller]
    pub fn server_rsa(&self, file: &str, names: &str) -> &Self {
        self.signed(file, names, "rsa:2048", "30")
    }

    /// A certificate that holds for so many days.
    #[track_caller]
    pub fn server_for(&self, file: &str, names: &str, days: &str) -> &Self {
        self.signed(file, names, "ec -pkeyopt ec_paramgen_curve:P-256", days)
    }

    #[track_caller]
    fn signed(&self, file: &str, names: &str, key: &str, days: &str) -> &Self {
        let first = names.split(',').next().unwrap_or_default();
        let common = first.split_once(':').map_or(first, |(_, name)| name).replace('*', "any");
        self.openssl(&format!(
            "req -new -newkey {key} -nodes -subj /O=Test/CN={common} -keyout {file}.key -out {file}.csr"
        ));
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.path("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA root.pem -CAkey root.key -CAcreateserial -days {days} \
             -extfile extensions -out {file}.pem"
        ));
        self
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its folder as text, for a configuration.
    pub fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Runs `openssl` in the folder; what it printed.
    #[track_caller]
    pub fn openssl(&self, arguments: &str) -> String {
        let (good, text) = run(self.folder.path(), "openssl", arguments, "");
        assert!(good, "openssl {arguments}\n{text}");
        text
    }

    /// The same at another time: `-10d` is ten days ago.
    #[track_caller]
    pub fn openssl_before(&self, when: &str, arguments: &str) -> String {
        let arguments = format!("-f {when} openssl {arguments}");
        let (good, text) = run(self.folder.path(), "faketime", &arguments, "");
        assert!(good, "{arguments}\n{text}");
        text
    }

    /// Runs `openssl s_client` against an address, with these lines to send; whether it succeeded, and all that it
    /// printed.
    #[track_caller]
    pub fn s_client(&self, arguments: &str, input: &str) -> (bool, String) {
        let arguments = format!("s_client -CAfile root.pem -verify_return_error {arguments}");
        run(self.folder.path(), "openssl", &arguments, input)
    }

    /// Runs `curl`; whether it succeeded, and all that it printed.
    #[track_caller]
    pub fn curl(&self, arguments: &str) -> (bool, String) {
        run(
            self.folder.path(),
            "curl",
            &format!("-sS --max-time 20 --cacert root.pem {arguments}"),
            "",
        )
    }
}

/// Runs a program to its end.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &str, input: &str) -> (bool, String) {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments.split_ascii_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let mut stdin = child.stdin.take().expect("piped above");
    // A program that ended early reads nothing, and says why in what it printed.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A connection of `openssl s_client` that stays open.
pub struct Kept {
    child: Child,
}

impl Authority {
    /// Opens a connection that several requests go through, one after the other.
    #[track_caller]
    pub fn keep_open(&self, arguments: &str) -> Kept {
        let child = Command::new("openssl")
            .args(["s_client", "-quiet", "-CAfile", "root.pem"])
            .args(arguments.split_ascii_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is needed for this test");
        Kept { child }
    }
}

impl Kept {
    /// Sends a request and reads its answer, whose length is said; what there was when the connection ended.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> String {
        use std::io::{Read, Write};
        let stdin = self.child.stdin.as_mut().expect("piped above");
        let _ = stdin.write_all(request.as_bytes());
        let _ = stdin.flush();
        let stdout = self.child.stdout.as_mut().expect("piped above");
        let (mut text, mut byte) = (String::new(), [0]);
        let mut left = usize::MAX;
        while left > 0 && matches!(stdout.read(&mut byte), Ok(1)) {
            text.push(char::from(byte[0]));
            left = left.saturating_sub(1);
            if left > 1 << 32 && text.ends_with("\r\n\r\n") {
                let lower = text.to_ascii_lowercase();
                let length = lower.split("content-length: ").nth(1).unwrap_or("0");
                left = length.split("\r\n").next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
        }
        text
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
