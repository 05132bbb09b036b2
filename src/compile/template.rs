//! Templates of a route: parsed with the route's parameters, errors pointing into the text.
//!
//! A claim can only come from a proven token, so a template that names one never compiles on a route
//! that asks for none. `exchange/template.rs` says what a template is.

use crate::compile::codes;
use crate::compile::report::Report;
use crate::config::diagnostic::Diagnostic;
use crate::config::{Route, Segment, Span, Text, suggest};
use crate::exchange::client_cert::CertField;
use crate::exchange::template::{
    Reference, SOURCES, Template, TemplateError, TemplateErrorKind, TemplateKind,
};

/// What a route offers to its templates.
pub struct Scope<'a> {
    params: Vec<String>,
    route: &'a Route,
    default_jwt: Option<&'a Text>,
}

impl<'a> Scope<'a> {
    /// The scope of `route`; `default_jwt` is what `[default]` asks for.
    pub fn of(route: &'a Route, default_jwt: Option<&'a Text>) -> Self {
        let name = |segment: &Segment| match segment {
            Segment::Param(name) => Some(name.value.clone()),
            Segment::Rest(name) => Some(format!("*{}", name.value)),
            Segment::Literal(_) => None,
        };
        let params = route.matches.segments.iter().filter_map(name).collect();
        Self { params, route, default_jwt }
    }

