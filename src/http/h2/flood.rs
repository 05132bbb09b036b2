//! Counts the frames of one peer, so that those which cost much and mean little are noticed (RFC 9113 §10.5), and
//! finds the mistakes that the `h2` crate overlooks or calls by another name (§4.2, §5.1, §6).
//!
//! Only frame headers are looked at, and the values of SETTINGS; nothing is ever kept of a payload. Header blocks are
//! passed on to `blocks.rs`. Each kind has a budget that grows with
//! time and with honest work (streams, data), so that a long-lived connection is not punished for its age, and
//! is spent by each frame. What the `h2` crate bounds by itself (CONTINUATION, header lists, small DATA frames)
//! is not bounded twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{
    H2_EMPTY_FRAMES_BURST, H2_ENDED_FOLLOWED_MAX, H2_OPEN_FOLLOWED_MAX, H2_ORIGIN_HEADS_MAX,
    H2_PINGS_BURST, H2_PRIORITIES_BURST, H2_PRIORITY_UPDATE_BYTES_MAX, H2_PRIORITY_UPDATES_MAX,
    H2_RESETS_BURST, H2_SETTINGS_BURST, H2_UNKNOWN_BURST, H2_WINDOW_UPDATES_BURST,
};
use crate::base::time::Instant;
use crate::http::h2::PREFACE;
use crate::http::h2::blocks::Blocks;
use crate::http::h2::priority::Signal;

/// What is done too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Streams are given up (CVE-2023-44487).
    Resets,
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// PING (CVE-2019-9512).
    Pings,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priorities,
    /// WINDOW_UPDATE (CVE-2019-9511).
    WindowUpdates,
    /// Frames without a payload, and without an end (CVE-2019-9518).
    EmptyFrames,
    /// Frames of unknown types.
    Unknown,
    /// Something that the `h2` crate bounds: CONTINUATION (CVE-2024-27316), header lists, tiny DATA frames.
    Bounded,
    /// A header block that is begun and not ended.
    SlowHead,
    /// Responses that nobody takes while their stream is open (CVE-2019-9517).
    Stalled,
}

impl Flood {
    /// All of them, in the order of their numbers.
    pub const ALL: [Flood; 10] = [
        Self::Resets,
        Self::Settings,
        Self::Pings,
        Self::Priorities,
        Self::WindowUpdates,
        Self::EmptyFrames,
        Self::Unknown,
        Self::Bounded,
        Self::SlowHead,
        Self::Stalled,
    ];
    /// Those with a budget here come first.
    const BUDGETS: usize = 7;
}

/// What is wrong with frames that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// There are too many of a kind.
    Flood(Flood),
    /// Trailers with a pseudo-header field, a first frame that is not SETTINGS, or one within a header block
    /// (PROTOCOL_ERROR).
    Malformed,
    /// A frame of a stream that its sender has ended (STREAM_CLOSED, §5.1).
    Closed,
    /// A frame whose length its type does not have (FRAME_SIZE_ERROR, §4.2).
    Size,
    /// A window that is none (FLOW_CONTROL_ERROR, §6.5.2).
    Window,
}

/// A frame's type (RFC 9113 §6, RFC 9218 §7.1).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    pub(super) const PRIORITY_UPDATE: u8 = 16;
}

const FRAME_HEADER_BYTES: usize = 9;
const SETTING_BYTES: usize = 6;
/// Less than this, sent at once, is answered by no honest window update.
const DRIBBLE_BYTES: usize = 64;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
const WINDOW_BYTES_MAX: u32 = 0x7fff_ffff;
const KIND_AT: usize = 3;
const FLAGS_AT: usize = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 32;
const PRIORITY_BYTES: usize = 5;

/// So much of a budget each second gives back, in parts of its burst.
const BURSTS_PER_MINUTE: u64 = 12;

