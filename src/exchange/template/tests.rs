//! What templates render, and what they never let through.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::base::span::Span;
use crate::exchange::Exchange;
use crate::http::head::RequestHead;
use crate::http::headers::Field;
use crate::http::names::FieldName;

struct Asked {
    raw: Vec<u8>,
    head: RequestHead,
    params: Params,
    identity: Option<Identity>,
    client: Client,
}

/// A request for `target`, with the given path parameters (they must occur in the path) and fields.
fn asked(target: &str, values: &[&str], fields: &[(&str, &str)]) -> Asked {
    let mut raw = target.as_bytes().to_vec();
    let mut head = RequestHead::default();
    let cut = target.find('?').unwrap_or(target.len());
    head.target.whole = Span::new(0, target.len());
    head.target.path = Span::new(0, cut);
    head.target.query = (cut < target.len()).then(|| Span::new(cut + 1, target.len()));
    let mut params = Params::default();
    for value in values {
        let at = target.find(value).expect("parameters occur in the path");
        params.push(Span::new(at, at + value.len()));
    }
    for (name, value) in fields {
        let start = raw.len();
        raw.extend_from_slice(name.as_bytes());
        let middle = raw.len();
        raw.extend_from_slice(value.as_bytes());
        let (name, value) = (Span::new(start, middle), Span::new(middle, raw.len()));
        head.fields.push(Field { id: FieldName::Other, name, value });
    }
    let claims = json!({
        "sub": "42", "n": 7, "ok": true, "gone": null, "empty": "",
        "realm": { "name": "a/b", "roles": ["x"] },
        "list": ["a", 7, true], "none": [], "commas": ["a,b"], "nested": [["a"]], "nulls": [null],
        "lines": ["a", "b\nc"],
        "evil": "x\r\ny: z", "quote": "\"},\"a\":1", "dots": "..", "amp": "a&b=c#d+e %",
    });
    let identity = Some(Identity::from_verified(Rc::new(claims)));
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
    Asked { raw, head, params, identity, client: Client { address, ..Client::default() } }
}

fn fill_as(asked: &Asked, kind: TemplateKind, text: &str) -> Result<String, RenderError> {
    let template = Template::parse(text, kind, &["id", "*rest"]).expect("the template is fine");
    let request = Request { head: &asked.head, raw: &asked.raw };
    let identity = asked.identity.as_ref();
    let inputs = Inputs {
        request,
        params: &asked.params,
        identity,
        client: &asked.client,
        view: None,
        parts: PartValues::Unknown,
    };
    let mut out = Vec::new();
    template.fill(&inputs, &mut out)?;
    Ok(String::from_utf8(out).expect("the tests' values are text"))
}

fn target(asked: &Asked, text: &str) -> Result<String, RenderError> {
    fill_as(asked, TemplateKind::Target, text)
}

fn mistake(kind: TemplateKind, text: &str) -> TemplateErrorKind {
    Template::parse(text, kind, &["id", "*rest"]).expect_err("the template is wrong").kind
}

const MISSING: RenderError = RenderError::Missing { claim: false };

#[test]
fn every_source_is_found() {
    let x = asked("/users/7/a/b?q=one&p=two+words", &["7", "a/b"], &[("X-Client", "mobile")]);
    for (text, filled) in [
        ("/{jwt.sub}/{jwt.n}/{jwt.ok}", "/42/7/true"),
        ("/{id}/{path.id}", "/7/7"),
        ("/{*rest}", "/a/b"),
        ("/{rest}", "/a/b"),
        ("/{path.rest}", "/a/b"),
        ("/o?q={query.q}&p={query.p}", "/o?q=one&p=two%20words"),
        ("/{header.x-client}", "/mobile"),
        ("/{client.address}", "/192.0.2.9"),
        ("/{client.network}", "/192.0.2.9"),
        ("/a{{b}}", "/a{b}"),
    ] {
        assert_eq!(target(&x, text).as_deref(), Ok(filled), "{text}");
    }
}