    /// The route.
    pub fn route(&self) -> &'a Route {
        self.route
    }

    fn names(&self) -> Vec<&str> {
        self.params.iter().map(String::as_str).collect()
    }

    /// Compiles a template of the route that stands in no part of a merge.
    pub fn compile(&self, text: &Text, kind: TemplateKind, report: &Report) -> Option<Template> {
        let template = self.compile_in_part(text, kind, report)?;
        let Some(place) = template.first_part() else { return Some(template) };
        let span = report.inside(text, place.start as usize..place.end as usize);
        let message = TemplateErrorKind::PartOutside;
        let message = TemplateError { offset: 0, len: 0, kind: message }.to_string();
        report.error(codes::BAD_TEMPLATE, span, message);
        None
    }

    /// Compiles a template of a part, which may refer to other parts.
    pub fn compile_in_part(
        &self,
        text: &Text,
        kind: TemplateKind,
        report: &Report,
    ) -> Option<Template> {
        warn_of_variables(text, report);
        match Template::parse(&text.value, kind, &self.names()) {
            Ok(template) => self.check(template, text, report),
            Err(error) => {
                report.push(self.describe(&error, text, report));
                None
            }
        }
    }

    /// Compiles a JSON document whose texts are templates, and gives its text; places are those of the
    /// whole value.
    pub fn compile_json(
        &self,
        value: &serde_json::Value,
        span: Span,
        report: &Report,
    ) -> Option<(Template, Text)> {
        let mut written = String::new();
        write_json(value, &mut written);
        let text = Text::new(written, span);
        match Template::parse(&text.value, TemplateKind::Json, &self.names()) {
            Ok(template) => Some((self.check(template, &text, report)?, text)),
            Err(error) => {
                let message = format!("a text in this JSON is not a template: {error}");
                report.error(codes::BAD_TEMPLATE, span, message);
                None
            }
        }
    }

    fn check(&self, template: Template, text: &Text, report: &Report) -> Option<Template> {
        let template = self.check_view(template, text, report)?;
        self.check_claims(template, text, report)
    }

    /// Whether there is a view to name, and what decides which it is.
    fn check_view(&self, template: Template, text: &Text, report: &Report) -> Option<Template> {
        let Some(place) = template.view() else { return Some(template) };
        if self.route.views.is_empty() {
            let span = report.inside(text, place.start as usize..place.end as usize);
            let message = "`{view}` names the client's view, and this route has none";
            let diagnostic = Diagnostic::error(codes::BAD_TEMPLATE, span, message);
            let diagnostic = diagnostic.also(self.route.matches.text.span, "this route");
            report.push(diagnostic.help("a merge has views: `[route.view.NAME]`"));
            return None;
        }
        let asks = !self.route.policies.jwt.is_empty();
        let proven = asks && self.route.views.iter().any(|view| !view.when.claims.is_empty());
        Some(if proven { template.with_proven_views() } else { template })
    }

    fn check_claims(&self, template: Template, text: &Text, report: &Report) -> Option<Template> {
        if template.needs_key() && self.route.policies.api_key.is_none() {
            let message = "this names the owner of an API key, and the route asks for none";
            let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, text.span, message);
            let diagnostic = diagnostic.also(self.route.matches.text.span, "this route");
            report.push(diagnostic.help("name a table of keys: `api_key = \"NAME\"`"));
            return None;
        }
        if template.names_cert() && self.route.policies.client_cert.is_none() {
            let message = "this names a client's certificate, and the route asks for none";
            let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, text.span, message);
            let diagnostic = diagnostic.also(self.route.matches.text.span, "this route");
            report.push(diagnostic.help("write `client_cert = \"required\"` or `\"optional\"`"));
            return None;
        }
        if template.needs_user() && self.route.policies.basic.is_none() {
            let message = "this names the user of a password, and the route asks for none";
            let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, text.span, message);
            let diagnostic = diagnostic.also(self.route.matches.text.span, "this route");
            report.push(diagnostic.help("name a table of users: `basic = \"NAME\"`"));
            return None;
        }
        // `{jwt.role?}` may be absent, and without a token it is.
        let needs = template.required().any(|asked| matches!(asked, Reference::Claim(_)));
        if !self.route.policies.jwt.is_empty() || !needs {
            return Some(template);
        }
        let span = claim_of(text, report);
        let message = "this needs a claim, and the route asks for no token";
        report.push(self.advise(Diagnostic::error(codes::CLAIM_WITHOUT_JWT, span, message)));
        None
    }

    /// Says how the route would get its claims.
    pub fn advise(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self.default_jwt {
            Some(default) => diagnostic
                .also(default.span, "`[default]` asks for one")
                .also(self.route.matches.text.span, "this route opts out with `jwt = \"none\"`"),
            None => diagnostic
                .also(self.route.matches.text.span, "this route")
                .help("name an issuer: `jwt = \"NAME\"`"),
        }
    }

    fn describe(&self, error: &TemplateError, text: &Text, report: &Report) -> Diagnostic {
        let span = report.inside(text, error.offset..error.offset + error.len);
        let diagnostic = Diagnostic::error(codes::BAD_TEMPLATE, span, error.to_string());
        let name = error.name().unwrap_or("");
        match error.kind {
            TemplateErrorKind::UnknownParam { .. } => self.describe_param(diagnostic, name),
            TemplateErrorKind::UnknownSource { .. } => {
                diagnostic.suggest(suggest::nearest(name, SOURCES.iter().copied()), "")
            }
            TemplateErrorKind::UnknownOfRequest { .. } => {
                let near = suggest::nearest(name, ["host", "method", "path", "scheme"]);
                diagnostic.suggest(near, "")
            }
            TemplateErrorKind::UnknownOfCert { .. } => {
                let near = suggest::nearest(name, CertField::ALL.map(|(name, _)| name));
                diagnostic.suggest(near, "")
            }
            TemplateErrorKind::UnknownClient { .. } => {
                let near = suggest::nearest(name, ["address", "network"]);
                diagnostic.suggest(near.or(Some("address")), "")
            }
            _ => diagnostic,
        }
    }

    fn describe_param(&self, diagnostic: Diagnostic, name: &str) -> Diagnostic {
        let params: Vec<&str> =
            self.params.iter().map(|param| param.trim_start_matches('*')).collect();
        let near = suggest::nearest(name, params.iter().copied());
        let pattern = &self.route.matches.text;
        let meant = MEANT.iter().find(|(word, _)| near.is_none() && *word == name);
        let diagnostic = diagnostic.suggest(near, "").also(pattern.span, "the route's pattern");
        let diagnostic = meant
            .into_iter()
            .fold(diagnostic, |all, (_, ours)| all.help(format!("write `{ours}`")));
        if params.is_empty() {
            diagnostic.note("the pattern has no parameters")
        } else {
            diagnostic.note(format!("it has: {}", params.join(", ")))
        }
    }
}

