//! The sources and destinations with their state and their last hour, day or week.

use std::time::Duration;

use maud::{Markup, html};

use super::Facts;
use crate::api::{SourceHealth, SourceStats};
use crate::console::amounts::{self, number};
use crate::console::chart::{self, Tone};
use crate::console::foreign::Foreign;
use crate::console::parts::path_part;
use crate::console::times::Times;
use crate::console::words::StateWord;

/// Most rows of a table; the page of its own has all.
const ROWS: usize = 8;

/// The sources, those with most requests first.
pub(super) fn sources(facts: &Facts, times: &Times) -> Markup {
    let mut rows: Vec<(&String, &SourceHealth, Option<&SourceStats>)> = facts
        .health
        .sources
        .iter()
        .filter(|(name, _)| *name != "weir")
        .map(|(name, health)| {
            (name, health, facts.stats.sources.iter().find(|stats| stats.name == *name))
        })
        .collect();
    rows.sort_by_key(|(.., stats)| {
        std::cmp::Reverse(stats.map_or(0, |stats| stats.total.received))
    });
    html! {
        section.p {
            header { h2 { "Sources" } a.end.s href="/sources" { "All sources" } }
            div.scroll {
                table.tbl {
                    thead { tr {
                        th scope="col" { "Name" } th.hs scope="col" { (facts.range.name()) }
                        th.n scope="col" { "Received" } th.n scope="col" { "Refused" }
                        th.n scope="col" { "p99" } th.n scope="col" { "Last" }
                    } }
                    tbody {
                        @for (name, health, stats) in rows.into_iter().take(ROWS) {
                            (source(name, health, stats, times))
                        }
                    }
                }
            }
        }
    }
}

fn source(name: &str, health: &SourceHealth, stats: Option<&SourceStats>, _: &Times) -> Markup {
    let total = stats.map(|stats| stats.total.clone()).unwrap_or_default();
    let line: Vec<u64> = stats
        .map(|stats| stats.steps.iter().map(|step| step.received).collect())
        .unwrap_or_default();
    let tone = if total.refused * 2 > total.received { Tone::Bad } else { Tone::Quiet };
    let last = health.last_received_seconds_ago.map(Duration::from_secs);
    html! {
        tr {
            td { a href={ "/sources/" (path_part(name)) } { b { (Foreign(name)) } } }
            td.hs { (chart::spark(&line, tone)) }
            td.n { (number(total.received)) }
            td.n.d { @if total.refused > 0 { span.bad { (number(total.refused)) } } @else { "0" } }
            td.n.d { @match total.acknowledged.p99_ms {
                Some(p99) => (amounts::millis(p99)),
                None => "–",
            } }
            td.n.d { @match last { Some(last) => (amounts::rough(last)), None => "–" } }
        }
    }
}

/// The destinations with what waits for them.
pub(super) fn destinations(facts: &Facts) -> Markup {
    html! {
        section.p {
            header { h2 { "Destinations" } a.end.s href="/destinations" { "All destinations" } }
            @if facts.destinations.is_empty() {
                p.pad.d { "Nothing is sent anywhere yet. A destination is a table in weir.toml." }
            } @else {
                div.scroll {
                    table.tbl {
                        thead { tr {
                            th scope="col" { "Name" } th scope="col" { "State" }
                            th.hs scope="col" { (facts.range.name()) }
                            th.n scope="col" { "Sent" } th.n scope="col" { "p99" }
                            th.n scope="col" { "Waiting" }
                        } }
                        tbody {
                            @for view in facts.destinations.iter().take(ROWS) {
                                @let target = format!("destination:{}", view.name);
                                @let stats = facts.stats.targets.iter().find(|of| of.name == target);
                                @let line = stats.map(|of| of.steps.iter().map(|step| step.attempts)
                                    .collect::<Vec<_>>()).unwrap_or_default();
                                @let waiting = facts.waiting(Some(&target));
                                @let state = StateWord::of_health(view.state);
                                tr {
                                    td { a href={ "/destinations/" (path_part(view.name.as_str())) } {
                                        b { (Foreign(view.name.as_str())) } } }
                                    td { (state) }
                                    td.hs { (chart::spark(&line, if state.is_quiet() { Tone::Quiet }
                                        else { Tone::Hold })) }
                                    td.n { (number(stats.map_or(0, |of| of.total.succeeded))) }
                                    td.n.d { @match stats.and_then(|of| of.total.attempt.p99_ms) {
                                        Some(p99) => (amounts::millis(p99)),
                                        None => "–",
                                    } }
                                    td.n { @if waiting > 0 && !state.is_quiet() {
                                        span.bad { (number(waiting)) } }
                                        @else { (number(waiting)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
