//! What the language has: one table of keys (`language.rs`) drives the readers, the list of valid keys
//! in errors, the JSON Schema for editors and the reference page.
//!
//! A key that is not in the table is never read and a key in the table is never unknown, so the four
//! cannot drift apart. JSON Schema is draft 2020-12.

use serde_json::{Map, Value, json};

/// A table of the configuration and its keys.
pub struct Section {
    /// Name in headings and in the schema: `[[route]]`.
    pub title: &'static str,
    /// Name in messages: `this route`.
    pub here: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order of the page.
    pub keys: &'static [Key],
}

/// One key.
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// What may stand there.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// The default in words; empty if there is none.
    pub default: &'static str,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

/// What may stand as a value.
#[derive(Clone, Copy)]
pub enum Shape {
    /// A text.
    Text,
    /// A text or a list of texts.
    Texts,
    /// `true` or `false`.
    Boolean,
    /// A whole number in a range.
    Integer(i64, i64),
    /// `"15s"`, greater than nothing.
    Duration,
    /// `"60s"`, or `"0s"`.
    DurationOrZero,
    /// `"16KiB"`.
    Bytes,
    /// `"100/s"`.
    Rate,
    /// `"5%"`: a whole number from 1 to 100.
    Percent,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any value that JSON can have.
    Json,
    /// A table of names and texts.
    Fields,
    /// A table of names and texts, or `true` for "is there".
    Conditions,
    /// A table.
    Table(&'static Section),
    /// A list of these.
    List(&'static Shape),
    /// A table of names with one of these each.
    Named(&'static Shape),
    /// One of these.
    Either(&'static [Shape]),
    /// In the language, but not yet in this version.
    Later,
}

impl Shape {
    /// The tables that may stand here, those of several shapes included.
    fn tables(self) -> Vec<&'static Section> {
        match self {
            Self::Table(section) => vec![section],
            Self::List(item) | Self::Named(item) => item.tables(),
            Self::Either(shapes) => shapes.iter().flat_map(|shape| shape.tables()).collect(),
            _ => Vec::new(),
        }
    }
}

impl Section {
    /// The key of this table whose own table has `name`.
    pub fn inner_home(&self, name: &str) -> Option<&'static str> {
        let has = |section: &&Section| section.supports(name);
        let mut keys = self.keys.iter().filter(|key| !matches!(key.shape, Shape::Named(_)));
        keys.find(|key| key.shape.tables().iter().any(has)).map(|key| key.name)
    }

    /// The titles of all tables below this one that have `name`; those of tests have words of their own.
    pub fn homes(&'static self, name: &str) -> Vec<&'static str> {
        let mut seen: Vec<&'static str> = Vec::new();
        let mut homes = Vec::new();
        let mut open = vec![self];
        while let Some(section) = open.pop() {
            if seen.contains(&section.title) {
                continue;
            }
            seen.push(section.title);
            if section.supports(name) {
                homes.push(section.title);
            }
            let keys = section.keys.iter().filter(|key| key.name != "test");
            open.extend(keys.flat_map(|key| key.shape.tables()));
        }
        homes.sort_unstable();
        homes
    }

    pub(super) fn supports(&self, name: &str) -> bool {
        self.key(name).is_some_and(Key::is_supported)
    }
}

impl Key {
    /// An optional key.
    pub const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self { name, shape, required: false, default: "", doc }
    }

    /// A key of the language that this version does not know yet.
    pub const fn later(name: &'static str) -> Self {
        Self::new(name, Shape::Later, "")
    }

    /// The same key, required.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same key with its default in words.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// Whether this version knows it.
    pub const fn is_supported(&self) -> bool {
        !matches!(self.shape, Shape::Later)
    }
}

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names that this version knows, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| key.is_supported()).map(|key| key.name)
    }
}

/// Patterns of the units, for editors; `units.rs` decides.
const DURATION_PATTERN: &str = r"^([0-9]+ *(ms|s|m|h|d) *)+$|\$\{";
const BYTES_PATTERN: &str = r"^[0-9]+ *(B|KiB|MiB|GiB|KB|kB|MB|GB)$|\$\{";
const RATE_PATTERN: &str = r"^[0-9]+ */ *(s|m|h|d)$|\$\{";
const PERCENT_PATTERN: &str = r"^[0-9]+ *%$|\$\{";

/// The JSON Schema of the language below `root`, pretty-printed.
pub fn json_schema(root: &'static Section) -> String {
    let mut definitions = Map::new();
    let Value::Object(body) = section_schema(root, &mut definitions) else {
        return String::new();
    };
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!("Ringway configuration"));
    schema.extend(body);
    schema.insert("$defs".into(), Value::Object(definitions));
    format!("{:#}\n", Value::Object(schema))
}

