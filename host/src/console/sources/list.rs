//! The list of sources.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};
use weir_core::name::SCHEDULE_SOURCE;
use weir_core::schedule::MissedTimes;

use super::{secrets, state};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{
    ScheduleView, SourceConnection, SourceHealth, SourceStats, SourceView, StatsQuery,
};
use crate::console::amounts;
use crate::console::chart::{self, Tone};
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts;
use crate::console::times::Times;
use crate::console::words::StateWord;
use crate::observe::pull_metrics::ConnectionState;

/// Answers `/sources`.
pub(super) async fn show(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let sources = service.sources().items;
    let health = service.health_report().await.sources;
    let schedules = service.schedules().items;
    let stats = service.stats(StatsQuery::default()).await?.sources;
    let main = html! {
        (parts::head(&html! { "Sources" }, &verdict(&sources, &health), &html! {}))
        section.p aria-label="Sources" {
            @if sources.is_empty() { (nothing()) } @else { (table(&sources, &health, &stats)) }
        }
        @if !schedules.is_empty() {
            (parts::panel(
                "Schedules",
                &html! {},
                &schedule_table(&schedules, &frame.reader.times),
            ))
        }
    };
    Ok(frame.page("Sources", Place::Sources, &main))
}

type Healths = BTreeMap<String, SourceHealth>;

fn verdict(sources: &[SourceView], health: &Healths) -> Markup {
    let is_ill =
        |view: &&SourceView| state(view, health.get(view.name.as_str())).0 == StateWord::Failing;
    let ill: Vec<_> = sources.iter().filter(is_ill).collect();
    let ways = amounts::counted(sources.len() as u64, "way");
    html! {
        @match &ill[..] {
            _ if sources.is_empty() => { "Nothing can come in yet." }
            [] => { (ways) " in. None refuses its sender." }
            [one] if is_lost(one) => {
                (ways) " in; " b { (Foreign(one.name.as_str())) } " is disconnected."
            }
            [one] => { (ways) " in; " b { (Foreign(one.name.as_str())) } " refuses requests." }
            some if some.iter().any(|one| is_lost(one)) => {
                (ways) " in; " (some.len()) " refuse requests or are disconnected."
            }
            some => { (ways) " in; " (some.len()) " refuse requests." }
        }
    }
}

fn is_lost(view: &SourceView) -> bool {
    let is_lost = |from: &SourceConnection| from.state == ConnectionState::Disconnected;
    view.connection.as_ref().is_some_and(is_lost)
}

fn nothing() -> Markup {
    let lines = "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]";
    html! {
        div.empty {
            b { "No source yet." }
            span { "Add one to weir.toml. Sources are read again when the file changes:" }
            (parts::code("Lines for weir.toml", lines))
            span.d { "`weir providers` lists the providers." }
        }
    }
}

fn table(sources: &[SourceView], health: &Healths, stats: &[SourceStats]) -> Markup {
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Name" } th scope="col" { "State" }
                        th.hs scope="col" { "Last hour" }
                        th.n scope="col" { "Received" } th.n.hs scope="col" { "Last request" }
                        th.n scope="col" { "Refused" } th.n.hs scope="col" { "Unrouted" }
                        th.hs scope="col" { "Verified with" }
                        th scope="col" { span.vh { "Address" } }
                    }
                }
                tbody {
                    @for view in sources {
                        @let name = view.name.as_str();
                        (row(view, health.get(name), stats.iter().find(|one| one.name == name)))
                    }
                }
            }
        }
    }
}

fn row(view: &SourceView, health: Option<&SourceHealth>, stats: Option<&SourceStats>) -> Markup {
    let name = view.name.as_str();
    let (word, said) = state(view, health);
    let (count, names) = secrets(view);
    let number = |of: fn(&SourceHealth) -> u64| health.map(of).unwrap_or_default();
    let (received, refused) = (number(|h| h.received), number(|h| h.refused));
    let unrouted = number(|h| h.unrouted_now);
    let unrouted_list = parts::address("/events", &[("source", name), ("status", "unrouted")]);
    html! {
        tr {
            td.two {
                a href={ "/sources/" (parts::path_part(name)) } data-open { b { (Foreign(name)) } }
                small.hs {
                    (Foreign(&view.provider))
                    @if view.connection.is_some() { " · " (Foreign(&view.kind)) }
                    @for scheme in &view.schemes { " · " (Foreign(scheme)) }
                }
            }
            td { (word.saying(said)) }
            td.hs { (last_hour(stats, word)) }
            td.n {
                a.plain href=(parts::address("/events", &[("source", name)])) {
                    (amounts::number(received))
                }
            }
            td.n.d.hs { (last(health)) }
            td.n.bad[refused > 0].d[refused == 0] {
                a.plain href={ "/sources/" (parts::path_part(name)) "#refusals" } {
                    (amounts::number(refused))
                }
            }
            td.n.d.hs { a.plain href=(unrouted_list) { (amounts::number(unrouted)) } }
            @match &view.connection {
                Some(from) => {
                    td.two.hs { (Foreign(&from.state.to_string())) small { (Foreign(&from.address)) } }
                    td {}
                }
                None => {
                    td.two.hs { (count) small { (names) } }
                    td.n { (parts::copy(&address(view), "Copy URL")) }
                }
            }
        }
    }
}

fn schedule_table(schedules: &[ScheduleView], times: &Times) -> Markup {
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Name" } th scope="col" { "Times" }
                        th.hs scope="col" { "If the hub was off" } th.n scope="col" { "Next" }
                    }
                }
                tbody {
                    @for view in schedules {
                        @let list = [("source", SCHEDULE_SOURCE), ("type", view.name.as_str())];
                        tr {
                            td { a href=(parts::address("/events", &list)) { b { (Foreign(&view.name)) } } }
                            td.m { (Foreign(&view.timing)) }
                            td.hs { (missed(&view.missed)) }
                            td.n { @match view.next { Some(next) => { (times.relative(next)) } None => { "–" } } }
                        }
                    }
                }
            }
        }
    }
}

/// The rule for missed times in words.
fn missed(word: &str) -> &'static str {
    match MissedTimes::parse(word) {
        Some(MissedTimes::All) => "an event for each missed time",
        Some(MissedTimes::Skip) => "nothing for missed times",
        Some(MissedTimes::Once) | None => "one event for all missed times",
    }
}

/// The requests of the last hour.
fn last_hour(stats: Option<&SourceStats>, word: StateWord) -> Markup {
    let steps: Option<Vec<u64>> =
        stats.map(|stats| stats.steps.iter().map(|step| step.received).collect());
    let tone = if word == StateWord::Failing { Tone::Bad } else { Tone::Quiet };
    chart::spark(&steps.unwrap_or_default(), tone)
}

/// The time since the last request.
pub(super) fn last(health: Option<&SourceHealth>) -> Markup {
    let seconds = health.and_then(|health| health.last_received_seconds_ago);
    html! {
        @match seconds.map(|seconds| amounts::rough(Duration::from_secs(seconds))) {
            None => { "–" }
            Some(text) if text == "now" => { "now" }
            Some(text) => { (text) " ago" }
        }
    }
}

/// The URL that the sender calls, or its path if the hub does not know its own name.
pub(super) fn address(view: &SourceView) -> String {
    view.public_url.clone().unwrap_or_else(|| view.path.clone())
}
