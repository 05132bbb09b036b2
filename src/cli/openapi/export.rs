//! `ringway export openapi`: the API that clients of this gateway see, as an OpenAPI 3.1 document.
//!
//! It says what the configuration says and nothing more: paths, methods, parameters that routes and
//! templates ask for, tokens, and the answers that the gateway makes itself. What a service behind
//! `forward` answers is the service's to document. It never names an upstream or an address: the
//! document is for clients.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::{CONFIG, FAILED, OK, Said};
use crate::compile::compile;
use crate::config::{self, Condition, Config, Host, Route, Segment, Surroundings, Target};
use crate::control::load::{self, Machine};
use crate::exchange::template::{Reference, Template};
use crate::gateway;
use crate::observe::plan::LabelBook;

/// What the document says of itself, and which host it is for.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `info.title`.
    pub title: Option<String>,
    /// `info.version`: the API's, not Ringway's.
    pub version: Option<String>,
    /// Only routes that this host reaches.
    pub host: Option<String>,
}

/// Methods that stand for a route that takes any; HEAD and OPTIONS follow from them.
const ANY_METHOD: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The methods that OpenAPI 3.1 has a place for.
const KNOWN_METHODS: [&str; 8] =
    ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// Writes the document for the configuration at `path`.
pub fn run(path: Option<&Path>, about: &About) -> Said {
    with(&load::path(path), about, &Machine)
}

/// The same in the world `around`.
pub fn with(path: &Path, about: &About, around: &dyn Surroundings) -> Said {
    let (config, found) = config::load(path, around);
    let (compiled, found) = compile(&config, found, around, 0, &mut LabelBook::default(), None);
    let mut err = found.render();
    let Some(compiled) = compiled else {
        return Said { out: String::new(), err, code: CONFIG };
    };
    let mut document = Document::new(about);
    for (route, compiled) in config.routes.iter().zip(&compiled.gateway.routes) {
        if about.host.as_deref().is_none_or(|host| reaches(route, host)) {
            document.add(&config, route, compiled);
        }
    }
    for note in &document.notes {
        err.push_str("note: ");
        err.push_str(note);
        err.push('\n');
    }
    let text = serde_json::to_string_pretty(&document.finish());
    match text {
        Ok(text) => Said { out: format!("{text}\n"), err, code: OK },
        Err(error) => Said { out: String::new(), err: format!("error: {error}\n"), code: FAILED },
    }
}

/// Whether a request for `host` can meet the route.
fn reaches(route: &Route, host: &str) -> bool {
    match &route.matches.host {
        None => true,
        Some(Host::Exact(name)) => name.value.eq_ignore_ascii_case(host),
        Some(Host::Wildcard(suffix)) => host
            .to_ascii_lowercase()
            .strip_suffix(&suffix.value)
            .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
    }
}

/// The document while routes are added.
struct Document {
    info: Value,
    paths: Map<String, Value>,
    schemes: Map<String, Value>,
    /// What could not be said in OpenAPI.
    notes: Vec<String>,
}

impl Document {
    fn new(about: &About) -> Self {
        let title = about.title.as_deref().unwrap_or("API");
        let version = about.version.as_deref().unwrap_or("1.0.0");
        let info = json!({ "title": title, "version": version });
        Self { info, paths: Map::new(), schemes: Map::new(), notes: Vec::new() }
    }

    fn add(&mut self, config: &Config, route: &Route, compiled: &gateway::route::Route) {
        let path = path_text(&route.matches.segments);
        let methods: Vec<&str> = match route.matches.methods.as_slice() {
            [] => ANY_METHOD.to_vec(),
            methods => methods.iter().map(|method| method.value.as_str()).collect(),
        };
        for method in methods {
            if !KNOWN_METHODS.contains(&method) {
                let note = format!("`{method} {path}` is left out: OpenAPI knows no `{method}`");
                self.notes.push(note);
                continue;
            }
            let operation = self.operation(config, route, compiled, method);
            let item = self.paths.entry(path.clone()).or_insert_with(|| json!({}));
            let Some(item) = item.as_object_mut() else { continue };
            let key = method.to_ascii_lowercase();
            if item.contains_key(&key) {
                // Routes that differ by host or condition only: one operation is all there is room for.
                let name = &route.name.value;
                self.notes.push(format!(
                    "`{name}` is left out: `{method} {path}` is described by an earlier route (try --host)"
                ));
                continue;
            }
            item.insert(key, operation);
        }
    }

