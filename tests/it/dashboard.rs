//! The dashboard of docs/aggregation.md, step by step: every configuration is started, asked and compared.
//!
//! Services, configurations and answers are read from the page. A step is never passed over: one without an
//! answer fails.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::support::gateway::gateway;
use crate::support::origin::{Origin, Step, answer};
use crate::support::tokens::{Signer, bearer, claims};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a service says when it is asked for a target.
type Answers = HashMap<(String, String), (u16, String)>;

/// The section of the page.
fn section() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aggregation.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## A dashboard, step by step\n").unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// The rows of the section's table.
fn answers(section: &str) -> Answers {
    let row = |line: &str| {
        let cells: Vec<&str> =
            line.strip_prefix("| `")?.strip_suffix("` |")?.split("` | `").collect();
        let [service, asked, status, said] = cells[..] else { panic!("{line}") };
        let said = (status.parse().unwrap(), said.to_owned());
        Some(((service.to_owned(), asked.to_owned()), said))
    };
    section.lines().filter_map(row).collect()
}

/// Each fenced block: what it is, and its text.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    let fences = section.split("\n```").skip(1).step_by(2);
    fences.map(|block| block.split_once('\n').unwrap()).collect()
}

fn service(name: &str, answers: &Arc<Answers>) -> Origin {
    let (name, answers) = (name.to_owned(), answers.clone());
    Origin::script(move |request| {
        let asked = (name.clone(), request.target.clone());
        let (status, said) = answers.get(&asked).cloned().unwrap_or((404, String::new()));
        vec![Step::Send(answer(status, &[], said.as_bytes()))]
    })
}

/// Plays one step; `said` is a status and perhaps a target, fields, and the body.
fn play(config: &str, said: &str, origins: &[(String, Origin)]) {
    let mut text = format!("[jwt.idp]\nsecret = \"{SECRET}\"\n");
    for (name, _) in origins.iter().filter(|(name, _)| config.contains(&format!("\"{name} "))) {
        text += &format!("[upstream.{name}]\nendpoints = [\"@{name}@\"]\n");
    }
    let mut setup = gateway(&(text + config));
    for (name, origin) in origins {
        setup = setup.with(name, origin.address);
    }
    let gateway = setup.start();
    let mut lines = said.lines();
    let first = lines.next().unwrap();
    let (status, target) = first.split_once(' ').unwrap_or((first, "/dashboard"));
    let (name, token) = bearer(&Signer::hs256("k1", SECRET).sign(&claims("42")));
    let response = gateway.get_with(target, &[(name, &token)]).expect(status.parse().unwrap());
    let lines: Vec<&str> = lines.collect();
    let (body, fields) = lines.split_last().unwrap();
    assert_eq!(response.text(), *body, "{config}");
    let partial =
        response.field("gateway-partial").map(|value| format!("gateway-partial: {value}"));
    assert_eq!(partial.as_deref(), fields.first().copied(), "{config}");
}

#[test]
fn every_step_happens_as_written() {
    let section = section();
    let answers = Arc::new(answers(&section));
    let names: BTreeSet<&String> = answers.keys().map(|(service, _)| service).collect();
    let origins: Vec<(String, Origin)> =
        names.into_iter().map(|name| (name.clone(), service(name, &answers))).collect();
    let (mut head, mut config) = (String::new(), String::new());
    let mut steps = 0;
    for pair in blocks(&section).chunks(2) {
        let [("toml", step), ("", said)] = pair else { panic!("a step and its answer: {pair:?}") };
        config = match step {
            whole if whole.starts_with("[[route]]") => {
                head = whole.split("[route.merge]").next().unwrap().to_owned();
                (*whole).to_owned()
            }
            merge if merge.starts_with("[route.merge]") => format!("{head}{merge}"),
            more => format!("{config}\n{more}"),
        };
        play(&config, said, &origins);
        steps += 1;
    }
    assert_eq!(steps, 8);
    let calls = |name: &str| {
        let origin = &origins.iter().find(|(origin, _)| origin == name).unwrap().1;
        origin.requests().len()
    };
    // Two shops by a call each, twice, and both by one; the view asked for no news.
    assert_eq!((calls("shop"), calls("news"), calls("user")), (5, 1, 8));
}
