//! The facts of one request, read when first asked for and kept: the JSON is walked once however many facts
//! are wanted from it.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use serde_json::value::RawValue;

use crate::json_pointer::{Pointer, PointerSet, first_byte, scalar_text};
use crate::provider::{BodyKind, Provider, Selector, first_key_besides, xml_text};
use crate::verify::{FORM_FIELDS_MAX, RequestView};

/// What stands in one request.
#[derive(Debug)]
pub struct RequestFacts<'a> {
    request: RequestView<'a>,
    pointers: &'a PointerSet,
    reads_json: bool,
    reads_form: bool,
    latin1: bool,
    /// A header was asked for whose value is no text.
    met_unreadable_header: Cell<bool>,
    json: OnceCell<Vec<Option<&'a RawValue>>>,
    form: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// The field of a form that holds the JSON which other requests have as their body.
    json_field: Option<&'a str>,
    /// A form's fields stand where pointers point.
    reads_fields: bool,
    /// What the pointers name in that field.
    inner: OnceCell<Vec<Option<String>>>,
}

/// One item of a batch, walked once.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pointers: &'a PointerSet,
    raw: &'a RawValue,
    found: Vec<Option<&'a RawValue>>,
    /// The item of the outer array that it stands in.
    outer: Option<Rc<Item<'a>>>,
}

impl<'a> Item<'a> {
    pub(crate) fn new(
        pointers: &'a PointerSet,
        raw: &'a RawValue,
        outer: Option<Rc<Self>>,
    ) -> Self {
        let found = pointers.lookup(raw.get().as_bytes()).unwrap_or_default();
        Self { pointers, raw, found, outer }
    }

    /// Its bytes, as they stand in the body.
    pub(crate) fn json(&self) -> &'a [u8] {
        self.raw.get().as_bytes()
    }

    fn get(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        *self.found.get(self.pointers.index_of(pointer)?)?
    }
}

impl<'a> RequestFacts<'a> {
    /// RequestFacts of `request` as `provider` finds them. Reads nothing yet.
    #[must_use]
    pub fn new(provider: &'a Provider, request: RequestView<'a>) -> Self {
        Self {
            request,
            pointers: &provider.identity.pointers.body,
            reads_json: matches!(provider.body, BodyKind::Json | BodyKind::Auto),
            reads_form: request.is_payload_form() || request.is_multipart_form(),
            latin1: provider.latin1_headers,
            met_unreadable_header: Cell::new(false),
            json: OnceCell::new(),
            form: OnceCell::new(),
            json_field: provider.json_field.as_deref(),
            reads_fields: provider.signs_whole_forms(),
            inner: OnceCell::new(),
        }
    }

    /// The same of a request whose signature was read from its body as one `kind`, if that makes a difference: bytes can
    /// be made that are JSON and a form and say another thing in each, and only what was signed is to be believed.
    pub(crate) fn only(&self, kind: BodyKind) -> Option<Self> {
        (self.reads_json && self.reads_form).then(|| Self {
            request: self.request,
            pointers: self.pointers,
            reads_json: kind == BodyKind::Json,
            reads_form: kind == BodyKind::Form,
            latin1: self.latin1,
            met_unreadable_header: self.met_unreadable_header.clone(),
            json: OnceCell::new(),
            form: OnceCell::new(),
            json_field: self.json_field,
            reads_fields: self.reads_fields,
            inner: OnceCell::new(),
        })
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &RequestView<'a> {
        &self.request
    }

