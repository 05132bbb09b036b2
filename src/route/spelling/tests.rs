//! Tests of path spellings: what is refused by default, and what each choice makes of it.

use super::*;

fn split(path: &str, spelling: PathSpelling) -> Result<Vec<String>, PathFault> {
    let mut scratch = PathScratch::default();
    scratch.split(path.as_bytes(), &spelling)?;
    let text = |n| String::from_utf8(scratch.text(n, path.as_bytes()).to_vec()).expect("UTF-8");
    Ok((0..scratch.segments.len()).map(text).collect())
}

fn refused(path: &str) -> PathFault {
    split(path, PathSpelling::default()).expect_err(path)
}

#[test]
fn segments_are_split_before_they_are_decoded() {
    let taken = |path| split(path, PathSpelling::default()).expect("taken");
    assert_eq!(taken("/"), [""]);
    assert_eq!(taken("/a/b"), ["a", "b"]);
    assert_eq!(taken("/a/"), ["a", ""]);
    assert_eq!(taken("/%61/b%20c/%C3%A9"), ["a", "b c", "é"]);
    assert_eq!(taken("/a.b/..c/100%25"), ["a.b", "..c", "100%"]);
}

#[test]
fn the_default_refuses_every_spelling_that_origins_read_differently() {
    use PathFault::*;
    for (paths, fault) in [
        (
            &[
                "/a/../b",
                "/..",
                "/.",
                "/./a",
                "/%2e%2E/a",
                "/.%2e",
                "/a/...",
                "/..;/b",
                "/..%2fb",
                "/..%20/a",
                "/..%3Fx/a",
                "/%ef%bc%8e%ef%bc%8e/a",
                "/%e2%80%a5/a",
            ][..],
            DotSegment,
        ),
        (
            &["//a", "///", "/%20/a", "/%3fx/a", "/;", "/;/a", "/%2f", "/a/%2f", "/a//b;c"],
            EmptySegment,
        ),
        (&["/a%ef%bc%8fb", "/a%2fb//c", "/a;b/c%2fd"], EncodedSlash),
        (&["/a\\b", "/a%5cb", "/..%5C", "/a%ef%bc%bcb"], Backslash),
        (&["/a%00", "/a%0d%0a", "/%7f"], ControlByte),
        (&["/a%", "/a%2", "/a%zz", "/%u002e"], BrokenEscape),
        (
            &[
                "/%252e%252e",
                "/a%252fb",
                "/%25%32%65",
                "/a%255c",
                "/a%2500",
                "/a%253b",
                "/a%25252f",
                "/%25u002e",
            ],
            DoubleEncoding,
        ),
        (&["/%c0%ae", "/%ff", "/%c0%af", "/%e0%80%ae"], NotUtf8),
    ] {
        for path in paths {
            assert_eq!(refused(path), fault, "{path}");
        }
    }
    assert_eq!(refused(&"/a".repeat(PATH_SEGMENTS_MAX + 1)), TooDeep);
}

#[test]
fn a_kept_semicolon_does_not_change_which_route_matches() {
    let kept = PathSpelling { semicolon: Delimiter::Keep, ..PathSpelling::default() };
    assert_eq!(split("/admin;x=1/b%3by", kept), Ok(vec!["admin".into(), "b".into()]));
    assert_eq!(split("/..;x/b", kept), Err(PathFault::DotSegment));
    assert_eq!(split("/;x/b", kept), Err(PathFault::EmptySegment));
}

#[test]
fn a_kept_slash_stays_in_its_segment() {
    let kept = PathSpelling { encoded_slash: Delimiter::Keep, ..PathSpelling::default() };
    assert_eq!(split("/a%2Fb/c", kept), Ok(vec!["a/b".into(), "c".into()]));
    assert_eq!(split("/x/..%2Fb", kept), Err(PathFault::DotSegment));
    assert_eq!(split("/x/%2Fb", kept), Err(PathFault::EmptySegment));
}

fn rewritten(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    let length = rewrite(&mut bytes, true, true);
    String::from_utf8(bytes[..length].to_vec()).expect("ASCII")
}

#[test]
fn resolving_and_merging_are_those_of_rfc_3986() {
    for (path, result) in [
        ("/a/b/c/./../../g", "/a/g"),
        ("/mid/content=5/../6", "/mid/6"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/%2E%2e/b", "/b"),
        ("//a///b//", "/a/b/"),
        ("/", "/"),
        ("/a", "/a"),
    ] {
        assert_eq!(rewritten(path), result, "{path}");
    }
}

#[test]
fn a_rewritten_head_reads_like_one_that_was_sent_so() {
    use crate::http::h1::parse::{self, HeadLimits};
    use crate::http::head::Request;
    for (sent, target) in [
        ("GET /a/../b//c?q=/../ HTTP/1.1\r\nHost: h\r\n\r\n", "/b/c?q=/../"),
        ("GET http://h:80/a/./b HTTP/1.1\r\nHost: h\r\n\r\n", "http://h:80/a/b"),
    ] {
        let mut raw = sent.as_bytes().to_vec();
        let mut head = RequestHead::default();
        parse::request(&raw, 0, &HeadLimits::default(), &mut head).expect("a request");
        let spelling = PathSpelling {
            dot_segments: DotSegments::Resolve,
            empty_segments: EmptySegments::Merge,
            ..PathSpelling::default()
        };
        spelling.normalise(&mut head, &mut raw);
        let request = Request { head: &head, raw: &raw };
        assert_eq!(request.target(), target.as_bytes());
        assert_eq!((request.method_text(), request.host()), (&b"GET"[..], &b"h"[..]));
        assert_eq!(&raw[head.target.whole.end as usize..][..11], b" HTTP/1.1\r\n");
    }
}
