//! Templates never break out, the check of JSON agrees with serde_json, a merge is what it says.
//!
//! None of the values tried is ever trusted to be text, let alone well-formed.

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use ringway::aggregate::each::Batch;
use ringway::aggregate::fuzz;
use ringway::aggregate::json::{self, Path, Tokens};
use ringway::aggregate::{Members, Part, PartFault, PartOutcome, Pass, Plan, merge, partial};
use ringway::base::ids::UpstreamId;
use ringway::base::limits::JSON_DEPTH_MAX;
use ringway::base::name::Name;
use ringway::base::span::Span;
use ringway::exchange::client::Client;
use ringway::exchange::identity::Identity;
use ringway::exchange::params::Params;
use ringway::exchange::template::{Inputs, PartValues, Template, TemplateKind};
use ringway::http::head::{Request, RequestHead};
use ringway::http::headers::Field;
use ringway::http::names::FieldName;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

// ---- JSON ------------------------------------------------------------------------------------------

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[\\\\\"/\u{0}-\u{20}é😀]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((".{0,12}", inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn written(value: &Value, pretty: bool) -> Vec<u8> {
    let text = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    text.expect("a value can be written")
}

/// What serde_json says, without its bounds on numbers.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The deepest nesting of a well-formed text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let expected = is_json(text) && depth(text) <= JSON_DEPTH_MAX;
    let verdict = json::check(text);
    prop_assert_eq!(
        verdict.is_ok(),
        expected,
        "{:?} on {:?}",
        verdict,
        String::from_utf8_lossy(text)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_are_accepted_and_their_mutations_judged_as_serde_json_does(
        value in value(),
        pretty in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 0..6),
    ) {
        let mut text = written(&value, pretty);
        prop_assert!(json::check(&text).is_ok());
        let likely = b"{}[]:,\"\\0159.eE+-truefalsn \n\t\x00\x80";
        for (at, byte, how) in edits {
            let at = at.index(text.len().max(1));
            let byte = if how % 2 == 0 { likely[usize::from(byte) % likely.len()] } else { byte };
            match how {
                0 | 1 if at < text.len() => text[at] = byte,
                2 if at < text.len() => { text.remove(at); }
                _ => text.insert(at.min(text.len()), byte),
            }
            agrees(&text)?;
        }
    }

    #[test]
    fn texts_of_json_bytes_are_judged_as_serde_json_does(
        text in "[\\[\\]{}:,\"0-9.eE+\\- \\\\tfnulrasb]{0,200}",
    ) {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_does(text in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees(&text)?;
    }

    #[test]
    fn nesting_is_bounded_exactly(open in "[\\[{]{1,400}") {
        let text = open.replace('{', "{\"a\":");
        let close: String = open.chars().rev().map(|c| if c == '[' { ']' } else { '}' }).collect();
        agrees(format!("{text}0{close}").as_bytes())?;
    }

    #[test]
    fn a_pick_finds_what_serde_json_finds(value in value(), pretty in any::<bool>(), index in 0u32..4) {
        let wrapped = json!({ "a": [0, { "b": value }], "c": { "d": value } });
        let text = written(&wrapped, pretty);
        for path in ["a[1].b".to_owned(), "c.d".to_owned(), format!("c.d[{index}]")] {
            let expected = match path.as_str() {
                "a[1].b" | "c.d" => Some(&value),
                _ => value.get(index as usize),
            };
            let mut tokens = Tokens::default();
            let document = json::index(&text, &mut tokens).expect("JSON");
            let found = Path::parse(&path).expect("a path").find(&document).map(|at| document.value(at));
            let found = found.map(|span| serde_json::from_slice::<Value>(span.of(&text)).expect("JSON"));
            let expected = expected.map(|value| serde_json::from_slice::<Value>(&written(value, false)).expect("JSON"));
            prop_assert_eq!(found, expected);
        }
    }

    /// Whatever the order of a batch's answer and the spelling of its keys, each element gets its own, and one
    /// that nobody asked for goes nowhere.
    #[test]
    fn a_batch_is_split_as_the_naive_one_is(
        known in prop::collection::btree_map("[a-c\"\\\\é0-9]{1,3}", value(), 0..12)
            .prop_flat_map(|known| Just(known.into_iter().collect::<Vec<_>>()).prop_shuffle()),
        asked in prop::collection::btree_set("[a-c\"\\\\é0-9]{1,3}", 0..12),
        pretty in any::<bool>(),
        as_numbers in any::<bool>(),
    ) {
        // A text that is a number may be spelt as one, on either side.
        let spell = |key: &String, as_number: bool| match key.parse::<u32>() {
            Ok(number) if as_number && number.to_string() == *key => Value::from(number),
            _ => Value::from(key.as_str()),
        };
        let answer = known.iter().map(|(key, value)| json!({ "id": spell(key, as_numbers), "v": value }));
        let answer = written(&Value::from(answer.collect::<Vec<_>>()), pretty);
        let asked: Vec<(String, Vec<u8>)> = asked
            .into_iter()
            .map(|key| { let text = written(&spell(&key, !as_numbers), false); (key, text) })
            .collect();
        let elements: Vec<&[u8]> = asked.iter().map(|(_, text)| &text[..]).collect();
        let batch = Batch { size: 12, by: Path::parse("id").expect("a path"), shape: None };
        let found = batch.split(&answer, &elements, None, &mut Tokens::default()).expect("an array");
        prop_assert_eq!(found.len(), asked.len());
        for ((key, _), found) in asked.iter().zip(found) {
            let naive = known.iter().find(|(known, _)| known == key).map(|(_, value)| value);
            let naive = naive.map(|value| serde_json::from_slice::<Value>(&written(value, false)).expect("JSON"));
            let found = found.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON")["v"].take());
            prop_assert_eq!(found, naive, "{:?}", key);
        }
    }

    #[test]
    fn a_selection_is_what_the_naive_one_is(
        value in shapely(),
        pretty in any::<bool>(),
        lists in prop::collection::vec(("[-+>]", path()), 0..8),
    ) {
        let lists: String = lists.iter().map(|(sign, path)| match sign.as_str() {
            ">" => format!("{path}=z "),
            _ => format!("{sign}{path} "),
        }).collect();
        let text = if pretty { reindented(&value) } else { value };
        fuzz::select(format!("{lists}\n{text}").as_bytes());
    }
}

