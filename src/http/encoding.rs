//! Content codings made: gzip (RFC 1952), br (RFC 7932), zstd (RFC 8878), and which of them a client wants.
//!
//! The counterpart of `coding.rs`. An encoder is fed slices and never keeps one: what it holds itself is bounded
//! by the windows chosen here (32 KiB for gzip, 256 KiB for br, 128 KiB for zstd, below the 8 MiB that RFC 9659
//! lets a browser refuse), so that the memory of a coded answer does not grow with its length. Levels are those
//! for answers made while somebody waits; files that are coded once belong on the origin, better coded.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
    BrotliEncoderStateStruct,
};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys};

use crate::http::accept::thousandths;
use crate::http::coding::Coding;

/// gzip: zlib's default is 6, nginx's 1; 5 makes 2 % more than 6 and takes a third less time.
const GZIP_LEVEL: u32 = 5;
/// br: 5 and above look back at more than a core should pay for an answer made once.
const BROTLI_QUALITY: u32 = 4;
/// br: the window, as a power of two. Unit: bytes.
const BROTLI_WINDOW: u32 = 18;
/// zstd: its own default.
const ZSTD_LEVEL: i32 = 3;
/// zstd: the window, as a power of two. Unit: bytes.
const ZSTD_WINDOW: u32 = 17;

/// An encoder in the middle of a body, or before its beginning.
pub struct Encoder {
    coding: Coding,
    inner: Inner,
}

enum Inner {
    Gzip(Box<Compress>),
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Zstd(CCtx<'static>),
}

/// What must have come out when a slice is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Whatever the encoder likes.
    Run,
    /// Everything that went in: somebody waits for it.
    Flush,
    /// Everything, and the end of the body.
    Finish,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Bytes of the slice that were used.
    pub used: usize,
    /// Bytes written.
    pub made: usize,
    /// Whether the mark is reached.
    pub done: bool,
}

/// The encoder is in a state that it cannot be in: a mistake of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Encoder {
    /// An encoder at the beginning of a body; `None` where there is no memory for one.
    pub fn new(coding: Coding) -> Option<Self> {
        let inner = match coding {
            Coding::Gzip => {
                Inner::Gzip(Box::new(Compress::new_gzip(Compression::new(GZIP_LEVEL), 15)))
            }
            Coding::Brotli => Inner::Brotli(Box::new(brotli())),
            Coding::Zstd => {
                let mut context = CCtx::try_create()?;
                context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)).ok()?;
                context.set_parameter(CParameter::WindowLog(ZSTD_WINDOW)).ok()?;
                Inner::Zstd(context)
            }
        };
        Some(Self { coding, inner })
    }

    /// Which coding it makes.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Begins another body; `false` when it can no longer be used.
    pub fn reset(&mut self) -> bool {
        match &mut self.inner {
            Inner::Gzip(state) => state.reset(),
            Inner::Brotli(state) => **state = brotli(),
            Inner::Zstd(context) => return context.reset(ResetDirective::SessionOnly).is_ok(),
        }
        true
    }

    /// Uses some of `slice` and fills some of `out`; to be repeated with what is left until it is done.
    ///
    /// # Errors
    /// The encoder does not go on.
    pub fn step(&mut self, slice: &[u8], out: &mut [u8], mark: Mark) -> Result<Encoded, Broken> {
        match &mut self.inner {
            Inner::Gzip(state) => gzip_step(state, slice, out, mark),
            Inner::Brotli(state) => brotli_step(state, slice, out, mark),
            Inner::Zstd(context) => zstd_step(context, slice, out, mark),
        }
    }
}

