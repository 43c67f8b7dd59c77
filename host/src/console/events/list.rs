//! The list of events, newest first.

use axum::extract::RawQuery;
use axum::response::Response;
use maud::{Markup, html};
use weir_core::delivery::{DeliveryState, EventStatus};

use super::filters::EventFilters;
use super::{preview, replay_all};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{CountAnswer, EventView, ListPage};
use crate::console::amounts;
use crate::console::assets::Asset;
use crate::console::flash::flash;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, BackLink, NeededRole, Weight};
use crate::console::subject::subject;
use crate::console::times::Times;
use crate::console::words::StateWord;

/// Characters of a type.
const TYPE_CHARS: usize = 60;

/// Answers `/events`.
pub(crate) async fn list(
    service: Service,
    frame: Frame,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let filters = EventFilters::read(query.as_deref().unwrap_or_default());
    let (found, count) = match filters.wrong.is_empty() {
        true => {
            let (found, count) = tokio::join!(
                service.events(filters.query.clone()),
                service.count_events(filters.query.clone())
            );
            (Some(found?), count.ok())
        }
        // It would show more than was asked for.
        false => (None, None),
    };
    let subjects = match &found {
        Some(found) => service.subjects(&found.items, subject).await,
        None => Vec::new(),
    };
    let shown = match &filters.selected {
        Some(id) => preview::selected(&service, id).await,
        None => None,
    };
    let sentence = html! {
        @if let Some(count) = count {
            @if count.more { "More than " }
            (amounts::counted(count.count, "event")) ", newest first."
        } @else { "Newest first." }
    };
    let main = html! {
        (parts::head(&html! { "Events" }, &sentence, &replay_all_link(&frame, &filters, count)))
        (flash(filters.did, filters.count))
        div.stackv {
            (chips(&filters))
            div class=(if shown.is_some() { "cols r" } else { "stackv" }) {
                section.p aria-label="Events, newest first" {
                    @match &found {
                        Some(found) if !found.items.is_empty() => {
                            (table(&frame, &filters, found, &subjects))
                        }
                        Some(_) => (nothing(&filters)),
                        None => (parts::empty(
                            "A filter is not understood.",
                            &html! { "Take it away, or correct it in the address." },
                        )),
                    }
                }
                @if let Some(shown) = &shown { (preview::preview(&frame, shown)) }
            }
        }
    };
    Ok(frame.page_with("Events", Place::Events, &[Asset::Live], &main))
}

/// The way to replay all that the list shows, and not only its rows on this page.
fn replay_all_link(frame: &Frame, filters: &EventFilters, count: Option<CountAnswer>) -> Markup {
    let address = replay_all::address_for(filters, frame.reader.times.now);
    html! {
        @if let (Some(address), Some(1..)) = (address, count.map(|count| count.count)) {
            (parts::act_link(&frame.reader, NeededRole::Operate,
                ("Replay all that match…", Weight::Plain), &address))
        }
    }
}

