//! `/destinations` and `/destinations/{name}`: ways out with their state, their queue and the next
//! try.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};
use weir_core::name::Target;

use super::amounts;
use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts;
use super::target_acts::TargetDone;
use super::targets::{self, Queues, TargetWork};
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{DestinationView, HealthState, StatsQuery, TargetStats};

/// Answers `/destinations`.
pub(super) async fn list(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let all = service.destinations().await;
    let queues = service.health_report().await.queues.unwrap_or_default();
    let stats = service.stats(StatsQuery::default()).await?.targets;
    let main = html! {
        (parts::head(&html! { "Destinations" }, &verdict(&all), &html! {}))
        section.p aria-label="Destinations" {
            @if all.is_empty() { (nothing()) } @else { (table(&frame, &all, &queues, &stats)) }
        }
    };
    Ok(frame.page("Destinations", Place::Destinations, &main))
}

fn verdict(all: &[DestinationView]) -> Markup {
    let ill: Vec<_> = all.iter().filter(|view| view.state != HealthState::Ok).collect();
    let count = amounts::counted(all.len() as u64, "way");
    html! {
        @match &ill[..] {
            _ if all.is_empty() => { "Nothing is sent anywhere yet." }
            [] => { (count) " out. All are well." }
            [one] => { (count) " out; " b { (Foreign(one.name.as_str())) } " is " (state_word(one)) "." }
            some => { (count) " out; " (some.len()) " are paused or failing." }
        }
    }
}

const fn state_word(view: &DestinationView) -> &'static str {
    match view.state {
        HealthState::Ok => "well",
        HealthState::Failing => "paused after failures",
        HealthState::Paused => "paused",
    }
}

fn nothing() -> Markup {
    let lines = "[destinations.ledger]\nkind = \"webhook\"\nurl = \"https://ledger.example.com/hooks\"\n\n\
                 [[route]]\non = [\"*:*\"]\nto = \"ledger\"";
    html! {
        div.empty {
            b { "Nothing is sent anywhere yet." }
            span { "Add a destination and a route to weir.toml, then restart the hub:" }
            (parts::code("Lines for weir.toml", lines))
        }
    }
}

fn table(frame: &Frame, all: &[DestinationView], queues: &Queues, stats: &[TargetStats]) -> Markup {
    let times = &frame.reader.times;
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Name" } th scope="col" { "State" }
                        th.hs scope="col" { "Last hour" } th scope="col" { "Why" }
                        th.n scope="col" { "Waiting" } th scope="col" { "Next try" }
                        th.n.hs scope="col" { "Sent" } th.n.hs scope="col" { "Failed" }
                        th.n.hs scope="col" { "At once" }
                    }
                }
                tbody {
                    @for view in all {
                        @let target = Target::Destination(view.name.clone());
                        @let waiting = targets::waiting(queues, &target);
                        tr {
                            td.two {
                                a href={ "/destinations/" (parts::path_part(view.name.as_str())) }
                                    data-open { b { (Foreign(view.name.as_str())) } }
                                small { (view.kind) " " (Foreign(&view.address)) }
                            }
                            td { (StateWord::of_health(view.state)) }
                            td.hs { (targets::last_hour(stats, &target)) }
                            td.grow.d { (Foreign(view.reason.as_deref().unwrap_or_default())) }
                            td.n.bad[waiting > 0 && view.state != HealthState::Ok] {
                                (amounts::number(waiting))
                            }
                            td.nw.d {
                                @if let Some(next) = view.next_try { (times.relative(next)) }
                            }
                            td.n.d.hs { (amounts::number(view.sent)) }
                            td.n.d.hs { (amounts::number(view.failed)) }
                            td.n.d.hs.nw { (view.sending) " of " (view.places) }
                        }
                    }
                }
            }
        }
    }
}

