//! The small parts that pages are built from: addresses, chips, facts, panels, empty states, notes,
//! forms that act, links between pages of a list.

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::reader::PageReader;

/// A path with a query. Values are percent-encoded; empty ones are left out.
pub(crate) fn address(path: &str, query: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        pairs.append_pair(name, value);
    }
    match pairs.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// One part of a path, percent-encoded: text from outside as the last part of an address.
pub(crate) fn path_part(text: &str) -> String {
    const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, &ENCODED).to_string()
}

/// The head of a page: its title, a sentence below, and its acts.
pub(crate) fn head(title: &Markup, sentence: &Markup, acts: &Markup) -> Markup {
    html! {
        div.head {
            div { h1 { (title) } p { (sentence) } }
            div.acts { (acts) }
        }
    }
}

/// A panel with a heading, something at the right of it, and content.
pub(crate) fn panel(title: &str, end: &Markup, content: &Markup) -> Markup {
    html! {
        section.p aria-label=(title) {
            header { h2 { (title) } span.end.dd.s { (end) } }
            (content)
        }
    }
}

/// A list of facts: a name and a value each.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.kv.pad { @for (name, value) in rows { dt { (name) } dd { (value) } } }
    }
}

/// Says that there is nothing, why, and what to do next.
pub(crate) fn empty(what: &str, next: &Markup) -> Markup {
    html! { div.empty { b { (what) } span { (next) } } }
}

/// The kinds of a [`note`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoteKind {
    Plain,
    Warning,
    Failure,
}

/// A few sentences with an edge in the colour of their kind.
pub(crate) fn note(kind: NoteKind, content: &Markup) -> Markup {
    let class = match kind {
        NoteKind::Plain => "note",
        NoteKind::Warning => "note warn",
        NoteKind::Failure => "note bad",
    };
    html! { div class=(class) { (content) } }
}

/// A filter in force, with the address of the list without it.
pub(crate) fn chip(name: &str, value: &Markup, without: &str) -> Markup {
    html! {
        span.chip {
            b { (name) } " " (value)
            a href=(without) aria-label={ "Remove the filter " (name) } { "×" }
        }
    }
}

/// A choice of which one is current, as links.
pub(crate) fn choice(label: &str, options: &[(&str, String, bool)]) -> Markup {
    html! {
        div.seg role="group" aria-label=(label) {
            @for (name, address, is_current) in options {
                a href=(address) aria-current=[is_current.then_some("true")] { (name) }
            }
        }
    }
}

/// The link back from a page of a list, where the list has one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BackLink<'a> {
    /// To the page before.
    Newer(&'a str),
    /// To the first page, in a list that goes one way.
    Newest(&'a str),
}

/// The links below a list. A list has no page numbers: rows are not counted.
pub(crate) fn pages(back: Option<BackLink<'_>>, older: Option<&str>) -> Markup {
    let back = back.map(|link| match link {
        BackLink::Newer(address) => (address, "Newer"),
        BackLink::Newest(address) => (address, "Newest"),
    });
    html! {
        nav.more aria-label="Pages of the list" {
            @if let Some((address, name)) = back {
                a.btn.sm href=(address) rel="prev" aria-keyshortcuts="[" { (name) }
            }
            @if let Some(older) = older {
                a.btn.sm href=(older) rel="next" aria-keyshortcuts="]" { "Older" }
            }
            span { "50 a page, newest first" }
        }
    }
}

/// The role that an act needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeededRole {
    Operate,
}

impl NeededRole {
    pub(crate) fn is_given(self, reader: &PageReader) -> bool {
        match self {
            Self::Operate => reader.may_operate(),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Operate => "operate",
        }
    }
}

/// The weight of a button among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The one act that most readers want here.
    Primary,
    Plain,
    /// In a row of a table.
    Small,
}

impl Weight {
    const fn class(self) -> &'static str {
        match self {
            Self::Primary => "btn pri",
            Self::Plain => "btn",
            Self::Small => "btn sm",
        }
    }
}

/// A button that acts: a form of its own, sent by POST. A reader whose role may not do this sees it
/// disabled, with the role that could.
pub(crate) fn act(
    reader: &PageReader,
    needs: NeededRole,
    (label, weight): (&str, Weight),
    path: &str,
    fields: &[(&str, &str)],
) -> Markup {
    if !needs.is_given(reader) {
        return refused(needs, label, weight);
    }
    html! {
        form method="post" action=(path) {
            (form_fields(reader, fields))
            button class=(weight.class()) { (label) }
        }
    }
}

/// A link to a page that asks before it acts; its label ends in `…`.
pub(crate) fn act_link(
    reader: &PageReader,
    needs: NeededRole,
    (label, weight): (&str, Weight),
    address: &str,
) -> Markup {
    if !needs.is_given(reader) {
        return refused(needs, label, weight);
    }
    html! { a class=(weight.class()) href=(address) { (label) } }
}

/// The hidden fields of a form: its own, the token of the session, and the address to come back to.
pub(crate) fn form_fields(reader: &PageReader, fields: &[(&str, &str)]) -> Markup {
    html! {
        input type="hidden" name="form_token" value=(reader.form_token());
        input type="hidden" name="back" value=(reader.address);
        @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
    }
}

/// The button of a form with fields of its own.
pub(crate) fn submit(
    reader: &PageReader,
    needs: NeededRole,
    label: &str,
    is_ready: bool,
) -> Markup {
    if !needs.is_given(reader) {
        return refused(needs, label, Weight::Primary);
    }
    html! { button.btn.pri disabled[!is_ready] { (label) } }
}

fn refused(needs: NeededRole, label: &str, weight: Weight) -> Markup {
    let why = format!("This needs the role {}. Sign in with a token that has it.", needs.name());
    html! {
        button class=(weight.class()) type="button" disabled title=(why) {
            (label) span.vh { " (" (why) ")" } span.role aria-hidden="true" { (needs.name()) }
        }
    }
}

/// A button that unfolds further acts. What they do is said above them.
pub(crate) fn more_acts(label: &str, said: &str, acts: &Markup) -> Markup {
    html! {
        details.pop {
            summary.btn { (label) }
            div.p.pad { p.d.s { (said) } (acts) }
        }
    }
}

/// A button that copies a text; it is shown only where scripts run.
pub(crate) fn copy(text: &str, label: &str) -> Markup {
    html! { button.btn.sm type="button" hidden data-copy=(text) { (label) } }
}

/// Lines of code with a button that copies them.
pub(crate) fn code(label: &str, text: &str) -> Markup {
    html! {
        div.copyrow {
            pre.code tabindex="0" role="region" aria-label=(label) { (text) }
            (copy(text, "Copy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_an_address_are_encoded_and_empty_ones_left_out() {
        let query = [("source", "a b&c"), ("type", ""), ("q", "\"ä")];
        assert_eq!(address("/events", &query), "/events?source=a+b%26c&q=%22%C3%A4");
        assert_eq!(address("/events", &[]), "/events");
        assert_eq!(path_part("evt_1/b?c"), "evt_1%2Fb%3Fc");
    }
}