#[test]
fn absence_is_refused_allowed_or_replaced() {
    let x = asked("/?e=", &[], &[]);
    assert_eq!(target(&x, "/{jwt.nobody}"), Err(RenderError::Missing { claim: true }));
    assert_eq!(target(&x, "/{jwt.gone}"), Err(RenderError::Missing { claim: true }));
    assert_eq!(target(&x, "/?q={query.q}"), Err(MISSING));
    assert_eq!(target(&x, "/?q={query.q?}&e={query.e}").as_deref(), Ok("/?q=&e="));
    assert_eq!(target(&x, "/{query.q|a b}?n={query.n|x&y}").as_deref(), Ok("/a%20b?n=x%26y"));
    // An empty segment would name another resource.
    assert_eq!(target(&x, "/users/{jwt.empty}"), Err(RenderError::Missing { claim: true }));
    let strangers = Asked { identity: None, ..x };
    assert_eq!(target(&strangers, "/{jwt.sub}"), Err(RenderError::Missing { claim: true }));
}

#[test]
fn a_value_stays_one_segment_of_a_path() {
    let x = asked("/u/a%2Fb%3Fc%23d", &["a%2Fb%3Fc%23d"], &[("h", "a/b?c#d;e")]);
    assert_eq!(target(&x, "/{id}/z").as_deref(), Ok("/a%2Fb%3Fc%23d/z"));
    assert_eq!(target(&x, "/{header.h}/z").as_deref(), Ok("/a%2Fb%3Fc%23d%3Be/z"));
    assert_eq!(target(&x, "/{jwt.realm.name}").as_deref(), Ok("/a%2Fb"));
    assert_eq!(target(&x, "/{jwt.evil}"), Err(RenderError::Unfit));
    assert_eq!(target(&x, "/{jwt.realm}"), Err(RenderError::Unfit));
}

#[test]
fn no_value_makes_a_dot_segment() {
    for value in [".", "..", "%2e%2E", "..%2fadmin", "a%2f..", "..;x", "..%5cadmin"] {
        let x = asked(&format!("/u/{value}"), &[value], &[]);
        assert_eq!(target(&x, "/{id}/admin"), Err(RenderError::Unfit), "{value}");
    }
    let x = asked("/u/.", &["."], &[]);
    assert_eq!(target(&x, "/.{id}"), Err(RenderError::Unfit));
    assert_eq!(target(&x, "/{id}."), Err(RenderError::Unfit));
    assert_eq!(target(&x, "/v1.{id}").as_deref(), Ok("/v1.."), "not a dot segment");
    assert_eq!(target(&x, "/?x={id}{id}").as_deref(), Ok("/?x=.."), "not in the path");
    assert_eq!(target(&x, "/{jwt.dots}"), Err(RenderError::Unfit));
}

#[test]
fn a_rest_keeps_its_slashes_and_spelling_but_never_climbs() {
    let rest = |value: &str| {
        let x = asked(&format!("/old/7/{value}"), &["7", value], &[]);
        fill_as(&x, TemplateKind::Location, "/new/{path.rest}")
    };
    assert_eq!(rest("a/b%20c;v=1/").as_deref(), Ok("/new/a/b%20c;v=1/"));
    for value in ["a/../b", "..", "a/%2e%2e/b", "a/..%2fb", "/evil.example", "\\evil.example"] {
        assert_eq!(rest(value), Err(RenderError::Unfit), "{value}");
    }
}

#[test]
fn a_value_never_adds_a_pair_or_a_line() {
    let x = asked("/?q=a%26b%3Dc%0D%0A", &[], &[("h", "a&b")]);
    assert_eq!(target(&x, "/?v={jwt.amp}").as_deref(), Ok("/?v=a%26b%3Dc%23d%2Be%20%25"));
    assert_eq!(target(&x, "/?v={query.q}").as_deref(), Ok("/?v=a%26b%3Dc%0D%0A"));
    let field = |text| fill_as(&x, TemplateKind::Field, text);
    assert_eq!(field("u {jwt.sub} {header.h}").as_deref(), Ok("u 42 a&b"));
    assert_eq!(field("{jwt.evil}"), Err(RenderError::Unfit));
    assert_eq!(field("{query.q}"), Err(RenderError::Unfit));
}

#[test]
fn a_claim_that_is_a_list_is_one_in_a_field_and_nothing_else_is() {
    let x = asked("/", &[], &[]);
    let field = |text| fill_as(&x, TemplateKind::Field, text);
    assert_eq!(field("{jwt.list}").as_deref(), Ok("a,7,true"));
    assert_eq!(field("{jwt.none}").as_deref(), Ok(""));
    for unfit in ["{jwt.realm}", "{jwt.commas}", "{jwt.nested}", "{jwt.lines}", "{jwt.nulls}"] {
        assert_eq!(field(unfit), Err(RenderError::Unfit), "{unfit}");
    }
    assert_eq!(target(&x, "/{jwt.list}"), Err(RenderError::Unfit));
    assert_eq!(fill_as(&x, TemplateKind::Plain, "{jwt.list}"), Err(RenderError::Unfit));
}