/// Answers `/destinations/{name}`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Path(name): Path<String>,
    Query(done): Query<TargetDone>,
) -> Result<Response, ApiError> {
    let all = service.destinations().await;
    let view = all.into_iter().find(|view| view.name.as_str() == name).ok_or_else(|| {
        ApiError::not_found("destination_not_found", "there is no destination of this name")
    })?;
    let target = Target::Destination(view.name.clone());
    let TargetWork { queues, holds, stats, rules } = TargetWork::read(&service, &target).await?;
    let (waiting, is_failing) =
        (targets::waiting(&queues, &target), view.state == HealthState::Failing);
    let main = html! {
        div.head {
            div {
                p.crumb { a href="/destinations" { "Destinations" } " / " (view.kind) }
                h1 { (Foreign(view.name.as_str())) }
                p { (StateWord::of_health(view.state)) "\u{2002}" (sentence(&frame, &view, waiting)) }
            }
            div.acts { (targets::acts(&frame, &target, &holds, is_failing, waiting > 0)) }
        }
        div.stackv {
            (done.note())
            (cells(&frame, &view, &queues))
            (targets::history(&frame, &stats, &target))
            div.cols {
                (parts::panel("What it gets", &html! { "routes of weir.toml" },
                    &super::routes::patterns(&rules)))
                (parts::panel("Since the hub was started", &html! {}, &facts(&frame, &view)))
            }
            (targets::holds_panel(&frame, &holds))
        }
    };
    Ok(frame.page(view.name.as_str(), Place::Destinations, &main))
}

fn sentence(frame: &Frame, view: &DestinationView, waiting: u64) -> Markup {
    let times = &frame.reader.times;
    html! {
        @if let Some(reason) = &view.reason { (Foreign(reason)) ". " }
        @match waiting {
            0 => { "Nothing waits." }
            1 => { "1 message waits." }
            count => { (amounts::number(count)) " messages wait." }
        }
        @if let Some(next) = view.next_try {
            " Next try " (times.clock(next)) ", " (times.relative(next)) "."
        }
        @if let Some(until) = view.paused_until {
            " It asked for a pause until " (times.clock(until)) "."
        }
    }
}

fn cells(frame: &Frame, view: &DestinationView, queues: &Queues) -> Markup {
    let target = Target::Destination(view.name.clone());
    let (waiting, dead) = (targets::waiting(queues, &target), targets::dead(queues, &target));
    let dead_letters = parts::address("/dead-letters", &[("target", &target.to_string())]);
    html! {
        ul.path.p {
            (cell("Waiting", &amounts::number(waiting), &html! { "in the queue, or retrying" }))
            (cell("Dead letters", &amounts::number(dead), &html! {
                @if dead > 0 { a href=(dead_letters) { "Review" } } @else { "none" }
            }))
            (cell("Being sent", &view.sending.to_string(), &html! {
                "of " (view.places) " at once"
                @if view.places < view.concurrency { ", usually " (view.concurrency) }
            }))
            (cell("Sent", &amounts::number(view.sent), &html! { "since the start" }))
            (cell("Failed", &amounts::number(view.failed), &html! { "attempts since the start" }))
            (cell("Next try", &next_try(frame, view), &html! {
                @if view.failed_tries > 0 {
                    (amounts::counted(u64::from(view.failed_tries), "try")) " without success"
                } @else { "no pause" }
            }))
        }
    }
}

fn next_try(frame: &Frame, view: &DestinationView) -> String {
    let times = &frame.reader.times;
    view.next_try.map_or("now".to_owned(), |at| times.tick(at))
}

/// One cell of a row of numbers.
pub(super) fn cell(name: &str, value: &str, below: &Markup) -> Markup {
    html! { li { h2.s { (name) } span.big { (value) } span.s { (below) } } }
}

fn facts(frame: &Frame, view: &DestinationView) -> Markup {
    let times = &frame.reader.times;
    let settings = [
        ("Order", view.ordered.then(|| "kept for messages of handlers".to_owned())),
        ("Rate", view.rate.clone()),
        ("Alerts as", view.format.clone()),
        ("Answers become", view.reply_as.as_ref().map(|kind| kind.as_str().to_owned())),
    ];
    let settings =
        settings.into_iter().filter_map(|(name, value)| Some((name, html! { (Foreign(&value?)) })));
    let mut rows =
        vec![("Kind", html! { (view.kind) }), ("Address", html! { (Foreign(&view.address)) })];
    rows.extend(settings);
    rows.extend([
        ("Became failing", html! { (amounts::counted(view.times_failing, "time")) }),
        (
            "Failing since",
            html! {
                @match view.failing_since { Some(at) => { (times.clock(at)) } None => { "–" } }
            },
        ),
        ("In a shell", html! { code { "weir destinations" } }),
    ]);
    parts::facts(rows)
}
