//! Bodies of every coding: whole, cut, damaged, in several members, and far too long.

use std::io::Write;

use super::*;

const MAX: usize = 1 << 20;

fn encoded(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).expect("a vector takes all");
            encoder.finish().expect("a vector takes all")
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let parameters = brotli::enc::BrotliEncoderParams::default();
            brotli::BrotliCompress(&mut &*text, &mut out, &parameters).expect("a vector takes all");
            out
        }
        Coding::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(text, level)
        }
    }
}

fn decoded(coding: Coding, body: &[u8]) -> Result<Vec<u8>, CodingFault> {
    let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
    for _ in 0..1_000_000 {
        if decoding.step(body, &mut out, MAX)? == Step::Done {
            return Ok(out);
        }
    }
    panic!("no end of {coding:?}");
}

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

/// Texts of several lengths, some that hardly shrink.
fn texts() -> Vec<Vec<u8>> {
    let mut state = 1u32;
    let mut noise = |len: usize| -> Vec<u8> {
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(byte).collect()
    };
    let json = br#"{"id":1,"name":"Ada","tags":["a","b"]},"#.repeat(5000);
    vec![Vec::new(), b"{}".to_vec(), json, noise(1), noise(300_000), vec![b'0'; MAX]]
}

#[test]
fn what_was_encoded_is_decoded() {
    for coding in CODINGS {
        for text in texts() {
            let body = encoded(coding, &text);
            assert!(decoded(coding, &body) == Ok(text), "{coding:?}");
        }
    }
}

#[test]
fn a_body_that_ends_early_is_truncated_wherever_it_is_cut() {
    for coding in CODINGS {
        let body = encoded(coding, &br#"{"id":1,"name":"Ada"},"#.repeat(40));
        for len in 1..body.len() {
            let cut = decoded(coding, &body[..len]);
            assert_eq!(cut, Err(CodingFault::Truncated), "{coding:?} cut at {len}");
        }
    }
}

#[test]
fn nothing_may_stand_behind_the_end() {
    for coding in CODINGS {
        let mut body = encoded(coding, b"[1,2,3]");
        body.extend_from_slice(b"garbage!");
        assert_eq!(decoded(coding, &body), Err(CodingFault::Malformed), "{coding:?}");
    }
}

#[test]
fn members_and_frames_follow_each_other_up_to_a_bound() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let two = [encoded(coding, b"[1,"), encoded(coding, b"2]")].concat();
        assert_eq!(decoded(coding, &two).as_deref(), Ok(&b"[1,2]"[..]), "{coding:?}");
        let most = encoded(coding, b"1").repeat(CODING_MEMBERS_MAX);
        assert_eq!(decoded(coding, &most).map(|out| out.len()), Ok(CODING_MEMBERS_MAX));
        let more = encoded(coding, b"1").repeat(CODING_MEMBERS_MAX + 1);
        assert_eq!(decoded(coding, &more), Err(CodingFault::Malformed), "{coding:?}");
    }
    let two = encoded(Coding::Brotli, b"1").repeat(2);
    assert_eq!(decoded(Coding::Brotli, &two), Err(CodingFault::Malformed));
}

#[test]
fn a_frame_to_be_skipped_is_skipped() {
    let skipped = [&0x184d_2a50u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
    let body = [&skipped[..], &encoded(Coding::Zstd, b"[1]"), &skipped].concat();
    assert_eq!(decoded(Coding::Zstd, &body).as_deref(), Ok(&b"[1]"[..]));
    let cut = &skipped[..skipped.len() - 1];
    assert_eq!(decoded(Coding::Zstd, cut), Err(CodingFault::Truncated));
}

#[test]
fn a_wrong_checksum_is_malformed() {
    let mut gzip = encoded(Coding::Gzip, b"[1,2,3]");
    let end = gzip.len();
    gzip[end - 8] ^= 1;
    assert_eq!(decoded(Coding::Gzip, &gzip), Err(CodingFault::Malformed));
    gzip[end - 8] ^= 1;
    gzip[end - 1] ^= 1;
    assert_eq!(decoded(Coding::Gzip, &gzip), Err(CodingFault::Malformed), "the length counts too");
    let mut zstd = encoded(Coding::Zstd, &b"[1,2,3]".repeat(20));
    // The bit of the frame header descriptor that says so (RFC 8878 §3.1.1.1.1).
    assert!(zstd[4] & 4 != 0, "the encoder writes a checksum");
    let end = zstd.len();
    zstd[end - 1] ^= 1;
    assert_eq!(decoded(Coding::Zstd, &zstd), Err(CodingFault::Malformed));
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    for coding in CODINGS {
        // 16 MiB of zeros, in some ten thousand bytes.
        let body = encoded(coding, &vec![b'0'; 16 << 20]);
        let (mut decoding, mut out) = (Decoding::new(coding), Vec::new());
        let mut steps = 0;
        let fault = loop {
            steps += 1;
            match decoding.step(&body, &mut out, MAX) {
                Ok(Step::More) => assert!(out.len() <= MAX, "{coding:?}"),
                ended => break ended,
            }
        };
        assert_eq!(fault, Err(CodingFault::TooLarge), "{coding:?}");
        assert!(out.len() <= MAX + 2 * ZSTD_WINDOW_BYTES_MAX as usize, "{coding:?}: {}", out.len());
        assert!(steps < 1000, "{coding:?}: {steps} steps");
    }
}

#[test]
fn windows_beyond_the_codings_rules_are_refused() {
    // A window descriptor of 16 MiB: exponent 14 (RFC 8878 §3.1.1.1.2), then an empty last block.
    let wide = [&0xfd2f_b528u32.to_le_bytes()[..], &[0, 14 << 3, 1, 0, 0]].concat();
    assert_eq!(decoded(Coding::Zstd, &wide), Err(CodingFault::Malformed));
    let narrow = [&0xfd2f_b528u32.to_le_bytes()[..], &[0, 13 << 3, 1, 0, 0]].concat();
    assert_eq!(decoded(Coding::Zstd, &narrow).as_deref(), Ok(&b""[..]));
    // The first byte of a large window, which is reserved in RFC 7932 §9.1.
    assert_eq!(decoded(Coding::Brotli, &[0x11, 0x1e, 0x03]), Err(CodingFault::Malformed));
}

#[test]
fn the_field_names_one_coding_or_none() {
    let of = |values: &[&str]| Coding::of(values.iter().map(|value| value.as_bytes()));
    for none in [&[][..], &["identity"], &["", " , "]] {
        assert_eq!(of(none), Ok(None));
    }
    assert_eq!(of(&["GZip"]), Ok(Some(Coding::Gzip)));
    assert_eq!(of(&["x-gzip"]), Ok(Some(Coding::Gzip)));
    assert_eq!(of(&["identity, br ,"]), Ok(Some(Coding::Brotli)));
    assert_eq!(of(&["zstd"]), Ok(Some(Coding::Zstd)));
    for refused in
        [&["gzip, gzip"][..], &["gzip", "br"], &["deflate"], &["compress"], &["\"gzip\""]]
    {
        assert_eq!(of(refused), Err(CodingFault::Unknown), "{refused:?}");
    }
}