/// What one peer sent, as far as it matters here.
pub struct Frames {
    /// The frame that is arriving.
    arriving: Cut,
    /// The frame that is being sent.
    leaving: Cut,
    /// Whether none has come behind the preface.
    is_first: bool,
    spent: [u32; Flood::BUDGETS],
    decayed_at: Instant,
    /// When the header block that is arriving began.
    block_since: Option<Instant>,
    blocks: Blocks,
    /// Streams whose request is not whole: a header block there is that of trailers, and elsewhere it is a mistake
    /// that the `h2` crate knows the name of.
    open: BTreeSet<u32>,
    /// The highest stream that was opened, and those that the peer ended last.
    highest: u32,
    ended: [u32; H2_ENDED_FOLLOWED_MAX],
    ended_at: usize,
    /// The setting that is arriving, and how much of it is here; `None` outside of SETTINGS.
    setting: Option<([u8; SETTING_BYTES], usize)>,
    /// The same of WINDOW_UPDATE of the connection, and of PRIORITY_UPDATE, as far as it is kept.
    note: Option<([u8; H2_PRIORITY_UPDATE_BYTES_MAX], usize)>,
    /// What they said.
    grown: u32,
    updates: Vec<(u32, Signal)>,
    /// What of the frame's payload is not of the block: in front of it, where padding says how long it is, and
    /// behind it.
    block_skip: usize,
    block_padded: bool,
    block_left: Option<usize>,
    /// Whether it answers: its header blocks are responses, in which nothing is lost that could be asked for.
    is_server: bool,
    /// Heads of responses that are not whole, interim ones too: no window bounds them.
    heads: BTreeMap<u32, u32>,
}

/// Where in a sequence of frames a piece of it ends.
#[derive(Clone, Copy, Default)]
struct Cut {
    /// The header of the frame that goes on.
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    payload_left: usize,
}

impl Cut {
    /// Takes what is left of the payload from the front of `bytes`.
    fn payload<'b>(&mut self, bytes: &mut &'b [u8]) -> &'b [u8] {
        let (payload, behind) = bytes.split_at(self.payload_left.min(bytes.len()));
        self.payload_left -= payload.len();
        *bytes = behind;
        payload
    }

    /// Takes what is missing of the next header; whether it is whole now.
    fn header(&mut self, bytes: &mut &[u8]) -> bool {
        let wanted = FRAME_HEADER_BYTES - self.header_bytes;
        let (here, behind) = bytes.split_at(wanted.min(bytes.len()));
        self.header[self.header_bytes..][..here.len()].copy_from_slice(here);
        self.header_bytes += here.len();
        *bytes = behind;
        if self.header_bytes < FRAME_HEADER_BYTES {
            return false;
        }
        self.header_bytes = 0;
        let [a, b, c, ..] = self.header;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        true
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a & 0x7f, b, c, d])
    }
}

const BURSTS: [u32; Flood::BUDGETS] = [
    H2_RESETS_BURST,
    H2_SETTINGS_BURST,
    H2_PINGS_BURST,
    H2_PRIORITIES_BURST,
    H2_WINDOW_UPDATES_BURST,
    H2_EMPTY_FRAMES_BURST,
    H2_UNKNOWN_BURST,
];

impl Frames {
    /// A peer that has sent nothing but its preface, of which `preface_bytes` are still to come.
    pub fn new(now: Instant, preface_bytes: usize) -> Self {
        Self {
            arriving: Cut { payload_left: preface_bytes, ..Cut::default() },
            leaving: Cut::default(),
            is_first: preface_bytes > 0,
            spent: [0; Flood::BUDGETS],
            decayed_at: now,
            block_since: None,
            blocks: Blocks::default(),
            open: BTreeSet::new(),
            highest: 0,
            ended: [0; H2_ENDED_FOLLOWED_MAX],
            ended_at: 0,
            setting: None,
            note: None,
            grown: 0,
            updates: Vec::new(),
            block_skip: 0,
            block_padded: false,
            block_left: None,
            is_server: false,
            heads: BTreeMap::new(),
        }
    }

    /// A server, to which the preface is sent.
    pub fn of_server(now: Instant) -> Self {
        let leaving = Cut { payload_left: PREFACE.len(), ..Cut::default() };
        Self { leaving, is_first: true, is_server: true, ..Self::new(now, 0) }
    }

