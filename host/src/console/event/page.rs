//! The page of an event, and what an id that is not an event's leads to.

use axum::extract::Query;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use weir_core::name::Target;

use super::family::Family;
use super::path::{self, PathStep};
use super::sentence::state_sentence;
use super::{buttons, lanes, timeline, why_text};
use crate::admin::error::ApiError;
use crate::admin::extract::{PathText, Service};
use crate::admin::service::AdminService;
use crate::api::one_of;
use crate::api::{EventAnswer, EventDetailView, EventSummary, RefusalView, WhyAnswer};
use crate::console::amounts;
use crate::console::assets::Asset;
use crate::console::body::{self, PayloadPanel, PayloadTab};
use crate::console::flash::{Flash, flash};
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, address};
use crate::console::reader::PageReader;
use crate::console::words::StateWord;

/// The ways to show what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventTab {
    #[default]
    Path,
    Family,
    Why,
}

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct EventPageQuery {
    #[serde(default)]
    show: EventTab,
    #[serde(default)]
    view: PayloadTab,
    /// The first byte of the body that is shown.
    #[serde(default)]
    from: usize,
    #[serde(default)]
    did: Option<Flash>,
    #[serde(default)]
    n: u64,
}

/// Answers `/events/{id}` for an id of any kind.
pub(crate) async fn show(
    service: Service,
    frame: Frame,
    PathText(id): PathText,
    Query(query): Query<EventPageQuery>,
) -> Result<Response, ApiError> {
    match service.event(&id, false).await? {
        EventAnswer::Event(shown) if shown.event.id.to_string() == id => {
            event(&service, &frame, &shown, &query).await
        }
        EventAnswer::Event(shown) => {
            let part = shown.delivery.as_ref().map(|delivery| format!("#{}", delivery.id));
            let to = format!("/events/{}{}", shown.event.id, part.unwrap_or_default());
            Ok(Redirect::to(&to).into_response())
        }
        EventAnswer::Events { events } => Ok(several(&frame, &id, &events)),
        EventAnswer::Refusal { refusal } => Ok(refused(&frame, &refusal)),
        EventAnswer::Quarantined { quarantined } => {
            Ok(Redirect::to(&format!("/quarantine/{}", quarantined.request.id)).into_response())
        }
    }
}

async fn event(
    service: &AdminService,
    frame: &Frame,
    shown: &EventDetailView,
    query: &EventPageQuery,
) -> Result<Response, ApiError> {
    let id = shown.event.id.to_string();
    let why = service.why(&id).await?;
    let family = match query.show {
        EventTab::Family => Some(Family::read(service, &shown.event).await),
        EventTab::Path | EventTab::Why => None,
    };
    let request = request_panel(service, shown, query).await?;
    let curl = curl(service, shown);
    let main = html! {
        (head(&frame.reader, shown, curl.as_deref()))
        (flash(query.did, query.n))
        div.cols.r {
            (what_happened(frame, shown, &why, family.as_ref(), query.show))
            div.stackv { (request) (facts(frame, shown)) }
        }
    };
    let title = format!("{} {}", shown.event.source, shown.event.kind);
    Ok(frame.page_with(&title, Place::Events, &[Asset::Body], &main))
}

fn head(reader: &PageReader, shown: &EventDetailView, curl: Option<&str>) -> Markup {
    let event = &shown.event;
    html! {
        div.head {
            div {
                p.crumb {
                    a href="/events" { "Events" } " / "
                    a href=(address("/events", &[("source", event.source.as_str())])) {
                        (Foreign(event.source.as_str()))
                    }
                    " / " span.m { (event.id) }
                }
                h1 { (foreign::cut(event.kind.as_str(), 120)) }
                p {
                    (StateWord::of_event_from(&event.source, event.status)) "\u{2002}"
                    (state_sentence(event, &reader.times))
                }
            }
            div.acts { (buttons::buttons(reader, shown, curl)) }
        }
    }
}

/// The request as a command that sends it again.
fn curl(service: &AdminService, shown: &EventDetailView) -> Option<String> {
    let url = service.webhook_url(&shown.request.as_ref()?.source);
    body::curl_command("POST", &url, shown.payload.as_ref()?)
}

fn what_happened(
    frame: &Frame,
    shown: &EventDetailView,
    why: &WhyAnswer,
    family: Option<&Family>,
    tab: EventTab,
) -> Markup {
    let (event, times) = (&shown.event, &frame.reader.times);
    let page = format!("/events/{}", event.id);
    let tabs = [
        ("Path", EventTab::Path, ""),
        ("Family", EventTab::Family, "family"),
        ("Why, as text", EventTab::Why, "why"),
    ];
    let tabs =
        tabs.map(|(name, one, value)| (name, address(&page, &[("show", value)]), one == tab));
    let took = path::last_moment(event).since(event.received_at);
    let is_over = !path::steps(event).iter().any(PathStep::waits);
    html! {
        section.p aria-labelledby="path" {
            header {
                h2 #path { "What happened" }
                span.dd.s { (amounts::duration(took)) @if !is_over { " so far" } }
                span.end { (parts::choice("Detail", &tabs)) }
            }
            @match family {
                Some(family) => (family.show(event, times)),
                None if tab == EventTab::Why => (why_text::show(why)),
                None => { (lanes::lanes(event, times)) (timeline::timeline(shown, why, times)) }
            }
        }
    }
}

