//! A Redis of a test's own: Debian's `redis-server` on a free port, nothing kept on disk.
//!
//! It can be killed and started again on the same port, and stopped in its tracks (SIGSTOP) as a store does that
//! is there and never answers. It never outlives its test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::eventually;
use super::gateway::{Folder, Port};

/// A running Redis.
pub struct Redis {
    pub address: SocketAddr,
    child: Option<Child>,
    arguments: Vec<String>,
    folder: Folder,
    _port: Port,
}

impl Redis {
    /// Without a password.
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    /// With these arguments besides.
    pub fn with(arguments: &[&str]) -> Redis {
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        let arguments = arguments.iter().map(|text| text.to_string()).collect();
        let mut redis =
            Redis { address, child: None, arguments, folder: Folder::new(), _port: port };
        redis.revive();
        redis
    }

    /// Where its Unix socket is.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts it (again), empty, and waits until it answers.
    pub fn revive(&mut self) {
        let mut command = Command::new("redis-server");
        // SAFETY: prctl is one system call and touches nothing of ours. A test that is killed must not leave a
        // Redis behind that holds what it inherited.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command
            .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args(["--unixsocket", &self.socket().display().to_string()])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/run installs it)");
        self.child = Some(child);
        eventually("Redis answers", || self.say("PING\r\n").is_some());
    }

    /// What it says to an inline command.
    pub fn say(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(command.as_bytes()).ok()?;
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).ok().filter(|read| *read > 0)?;
        Some(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It is there and does nothing any more.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let pid = self.child.as_ref().expect("it runs").id();
        // SAFETY: the process is a child of ours that was not waited for.
        assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
