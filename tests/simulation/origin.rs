//! Simulated origins: each answers what the request asks it to do, well or badly.
//!
//! Every answer names the request that it belongs to and what was read of it; an origin never answers
//! anything that it did not read.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringway::base::address::Address;
use ringway::base::buffer::BufferPool;
use ringway::runtime::simulated::{Bound, Simulated};
use ringway::runtime::{Listener, Runtime, Stream};

use crate::actions::{Act, Script};
use crate::model::Model;
use crate::wire::{Body, Gone, Head, Length, Pieces, Wire, digest, pattern};

/// Longer than any timeout of the gateway.
const FOR_EVER: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(3);

/// Accepts for ever.
pub fn start(host: &Simulated, address: &Address, bound: Bound, model: &Rc<RefCell<Model>>) {
    let listener = host.listen(address, bound).expect("a simulated socket");
    let (host, model) = (host.clone(), model.clone());
    let pool = BufferPool::new(64);
    host.clone().spawn(async move {
        while let Some(accepted) = listener.accept().await {
            let Ok(stream) = accepted else {
                host.sleep_until(host.now() + MOMENT).await;
                continue;
            };
            let wire = Wire::new(stream, &host, &pool);
            let model = model.clone();
            host.spawn(async move {
                let _ = serve(wire, &model).await;
            });
        }
    });
}

/// What a request asks for: its id, its part of a merge, and the script.
fn asked(head: &Head) -> Option<(String, char, Script)> {
    let target = head.first.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut segments = path.split('/').skip(1);
    match segments.next()? {
        "part" => {
            let part = segments.next()?.chars().next()?;
            let id = segments.next()?.to_string();
            let mut script = Script::parse(segments.next()?)?;
            if script.part != part {
                script.act = Act::Length;
            }
            Some((id, part, script))
        }
        _ => {
            let script = Script::parse(query.strip_prefix("s=")?)?;
            Some((segments.next()?.to_string(), '-', script))
        }
    }
}

async fn serve(mut wire: Wire, model: &Rc<RefCell<Model>>) -> Result<(), Gone> {
    loop {
        let head = match wire.head().await? {
            Ok(head) => head,
            Err(what) => {
                model.borrow_mut().fail(format!("an origin got {what}"));
                return Ok(());
            }
        };
        let Some((id, part, script)) = asked(&head) else {
            model.borrow_mut().fail(format!("an origin got {head:?}"));
            return Ok(());
        };
        model.borrow_mut().delivered(&id, part, &head);
        let length = match head.length(Length::Exact(0)) {
            Ok(length) => length,
            Err(what) => {
                model.borrow_mut().fail(format!("{id}: an origin got {what}"));
                return Ok(());
            }
        };
        let mut body = Body::new(length);
        if !script.is_early() {
            read_body(&mut wire, &mut body, &id, model).await?;
            if part == '-' {
                model.borrow_mut().delivered_body(&id, &body.bytes);
            }
        }
        let reply = Reply::new(&head, &id, part, script, &digest(&body.bytes));
        if !reply.act(&wire).await? {
            return Ok(());
        }
        if script.act == Act::Early {
            read_body(&mut wire, &mut body, &id, model).await?;
        }
    }
}

async fn read_body(
    wire: &mut Wire,
    body: &mut Body,
    id: &str,
    model: &Rc<RefCell<Model>>,
) -> Result<(), Gone> {
    loop {
        match body.feed(&mut wire.input) {
            Ok(true) => return Ok(()),
            Ok(false) => wire.more().await?,
            Err(what) => {
                model.borrow_mut().fail(format!("{id}: an origin got {what}"));
                return Err(Gone::End);
            }
        }
    }
}

struct Reply {
    act: Act,
    head_only: bool,
    lines: String,
    body: Vec<u8>,
}

impl Reply {
    fn new(head: &Head, id: &str, part: char, script: Script, read: &str) -> Reply {
        let body = match part {
            '-' => pattern(id, script.size),
            _ => {
                let pad = "p".repeat(script.size);
                format!("{{\"id\":\"{id}\",\"part\":\"{part}\",\"pad\":\"{pad}\"}}").into_bytes()
            }
        };
        let lines =
            format!("x-sim-id: {id}\r\nx-request-id: not-{id}\r\nx-sim-request: {read}\r\n");
        Reply { act: script.act, head_only: head.first.starts_with("HEAD "), lines, body }
    }

