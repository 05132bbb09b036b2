//! Connections that only stand: each asks once, so that the server has seen a whole exchange, and then says nothing.
//!
//! HTTP/1.1 without TLS. Opened one after the other before the run, by blocking calls; never more than asked for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::answer::{Answer, Progress};

/// Opens them; they close when what is returned is dropped.
pub fn open(count: usize, address: SocketAddr, authority: &str, path: &str) -> Result<Vec<TcpStream>, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut bytes = vec![0; 1 << 16];
    let mut open = Vec::with_capacity(count);
    for at in 0..count {
        let failed = |what: String| format!("idle connection {at}: {what}");
        let mut one = || -> Result<TcpStream, String> {
            let text = |error: std::io::Error| error.to_string();
            let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(text)?;
            socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
            socket.write_all(request.as_bytes()).map_err(text)?;
            let mut answer = Answer::default();
            answer.expect(false);
            loop {
                let came = socket.read(&mut bytes).map_err(text)?;
                if came == 0 {
                    return Err("closed".into());
                }
                match answer.feed(&bytes[..came]).map_err(str::to_string)? {
                    Progress::More => {}
                    Progress::Done { keep_alive: true, .. } => return Ok(socket),
                    Progress::Done { .. } => return Err("not kept alive".into()),
                }
            }
        };
        open.push(one().map_err(failed)?);
    }
    Ok(open)
}
