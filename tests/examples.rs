//! Every file in `examples/` is read without a word of complaint, and no damage to one makes the reader panic.
//!
//! The examples are what new users copy, so they must never lag behind the language.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ringway::cli::test;
use ringway::compile::compile;
use ringway::config::{self, Surroundings};
use ringway::observe::plan::LabelBook;

/// The public key of RFC 8037, appendix A.2, in PEM.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

/// The user `ada` with the password `lovelace`.
const USERS: &str = "ada:$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$WvV5qzYGoveVDO17tFJJV255EMJUnvw0e1U6moe5L5g\n";

/// The secrets that the examples speak of; nothing of the machine.
struct Mounts;

impl Surroundings for Mounts {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<String> {
        match path.to_str() {
            Some("/run/secrets/redis") => Ok("s3cret\n".into()),
            Some("/run/secrets/jwt") => Ok("0123456789abcdef0123456789abcdef\n".into()),
            Some("keys.txt" | "revoked.txt") => Ok(String::new()),
            Some("users.txt") => Ok(USERS.into()),
            Some("/etc/ringway/partner.pem") => Ok(PUBLIC_KEY.into()),
            Some("tls/golden.pem" | "tls/golden.key") => golden(path),
            Some("/etc/ringway/ca-root.pem") => golden(Path::new("tls/golden.pem")),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn folder(&self, _path: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The certificates of the golden errors.
fn golden(path: &Path) -> io::Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config_errors");
    fs::read_to_string(folder.join(path))
}

fn examples() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = fs::read_dir(folder).expect("the examples");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("an example");
            (path, text)
        })
        .collect()
}

/// The blocks of TOML of a page, put together, with a listener and an upstream if it leaves them out.
fn page_example(page: &str) -> String {
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut text: String = blocks.collect::<Vec<_>>().join("\n");
    if !text.contains("[[listen]]") {
        text = format!("[[listen]]\naddress = \"127.0.0.1:8080\"\n{text}");
    }
    let named: Vec<String> = text
        .split("forward")
        .skip(1)
        .filter_map(|rest| rest.trim_start_matches([' ', '=']).strip_prefix('"'))
        .map(|call| call.split(['"', ' ']).next().unwrap_or_default().to_owned())
        .collect();
    for upstream in named {
        if !text.contains(&format!("[upstream.{upstream}]")) {
            text.push_str(&format!("\n[upstream.{upstream}]\nendpoints = [\"127.0.0.1:9\"]\n"));
        }
    }
    text
}

#[test]
fn the_examples_about_tls_are_read_without_diagnostics() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md");
    let text = page_example(&fs::read_to_string(page).expect("the page"));
    let (config, found) = config::parse(&[("ringway.toml", &text)], &Mounts);
    let (compiled, found) = compile(&config, found, &Mounts, 1, &mut LabelBook::default(), None);
    assert!(found.is_empty(), "{}", found.render());
    let compiled = compiled.expect("it has no errors");
    let speak = compiled.gateway.listeners.iter().filter(|listener| listener.tls.is_some());
    assert_eq!(speak.count(), 2);
    assert!(compiled.gateway.upstreams[0].tls.is_some());
}

/// Each TOML block of the page is a configuration of its own, but for routes.
#[test]
fn the_examples_about_acme_are_read_without_diagnostics() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/acme.md");
    let page = fs::read_to_string(page).expect("the page");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let block = block.split("```").next().unwrap_or_default();
        let text = format!("{block}\n[[route]]\nmatch = \"/\"\nrespond = {{ body = \"x\" }}\n");
        let (config, found) = config::parse(&[("ringway.toml", &text)], &Mounts);
        let (compiled, found) =
            compile(&config, found, &Mounts, 1, &mut LabelBook::default(), None);
        assert!(found.is_empty(), "{}", found.render());
        let plan = compiled.expect("it has no errors").acme.expect("something to obtain");
        assert!(plan.orders.iter().all(|order| order.stored_until.is_none()));
    }
}

#[test]
fn the_example_about_grpc_is_read_without_diagnostics() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grpc.md");
    let text = page_example(&fs::read_to_string(page).expect("the page"));
    let (config, found) = config::parse(&[("ringway.toml", &text)], &Mounts);
    let (compiled, found) = compile(&config, found, &Mounts, 1, &mut LabelBook::default(), None);
    assert!(found.is_empty(), "{}", found.render());
    let gateway = compiled.expect("it has no errors").gateway;
    assert!(gateway.routes[0].answering.as_ref().is_some_and(|rules| rules.grpc_web));
}

#[test]
fn the_example_of_every_policy_page_is_read_without_diagnostics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies");
    for entry in fs::read_dir(folder).expect("the pages").flatten() {
        let page = fs::read_to_string(entry.path()).expect("a page");
        let text = page_example(&page);
        assert!(text.contains("[[route]]"), "{:?} has no example", entry.path());
        let (config, found) = config::parse(&[("ringway.toml", &text)], &Mounts);
        let (_, found) = compile(&config, found, &Mounts, 1, &mut LabelBook::default(), None);
        assert!(found.is_empty(), "{:?}\n{}", entry.path(), found.render());
    }
}

