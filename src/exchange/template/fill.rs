//! Filling: the pieces of a template in their order, each value found and escaped for where it stands.
//!
//! An error may leave a part of the text behind; that part is never sent. What escapes is `encode`, which no value
//! passes by: there is one way from a value to the text (RFC 3986 §2.1, RFC 9110 §5.5, RFC 8259 §7).

use serde_json::Value;

use crate::exchange::Exchange;
use crate::exchange::identity::Identity;
use crate::exchange::template::edges::Edges;
use crate::exchange::template::encode::{self, Dots, Text};
use crate::exchange::template::{
    Absent, Inputs, PartValues, Piece, Placeholder, Position, RenderError, Sink, Source, Template,
    TemplateKind,
};

impl Template {
    /// Fills the template from an exchange. On an error part of the text may have been written: the
    /// caller throws `out` away.
    pub fn render<S: Sink>(&self, x: &Exchange, out: &mut S) -> Result<(), RenderError> {
        self.render_with(x, PartValues::Unknown, out)
    }

    /// Fills the template from an exchange and from other parts' answers; as [`render`](Self::render).
    pub fn render_with<S: Sink>(
        &self,
        x: &Exchange,
        parts: PartValues<'_>,
        out: &mut S,
    ) -> Result<(), RenderError> {
        let (identity, client) = (x.identity.as_ref(), &x.client);
        let (request, params, view) =
            (x.request(), &x.params, x.view.as_ref().map(|view| &view.name));
        let inputs = Inputs { request, params, identity, client, view, parts };
        self.fill(&inputs, out)
    }

    /// Fills the template from a view of a request; as [`render`](Self::render).
    pub fn fill<S: Sink>(&self, from: &Inputs<'_>, out: &mut S) -> Result<(), RenderError> {
        self.fill_pieces(from, out).map_err(|error| match (error, from.parts) {
            // What the request gave was rehearsed: it is the part's value that is unfit or too long.
            (RenderError::Unfit, PartValues::Known { .. }) => RenderError::PartUnfit,
            (error, _) => error,
        })
    }

    fn fill_pieces<S: Sink>(&self, from: &Inputs<'_>, out: &mut S) -> Result<(), RenderError> {
        if self.kind != TemplateKind::Field {
            return self.write_pieces(from, out);
        }
        let mut edges = Edges::of(out);
        self.write_pieces(from, &mut edges)?;
        edges.end()
    }

    fn write_pieces<S: Sink>(&self, from: &Inputs<'_>, out: &mut S) -> Result<(), RenderError> {
        let mut dots = Dots::default();
        for piece in &self.pieces {
            out.value_follows(matches!(piece, Piece::Value(_)));
            match piece {
                Piece::Text(text) => {
                    dots.literal(text, self.kind)?;
                    if !out.put(text) {
                        return Err(RenderError::Full);
                    }
                }
                Piece::Value(placeholder) => placeholder.fill(from, &mut dots, out)?,
            }
        }
        dots.end()
    }
}

impl Placeholder {
    fn fill<S: Sink>(
        &self,
        from: &Inputs<'_>,
        dots: &mut Dots,
        out: &mut S,
    ) -> Result<(), RenderError> {
        match (&self.source, from.parts) {
            (Source::Part { .. } | Source::Each(_), PartValues::Unknown) => return Ok(()),
            (Source::Each(elements), _) => return self.fill_elements(elements, from, dots, out),
            (Source::Part { path, .. }, PartValues::Named) => {
                let pieces = [b"{part.", path.as_bytes(), b"}"];
                let written = pieces.iter().all(|piece| out.put(piece));
                return if written { Ok(()) } else { Err(RenderError::Full) };
            }
            _ => {}
        }
        let Some(value) = self.source.value(from)? else {
            return self.fill_absent(dots, out);
        };
        self.fill_value(value, dots, out)
    }

    pub(super) fn fill_value<S: Sink>(
        &self,
        value: Found<'_>,
        dots: &mut Dots,
        out: &mut S,
    ) -> Result<(), RenderError> {
        match (&value, self.position) {
            (Found::Claim(value), Position::JsonValue) => return encode::json_claim(value, out),
            (Found::Claim(Value::Array(list)), Position::Field) => return claim_list(list, out),
            (Found::Json(text), Position::JsonValue) => return encode::json_as_it_is(text, out),
            _ => {}
        }
        let text = value.text()?;
        let rest = matches!(self.source, Source::Param { rest: true, .. });
        match self.position {
            Position::Path if rest => encode::rest(&text, dots, out),
            // An empty segment would name another resource: `/users/` for `/users/{jwt.sub}`.
            Position::Path if text.is_empty() => self.fill_absent(dots, out),
            Position::Path => encode::segment(&text, dots, out),
            Position::Query => encode::query(&text, out),
            Position::Field => encode::field(&text, out),
            Position::Json => encode::json_text(&text, out),
            Position::JsonValue => encode::json_string(&text, out),
            Position::Plain => encode::plain(&text, out),
        }
    }

