//! The values of one request that identify its events: each is read when first needed and then
//! kept. The JSON body is walked once, however many values are read.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use serde_json::value::RawValue;

use super::IdentityRules;
use crate::json_pointer::{Pointer, PointerSet, first_byte, scalar_text};
use crate::request::{FORM_FIELDS_MAX, RequestView};
use crate::selector::{BodyKind, Selector, first_key_besides, xml_text};

/// The form of a provider's requests, as far as it matters for reading them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestFormat<'a> {
    /// The kind of the bodies.
    pub(crate) body: BodyKind,
    /// The form field that holds the JSON which other requests have as their body.
    pub(crate) json_field: Option<&'a str>,
    /// True if pointers also select form fields.
    pub(crate) pointers_select_fields: bool,
    /// True if header values are Latin-1, not UTF-8.
    pub(crate) latin1_headers: bool,
}

/// The values of one request.
#[derive(Debug)]
pub struct RequestFacts<'a> {
    request: RequestView<'a>,
    format: RequestFormat<'a>,
    pointers: &'a PointerSet,
    reads_json: bool,
    reads_form: bool,
    /// True if a header that was read is not text.
    met_unreadable_header: Cell<bool>,
    json: OnceCell<Vec<Option<&'a RawValue>>>,
    form: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    /// The values of the pointers in the JSON of the format's `json_field`.
    json_field_values: OnceCell<Vec<Option<String>>>,
}

/// One item of a batch, walked once.
#[derive(Debug)]
pub(crate) struct BatchItem<'a> {
    pointers: &'a PointerSet,
    raw: &'a RawValue,
    found: Vec<Option<&'a RawValue>>,
    /// The item of the outer array that contains it.
    outer: Option<Rc<BatchItem<'a>>>,
}

impl<'a> BatchItem<'a> {
    pub(crate) fn new(
        pointers: &'a PointerSet,
        raw: &'a RawValue,
        outer: Option<Rc<Self>>,
    ) -> Self {
        let found = pointers.lookup(raw.get().as_bytes()).unwrap_or_default();
        Self { pointers, raw, found, outer }
    }

    /// The bytes of the item in the body.
    pub(crate) fn json(&self) -> &'a [u8] {
        self.raw.get().as_bytes()
    }

    fn get(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        *self.found.get(self.pointers.index_of(pointer)?)?
    }
}

impl<'a> RequestFacts<'a> {
    /// The values of `request` by these rules. Reads nothing yet.
    pub(crate) fn new(
        rules: &'a IdentityRules,
        format: RequestFormat<'a>,
        request: RequestView<'a>,
    ) -> Self {
        Self {
            request,
            format,
            pointers: &rules.pointers.body,
            reads_json: matches!(format.body, BodyKind::Json | BodyKind::Auto),
            reads_form: request.is_payload_form() || request.is_multipart_form(),
            met_unreadable_header: Cell::new(false),
            json: OnceCell::new(),
            form: OnceCell::new(),
            json_field_values: OnceCell::new(),
        }
    }

    /// The values of a request whose signature was read from its body as `kind`; `None` if that
    /// makes no difference. A body can be JSON and a form at once with different values in each,
    /// and only the signed ones may be trusted.
    pub(crate) fn restricted_to(&self, kind: BodyKind) -> Option<Self> {
        (self.reads_json && self.reads_form).then(|| Self {
            reads_json: kind == BodyKind::Json,
            reads_form: kind == BodyKind::Form,
            met_unreadable_header: self.met_unreadable_header.clone(),
            json: OnceCell::new(),
            form: OnceCell::new(),
            json_field_values: OnceCell::new(),
            ..*self
        })
    }

    #[must_use]
    pub fn request(&self) -> &RequestView<'a> {
        &self.request
    }

    /// The JSON at `pointer` in the body. The whole body needs no walk.
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

    /// The text that a pointer selects: in the body, in the JSON of a form field, or in the form
    /// field of this name. So an event has the same identity as JSON and as a form.
    fn at_pointer(&self, pointer: &Pointer) -> Option<Cow<'a, str>> {
        if !self.reads_form {
            return self.raw(pointer).and_then(scalar_text);
        }
        if let Some(json) = self.format.json_field.and_then(|name| self.field(name)) {
            let found = self.json_field_values.get_or_init(|| {
                let found = self.pointers.lookup(json.as_bytes()).unwrap_or_default();
                let text = |raw: Option<&RawValue>| raw.and_then(scalar_text).map(Cow::into_owned);
                found.into_iter().map(text).collect()
            });
            return found.get(self.pointers.index_of(pointer)?)?.clone().map(Cow::Owned);
        }
        let name = pointer.form_name().filter(|_| self.format.pointers_select_fields)?;
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

    /// The text of a form field.
    pub(crate) fn form_text(&self, name: &str) -> Option<&str> {
        self.field(name).map(|value| &**value)
    }

    /// The selected text. A header that occurs more than once has none, because choosing one would
    /// be a guess.
    pub(crate) fn text<'i>(
        &self,
        source: &Selector,
        family: usize,
        item: Option<&BatchItem<'i>>,
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
                None => self.at_pointer(pointer),
            },
            Selector::Body(pointer) => self.at_pointer(pointer),
            Selector::Form(name, None) => self.field(name).cloned(),
            Selector::Form(name, Some(pointer)) => {
                let json = self.field(name)?;
                let raw = pointer.find(json.as_bytes()).ok()??;
                scalar_text(raw).map(|text| Cow::Owned(text.into_owned()))
            }
            Selector::Query(name) => self.request.query_parameter(name),
            Selector::Outer(pointer) => item?.outer.as_ref()?.get(pointer).and_then(scalar_text),
            Selector::KeyBesides(keys) => {
                let json = item.map_or(self.request.body, BatchItem::json);
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
            Err(_) if self.format.latin1_headers => {
                Some(value.iter().map(|b| char::from(*b)).collect())
            }
            Err(_) => {
                self.met_unreadable_header.set(true);
                None
            }
        }
    }

    /// True if a header that was read is not text, so that its value is unknown.
    pub(crate) fn met_unreadable_header(&self) -> bool {
        self.met_unreadable_header.get()
    }
}