    fn operation(
        &mut self,
        config: &Config,
        route: &Route,
        compiled: &gateway::route::Route,
        method: &str,
    ) -> Value {
        let mut operation = Map::new();
        if route.name != route.matches.text {
            operation.insert("summary".into(), json!(route.name.value));
        }
        if let Some(server) = server(route.matches.host.as_ref()) {
            operation.insert("servers".into(), json!([server]));
        }
        let parameters = parameters(route, compiled);
        if !parameters.is_empty() {
            operation.insert("parameters".into(), Value::Array(parameters));
        }
        let takes_body = matches!(method, "POST" | "PUT" | "PATCH");
        if takes_body && matches!(route.target, Target::Forward(_)) {
            operation.insert("requestBody".into(), json!({ "content": { "*/*": {} } }));
        }
        operation.insert("responses".into(), responses(route, method));
        let asked: Vec<Value> =
            route.policies.jwt.iter().map(|name| json!({ (name.value.clone()): [] })).collect();
        if !asked.is_empty() {
            operation.insert("security".into(), Value::Array(asked));
        }
        for issuer in &route.policies.jwt {
            let name = issuer.value.clone();
            let known = config.jwts.iter().find(|jwt| jwt.name.value == name);
            let issued = known.and_then(|jwt| jwt.issuers.first()).map(|issuer| &issuer.value);
            let mut scheme = json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" });
            if let Some(issuer) = issued {
                scheme["description"] = json!(format!("A token of {issuer}"));
            }
            self.schemes.insert(name, scheme);
        }
        Value::Object(operation)
    }

    fn finish(self) -> Value {
        let problem = json!({
            "type": "object",
            "description": "What went wrong (RFC 9457).",
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": { "type": "integer" },
                "detail": { "type": "string" },
                "request_id": { "type": "string" },
            },
        });
        let mut components = json!({
            "responses": problem_answers(),
            "schemas": { "Problem": problem },
        });
        if !self.schemes.is_empty() {
            components["securitySchemes"] = Value::Object(self.schemes);
        }
        json!({
            "openapi": "3.1.0",
            "info": self.info,
            "paths": self.paths,
            "components": components,
        })
    }
}

/// The path as OpenAPI writes it; `{*rest}` becomes a parameter, which its description explains.
fn path_text(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(&literal.value),
            Segment::Param(name) | Segment::Rest(name) => {
                text.push('{');
                text.push_str(&name.value);
                text.push('}');
            }
        }
    }
    text
}

/// The host that an operation needs; none is needed where any will do.
fn server(host: Option<&Host>) -> Option<Value> {
    Some(match host? {
        Host::Exact(name) => json!({ "url": format!("//{}", name.value) }),
        Host::Wildcard(suffix) => json!({
            "url": format!("//{{name}}.{}", suffix.value),
            "variables": { "name": { "default": "www" } },
        }),
    })
}

/// Parameters of a route: those of its path, its conditions, and what its templates ask the request for.
fn parameters(route: &Route, compiled: &gateway::route::Route) -> Vec<Value> {
    let mut list = Parameters::default();
    for segment in &route.matches.segments {
        match segment {
            Segment::Literal(_) => {}
            Segment::Param(name) => list.add("path", &name.value, true, json!({})),
            Segment::Rest(name) => {
                let about = "The rest of the path, slashes included.";
                list.add("path", &name.value, true, json!({ "description": about }));
            }
        }
    }
    let conditions: [(&str, &[Condition]); 2] =
        [("header", &route.when.headers), ("query", &route.when.query)];
    for (place, conditions) in conditions {
        for Condition { name, value } in conditions {
            let more = match value {
                Some(value) => json!({ "schema": { "type": "string", "const": value.value } }),
                None => json!({}),
            };
            list.add(place, &name.value, true, more);
        }
    }
    for template in templates(compiled) {
        for reference in template.required() {
            list.add_reference(reference, true);
        }
        for reference in template.references() {
            list.add_reference(reference, false);
        }
    }
    for view in &route.views {
        let named = |list: &mut Parameters, place, conditions: &[Condition]| {
            conditions.iter().for_each(|one| list.add(place, &one.name.value, false, json!({})));
        };
        named(&mut list, "header", &view.when.headers);
        named(&mut list, "query", &view.when.query);
    }
    for name in &route.pass.query {
        list.add("query", &name.value, false, json!({}));
    }
    for name in &route.pass.headers {
        list.add("header", &name.value, false, json!({}));
    }
    list.list
}

/// The templates that a client's request fills.
fn templates(compiled: &gateway::route::Route) -> Vec<&Template> {
    match &compiled.target {
        gateway::route::Target::Aggregate(merge) => {
            merge.plan.parts.iter().flat_map(|part| part.templates()).collect()
        }
        gateway::route::Target::Forward(to) => to.target.iter().collect(),
        gateway::route::Target::Redirect(to) => to.to.iter().collect(),
        gateway::route::Target::Respond(_) => Vec::new(),
    }
}

/// Parameters by place and name, each once.
#[derive(Default)]
struct Parameters {
    list: Vec<Value>,
}

/// Fields that OpenAPI describes in other places (its §4.8.12.1): naming them as parameters means nothing.
const DESCRIBED_ELSEWHERE: [&str; 3] = ["accept", "content-type", "authorization"];

impl Parameters {
    fn add_reference(&mut self, reference: Reference<'_>, required: bool) {
        match reference {
            Reference::Query(name) => self.add("query", name, required, json!({})),
            Reference::Header(name) => self.add("header", name, required, json!({})),
            _ => {}
        }
    }

