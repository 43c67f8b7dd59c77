//! `/jobs` and `/jobs/{name}`: replays by filter that the hub does by itself, with their progress,
//! and the acts on them. The pages keep up by themselves where scripts run.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use weir_core::job::{JobAct, JobKind, JobState};

use super::amounts::{counted, number};
use super::assets::Asset;
use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts::{self, NeededRole, NoteKind, Weight};
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::{JobFilterBody, JobView};

/// The pages of jobs and their acts.
pub(super) fn router() -> Router<Arc<AdminService>> {
    let act = |act: JobAct| {
        async move |service: Service, by: Principal, Path(name): Path<String>| {
            service.act_on_job(&name, act, by).await?;
            let to = parts::address(&path(&name), &[("did", act.as_str())]);
            Ok::<_, ApiError>(Redirect::to(&to).into_response())
        }
    };
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{name}", get(show))
        .route("/jobs/{name}/pause", post(act(JobAct::Pause)))
        .route("/jobs/{name}/resume", post(act(JobAct::Resume)))
        .route("/jobs/{name}/cancel", post(act(JobAct::Cancel)))
}

/// The page of a job.
pub(super) fn path(name: &str) -> String {
    format!("/jobs/{}", parts::path_part(name))
}

/// The act that led to the page of a job.
#[derive(Debug, Default, Deserialize)]
struct JobDone {
    did: Option<String>,
}

impl JobDone {
    fn note(&self) -> Markup {
        let said = match self.did.as_deref() {
            Some("create") => "The job runs. It goes on if you leave this page.",
            Some("pause") => "Paused. It keeps its place, also over a restart.",
            Some("resume") => "Resumed. It goes on from its place.",
            Some("cancel") => "Cancelled. What became due already stays due.",
            _ => return html! {},
        };
        parts::note(NoteKind::Plain, &html! { (said) })
    }
}

async fn list(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let all = service.jobs().await?.items;
    let sentence = "Replays of all that a filter matches. The hub does them by itself, and goes on \
                    after a restart.";
    let main = html! {
        (parts::head(&html! { "Jobs" }, &html! { (sentence) }, &html! {}))
        section.p aria-label="Jobs, those that are not over first" {
            @if all.is_empty() { (nothing()) } @else { (table(&frame, &all)) }
        }
    };
    Ok(frame.page_with("Jobs", Place::Jobs, &[Asset::Overview], &main))
}

fn nothing() -> Markup {
    html! {
        div.empty {
            b { "No jobs." }
            span {
                "Filter the events by the status unrouted or dead letter, and replay all that "
                "match; or ask for a job with a command:"
            }
            (parts::code("Command", "weir replay --dead-letters --rate 50/s --job mine --detach"))
        }
    }
}

/// The state of a job as a word of the list of states.
fn state(job: &JobView) -> Markup {
    match job.state {
        JobState::Running => html! { (StateWord::Running) },
        JobState::Paused => html! { (StateWord::Paused) },
        JobState::Finished => StateWord::Processed.saying("Finished"),
        JobState::Cancelled => html! { (StateWord::Cancelled) },
        JobState::Failed => StateWord::Failing.saying("Failed"),
    }
}

fn what(kind: JobKind) -> &'static str {
    match kind {
        JobKind::DeadLetters => "dead letters",
        JobKind::Events => "events",
        JobKind::Unrouted => "unrouted events",
    }
}

fn progress(job: &JobView) -> Markup {
    let of = job.total.max(job.done);
    html! {
        progress value=(job.done) max=(of.max(1)) aria-label={ "Progress of " (job.name) } {}
        small.nw { (number(job.done)) " of " (number(of)) @if job.more { "+" } }
    }
}

fn acts(frame: &Frame, job: &JobView, weight: Weight) -> Markup {
    let act = |label: &str, act: JobAct| {
        let path = format!("{}/{act}", path(&job.name));
        parts::act(&frame.reader, NeededRole::Operate, (label, weight), &path, &[])
    };
    html! {
        @match job.state {
            JobState::Running => { (act("Pause", JobAct::Pause)) (act("Cancel", JobAct::Cancel)) }
            JobState::Paused => { (act("Resume", JobAct::Resume)) (act("Cancel", JobAct::Cancel)) }
            JobState::Finished | JobState::Cancelled | JobState::Failed => {}
        }
    }
}