fn section_schema(section: &'static Section, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in section.keys.iter().filter(|key| key.is_supported()) {
        let mut property = shape_schema(key.shape, definitions);
        if let Value::Object(fields) = &mut property {
            let default = if key.default.is_empty() {
                String::new()
            } else {
                format!(" Default: {}.", key.default)
            };
            fields.insert("description".into(), json!(format!("{}{default}", key.doc)));
        }
        properties.insert(key.name.into(), property);
    }
    let required: Vec<&str> =
        section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": section.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn shape_schema(shape: Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Texts => json!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(min, max) => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        Shape::Duration | Shape::DurationOrZero => {
            json!({ "type": "string", "pattern": DURATION_PATTERN })
        }
        Shape::Bytes => json!({ "type": "string", "pattern": BYTES_PATTERN }),
        Shape::Rate => json!({ "type": "string", "pattern": RATE_PATTERN }),
        Shape::Percent => json!({ "type": "string", "pattern": PERCENT_PATTERN }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Json | Shape::Later => json!({}),
        Shape::Fields => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Shape::Conditions => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": "string" }, { "const": true }] }
        }),
        Shape::Table(section) => {
            if !definitions.contains_key(section.title) {
                definitions.insert(section.title.into(), Value::Null);
                let body = section_schema(section, definitions);
                definitions.insert(section.title.into(), body);
            }
            json!({ "$ref": format!("#/$defs/{}", pointer(section.title)) })
        }
        Shape::List(item) => json!({ "type": "array", "items": shape_schema(*item, definitions) }),
        Shape::Named(item) => json!({
            "type": "object", "additionalProperties": shape_schema(*item, definitions)
        }),
        Shape::Either(shapes) => {
            let any: Vec<Value> =
                shapes.iter().map(|shape| shape_schema(*shape, definitions)).collect();
            json!({ "anyOf": any })
        }
    }
}

/// A title inside a URI fragment (RFC 6901 §6): brackets and blanks are percent-encoded.
fn pointer(title: &str) -> String {
    let mut text = String::new();
    for character in title.chars() {
        match character {
            '[' => text.push_str("%5B"),
            ']' => text.push_str("%5D"),
            ' ' => text.push_str("%20"),
            other => text.push(other),
        }
    }
    text
}

/// The reference page in Markdown.
pub fn reference(root: &'static Section, introduction: &str) -> String {
    let mut sections: Vec<&'static Section> = Vec::new();
    collect(root, &mut sections);
    let mut page = format!("{introduction}\n");
    for section in sections {
        page.push_str(&format!("\n## {}\n\n{}\n\n", section.title, section.doc));
        page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in section.keys.iter().filter(|key| key.is_supported()) {
            let default = match (key.required, key.default) {
                (true, _) => "required",
                (false, default) => default,
            };
            let shape = words(key.shape);
            let doc = key.doc.replace('|', "\\|");
            page.push_str(&format!("| `{}` | {shape} | {default} | {doc} |\n", key.name));
        }
        let later: Vec<String> = section
            .keys
            .iter()
            .filter(|key| !key.is_supported())
            .map(|key| format!("`{}`", key.name))
            .collect();
        if !later.is_empty() {
            page.push_str(&format!(
                "\nComing later, and refused until then: {}.\n",
                later.join(", ")
            ));
        }
    }
    page
}

/// A section and those below it, each once, in the order of the page.
fn collect(section: &'static Section, sections: &mut Vec<&'static Section>) {
    if sections.iter().any(|known| std::ptr::eq(*known, section)) {
        return;
    }
    sections.push(section);
    for key in section.keys {
        below(key.shape, sections);
    }
}

fn below(shape: Shape, sections: &mut Vec<&'static Section>) {
    match shape {
        Shape::Table(section) => collect(section, sections),
        Shape::List(item) | Shape::Named(item) => below(*item, sections),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| below(*shape, sections)),
        _ => {}
    }
}

/// A shape in words, for the page.
pub(super) fn words(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".into(),
        Shape::Texts => "text or list of texts".into(),
        Shape::Boolean => "`true` or `false`".into(),
        Shape::Integer(min, max) => format!("integer, {min} to {max}"),
        Shape::Duration | Shape::DurationOrZero => "duration, `\"15s\"`".into(),
        Shape::Bytes => "size, `\"16KiB\"`".into(),
        Shape::Rate => "rate, `\"100/s\"`".into(),
        Shape::Percent => "share, `\"5%\"`".into(),
        Shape::Choice(choices) => {
            let quoted: Vec<String> =
                choices.iter().map(|choice| format!("`\"{choice}\"`")).collect();
            quoted.join(" or ")
        }
        Shape::Json => "any value".into(),
        Shape::Fields => "table of names and texts".into(),
        Shape::Conditions => "table of names and texts, or `true` for \"is there\"".into(),
        Shape::Table(section) => format!("table {}", section.title),
        Shape::List(item) => format!("list of {}", words(*item)),
        Shape::Named(item) => format!("by name: {}", words(*item)),
        Shape::Either(shapes) => {
            shapes.iter().map(|shape| words(*shape)).collect::<Vec<_>>().join(", or ")
        }
        Shape::Later => "not in this version".into(),
    }
}
