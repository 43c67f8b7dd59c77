//! The list of events, newest first.

use axum::extract::RawQuery;
use axum::response::Response;
use maud::{Markup, html};
use weir_core::delivery::{DeliveryState, EventStatus};

use super::filters::EventFilters;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{EventView, ListPage};
use crate::console::assets::Asset;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts;
use crate::console::times::Times;
use crate::console::words::StateWord;

/// Characters of a subject.
const SUBJECT_CHARS: usize = 80;

/// Answers `/events`.
pub(crate) async fn list(
    service: Service,
    frame: Frame,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let filters = EventFilters::read(query.as_deref().unwrap_or_default());
    let found = match filters.wrong.is_empty() {
        true => Some(service.events(filters.query.clone()).await?),
        // It would show more than was asked for.
        false => None,
    };
    let main = html! {
        (parts::head(&html! { "Events" }, &html! { "Newest first." }, &html! {}))
        div.stackv {
            (chips(&filters))
            section.p aria-label="Events, newest first" {
                @match &found {
                    Some(found) if !found.items.is_empty() => (table(&frame, &filters, found)),
                    Some(_) => (nothing(&filters)),
                    None => (parts::empty(
                        "A filter is not understood.",
                        &html! { "Take it away, or correct it in the address." },
                    )),
                }
            }
        }
    };
    Ok(frame.page_with("Events", Place::Events, &[Asset::Live], &main))
}

/// The filters in force, those that are not understood, and a form to add one.
fn chips(filters: &EventFilters) -> Markup {
    html! {
        div.chips role="group" aria-label="Filters" {
            (ranges(filters))
            @for (name, value) in filters.pairs().filter(|(name, _)| *name != "last") {
                (parts::chip(name, &html! { (Foreign(value)) }, &filters.without(name)))
            }
            @for wrong in &filters.wrong {
                span.chip.wrong title=(wrong.why) {
                    b { (foreign::cut(&wrong.name, 40)) } " "
                    s { (foreign::cut(&wrong.value, 40)) }
                    span.s.bad { (foreign::cut(&wrong.why, 120)) }
                    a href=(filters.address()) aria-label="Remove this filter" { "×" }
                }
            }
            (add_filter(filters))
            @if !filters.is_empty() { a.s href="/events" { "Clear all" } }
        }
    }
}

fn ranges(filters: &EventFilters) -> Markup {
    const RANGES: [(&str, &str); 4] =
        [("15 min", "15m"), ("1 h", "1h"), ("24 h", "24h"), ("7 d", "7d")];
    let current = filters.value("last");
    let mut options: Vec<_> = RANGES
        .iter()
        .map(|(name, value)| (*name, filters.with("last", value), current == Some(value)))
        .collect();
    let is_all = current.is_none() && filters.value("since").is_none();
    options.push(("All", filters.without("last"), is_all));
    parts::choice("Time range", &options)
}

fn add_filter(filters: &EventFilters) -> Markup {
    html! {
        details.pop {
            summary.chip.add { "Add a filter" }
            form.p.pad action="/events" {
                @for (name, value) in filters.pairs() {
                    @if !matches!(name, "source" | "type" | "status") {
                        input type="hidden" name=(name) value=(value);
                    }
                }
                label { "Source" input.in name="source" value=[filters.value("source")]; }
                label { "Type" input.in name="type" value=[filters.value("type")]
                    placeholder="payment_intent.*"; }
                label { "Status"
                    select name="status" {
                        option value="" { "any" }
                        @for status in EventStatus::ALL {
                            option value=(status) selected[filters.query.status == Some(*status)] {
                                (StateWord::of_event(*status).word())
                            }
                        }
                    }
                }
                button.btn.pri { "Apply" }
            }
        }
    }
}

fn table(frame: &Frame, filters: &EventFilters, found: &ListPage<EventView>) -> Markup {
    let times = &frame.reader.times;
    let newest = filters.cursor.is_some().then(|| filters.address());
    let older = found.next.as_deref().map(|cursor| filters.older(cursor));
    html! {
        table.tbl.ev {
            thead {
                tr {
                    th scope="col" { "Received" } th scope="col" { "Status" }
                    th scope="col" { "Source and type" } th scope="col" { "Subject" }
                    th.n scope="col" { "Targets" }
                }
            }
            tbody { @for event in &found.items { (row(times, filters, event)) } }
        }
        (parts::pages(newest.as_deref(), older.as_deref(), "50 a page, newest first"))
    }
}

fn row(times: &Times, filters: &EventFilters, event: &EventView) -> Markup {
    let state = StateWord::of_event(event.status);
    let id = event.id.to_string();
    let is_selected = filters.selected.as_deref() == Some(&id);
    html! {
        tr id=(id) data-row aria-selected=[is_selected.then_some("true")] {
            td.k-t.m.d { a.plain href=(filters.selecting(&id)) { (times.exact(event.received_at)) } }
            td.k-st { (state.in_row()) }
            td.k-ty.nw data-w=[(!state.is_quiet()).then(|| state.word())] {
                span.d { (Foreign(event.source.as_str())) } " "
                (foreign::cut(event.kind.as_str(), SUBJECT_CHARS))
            }
            td.k-sub.cut {
                a href={ "/events/" (id) } data-open { (subject(event)) }
            }
            td.k-tg.n { (targets(event)) }
        }
    }
}

/// The words that tell one row from the next: the sender's id, else ours.
fn subject(event: &EventView) -> Markup {
    match &event.delivery_id {
        Some(id) => foreign::cut(id, SUBJECT_CHARS),
        None => html! { span.m { (event.id) } },
    }
}

/// How many targets are done: `2/3`, in bold while some are not.
fn targets(event: &EventView) -> Markup {
    let all = event.deliveries.len();
    let is_done = |state| matches!(state, DeliveryState::Processed | DeliveryState::Cancelled);
    let done = event.deliveries.iter().filter(|delivery| is_done(delivery.state)).count();
    let states = || {
        let words = event.deliveries.iter().map(|delivery| StateWord::of_delivery(delivery).word());
        words.collect::<Vec<_>>().join(", ")
    };
    html! {
        @if all == 0 { span.dd { "none" } }
        @else if done == all { span.dd { (done) "/" (all) } }
        @else { b title=(states()) { (done) "/" (all) } }
    }
}

/// An empty list says what its filters miss.
fn nothing(filters: &EventFilters) -> Markup {
    if filters.is_empty() {
        let next = html! { "The " a href="/start" { "guide" } " sends a first one." };
        return parts::empty("No event was received yet.", &next);
    }
    let next = html! {
        @if filters.value("last").is_some() {
            a.btn href=(filters.without("last")) { "Look at all times" }
        }
        a.btn.q href="/events" { "Clear the filters" }
    };
    parts::empty("No events match these filters.", &html! { span.acts { (next) } })
}
