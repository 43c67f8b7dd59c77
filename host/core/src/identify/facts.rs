//! The facts of one request, read when first asked for and kept: the JSON is walked once however many facts
//! are wanted from it.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::value::RawValue;

use crate::json_pointer::{Pointer, PointerSet, first_byte, scalar_text};
use crate::provider::{BodyKind, Provider, Source};
use crate::verify::RequestView;

/// What stands in one request.
#[derive(Debug)]
pub struct Facts<'a> {
    request: RequestView<'a>,
    pointers: &'a PointerSet,
    reads_json: bool,
    latin1: bool,
    json: OnceCell<Vec<Option<&'a RawValue>>>,
    form: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

/// One item of a batch, walked once.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pointers: &'a PointerSet,
    found: Vec<Option<&'a RawValue>>,
}

impl<'a> Item<'a> {
    pub(crate) fn new(pointers: &'a PointerSet, json: &'a [u8]) -> Self {
        Self { pointers, found: pointers.lookup(json).unwrap_or_default() }
    }

    fn get(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        *self.found.get(self.pointers.index_of(pointer)?)?
    }
}

impl<'a> Facts<'a> {
    /// Facts of `request` as `provider` finds them. Reads nothing yet.
    #[must_use]
    pub fn new(provider: &'a Provider, request: RequestView<'a>) -> Self {
        Self {
            request,
            pointers: &provider.identity.body_pointers,
            reads_json: matches!(provider.body, BodyKind::Json | BodyKind::Auto),
            latin1: provider.latin1_headers,
            json: OnceCell::new(),
            form: OnceCell::new(),
        }
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

    fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        let form = self.form.get_or_init(|| {
            let body = if self.request.is_form() { self.request.body } else { &[] };
            form_urlencoded::parse(body).collect()
        });
        form.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    /// The text that stands at `source`. A header that occurs twice has none: which one would be guessing.
    pub(crate) fn text(
        &self,
        source: &Source,
        family: usize,
        item: Option<&Item<'a>>,
    ) -> Option<Cow<'a, str>> {
        match source {
            Source::Header(names) => {
                let name = names.get(family).or_else(|| names.first())?;
                let value = self.request.single_header(name).ok()??;
                self.header_text(value)
            }
            Source::Json(pointer) => match item {
                Some(item) => item.get(pointer).and_then(scalar_text),
                None => self.raw(pointer).and_then(scalar_text),
            },
            Source::Body(pointer) => self.raw(pointer).and_then(scalar_text),
            Source::Form(name, None) => self.field(name),
            Source::Form(name, Some(pointer)) => {
                let json = self.field(name)?;
                let raw = pointer.find(json.as_bytes()).ok()??;
                scalar_text(raw).map(|text| Cow::Owned(text.into_owned()))
            }
            Source::Query(name) => self.request.query_parameter(name),
            Source::Headers(_) | Source::Each(_) | Source::Pair(_) => None,
        }
    }

    fn header_text(&self, value: &'a [u8]) -> Option<Cow<'a, str>> {
        match std::str::from_utf8(value) {
            Ok(text) => Some(Cow::Borrowed(text)),
            Err(_) if self.latin1 => Some(value.iter().map(|b| char::from(*b)).collect()),
            Err(_) => None,
        }
    }
}
