//! The viewer of a body: of a request as received, a message, a quarantined request. It shows
//! strangers' bytes as JSON that folds, as a form, as text or as hex, and their headers.
//!
//! From bytes to markup, pure: sizes are limited before a byte is sent to a browser. What may not
//! live here: how bytes are stored, and acts on them.

mod curl;
mod form;
mod json;
#[cfg(test)]
mod markup_tests;
mod scan;
mod text;
mod writer;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde::Deserialize;

use super::amounts;
use super::foreign;
use crate::api::{BytesView, HeaderView, PayloadView};
use scan::Mistake;
use writer::MarkupWriter;

/// Bytes of a body in one view.
pub(crate) const VIEW_BYTES: usize = 64 * 1024;

/// A way to show a payload: the parameter `view` of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PayloadTab {
    /// The body in the form that suits it.
    #[default]
    Body,
    Headers,
    /// The body as text, as it was sent.
    Raw,
    Hex,
}

impl PayloadTab {
    /// The value of the parameter; none for the default.
    const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Body => None,
            Self::Headers => Some("headers"),
            Self::Raw => Some("raw"),
            Self::Hex => Some("hex"),
        }
    }
}

/// A payload to show.
#[derive(Debug)]
pub(crate) struct PayloadPanel<'a> {
    title: &'a str,
    headers: &'a [HeaderView],
    /// The bytes from `from` on, at most a view.
    bytes: Cow<'a, [u8]>,
    from: usize,
    /// Bytes of the whole body.
    size: usize,
    tab: PayloadTab,
    /// The page that shows it, as a path with its own parameters.
    page: &'a str,
    /// True if the page has the script that finds a text in it.
    finds: bool,
}

impl<'a> PayloadPanel<'a> {
    /// The headers and the beginning of a body.
    pub(crate) fn new(title: &'a str, payload: &'a PayloadView, page: &'a str) -> Self {
        let mut bytes = bytes_of(&payload.body.shown);
        if bytes.len() > VIEW_BYTES {
            bytes = Cow::Owned(window(&bytes, 0).to_vec());
        }
        let (headers, size) = (&*payload.headers, payload.body.size);
        let tab = PayloadTab::Body;
        Self { title, headers, bytes, from: 0, size, tab, page, finds: false }
    }

    /// The same in another form.
    pub(crate) fn with_tab(self, tab: PayloadTab) -> Self {
        Self { tab, ..self }
    }

    /// The same with a field that finds a text, for a page with [`Asset::Body`].
    ///
    /// [`Asset::Body`]: crate::console::assets::Asset::Body
    pub(crate) fn with_find(self) -> Self {
        Self { finds: true, ..self }
    }

    /// The same further on in the whole body.
    pub(crate) fn starting_at(self, whole: &'a [u8], from: usize) -> Self {
        let bytes = Cow::Borrowed(window(whole, from));
        Self { bytes, from: from.min(whole.len()), size: whole.len(), ..self }
    }