/// A path over few names, so that it often meets something.
fn path() -> impl Strategy<Value = String> {
    let step = prop_oneof![3 => "[abz]", 2 => Just("[*]".to_owned()), 1 => "\\[[012]\\]"];
    prop::collection::vec(step, 1..5).prop_map(|steps| {
        let joined = steps.iter().map(|step| match step.starts_with('[') {
            true => step.clone(),
            false => format!(".{step}"),
        });
        joined.collect::<String>().trim_start_matches('.').to_owned()
    })
}

/// Texts over few names, some of them escaped or repeated, with numbers that no double holds.
fn shapely() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1.0"),
        Just("12345678901234567890"),
        Just("\"x,}]\\\"\""),
        Just("null"),
        Just("{}"),
        Just("[]"),
        Just("\"\""),
    ];
    leaf.prop_map(str::to_owned).prop_recursive(4, 48, 5, |inner| {
        let name = prop_oneof![4 => "[abz]".prop_map(|name| name), 1 => Just("\\u0061".to_owned()), 1 => Just("\\ud800".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec((name, inner), 0..5).prop_map(|all| {
                let members: Vec<String> = all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// The text with white space at every token but inside of strings.
fn reindented(text: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::from("\n"), false, false);
    for c in text.chars() {
        let token = !in_string && "{}[]:,".contains(c);
        if token {
            out.push(' ');
        }
        out.push(c);
        if token {
            out.push_str("\r\n\t");
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    out
}

// ---- merge -----------------------------------------------------------------------------------------

fn part(name: &str, otherwise: &Value) -> Part {
    let target = Template::parse("/", TemplateKind::Target, &[]).expect("a target");
    let mut part = Part::new(Name::new(name), UpstreamId(0), target, Duration::from_secs(1));
    part.otherwise = Some(written(otherwise, false).into());
    part
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_is_the_naive_merge_whatever_the_order_of_arrival(
        parts in prop::collection::btree_map(".{0,12}", (value(), value(), 0..4), 1..8),
        arrival in any::<u64>(),
    ) {
        let plan = Plan::new(parts.iter().map(|(name, (_, other, _))| part(name, other)).collect(), Pass::default());
        let bodies: Vec<Vec<u8>> = parts.values().map(|(value, _, how)| written(value, how % 2 == 0)).collect();
        let mut outcomes = vec![PartOutcome::Empty; bodies.len()];
        let mut expected = Map::new();
        // Answers come in some order; each fills the place of its part.
        let mut order: Vec<usize> = (0..bodies.len()).collect();
        order.rotate_left((arrival as usize) % bodies.len());
        if arrival & 1 << 40 != 0 {
            order.reverse();
        }
        let ways: Vec<_> = parts.values().map(|(_, _, how)| *how).collect();
        for index in order {
            outcomes[index] = match ways[index] {
                0 | 1 => PartOutcome::Value(&bodies[index]),
                2 => PartOutcome::Empty,
                _ => PartOutcome::Failed(PartFault::Timeout),
            };
        }
        for (name, (value, other, how)) in &parts {
            expected.insert(name.clone(), if *how < 2 { value } else { other }.clone());
        }
        let members = Members::default();
        let merged = merge(&plan, &outcomes, &members);
        let mut out = Vec::new();
        prop_assert!(merged.write(&mut out));
        prop_assert_eq!(out.len(), merged.len());
        prop_assert!(json::check(&out).is_ok());
        let expected: Value = serde_json::from_slice(&written(&Value::Object(expected), false)).expect("JSON");
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), expected);
        // The bytes of the parts stand in plan order.
        let mut at = 0;
        for piece in merged.pieces() {
            prop_assert_eq!(&out[at..at + piece.len()], piece);
            at += piece.len();
        }
    }

    #[test]
    fn what_the_client_is_told_is_one_line_of_printable_ascii(name in "(?s).{0,20}") {
        let plan = Plan::new(vec![part(&name, &Value::Null)], Pass::default());
        let mut out = Vec::new();
        prop_assert!(partial::write(&plan, &[PartOutcome::Failed(PartFault::NotJson)], &mut out));
        prop_assert!(out.iter().all(|byte| (0x20..0x7f).contains(byte)), "{:?}", out);
        prop_assert!(out.ends_with(b";not_json"));
    }
}

// ---- templates -------------------------------------------------------------------------------------

/// Fills a template from a request with hostile values everywhere: the claim `c`, the path parameter
/// `id`, the query parameter `q` and the field `h`.
fn filled(
    kind: TemplateKind,
    text: &str,
    claim: &str,
    raw: &[u8],
    field: &[u8],
) -> Option<Vec<u8>> {
    let template = Template::parse(text, kind, &["id"]).expect("a template");
    let mut head = RequestHead::default();
    let mut bytes = b"/p/".to_vec();
    let mut put = |piece: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(piece);
        Span::new(start, bytes.len())
    };
    let value = put(raw);
    put(b"?q=");
    let query = put(raw);
    let (name, field) = (put(b"h"), put(field));
    head.target.path = Span::new(0, value.end as usize);
    head.target.query = Some(Span::new(query.start as usize - 2, query.end as usize));
    head.fields.push(Field { id: FieldName::Other, name, value: field });
    let mut params = Params::default();
    params.push(value);
    let identity = Identity::from_verified(Rc::new(json!({ "c": claim })));
    let request = Request { head: &head, raw: &bytes };
    let client = Client::default();
    let parts = PartValues::Unknown;
    let identity = Some(&identity);
    let (params, client) = (&params, &client);
    let inputs = Inputs { request, params, identity, client, view: None, parts };
    let mut out = Vec::new();
    template.fill(&inputs, &mut out).ok().map(|()| out)
}

fn count(text: &[u8], byte: u8) -> usize {
    text.iter().filter(|other| **other == byte).count()
}

/// The bytes behind percent-encoding.
fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| text[at] == b'%').and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    out
}

/// A path as an origin resolves it that decodes first and takes `\` for `/`.
fn has_dot_segment(path: &[u8]) -> bool {
    let decoded = decoded(path);
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or(&[]);
        matches!(name, b"." | b"..")
    })
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![".{0,24}", "[./\\\\%2eE5cC&=?#;+\r\n\u{0} {}\"]{0,16}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_changes_the_shape_of_a_target(
        claim in hostile(), text in hostile(), raw in "[!-~]{0,16}", source in 0..4usize,
    ) {
        let raw: String = raw.chars().filter(|c| !"?#".contains(*c)).collect();
        let source = ["{jwt.c}", "{id}", "{query.q}", "{header.h}"][source];
        let template = format!("/a/{source}/b.{source}?x={source}&y=1");
        let Some(out) = filled(TemplateKind::Target, &template, &claim, raw.as_bytes(), text.as_bytes())
        else { return Ok(()) };
        prop_assert!(out.iter().all(u8::is_ascii_graphic), "{:?}", String::from_utf8_lossy(&out));
        prop_assert_eq!(count(&out, b'?'), 1);
        prop_assert_eq!(count(&out, b'#'), 0);
        let cut = out.iter().position(|byte| *byte == b'?').expect("counted above");
        prop_assert_eq!(count(&out[..cut], b'/'), 3);
        prop_assert_eq!((count(&out[cut..], b'&'), count(&out[cut..], b'=')), (1, 2));
        prop_assert!(!has_dot_segment(&out[..cut]), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_rest_never_climbs_and_never_leaves_the_site(raw in "[!-~]{0,24}") {
        let raw: String = raw.chars().filter(|c| !"?#".contains(*c)).collect();
        if let Some(out) = filled(TemplateKind::Location, "/{*id}", "", raw.as_bytes(), b"") {
            prop_assert_eq!(&out[1..], raw.as_bytes());
            prop_assert!(!has_dot_segment(&out) && !matches!(out.get(1), Some(b'/' | b'\\')));
        }
    }

    #[test]
    fn no_value_adds_a_line_to_a_field(claim in hostile(), raw in hostile(), field in prop::collection::vec(any::<u8>(), 0..16)) {
        let text = "{jwt.c}|{query.q}|{header.h}";
        if let Some(out) = filled(TemplateKind::Field, text, &claim, raw.as_bytes(), &field) {
            prop_assert!(!out.iter().any(u8::is_ascii_control));
        }
    }

    #[test]
    fn no_value_changes_the_shape_of_json(claim in hostile(), raw in hostile(), field in prop::collection::vec(any::<u8>(), 0..16)) {
        let text = r#"{"c":"<{jwt.c}>","d":{jwt.c},"h":["{header.h}",{header.h}],"q":"{query.q?}"}"#;
        if let Some(out) = filled(TemplateKind::Json, text, &claim, raw.as_bytes(), &field) {
            prop_assert!(json::check(&out).is_ok());
            let value: Value = serde_json::from_slice(&out).expect("checked");
            prop_assert_eq!(&value["c"], &Value::from(format!("<{claim}>")));
            prop_assert_eq!(&value["d"], &Value::from(claim));
            prop_assert_eq!(&value["h"][0], &value["h"][1]);
            prop_assert_eq!(value.as_object().map(Map::len), Some(4));
        }
    }

    #[test]
    fn any_text_is_a_template_or_an_error_that_points_into_it(text in "[{}|?a-z.*/\"\\\\é jwt]{0,40}") {
        for kind in [TemplateKind::Target, TemplateKind::Location, TemplateKind::Field, TemplateKind::Json, TemplateKind::Plain] {
            if let Err(error) = Template::parse(&text, kind, &["id", "*rest"]) {
                prop_assert!(text.is_char_boundary(error.offset) && text.is_char_boundary(error.offset + error.len));
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

// ---- the fuzz corpus -------------------------------------------------------------------------------

#[test]
fn the_fuzz_corpus_breaks_no_promise() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (target, promise) in
        [("json", fuzz::json as fn(&[u8])), ("select", fuzz::select), ("template", fuzz::template)]
    {
        let seeds = std::fs::read_dir(corpus.join(target)).expect("the corpus is kept");
        let paths: Vec<_> = seeds.map(|seed| seed.expect("readable").path()).collect();
        assert!(!paths.is_empty(), "{target}");
        for path in paths {
            promise(&std::fs::read(path).expect("readable"));
        }
    }
}