/// The filters in force, those that are not understood, and a form to add one.
fn chips(filters: &EventFilters) -> Markup {
    html! {
        div.chips role="group" aria-label="Filters" {
            (ranges(filters))
            @for (name, value) in filters.each().filter(|(name, _)| *name != "last") {
                @let without = filters.without_value(name, &value);
                (parts::chip(name, &html! { (Foreign(&shown_value(name, &value))) }, &without))
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

/// A status in the word for people, anything else as it is.
fn shown_value(name: &str, value: &str) -> String {
    match EventStatus::parse(value).filter(|_| name == "status") {
        Some(status) => StateWord::of_event(status).word().to_lowercase(),
        None => value.to_owned(),
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
                    @if !matches!(name, "source" | "type" | "status" | "key" | "text") {
                        input type="hidden" name=(name) value=(value);
                    }
                }
                label { "Source" input.in name="source" value=[filters.value("source")]; }
                label { "Type" input.in name="type" value=[filters.value("type")]
                    placeholder="payment_intent.*"; }
                label { "Key" input.in name="key" value=[filters.value("key")]
                    placeholder="order=1234"; }
                label { "Text in the body" input.in name="text" value=[filters.value("text")] maxlength="200"; }
                fieldset {
                    legend.s.d { "Status" }
                    @for status in EventStatus::ALL {
                        label.check {
                            input type="checkbox" name="status" value=(status)
                                checked[filters.query.status.values().contains(status)];
                            (StateWord::of_event(*status).word())
                        }
                    }
                }
                button.btn.pri { "Apply" }
            }
        }
    }
}

fn table(
    frame: &Frame,
    filters: &EventFilters,
    found: &ListPage<EventView>,
    subjects: &[Option<String>],
) -> Markup {
    let newer = found.previous.as_deref().map(|cursor| filters.page(cursor));
    let is_live = filters.cursor.is_none() && filters.query.until.is_none();
    let older = found.next.as_deref().map(|cursor| filters.page(cursor));
    html! {
        @if is_live { (live_bar(filters)) }
        form.rows action="/events/replay" {
            table.tbl.ev {
                thead {
                    tr {
                        th scope="col" {
                            input type="checkbox" data-all aria-label="Select every row of the page";
                        }
                        th scope="col" { "Received" } th scope="col" { "Status" }
                        th scope="col" { "Source and type" } th scope="col" { "Subject" }
                        th.n scope="col" { "Targets" } th.n.hs scope="col" { "Size" }
                    }
                }
                tbody {
                    @for (at, event) in found.items.iter().enumerate() {
                        (row(&frame.reader.times, filters, event, subjects.get(at)))
                    }
                }
            }
            (parts::pages(newer.as_deref().map(BackLink::Newer), older.as_deref()))
            div.chosen-bar {
                b { span.chosen data-chosen { "Some" } " selected" }
                @if frame.reader.may_operate() {
                    button.btn.sm.pri { "Replay selected…" }
                } @else {
                    span.d { "Replaying them needs the role operate." }
                }
            }
        }
    }
}

fn row(
    times: &Times,
    filters: &EventFilters,
    event: &EventView,
    subject: Option<&Option<String>>,
) -> Markup {
    let state = StateWord::of_event_from(&event.source, event.status);
    let id = event.id.to_string();
    let is_selected = filters.selected.as_deref() == Some(&id);
    let page = format!("/events/{id}");
    html! {
        tr id=(id) data-row aria-selected=[is_selected.then_some("true")] {
            td.k-x { input type="checkbox" name="event" value=(id) aria-label="Select"; }
            td.k-t.m.d { a href=(filters.selecting(&id)) { (times.in_list(event.received_at)) } }
            td.k-st { (state.in_row()) }
            td.k-ty.nw data-w=[(!state.is_quiet()).then(|| state.word())] {
                bdi.d { (event.source) } " " (foreign::cut(event.kind.as_str(), TYPE_CHARS))
            }
            td.k-sub.cut {
                a href=(page) data-open {
                    @if let Some(Some(subject)) = subject { (Foreign(subject)) }
                    @else if let Some(sender) = &event.delivery_id { (foreign::cut(sender, 80)) }
                    @else { span.m { (event.id) } }
                }
            }
            td.k-tg.n { (targets(event)) }
            td.n.d.hs { (amounts::size(event.size)) }
        }
    }
}

/// The state of the live list, which a script shows and keeps, with the row that it fills.
fn live_bar(filters: &EventFilters) -> Markup {
    let live = filters.pairs().filter(|(name, _)| !matches!(*name, "last" | "since"));
    let stream = parts::address("/api/v1/events/live", &live.collect::<Vec<_>>());
    let states = EventStatus::ALL.iter().map(|one| (one.as_str(), StateWord::of_event(*one)));
    let words: serde_json::Map<_, _> = states
        .chain([("alert", StateWord::Alert)])
        .map(|(name, state)| (name.to_owned(), serde_json::json!([state.class(), state.word()])))
        .collect();
    html! {
        div.held.tail data-live=(stream) data-words=(serde_json::Value::from(words)) hidden {
            span.live data-live-state { "Live" }
            span.d data-live-said {}
            button.btn.sm type="button" data-live-show hidden {}
            button.btn.sm.q.end type="button" data-live-switch { "Stop" }
        }
        template #live-row {
            tr data-row {
                td.k-x { input type="checkbox" name="event" data-box; }
                td.k-t.m.d { a.plain data-peek { time data-at {} } }
                td.k-st { span data-status {} }
                td.k-ty.nw data-word { bdi.d data-source {} " " bdi data-type {} }
                td.k-sub.cut { a data-link data-open {} }
                td.k-tg.n data-targets {}
                td.n.d.hs.nw data-size {}
            }
        }
    }
}

/// The number of targets that are done: `2/3`, in bold while some are not.
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
