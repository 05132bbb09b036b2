//! An entity tag over bytes that we put together, and whether a client has them already.
//!
//! The tag is XXH3's 128 bits of exactly the bytes of the body, so it is strong (RFC 9110 §8.8.1), the same
//! on every core, in every process and after every restart, and costs about a hundredth of what the check of the JSON does. It is no
//! cryptographic digest: it tells versions of one answer apart and never authenticates them. A digest
//! with hardware's help was refused at ten times the price.

use twox_hash::XxHash3_128;

use crate::base::limits::ETAGS_MATCHED_MAX;

/// A strong entity tag with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag([u8; 34]);

impl Etag {
    /// The tag of a body in pieces; how it is cut does not matter.
    pub fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut hasher = XxHash3_128::new();
        pieces.for_each(|piece| hasher.write(piece));
        let hash = hasher.finish_128();
        let mut tag = [b'"'; 34];
        for (at, digit) in tag[1..33].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(hash >> (124 - 4 * at)) as usize & 15];
        }
        Self(tag)
    }

    /// The tag as it stands in ETag.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether these values of If-None-Match hold the tag, compared weakly (RFC 9110 §13.1.2, §8.8.3.2). A
    /// value that is no list of tags holds none.
    pub fn is_among<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut looked = 0;
        for value in values {
            let mut rest = value.trim_ascii();
            if rest == b"*" {
                return true;
            }
            while let Some((tag, behind)) = next(rest) {
                looked += 1;
                if tag == self.0 {
                    return true;
                }
                if looked == ETAGS_MATCHED_MAX {
                    return false;
                }
                rest = behind;
            }
        }
        false
    }
}

/// The first tag of a list, without its `W/`, and what stands behind it.
fn next(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let skipped = list.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
    let list = &list[skipped..];
    let tag = list.strip_prefix(b"W/").unwrap_or(list);
    let close = 1 + tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')?;
    Some((&tag[..=close], &tag[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Etag {
        Etag::of(std::iter::once(text.as_bytes()))
    }

    #[test]
    fn a_tag_is_of_the_bytes_however_they_are_cut() {
        let text = "0123456789".repeat(200);
        let whole = tag(&text);
        for size in [1, 7, 64, 239, 241, 1024] {
            assert_eq!(Etag::of(text.as_bytes().chunks(size)), whole);
        }
        assert_ne!(tag("a"), tag("b"));
        // XXH3's own value for no input: the tag may never change between versions without a reason.
        assert_eq!(tag("").as_bytes(), b"\"99aa06d3014798d86001c324468d497f\"");
    }

    #[test]
    fn a_list_of_tags_is_compared_weakly() {
        let etag = tag("");
        let own = String::from_utf8(etag.as_bytes().to_vec()).expect("ASCII");
        for (values, among) in [
            (vec![own.clone()], true),
            (vec![format!("W/{own}")], true),
            (vec![format!("\"a\", \"b,c\" ,, W/{own}")], true),
            (vec!["\"a\"".into(), own.clone()], true),
            (vec!["*".into()], true),
            (vec![" * ".into()], true),
            (vec!["\"*\"".into()], false),
            (vec![own.to_uppercase()], false),
            (vec![own.trim_matches('"').into()], false),
            (vec![format!("junk, {own}")], false),
            (vec![format!("\"a {own}")], false),
            (vec![String::new()], false),
            (vec![], false),
        ] {
            assert_eq!(
                etag.is_among(values.iter().map(|value| value.as_bytes())),
                among,
                "{values:?}"
            );
        }
        let many = format!("{}{own}", "\"x\",".repeat(ETAGS_MATCHED_MAX));
        assert!(!etag.is_among(std::iter::once(many.as_bytes())));
    }
}
