//! The path of events in six cells, and two charts: events and the time to answer.

use maud::{Markup, html};

use super::Facts;
use crate::api::{DurationStats, StatsAnswer, TargetStats};
use crate::console::amounts::{self, counted, number};
use crate::console::chart::{self, Bars, Line, Tone};
use crate::console::parts::address;
use crate::console::times::Times;

/// Labels below a chart.
const TICKS: usize = 5;

/// Requests of all sources, and how many a second.
pub(super) fn received(stats: &StatsAnswer) -> (u64, f64) {
    let totals = || stats.sources.iter().map(|source| &source.total);
    (totals().map(|total| total.received).sum(), totals().map(|total| total.rate).sum())
}

/// A percentile of the time to answer, of the source for which it is highest.
pub(super) fn slowest(
    stats: &StatsAnswer,
    of: impl Fn(&DurationStats) -> Option<f64>,
) -> Option<f64> {
    let all = stats.sources.iter().filter_map(|source| of(&source.total.acknowledged));
    all.reduce(f64::max)
}

/// The sum of a count over all sources, in each step.
fn by_step(stats: &StatsAnswer, of: impl Fn(&crate::api::SourceCounts) -> u64) -> Vec<u64> {
    let sum =
        |at: usize| stats.sources.iter().filter_map(|source| source.steps.get(at)).map(&of).sum();
    (0..stats.times.len()).map(sum).collect()
}

/// A cell of the path.
struct Cell {
    name: &'static str,
    big: Markup,
    small: Markup,
    line: Vec<u64>,
    tone: Tone,
}

/// The six cells.
pub(super) fn path(facts: &Facts) -> Markup {
    let cells = [
        received_cell(facts),
        verified(facts),
        routed(facts),
        attempts(facts, "Handled", "handler:"),
        attempts(facts, "Sent", "destination:"),
        waiting(facts),
    ];
    html! {
        section.p {
            h2.vh { "The path of an event, " (facts.range.words()) }
            ol.path.flow {
                @for cell in cells {
                    li {
                        h3 { (cell.name) }
                        p.big { (cell.big) }
                        p.s { (cell.small) }
                        (chart::spark(&cell.line, cell.tone))
                    }
                }
            }
        }
    }
}

/// A rate if something happens each second, else the number in the range.
fn pace(facts: &Facts, count: u64, rate: f64) -> Markup {
    html! {
        @if rate >= 1.0 { (amounts::rate(rate)) small { "/s" } }
        @else { (number(count)) small { "in " (facts.range.name()) } }
    }
}

fn received_cell(facts: &Facts) -> Cell {
    let (count, rate) = received(&facts.stats);
    let p50 = slowest(&facts.stats, |took| took.p50_ms);
    let p99 = slowest(&facts.stats, |took| took.p99_ms);
    Cell {
        name: "Received",
        big: pace(facts, count, rate),
        small: html! {
            @if let (Some(p50), Some(p99)) = (p50, p99) {
                "answered in " (amounts::millis(p50)) ", p99 " (amounts::millis(p99))
            }
        },
        line: by_step(&facts.stats, |counts| counts.received),
        tone: Tone::Quiet,
    }
}

fn verified(facts: &Facts) -> Cell {
    let totals = || facts.stats.sources.iter().map(|source| &source.total);
    let (accepted, refused): (u64, u64) =
        (totals().map(|total| total.accepted).sum(), totals().map(|total| total.refused).sum());
    Cell {
        name: "Verified",
        big: html! {
            @if accepted + refused == 0 { "–" }
            @else { (amounts::share(accepted, accepted + refused)) small { "%" } }
        },
        small: html! {
            @if refused > 0 { a href="/sources" { (number(refused)) " refused" } }
            @else { "none refused" }
        },
        line: by_step(&facts.stats, |counts| counts.accepted),
        tone: Tone::Quiet,
    }
}

fn routed(facts: &Facts) -> Cell {
    let totals = || facts.stats.sources.iter().map(|source| &source.total);
    let (stored, unrouted): (u64, u64) =
        (totals().map(|total| total.stored).sum(), totals().map(|total| total.unrouted).sum());
    let list = address("/events", &[("status", "unrouted"), ("last", facts.range.value())]);
    Cell {
        name: "Routed",
        big: html! { (number(stored.saturating_sub(unrouted))) small { "events" } },
        small: html! {
            @if unrouted > 0 { a href=(list) { (number(unrouted)) " unrouted" } }
            @else { "none unrouted" }
        },
        line: by_step(&facts.stats, |counts| counts.stored),
        tone: Tone::Quiet,
    }
}

