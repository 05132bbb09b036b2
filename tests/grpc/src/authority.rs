//! A certificate authority for a test, by `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tonic::transport::{Certificate, Identity};

/// Certificates in a folder of their own: `root.pem`, `server.pem` and `server.key` for `localhost`.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("ringway-grpc-ca-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let authority = Authority { folder };
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        authority
            .openssl(&format!("req -x509 {curve} -subj /CN=root -keyout root.key -out root.pem"));
        authority.openssl(&format!(
            "req -x509 {curve} -subj /CN=localhost -addext subjectAltName=DNS:localhost \
             -addext basicConstraints=CA:FALSE -CA root.pem -CAkey root.key -keyout server.key -out server.pem"
        ));
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn root(&self) -> Certificate {
        Certificate::from_pem(self.read("root.pem"))
    }

    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.read("server.pem"), self.read("server.key"))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(Path::new(&self.folder).join(name)).expect("made above")
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ').filter(|word| !word.is_empty()));
        command.current_dir(&self.folder).stderr(Stdio::null());
        assert!(command.status().expect("openssl is installed").success(), "{arguments}");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
