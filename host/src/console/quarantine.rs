//! `/quarantine`: requests whose signature did not match, what each source's would do now, and
//! their release.

use std::collections::BTreeMap;

use axum::extract::{Form, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use weir_core::id::QuarantineId;

use super::amounts;
use super::body::{PayloadPanel, PayloadTab};
use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts::{self, BackLink, NeededRole, NoteKind, Weight};
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::{PathText, Service};
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::params::Limit;
use crate::api::{ListPage, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseBody};

/// Sources whose requests are tried on one page.
const SOURCES_MAX: usize = 10;
/// Pages of a release that one press does; each verifies a hundred requests.
const PAGES_MAX: usize = 20;

/// The parameters of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct QuarantineAddress {
    source: Option<String>,
    cursor: Option<String>,
    /// Requests that the act before released and did not release.
    released: Option<u32>,
    refused: Option<u32>,
}

/// Answers `/quarantine`.
pub(super) async fn list(
    service: Service,
    frame: Frame,
    Query(wanted): Query<QuarantineAddress>,
) -> Result<Response, ApiError> {
    let invalid = |name: &str, why: String| {
        ApiError::bad_request("invalid_parameter", format!("`{name}`: {why}"))
    };
    let source = wanted.source.as_deref().filter(|text| !text.is_empty());
    let cursor = wanted.cursor.as_deref().map(str::parse).transpose();
    let query = QuarantineQuery {
        source: source
            .map(str::parse)
            .transpose()
            .map_err(|e| invalid("source", format!("{e}")))?,
        released: None,
        limit: None,
        cursor: cursor.map_err(|e| invalid("cursor", format!("{e}")))?,
    };
    let found = service.quarantine(query).await?;
    let trials = trials(&service).await?;
    let main = html! {
        (parts::head(&heading(&trials), &html! {
            "Requests whose signature did not match are kept for a while, sealed, and can be "
            "accepted once the cause is fixed."
        }, &html! {}))
        div.stackv {
            (outcome(&wanted))
            @if !trials.is_empty() { (by_source(&frame, &trials)) }
            @if let Some(source) = source {
                div.chips role="group" aria-label="Filters" {
                    (parts::chip("Source", &html! { (Foreign(source)) }, "/quarantine"))
                }
            }
            (requests(&frame, source, &found, wanted.cursor.is_some()))
        }
    };
    Ok(frame.page("Quarantine", Place::Quarantine, &main))
}

/// A trial of the requests of each source, the source with most of them first.
async fn trials(service: &AdminService) -> Result<Vec<(String, QuarantineTrial)>, ApiError> {
    let query =
        QuarantineQuery { limit: Some(Limit::clamped(Limit::MAX)), ..QuarantineQuery::default() };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for item in service.quarantine(query).await?.items {
        *counts.entry(item.source).or_default() += 1;
    }
    let mut sources: Vec<_> = counts.into_iter().collect();
    sources.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut trials = Vec::new();
    for (source, _) in sources.into_iter().take(SOURCES_MAX) {
        let trial = service.try_quarantine(&source).await?;
        trials.push((source, trial));
    }
    Ok(trials)
}

fn heading(trials: &[(String, QuarantineTrial)]) -> Markup {
    let count: usize = trials.iter().map(|(_, trial)| trial.valid + trial.invalid).sum();
    let more = trials.iter().any(|(_, trial)| trial.more);
    html! {
        @if count == 0 { "Quarantine" }
        @else {
            (amounts::counted(count as u64, "quarantined request"))
            @if more { " or more" }
        }
    }
}

fn outcome(wanted: &QuarantineAddress) -> Markup {
    let Some(released) = wanted.released else { return html! {} };
    let refused = wanted.refused.unwrap_or_default();
    parts::note(
        NoteKind::Plain,
        &html! {
            b { "Released " (amounts::number(released.into())) "." }
            @if refused > 0 {
                " " (amounts::number(refused.into())) " are still not valid and stay here."
            }
            @if released > 0 { " Their events are handled and sent as usual." }
        },
    )
}

fn by_source(frame: &Frame, trials: &[(String, QuarantineTrial)]) -> Markup {
    parts::panel(
        "Verified again with today’s secrets",
        &html! { "nothing is changed" },
        &html! {
            div.scroll {
                table.tbl {
                    thead {
                        tr {
                            th scope="col" { "Source" } th.n scope="col" { "Valid now" }
                            th.n scope="col" { "Still not" } th.hs scope="col" { "What helps" }
                            th scope="col" { span.vh { "Act" } }
                        }
                    }
                    tbody { @for (source, trial) in trials { (trial_row(frame, source, *trial)) } }
                }
            }
        },
    )
}

fn trial_row(frame: &Frame, source: &str, trial: QuarantineTrial) -> Markup {
    let page = format!("/sources/{}", parts::path_part(source));
    let label = format!("Release {}", amounts::number(trial.valid as u64));
    html! {
        tr {
            td {
                a href=(parts::address("/quarantine", &[("source", source)])) {
                    b { (Foreign(source)) }
                }
            }
            td.n { (amounts::number(trial.valid as u64)) @if trial.more { "+" } }
            td.n.d { (amounts::number(trial.invalid as u64)) @if trial.more { "+" } }
            td.grow.d.hs {
                @if trial.valid > 0 {
                    "Each is verified again and comes in once."
                } @else {
                    "Put the secret that signed them beside the present one."
                }
            }
            td.n {
                @if trial.valid > 0 {
                    (parts::act(&frame.reader, NeededRole::Operate, (&label, Weight::Primary),
                        "/quarantine/release", &[("source", source)]))
                } @else {
                    a.btn href=(page) { "Open the source" }
                }
            }
        }
    }
}

