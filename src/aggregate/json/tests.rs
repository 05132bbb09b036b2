//! Every case of the shared corpus, and agreement with serde_json at every place a block can break.

use std::path::PathBuf;

use base64::Engine as _;
use serde::de::IgnoredAny;

use super::*;
use crate::base::limits::JSON_DEPTH_MAX;

/// Cases of the corpus that RFC 8259 leaves open and that we refuse; all others of its `i` pass.
const REFUSED_BY_CHOICE: &[&str] = &[
    // Not UTF-8 (RFC 8259 §8.1).
    "parsing/i_string_UTF-16LE_with_BOM.json",
    "parsing/i_string_UTF-8_invalid_sequence.json",
    "parsing/i_string_UTF8_surrogate_U+D800.json",
    "parsing/i_string_invalid_utf-8.json",
    "parsing/i_string_iso_latin_1.json",
    "parsing/i_string_lone_utf8_continuation_byte.json",
    "parsing/i_string_not_in_unicode_range.json",
    "parsing/i_string_overlong_sequence_2_bytes.json",
    "parsing/i_string_overlong_sequence_6_bytes.json",
    "parsing/i_string_overlong_sequence_6_bytes_null.json",
    "parsing/i_string_truncated-utf-8.json",
    "parsing/i_string_utf16BE_no_BOM.json",
    "parsing/i_string_utf16LE_no_BOM.json",
    "transform/string_1_invalid_codepoint.json",
    "transform/string_2_invalid_codepoints.json",
    "transform/string_3_invalid_codepoints.json",
    // A byte order mark (§8.1: never sent, and a reader may refuse it).
    "parsing/i_structure_UTF-8_BOM_empty_object.json",
    "own/bom",
    // Deeper than `JSON_DEPTH_MAX` (§9).
    "parsing/i_structure_500_nested_arrays.json",
    "own/deep-10000",
    "own/deep-obj-50000",
];

/// The three ways to classify, which must agree.
fn check_every_way(text: &[u8]) -> Result<Span, JsonFault> {
    let verdict = check(text);
    let shape = classify::check(text);
    assert_eq!(classify::check_portable(text), shape, "{:?}", String::from_utf8_lossy(text));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(classify::check_sse2(text), shape, "{:?}", String::from_utf8_lossy(text));
    let (mut starts, mut portable) = (Tokens::default(), Tokens::default());
    assert_eq!(classify::index(text, &mut starts), shape);
    assert_eq!(classify::index_portable(text, &mut portable), shape);
    assert_eq!(starts, portable, "{:?}", String::from_utf8_lossy(text));
    #[cfg(target_arch = "x86_64")]
    {
        let mut sse2 = Tokens::default();
        assert_eq!(classify::index_sse2(text, &mut sse2), shape);
        assert_eq!(starts, sse2, "{:?}", String::from_utf8_lossy(text));
        check_avx2_and_wide(text, shape, &starts);
    }
    verdict
}

/// Both by themselves, whatever `classify` would choose. The wide one leaves it to another to say what is wrong.
#[cfg(target_arch = "x86_64")]
fn check_avx2_and_wide(text: &[u8], shape: Result<(), JsonFault>, starts: &Tokens) {
    let lossy = || String::from_utf8_lossy(text);
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq") {
        // SAFETY: the features were detected; bmi1 and popcnt came before AVX2.
        assert_eq!(unsafe { classify::x86::check_avx2(text) }, shape, "{:?}", lossy());
    }
    if wide::is_here() {
        check_wide(text, shape, starts);
        // The same where eight words end, and with them a block.
        let sum =
            text.iter().fold(text.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
        let mut moved = vec![b' '; 352 + sum % 160];
        moved.extend_from_slice(text);
        let mut portable = Tokens::default();
        assert_eq!(classify::index_portable(&moved, &mut portable), shape, "{:?}", lossy());
        check_wide(&moved, shape, &portable);
    }
}

#[cfg(target_arch = "x86_64")]
fn check_wide(text: &[u8], shape: Result<(), JsonFault>, starts: &Tokens) {
    let mut found = Tokens::default();
    // SAFETY: the features were detected.
    let (fine, indexed) = unsafe { (wide::check(text), wide::index(text, &mut found)) };
    let lossy = || String::from_utf8_lossy(text);
    assert_eq!((fine, indexed), (shape.is_ok(), shape.is_ok()), "{:?}", lossy());
    assert!(!fine || found == *starts, "{:?}", lossy());
}

/// What serde_json says, without its limits on numbers.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn agree(text: &[u8]) {
    let ours = check_every_way(text);
    assert_eq!(ours.is_ok(), is_json(text), "{ours:?}: {:?}", String::from_utf8_lossy(text));
}