    fn head(&self, status: &str, framing: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\n{}{framing}\r\n", self.lines).into_bytes()
    }

    fn with_length(&self) -> Vec<u8> {
        let mut out = self.head("200 OK", &format!("content-length: {}\r\n", self.body.len()));
        self.add_body(&mut out);
        out
    }

    fn add_body(&self, out: &mut Vec<u8>) {
        if !self.head_only {
            out.extend_from_slice(&self.body);
        }
    }

    fn chunked(&self, trailers: &str) -> Vec<u8> {
        let mut out = self.head("200 OK", "transfer-encoding: chunked\r\n");
        if self.head_only {
            return out;
        }
        for piece in self.body.chunks(700) {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        out
    }

    /// Does it; whether the connection goes on.
    async fn act(&self, wire: &Wire) -> Result<bool, Gone> {
        match self.act {
            Act::Length | Act::Early => self.send(wire, &self.with_length()).await,
            Act::Chunked => self.send(wire, &self.chunked("")).await,
            Act::Trailers => self.send(wire, &self.chunked("x-sim-trailer: t\r\n")).await,
            Act::NoContent => self.send(wire, &self.head("204 No Content", "")).await,
            Act::NotModified => self.send(wire, &self.head("304 Not Modified", "")).await,
            Act::Interim => {
                wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", Pieces::WHOLE).await?;
                wire.pause(MOMENT).await;
                self.send(wire, &self.with_length()).await
            }
            Act::Slow => {
                let bytes = self.chunked("");
                let bytes_max = bytes.len().div_ceil(6);
                let pause = Duration::from_millis(40);
                wire.send(&bytes, Pieces { bytes_max, pause }).await?;
                Ok(true)
            }
            _ => self.act_and_end(wire).await,
        }
    }

    async fn send(&self, wire: &Wire, bytes: &[u8]) -> Result<bool, Gone> {
        wire.send(bytes, Pieces::WHOLE).await?;
        Ok(true)
    }

    async fn act_and_end(&self, wire: &Wire) -> Result<bool, Gone> {
        let whole = self.with_length();
        let head_bytes = whole.len() - if self.head_only { 0 } else { self.body.len() };
        let mid_body = head_bytes + (whole.len() - head_bytes) / 2;
        let mid_head = head_bytes / 2;
        let part = match self.act {
            Act::Close | Act::EarlyClose => {
                let framing =
                    format!("connection: close\r\ncontent-length: {}\r\n", self.body.len());
                let mut out = self.head("200 OK", &framing);
                self.add_body(&mut out);
                out
            }
            Act::UntilClose | Act::ResetUntilClose => {
                let mut out = self.head("200 OK", "connection: close\r\n");
                self.add_body(&mut out);
                out
            }
            Act::ResetMidHead | Act::CutMidHead => whole[..mid_head].to_vec(),
            Act::ResetMidBody | Act::CutMidBody | Act::Stall => whole[..mid_body].to_vec(),
            Act::CutMidChunk => {
                let chunked = self.chunked("");
                chunked[..chunked.len() - 4].to_vec()
            }
            Act::Silent | Act::NoAnswer => Vec::new(),
            Act::Garbage => b"HTTP/1.1 200 OK\r\nthis is no field\r\n\r\n".to_vec(),
            // In one write, so that it is there when the answer is: what comes later can meet a request
            // that is on its way, and no gateway could tell.
            Act::Poison if whole.len() < 30_000 => [&whole[..], POISON].concat(),
            _ => whole.clone(),
        };
        wire.send(&part, Pieces::WHOLE).await?;
        match self.act {
            // An answer without a body is whole already: silence would be about the next request.
            Act::Stall if mid_body == whole.len() => {}
            Act::Silent | Act::Stall => wire.pause(FOR_EVER).await,
            Act::CloseKeptLater => wire.pause(MOMENT).await,
            Act::Poison => return Ok(true),
            Act::PoisonLater => {
                wire.pause(MOMENT).await;
                if wire.stream.is_quiet() {
                    wire.send(POISON, Pieces::WHOLE).await?;
                }
                return Ok(true);
            }
            Act::ResetMidHead | Act::ResetMidBody | Act::ResetUntilClose => {
                wire.stream.reset_on_close();
            }
            _ => {}
        }
        Ok(false)
    }
}

const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nx-sim-id: POISON\r\ncontent-length: 6\r\n\r\nPOISON";