    /// The panel, with buttons below the body.
    pub(crate) fn render(&self, buttons: &Markup) -> Markup {
        let (body, note) = match self.tab {
            PayloadTab::Headers => (headers_table(self.headers), html! {}),
            _ => self.body(),
        };
        html! {
            section.p #body aria-label=(self.title) {
                header {
                    h2 { (self.title) }
                    span.dd.s.end {
                        @if self.finds { span data-found role="status" {} " " }
                        (amounts::size(self.size as u64)) }
                }
                (self.tabs())
                (note)
                (body)
                @if !buttons.0.is_empty() { div.more { (buttons) } }
            }
        }
    }

    fn tabs(&self) -> Markup {
        let tab = |tab: PayloadTab, name: &str, count: Option<usize>| {
            let is_current = self.tab == tab;
            html! {
                a href=(self.address(tab, 0)) aria-current=[is_current.then_some("true")] {
                    (name) @if let Some(count) = count { " " span.dd { (count) } }
                }
            }
        };
        html! {
            nav.tabs aria-label={ "Ways to show " (self.title) } {
                (tab(PayloadTab::Body, "Body", None))
                (tab(PayloadTab::Headers, "Headers", Some(self.headers.len())))
                (tab(PayloadTab::Raw, "Raw", None))
                (tab(PayloadTab::Hex, "Hex", None))
                @if self.finds {
                    input.in.find-in type="search" hidden data-find placeholder="Find in it"
                        aria-label="Find a text in what is shown";
                }
            }
        }
    }

    /// The address of this page with another form or place.
    fn address(&self, tab: PayloadTab, from: usize) -> String {
        let mut address = self.page.to_owned();
        let mut add = |name: &str, value: &str| {
            address.push(if address.contains('?') { '&' } else { '?' });
            address.push_str(name);
            address.push('=');
            address.push_str(value);
        };
        if let Some(view) = tab.parameter() {
            add("view", view);
        }
        if from > 0 {
            add("from", &from.to_string());
        }
        address.push_str("#body");
        address
    }

    /// The body, and a note above it.
    fn body(&self) -> (Markup, Markup) {
        if self.size == 0 {
            return (html! { p.pad.d { "The body is empty." } }, html! {});
        }
        if self.bytes.is_empty() {
            return (html! { p.pad.d { "The body ends before this place." } }, html! {});
        }
        match self.tab {
            PayloadTab::Raw => (self.raw(None), html! {}),
            PayloadTab::Hex => (self.hex(), html! {}),
            _ if self.from > 0 => (self.raw(None), html! {}),
            _ => self.suited(),
        }
    }

    /// The body in the form that suits it.
    fn suited(&self) -> (Markup, Markup) {
        let is_cut = self.bytes.len() < self.size;
        let kind = content_type(self.headers);
        let Ok(text) = std::str::from_utf8(&self.bytes) else {
            let note = if is_json(&kind) {
                html! { p.note.warn { "Not valid JSON: it is not UTF-8." } }
            } else {
                html! {}
            };
            return (self.hex(), note);
        };
        if kind == "application/x-www-form-urlencoded" {
            return (self.form(is_cut), html! {});
        }
        if is_json(&kind) || text.trim_start().starts_with(['{', '[']) {
            match scan::scan(text, is_cut) {
                Ok(node) => {
                    let mut out = MarkupWriter::default();
                    json::write(&mut out, &node);
                    let body = html! {
                        div.js tabindex="0" role="region" aria-label="Body as JSON" {
                            (out.finish())
                        }
                        (self.next(self.bytes.len(), PayloadTab::Raw))
                    };
                    return (body, html! {});
                }
                Err(mistake) if is_json(&kind) => {
                    return (self.raw(Some(mistake)), self.mistake(mistake));
                }
                Err(_) => {}
            }
        }
        if text.contains('\0') { (self.hex(), html! {}) } else { (self.raw(None), html! {}) }
    }

    fn mistake(&self, mistake: Mistake) -> Markup {
        let (line, column) = text::place(&self.bytes, mistake.at);
        html! {
            p.note.warn {
                b { "Not valid JSON." }
                " Line " (line) ", column " (column) " should be " (mistake.expected) "."
            }
        }
    }

    fn raw(&self, mark: Option<Mistake>) -> Markup {
        let mut out = MarkupWriter::default();
        let written = text::write(&mut out, &self.bytes, mark);
        html! {
            pre.js.raw tabindex="0" role="region" aria-label="Body as text" { (out.finish()) }
            (self.next(written, PayloadTab::Raw))
        }
    }

    fn hex(&self) -> Markup {
        let shown = &self.bytes[..self.bytes.len().min(text::HEX_BYTES_MAX)];
        let mut out = MarkupWriter::default();
        text::hex(&mut out, shown, self.from);
        html! {
            pre.js.raw.hex tabindex="0" role="region" aria-label="Body as hex" { (out.finish()) }
            (self.next(shown.len(), PayloadTab::Hex))
        }
    }

    fn form(&self, is_cut: bool) -> Markup {
        let cell = |bytes: &[u8]| {
            let mut out = MarkupWriter::default();
            let shown = &bytes[..bytes.len().min(form::VALUE_BYTES)];
            out.bytes(shown);
            html! { (out.finish()) @if shown.len() < bytes.len() { span.dd { "…" } } }
        };
        let (mut rows, mut markup, mut is_longer) = (Vec::new(), 0, is_cut);
        for (name, value) in form::fields(&self.bytes) {
            if rows.len() == form::FIELDS_MAX || markup > writer::MARKUP_BYTES_MAX / 2 {
                is_longer = true;
                break;
            }
            let row = html! {
                tr { th.m scope="row" { (cell(&name)) } td.m.wrap { (cell(&value)) } }
            };
            markup += row.0.len();
            rows.push(row);
        }
        html! {
            div.scroll {
                table.tbl.pairs {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } } }
                    tbody { @for row in rows { (row) } }
                }
            }
            @if is_longer {
                p.pad.d { a href=(self.address(PayloadTab::Raw, 0)) { "All of it, raw" } }
            }
        }
    }

    /// The link to the bytes after this view.
    fn next(&self, shown: usize, tab: PayloadTab) -> Markup {
        let end = self.from + shown;
        html! {
            @if end < self.size {
                p.more {
                    span { (amounts::size(end as u64)) " of " (amounts::size(self.size as u64)) }
                    a.btn.sm href=(self.address(tab, end)) {
                        "Next " (amounts::size((self.size - end).min(VIEW_BYTES) as u64))
                    }
                }
            }
        }
    }
}

