//! Documents in and out, as texts. Never a socket, and never more files than one configuration.

use std::path::Path;

use serde_json::{Value, json};

use super::export::{self, About};
use super::import::{self, Wishes};
use crate::cli::{CONFIG, FAILED, OK, USAGE};
use crate::control::load::Machine;

/// A folder with one configuration, removed when dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(name: &str, text: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("ringway-openapi-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("ringway.toml"), text).expect("a file");
        Self(folder)
    }

    fn config(&self) -> std::path::PathBuf {
        self.0.join("ringway.toml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SHOP: &str = r#"
[[listen]]
address = "127.0.0.1:0"

[upstream.shop]
endpoints = ["10.9.8.7:8080"]

[jwt.idp]
secret   = "a secret of thirty-two bytes and more"
issuer   = "https://idp.example.com"
audience = "shop"

[limit.all]
rate = "5/s"
key  = "{client.address}"

[[route]]
name    = "one order"
match   = "GET shop.example.com/orders/{id}"
forward = "shop"
jwt     = "idp"
limit   = "all"

[[route]]
match   = "shop.example.com/files/{*rest}"
forward = "shop /static/{*rest}"

[[route]]
match    = "GET *.example.com/old"
redirect = { to = "/new?from={query.from|nowhere}", status = 308 }

[[route]]
match   = "GET shop.example.com/ping"
when    = { header = { x-probe = "yes" }, query = { deep = true } }
respond = { status = 200, body = "pong" }

[[route]]
match = "GET /both"
pass  = { query = ["page"], headers = ["accept-language"] }

[route.merge]
first  = { get = "shop /a?q={query.q}&page={query.page|1}" }
second = { get = "shop /b", else = [] }
third  = { get = "shop /c?id={each}", each = { of = "{part.second[*].id}", into = "more" } }
"#;

fn exported(name: &str, text: &str, about: &About) -> (Value, String) {
    let folder = Folder::with(name, text);
    let said = export::with(&folder.config(), about, &Machine);
    assert_eq!(said.code, OK, "{}", said.err);
    (serde_json::from_str(&said.out).expect("JSON"), said.err)
}

#[test]
fn a_document_says_what_clients_can_ask_and_nothing_of_the_inside() {
    let (document, notes) = exported("says", SHOP, &About::default());
    assert_eq!(document["openapi"], "3.1.0");
    assert!(!document.to_string().contains("10.9.8.7"), "an address of the inside");
    assert_eq!(notes, "");
    let order = &document["paths"]["/orders/{id}"]["get"];
    assert_eq!(order["summary"], "one order");
    assert_eq!(order["servers"], json!([{ "url": "//shop.example.com" }]));
    assert_eq!(order["security"], json!([{ "idp": [] }]));
    let parameter =
        json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
    assert_eq!(order["parameters"], json!([parameter]));
    let statuses: Vec<&String> = order["responses"].as_object().expect("a map").keys().collect();
    assert_eq!(statuses, ["default", "401", "429", "502", "503", "504"]);
    let scheme = &document["components"]["securitySchemes"]["idp"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
}

#[test]
fn a_route_for_any_method_is_one_operation_for_each() {
    let (document, _) = exported("any", SHOP, &About::default());
    let files = document["paths"]["/files/{rest}"].as_object().expect("a path");
    let methods: Vec<&String> = files.keys().collect();
    assert_eq!(methods, ["get", "post", "put", "patch", "delete"]);
    assert!(files["post"]["requestBody"].is_object() && files["get"].get("requestBody").is_none());
}

#[test]
fn what_a_route_asks_the_request_for_is_a_parameter() {
    let (document, _) = exported("parameters", SHOP, &About::default());
    let names = |path: &str| -> Vec<(String, String, bool)> {
        let list = document["paths"][path]["get"]["parameters"].as_array().cloned();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        list.unwrap_or_default()
            .iter()
            .map(|p| (text(&p["in"]), text(&p["name"]), p["required"] == true))
            .collect()
    };
    let named = |place: &str, name: &str, required| (place.to_owned(), name.to_owned(), required);
    assert_eq!(
        names("/both"),
        [
            named("query", "q", true),
            named("query", "page", false),
            named("header", "accept-language", false)
        ]
    );
    assert_eq!(names("/ping"), [named("header", "x-probe", true), named("query", "deep", true)]);
    assert_eq!(names("/old"), [named("query", "from", false)]);
    let merged = &document["paths"]["/both"]["get"]["responses"]["200"];
    let schema = &merged["content"]["application/json"]["schema"];
    assert_eq!(schema["required"], json!(["first", "second"]));
    assert!(merged["headers"]["gateway-partial"].is_object());
}

#[test]
fn routes_of_another_host_are_left_out_where_one_is_named() {
    let about = |host: &str| About { host: Some(host.into()), ..About::default() };
    let (document, _) = exported("host", SHOP, &about("www.example.com"));
    let paths: Vec<&String> = document["paths"].as_object().expect("a map").keys().collect();
    assert_eq!(paths, ["/old", "/both"]);
}

#[test]
fn two_routes_that_only_a_condition_tells_apart_are_one_operation_and_a_note() {
    let text = SHOP.replace("GET *.example.com/old", "GET shop.example.com/orders/{id}");
    let text = text.replace("redirect =", "when = { query = { v = \"2\" } }\nredirect =");
    let (document, notes) = exported("note", &text, &About::default());
    assert_eq!(document["paths"]["/orders/{id}"]["get"]["summary"], "one order");
    assert!(notes.starts_with("note: ") && notes.contains("GET /orders/{id}"), "{notes}");
}

#[test]
fn a_configuration_with_mistakes_gives_no_document() {
    let folder = Folder::with("mistakes", "[[route]]\nmatch = \"GET /\"\nforward = \"nobody\"\n");
    let said = export::with(&folder.config(), &About::default(), &Machine);
    assert_eq!((said.code, said.out.as_str()), (CONFIG, ""));
    assert!(said.err.contains("nobody"), "{}", said.err);
}

const USERS: &str = "
openapi: 3.0.3
info: { title: Users API, version: 1.2.0 }
servers: [ { url: 'http://10.0.0.11:8080/v1' } ]
security: [ { bearerAuth: [] } ]
paths:
  /users:
    get: { summary: \"All\\nusers\" }
    post: {}
  /users/{user-id}:
    head: {}
    get: {}
  /users/{other}:
    get: {}
    head: {}
  /files/{name}.json:
    get: { security: [] }
  /a b/ü:
    get: { security: [ {}, { bearerAuth: [] } ] }
  /ref:
    $ref: '#/components/pathItems/x'
components:
  pathItems: { x: { delete: {} } }
";

fn imported(text: &str, wishes: &Wishes) -> String {
    let said = import::with("users.yaml", text, wishes, &Machine);
    assert_eq!(said.code, OK, "{}", said.err);
    said.out
}

#[test]
fn a_document_becomes_an_upstream_and_a_route_a_path() {
    let said = import::with("users.yaml", USERS, &Wishes::default(), &Machine);
    let expected = r#"# Users API, from users.yaml

[upstream.users-api]
endpoints = ["10.0.0.11:8080"]

# GET: All users
[[route]]
match   = "GET,POST /users"
forward = "users-api /v1/users"
# the document asks for bearerAuth

[[route]]
match   = "GET /users/{user_id}"
forward = "users-api /v1/users/{path.user_id}"
# the document asks for bearerAuth

# /files/{name}.json: a parameter is a whole segment here
[[route]]
match   = "GET /files/{name}"
forward = "users-api /v1/files/{path.name}"

[[route]]
match   = "GET /a%20b/%C3%BC"
forward = "users-api /v1/a%20b/%C3%BC"

[[route]]
match   = "DELETE /ref"
forward = "users-api /v1/ref"
# the document asks for bearerAuth
"#;
    assert_eq!(said.out, expected);
    let note = "note: `/users/{other}` is left out: an earlier path is the same to a router\n";
    assert_eq!(said.err, note);
}

#[test]
fn wishes_are_followed() {
    let wishes = Wishes {
        upstream: Some("people".into()),
        endpoint: Some("127.0.0.1:9".into()),
        prefix: Some("/v1".into()),
        host: Some("api.example.com".into()),
        jwt: Some("idp".into()),
    };
    let text = imported(USERS, &wishes);
    assert!(text.contains("endpoints = [\"127.0.0.1:9\"]"), "{text}");
    let route = "match   = \"GET,POST api.example.com/v1/users\"\nforward = \"people\"\njwt     = \"idp\"\n";
    assert!(text.contains(route), "the path stays as it is: {text}");
    assert!(
        text.contains(
            "match   = \"GET api.example.com/v1/files/{name}\"\nforward = \"people\"\n\n"
        )
    );
}

#[test]
fn a_server_with_a_name_is_a_comment_to_act_on() {
    let text = imported(&USERS.replace("10.0.0.11:8080", "users.internal"), &Wishes::default());
    let line = "endpoints = [\"192.0.2.1:80\"]   # replace it by the service's address: the document says http://users.internal/v1";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_document_that_cannot_be_used_says_why() {
    let refused = |text: &str| {
        let said = import::with("x.yaml", text, &Wishes::default(), &Machine);
        assert_eq!((said.code, said.out.as_str()), (FAILED, ""));
        said.err
    };
    assert!(refused("swagger: '2.0'\npaths: {}").contains("Swagger 2.0: convert it"));
    assert!(refused("openapi: 4.0.0").contains("OpenAPI 4.0.0 is not known here"));
    assert!(refused("a: 1").contains("no OpenAPI document"));
    assert!(refused("{ \"openapi\": ").contains("x.yaml: not JSON: "));
    assert!(refused("a: [1").contains("x.yaml: not YAML: "));
    assert!(refused("openapi: 3.1.0").contains("has no `paths`"));
    assert!(refused("openapi: 3.1.0\npaths: {}").contains("has no operation"));
    let elsewhere = "openapi: 3.1.0\npaths: { /a: { $ref: 'other.yaml' } }";
    assert!(
        refused(elsewhere).contains("reference other.yaml does not lead anywhere in this file")
    );
    let wishes = Wishes { prefix: Some("api".into()), ..Wishes::default() };
    assert_eq!(import::with("x", USERS, &wishes, &Machine).code, USAGE);
    let wishes = Wishes { endpoint: Some("users:80".into()), ..Wishes::default() };
    let said = import::with("x", USERS, &wishes, &Machine);
    assert_eq!(said.code, USAGE);
    assert!(said.err.starts_with("error: --endpoint is not an address: write `ip:port`"));
}

#[test]
fn what_other_languages_write_for_a_parameter_stays_a_literal() {
    let text = "openapi: 3.1.0\npaths: { '/:x/*/a:b': { get: {} } }";
    let text = imported(text, &Wishes::default());
    assert!(text.contains("match   = \"GET /%3Ax/%2A/a:b\""), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let said = import::run(Path::new("/nowhere/x.yaml"), &Wishes::default());
    assert!(said.err.starts_with("error: cannot read /nowhere/x.yaml: "), "{}", said.err);
}

#[test]
fn what_is_exported_can_be_imported() {
    let (document, _) = exported("round", SHOP, &About::default());
    let text = imported(&document.to_string(), &Wishes::default());
    assert!(text.contains("match   = \"GET /orders/{id}\""), "{text}");
}