    fn add(&mut self, place: &str, name: &str, required: bool, more: Value) {
        let ignored = place == "header"
            && DESCRIBED_ELSEWHERE.iter().any(|known| name.eq_ignore_ascii_case(known));
        let known = self.list.iter().any(|parameter| {
            parameter["in"] == place
                && parameter["name"].as_str().is_some_and(|known| match place {
                    "header" => known.eq_ignore_ascii_case(name),
                    _ => known == name,
                })
        });
        if ignored || known {
            return;
        }
        let mut parameter = json!({ "name": name, "in": place, "required": required });
        parameter["schema"] = json!({ "type": "string" });
        if let (Some(parameter), Value::Object(more)) = (parameter.as_object_mut(), more) {
            parameter.extend(more);
        }
        self.list.push(parameter);
    }
}

/// The answers of a route: its own, and those that the gateway makes when something is wrong.
fn responses(route: &Route, method: &str) -> Value {
    let mut responses = Map::new();
    match &route.target {
        Target::Forward(_) => {
            let service = json!({ "description": "What the service answers." });
            responses.insert("default".into(), service);
        }
        Target::Merge(parts) => {
            responses.insert("200".into(), merged(route, parts, method));
        }
        Target::Redirect(to) => {
            let location = json!({ "Location": { "schema": { "type": "string" } } });
            let answer = json!({ "description": "It is elsewhere.", "headers": location });
            responses.insert(to.status.to_string(), answer);
        }
        Target::Respond(fixed) => {
            let mut answer = json!({ "description": "A fixed answer." });
            let kind = fixed.headers.iter().find(|(name, _)| name == "content-type");
            if let Some((_, kind)) = kind.filter(|_| !fixed.body.is_empty()) {
                answer["content"] = json!({ (kind.clone()): { "example": fixed.body } });
            }
            responses.insert(fixed.status.to_string(), answer);
        }
    }
    for status in problems(route) {
        let answer = json!({ "$ref": format!("#/components/responses/{status}") });
        responses.entry(status).or_insert(answer);
    }
    Value::Object(responses)
}

/// The merged document: a member for each part, required where it is there in every 200.
fn merged(route: &Route, parts: &[config::Part], method: &str) -> Value {
    let mut answer = json!({ "description": "The parts in one document." });
    if method != "HEAD" {
        // A flattened part has no member of its own, and one that goes `into` another stands in there.
        let is_member = |part: &&config::Part| {
            let flat = part.shaping.flatten.as_ref().is_some_and(|flatten| flatten.value);
            let embedded = part.each.as_ref().is_some_and(|each| each.into.is_some());
            !flat && !embedded
        };
        let shown = || parts.iter().filter(is_member);
        let mut members = Map::new();
        for part in shown() {
            let about = match part.fallback {
                Some(_) => json!({ "description": "Optional: a stand-in when it failed." }),
                None => json!({}),
            };
            members.insert(part.name.value.clone(), about);
        }
        let mut schema = json!({ "type": "object", "properties": members });
        // A view may leave any of them out.
        if route.views.is_empty() {
            let names: Vec<&str> = shown().map(|part| part.name.value.as_str()).collect();
            schema["required"] = json!(names);
        }
        answer["content"] = json!({ "application/json": { "schema": schema } });
    }
    if parts.iter().any(|part| part.fallback.is_some()) {
        let about = "The parts that failed, each with its reason: `orders;timeout`.";
        answer["headers"] = json!({
            "gateway-partial": { "description": about, "schema": { "type": "string" } }
        });
    }
    answer
}

/// The gateway's own answers, by status.
const PROBLEMS: [(&str, &str); 6] = [
    ("400", "A value that the request needs is missing or cannot be used."),
    ("401", "The token is missing or proves nothing."),
    ("429", "A limit is spent; Retry-After says when to come back."),
    ("502", "A service failed or answered nonsense."),
    ("503", "No service can be asked now."),
    ("504", "A service did not answer in time."),
];

/// Those that a route can give.
fn problems(route: &Route) -> impl Iterator<Item = &'static str> {
    let asks = matches!(route.target, Target::Forward(_) | Target::Merge(_));
    let fills = matches!(route.target, Target::Merge(_) | Target::Redirect(_));
    let (proves, limits) = (!route.policies.jwt.is_empty(), !route.policies.limits.is_empty());
    PROBLEMS.into_iter().map(|(status, _)| status).filter(move |status| match *status {
        "400" => fills,
        "401" => proves,
        "429" => limits,
        _ => asks,
    })
}

/// Their descriptions, which operations refer to.
fn problem_answers() -> Map<String, Value> {
    let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let content = json!({ "application/problem+json": schema });
    let answer = |about| json!({ "description": about, "content": content });
    PROBLEMS.into_iter().map(|(status, about)| (status.to_owned(), answer(about))).collect()
}
