//! The list of dead letters, with those of the same cause together.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use weir_core::delivery::Outcome;

use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::service::AdminService;
use crate::api::one_of::OneOf;
use crate::api::{
    DeadLetterCause, DeadLetterCauses, DeadLettersQuery, DeliveryView, EventSummary, ListPage,
};
use crate::console::amounts;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, BackLink, NeededRole, NoteKind, Weight, address};
use crate::console::times::Times;
use crate::console::{targets, words};

/// Characters of a reason or a type in a row.
const CELL_CHARS: usize = 120;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DeadLettersAddress {
    target: Option<String>,
    source: Option<String>,
    cursor: Option<String>,
    /// The act that led here, with the numbers of what it did.
    did: Option<String>,
    count: Option<u32>,
    skipped: Option<u32>,
}

/// Answers `/dead-letters`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Query(wanted): Query<DeadLettersAddress>,
) -> Result<Response, ApiError> {
    let causes = service.dead_letter_causes().await?;
    let found = service.dead_letters(query(&wanted)?).await?;
    let rows = rows(&service, &found).await?;
    let total = service.nav_counts().await.dead_letters;
    let main = html! {
        (parts::head(
            &heading(total),
            &html! {
                "Refused for good, or given up after the last attempt. They stay until you act, or "
                "until retention removes their events."
            },
            &html! {},
        ))
        div.stackv {
            (outcome(&wanted))
            @if !causes.items.is_empty() { (groups(&frame, &causes)) }
            (chips(&wanted))
            (list(&frame, &wanted, &rows, found.next.as_deref()))
        }
    };
    Ok(frame.page("Dead letters", Place::DeadLetters, &main))
}

/// A dead letter with its event.
type Row = (DeliveryView, Option<EventSummary>);

/// Reads only what is on the page: the attempts and the event of each.
async fn rows(
    service: &AdminService,
    found: &ListPage<DeliveryView>,
) -> Result<Vec<Row>, ApiError> {
    let mut rows = Vec::with_capacity(found.items.len());
    for listed in &found.items {
        // It may have been requeued since.
        let detail = service.dead_letter(&listed.id.to_string()).await.ok();
        let event = service.event_summary(listed.event).await?;
        rows.push((detail.unwrap_or_else(|| listed.clone()), event));
    }
    Ok(rows)
}

fn query(wanted: &DeadLettersAddress) -> Result<DeadLettersQuery, ApiError> {
    let invalid = |name: &str, why: String| {
        ApiError::bad_request("invalid_parameter", format!("`{name}`: {why}"))
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let target = given(&wanted.target).map(|text| text.parse()).transpose();
    let source = given(&wanted.source).map(|text| text.parse()).transpose();
    let cursor = given(&wanted.cursor).map(|text| text.parse()).transpose();
    Ok(DeadLettersQuery {
        target: one(target.map_err(|why| invalid("target", format!("{why}")))?),
        source: one(source.map_err(|why| invalid("source", format!("{why}")))?),
        cursor: cursor.map_err(|why| invalid("cursor", format!("{why}")))?,
        ..DeadLettersQuery::default()
    })
}

/// The filter of at most one value.
fn one<T>(value: Option<T>) -> OneOf<T> {
    value.into_iter().collect::<Vec<_>>().into()
}

fn heading(total: Option<u64>) -> Markup {
    html! {
        @match total {
            Some(0) => { "No dead letters" }
            Some(total) => { (amounts::counted(total, "dead letter")) }
            None => { "Dead letters" }
        }
    }
}

/// The result of the act that led to this page.
fn outcome(wanted: &DeadLettersAddress) -> Markup {
    let count = u64::from(wanted.count.unwrap_or_default());
    let skipped = u64::from(wanted.skipped.unwrap_or_default());
    let did = match wanted.did.as_deref() {
        Some("requeued") => "Requeued",
        Some("discarded") => "Discarded",
        _ => return html! {},
    };
    parts::note(
        NoteKind::Plain,
        &html! {
            b { (did) " " (amounts::number(count)) "." }
            @if did == "Requeued" { " They are tried at once, or wait for their paused target." }
            @if skipped > 0 {
                " " (amounts::number(skipped)) " were no dead letters any more and were skipped."
            }
        },
    )
}

fn groups(frame: &Frame, causes: &DeadLetterCauses) -> Markup {
    let counted = amounts::counted(causes.counted as u64, "dead letter");
    let end = html! {
        @if causes.is_whole { "of " (counted) } @else { "of the newest " (counted) }
    };
    let times = &frame.reader.times;
    parts::panel(
        "Same cause",
        &end,
        &html! {
            div.scroll {
                table.tbl {
                    thead {
                        tr {
                            th.n scope="col" { "Count" } th scope="col" { "Cause" }
                            th.n.hs scope="col" { "First – last" }
                            th scope="col" { span.vh { "Act" } }
                        }
                    }
                    tbody { @for cause in &causes.items { (group(frame, times, cause)) } }
                }
            }
        },
    )
}

fn group(frame: &Frame, times: &Times, cause: &DeadLetterCause) -> Markup {
    let target = cause.target.to_string();
    let preview = address("/dead-letters/preview", &[("target", &target), ("cause", &cause.cause)]);
    html! {
        tr {
            td.n { b { (amounts::number(cause.count as u64)) } }
            td.two.grow {
                a href=(address("/dead-letters", &[("target", &target)])) {
                    (foreign::cut(&cause.cause, CELL_CHARS))
                }
                small {
                    (targets::named(&cause.target))
                    @if let Some(outcome) = cause.outcome {
                        " · " (words::outcome(outcome)) " · " (outlook(outcome))
                    }
                }
            }
            td.n.d.hs.nw {
                @if let (Some(first), Some(last)) = (cause.first, cause.last) {
                    (times.minute(first)) " – " (times.minute(last))
                }
            }
            td.n {
                (parts::act_link(
                    &frame.reader,
                    NeededRole::Operate,
                    ("Preview…", Weight::Plain),
                    &preview,
                ))
            }
        }
    }
}

/// A word on whether another try can end otherwise.
const fn outlook(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reject | Outcome::BadOutput | Outcome::TooMuchData => {
            "the same input gives the same answer"
        }
        Outcome::Status => "trying again helps once its endpoint accepts it",
        Outcome::Network | Outcome::Timeout | Outcome::HostLost => "trying again can help",
        Outcome::Blocked | Outcome::Refused => "trying again helps once it is permitted",
        Outcome::ConditionError => "replay the event once its condition or message is corrected",
        Outcome::Missing | Outcome::NotLoaded => "trying again helps once the target is back",
        _ => "trying again helps once the handler is corrected",
    }
}

