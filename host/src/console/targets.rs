//! Targets on a page: their names as links, the acts that pause and resume them, and the state of
//! their queues.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};
use weir_core::name::{HUB_SOURCE, Target};

use super::amounts;
use super::chart::{self, Bars, Line, Tone};
use super::foreign::Foreign;
use super::frame::Frame;
use super::parts::{self, NeededRole, Weight};
use crate::admin::error::ApiError;
use crate::admin::service::AdminService;
use crate::api::params::PointInTime;
use crate::api::{
    HoldView, HoldsQuery, RuleView, StatsAnswer, StatsQuery, TargetCounts, TargetStats,
};

/// A target by name, as a link to its page.
pub(super) fn named(target: &Target) -> Markup {
    let (kind, folder, name) = match target {
        Target::Handler(name) => ("handler ", "/handlers/", name.as_str()),
        Target::Destination(name) => ("", "/destinations/", name.as_str()),
    };
    html! { (kind) a href={ (folder) (parts::path_part(name)) } { b { (Foreign(name)) } } }
}

/// The number of deliveries in each state that are not done, for each target.
pub(super) type Queues = BTreeMap<String, BTreeMap<String, u64>>;

/// The work of a target, as its page shows it.
#[derive(Debug)]
pub(super) struct TargetWork {
    pub(super) queues: Queues,
    pub(super) holds: Vec<HoldView>,
    /// The last day.
    pub(super) stats: StatsAnswer,
    /// The rules in force that bind events to it.
    pub(super) rules: Vec<RuleView>,
}

impl TargetWork {
    pub(super) async fn read(service: &AdminService, target: &Target) -> Result<Self, ApiError> {
        let rules = service.rules().items.into_iter().filter(|rule| rule.target == *target);
        Ok(Self {
            queues: service.health_report().await.queues.unwrap_or_default(),
            holds: holds(service, target).await?,
            stats: service.stats(last_day(target)).await?,
            rules: rules.collect(),
        })
    }
}

/// Those of a target that wait for an attempt.
pub(super) fn waiting(queues: &Queues, target: &Target) -> u64 {
    let states = queues.get(&target.to_string());
    let waiting = |state: &&str| states.and_then(|states| states.get(*state)).copied();
    ["pending", "retrying", "processing"].iter().filter_map(waiting).sum()
}

/// Those of a target that were given up.
pub(super) fn dead(queues: &Queues, target: &Target) -> u64 {
    let states = queues.get(&target.to_string());
    states.and_then(|states| states.get("dead_letter")).copied().unwrap_or_default()
}

/// The attempts of the last hour as a small line.
pub(super) fn last_hour(stats: &[TargetStats], target: &Target) -> Markup {
    let found = stats.iter().find(|one| one.name == target.to_string());
    let steps = found.map(|one| &one.steps[..]).unwrap_or_default();
    let attempts: Vec<u64> = steps.iter().map(|step| step.attempts).collect();
    let is_failing = steps.iter().rev().take(5).any(|step| step.failed > step.succeeded);
    chart::spark(&attempts, if is_failing { Tone::Bad } else { Tone::Quiet })
}

/// The attempts and their durations in the last day.
pub(super) fn history(frame: &Frame, stats: &StatsAnswer, target: &Target) -> Markup {
    let found = stats.targets.iter().find(|one| one.name == target.to_string());
    let steps = found.map(|one| &one.steps[..]).unwrap_or_default();
    let counts = |of: fn(&TargetCounts) -> u64| steps.iter().map(of).collect::<Vec<_>>();
    let times = &frame.reader.times;
    let ticks = vec![times.tick(stats.from), times.tick(stats.to)];
    let bars = Bars {
        title: "Attempts, last day",
        series: vec![
            ("done", Tone::Quiet, counts(|step| step.succeeded)),
            ("failed", Tone::Bad, counts(|step| step.failed)),
        ],
        ticks: ticks.clone(),
        marks: Vec::new(),
    };
    let line = |name: &'static str, of: fn(&TargetCounts) -> Option<f64>| Line {
        name,
        micros: steps.iter().map(|step| of(step).map(micros)).collect(),
    };
    let lines = [
        line("p50", |step| step.attempt.p50_ms),
        line("p90", |step| step.attempt.p90_ms),
        line("p99", |step| step.attempt.p99_ms),
    ];
    html! {
        div.cols {
            (parts::panel(bars.title, &bars.key(), &chart::bars(&bars)))
            (parts::panel("Duration of attempts", &chart::latency_key(&lines),
                &chart::latencies("Duration of attempts", &lines, &ticks)))
        }
    }
}

