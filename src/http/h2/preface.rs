//! The first frame that we send, with a setting that the `h2` crate does not know (RFC 9113 §3.4, §6.5).
//!
//! Settings of the crate are never changed, and what is not SETTINGS is left as it is.

use crate::base::buffer::Buf;

/// Priorities are those of RFC 9218, and no others (§2.1).
pub const NO_RFC7540_PRIORITIES: [u8; 6] = [0, 9, 0, 0, 0, 1];

const HEADER_BYTES: usize = 9;
const LENGTH_AT: usize = 2;
const SETTINGS: [u8; 2] = [4, 0];

/// Copies `written` into `out` with one setting more in its first frame; `false` when that is not SETTINGS, or does not fit.
pub fn put_setting(out: &mut Buf, written: &[u8], setting: [u8; 6]) -> bool {
    let Some(header) = written.first_chunk::<HEADER_BYTES>() else { return false };
    let [0, 0, length, kind, flags, ..] = *header else { return false };
    let more = length.checked_add(setting.len() as u8);
    let (Some(more), SETTINGS) = (more, [kind, flags]) else { return false };
    let mut header = *header;
    header[LENGTH_AT] = more;
    let behind = &written[HEADER_BYTES..];
    let Some((settings, rest)) = behind.split_at_checked(usize::from(length)) else { return false };
    [&header[..], settings, &setting, rest].into_iter().all(|piece| out.put(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::BufferPool;

    #[test]
    fn settings_get_one_more_and_the_rest_stays() {
        let pool = BufferPool::new(1);
        let written = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7][..], b"rest"].concat();
        let mut out = pool.take().expect("within budget");
        assert!(put_setting(&mut out, &written, NO_RFC7540_PRIORITIES));
        let expected =
            [&[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7][..], &[0, 9, 0, 0, 0, 1], b"rest"];
        assert_eq!(out.data(), expected.concat());
        out.clear();
        for other in
            [&[0, 0, 0, 4, 1, 0, 0, 0, 0][..], &[0, 0, 8, 7, 0, 0, 0, 0, 0], &written[..12], b""]
        {
            assert!(!put_setting(&mut out, other, NO_RFC7540_PRIORITIES));
        }
    }
}
