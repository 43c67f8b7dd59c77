//! `/inbox`: messages that inboxes received, shown as their receiver would see them.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::amounts;
use super::body::{PayloadPanel, PayloadTab};
use super::foreign::{self, Foreign};
use super::frame::{Frame, Place};
use super::parts::{self, BackLink};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{BodyView, BytesView, HeaderView, InboxMessageView, PayloadView};

/// Messages of a page.
const ROWS: usize = 50;
/// Characters of a message in a row.
const LINE_CHARS: usize = 120;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct InboxAddress {
    destination: Option<String>,
    /// Messages before this number.
    before: Option<u64>,
}

/// Answers `/inbox`.
pub(super) async fn list(
    service: Service,
    frame: Frame,
    Query(wanted): Query<InboxAddress>,
) -> Result<Response, ApiError> {
    let is_inbox = service.destinations().await.iter().any(|view| view.kind == "inbox");
    let wanted_name = wanted.destination.as_deref().filter(|name| !name.is_empty());
    let all = service.inbox_messages().items;
    let matching = all.iter().rev().filter(|message| {
        wanted.before.is_none_or(|before| message.number < before)
            && wanted_name.is_none_or(|name| message.destination.as_str() == name)
    });
    let found: Vec<_> = matching.take(ROWS + 1).collect();
    let rows = &found[..found.len().min(ROWS)];
    let older = rows.last().filter(|_| found.len() > ROWS).map(|last| {
        let (destination, before) = (wanted_name.unwrap_or(""), last.number.to_string());
        parts::address("/inbox", &[("destination", destination), ("before", &before)])
    });
    let newest = wanted
        .before
        .map(|_| parts::address("/inbox", &[("destination", wanted_name.unwrap_or(""))]));
    let main = html! {
        (parts::head(&html! { "Inbox" }, &html! {
            "Messages that inboxes received since the hub was started, the last thousand, as their "
            "receiver would see them."
        }, &html! {}))
        div.stackv {
            @if let Some(name) = wanted_name {
                div.chips { (parts::chip("Destination", &html! { (Foreign(name)) }, "/inbox")) }
            }
            section.p aria-label="Messages, newest first" {
                @if rows.is_empty() {
                    (nothing(is_inbox))
                } @else {
                    (table(&frame, rows))
                    (parts::pages(newest.as_deref().map(BackLink::Newest), older.as_deref()))
                }
            }
        }
    };
    Ok(frame.page("Inbox", Place::Inbox, &main))
}

fn nothing(is_inbox: bool) -> Markup {
    if is_inbox {
        return parts::empty(
            "No message yet.",
            &html! {
                "A message comes here when a route or a handler sends it to an inbox. "
                a href="/routes" { "Routes" }
            },
        );
    }
    html! {
        div.empty {
            b { "There is no inbox." }
            span {
                "An inbox is a destination that keeps its messages in memory, to see what a "
                "handler sends. Add one to weir.toml:"
            }
            (parts::code("Lines for weir.toml", "[destinations.inbox]\nkind = \"inbox\""))
        }
    }
}

fn table(frame: &Frame, rows: &[&InboxMessageView]) -> Markup {
    let times = &frame.reader.times;
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Received" } th scope="col" { "Inbox" }
                        th scope="col" { "Message" } th.hs scope="col" { "From" }
                        th.n.hs scope="col" { "Size" }
                    }
                }
                tbody {
                    @for message in rows {
                        tr data-row {
                            td.m.d.nw { (times.exact(message.at)) }
                            td {
                                a href=(parts::address("/inbox", &[("destination",
                                    message.destination.as_str())])) {
                                    b { (Foreign(message.destination.as_str())) }
                                }
                            }
                            td.cut {
                                a href={ "/inbox/" (message.number) } data-open {
                                    (first_line(&message.body))
                                }
                            }
                            td.d.hs.nw { (sender(message)) }
                            td.n.d.hs { (amounts::size(message.body.len() as u64)) }
                        }
                    }
                }
            }
        }
    }
}

fn first_line(body: &str) -> Markup {
    let line = body.lines().find(|line| !line.trim().is_empty()).unwrap_or("(empty)");
    foreign::cut(line.trim(), LINE_CHARS)
}

fn sender(message: &InboxMessageView) -> Markup {
    html! {
        @match &message.handler {
            Some(handler) => { "handler " (Foreign(handler.as_str())) }
            None => { (Foreign(message.source.as_str())) ", by a route" }
        }
    }
}

/// The form of the message that is shown.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MessageTab {
    #[serde(default)]
    view: PayloadTab,
}

/// Answers `/inbox/{number}`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Path(number): Path<String>,
    Query(shown): Query<MessageTab>,
) -> Result<Response, ApiError> {
    let all = service.inbox_messages().items;
    let message = all.into_iter().find(|message| message.number.to_string() == number);
    let message = message.ok_or_else(|| {
        let detail = "there is no message of this number; an inbox keeps the last thousand";
        ApiError::not_found("message_not_found", detail)
    })?;
    let times = &frame.reader.times;
    let payload = payload(&message);
    let address = format!("/inbox/{}", message.number);
    let panel = PayloadPanel::new("Message", &payload, &address).with_tab(shown.view);
    let main = html! {
        div.head {
            div {
                p.crumb {
                    a href="/inbox" { "Inbox" } " / " (Foreign(message.destination.as_str()))
                }
                h1 { "Message " (message.number) " to " (Foreign(message.destination.as_str())) }
                p { "Received " (times.exact(message.at)) " from " (sender(&message)) "." }
            }
            div.acts { a.btn href={ "/events/" (message.event) } { "Open its event" } }
        }
        div.cols.r {
            div.stackv { (panel.render(&html! {})) }
            (parts::panel("Facts", &html! {}, &parts::facts([
                ("Message", html! { span.m { (message.id) } }),
                ("Delivery", html! { span.m { (message.delivery) } }),
                ("Event", html! { span.m { (message.event) } }),
                ("Destination", html! {
                    a href={ "/destinations/" (parts::path_part(message.destination.as_str())) } {
                        (Foreign(message.destination.as_str()))
                    }
                }),
                ("Number", html! { (message.number) }),
            ])))
        }
    };
    Ok(frame.page("Message", Place::Inbox, &main))
}

fn payload(message: &InboxMessageView) -> PayloadView {
    let header = |name: &str, value: &str| HeaderView {
        name: name.to_owned(),
        value: BytesView::Text(value.to_owned()),
    };
    PayloadView {
        headers: vec![
            header("content-type", &message.content_type),
            header("webhook-id", &message.id.to_string()),
        ],
        body: BodyView {
            size: message.body.len(),
            truncated: false,
            shown: BytesView::Text(message.body.clone()),
        },
    }
}