    pub(super) fn fill_absent<S: Sink>(
        &self,
        dots: &mut Dots,
        out: &mut S,
    ) -> Result<(), RenderError> {
        let text: &[u8] = match (&self.absent, self.position) {
            (Absent::Refuse, _) if matches!(self.source, Source::Part { .. } | Source::Each(_)) => {
                return Err(RenderError::PartMissing);
            }
            (Absent::Refuse, _) => {
                let claim = matches!(
                    self.source,
                    Source::Claim(_) | Source::KeyOwner | Source::ClientCert(_) | Source::User
                );
                return Err(RenderError::Missing { claim });
            }
            (Absent::Nothing, Position::JsonValue) => b"null",
            (Absent::Nothing, _) => b"",
            (Absent::Default(text), _) => text,
        };
        if self.position == Position::Path {
            dots.value(text)?;
        }
        if out.put(text) { Ok(()) } else { Err(RenderError::Full) }
    }
}

/// A claim that is a list, as a field has lists (RFC 9110 §5.6.1): `admin,ops`. An element that holds a comma would
/// be taken for two, and one that is no scalar has no spelling there.
fn claim_list<S: Sink>(list: &[Value], out: &mut S) -> Result<(), RenderError> {
    for (index, value) in list.iter().enumerate() {
        let text = Found::Claim(value).text()?;
        if text.has(b',') {
            return Err(RenderError::Unfit);
        }
        if index > 0 && !out.put(b",") {
            return Err(RenderError::Full);
        }
        encode::field(&text, out)?;
    }
    Ok(())
}

/// A value as found in the request.
pub(super) enum Found<'a> {
    Claim(&'a Value),
    /// Checked JSON, never white space around it.
    Json(&'a [u8]),
    Text(Text<'a>),
}

impl<'a> Found<'a> {
    fn text(self) -> Result<Text<'a>, RenderError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Claim(Value::String(text)) => Ok(Text::Plain(text.as_bytes())),
            Self::Claim(Value::Number(number)) => Text::small(number),
            Self::Claim(Value::Bool(true)) => Ok(Text::Plain(b"true")),
            Self::Claim(Value::Bool(false)) => Ok(Text::Plain(b"false")),
            Self::Claim(_) => Err(RenderError::Unfit),
            Self::Json(text) => Text::of_json(text),
        }
    }
}

impl Source {
    fn value<'a>(&self, from: &Inputs<'a>) -> Result<Option<Found<'a>>, RenderError> {
        let text = match self {
            Self::Claim(path) => {
                let claim = from.identity.and_then(|identity| identity.claim(path));
                return Ok(claim.filter(|value| !value.is_null()).map(Found::Claim));
            }
            Self::Each(_) => return Ok(None),
            Self::Part { slot, .. } => return Ok(from.parts.value(*slot).map(Found::Json)),
            Self::Param { index, .. } => {
                let raw = from.params.value(*index, from.request.path());
                raw.map(|raw| Text::Coded { raw, plus: false })
            }
            Self::Query(name) => {
                let query = from.request.query().unwrap_or(&[]);
                encode::pair(query, name.as_bytes()).map(|raw| Text::Coded { raw, plus: true })
            }
            Self::Header(name) => from.request.field_named(name.as_bytes()).map(Text::Plain),
            Self::Request(part) => Some(Text::Plain(part.of(from))),
            Self::ClientAddress => Some(Text::address(from.client.address)),
            Self::View { .. } => from.view.map(|name| Text::Plain(name.as_str().as_bytes())),
            Self::ClientNetwork | Self::ClientPrefix(_) if from.client.address.is_ipv4() => {
                Some(Text::address(from.client.address))
            }
            Self::ClientNetwork => Some(Text::small(from.client.network())?),
            Self::KeyOwner => {
                let owner = from.identity.and_then(Identity::key_owner);
                owner.map(|owner| Text::Plain(owner.as_bytes()))
            }
            Self::ClientCert(field) => {
                let cert = from.identity.and_then(Identity::client_cert);
                cert.and_then(|cert| cert.value(*field)).map(|text| Text::Plain(text.as_bytes()))
            }
            Self::User => {
                let user = from.identity.and_then(Identity::user);
                user.map(|user| Text::Plain(user.as_bytes()))
            }
            Self::ClientPrefix(prefix) => Some(Text::small(from.client.network_of(*prefix))?),
        };
        Ok(text.map(Found::Text))
    }
}
