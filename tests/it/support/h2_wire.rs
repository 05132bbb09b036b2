//! A client of HTTP/2 made of raw frames (RFC 9113): it sends whatever a test wants, legal or not.
//!
//! Fields go out as literals without Huffman coding, so that a test says exactly which bytes arrive; of answers the
//! status, the body and the frames are read. It never uses the library that the gateway uses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 32;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a stream was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With a status and a body.
    Response(u16, Vec<u8>),
    /// With RST_STREAM.
    Reset(u32),
    /// With GOAWAY, or the connection's end.
    Goaway(u32),
}

/// A connection.
pub struct H2Wire {
    stream: Box<dyn Duplex>,
    /// Answers the gateway's SETTINGS and PINGs by itself.
    pub polite: bool,
}

/// What carries frames.
trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn integer(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return bytes.push(value as u8);
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// The pseudo-header fields of a request, with further ones.
pub fn request<'a>(
    method: &'a str,
    path: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path)];
    let mut fields = pseudo.to_vec();
    fields.push((":authority", "a.test"));
    fields.extend(more);
    fields
}

#[track_caller]
fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl H2Wire {
    /// Connects, and sends preface and SETTINGS without a dynamic table for answers.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> H2Wire {
        let mut wire = H2Wire::silent(address);
        let no_table = [0, 1, 0, 0, 0, 0];
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &no_table)].concat());
        wire
    }

    /// Connects and sends nothing.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> H2Wire {
        H2Wire { stream: Box::new(connected(address)), polite: true }
    }

    /// Connects over TLS to `a.test`, with HTTP/2 chosen by ALPN, and sends nothing.
    #[track_caller]
    pub fn silent_over_tls(address: SocketAddr, root: &Path) -> H2Wire {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).expect("a root")).expect("a good root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("a.test").expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut tcp = connected(address);
        while session.is_handshaking() {
            session.complete_io(&mut tcp).expect("a handshake");
        }
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        H2Wire { stream: Box::new(StreamOwned::new(session, tcp)), polite: true }
    }

    /// The other side of a connection: an origin's, that begins with these SETTINGS.
    #[track_caller]
    pub fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> H2Wire {
        let (stream, _) = listener.accept().expect("the gateway connects");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = H2Wire { stream: Box::new(stream), polite: true };
        let mut preface = [0; PREFACE.len()];
        wire.stream.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        wire.send(frame(SETTINGS, 0, 0, &payload));
        wire
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway takes it");
        self.stream.flush().expect("the gateway takes it");
    }

    /// Sends, though the gateway may have closed already; whether it took it.
    pub fn send_perhaps(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok() && self.stream.flush().is_ok()
    }

    /// A request without a body.
    #[track_caller]
    pub fn get(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) {
        self.headers(stream, &request("GET", path, more), true);
    }

    /// HEADERS with these fields.
    #[track_caller]
    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ended: bool) {
        let flags = END_HEADERS | if ended { END_STREAM } else { 0 };
        self.send(frame(HEADERS, flags, stream, &block(fields)));
    }

    #[track_caller]
    pub fn data(&mut self, stream: u32, bytes: &[u8], ended: bool) {
        self.send(frame(DATA, u8::from(ended), stream, bytes));
    }

    /// The next frame; `None` when the connection is over.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if let Err(error) = self.stream.read_exact(&mut head) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "waited in vain for a frame");
            return None;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if self.polite && frame.flags & ACK == 0 && matches!(frame.kind, SETTINGS | PING) {
            let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
            self.send_perhaps(self::frame(frame.kind, ACK, 0, payload));
        }
        Some(frame)
    }

    /// Reads to the connection's end; whether it came as an end, and not as a reset or, over TLS, without a word.
    #[track_caller]
    pub fn ends_well(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    let waits = error.kind() == std::io::ErrorKind::WouldBlock;
                    assert!(!waits, "waited in vain for the connection's end");
                    return false;
                }
            }
        }
    }

    /// The next frame of this kind.
    #[track_caller]
    pub fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().unwrap_or_else(|| panic!("closed before a frame {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// How this stream is answered; frames of others are passed over.
    #[track_caller]
    pub fn answer(&mut self, stream: u32) -> Answer {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let Some(frame) = self.frame() else { return Answer::Goaway(u32::MAX) };
            match frame.kind {
                GOAWAY if reason(&frame, 4) != 0 => return Answer::Goaway(reason(&frame, 4)),
                _ if frame.stream != stream => continue,
                RST_STREAM => return Answer::Reset(reason(&frame, 0)),
                HEADERS if status < 200 => status = status_of(&frame.payload),
                DATA => body.extend(&frame.payload),
                _ => {}
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS) {
                return Answer::Response(status, body);
            }
        }
    }

    /// Why the connection is over; 0 when it ended without an error.
    #[track_caller]
    pub fn farewell(&mut self) -> u32 {
        let mut why = 0;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY {
                why = reason(&frame, 4);
            }
        }
        why
    }
}

/// An error code in a frame's payload.
pub fn reason(frame: &Frame, at: usize) -> u32 {
    let bytes = frame.payload[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(bytes)
}

/// The status of a response, which is its first field.
pub fn status_of(block: &[u8]) -> u16 {
    // Changes of the size of the table come first (RFC 7541 §6.3).
    let at = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a field");
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block[at] {
        byte @ 0x88..=0x8e => known[usize::from(byte - 0x88)],
        // A literal whose name is the eighth of the static table.
        0x08 | 0x18 | 0x48 => digits(&block[at + 1..]),
        other => panic!("no status but {other:#x} at the front of {block:?}"),
    }
}

/// Three digits, with or without Huffman coding.
fn digits(text: &[u8]) -> u16 {
    if text[0] & 0x80 == 0 {
        return std::str::from_utf8(&text[1..4]).unwrap().parse().unwrap();
    }
    let length = usize::from(text[0] & 0x7f);
    let bits: String = text[1..=length].iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        // 0, 1 and 2 have five bits; 3 to 9 have six, from 011001 on (RFC 7541 Appendix B).
        let five = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            at += 6;
            u16::from_str_radix(&bits[at - 6..at], 2).unwrap() - 0x19 + 3
        };
        status = status * 10 + digit;
    }
    status
}