fn table(frame: &Frame, all: &[JobView]) -> Markup {
    let times = &frame.reader.times;
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Job" } th scope="col" { "State" }
                        th scope="col" { "Progress" } th.n.hs scope="col" { "Due again" }
                        th.hs scope="col" { "Rate" } th.hs scope="col" { "Created" }
                        th scope="col" { span.vh { "Acts" } }
                    }
                }
                tbody {
                    @for job in all {
                        tr data-row {
                            td.two {
                                a href=(path(&job.name)) data-open { b { (Foreign(&job.name)) } }
                                small.nw { (what(job.what)) }
                            }
                            td { (state(job)) }
                            td.two { (progress(job)) }
                            td.n.hs { (number(job.deliveries)) }
                            td.d.hs.nw { (rate(job)) }
                            td.two.hs {
                                span.nw { (times.exact(job.created_at)) }
                                small { (Foreign(&job.created_by)) }
                            }
                            td.acts { (acts(frame, job, Weight::Small)) }
                        }
                    }
                }
            }
        }
    }
}

fn rate(job: &JobView) -> String {
    job.rate.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string())
}

async fn show(
    service: Service,
    frame: Frame,
    Path(name): Path<String>,
    Query(done): Query<JobDone>,
) -> Result<Response, ApiError> {
    let job = service.job(&name).await?;
    let main = html! {
        div.head {
            div {
                p.crumb { a href="/jobs" { "Jobs" } " / " (what(job.what)) }
                h1 { (Foreign(&job.name)) }
                p { (state(&job)) "\u{2002}" (counted(job.deliveries, "delivery")) " due again." }
            }
            div.acts { (acts(&frame, &job, Weight::Plain)) }
        }
        div.stackv {
            (done.note())
            @if let Some(problem) = &job.problem {
                (parts::note(NoteKind::Failure, &html! {
                    b { "The job cannot go on." } " " (Foreign(problem))
                }))
            }
            div.cols {
                (parts::panel("Progress", &html! {}, &numbers(&frame, &job)))
                (parts::panel("The order", &html! {}, &order(&frame, &job)))
            }
        }
    };
    Ok(frame.page_with(&job.name, Place::Jobs, &[Asset::Overview], &main))
}

fn numbers(frame: &Frame, job: &JobView) -> Markup {
    let times = &frame.reader.times;
    let mut rows = vec![
        ("Looked at", progress(job)),
        ("Due again", html! { (counted(job.deliveries, "delivery")) }),
    ];
    if job.skipped > 0 {
        let why = match job.what {
            JobKind::DeadLetters => "they were no dead letters any more",
            JobKind::Events | JobKind::Unrouted => "no rule wants them, or they are not meant",
        };
        rows.push(("Skipped", html! { (number(job.skipped)) ": " (why) }));
    }
    rows.push((
        "Created",
        html! { (times.exact(job.created_at)) " by " (Foreign(&job.created_by)) },
    ));
    rows.extend(job.ended_at.map(|at| ("Ended", times.exact(at))));
    parts::facts(rows)
}

fn order(frame: &Frame, job: &JobView) -> Markup {
    let times = &frame.reader.times;
    let JobFilterBody { source, kind, category, status, target, key, since, until } = &job.filter;
    let now = times.now;
    let mut rows = vec![("Replays", html! { (what(job.what)) })];
    for (name, value) in [
        ("Source", source.to_string()),
        ("Type", kind.to_string()),
        ("Category", category.to_string()),
        ("Status", status.to_string()),
        ("Target", target.to_string()),
        ("Key", key.to_string()),
    ] {
        if !value.is_empty() {
            rows.push((name, html! { (Foreign(&value)) }));
        }
    }
    rows.extend(since.map(|since| ("Received since", times.exact(since.resolve(now)))));
    rows.extend(until.map(|until| ("Received before", times.exact(until.resolve(now)))));
    rows.extend(job.to.as_ref().map(|to| ("Only to", html! { (Foreign(to.as_str())) })));
    rows.push(("Ids", html! { @if job.new_ids { "new" } @else { "as they were" } }));
    rows.push(("Rate", html! { (rate(job)) }));
    parts::facts(rows)
}
