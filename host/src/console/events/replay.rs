//! `/events/replay`: replaying some events, in two steps. The first page counts what would happen
//! and changes nothing. Its button carries the counted set; a set that is old or has changed is
//! counted again instead of acted on.

use std::time::Duration;

use axum::extract::{Form, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};
use weir_core::id::EventId;
use weir_core::time::Timestamp;

use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::{EventAnswer, EventView, ReplayBody};
use crate::console::amounts::{counted, number};
use crate::console::flash::Flash;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, NeededRole, NoteKind};
use crate::console::words::StateWord;

/// Most events of one set: those of one page of the list.
const EVENTS_MAX: usize = 50;
/// Longest time between counting a set and acting on it.
const SET_LIFE: Duration = Duration::from_secs(600);

/// Fields of the form: `event` several times, and the facts of the counted set.
type Fields = Vec<(String, String)>;

/// An event of the set, with the deliveries that a replay would make due.
struct Counted {
    event: EventView,
    /// Or the reason why it is skipped.
    due: Result<usize, String>,
}

/// A counted set.
struct CountedSet {
    events: Vec<Counted>,
    /// Ids that lead to no event.
    unknown: usize,
}

impl CountedSet {
    async fn count(service: &AdminService, ids: &[EventId], by: &Principal) -> Self {
        let mut set = Self { events: Vec::new(), unknown: 0 };
        for id in ids {
            let Ok(EventAnswer::Event(shown)) = service.event(&id.to_string(), false).await else {
                set.unknown += 1;
                continue;
            };
            let event = Some(id.to_string());
            let body = ReplayBody { event, dry_run: true, ..ReplayBody::default() };
            let due = service.replay(body, by.clone()).await.map(|answer| answer.deliveries);
            let due = due.map_err(|error| error.detail().to_owned());
            set.events.push(Counted { event: shown.event, due });
        }
        set
    }

    fn deliveries(&self) -> usize {
        self.events.iter().filter_map(|counted| counted.due.as_ref().ok()).sum()
    }

    /// The events that have at least one delivery to make due.
    fn acting(&self) -> usize {
        self.events.iter().filter(|counted| matches!(counted.due, Ok(1..))).count()
    }

    /// Names the set with what was counted, so that a changed one is noticed.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for counted in &self.events {
            hash.update(counted.event.id.bits().to_be_bytes());
            hash.update(counted.due.as_ref().copied().unwrap_or(0).to_be_bytes());
        }
        hex::encode(&hash.finalize()[..12])
    }
}

