//! `/handlers` and `/handlers/{name}`: modules with their version, health, subscriptions and
//! permissions.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};
use weir_core::name::Target;

use super::amounts;
use super::destinations::cell;
use super::foreign::{Foreign, ForeignLines};
use super::frame::{Frame, Place};
use super::handler_versions;
use super::parts::{self, NoteKind};
use super::target_acts::TargetDone;
use super::targets::{self, Queues, TargetWork};
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{HandlerView, HealthState, StatsAnswer, StatsQuery, TargetStats};

/// Answers `/handlers`.
pub(super) async fn list(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let all = service.handlers().await;
    let queues = service.health_report().await.queues.unwrap_or_default();
    let stats = service.stats(StatsQuery::default()).await?.targets;
    let main = html! {
        (parts::head(&html! { "Handlers" }, &verdict(&all), &html! {}))
        section.p aria-label="Handlers" {
            @if all.is_empty() { (nothing()) } @else { (table(&frame, &all, &queues, &stats)) }
        }
    };
    Ok(frame.page("Handlers", Place::Handlers, &main))
}

fn verdict(all: &[HandlerView]) -> Markup {
    let ill = all.iter().filter(|view| word(view) != StateWord::Ok).count();
    let refused = all.iter().filter(|view| view.last_error.is_some()).count();
    let count = amounts::counted(all.len() as u64, "handler");
    html! {
        @if all.is_empty() { "No module is in the plugins folder." }
        @else if ill == 0 { (count) ". All are well." }
        @else { (count) "; " (amounts::counted(ill as u64, "handler")) " to look at." }
        @if refused > 0 { " " (amounts::counted(refused as u64, "new file")) " did not load." }
    }
}

fn nothing() -> Markup {
    html! {
        div.empty {
            b { "No handlers yet." }
            span {
                "Make one, build it, and copy the module into the plugins folder. It is loaded "
                "without a restart."
            }
            (parts::code("Commands", "weir new orders --lang js\ncd orders && npm run build\n\
                cp orders.wasm ../plugins/"))
        }
    }
}

/// The state of a handler: that of its deliveries, unless it cannot run at all.
fn word(view: &HandlerView) -> StateWord {
    match &*view.state {
        "ready" => StateWord::of_health(view.health),
        "loading" => StateWord::Waiting,
        _ => StateWord::Failing,
    }
}

fn state(view: &HandlerView) -> Markup {
    let word = word(view);
    match &*view.state {
        "ready" => html! { (word) },
        "loading" => word.saying("Loading"),
        "missing" => word.saying("File missing"),
        _ => word.saying("Not loaded"),
    }
}

fn version(view: &HandlerView) -> &str {
    view.version.as_deref().map_or("–", handler_versions::short)
}

fn table(frame: &Frame, all: &[HandlerView], queues: &Queues, stats: &[TargetStats]) -> Markup {
    let times = &frame.reader.times;
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Name" } th scope="col" { "State" }
                        th.hs scope="col" { "Last hour" } th scope="col" { "Subscriptions" }
                        th.hs scope="col" { "Version" } th.hs scope="col" { "Since" }
                        th.n scope="col" { "Waiting" } th.n.hs scope="col" { "Running" }
                    }
                }
                tbody {
                    @for view in all {
                        @let target = Target::Handler(view.name.clone());
                        tr {
                            td.two {
                                a href={ "/handlers/" (parts::path_part(view.name.as_str())) }
                                    data-open { b { (Foreign(view.name.as_str())) } }
                                small.nw { (view.kind.as_deref().unwrap_or("no version serves")) }
                            }
                            td.two {
                                (state(view))
                                @if view.last_error.is_some() { small.nw { "new file refused" } }
                                @if view.probation.is_some() { small.nw { "on probation" } }
                                @if view.pinned { small.nw { "pinned" } }
                            }
                            td.hs { (targets::last_hour(stats, &target)) }
                            td.grow {
                                @for (index, pattern) in view.subscriptions.iter().enumerate() {
                                    @if index > 0 { ", " }
                                    span.m { (Foreign(pattern)) }
                                }
                            }
                            td.m.d.hs { (version(view)) }
                            td.d.hs.nw { (times.minute(view.since)) }
                            td.n { (amounts::number(targets::waiting(queues, &target))) }
                            td.n.d.hs { (view.running) }
                        }
                    }
                }
            }
        }
    }
}

/// Answers `/handlers/{name}`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Path(name): Path<String>,
    Query(done): Query<TargetDone>,
) -> Result<Response, ApiError> {
    let detail = service.handler(&name).await?;
    let history = service.handler_history(&name).await.map(|page| page.items).unwrap_or_default();
    let view = &detail.handler;
    let target = Target::Handler(view.name.clone());
    let TargetWork { queues, holds, stats, rules } = TargetWork::read(&service, &target).await?;
    let (waiting, is_failing) =
        (targets::waiting(&queues, &target), view.health == HealthState::Failing);
    let main = html! {
        div.head {
            div {
                p.crumb {
                    a href="/handlers" { "Handlers" } " / "
                    (view.kind.as_deref().unwrap_or("no version serves"))
                }
                h1 { (Foreign(view.name.as_str())) }
                p { (state(view)) "\u{2002}" (sentence(&frame, view)) }
            }
            div.acts {
                (targets::acts(&frame, &target, &holds, is_failing, waiting > 0))
                (handler_versions::pin_act(&frame, &detail))
            }
        }
        div.stackv {
            (done.note())
            @if let Some(error) = &view.last_error { (refused(view, error)) }
            (handler_versions::notes(&frame, &detail))
            (cells(&frame, view, &queues, &stats))
            (targets::history(&frame, &stats, &target))
            div.cols {
                (parts::panel("What it gets", &html! { "rules in force" },
                    &super::routes::patterns(&rules)))
                (parts::panel("What it may do", &html! { "sidecar and weir.toml" }, &grants(view)))
            }
            (handler_versions::panel(&frame, &detail))
            (handler_versions::history(&frame, &history))
            (parts::panel("The module", &html! {}, &module(&frame, view)))
            (targets::holds_panel(&frame, &holds))
        }
    };
    Ok(frame.page(view.name.as_str(), Place::Handlers, &main))
}

