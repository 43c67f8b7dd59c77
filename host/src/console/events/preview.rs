//! The preview beside the list: what a row is about, and the acts that lead further.

use maud::{Markup, html};

use crate::admin::service::AdminService;
use crate::api::{EventAnswer, EventDetailView};
use crate::console::body::PayloadPanel;
use crate::console::event;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::Frame;
use crate::console::parts::{self, NeededRole, Weight, address};
use crate::console::words::StateWord;

/// The event that is selected; none if it is gone or the id is of something else.
pub(super) async fn selected(service: &AdminService, id: &str) -> Option<Box<EventDetailView>> {
    match service.event(id, false).await {
        Ok(EventAnswer::Event(shown)) => Some(shown),
        _ => None,
    }
}

/// The panel beside the list.
pub(super) fn preview(frame: &Frame, shown: &EventDetailView) -> Markup {
    let (event, times) = (&shown.event, &frame.reader.times);
    let id = event.id.to_string();
    let page = format!("/events/{id}");
    let mut rows = vec![
        ("Id", html! { span.m { (event.id) } }),
        (
            "Received",
            html! {
                (times.exact(event.received_at)) " " span.dd { (times.relative(event.received_at)) }
            },
        ),
    ];
    if let Some(request) = &shown.request {
        rows.push((
            "Verified",
            html! {
                (request.scheme) ", secret " (Foreign(&request.secret))
            },
        ));
    }
    if let Some(sender) = &event.delivery_id {
        rows.push(("Sender's id", html! { span.m { (foreign::cut(sender, 60)) } }));
    }
    rows.push((
        "Targets",
        html! {
            @if event.deliveries.is_empty() { "none" }
            @for delivery in &event.deliveries {
                (StateWord::of_delivery(delivery).in_row()) " "
                (event::target_link(&delivery.target)) " "
            }
        },
    ));
    html! {
        aside.stackv.prev aria-label="Preview" {
            section.p {
                header {
                    h2.m { (foreign::cut(event.kind.as_str(), 60)) }
                    span.end { (StateWord::of_event_from(&event.source, event.status)) }
                }
                div.pad.stackv {
                    p { (event::state_sentence(event, times)) }
                    p.acts {
                        a.btn.pri href=(page) { "Open" }
                        (parts::act_link(&frame.reader, NeededRole::Operate,
                            ("Replay…", Weight::Plain), &address("/events/replay", &[("event", &id)])))
                    }
                }
                (parts::facts(rows))
            }
            @if let Some(payload) = &shown.payload {
                (PayloadPanel::new("Body", payload, &page).render(&html! {}))
            }
        }
    }
}
