//! Targets and the templates in them: every text that is filled at request time is parsed here, once.
//!
//! A template's mistake is shown at its place inside of the string. A claim is never asked for where no
//! token is.

use std::sync::Arc;

use crate::aggregate::json::Pick;
use crate::aggregate::{Part, Pass, Plan};
use crate::base::ids::UpstreamId;
use crate::base::limits::PARTS_MAX;
use crate::base::name::Name;
use crate::compile::names::Sort;
use crate::compile::{Compiler, codes};
use crate::config::diagnostic::Diagnostic;
use crate::config::suggest::nearest;
use crate::config::{self, Text};
use crate::exchange::reply::{Reply, ReplyText};
use crate::exchange::template::{SOURCES, Template, TemplateErrorKind, TemplateKind};
use crate::gateway::route::{Forward, Redirect, Target};
use crate::http::{Method, Status};

impl Compiler<'_> {
    pub(super) fn target(
        &mut self,
        written: &config::Route,
        params: &[&str],
        proves: bool,
    ) -> Option<Target> {
        match &written.target {
            config::Target::Forward(call) => {
                let upstream = self.resolve(Sort::Upstream, &call.upstream);
                let target = match &call.target {
                    Some(text) => {
                        let kind = TemplateKind::Target;
                        Some(self.template(text, kind, params, written, proves)?)
                    }
                    None => None,
                };
                let upstream = UpstreamId(upstream? as u32);
                Some(Target::Forward(Forward { upstream, target }))
            }
            config::Target::Merge(parts) => self.plan(written, parts, params, proves),
            config::Target::Redirect(redirect) => {
                let kind = TemplateKind::Location;
                let to = self.template(&redirect.to, kind, params, written, proves)?;
                Some(Target::Redirect(Redirect { to, status: Status(redirect.status) }))
            }
            config::Target::Respond(respond) => Some(Target::Respond(fixed(respond))),
        }
    }

    fn plan(
        &mut self,
        written: &config::Route,
        parts: &[config::Part],
        params: &[&str],
        proves: bool,
    ) -> Option<Target> {
        if parts.len() > PARTS_MAX {
            let message = format!("more than {PARTS_MAX} parts");
            self.found.push(Diagnostic::error(codes::TOO_MANY_PARTS, written.span, message));
            return None;
        }
        let compiled: Vec<_> =
            parts.iter().map(|part| self.part(written, part, params, proves)).collect();
        let compiled: Option<Vec<Part>> = compiled.into_iter().collect();
        let texts = |list: &[Text]| list.iter().map(|text| text.value.as_str().into()).collect();
        let pass =
            Pass { headers: texts(&written.pass.headers), query: texts(&written.pass.query) };
        Some(Target::Aggregate(Plan::new(compiled?, pass)))
    }

    fn part(
        &mut self,
        route: &config::Route,
        written: &config::Part,
        params: &[&str],
        proves: bool,
    ) -> Option<Part> {
        let upstream = self.resolve(Sort::Upstream, &written.call.upstream);
        let target = written.call.target.as_ref()?;
        let target = self.template(target, TemplateKind::Target, params, route, proves);
        let timeout = written.timeout.as_ref().map_or(route.policies.timeout.value, |t| t.value);
        let mut headers = Vec::new();
        for (name, value) in &written.request_headers {
            let value = self.template(value, TemplateKind::Field, params, route, proves)?;
            headers.push((name.value.as_str().into(), value));
        }
        let body = match &written.body {
            Some(value) => {
                let text = Text::new(value.value.to_string(), value.span);
                Some(self.template(&text, TemplateKind::Json, params, route, proves)?)
            }
            None => None,
        };
        let pick = match &written.pick {
            Some(text) => Some(self.pick(text)?),
            None => None,
        };
        if let Some(field) = written.headers.first() {
            let message = "response fields of a part are not passed on by this version of Ringway";
            self.found.push(Diagnostic::error(codes::PART_FIELDS, field.span, message));
        }
        let name = Name::new(&written.name.value);
        let mut part = Part::new(name, UpstreamId(upstream? as u32), target?, timeout);
        part.method = match written.method {
            config::PartMethod::Get => Method::Get,
            config::PartMethod::Post => Method::Post,
            config::PartMethod::Put => Method::Put,
            config::PartMethod::Patch => Method::Patch,
        };
        part.otherwise = written.fallback.as_ref().map(|v| v.value.to_string().into_bytes().into());
        part.headers = headers.into();
        part.body = body;
        part.pick = pick;
        Some(part)
    }

    fn pick(&mut self, text: &Text) -> Option<Pick> {
        match Pick::parse(&text.value) {
            Ok(pick) => Some(pick),
            Err(error) => {
                let span = self.found.sources.inside(text, error.offset..error.offset);
                let message = format!("this `pick` cannot be read: {error}");
                self.found.push(Diagnostic::error(codes::BAD_PICK, span, message));
                None
            }
        }
    }

    /// A template, or an error at its place.
    pub(super) fn template(
        &mut self,
        text: &Text,
        kind: TemplateKind,
        params: &[&str],
        route: &config::Route,
        proves: bool,
    ) -> Option<Template> {
        let template = match Template::parse(&text.value, kind, params) {
            Ok(template) => template,
            Err(error) => {
                let range = error.offset..error.offset + error.len;
                let span = self.found.sources.inside(text, range);
                let mut diagnostic =
                    Diagnostic::error(codes::BAD_TEMPLATE, span, error.to_string());
                let near = match &error.kind {
                    TemplateErrorKind::UnknownSource { name } => {
                        nearest(name, SOURCES.iter().chain(params).copied())
                    }
                    TemplateErrorKind::UnknownParam { name } => {
                        nearest(name, params.iter().copied())
                    }
                    _ => None,
                };
                if let Some(near) = near {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.found.push(diagnostic);
                return None;
            }
        };
        if template.needs_identity() && !proves {
            let message =
                format!("a claim is used, but the route `{}` asks for no token", route.name.value);
            let diagnostic = Diagnostic::error(codes::CLAIM_WITHOUT_JWT, text.span, message);
            self.found.push(diagnostic.help("add `jwt = \"…\"` to the route"));
            return None;
        }
        Some(template)
    }
}

fn fixed(respond: &config::Respond) -> Reply {
    let mut fields = Vec::new();
    for (name, value) in &respond.headers {
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(b": ");
        fields.extend_from_slice(value.as_bytes());
        fields.extend_from_slice(b"\r\n");
    }
    Reply {
        status: Status(respond.status),
        fields: ReplyText::Shared(Arc::from(fields)),
        body: ReplyText::Shared(Arc::from(respond.body.as_bytes())),
        content_type: "",
        close: false,
    }
}