#[test]
fn every_example_is_read_without_diagnostics() {
    let examples = examples();
    assert!(examples.len() >= 7);
    for (path, text) in &examples {
        let (config, diagnostics) = config::parse(&[(&path.to_string_lossy(), text)], &Mounts);
        assert!(diagnostics.is_empty(), "{}", diagnostics.render());
        assert!(!config.listeners.is_empty() && !config.routes.is_empty());
    }
}

#[test]
fn every_example_compiles_without_warnings() {
    for (path, text) in &examples() {
        let (config, found) = config::parse(&[(&path.to_string_lossy(), text)], &Mounts);
        let book = &mut LabelBook::default();
        let (compiled, found) = compile(&config, found, &Mounts, 0, book, None);
        assert!(compiled.is_some() && found.is_empty(), "{}", found.render());
    }
}

/// A configuration that is at hand as text, among the secrets of the examples.
struct Text<'a>(&'a str);

impl Surroundings for Text<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        Mounts.variable(name)
    }

    fn file(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        match path.to_str() {
            Some("ringway.toml") => Ok(self.0.into()),
            _ => Mounts.file(path, bytes_max),
        }
    }

    fn folder(&self, path: &Path) -> io::Result<Vec<String>> {
        Mounts.folder(path)
    }
}

/// What `ringway test` prints, and its exit code.
fn played(text: &str) -> (String, u8) {
    let around = Text(text);
    let said = test::with(Path::new("ringway.toml"), test::Wishes::default(), &around);
    (said.out + &said.err, said.code)
}

/// The fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).expect("a page");
    let fenced = text.split("\n```").skip(1).step_by(2);
    let block = |text: &str| {
        let (language, text) = text.split_once('\n')?;
        Some((language.to_owned(), format!("{text}\n")))
    };
    fenced.filter_map(block).collect()
}

#[test]
fn the_tests_of_every_example_pass() {
    let mut with_tests = 0;
    for (path, text) in &examples() {
        let (said, code) = played(text);
        assert_eq!(code, 0, "{}\n{said}", path.display());
        with_tests += usize::from(said.contains(" passed, 0 failed"));
    }
    assert!(with_tests >= 6);
}

#[test]
fn the_tests_of_the_readme_pass() {
    let all: Vec<String> = blocks("README.md")
        .into_iter()
        .filter(|(language, _)| language == "toml")
        .map(|(_, text)| text)
        .collect();
    let at = all.iter().position(|text| text.contains("[[listen]]")).expect("a configuration");
    let tests: String = all.iter().filter(|text| text.starts_with("[[test]]")).cloned().collect();
    let (said, code) = played(&format!("{}\n{tests}", all[at]));
    assert!(code == 0 && said.contains("1 passed"), "{said}");
}

/// The page's first configuration is that of all its tests; one with an output behind it prints just that.
#[test]
fn the_tests_of_the_page_about_tests_do_what_it_says() {
    let all = blocks("docs/testing-configurations.md");
    let base = all.iter().find(|(language, _)| language == "toml").expect("a configuration");
    let mut passed = 0;
    for (index, (language, text)) in all.iter().enumerate() {
        if language != "toml" || !text.starts_with("[[test]]") {
            continue;
        }
        let (said, code) = played(&format!("{}\n{text}", base.1));
        match all.get(index + 1).filter(|(language, _)| language == "text") {
            Some((_, printed)) => {
                assert_eq!(&said, printed);
                assert_eq!(code, 1);
            }
            None => {
                assert_eq!(code, 0, "{said}");
                passed += 1;
            }
        }
    }
    assert!(passed >= 6);
}

/// Every configuration on a page about a policy is whole, and its tests show what the page says.
#[test]
fn the_tests_of_the_pages_about_policies_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies");
    let mut pages = 0;
    for entry in fs::read_dir(folder).expect("the pages").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let all = blocks(&format!("docs/policies/{name}"));
        let whole = all.iter().filter(|(language, text)| {
            language == "toml" && text.contains("[[listen]]") && text.contains("[[test]]")
        });
        for (_, text) in whole {
            let (said, code) = played(text);
            assert!(code == 0 && said.contains(" passed, 0 failed"), "{name}\n{said}");
            pages += 1;
        }
    }
    assert!(pages >= 2);
}

#[test]
fn every_example_begins_with_what_it_shows() {
    for (path, text) in examples() {
        assert!(text.starts_with("# "), "{}", path.display());
    }
}