#[test]
fn a_value_never_puts_a_blank_at_the_edge_of_a_field() {
    let field =
        |q: &str, text| fill_as(&asked(&format!("/?q={q}"), &[], &[]), TemplateKind::Field, text);
    for (q, text) in [
        ("%20admin", "{query.q}"),
        ("admin+", "{query.q}"),
        ("%20admin", " {query.q}"),
        ("admin%20", "{query.q} "),
        ("%20", "{query.q}"),
        ("%20", "{query.q}{jwt.sub}"),
        ("%20", "{jwt.sub}{query.q}"),
        ("a%20", "x{query.q}{query.none?}"),
        ("%20a", "{query.none?}{query.q}x"),
    ] {
        assert_eq!(field(q, text), Err(RenderError::Unfit), "{q} {text}");
    }
    let long = format!("{}%20", "a".repeat(200));
    assert_eq!(field(&long, "{query.q}"), Err(RenderError::Unfit));
    for (q, text, filled) in [
        ("a+b", "{query.q}", "a b"),
        ("+a+", "user={query.q};", "user= a ;"),
        ("+", "{jwt.sub}{query.q}{jwt.sub}", "42 42"),
        ("", "Bearer {query.q}", "Bearer "),
    ] {
        assert_eq!(field(q, text).as_deref(), Ok(filled), "{q}");
    }
}