fn corpus() -> PathBuf {
    let shared = std::env::var_os("RINGWAY_SHARED").map(PathBuf::from).or_else(|| {
        let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
        beside.is_dir().then_some(beside)
    });
    shared.unwrap_or_else(|| PathBuf::from("/work/shared")).join("corpora/json/corpus.jsonl")
}

#[test]
fn every_case_of_the_corpus_is_judged_as_it_wants() {
    let path = corpus();
    let lines = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; set RINGWAY_SHARED", path.display()));
    let mut count = 0;
    for line in lines.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("a line is a case");
        let name = case["name"].as_str().expect("a case has a name");
        let packed = case["zbytes"].as_str().expect("a case has bytes");
        let packed = base64::engine::general_purpose::STANDARD.decode(packed).expect("base64");
        let text = miniz_oxide::inflate::decompress_to_vec_zlib(&packed).expect("zlib");
        let wanted = match case["want"].as_str() {
            Some("y") => true,
            Some("n") => false,
            Some("i") => !REFUSED_BY_CHOICE.contains(&name),
            other => panic!("{name} wants {other:?}"),
        };
        let verdict = check_every_way(&text);
        assert_eq!(verdict.is_ok(), wanted, "{name}: {verdict:?}");
        count += 1;
    }
    assert!(count >= 372, "only {count} cases");
}

const DOCUMENTS: &[&str] = &[
    r#"{"a":[1,-0,0.5,-12.25e+10,1E-9,true,false,null,"x\"\\\u00e9y"],"b":{},"c":[],"":{"d":[[{}]]}}"#,
    r#"[{"id":1001,"total":12.50,"open":true,"note":"é\n\ud83d\ude00"},{"id":-7e3,"tags":["",""]}]"#,
    " [ 1 , { \"k\" : null } ] \r\n\t",
    "\"text\"",
    "-10.5e-3",
    "false",
];

#[test]
fn a_document_is_judged_alike_wherever_a_block_breaks() {
    for document in DOCUMENTS {
        for shift in 0..=70 {
            let mut text = vec![b' '; shift];
            text.extend_from_slice(document.as_bytes());
            let span = check_every_way(&text).expect("the document is fine");
            assert_eq!(span.of(&text), document.trim().as_bytes());
        }
    }
}

#[test]
fn one_byte_changed_removed_or_added_is_judged_as_serde_json_does() {
    let bytes = b"{}[]:,\"\\ 0159.eE+-tfnax\x00\n\x80\xc3";
    for document in DOCUMENTS {
        for shift in [0, 31, 50, 63] {
            let mut text = vec![b' '; shift];
            text.extend_from_slice(document.as_bytes());
            for at in shift..text.len() {
                agree(&text[..at]);
                let mut without = text.clone();
                without.remove(at);
                agree(&without);
                for byte in bytes {
                    let mut changed = text.clone();
                    changed[at] = *byte;
                    agree(&changed);
                    let mut more = text.clone();
                    more.insert(at, *byte);
                    agree(&more);
                }
            }
        }
    }
}

