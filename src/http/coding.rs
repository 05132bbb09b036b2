//! Content codings undone: gzip (RFC 1952), br (RFC 7932), zstd (RFC 8878), as RFC 9110 §8.4.1 names them.
//!
//! A body is decoded in steps of bounded work, so that whoever drives it can let others have their turn in
//! between, and never beyond the bytes it may have: a bomb is refused at the bound, after no more work than
//! an honest body of that size takes. What the coding says of its own end is believed and checked: a body
//! that ends early, that goes on behind its end or whose checksum is wrong is refused, and so are windows
//! beyond those that the codings' own rules allow on the web (16 MiB for br, 8 MiB for zstd by RFC 9659).
//!
//! The decoders are others' and, but for a few lines in their midst, safe Rust; `libzstd` was refused because bytes
//! from outside would meet C (docs/decisions/0003-dependencies.md).

pub mod fuzz;
#[cfg(test)]
mod tests;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::base::limits::{CODING_MEMBERS_MAX, CODING_STEP_BYTES, ZSTD_WINDOW_BYTES_MAX};

/// A content coding that we can undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, also spelt `x-gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingFault {
    /// A coding that we do not know, or several at once.
    Unknown,
    /// Not what the coding's rules say, or something stands behind its end.
    Malformed,
    /// It ends too early.
    Truncated,
    /// Longer than it may be.
    TooLarge,
}

/// What a step of decoding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// All of it is decoded.
    Done,
}

impl Coding {
    /// The names that it goes by; the first is the registered one.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &["gzip", "x-gzip"],
            Self::Brotli => &["br"],
            Self::Zstd => &["zstd"],
        }
    }

    /// The one coding that these values of Content-Encoding name, if any. `identity` is none.
    ///
    /// # Errors
    /// One that we do not know, or several.
    pub fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, CodingFault> {
        let mut found = None;
        let words = values.flat_map(|value| value.split(|byte| *byte == b','));
        for word in words.map(<[u8]>::trim_ascii) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let coding = match () {
                () if word.is_empty() || is("identity") => continue,
                () if is("gzip") || is("x-gzip") => Self::Gzip,
                () if is("br") => Self::Brotli,
                () if is("zstd") => Self::Zstd,
                () => return Err(CodingFault::Unknown),
            };
            if found.replace(coding).is_some() {
                return Err(CodingFault::Unknown);
            }
        }
        Ok(found)
    }
}

/// A body being decoded.
pub struct Decoding {
    decoder: Decoder,
    /// Bytes of the body that were used.
    used: usize,
    /// Bytes used and made since the last turn of others.
    worked: usize,
    /// Members or frames begun; a body may have several (RFC 1952 §2.2, RFC 8878 §3).
    members: usize,
}

enum Decoder {
    Gzip(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Box<FrameDecoder>),
}

impl Decoding {
    /// A decoder at the beginning of a body.
    pub fn new(coding: Coding) -> Self {
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(Decompress::new_gzip(15)),
            Coding::Brotli => Decoder::Brotli(Box::new(brotli())),
            Coding::Zstd => {
                let mut decoder = FrameDecoder::new();
                decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
                Decoder::Zstd(Box::new(decoder))
            }
        };
        Self { decoder, used: 0, worked: 0, members: 1 }
    }

    /// Decodes some more of `body`, always the same whole one, to the end of `out`, which may become
    /// `bytes_max` bytes long. A step uses or makes about `CODING_STEP_BYTES` at the most.
    ///
    /// # Errors
    /// The body cannot be decoded, or is too long when it is.
    pub fn step(
        &mut self,
        body: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Step, CodingFault> {
        let left = body.get(self.used..).unwrap_or(&[]);
        let before = out.len();
        let (used, ended) = match &mut self.decoder {
            Decoder::Gzip(decoder) => gzip_step(decoder, left, out)?,
            Decoder::Brotli(state) => brotli_step(state, left, out)?,
            Decoder::Zstd(decoder) => zstd_step(decoder, left, out)?,
        };
        self.used += used;
        self.worked += used.max(out.len() - before);
        if out.len() > bytes_max {
            return Err(CodingFault::TooLarge);
        }
        let left = body.len() - self.used;
        match (ended, left) {
            (true, 0) => Ok(Step::Done),
            (true, _) => self.next_member().map(|()| Step::More),
            // Nothing was left to use and nothing more came of it.
            (false, 0) if used == 0 && out.len() == before => Err(CodingFault::Truncated),
            (false, _) if used == 0 && out.len() == before => Err(CodingFault::Malformed),
            (false, _) => Ok(Step::More),
        }
    }

    /// Whether a step's worth of work was done since this was last so: others should have their turn.
    pub fn is_long(&mut self) -> bool {
        let long = self.worked >= CODING_STEP_BYTES;
        self.worked = if long { 0 } else { self.worked };
        long
    }

    /// Something stands behind an end: another member or frame, or nothing that belongs there.
    fn next_member(&mut self) -> Result<(), CodingFault> {
        self.members += 1;
        if self.members > CODING_MEMBERS_MAX {
            return Err(CodingFault::Malformed);
        }
        match &mut self.decoder {
            Decoder::Gzip(decoder) => *decoder = Decompress::new_gzip(15),
            Decoder::Brotli(_) => return Err(CodingFault::Malformed),
            Decoder::Zstd(decoder) => {
                let mut next = FrameDecoder::new();
                next.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
                **decoder = next;
            }
        }
        Ok(())
    }
}