/// The headers as they were stored, in their order.
fn headers_table(headers: &[HeaderView]) -> Markup {
    html! {
        @if headers.is_empty() {
            p.pad.d { "There are no headers." }
        } @else {
            div.scroll {
                table.tbl.pairs {
                    thead { tr { th scope="col" { "Header" } th scope="col" { "Value" } } }
                    tbody {
                        @for header in headers {
                            @let value = bytes_of(&header.value);
                            tr {
                                th.m scope="row" { (foreign::Foreign(&header.name)) }
                                td.m.wrap {
                                    (foreign::bytes(&value))
                                    @if is_masked(&value) { " " span.tag { "masked" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The command that sends a payload again. None if its body is not all here, or too long.
pub(crate) fn curl_command(method: &str, url: &str, payload: &PayloadView) -> Option<String> {
    if payload.body.truncated {
        return None;
    }
    let values: Vec<_> = payload.headers.iter().map(|header| bytes_of(&header.value)).collect();
    let pairs = payload.headers.iter().zip(&values);
    let headers: Vec<_> = pairs
        .map(|(header, value)| curl::StoredHeader {
            name: &header.name,
            value,
            is_masked: is_masked(value),
        })
        .collect();
    curl::curl(method, url, &headers, &bytes_of(&payload.body.shown))
}

/// Bytes as they were, out of the form in which the API shows them.
pub(crate) fn bytes_of(shown: &BytesView) -> Cow<'_, [u8]> {
    match shown {
        BytesView::Text(text) => Cow::Borrowed(text.as_bytes()),
        // The hub itself encoded it.
        BytesView::Base64(text) => Cow::Owned(STANDARD.decode(text).unwrap_or_default()),
    }
}

/// The bytes of one view, from a place on. Characters stay whole.
fn window(whole: &[u8], from: usize) -> &[u8] {
    let rest = whole.get(from..).unwrap_or_default();
    let Some(view) = rest.get(..VIEW_BYTES) else { return rest };
    match std::str::from_utf8(view) {
        Err(error) if error.error_len().is_none() => &view[..error.valid_up_to()],
        _ => view,
    }
}

/// True for a fingerprint, which stands in place of a secret.
fn is_masked(value: &[u8]) -> bool {
    let hex = value.strip_prefix(b"fingerprint-".as_slice());
    hex.is_some_and(|hex| hex.len() == 12 && hex.iter().all(u8::is_ascii_hexdigit))
}

/// The media type in lower case, without parameters.
fn content_type(headers: &[HeaderView]) -> String {
    let named = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
    let value = named.map(|header| bytes_of(&header.value)).unwrap_or_default();
    let text = String::from_utf8_lossy(&value);
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests;