#[test]
fn every_short_text_is_judged_as_serde_json_does() {
    let alphabet = b"{}[]:,\"\\0 1.e-+tn";
    let mut text = [0; 5];
    for number in 0..alphabet.len().pow(5) {
        let mut rest = number;
        for byte in &mut text {
            *byte = alphabet[rest % alphabet.len()];
            rest /= alphabet.len();
        }
        assert_eq!(check(&text).is_ok(), is_json(&text), "{:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn each_way_to_fail_has_its_name() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(check(b""), Err(JsonFault::Empty));
    assert_eq!(check(b" \r\n"), Err(JsonFault::Empty));
    assert_eq!(check(b"{\"a\":[1,2"), Err(JsonFault::Truncated));
    assert_eq!(check(b"\"abc"), Err(JsonFault::Truncated));
    assert_eq!(check(b"\"abc\\"), Err(JsonFault::Truncated));
    assert_eq!(check(b"<html>"), Err(JsonFault::Malformed));
    assert_eq!(check(b"{} {}"), Err(JsonFault::Malformed));
    assert_eq!(check(b"\"\xff\""), Err(JsonFault::NotUtf8));
    assert!(check(deep(JSON_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(check(deep(JSON_DEPTH_MAX + 1).as_bytes()), Err(JsonFault::TooDeep));
}

#[test]
fn a_pick_finds_the_last_of_its_name() {
    let text = br#" {"data":{"items":[{"id":1},"x}]\"",[2, 3]],"n":-1.5},"data2":0,"a":1,"a":2,"d\u00e9":3} "#;
    let mut tokens = Tokens::default();
    let document = index(text, &mut tokens).expect("the document is fine");
    let found = |path: &str| {
        let at = Path::parse_one(path).expect("the path is fine").find(&document)?;
        Some(std::str::from_utf8(document.value(at).of(text)).expect("text"))
    };
    assert_eq!(found("data.items[0].id"), Some("1"));
    assert_eq!(found("data.items[1]"), Some(r#""x}]\"""#));
    assert_eq!(found("data.items[2]"), Some("[2, 3]"));
    assert_eq!(found("data.items[2][1]"), Some("3"));
    assert_eq!(found("data.n"), Some("-1.5"));
    assert_eq!(found("data2"), Some("0"));
    assert_eq!(found("a"), Some("2"));
    assert_eq!(found("dé"), Some("3"));
    for path in ["nothing", "data.items[3]", "data[0]", "a.b", "data.items.id"] {
        assert_eq!(found(path), None, "{path}");
    }
}

#[test]
fn a_path_with_stars_names_every_value_in_order() {
    let text = br#"{"items":[{"id":1,"tags":["a","b"]},{"id":"2"},7,{"id":3,"tags":[]},{"tags":["c"],"id":null}],"x":[]}"#;
    let mut tokens = Tokens::default();
    let document = index(text, &mut tokens).expect("the document is fine");
    let found = |path: &str| -> Vec<String> {
        let path = Path::parse(path).expect("the path is fine");
        path.values(&document).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    };
    assert_eq!(found("items[*].id"), ["1", "\"2\"", "3", "null"]);
    assert_eq!(found("items[*].tags[*]"), ["\"a\"", "\"b\"", "\"c\""]);
    assert_eq!(found("items[*].tags[0]"), ["\"a\"", "\"c\""]);
    assert_eq!(found("items[1].id"), ["\"2\""]);
    for path in ["x[*]", "items[*].id[*]", "items[*].none", "[*]", "none[*].id"] {
        assert!(found(path).is_empty(), "{path}");
    }
    let list = index(b"[[1,2],[],[3]]", &mut tokens).expect("fine");
    let path = Path::parse("[*][*]").expect("fine");
    assert_eq!(path.values(&list).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
}

#[test]
fn a_scalar_is_decoded_and_nothing_else_is_one() {
    for (value, text) in [
        (r#""a\u00e9\ud83d\ude00\n\/""#, Some("aé😀\n/")),
        (r#""plain é""#, Some("plain é")),
        ("\"\"", Some("")),
        ("-1.0e5", Some("-1.0e5")),
        ("true", Some("true")),
        (r#""\ud83d""#, None),
        (r#""\ude00\ud83d""#, None),
        ("null", None),
        ("[1]", None),
        ("{}", None),
    ] {
        assert_eq!(scalar(value.as_bytes()).as_deref(), text, "{value}");
    }
}

#[test]
fn names_are_compared_by_what_they_spell() {
    for (written, name, same) in [
        (r"\u0061\u0062", "ab", true),
        (r"a\u0062", "ab", true),
        (r"a\u0062", "abc", false),
        (r"a\u0062c", "ab", false),
        (r"\\", "\\", true),
        (r"\ud83d\ude00", "😀", true),
        (r"\ud83d", "😀", false),
        ("ab", "ab", true),
        ("ab", "a", false),
    ] {
        assert_eq!(key::is(written.as_bytes(), name), same, "{written}");
    }
}

#[test]
fn paths_that_are_none_are_refused() {
    for (path, offset, kind) in [
        ("", 0, PathErrorKind::NameMissing),
        (".a", 0, PathErrorKind::NameMissing),
        ("a.", 2, PathErrorKind::NameMissing),
        ("a..b", 2, PathErrorKind::NameMissing),
        ("a[+1]", 1, PathErrorKind::IndexMalformed),
        ("a[]", 1, PathErrorKind::IndexMalformed),
        ("a[**]", 1, PathErrorKind::IndexMalformed),
        ("a[4294967296]", 1, PathErrorKind::IndexMalformed),
        ("a[x]", 1, PathErrorKind::IndexMalformed),
        ("a[0", 1, PathErrorKind::IndexMalformed),
        ("a[0]b", 1, PathErrorKind::IndexMalformed),
        ("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", 31, PathErrorKind::TooLong),
    ] {
        assert_eq!(Path::parse(path), Err(PathError { offset, kind }), "{path}");
    }
    let several = PathError { offset: 1, kind: PathErrorKind::Several };
    assert_eq!(Path::parse_one("a[*].b"), Err(several));
}
