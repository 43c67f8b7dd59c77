//! The list of sources.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};

use super::{secrets, state};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{SourceHealth, SourceStats, SourceView, StatsQuery};
use crate::console::amounts;
use crate::console::chart::{self, Tone};
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts;
use crate::console::words::StateWord;

/// Answers `/sources`.
pub(super) async fn show(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let sources = service.sources().items;
    let health = service.health_report().await.sources;
    let stats = service.stats(StatsQuery::default()).await?.sources;
    let main = html! {
        (parts::head(&html! { "Sources" }, &verdict(&sources, &health), &html! {}))
        section.p aria-label="Sources" {
            @if sources.is_empty() { (nothing()) } @else { (table(&sources, &health, &stats)) }
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
            [one] => { (ways) " in; " b { (Foreign(one.name.as_str())) } " refuses requests." }
            some => { (ways) " in; " (some.len()) " refuse requests." }
        }
    }
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
            td.two.hs { (count) small { (names) } }
            td.n { (parts::copy(&address(view), "Copy URL")) }
        }
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