    /// The JSON at `pointer` in the body, as it stands there. The whole body needs no walk.
    pub(crate) fn json_at(&self, pointer: &Pointer) -> Option<&'a [u8]> {
        if pointer.as_str().is_empty() {
            return self.reads_json.then_some(self.request.body);
        }
        self.raw(pointer).map(|raw| raw.get().as_bytes())
    }

    fn raw(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        let found = self.json.get_or_init(|| {
            let opening = matches!(first_byte(self.request.body), Some(b'{' | b'['));
            if !self.reads_json || !opening {
                return Vec::new();
            }
            self.pointers.lookup(self.request.body).unwrap_or_default()
        });
        *found.get(self.pointers.index_of(pointer)?)?
    }

    /// The text that a pointer names: in the body, in the JSON that a field of a form holds in its place, or the field
    /// of that name, so that an event is the same one as JSON and as a form.
    fn pointed(&self, pointer: &Pointer) -> Option<Cow<'a, str>> {
        if !self.reads_form {
            return self.raw(pointer).and_then(scalar_text);
        }
        if let Some(json) = self.json_field.and_then(|name| self.field(name)) {
            let found = self.inner.get_or_init(|| {
                let found = self.pointers.lookup(json.as_bytes()).unwrap_or_default();
                let text = |raw: Option<&RawValue>| raw.and_then(scalar_text).map(Cow::into_owned);
                found.into_iter().map(text).collect()
            });
            return found.get(self.pointers.index_of(pointer)?)?.clone().map(Cow::Owned);
        }
        let name = pointer.form_name().filter(|_| self.reads_fields)?;
        self.field(&name).cloned()
    }

    fn field(&self, name: &str) -> Option<&Cow<'a, str>> {
        let form = self.form.get_or_init(|| {
            let mut fields =
                self.reads_form.then(|| self.request.fields()).flatten().unwrap_or_default();
            fields.truncate(FORM_FIELDS_MAX);
            fields
        });
        form.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The text of a form's field.
    pub(crate) fn form_text(&self, name: &str) -> Option<&str> {
        self.field(name).map(|value| &**value)
    }

    /// The text that stands at `source`. A header that occurs twice has none: which one would be guessing.
    pub(crate) fn text<'i>(
        &self,
        source: &Selector,
        family: usize,
        item: Option<&Item<'i>>,
    ) -> Option<Cow<'i, str>>
    where
        'a: 'i,
    {
        match source {
            Selector::Header(names) => {
                let name = names.get(family).or_else(|| names.first())?;
                let value = self.request.single_header(name).ok()??;
                self.header_text(value)
            }
            Selector::Json(pointer) => match item {
                Some(item) => item.get(pointer).and_then(scalar_text),
                None => self.pointed(pointer),
            },
            Selector::Body(pointer) => self.pointed(pointer),
            Selector::Form(name, None) => self.field(name).cloned(),
            Selector::Form(name, Some(pointer)) => {
                let json = self.field(name)?;
                let raw = pointer.find(json.as_bytes()).ok()??;
                scalar_text(raw).map(|text| Cow::Owned(text.into_owned()))
            }
            Selector::Query(name) => self.request.query_parameter(name),
            Selector::Outer(pointer) => item?.outer.as_ref()?.get(pointer).and_then(scalar_text),
            Selector::KeyBesides(keys) => {
                let json = item.map_or(self.request.body, Item::json);
                first_key_besides(json, keys).map(Cow::Owned)
            }
            Selector::FormXml(field, path) => {
                xml_text(self.field(field)?.as_bytes(), path).map(Cow::Owned)
            }
            Selector::Headers(_) | Selector::Each(_) | Selector::Pair(_) => None,
        }
    }

    fn header_text(&self, value: &'a [u8]) -> Option<Cow<'a, str>> {
        match std::str::from_utf8(value) {
            Ok(text) => Some(Cow::Borrowed(text)),
            Err(_) if self.latin1 => Some(value.iter().map(|b| char::from(*b)).collect()),
            Err(_) => {
                self.met_unreadable_header.set(true);
                None
            }
        }
    }

    /// True if a header was asked for whose value is no text: what it says is not known, though it says something.
    pub(crate) fn met_unreadable_header(&self) -> bool {
        self.met_unreadable_header.get()
    }
}