fn requests(
    frame: &Frame,
    source: Option<&str>,
    found: &ListPage<QuarantineItem>,
    is_later: bool,
) -> Markup {
    if found.items.is_empty() {
        return html! {
            section.p {
                (parts::empty("Nothing is in quarantine.", &html! {
                    "A request comes here when its signature does not match, for example after a "
                    "secret was changed on one side only."
                }))
            }
        };
    }
    let times = &frame.reader.times;
    let source = source.unwrap_or_default();
    let newest = is_later.then(|| parts::address("/quarantine", &[("source", source)]));
    let older = found.next.as_deref();
    let older = older
        .map(|cursor| parts::address("/quarantine", &[("source", source), ("cursor", cursor)]));
    html! {
        section.p aria-label="Quarantined requests, newest first" {
            header { h2 { "Newest first" } }
            div.scroll {
                table.tbl.ev {
                    thead {
                        tr {
                            th scope="col" { "Received" } th scope="col" { "Source" }
                            th scope="col" { "From" } th.n scope="col" { "Size" }
                            th scope="col" { "Why" } th scope="col" { "Request" }
                        }
                    }
                    tbody {
                        @for item in &found.items {
                            tr data-row {
                                td.k-t.m.d.nw { (times.exact(item.received_at)) }
                                td.k-ty data-w=(item.code) { b { (Foreign(&item.source)) } }
                                td.m.hs { (Foreign(&item.address)) }
                                td.n.hs { (amounts::size(item.size as u64)) }
                                td.k-st.grow { (StateWord::Quarantined.saying(&item.code)) }
                                td.k-sub.m.wrap {
                                    a href={ "/quarantine/" (item.id) } data-open { (item.id) }
                                }
                            }
                        }
                    }
                }
            }
            (parts::pages(newest.as_deref().map(BackLink::Newest), older.as_deref()))
        }
    }
}

/// The form of the request that is shown.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RequestTab {
    #[serde(default)]
    view: PayloadTab,
}

/// Answers `/quarantine/{id}`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    path: PathText,
    Query(shown): Query<RequestTab>,
) -> Result<Response, ApiError> {
    let id: QuarantineId = path.id()?;
    let found = service.quarantined_request(id).await?;
    let (request, times) = (&found.request, &frame.reader.times);
    let address = format!("/quarantine/{id}");
    let panel =
        PayloadPanel::new("Request as received", &found.payload, &address).with_tab(shown.view);
    let events = request.events.as_deref();
    let main = html! {
        div.head {
            div {
                p.crumb { a href="/quarantine" { "Quarantine" } " / " (Foreign(&request.source)) }
                h1.m { (id) }
                p {
                    @if let Some(events) = events {
                        "It was released and became "
                        @for (index, event) in events.iter().enumerate() {
                            @if index > 0 { ", " }
                            a href={ "/events/" (event) } { (event) }
                        }
                        @if events.is_empty() { "no event" }
                        "."
                    } @else {
                        (StateWord::Quarantined.saying(&request.code)) "\u{2002}Received "
                        (times.exact(request.received_at)) " from "
                        span.m { (Foreign(&request.address)) } "."
                    }
                }
            }
            div.acts {
                @if events.is_none() {
                    (parts::act(&frame.reader, NeededRole::Operate,
                        ("Verify again and release", Weight::Primary),
                        &format!("/quarantine/{id}/release"), &[]))
                }
            }
        }
        div.stackv { (panel.render(&html! {})) }
    };
    Ok(frame.page("Quarantined request", Place::Quarantine, &main))
}

/// Answers `POST /quarantine/{id}/release`.
pub(super) async fn release(
    service: Service,
    by: Principal,
    path: PathText,
) -> Result<Response, ApiError> {
    let id: QuarantineId = path.id()?;
    service.release_request(id, by).await?;
    Ok(Redirect::to(&format!("/quarantine/{id}")).into_response())
}

/// The source whose requests are released.
#[derive(Debug, Deserialize)]
pub(super) struct ReleaseForm {
    source: String,
}

/// Answers `POST /quarantine/release`.
pub(super) async fn release_all(
    service: Service,
    by: Principal,
    Form(form): Form<ReleaseForm>,
) -> Result<Response, ApiError> {
    let (mut released, mut refused, mut after) = (0, 0, None);
    for _ in 0..PAGES_MAX {
        let body = ReleaseBody { source: Some(form.source.clone()), after };
        let answer = service.release_requests(body, by.clone()).await?;
        released += answer.released.len();
        refused += answer.refused.len();
        after = answer.next.map(|id| id.to_string());
        if after.is_none() {
            break;
        }
    }
    let (released, refused) = (released.to_string(), refused.to_string());
    let query = [("source", &*form.source), ("released", &released), ("refused", &refused)];
    Ok(Redirect::to(&parts::address("/quarantine", &query)).into_response())
}