fn chips(wanted: &DeadLettersAddress) -> Markup {
    let (target, source) = (wanted.target.as_deref(), wanted.source.as_deref());
    html! {
        @if target.is_some() || source.is_some() {
            div.chips role="group" aria-label="Filters" {
                @if let Some(target) = target {
                    @let without = address("/dead-letters", &[("source", source.unwrap_or(""))]);
                    (parts::chip("Target", &html! { (Foreign(target)) }, &without))
                }
                @if let Some(source) = source {
                    @let without = address("/dead-letters", &[("target", target.unwrap_or(""))]);
                    (parts::chip("Source", &html! { (Foreign(source)) }, &without))
                }
                a.s href="/dead-letters" { "Clear all" }
            }
        }
    }
}

fn list(frame: &Frame, wanted: &DeadLettersAddress, rows: &[Row], next: Option<&str>) -> Markup {
    let (target, source) = (wanted.target.as_deref(), wanted.source.as_deref());
    if rows.is_empty() {
        let next = if target.is_some() || source.is_some() {
            html! { "None matches these filters. " a href="/dead-letters" { "Show all" } }
        } else {
            html! {
                "A delivery comes here after its last attempt, or when its target refuses it for "
                "good."
            }
        };
        return html! { section.p { (parts::empty("No dead letters.", &next)) } };
    }
    let filters = [("target", target.unwrap_or("")), ("source", source.unwrap_or(""))];
    let newest = wanted.cursor.as_ref().map(|_| address("/dead-letters", &filters));
    let older = next.map(|cursor| {
        let [target, source] = filters;
        address("/dead-letters", &[target, source, ("cursor", cursor)])
    });
    let may_act = NeededRole::Operate.is_given(&frame.reader);
    html! {
        form.p action="/dead-letters/preview" aria-label="Dead letters, newest first" {
            header {
                h2 { "Newest first" }
                span.end {
                    button.btn.sm disabled[!may_act]
                        title=[(!may_act).then_some("This needs the role operate.")] {
                        "Preview the selected…"
                    }
                }
            }
            div.scroll { (table(frame, rows)) }
            (parts::pages(newest.as_deref().map(BackLink::Newest), older.as_deref()))
        }
    }
}

fn table(frame: &Frame, rows: &[Row]) -> Markup {
    html! {
        table.tbl.ev {
            thead {
                tr {
                    th scope="col" { span.vh { "Select" } }
                    th scope="col" { "Last attempt" } th scope="col" { "Event" }
                    th scope="col" { "Target" } th scope="col" { "Why" }
                }
            }
            tbody { @for row in rows { (dead_letter(frame, row)) } }
        }
    }
}

fn dead_letter(frame: &Frame, (dead, event): &Row) -> Markup {
    let last = dead.history.last();
    let id = dead.id.to_string();
    html! {
        tr id=(id) data-row {
            td.k-x {
                input type="checkbox" name="id" value=(id) data-select
                    aria-label={ "Select " (id) };
            }
            td.k-t.m.d.nw {
                @if let Some(last) = last { (frame.reader.times.exact(last.started_at)) }
                @else { "–" }
            }
            td.k-sub.two {
                a href={ "/events/" (dead.event) "#" (id) } data-open {
                    @match event {
                        Some(event) => { (foreign::cut(event.kind.as_str(), CELL_CHARS)) }
                        None => { span.m { (dead.event) } }
                    }
                }
                @if let Some(event) = event { small { (Foreign(event.source.as_str())) } }
            }
            td.k-tg.nw { (targets::named(&dead.target)) }
            td.k-ty.grow {
                (foreign::cut(dead.reason.as_deref().unwrap_or("no reason was recorded"), CELL_CHARS))
                @if dead.attempts > 1 { span.dd { " · " (dead.attempts) " attempts" } }
            }
        }
    }
}