fn brotli() -> BrotliState<StandardAlloc, StandardAlloc, StandardAlloc> {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new(alloc(), alloc(), alloc());
    // Windows beyond 16 MiB are no part of RFC 7932.
    state.large_window = false;
    state
}

/// Bytes used, and whether a member ended.
type Stepped = Result<(usize, bool), CodingFault>;

/// As much of what is left as one step may use.
fn piece(left: &[u8]) -> &[u8] {
    &left[..left.len().min(CODING_STEP_BYTES)]
}

fn gzip_step(decoder: &mut Decompress, left: &[u8], out: &mut Vec<u8>) -> Stepped {
    let before = decoder.total_in();
    out.reserve(CODING_STEP_BYTES.min(4 * left.len() + 1024));
    let status = decoder.decompress_vec(piece(left), out, FlushDecompress::None);
    let used = (decoder.total_in() - before) as usize;
    match status {
        Ok(Status::StreamEnd) => Ok((used, true)),
        Ok(Status::Ok | Status::BufError) => Ok((used, false)),
        Err(_) => Err(CodingFault::Malformed),
    }
}

fn brotli_step(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    left: &[u8],
    out: &mut Vec<u8>,
) -> Stepped {
    let piece = piece(left);
    let (mut input, mut used) = (piece.len(), 0);
    let start = out.len();
    let mut room = CODING_STEP_BYTES.min(4 * left.len() + 1024);
    out.resize(start + room, 0);
    let (mut made, mut total) = (0, 0);
    let result = BrotliDecompressStream(
        &mut input,
        &mut used,
        piece,
        &mut room,
        &mut made,
        &mut out[start..],
        &mut total,
        state,
    );
    out.truncate(start + made);
    match result {
        BrotliResult::ResultSuccess => Ok((used, true)),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok((used, false)),
        BrotliResult::ResultFailure => Err(CodingFault::Malformed),
    }
}

/// Decodes one block, or a header with its first block. Frames that are to be skipped are stepped over.
fn zstd_step(decoder: &mut FrameDecoder, left: &[u8], out: &mut Vec<u8>) -> Stepped {
    let mut source = left;
    if decoder.blocks_decoded() == 0 && decoder.bytes_read_from_source() == 0 {
        match decoder.init(&mut source) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let behind = source.len().checked_sub(length as usize);
                let behind = behind.ok_or(CodingFault::Truncated)?;
                return Ok((left.len() - behind, true));
            }
            Err(error) => return Err(zstd_fault(&error)),
        }
    }
    let ended = decoder.decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1));
    let ended = ended.map_err(|error| zstd_fault(&error))?;
    decoder.collect_to_writer(&mut *out).map_err(|_| CodingFault::Malformed)?;
    let told = decoder.get_checksum_from_data();
    if ended && told.is_some() && told != decoder.get_calculated_checksum() {
        return Err(CodingFault::Malformed);
    }
    Ok((left.len() - source.len(), ended))
}

/// Whether the bytes were over or wrong: the library says so in many ways, all with an I/O error inside for the
/// former.
fn zstd_fault(error: &FrameDecoderError) -> CodingFault {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof) {
            return CodingFault::Truncated;
        }
        source = inner.source();
    }
    CodingFault::Malformed
}
