//! The last frame of a connection, after the `h2` crate wrote it (RFC 9113 §6.8).
//!
//! The crate calls whatever it cannot read PROTOCOL_ERROR, where the standard has a name for it. Only the code is
//! ever changed, and only in a frame that is whole.

/// GOAWAY without debug data: its header, the last stream and the code.
const HEADER: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
const CODE_AT: usize = 4;

/// Puts `code` into the GOAWAY at the end of `written`, where there is one.
pub fn put_code(written: &mut [u8], code: u32) {
    if let Some((rest, payload)) = written.split_last_chunk_mut::<8>()
        && rest.ends_with(&HEADER)
    {
        payload[CODE_AT..].copy_from_slice(&code.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_a_goaway_at_the_end_is_changed() {
        let goaway = [&HEADER[..], &[0, 0, 0, 5, 0, 0, 0, 1]].concat();
        let mut written = [b"before".as_slice(), &goaway].concat();
        put_code(&mut written, 9);
        assert_eq!(&written[..19], &[b"before".as_slice(), &goaway].concat()[..19]);
        assert_eq!(&written[19..], &9_u32.to_be_bytes());
        for other in [&goaway[..16], &[&goaway[..], b"x"].concat(), b""] {
            let mut written = other.to_vec();
            put_code(&mut written, 9);
            assert_eq!(written, other);
        }
    }
}