/// What words that stand alone are probably meant to be, where the pattern has no such parameter.
const MEANT: [(&str, &str); 12] = [
    ("api_key", "{key.owner}"),
    ("owner", "{key.owner}"),
    ("sub", "{jwt.sub}"),
    ("ip", "{client.address}"),
    ("remote_addr", "{client.address}"),
    ("client", "{client.address}"),
    ("host", "{request.host}"),
    ("method", "{request.method}"),
    ("path", "{request.path}"),
    ("uri", "{request.path}"),
    ("request_uri", "{request.path}"),
    ("scheme", "{request.scheme}"),
];

/// Writes JSON as a template: a text that is one placeholder, of a source whose values have types, stands
/// outside of quotes, so that the value keeps its type.
fn write_json(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::String(text) if is_typed(text) => out.push_str(text),
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                out.push(if index == 0 { '[' } else { ',' });
                write_json(item, out);
            }
            out.push_str(if list.is_empty() { "[]" } else { "]" });
        }
        Value::Object(members) => {
            for (index, (name, item)) in members.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                // A name that is a placeholder stays a text: names have no other type.
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_json(item, out);
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Whether a text is exactly one placeholder of a claim, of a value of another part or of a call's elements.
fn is_typed(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    let typed = inner.starts_with("part.") || inner.starts_with("jwt.") || inner == "each*";
    typed && !inner.contains(['{', '}', '"', '\\'])
}

/// Variables of nginx, and what a template has for them; the log has the same without `request.`.
const VARIABLES: [(&str, &str); 13] = [
    ("args", "{query.NAME}"),
    ("arg_", "{query.NAME}"),
    ("binary_remote_addr", "{client.address}"),
    ("host", "{request.host}"),
    ("http_", "{header.NAME}"),
    ("proxy_add_x_forwarded_for", "nothing: X-Forwarded-For is sent anyway"),
    ("remote_addr", "{client.address}"),
    ("request_method", "{request.method}"),
    ("request_uri", "{request.path}"),
    ("scheme", "{request.scheme}"),
    ("server_name", "{request.host}"),
    ("status", "{status}"),
    ("uri", "{request.path}"),
];

/// `$remote_addr` is a text here, and nobody means it as one.
pub fn warn_of_variables(text: &Text, report: &Report) {
    warn_of(text, str::to_owned, report);
}

/// The same in a line of the log, whose fields have other names.
pub fn warn_of_log_variables(text: &Text, report: &Report) {
    warn_of(
        text,
        |ours| ours.replace("{request.", "{").replace("{client.address", "{client"),
        report,
    );
}

fn warn_of(text: &Text, spelt: impl Fn(&str) -> String, report: &Report) {
    for (at, _) in text.value.match_indices('$') {
        let rest = &text.value[at + 1..];
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let name = &rest[..rest.find(word).unwrap_or(rest.len())];
        let is = |known: &str| name == known || (known.ends_with('_') && name.starts_with(known));
        let Some((_, ours)) = VARIABLES.iter().find(|(known, _)| is(known)) else { continue };
        let span = report.inside(text, at..at + 1 + name.len());
        let message = format!("`${name}` is no variable here, but the text itself");
        let warning = Diagnostic::warning(codes::FOREIGN_VARIABLE, span, message);
        report.push(warning.help(format!("write {}", spelt(ours))));
    }
}

/// The place of the first claim in a template.
pub fn claim_of(text: &Text, report: &Report) -> Span {
    let Some(start) = text.value.find("{jwt.") else { return text.span };
    let end = text.value[start..].find('}').map_or(text.value.len(), |end| start + end + 1);
    report.inside(text, start..end)
}
