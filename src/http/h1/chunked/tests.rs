//! The rules of RFC 9112 §7.1, and the ways to break them. Never a lenient case.

use super::*;
use crate::base::buffer::BufferPool;

/// Body, trailers and what follows the message; `None` while it has not ended.
type Outcome = Result<Option<(Vec<u8>, Vec<u8>, Vec<u8>)>, ChunkError>;

fn decoded(raw: &[u8]) -> Outcome {
    let mut decoder = Decoder::new();
    let mut bytes = raw.to_vec();
    let chunked = decoder.decode(&mut bytes)?;
    let whole = || {
        let (data, rest) = (&bytes[..chunked.data], &bytes[chunked.consumed..]);
        (data.to_vec(), decoder.trailers().to_vec(), rest.to_vec())
    };
    Ok(chunked.done.then(whole))
}

fn body(raw: &[u8]) -> Result<Vec<u8>, ChunkError> {
    decoded(raw).map(|outcome| outcome.expect("the body has ended").0)
}

#[test]
fn chunks_are_joined_and_what_follows_is_left() {
    let raw = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\n\r\nGET /";
    let expected = (b"hello world".to_vec(), vec![], b"GET /".to_vec());
    assert_eq!(decoded(raw), Ok(Some(expected)));
    assert_eq!(body(b"A\r\n0123456789\r\n0\r\n\r\n").as_deref(), Ok(&b"0123456789"[..]));
    assert_eq!(body(b"00a ;x\r\n0123456789\r\n000;y\r\n\r\n").as_deref(), Ok(&b"0123456789"[..]));
    assert_eq!(decoded(b"5\r\nhello\r\n0\r\n\r"), Ok(None));
}

#[test]
fn sizes_are_hex_digits_only() {
    for size in
        ["", " 5", "0x5", "+5", "-5", "5_0", "5,5", "5.0", "5h", "\"5\"", "5\0", "0 0", "5 ", "5\t"]
    {
        let raw = format!("{size}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(decoded(raw.as_bytes()), Err(ChunkError::SizeLine), "{size:?}");
    }
    for size in ["10000000000000005", "fffffffffffffffe", "8000000000000000", "00000000000000005"] {
        let raw = format!("{size}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(decoded(raw.as_bytes()), Err(ChunkError::SizeTooLarge), "{size:?}");
    }
    assert_eq!(decoded(b"7fffffffffffffff\r\nx"), Ok(None));
}

#[test]
fn lines_end_with_crlf_only() {
    for raw in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\rXhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5;\nx\r\nhello\r\n0\r\n\r\n",
        b"5;a\rX\r\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\nZ: z\r\n\r\n",
        b"0\r\nX: y\0\r\n\r\n",
    ] {
        assert!(decoded(raw).is_err(), "{}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn extensions_are_bounded_per_line_and_over_the_body() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(CHUNK_EXTENSION_BYTES_MAX));
    assert_eq!(decoded(long.as_bytes()), Err(ChunkError::ExtensionTooLong));
    let many = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(200);
    assert_eq!(decoded(many.as_bytes()), Err(ChunkError::TooMuchFraming));
    let tiny = "1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    assert_eq!(body(tiny.as_bytes()).map(|body| body.len()), Ok(20_000));
}

#[test]
fn trailers_pass_unless_they_speak_of_framing_routing_or_identity() {
    let raw = b"0\r\nX-T: 1\r\nHost: evil\r\nAuthorization: x\r\nContent-Length: 5\r\nVary: *\r\n\
        X_Forwarded_For: 1\r\nConnection: close\r\netag: \"a\"\r\n\r\n";
    let trailers = decoded(raw).expect("well-formed").expect("whole").1;
    assert_eq!(trailers, b"X-T: 1\r\netag: \"a\"\r\n");
}

#[test]
fn malformed_or_endless_trailers_are_refused() {
    for line in
        ["X : y", ": y", "X", "X y: z", " X: y", "Content_Length: 5", "Transfer-Encoding.: x"]
    {
        let raw = format!("0\r\n{line}\r\n\r\n");
        assert_eq!(decoded(raw.as_bytes()), Err(ChunkError::Trailer), "{line:?}");
    }
    let endless = format!("0\r\n{}", "X: y\r\n".repeat(TRAILER_BYTES_MAX / 4));
    assert_eq!(decoded(endless.as_bytes()), Err(ChunkError::TrailerTooLong));
}

#[test]
fn a_decoder_is_reusable() {
    let mut decoder = Decoder::new();
    for _ in 0..2 {
        let mut bytes = *b"2\r\nok\r\n0\r\nX: y\r\n\r\n";
        let chunked = decoder.decode(&mut bytes).expect("well-formed");
        assert_eq!((chunked.data, chunked.done, chunked.consumed), (2, true, bytes.len()));
        assert_eq!(decoder.trailers(), b"X: y\r\n");
        let after = decoder.decode(&mut bytes).expect("done stays done");
        assert_eq!((after.consumed, after.data, after.done), (0, 0, true));
        decoder.reset();
        assert!(decoder.trailers().is_empty() && !decoder.is_done());
    }
}

#[test]
fn a_frame_is_made_in_place_and_never_empty() {
    let pool = BufferPool::new(1);
    let mut buf = pool.take().expect("within budget");
    buf.clear_with_headroom(FRAME_HEADROOM);
    assert!(frame(&mut buf) && buf.is_empty(), "no data makes no chunk");
    assert!(buf.put(&[b'x'; 300]) && frame(&mut buf));
    assert!(buf.data().starts_with(b"12c\r\nxx") && buf.data().ends_with(b"x\r\n"));

    buf.clear_with_headroom(FRAME_HEADROOM);
    buf.fill(buf.spare() - FRAME_TAILROOM + 1);
    let before = buf.len();
    assert!(!frame(&mut buf) && buf.len() == before, "no room for the end of the chunk");

    buf.clear();
    assert!(finish(&mut buf, b"X: y\r\n"));
    assert_eq!(buf.data(), b"0\r\nX: y\r\n\r\n");
}