fn brotli() -> BrotliEncoderStateStruct<StandardAlloc> {
    let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
    state.set_parameter(Parameter::BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
    state.set_parameter(Parameter::BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
    state
}

fn gzip_step(
    state: &mut Compress,
    slice: &[u8],
    out: &mut [u8],
    mark: Mark,
) -> Result<Encoded, Broken> {
    let (used, made) = (state.total_in(), state.total_out());
    let flush = match mark {
        Mark::Run => FlushCompress::None,
        Mark::Flush => FlushCompress::Sync,
        Mark::Finish => FlushCompress::Finish,
    };
    let status = state.compress(slice, out, flush).map_err(|_| Broken)?;
    let used = (state.total_in() - used) as usize;
    let made = (state.total_out() - made) as usize;
    let done = match mark {
        Mark::Finish => status == Status::StreamEnd,
        // Room that was left says that nothing more wants to come (zlib's manual, deflate).
        Mark::Run | Mark::Flush => used == slice.len() && made < out.len(),
    };
    Ok(Encoded { used, made, done })
}

fn brotli_step(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    slice: &[u8],
    out: &mut [u8],
    mark: Mark,
) -> Result<Encoded, Broken> {
    let operation = match mark {
        Mark::Run => Operation::BROTLI_OPERATION_PROCESS,
        Mark::Flush => Operation::BROTLI_OPERATION_FLUSH,
        Mark::Finish => Operation::BROTLI_OPERATION_FINISH,
    };
    let (mut left, mut used, mut room, mut made) = (slice.len(), 0, out.len(), 0);
    let fine = state.compress_stream(
        operation,
        &mut left,
        slice,
        &mut used,
        &mut room,
        out,
        &mut made,
        &mut None,
        &mut |_, _, _, _| (),
    );
    if !fine {
        return Err(Broken);
    }
    let done = match mark {
        Mark::Finish => state.is_finished(),
        Mark::Run | Mark::Flush => left == 0 && !state.has_more_output(),
    };
    Ok(Encoded { used, made, done })
}

fn zstd_step(
    context: &mut CCtx<'static>,
    slice: &[u8],
    out: &mut [u8],
    mark: Mark,
) -> Result<Encoded, Broken> {
    let directive = match mark {
        Mark::Run => zstd_sys::ZSTD_EndDirective::ZSTD_e_continue,
        Mark::Flush => zstd_sys::ZSTD_EndDirective::ZSTD_e_flush,
        Mark::Finish => zstd_sys::ZSTD_EndDirective::ZSTD_e_end,
    };
    let (mut input, mut output) = (InBuffer::around(slice), OutBuffer::around(out));
    let left = context.compress_stream2(&mut output, &mut input, directive).map_err(|_| Broken)?;
    let (used, made) = (input.pos(), output.pos());
    let done = used == slice.len() && (mark == Mark::Run || left == 0);
    Ok(Encoded { used, made, done })
}

/// What a client takes of the codings that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The one to use, if any is better than none.
    pub coding: Option<Coding>,
    /// Whether the client refuses an answer without any (`identity;q=0`).
    pub must: bool,
}

/// The coding that these values of Accept-Encoding want most, the earlier of `offered` where they do not care
/// (RFC 9110 §12.5.3). Without the field none is wanted: who says nothing is no browser.
pub fn choose<'a>(values: impl Iterator<Item = &'a [u8]> + Clone, offered: &[Coding]) -> Choice {
    let all = weight(values.clone(), &["*"]);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = weight(values.clone(), coding.names()).or(all).unwrap_or(0);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((*coding, weight));
        }
    }
    let identity = weight(values, &["identity"]).or(all.filter(|weight| *weight == 0));
    let must = identity == Some(0) && best.is_some();
    // Said by name to be better, the plain answer is; where nothing is said it is the last resort.
    let coding = best.filter(|(_, weight)| identity.is_none_or(|identity| identity <= *weight));
    Choice { coding: coding.map(|(coding, _)| coding), must }
}