fn attempts(facts: &Facts, name: &'static str, prefix: &str) -> Cell {
    let targets: Vec<&TargetStats> =
        facts.stats.targets.iter().filter(|target| target.name.starts_with(prefix)).collect();
    let count = targets.iter().map(|target| target.total.attempts).sum();
    let failed: u64 = targets.iter().map(|target| target.total.failed).sum();
    let rate = targets.iter().map(|target| target.total.rate).sum();
    let p99 = targets.iter().filter_map(|target| target.total.attempt.p99_ms).reduce(f64::max);
    let at = |step: usize| {
        let steps = targets.iter().filter_map(|target| target.steps.get(step));
        steps.map(|counts| counts.attempts).sum()
    };
    Cell {
        name,
        big: pace(facts, count, rate),
        small: html! {
            @if let Some(p99) = p99 { "p99 " (amounts::millis(p99)) " · " }
            @if failed > 0 { (amounts::share(failed, count)) " % failed" } @else { "none failed" }
        },
        line: (0..facts.stats.times.len()).map(at).collect(),
        tone: if failed * 10 > count { Tone::Bad } else { Tone::Quiet },
    }
}

fn waiting(facts: &Facts) -> Cell {
    let waiting = facts.waiting(None);
    let oldest = facts.stats.hub.iter().rev().flatten().next();
    let oldest = oldest.map_or(0, |levels| levels.oldest_waiting_seconds);
    let levels = facts.stats.hub.iter().map(|levels| levels.map_or(0, |levels| levels.waiting));
    Cell {
        name: "Waiting",
        big: html! { (number(waiting)) },
        small: html! {
            @if waiting == 0 { "nothing waits" }
            @else if oldest > 0 {
                "oldest " (amounts::duration(std::time::Duration::from_secs(oldest)))
            } @else { (counted(waiting, "delivery")) }
        },
        line: levels.collect(),
        tone: if waiting > 0 { Tone::Hold } else { Tone::Quiet },
    }
}

/// Events by step, and the time to answer.
pub(super) fn charts(facts: &Facts, times: &Times) -> Markup {
    let stats = &facts.stats;
    let step = match stats.step_seconds {
        60 => "a minute".to_owned(),
        3_600 => "an hour".to_owned(),
        86_400 => "a day".to_owned(),
        seconds => format!("each {}", amounts::duration(std::time::Duration::from_secs(seconds))),
    };
    let ticks = ticks(stats, times);
    let title = format!("Events {step}");
    let events = Bars {
        title: &title,
        series: vec![
            ("routed", Tone::Quiet, by_step(stats, |of| of.stored.saturating_sub(of.unrouted))),
            ("unrouted", Tone::Warn, by_step(stats, |counts| counts.unrouted)),
            ("refused", Tone::Bad, by_step(stats, |counts| counts.refused)),
        ],
        ticks: ticks.clone(),
        marks: Vec::new(),
    };
    let lines = [
        Line { name: "p50", micros: answer_times(stats, |took| took.p50_ms) },
        Line { name: "p90", micros: answer_times(stats, |took| took.p90_ms) },
        Line { name: "p99", micros: answer_times(stats, |took| took.p99_ms) },
    ];
    html! {
        div.cols {
            section.p {
                header { h2 { (title) } span.end { (events.key()) } }
                (chart::bars(&events))
            }
            section.p {
                header { h2 { "Time to answer, slowest source" } span.end { (chart::latency_key(&lines)) } }
                (chart::latencies("Time to answer", &lines, &ticks))
            }
        }
    }
}

/// A percentile in microseconds, in each step.
fn answer_times(
    stats: &StatsAnswer,
    of: impl Fn(&DurationStats) -> Option<f64>,
) -> Vec<Option<u64>> {
    let at = |step: usize| {
        let steps = stats.sources.iter().filter_map(|source| source.steps.get(step));
        steps.filter_map(|counts| of(&counts.acknowledged)).reduce(f64::max).map(amounts::micros)
    };
    (0..stats.times.len()).map(at).collect()
}

fn ticks(stats: &StatsAnswer, times: &Times) -> Vec<String> {
    let last = stats.times.len().saturating_sub(1);
    (0..TICKS)
        .filter_map(|tick| stats.times.get(last * tick / (TICKS - 1)))
        .map(|at| times.tick(*at))
        .collect()
}