/// The events that an address or a form names.
fn ids_of(fields: &[(String, String)]) -> Result<Vec<EventId>, ApiError> {
    let mut ids = Vec::new();
    for (_, value) in fields.iter().filter(|(name, _)| name == "event") {
        let id: EventId = value.parse().map_err(|error| ApiError::invalid_id(&error))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.len() > EVENTS_MAX {
        let detail = format!("at most {EVENTS_MAX} events are replayed at once from this page");
        return Err(ApiError::bad_request("too_many_events", detail));
    }
    Ok(ids)
}

/// Counts, and shows what a replay would do.
pub(crate) async fn preview(
    service: Service,
    frame: Frame,
    by: Principal,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let fields: Fields = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let ids = ids_of(&fields)?;
    let set = CountedSet::count(&service, &ids, &by).await;
    let has_changed = fields.iter().any(|(name, _)| name == "changed");
    Ok(frame.page("Replay", Place::Events, &page(&frame, &set, has_changed)))
}

/// Acts on a counted set.
pub(crate) async fn act(
    service: Service,
    by: Principal,
    Form(fields): Form<Fields>,
) -> Result<Response, ApiError> {
    let ids = ids_of(&fields)?;
    let field = |name: &str| fields.iter().find(|(one, _)| one == name).map(|(_, value)| &**value);
    let counted_at = field("counted_at").and_then(|text| text.parse().ok()).unwrap_or(0);
    let age = service.clock.now().since(Timestamp::from_millis(counted_at));
    let set = CountedSet::count(&service, &ids, &by).await;
    let fingerprint = set.fingerprint();
    if field("set") != Some(&fingerprint) || age > SET_LIFE {
        let mut query: Vec<(&str, String)> =
            ids.iter().map(|id| ("event", id.to_string())).collect();
        query.push(("changed", "1".to_owned()));
        let query: Vec<_> = query.iter().map(|(name, value)| (*name, &**value)).collect();
        return Ok(Redirect::to(&parts::address("/events/replay", &query)).into_response());
    }
    let new_ids = field("new_ids").is_some();
    let mut deliveries = 0;
    for counted in set.events.iter().filter(|counted| matches!(counted.due, Ok(1..))) {
        // Pressing the button twice replays once: the set names the request.
        let body = ReplayBody {
            event: Some(counted.event.id.to_string()),
            request: Some(format!("{fingerprint}-{counted_at}")),
            new_ids,
            ..ReplayBody::default()
        };
        deliveries += service.replay(body, by.clone()).await?.deliveries as u64;
    }
    let page = match &ids[..] {
        [event] => format!("/events/{event}"),
        _ => "/events".to_owned(),
    };
    Ok(Redirect::to(&Flash::Replayed.address(&page, deliveries)).into_response())
}

fn page(frame: &Frame, set: &CountedSet, has_changed: bool) -> Markup {
    let (count, deliveries) = (set.events.len() as u64, set.deliveries() as u64);
    html! {
        (parts::head(
            &html! { "Replay " (counted(count, "event")) },
            &html! { "Nothing was changed yet. Each is routed again, by the rules of now." },
            &html! {},
        ))
        div.stackv {
            @if has_changed {
                (parts::note(NoteKind::Warning, &html! {
                    b { "Not replayed: what would happen has changed." }
                    " These are the counts of now. Nothing was changed."
                }))
            }
            @if count == 0 {
                section.p { (parts::empty("No events were selected.", &html! {
                    "Select rows of " a href="/events" { "the list" } " first." })) }
            } @else {
                div.cols.r {
                    (events(frame, set))
                    (what_would_happen(frame, set, deliveries))
                }
            }
        }
    }
}

fn events(frame: &Frame, set: &CountedSet) -> Markup {
    let times = &frame.reader.times;
    html! {
        section.p aria-label="The events" {
            table.tbl.ev {
                thead { tr {
                    th scope="col" { "Received" } th scope="col" { "Status" }
                    th scope="col" { "Source and type" } th scope="col" { "What would happen" }
                } }
                tbody {
                    @for Counted { event, due } in &set.events {
                        @let state = StateWord::of_event_from(&event.source, event.status);
                        tr data-row {
                            td.k-t.m.d { (times.exact(event.received_at)) }
                            td.k-st { (state.in_row()) }
                            td.k-ty.nw {
                                span.d { (Foreign(event.source.as_str())) } " "
                                a href={ "/events/" (event.id) } data-open {
                                    (foreign::cut(event.kind.as_str(), 60)) }
                            }
                            td.k-sub {
                                @match due {
                                    Ok(0) => span.dd { "skipped: nothing is over, or no rule wants it" },
                                    Ok(due) => { (counted(*due as u64, "delivery")) " due at once" },
                                    Err(why) => span.bad { "skipped: " (Foreign(why)) },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn what_would_happen(frame: &Frame, set: &CountedSet, deliveries: u64) -> Markup {
    let (reader, acting) = (&frame.reader, set.acting() as u64);
    let skipped = set.events.len() as u64 - acting;
    let counted_at = reader.times.now.as_millis().to_string();
    let fingerprint = set.fingerprint();
    let mut fields: Vec<(&str, String)> =
        set.events.iter().map(|counted| ("event", counted.event.id.to_string())).collect();
    fields.extend([("counted_at", counted_at), ("set", fingerprint)]);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let command = match &set.events[..] {
        [one] => Some(format!("weir replay {}", one.event.id)),
        _ => None,
    };
    html! {
        form.p.bulk method="post" action="/events/replay" {
            header { h2 { "What would happen" } }
            (parts::form_fields(reader, &fields))
            ul.sum {
                li { b.n { (number(deliveries)) } span { "due at once, of all targets" } }
                @if skipped > 0 { li { b.n { (number(skipped)) } span { "skipped" } } }
                @if set.unknown > 0 {
                    li { b.n { (set.unknown) } span { "past their retention" } }
                }
            }
            div.opt {
                label {
                    input type="checkbox" name="new_ids" value="1";
                    span { "Send with new ids" br; small {
                        "so that receivers do not skip it as a duplicate" } }
                }
            }
            @if let Some(command) = command { div.pad { (parts::code("The same command", &command)) } }
            div.go {
                @let label = format!("Replay {}", number(acting));
                (parts::submit(reader, NeededRole::Operate, &label, acting > 0))
                a.btn.q href="/events" { "Not now" }
            }
        }
    }
}
