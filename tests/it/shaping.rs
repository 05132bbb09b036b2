//! What becomes of a part's answer: `pick`, `keep`, `drop`, `rename`, `flatten`.
//!
//! The examples of docs/aggregation.md are played as they stand there. CONFIG.md rules 4 and 7.

use std::path::Path;

use crate::support::gateway::gateway;
use crate::support::origin::{Origin, Step, ok};

/// The rows of the tables of docs/aggregation.md whose first cell is a part's shaping and whose others are
/// what the origin answers and what the client gets.
fn examples() -> Vec<[String; 3]> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aggregation.md");
    let page = std::fs::read_to_string(page).unwrap();
    let cells = |line: &str| -> Option<[String; 3]> {
        let cells: Vec<&str> =
            line.strip_prefix("| `")?.strip_suffix("` |")?.split("` | `").collect();
        let cells: [&str; 3] = cells.try_into().ok()?;
        let shapes = ["pick", "keep", "drop", "rename", "flatten"];
        let shaped = shapes.iter().any(|key| cells[0].starts_with(key));
        shaped.then(|| cells.map(str::to_owned))
    };
    page.lines().filter_map(cells).collect()
}

#[test]
fn the_examples_of_the_page_happen_as_written() {
    let examples = examples();
    assert!(examples.len() >= 12, "only {} examples", examples.len());
    let answers: Vec<String> = examples.iter().map(|row| row[1].clone()).collect();
    let origin = Origin::script(move |request| {
        let number: usize = request.target.trim_start_matches('/').parse().unwrap();
        vec![Step::Send(ok(&answers[number]))]
    });
    let mut text = String::from("[upstream.api]\nendpoints = [\"@api@\"]\n");
    for (number, [shape, ..]) in examples.iter().enumerate() {
        text += &format!(
            "[[route]]\nmatch = \"GET /{number}\"\n[route.merge]\np = {{ get = \"api /{number}\", {shape} }}\n"
        );
    }
    let gateway = gateway(&text).with("api", origin.address).start();
    let mut client = gateway.connect();
    for (number, [shape, answered, left]) in examples.iter().enumerate() {
        let got = client.get(&format!("/{number}"), &[]).expect(200).text();
        let wanted =
            if shape.starts_with("flatten") { left.clone() } else { format!("{{\"p\":{left}}}") };
        assert_eq!(got, wanted, "{shape} of {answered}");
    }
}

#[test]
fn a_flattened_part_that_is_no_object_fails_and_else_stands_in() {
    let origin = Origin::saying("[1]");
    let route = |rest: &str| {
        format!(
            "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\n[route.merge]\na = {{ get = \"api /\" }}\nb = {{ get = \"api /\", flatten = true{rest} }}\n"
        )
    };
    let gateway_with = |rest: &str| gateway(&route(rest)).with("api", origin.address).start();
    gateway_with("").get("/").expect_problem(502);
    let response = gateway_with(", else = { x = 1, y = [] }").get("/").expect(200);
    assert_eq!(response.text(), r#"{"a":[1],"x":1,"y":[]}"#);
    assert_eq!(response.field("gateway-partial"), Some("b;not_object"));
}

#[test]
fn an_origin_cannot_drive_out_another_part() {
    let origin = Origin::script(|request| {
        let body = match request.target.as_str() {
            "/flat" => r#"{"user":"mine","\u0075ser":1,"x":1,"x":2}"#,
            "/more" => r#"{"x":3,"z":4}"#,
            _ => r#"{"name":"Ada"}"#,
        };
        vec![Step::Send(ok(body))]
    });
    let gateway = gateway(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\n[route.merge]\n\
         flat = { get = \"api /flat\", flatten = true }\n\
         user = { get = \"api /user\" }\n\
         more = { get = \"api /more\", flatten = true }\n",
    );
    let gateway = gateway.with("api", origin.address).start();
    let text = gateway.get("/").expect(200).text();
    assert_eq!(text, r#"{"x":2,"user":{"name":"Ada"},"z":4}"#);
}

#[test]
fn a_part_without_a_body_is_not_shaped() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let gateway = gateway(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"GET /\"\n[route.merge]\n\
         a = { get = \"api /\", keep = \"x\" }\n\
         b = { get = \"api /\", flatten = true }\n\
         c = { get = \"api /\", drop = \"x\", else = { x = 1 } }\n",
    );
    let text = gateway.with("api", origin.address).start().get("/").expect(200).text();
    assert_eq!(text, r#"{"a":null,"c":{"x":1}}"#);
}