/// The counts of a target over the time of the statistics.
pub(super) fn total(stats: &StatsAnswer, target: &Target) -> TargetCounts {
    let found = stats.targets.iter().find(|one| one.name == target.to_string());
    found.map(|one| one.total.clone()).unwrap_or_default()
}

/// A duration as people read it; a dash if there is none.
pub(super) fn millis(ms: Option<f64>) -> String {
    ms.map_or("–".to_owned(), |ms| amounts::duration(Duration::from_micros(micros(ms))))
}

/// The parameters of the statistics of a target in the last day.
fn last_day(target: &Target) -> StatsQuery {
    let since = Some(PointInTime::Ago(Duration::from_secs(86_400)));
    StatsQuery { since, target: Some(target.clone()), ..StatsQuery::default() }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration in microseconds is positive and far below 2^53"
)]
fn micros(ms: f64) -> u64 {
    (ms.max(0.0) * 1_000.0) as u64
}

/// The holds of operators on a target, the oldest first.
async fn holds(service: &AdminService, target: &Target) -> Result<Vec<HoldView>, ApiError> {
    let query = HoldsQuery { scope: Some(target.to_string()) };
    Ok(service.holds(query).await?.items)
}

/// The buttons of a target: try, pause or resume.
pub(super) fn acts(
    frame: &Frame,
    target: &Target,
    holds: &[HoldView],
    is_failing: bool,
    waits: bool,
) -> Markup {
    let reader = &frame.reader;
    let (path, name) = match target {
        Target::Handler(name) => ("/handlers/", name.as_str()),
        Target::Destination(name) => ("/destinations/", name.as_str()),
    };
    let path = |act: &str| format!("{path}{}/{act}", parts::path_part(name));
    let own = holds.iter().find(|held| held.by != HUB_SOURCE);
    let operate = NeededRole::Operate;
    html! {
        @if is_failing || waits {
            @let label = if is_failing { "Try one now" } else { "Retry all now" };
            @let weight = if is_failing { Weight::Primary } else { Weight::Plain };
            (parts::act(reader, operate, (label, weight), &path("try"), &[]))
        }
        @match own {
            Some(held) => {
                @let number = held.id.to_string();
                (parts::act(reader, operate, ("Resume", Weight::Primary), &path("resume"),
                    &[("hold", &number)]))
            }
            None => { (parts::act(reader, operate, ("Pause", Weight::Plain), &path("pause"), &[])) }
        }
    }
}

/// The holds in force on a target, with their reasons.
pub(super) fn holds_panel(frame: &Frame, holds: &[HoldView]) -> Markup {
    let times = &frame.reader.times;
    html! {
        @if !holds.is_empty() {
            (parts::panel("Holds", &html! { "deliveries keep their place" }, &html! {
                table.tbl {
                    thead {
                        tr {
                            th.n scope="col" { "Hold" } th scope="col" { "Reason" }
                            th scope="col" { "By" } th scope="col" { "Since" }
                            th scope="col" { "Until" }
                        }
                    }
                    tbody {
                        @for held in holds {
                            tr {
                                td.n { (held.id) }
                                td.grow { (Foreign(&held.reason)) }
                                td { (Foreign(&held.by)) }
                                td.nw { (times.clock(held.at)) }
                                td.nw {
                                    @match held.until {
                                        Some(until) => { (times.relative(until)) }
                                        None => { "it is released" }
                                    }
                                }
                            }
                        }
                    }
                }
            }))
        }
    }
}