/// The weight of a coding, if it is named. Unit: thousandths. What cannot be read counts as not said.
fn weight<'a>(values: impl Iterator<Item = &'a [u8]>, names: &[&str]) -> Option<u16> {
    let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
    let weights = elements.filter_map(|element| {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        if !names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            return None;
        }
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_at_checked(2)?;
            name.eq_ignore_ascii_case(b"q=").then(|| thousandths(value))
        });
        weight.unwrap_or(Some(1000))
    });
    // `x-gzip` is `gzip` (RFC 9110 §8.4.1.3): who refuses one of a coding's names refuses the coding.
    let mut found = None;
    for weight in weights {
        found =
            Some(if weight == 0 || found == Some(0) { 0 } else { weight.max(found.unwrap_or(0)) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::coding::{Decoding, Step};

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn chosen(accept: &str) -> (Option<Coding>, bool) {
        let choice = choose([accept.as_bytes()].into_iter(), &ALL);
        (choice.coding, choice.must)
    }

    #[test]
    fn the_best_of_what_the_client_takes_is_chosen() {
        for (accept, coding, must) in [
            ("gzip", Some(Coding::Gzip), false),
            ("X-GZIP", Some(Coding::Gzip), false),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd), false),
            ("gzip;q=1.0, br;q=0.9", Some(Coding::Gzip), false),
            ("gzip;q=0.5, br;q=0.9", Some(Coding::Brotli), false),
            ("*", Some(Coding::Zstd), false),
            ("*;q=0.1, zstd;q=0", Some(Coding::Brotli), false),
            ("gzip;q=0", None, false),
            ("gzip;q=0.001", Some(Coding::Gzip), false),
            ("", None, false),
            ("deflate", None, false),
            ("identity", None, false),
            ("identity;q=1, gzip;q=0.5", None, false),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip), false),
            ("identity;q=0, gzip", Some(Coding::Gzip), true),
            ("*;q=0, gzip", Some(Coding::Gzip), true),
            ("*;q=0", None, false),
            ("identity;q=0", None, false),
            ("gzip;q=nonsense", None, false),
            ("gzip;q=0,x-gzip", None, false),
            ("x-gzip, gzip;q=0, br;q=0.1", Some(Coding::Brotli), false),
            ("gzip;q=0.2, x-gzip;q=0.4, br;q=0.3", Some(Coding::Gzip), false),
            ("br ; q=0.3 , gzip;Q=0.4", Some(Coding::Gzip), false),
        ] {
            assert_eq!(chosen(accept), (coding, must), "{accept}");
        }
        let lines = [&b"br;q=0.1"[..], b"gzip"];
        assert_eq!(choose(lines.into_iter(), &ALL).coding, Some(Coding::Gzip));
        assert_eq!(choose([].into_iter(), &ALL).coding, None);
    }

    /// Everything that comes out while `slice` goes in.
    fn fed(encoder: &mut Encoder, mut slice: &[u8], mark: Mark, room: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = vec![0; room];
        loop {
            let step = encoder.step(slice, &mut out, mark).expect("it goes on");
            all.extend_from_slice(&out[..step.made]);
            slice = &slice[step.used..];
            if step.done {
                return all;
            }
        }
    }

    fn decoded(coding: Coding, body: &[u8]) -> Vec<u8> {
        let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
        while decoding.step(body, &mut out, 1 << 24).expect("a good body") == Step::More {}
        out
    }

    #[test]
    fn what_is_coded_decodes_to_itself_however_it_is_cut() {
        let text: Vec<u8> =
            (0..60_000_u32).flat_map(|n| (n % 977).to_string().into_bytes()).collect();
        for coding in ALL {
            let mut encoder = Encoder::new(coding).expect("memory");
            for (piece, room, mark) in
                [(1 << 20, 1 << 16, Mark::Run), (1000, 37, Mark::Run), (7919, 500, Mark::Flush)]
            {
                let mut body = Vec::new();
                for slice in text.chunks(piece) {
                    body.extend(fed(&mut encoder, slice, mark, room));
                }
                body.extend(fed(&mut encoder, b"", Mark::Finish, room));
                assert!(decoded(coding, &body) == text, "{coding:?} {piece} {room}");
                assert!(body.len() < text.len() / 2, "{coding:?}: {}", body.len());
                assert!(encoder.reset());
            }
            let empty = fed(&mut encoder, b"", Mark::Finish, 100);
            assert_eq!(decoded(coding, &empty), b"");
        }
    }

    /// What a reader has of a body that has begun. Ours of zstd gives nothing out before a block's window is full.
    fn begun(coding: Coding, body: &[u8]) -> Vec<u8> {
        if coding == Coding::Zstd {
            let mut room = [0; 256];
            let mut out = OutBuffer::around(&mut room[..]);
            let mut decoder = zstd_safe::DCtx::create();
            decoder.decompress_stream(&mut out, &mut InBuffer::around(body)).expect("a beginning");
            let made = out.pos();
            return room[..made].to_vec();
        }
        let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
        while decoding.step(body, &mut out, 1 << 20).is_ok_and(|step| step == Step::More) {}
        out
    }

    #[test]
    fn a_flush_gives_out_all_that_went_in() {
        for coding in ALL {
            let mut encoder = Encoder::new(coding).expect("memory");
            let first = fed(&mut encoder, b"event: one\n\n", Mark::Flush, 1 << 12);
            // A reader has the whole event before the end of the body has come.
            assert_eq!(begun(coding, &first), b"event: one\n\n", "{coding:?}");
        }
    }
}