/// The fenced TOML of docs/aggregation.md as whole configurations: a merge alone stands on a route, a view beside
/// the last merge that has what it keeps.
fn blocks_of_the_page() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aggregation.md");
    let page = fs::read_to_string(page).expect("the page");
    let mut before = String::from(
        "[[listen]]\naddress = \"127.0.0.1:8080\"\n[jwt.idp]\nsecret = \"0123456789abcdef0123456789abcdef\"\n",
    );
    for name in ["user", "team", "order", "shop", "notif", "news", "mail"] {
        before += &format!("[upstream.{name}]\nendpoints = [\"10.0.0.1:80\"]\n");
    }
    let mut last = String::new();
    let toml = page.split("\n```toml\n").skip(1).filter_map(|behind| behind.split("\n```").next());
    toml.map(|block| {
        let whole = match block {
            route if route.starts_with("[[route]]") => format!("{before}{route}\n"),
            merge if merge.starts_with("[route.merge]") => {
                format!("{before}[[route]]\nmatch = \"GET /\"\njwt = \"idp\"\n{merge}\n")
            }
            view => format!("{last}{view}\n"),
        };
        if whole.contains("\nuser ") && whole.contains("\nunread ") {
            last = whole.clone();
        }
        whole
    })
    .collect()
}

#[test]
fn every_example_of_the_page_on_aggregation_is_valid() {
    let blocks = blocks_of_the_page();
    assert!(blocks.len() >= 13, "only {} examples", blocks.len());
    for text in blocks {
        let (config, found) = config::parse(&[("aggregation.toml", &text)], &Mounts);
        let book = &mut LabelBook::default();
        let (compiled, found) = compile(&config, found, &Mounts, 0, book, None);
        assert!(compiled.is_some() && !found.has_errors(), "{text}{}", found.render());
    }
}

#[test]
fn the_same_in_json_means_the_same() {
    let toml = "[[listen]]\naddress = \"0.0.0.0:1\"\n[[route]]\nmatch = \"/a\"\nrespond = { status = 204 }";
    let json = r#"{"listen": [{"address": "0.0.0.0:1"}], "route": [{"match": "/a", "respond": {"status": 204}}]}"#;
    let (from_toml, _) = config::parse(&[("a.toml", toml)], &Mounts);
    let (from_json, diagnostics) = config::parse(&[("a.json", json)], &Mounts);
    assert!(diagnostics.is_empty(), "{}", diagnostics.render());
    let shape = |config: &config::Config| {
        let text = format!("{config:?}");
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("Span {") {
            kept.push_str(&rest[..at]);
            let close = rest[at..].find("end: ").map_or(rest.len(), |end| at + end);
            rest = rest[close..].split_once('}').map_or("", |(_, behind)| behind);
        }
        kept + rest
    };
    assert_eq!(shape(&from_toml), shape(&from_json));
}

/// What a slip of the hand or of a generator puts into a file.
const SLIPS: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "\\",
    "${",
    "}",
    "#",
    "\u{0}",
    "ä",
    "\u{202e}",
    "\"\"\"",
    "'''",
    ",",
    ".",
    "[[",
    "secret = \"",
    "\\u0000",
    "99999999999999999999",
    "[[[[[[[[",
    "\r",
    "\t",
    "inf",
    "-0",
    "1979-05-27",
    "include = [\"*\"]\n",
    "{*",
    "|",
    "%",
    ":",
    "/",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cuts, repeats and slips anywhere in an example: always diagnostics, never a panic; and the secret
    /// that stands in the file is never shown.
    #[test]
    fn a_damaged_example_never_panics_and_never_shows_its_secret(
        which in 0usize..7,
        edits in proptest::collection::vec((0.0f64..1.0, 0usize..40, 0usize..SLIPS.len()), 1..6),
        json in any::<bool>(),
    ) {
        let (_, text) = &examples()[which];
        let mut text = format!("[jwt.x]\nsecret = \"hunter2hunter2\"\n{text}");
        for (at, cut, slip) in edits {
            let mut start = (text.len() as f64 * at) as usize;
            let mut end = (start + cut).min(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, SLIPS[slip]);
        }
        let name = if json { "damaged.json" } else { "damaged.toml" };
        let (_, diagnostics) = config::parse(&[(name, &text)], &Mounts);
        let plain = diagnostics.render();
        diagnostics.render_json();
        if text.contains("secret = \"hunter2hunter2\"") {
            prop_assert!(!plain.contains("hunter2hunter2"), "{}", plain);
        }
    }

    /// Nothing at all is known about the text.
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,200}", json in any::<bool>()) {
        let name = if json { "any.json" } else { "any.toml" };
        let (_, diagnostics) = config::parse(&[(name, &text)], &Mounts);
        diagnostics.render();
    }
}

#[test]
fn depth_is_bounded() {
    let deep = 10_000;
    let texts = [
        ("a.toml", format!("a = {}", "[".repeat(deep))),
        ("b.toml", format!("a = {}{}", "[".repeat(deep), "]".repeat(deep))),
        ("c.toml", format!("{}a = 1", "a.".repeat(deep))),
        ("d.toml", format!("[{}a]", "a.".repeat(deep))),
        ("e.toml", format!("a = {}", "{ a = ".repeat(deep))),
        ("f.json", format!("{{\"a\": {}{}}}", "[".repeat(deep), "]".repeat(deep))),
        ("g.json", format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
    ];
    for (name, text) in &texts {
        let (_, diagnostics) = config::parse(&[(name, text)], &Mounts);
        assert!(diagnostics.has_errors(), "{name}");
        assert!(diagnostics.render().len() < 10_000, "{name}");
    }
}