    /// Looks at what came at `now`.
    ///
    /// # Errors
    /// It does something too often.
    pub fn look(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Offence> {
        self.decay(now);
        loop {
            let payload = self.arriving.payload(&mut bytes);
            if self.block_left.is_some() {
                self.block(payload)?;
            }
            if self.setting.is_some() {
                self.settings(payload)?;
            }
            if self.note.is_some() {
                self.note(payload)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            if self.arriving.header(&mut bytes) {
                self.frame(now)?;
                if self.block_left.is_some() && self.arriving.payload_left == 0 {
                    self.block(&[])?;
                }
            }
        }
    }

    /// Since when a header block is arriving and has not ended.
    pub fn block_since(&self) -> Option<Instant> {
        self.block_since
    }

    /// A stream ended well, after which more may be asked.
    pub fn stream_done(&mut self) {
        self.earn(Flood::Resets, 1);
        self.earn(Flood::Priorities, 2);
    }

    /// This is sent to the peer, which answers data by window updates, and measures by pings. Of a stream that is reset
    /// nothing more is asked.
    ///
    /// Returns how much DATA begins here. Unit: bytes.
    pub fn sent(&mut self, mut bytes: &[u8]) -> usize {
        let mut data = 0;
        let pieces = (bytes.len() / 1024) as u32 + 1;
        // What goes out byte by byte is what was asked for so (CVE-2019-9511).
        if bytes.len() >= DRIBBLE_BYTES {
            self.earn(Flood::WindowUpdates, pieces.saturating_mul(2));
        }
        self.earn(Flood::Pings, pieces);
        loop {
            self.leaving.payload(&mut bytes);
            if bytes.is_empty() {
                return data;
            }
            if !self.leaving.header(&mut bytes) {
                continue;
            }
            match self.leaving.header[KIND_AT] {
                kind::DATA => data += self.leaving.payload_left,
                kind::RST_STREAM => {
                    self.open.remove(&self.leaving.stream());
                    self.heads.remove(&self.leaving.stream());
                }
                _ => {}
            }
        }
    }

    /// By how much the peer has opened the connection's window since it was asked last. Unit: bytes.
    pub fn take_grown(&mut self) -> u32 {
        std::mem::take(&mut self.grown)
    }

    /// What the peer said of priorities since it was asked last.
    pub fn take_updates(&mut self) -> std::vec::Drain<'_, (u32, Signal)> {
        self.updates.drain(..)
    }

    /// Whether the header block that came last cannot be decoded (RFC 7541), and is why the protocol gave up.
    pub fn is_undecodable(&self) -> bool {
        self.blocks.is_undecodable()
    }

    fn frame(&mut self, now: Instant) -> Result<(), Offence> {
        let [.., kind, flags, _, _, _, _] = self.arriving.header;
        let empty = self.arriving.payload_left == 0;
        let is_settings = kind == kind::SETTINGS && flags & ACK == 0;
        if std::mem::replace(&mut self.is_first, false) && !is_settings {
            return Err(Offence::Malformed);
        }
        // Within a header block nothing else may come (§4.3).
        if self.block_since.is_some() && kind != kind::CONTINUATION {
            return Err(Offence::Malformed);
        }
        if self.has_wrong_size(kind, flags) {
            return Err(Offence::Size);
        }
        match kind {
            kind::DATA => return self.data(flags & END_STREAM != 0, empty),
            kind::HEADERS | kind::CONTINUATION => {
                let ended = flags & END_HEADERS != 0;
                self.block_since = if ended { None } else { Some(self.block_since.unwrap_or(now)) };
                self.earn(Flood::WindowUpdates, 2);
                match self.is_server {
                    true if kind == kind::HEADERS => self.head(flags & END_STREAM != 0)?,
                    true => {}
                    false => self.begin_block(kind, flags)?,
                }
                if empty && !ended { self.spend(Flood::EmptyFrames) } else { Ok(()) }
            }
            kind::PRIORITY_UPDATE if self.arriving.stream() != 0 => return Err(Offence::Malformed),
            kind::PRIORITY => self.spend(Flood::Priorities),
            kind::PRIORITY_UPDATE => {
                self.note = Some(([0; H2_PRIORITY_UPDATE_BYTES_MAX], 0));
                self.spend(Flood::Priorities)
            }
            kind::RST_STREAM => {
                self.end(self.arriving.stream());
                self.spend(Flood::Resets)
            }
            kind::SETTINGS if is_settings => {
                self.setting = Some(([0; SETTING_BYTES], 0)).filter(|_| !empty);
                self.spend(Flood::Settings)
            }
            kind::PING if flags & ACK == 0 => self.spend(Flood::Pings),
            // What answers ours is bounded by ours, but a peer can make it up.
            kind::SETTINGS | kind::PING | kind::GOAWAY => self.spend(Flood::Unknown),
            kind::WINDOW_UPDATE => {
                if self.arriving.stream() == 0 {
                    self.note = Some(([0; H2_PRIORITY_UPDATE_BYTES_MAX], 0));
                }
                self.spend(Flood::WindowUpdates)
            }
            _ => self.spend(Flood::Unknown),
        }
        .map_err(Offence::Flood)
    }

    /// Whether a frame of this type is never so long (§6.3 to §6.9).
    fn has_wrong_size(&self, kind: u8, flags: u8) -> bool {
        let bytes = self.arriving.payload_left;
        match kind {
            kind::PRIORITY => bytes != PRIORITY_BYTES,
            kind::RST_STREAM | kind::WINDOW_UPDATE => bytes != 4,
            kind::SETTINGS if flags & ACK != 0 => bytes != 0,
            kind::SETTINGS => !bytes.is_multiple_of(SETTING_BYTES),
            kind::PING => bytes != 8,
            kind::GOAWAY => bytes < 8,
            kind::PRIORITY_UPDATE => bytes < 4,
            _ => false,
        }
    }

    fn data(&mut self, is_last: bool, empty: bool) -> Result<(), Offence> {
        let stream = self.arriving.stream();
        if self.has_ended(stream) {
            return Err(Offence::Closed);
        }
        if is_last {
            self.end(stream);
        } else if empty {
            return self.spend(Flood::EmptyFrames).map_err(Offence::Flood);
        }
        Ok(())
    }

    /// A response begins, goes on, or ends with trailers.
    fn head(&mut self, is_last: bool) -> Result<(), Offence> {
        let stream = self.arriving.stream();
        let heads = self.heads.entry(stream).or_default();
        *heads += 1;
        if *heads > H2_ORIGIN_HEADS_MAX || self.heads.len() > H2_OPEN_FOLLOWED_MAX {
            return Err(Offence::Flood(Flood::Bounded));
        }
        if is_last {
            self.heads.remove(&stream);
        }
        Ok(())
    }

    /// Nothing more comes of this stream.
    fn end(&mut self, stream: u32) {
        self.heads.remove(&stream);
        self.open.remove(&stream);
        self.ended[self.ended_at] = stream;
        self.ended_at = (self.ended_at + 1) % self.ended.len();
    }

    fn has_ended(&self, stream: u32) -> bool {
        stream > 0 && self.ended.contains(&stream)
    }

    /// Keeps a piece of a payload, and reads it when it is whole.
    fn note(&mut self, payload: &[u8]) -> Result<(), Offence> {
        let Some((mut note, had)) = self.note.take() else { return Ok(()) };
        let fits = payload.len().min(note.len() - had);
        note[had..had + fits].copy_from_slice(&payload[..fits]);
        if self.arriving.payload_left > 0 {
            self.note = Some((note, had + fits));
            return Ok(());
        }
        let [a, b, c, d, value @ ..] = &note;
        let number = u32::from_be_bytes([a & 0x7f, *b, *c, *d]);
        if self.arriving.header[KIND_AT] == kind::WINDOW_UPDATE {
            self.grown = self.grown.saturating_add(number);
        } else if number == 0 {
            return Err(Offence::Malformed);
        } else if self.updates.len() < H2_PRIORITY_UPDATES_MAX {
            let value = &value[..(had + fits).saturating_sub(4)];
            self.updates.push((number, Signal::parse(value)));
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Offence> {
        let Some((mut setting, mut at)) = self.setting.take() else { return Ok(()) };
        for byte in payload {
            setting[at] = *byte;
            at = (at + 1) % SETTING_BYTES;
            let [a, b, value @ ..] = setting;
            if at == 0
                && [a, b] == INITIAL_WINDOW_SIZE
                && u32::from_be_bytes(value) > WINDOW_BYTES_MAX
            {
                return Err(Offence::Window);
            }
        }
        self.setting = Some((setting, at)).filter(|_| self.arriving.payload_left > 0);
        Ok(())
    }

    /// The payload of a frame is, but for padding and priority, a piece of a header block.
    fn begin_block(&mut self, kind: u8, flags: u8) -> Result<(), Offence> {
        let stream = self.arriving.stream();
        self.block_skip = 0;
        self.block_padded = false;
        if kind == kind::HEADERS {
            if stream <= self.highest && self.has_ended(stream) {
                return Err(Offence::Closed);
            }
            self.highest = self.highest.max(stream);
            self.blocks.begin(self.open.contains(&stream));
            self.note_end(stream, flags & END_STREAM != 0)?;
            self.block_padded = flags & PADDED != 0;
            if flags & WITH_PRIORITY != 0 {
                self.block_skip = PRIORITY_BYTES;
            }
        }
        self.block_left = Some(self.arriving.payload_left);
        Ok(())
    }

    /// A request goes on, or is whole. None is ever forgotten that is open, for its trailers would be taken for a head.
    fn note_end(&mut self, stream: u32, is_ended: bool) -> Result<(), Offence> {
        if is_ended {
            self.end(stream);
        } else if self.open.insert(stream) && self.open.len() > H2_OPEN_FOLLOWED_MAX {
            return Err(Offence::Flood(Flood::Bounded));
        }
        Ok(())
    }

    /// Passes on what of a payload belongs to the header block.
    fn block(&mut self, mut payload: &[u8]) -> Result<(), Offence> {
        let Some(mut left) = self.block_left else { return Ok(()) };
        if let (true, [padding, behind @ ..]) = (self.block_padded, payload) {
            self.block_padded = false;
            left = left.saturating_sub(1 + usize::from(*padding));
            payload = behind;
        }
        let skipped = self.block_skip.min(payload.len()).min(left);
        (self.block_skip, left) = (self.block_skip - skipped, left - skipped);
        payload = &payload[skipped..];
        let mine = left.min(payload.len());
        self.blocks.take(&payload[..mine]);
        self.block_left = Some(left - mine);
        if self.arriving.payload_left > 0 {
            return Ok(());
        }
        self.block_left = None;
        let ended = self.arriving.header[FLAGS_AT] & END_HEADERS != 0;
        if ended && !self.blocks.end() { Err(Offence::Malformed) } else { Ok(()) }
    }

    fn spend(&mut self, what: Flood) -> Result<(), Flood> {
        let spent = &mut self.spent[what as usize];
        *spent += 1;
        if *spent > BURSTS[what as usize] { Err(what) } else { Ok(()) }
    }

    fn earn(&mut self, what: Flood, count: u32) {
        let spent = &mut self.spent[what as usize];
        *spent = spent.saturating_sub(count);
    }

    fn decay(&mut self, now: Instant) {
        let millis = u64::try_from(now.since(self.decayed_at).as_millis()).unwrap_or(u64::MAX);
        // A twentieth of a second gives back at least one of the smallest budget.
        const STEP_MILLIS: u64 = 100;
        if millis < STEP_MILLIS {
            return;
        }
        self.decayed_at = now;
        for (spent, burst) in self.spent.iter_mut().zip(BURSTS) {
            let back = u64::from(burst) * BURSTS_PER_MINUTE * millis.min(60_000) / 60_000;
            *spent = spent.saturating_sub(back as u32);
        }
    }
}

#[cfg(test)]
mod tests;