fn sentence(frame: &Frame, view: &HandlerView) -> Markup {
    let times = &frame.reader.times;
    html! {
        @if view.version.is_some() {
            "Version " span.m { (version(view)) } " since " (times.minute(view.since)) ". "
        }
        @if let Some(reason) = &view.health_reason { (Foreign(reason)) ". " }
        @if let Some(next) = view.next_try {
            "Next try " (times.clock(next)) ", " (times.relative(next)) ". "
        }
        @if let Some(about) = &view.about { (Foreign(about)) }
    }
}

/// The file that was not accepted.
fn refused(view: &HandlerView, error: &str) -> Markup {
    parts::note(
        NoteKind::Failure,
        &html! {
            b { "The file in the plugins folder was refused." }
            @if view.version.is_some() { " The version before it serves on." }
            pre.code tabindex="0" role="region" aria-label="Why it was refused" {
                (ForeignLines(error))
            }
        },
    )
}

fn cells(frame: &Frame, view: &HandlerView, queues: &Queues, stats: &StatsAnswer) -> Markup {
    let target = Target::Handler(view.name.clone());
    let (waiting, dead) = (targets::waiting(queues, &target), targets::dead(queues, &target));
    let dead_letters = parts::address("/dead-letters", &[("target", &target.to_string())]);
    let next = view.next_try.map_or("now".to_owned(), |at| frame.reader.times.tick(at));
    let total = targets::total(stats, &target);
    html! {
        ul.path.p {
            (cell("Waiting", &amounts::number(waiting), &html! { "in the queue, or retrying" }))
            (cell("Dead letters", &amounts::number(dead), &html! {
                @if dead > 0 { a href=(dead_letters) { "Review" } } @else { "none" }
            }))
            (cell("Running", &view.running.to_string(), &html! {
                @if let Some(limits) = view.limits { "of " (limits.concurrency) " batches at once" }
            }))
            (cell("Runs, last day", &amounts::number(total.attempts), &html! {
                (amounts::number(total.failed)) " failed"
            }))
            (cell("Run time", &targets::millis(total.attempt.p50_ms), &html! {
                "p99 " (targets::millis(total.attempt.p99_ms))
            }))
            (cell("Next try", &next, &html! {
                @if view.failed_tries > 0 {
                    (amounts::counted(u64::from(view.failed_tries), "try")) " without success"
                } @else { "no pause" }
            }))
        }
    }
}

fn grants(view: &HandlerView) -> Markup {
    let Some(grants) = &view.grants else {
        return parts::empty("No version serves.", &html! { "Its permissions come with it." });
    };
    let limits = view.limits;
    parts::facts([
        (
            "Send to",
            html! {
                @if grants.destinations.is_empty() { "nothing" }
                @for (index, name) in grants.destinations.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href={ "/destinations/" (parts::path_part(name)) } { b { (Foreign(name)) } }
                }
                @for name in &grants.missing { "; not to " b { (Foreign(name)) } ", which it needs" }
            },
        ),
        (
            "Emit events",
            html! {
                @if grants.emit { "yes, as " span.m { "@" (Foreign(view.name.as_str())) } }
                @else { "no" }
            },
        ),
        (
            "State",
            html! {
                "its own, and no other handler's: "
                small {
                    a href={ "/handlers/" (parts::path_part(view.name.as_str())) "/state" } {
                        "keys and values"
                    }
                }
            },
        ),
        ("Network, files", html! { "none" }),
        (
            "Time",
            html! {
                @if let Some(limits) = limits {
                    (amounts::duration(std::time::Duration::from_millis(limits.time_ms))) " a run"
                }
            },
        ),
        (
            "Memory",
            html! {
                @if let Some(limits) = limits { (amounts::size(limits.memory_bytes)) " a run" }
            },
        ),
        (
            "At once",
            html! {
                @if let Some(limits) = limits { (amounts::counted(limits.concurrency as u64, "run")) }
            },
        ),
        ("Attempts", html! { @if let Some(limits) = limits { (limits.attempts) } }),
    ])
}

fn module(frame: &Frame, view: &HandlerView) -> Markup {
    let times = &frame.reader.times;
    parts::facts([
        ("File", html! { span.m { "plugins/" (Foreign(view.name.as_str())) ".wasm" } }),
        (
            "SHA-256",
            html! {
                @match &view.version {
                    Some(version) => { span.m { (version) } }
                    None => { "no version serves" }
                }
            },
        ),
        ("Kind", html! { (view.kind.as_deref().unwrap_or("–")) }),
        ("In this state since", html! { (times.clock(view.since)) }),
    ])
}