#[test]
fn json_keeps_types_and_escapes_text() {
    let x = asked("/?q=%22%5C&bad=%ff", &[], &[]);
    let json = |text| fill_as(&x, TemplateKind::Json, text);
    let text = r#"{"a":{"s":"{jwt.sub}","n":{jwt.n},"t":{jwt.sub}},"r":{jwt.realm},"o":{}}"#;
    let filled = r#"{"a":{"s":"42","n":7,"t":"42"},"r":{"name":"a/b","roles":["x"]},"o":{}}"#;
    assert_eq!(json(text).as_deref(), Ok(filled));
    assert_eq!(json(r#"{"q":"{jwt.quote}"}"#).as_deref(), Ok(r#"{"q":"\"},\"a\":1"}"#));
    assert_eq!(json(r#"["{query.q}",{query.q}]"#).as_deref(), Ok(r#"["\"\\","\"\\"]"#));
    assert_eq!(json("[{query.x?},{query.x|7}]").as_deref(), Ok("[null,7]"));
    assert_eq!(json(r#"["{{}}",{"é":1}]"#).as_deref(), Ok(r#"["{}",{"é":1}]"#));
    assert_eq!(json(r#"["{query.bad}"]"#), Err(RenderError::Unfit));
    assert_eq!(json(r#"["{jwt.realm}"]"#), Err(RenderError::Unfit));
    let kind = TemplateKind::Json;
    assert_eq!(mistake(kind, r#"["\u00{jwt.n}0"]"#), TemplateErrorKind::EscapeOpen);
    assert_eq!(mistake(kind, r#"["\{jwt.n}"]"#), TemplateErrorKind::EscapeOpen);
    let sample = Template::parse(text, kind, &[]).map(|template| template.sample());
    assert_eq!(sample.as_deref(), Ok(&br#"{"a":{"s":"0","n":0,"t":0},"r":0,"o":{}}"#[..]));
}

#[test]
fn mistakes_are_named_and_placed() {
    use TemplateErrorKind as Kind;
    let name = |name: &str| name.to_owned();
    for (text, kind) in [
        ("/{jwt.sub", Kind::Unclosed),
        ("/{jwt.{x}}", Kind::Unclosed),
        ("/a}", Kind::Unopened),
        ("/{}", Kind::Empty),
        ("/{jwtt.sub}", Kind::UnknownSource { name: name("jwtt") }),
        ("/{idd}", Kind::UnknownParam { name: name("idd") }),
        ("/{path.idd}", Kind::UnknownParam { name: name("idd") }),
        ("/{client.port}", Kind::UnknownClient { name: name("port") }),
        ("/{jwt}", Kind::NameMissing { source: "jwt" }),
        ("/{jwt.a..b}", Kind::NameMissing { source: "jwt" }),
        ("/{header.x y}", Kind::NameMalformed { name: name("header.x y") }),
        ("/{header.x:y}", Kind::NameMalformed { name: name("x:y") }),
        ("/{part.}", Kind::NameMissing { source: "part" }),
        ("/{id?|x}", Kind::AbsentTwice),
        ("/{id|..}", Kind::DefaultUnfit),
        ("users", Kind::NotAbsolute),
        ("", Kind::NotAbsolute),
        ("{*rest}", Kind::NotAbsolute),
        ("/a b", Kind::TextUnfit { character: ' ' }),
        ("/a#b", Kind::TextUnfit { character: '#' }),
        ("/é", Kind::TextUnfit { character: 'é' }),
    ] {
        assert_eq!(mistake(TemplateKind::Target, text), kind, "{text}");
    }
    let error = Template::parse("/users/{path.idd}/x", TemplateKind::Target, &["id"]);
    let error = error.expect_err("no such parameter");
    assert_eq!((error.offset, error.len, error.name()), (7, 10, Some("idd")));
    assert_eq!(error.to_string(), "the route's pattern has no parameter `idd`");
    let location = TemplateKind::Location;
    assert_eq!(mistake(location, "https://{header.host}/"), Kind::AuthorityVaries);
    assert_eq!(mistake(location, "https://{id}"), Kind::AuthorityVaries);
    assert_eq!(mistake(location, "ftp://x/"), Kind::NotAbsolute);
    assert!(Template::parse("https://example.com/{id}", location, &["id"]).is_ok());
    let field = mistake(TemplateKind::Field, "a\r\nb");
    assert_eq!(field, Kind::TextUnfit { character: '\r' });
}

#[test]
fn a_template_says_what_it_needs() {
    let of = |text| Template::parse(text, TemplateKind::Target, &["id"]).expect("fine");
    assert!(of("/{jwt.a.b?}").needs_identity() && !of("/{id}").needs_identity());
    assert!(of("/?a={id}").has_query() && !of("/{id}").has_query());
    assert_eq!(of("/x").constant(), Some(&b"/x"[..]));
    assert_eq!(of("/{id}").constant(), None);
    let all = of("/{id}/{jwt.a.b}?q={query.q}");
    let path: Box<[Box<str>]> = ["a".into(), "b".into()].into();
    let expected = [Reference::Param(0), Reference::Claim(&path), Reference::Query("q")];
    assert_eq!(all.references().collect::<Vec<_>>(), expected);
}

#[test]
fn a_full_sink_is_an_error() {
    struct Narrow(usize);
    impl Sink for Narrow {
        fn put(&mut self, bytes: &[u8]) -> bool {
            self.0.checked_sub(bytes.len()).map(|left| self.0 = left).is_some()
        }
    }
    let x = asked("/", &[], &[]);
    let template = Template::parse("/{jwt.sub}", TemplateKind::Target, &[]).expect("fine");
    let request = Request { head: &x.head, raw: &x.raw };
    let identity = x.identity.as_ref();
    let inputs = Inputs {
        request,
        params: &x.params,
        identity,
        client: &x.client,
        view: None,
        parts: PartValues::Unknown,
    };
    assert_eq!(template.fill(&inputs, &mut Narrow(2)), Err(RenderError::Full));
    assert_eq!(template.fill(&inputs, &mut Narrow(3)), Ok(()));
}

fn of_elements(text: &str, kind: TemplateKind, elements: &[&str]) -> Result<String, RenderError> {
    let (asked, written) = (asked("/", &[], &[]), elements.concat());
    let mut end = 0;
    let spans: Vec<Span> = elements
        .iter()
        .map(|element| {
            end += element.len();
            Span::new(end - element.len(), end)
        })
        .collect();
    let parts = PartValues::Known { text: written.as_bytes(), slots: &[], each: &spans };
    let request = Request { head: &asked.head, raw: &asked.raw };
    let (params, client) = (&asked.params, &asked.client);
    let inputs = Inputs { request, params, identity: None, client, view: None, parts };
    let mut out = Vec::new();
    Template::parse(text, kind, &[]).expect("the template is fine").fill(&inputs, &mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn elements_are_lists_of_uri_templates_and_arrays_of_json() {
    let three = ["7", r#""a,b&c=/""#, r#""\u00e9""#];
    for (text, kind, filled) in [
        ("/s?x=1&id={each*}", TemplateKind::Target, "/s?x=1&id=7&id=a%2Cb%26c%3D%2F&id=%C3%A9"),
        (
            "/s?f[id]={each*}&x",
            TemplateKind::Target,
            "/s?f[id]=7&f[id]=a%2Cb%26c%3D%2F&f[id]=%C3%A9&x",
        ),
        ("/s?ids={each}&n=2", TemplateKind::Target, "/s?ids=7,a%2Cb%26c%3D%2F,%C3%A9&n=2"),
        ("/s/{each}/x", TemplateKind::Target, "/s/7,a%2Cb%26c%3D%2F,%C3%A9/x"),
        (r#"{"ids":{each*}}"#, TemplateKind::Json, r#"{"ids":[7,"a,b&c=/","\u00e9"]}"#),
    ] {
        assert_eq!(of_elements(text, kind, &three).as_deref(), Ok(filled), "{text}");
    }
    assert_eq!(of_elements("/s/{each}", TemplateKind::Target, &["1"]).as_deref(), Ok("/s/1"));
    let dots = of_elements("/s/{each}", TemplateKind::Target, &[r#"".""#]);
    assert_eq!(dots, Err(RenderError::PartUnfit));
    let dots = of_elements("/s/{each}", TemplateKind::Target, &[r#"".""#, r#"".""#]);
    assert_eq!(dots.as_deref(), Ok("/s/.,."));
    let empty = of_elements("/s/{each}", TemplateKind::Target, &["1", r#""""#]);
    assert_eq!(empty, Err(RenderError::PartMissing));
}

#[test]
fn a_repeated_pair_is_whole_and_has_a_name() {
    for text in [
        "/{each*}",
        "/?{each*}",
        "/?={each*}",
        "/?a=b{each*}",
        "/?a={each*}b",
        "/?{query.n}={each*}",
    ] {
        let kind = mistake(TemplateKind::Target, text);
        assert_eq!(kind, TemplateErrorKind::ElementsUnfit, "{text}");
    }
    assert_eq!(mistake(TemplateKind::Json, r#""{each*}""#), TemplateErrorKind::ElementsUnfit);
    assert_eq!(mistake(TemplateKind::Field, "{each*}"), TemplateErrorKind::ElementsUnfit);
    let single = |text, kind| Template::parse(text, kind, &[]).expect("fine").single_element();
    assert_eq!(single("/a?b={each}", TemplateKind::Target), None);
    assert_eq!(single("x{each}", TemplateKind::Field), Some(Span::new(1, 7)));
}

#[test]
fn the_view_is_its_name_and_nothing_where_the_whole_answer_is_given() {
    use crate::exchange::ViewChosen;

    let mut x = Exchange::default();
    let fill = |x: &Exchange, text, kind| {
        let mut out = Vec::new();
        let template = Template::parse(text, kind, &[]).expect("the template is fine");
        template.render(x, &mut out).map(|()| String::from_utf8(out).expect("text"))
    };
    let cases = [
        ("a-{view}", TemplateKind::Plain, "a-", "a-tv/4k"),
        ("{view|full}", TemplateKind::Field, "full", "tv/4k"),
        ("/{view|full}/x?v={view}", TemplateKind::Target, "/full/x?v=", "/tv%2F4k/x?v=tv%2F4k"),
        (r#"{"v":{view}}"#, TemplateKind::Json, r#"{"v":null}"#, r#"{"v":"tv/4k"}"#),
    ];
    for (text, kind, whole, _) in cases {
        assert_eq!(fill(&x, text, kind).as_deref(), Ok(whole), "{text}");
    }
    x.view = Some(ViewChosen { index: 0, name: Name::new("tv/4k") });
    for (text, kind, _, viewed) in cases {
        assert_eq!(fill(&x, text, kind).as_deref(), Ok(viewed), "{text}");
    }
    let segment = Template::parse("/{view}/x", TemplateKind::Target, &[]).expect_err("no segment");
    assert_eq!((segment.kind, segment.offset, segment.len), (TemplateErrorKind::ViewInPath, 1, 6));
    // A parameter of the path holds before it.
    let own = Template::parse("/{view}", TemplateKind::Target, &["view"]).expect("a parameter");
    assert_eq!(own.references().collect::<Vec<_>>(), [Reference::Param(0)]);
    let key = Template::parse("{view}", TemplateKind::Plain, &[]).expect("a key");
    assert!(!key.needs_identity() && key.with_proven_views().needs_identity());
}
