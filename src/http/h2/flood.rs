//! Counts the frames of one peer, so that those which cost much and mean little are noticed (RFC 9113 §10.5).
//!
//! Only frame headers are looked at, and nothing is ever kept of a payload; header blocks are passed on to
//! `blocks.rs`. Each kind has a budget that grows with
//! time and with honest work (streams, data), so that a long-lived connection is not punished for its age, and
//! is spent by each frame. What the `h2` crate bounds by itself (CONTINUATION, header lists, small DATA frames)
//! is not bounded twice.

use std::collections::BTreeSet;

use crate::base::limits::{
    H2_EMPTY_FRAMES_BURST, H2_OPEN_FOLLOWED_MAX, H2_PINGS_BURST, H2_PRIORITIES_BURST,
    H2_RESETS_BURST, H2_SETTINGS_BURST, H2_UNKNOWN_BURST, H2_WINDOW_UPDATES_BURST,
};
use crate::base::time::Instant;
use crate::http::h2::blocks::Blocks;

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
    /// Trailers with a pseudo-header field.
    Malformed,
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
    /// The header of the frame that is arriving.
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    payload_left: usize,
    spent: [u32; Flood::BUDGETS],
    decayed_at: Instant,
    /// When the header block that is arriving began.
    block_since: Option<Instant>,
    blocks: Blocks,
    /// Streams whose request is not whole: a header block there is that of trailers, and elsewhere it is a mistake
    /// that the `h2` crate knows the name of.
    open: BTreeSet<u32>,
    /// What of the frame's payload is not of the block: in front of it, where padding says how long it is, and
    /// behind it.
    block_skip: usize,
    block_padded: bool,
    block_left: Option<usize>,
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
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            payload_left: preface_bytes,
            spent: [0; Flood::BUDGETS],
            decayed_at: now,
            block_since: None,
            blocks: Blocks::default(),
            open: BTreeSet::new(),
            block_skip: 0,
            block_padded: false,
            block_left: None,
        }
    }

    /// Looks at what came at `now`.
    ///
    /// # Errors
    /// It does something too often.
    pub fn look(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Offence> {
        self.decay(now);
        loop {
            let (payload, behind) = bytes.split_at(self.payload_left.min(bytes.len()));
            bytes = behind;
            self.payload_left -= payload.len();
            if self.block_left.is_some() {
                self.block(payload)?;
            }
            let wanted = FRAME_HEADER_BYTES - self.header_bytes;
            if bytes.is_empty() {
                return Ok(());
            }
            let (now_here, later) = bytes.split_at(wanted.min(bytes.len()));
            self.header[self.header_bytes..][..now_here.len()].copy_from_slice(now_here);
            self.header_bytes += now_here.len();
            bytes = later;
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                self.frame(now).map_err(Offence::Flood)?;
                if self.block_left.is_some() && self.payload_left == 0 {
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

    /// So much was sent to the peer, which answers data by window updates, and measures by pings.
    pub fn sent(&mut self, bytes: usize) {
        let pieces = (bytes / 1024) as u32 + 1;
        self.earn(Flood::WindowUpdates, pieces.saturating_mul(2));
        self.earn(Flood::Pings, pieces);
    }

    fn frame(&mut self, now: Instant) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let empty = self.payload_left == 0;
        match kind {
            kind::DATA if empty && flags & END_STREAM == 0 => self.spend(Flood::EmptyFrames),
            kind::DATA => {
                if flags & END_STREAM != 0 {
                    self.open.remove(&self.stream());
                }
                Ok(())
            }
            kind::HEADERS | kind::CONTINUATION => {
                let ended = flags & END_HEADERS != 0;
                self.block_since = if ended { None } else { Some(self.block_since.unwrap_or(now)) };
                self.earn(Flood::WindowUpdates, 2);
                self.begin_block(kind, flags);
                if empty && !ended { self.spend(Flood::EmptyFrames) } else { Ok(()) }
            }
            kind::PRIORITY | kind::PRIORITY_UPDATE => self.spend(Flood::Priorities),
            kind::RST_STREAM => {
                self.open.remove(&self.stream());
                self.spend(Flood::Resets)
            }
            kind::SETTINGS if flags & ACK == 0 => self.spend(Flood::Settings),
            kind::PING if flags & ACK == 0 => self.spend(Flood::Pings),
            // What answers ours is bounded by ours, but a peer can make it up.
            kind::SETTINGS | kind::PING | kind::GOAWAY => self.spend(Flood::Unknown),
            kind::WINDOW_UPDATE => self.spend(Flood::WindowUpdates),
            _ => self.spend(Flood::Unknown),
        }
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a & 0x7f, b, c, d])
    }

    /// The payload of a frame is, but for padding and priority, a piece of a header block.
    fn begin_block(&mut self, kind: u8, flags: u8) {
        let stream = self.stream();
        self.block_skip = 0;
        self.block_padded = false;
        if kind == kind::HEADERS {
            self.blocks.begin(self.open.contains(&stream));
            self.note_end(stream, flags & END_STREAM != 0);
            self.block_padded = flags & PADDED != 0;
            if flags & WITH_PRIORITY != 0 {
                self.block_skip = PRIORITY_BYTES;
            }
        }
        self.block_left = Some(self.payload_left);
    }

    /// A request goes on, or is whole.
    fn note_end(&mut self, stream: u32, is_ended: bool) {
        if is_ended {
            self.open.remove(&stream);
        } else if self.open.insert(stream) && self.open.len() > H2_OPEN_FOLLOWED_MAX {
            // So many are not let in: the oldest was refused long ago.
            self.open.pop_first();
        }
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
        if self.payload_left > 0 {
            return Ok(());
        }
        self.block_left = None;
        let ended = self.header[FLAGS_AT] & END_HEADERS != 0;
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
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn now(secs: u64) -> Instant {
        Instant::from_nanos((1_000 + secs) * 1_000_000_000)
    }

    /// How many of `bytes` pass before something is said.
    fn passed(frames: &mut Frames, bytes: &[u8], most: u32, at: Instant) -> (u32, Option<Flood>) {
        for count in 0..most {
            match frames.look(bytes, at) {
                Ok(()) => {}
                Err(Offence::Flood(flood)) => return (count, Some(flood)),
                Err(Offence::Malformed) => panic!("no trailers"),
            }
        }
        (most, None)
    }

    #[test]
    fn blocks_are_found_between_padding_and_priority_and_across_frames() {
        let open = frame(kind::HEADERS, END_HEADERS, &[0x82, 0x86, 0x84]);
        let ended = frame(kind::HEADERS, END_STREAM | END_HEADERS, &[0x82, 0x86, 0x84]);
        let twice = [&ended[..], &ended].concat();
        assert_eq!(
            Frames::new(now(0), 0).look(&twice, now(0)),
            Ok(()),
            "STREAM_CLOSED, and not ours"
        );
        let padded = |flags: u8, payload: &[u8]| frame(kind::HEADERS, flags, payload);
        let good: [Vec<u8>; 3] = [
            padded(END_STREAM | END_HEADERS | PADDED, b"\x02\x00\x01x\x01y\x82\x82"),
            padded(
                END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
                b"\x01\0\0\0\0\0\x00\x01x\x01y\x82",
            ),
            [padded(END_STREAM, b"\x00\x01"), frame(kind::CONTINUATION, END_HEADERS, b"x\x01y")]
                .concat(),
        ];
        let bad: [Vec<u8>; 4] = [
            padded(END_STREAM | END_HEADERS, &[0x82]),
            padded(END_STREAM | END_HEADERS | PADDED, b"\x01\x82\x00"),
            padded(END_STREAM | END_HEADERS | WITH_PRIORITY, b"\0\0\0\0\0\x82"),
            [padded(END_STREAM, b""), frame(kind::CONTINUATION, END_HEADERS, &[0x82])].concat(),
        ];
        let cases = good.iter().map(|bytes| (bytes, Ok(())));
        for (bytes, said) in cases.chain(bad.iter().map(|bytes| (bytes, Err(Offence::Malformed)))) {
            let all = [&open[..], bytes].concat();
            assert_eq!(Frames::new(now(0), 0).look(&all, now(0)), said, "{bytes:?}");
            let mut frames = Frames::new(now(0), 0);
            let cut = all.iter().try_for_each(|byte| frames.look(&[*byte], now(0)));
            assert_eq!(cut, said, "byte by byte: {bytes:?}");
        }
    }

    #[test]
    fn each_kind_has_its_own_budget() {
        let kinds: [(Vec<u8>, Flood, u32); 8] = [
            (frame(kind::RST_STREAM, 0, &[0; 4]), Flood::Resets, H2_RESETS_BURST),
            (frame(kind::SETTINGS, 0, &[]), Flood::Settings, H2_SETTINGS_BURST),
            (frame(kind::PING, 0, &[0; 8]), Flood::Pings, H2_PINGS_BURST),
            (frame(kind::PRIORITY, 0, &[0; 5]), Flood::Priorities, H2_PRIORITIES_BURST),
            (frame(kind::WINDOW_UPDATE, 0, &[0; 4]), Flood::WindowUpdates, H2_WINDOW_UPDATES_BURST),
            (frame(kind::DATA, 0, &[]), Flood::EmptyFrames, H2_EMPTY_FRAMES_BURST),
            (frame(kind::CONTINUATION, 0, &[]), Flood::EmptyFrames, H2_EMPTY_FRAMES_BURST),
            (frame(0x55, 0, &[0; 3]), Flood::Unknown, H2_UNKNOWN_BURST),
        ];
        for (bytes, flood, burst) in kinds {
            let mut frames = Frames::new(now(0), 0);
            // A CONTINUATION earns window updates and nothing else.
            assert_eq!(passed(&mut frames, &bytes, burst + 1, now(0)), (burst, Some(flood)));
        }
    }

    #[test]
    fn time_gives_back_and_honest_work_does() {
        let mut frames = Frames::new(now(0), 0);
        let reset = frame(kind::RST_STREAM, 0, &[0; 4]);
        assert_eq!(passed(&mut frames, &reset, H2_RESETS_BURST, now(0)).1, None);
        assert_eq!(passed(&mut frames, &reset, 10, now(1)).1, None, "a second later");
        let mut frames = Frames::new(now(0), 0);
        for _ in 0..H2_RESETS_BURST * 3 {
            frames.stream_done();
            assert_eq!(frames.look(&reset, now(0)), Ok(()), "as many are ended as are given up");
        }
        let ping = frame(kind::PING, 0, &[0; 8]);
        for _ in 0..H2_PINGS_BURST * 3 {
            frames.sent(16 * 1024);
            assert_eq!(frames.look(&ping, now(0)), Ok(()), "a client that measures its download");
        }
    }

    #[test]
    fn frames_may_be_cut_anywhere_and_payloads_are_never_taken_for_frames() {
        let mut bytes = vec![0; 3];
        // A payload full of what would be SETTINGS.
        let settings = frame(kind::SETTINGS, 0, &[]);
        bytes.extend(frame(kind::DATA, 0, &settings.repeat(20)));
        bytes.extend(frame(kind::HEADERS, END_STREAM, &[0x82, 0x86]));
        let mut frames = Frames::new(now(0), 3);
        for byte in &bytes {
            frames.look(&[*byte], now(5)).expect("nothing is too much");
        }
        assert_eq!(frames.spent[Flood::Settings as usize], 0);
        assert_eq!(frames.block_since(), Some(now(5)));
        frames.look(&frame(kind::CONTINUATION, END_HEADERS, &[0x84]), now(6)).expect("one");
        assert_eq!(frames.block_since(), None);
        assert!(now(6).since(now(5)) == Duration::from_secs(1));
    }
}