/// The request as it was received, or the payload of an emitted event.
async fn request_panel(
    service: &AdminService,
    shown: &EventDetailView,
    query: &EventPageQuery,
) -> Result<Markup, ApiError> {
    let id = shown.event.id;
    let title = if shown.request.is_some() { "Request as received" } else { "Payload" };
    let Some(payload) = &shown.payload else {
        let next = html! { "Retention has deleted it. The path is kept longer." };
        return Ok(parts::panel(title, &html! {}, &parts::empty("The body is gone.", &next)));
    };
    let page = match query.show {
        EventTab::Path => format!("/events/{id}"),
        EventTab::Family => format!("/events/{id}?show=family"),
        EventTab::Why => format!("/events/{id}?show=why"),
    };
    let panel = PayloadPanel::new(title, payload, &page).with_tab(query.view).with_find();
    let text = match &payload.body.shown {
        crate::api::BytesView::Text(text) if !payload.body.truncated => Some(text),
        _ => None,
    };
    let buttons = html! {
        @if let Some(text) = text { (parts::copy(text, "Copy")) }
        a.btn.sm href={ "/api/v1/events/" (id) "/body" } download { "Download" }
        a.btn.sm href={ "/api/v1/events/" (id) "?full=true" } download={ (id) ".json" } {
            "All as JSON"
        }
        @if let Some(command) = fixture_command(shown) {
            (parts::copy(&command, "Copy fixture command"))
        }
    };
    if query.from == 0 {
        return Ok(panel.render(&buttons));
    }
    let _permit = service.payload_permit()?;
    let whole = service.event_body(id).await?;
    Ok(panel.starting_at(&whole, query.from).render(&buttons))
}

/// The command that saves the event as a fixture of the first handler that got it.
fn fixture_command(shown: &EventDetailView) -> Option<String> {
    let event = &shown.event;
    let name = event.deliveries.iter().find_map(|delivery| match &delivery.target {
        Target::Handler(name) => Some(name),
        Target::Destination(_) => None,
    })?;
    Some(format!("weir events {id} --save plugins/{name}.fixtures/{id}.json", id = event.id))
}

fn facts(frame: &Frame, shown: &EventDetailView) -> Markup {
    let (event, times) = (&shown.event, &frame.reader.times);
    let mut rows = vec![
        ("Event", html! { span.m { (event.id) } }),
        (
            "Received",
            html! { (times.exact(event.received_at)) " " span.dd {
            (times.relative(event.received_at)) } },
        ),
        (
            "Source",
            html! {
            a href={ "/sources/" (parts::path_part(event.source.as_str())) } {
                (Foreign(event.source.as_str())) } },
        ),
    ];
    if let Some(request) = &event.request {
        rows.push(("Request", html! { span.m { (request) } }));
    }
    if let Some(at) = event.erased_at {
        rows.push(("Erased", html! { (times.exact(at)) }));
    }
    for key in &event.keys {
        let of_key = address("/events", &[("key", &*one_of::join([key.to_string()]))]);
        rows.push(("Key", html! { a href=(of_key) { (Foreign(&key.to_string())) } }));
    }
    if let Some(id) = &event.delivery_id {
        rows.push(("Sender's id", html! { span.m { (foreign::cut(id, 120)) } }));
    }
    if let Some(id) = &event.outward_id {
        rows.push(("Sent as", html! { span.m { (id) } }));
    }
    if let Some(category) = event.category {
        rows.push(("Category", html! { (category) }));
    }
    if let Some(trace) = &event.trace {
        rows.push(("Trace", html! { span.m { (trace) } }));
    }
    rows.push(("Rules", html! { span.m { (event.table) } }));
    rows.push(("Size", html! { (amounts::size(event.size)) " with headers" }));
    parts::panel("Facts", &html! {}, &parts::facts(rows))
}

/// The events of one id: those of a request, or of an id that a sender used again.
fn several(frame: &Frame, id: &str, events: &[EventSummary]) -> Response {
    let times = &frame.reader.times;
    let count = amounts::counted(events.len() as u64, "event");
    let main = html! {
        (parts::head(
            &html! { (count) },
            &html! { "All of them have the id " span.m { (foreign::cut(id, 120)) } "." },
            &html! {},
        ))
        section.p {
            table.tbl {
                thead { tr {
                    th scope="col" { "Received" } th scope="col" { "Status" }
                    th scope="col" { "Source and type" } th scope="col" { "Event" }
                } }
                tbody {
                    @for event in events {
                        tr data-row {
                            td.m.d { (times.exact(event.received_at)) }
                            td { (StateWord::of_event_from(&event.source, event.status).in_row()) }
                            td {
                                span.d { (Foreign(event.source.as_str())) } " "
                                (foreign::cut(event.kind.as_str(), 80))
                            }
                            td.m { a href={ "/events/" (event.id) } data-open { (event.id) } }
                        }
                    }
                }
            }
        }
    };
    frame.page(&count, Place::Events, &main)
}

/// A request that was refused, as far as the hub remembers it.
fn refused(frame: &Frame, refusal: &RefusalView) -> Response {
    let times = &frame.reader.times;
    let mut rows = vec![
        ("Request", html! { span.m { (Foreign(&refusal.request_id)) } }),
        ("At", html! { (times.exact(refusal.at)) }),
        ("Answered", html! { (refusal.status) " · " span.m { (refusal.code) } }),
        ("From", html! { span.m { (Foreign(&refusal.address)) } }),
    ];
    if let Some(source) = &refusal.source {
        rows.push((
            "Source",
            html! {
            a href={ "/sources/" (parts::path_part(source)) } { (Foreign(source)) } },
        ));
    }
    let main = html! {
        (parts::head(
            &html! { "Refused request" },
            &html! { (StateWord::Failing.saying("Refused")) "\u{2002}" (Foreign(&refusal.reason)) },
            &html! {},
        ))
        (parts::panel("Facts", &html! {}, &parts::facts(rows)))
    };
    frame.page("Refused request", Place::Events, &main)
}
