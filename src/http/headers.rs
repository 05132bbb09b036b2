//! Fields of a head: an ordered list of spans into the buffer they were received in.
//!
//! It is never a map: order, repetition and the bytes of every field are the sender's business, and a
//! list of spans passes them on without an allocation. Finding a known field compares one byte.

use crate::base::span::Span;
use crate::http::names::FieldName;

/// One field line (RFC 9110 §5). The value has no surrounding whitespace (RFC 9112 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Which known field this is, if any.
    pub id: FieldName,
    /// The name as received.
    pub name: Span,
    /// The value as received, trimmed.
    pub value: Span,
}

/// The field lines of one head, in the order received. Cleared and reused; it never shrinks.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
}

impl Fields {
    /// An empty list with room for `fields_max` fields, so that filling it never allocates.
    pub fn with_capacity(fields_max: usize) -> Self {
        Self { list: Vec::with_capacity(fields_max) }
    }

    /// Forgets all fields and keeps the room.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Appends a field.
    pub fn push(&mut self, field: Field) {
        self.list.push(field);
    }

    /// The fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// The fields in order, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Field> {
        self.list.iter_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value of the first field with a known name.
    pub fn find<'r>(&self, id: FieldName, raw: &'r [u8]) -> Option<&'r [u8]> {
        self.list.iter().find(|field| field.id == id).map(|field| field.value.of(raw))
    }

    /// The values of all fields with a known name, in order.
    pub fn all<'s, 'r: 's>(
        &'s self,
        id: FieldName,
        raw: &'r [u8],
    ) -> impl DoubleEndedIterator<Item = &'r [u8]> + 's {
        self.list.iter().filter(move |field| field.id == id).map(move |field| field.value.of(raw))
    }

    /// The values of all fields whose name is `name`, compared without case, in order; none of what is
    /// not to be believed (`LookAlike`).
    pub fn named<'s, 'r: 's>(
        &'s self,
        name: &'s [u8],
        raw: &'r [u8],
    ) -> impl Iterator<Item = &'r [u8]> + 's {
        self.list
            .iter()
            .filter(move |field| field.name.of(raw).eq_ignore_ascii_case(name))
            .filter(|field| field.id != FieldName::LookAlike)
            .map(move |field| field.value.of(raw))
    }
}
