//! Stacked bars: counts by outcome over time.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::Tone;
use super::scale::Linear;
use crate::console::amounts;

/// Most bars of a chart; more are added up in groups.
const BARS_MAX: usize = 84;
/// The height of the drawing.
const HEIGHT: f64 = 112.0;
/// The width of a bar with its gap.
const STEP: usize = 10;

/// Counts over time, by outcome.
#[derive(Debug, Clone)]
pub(crate) struct Bars<'a> {
    /// A name such as `Events a minute`.
    pub(crate) title: &'a str,
    /// The outcomes from the bottom up: name, colour, and a count for each interval.
    pub(crate) series: Vec<(&'a str, Tone, Vec<u64>)>,
    /// The labels below, spread evenly.
    pub(crate) ticks: Vec<String>,
    /// The number of intervals at which something changed, drawn as dashed lines.
    pub(crate) marks: Vec<usize>,
}

/// The chart with its axes. Outcomes that never occurred are left out.
pub(crate) fn bars(of: &Bars<'_>) -> Markup {
    let intervals = of.series.iter().map(|(_, _, counts)| counts.len()).max().unwrap_or_default();
    let group = intervals.div_ceil(BARS_MAX).max(1);
    let series: Vec<_> = of
        .series
        .iter()
        .map(|(name, tone, counts)| (*name, *tone, grouped(counts, group, intervals)))
        .filter(|(_, _, counts)| counts.iter().any(|count| *count > 0))
        .collect();
    let count = intervals.div_ceil(group);
    let totals: Vec<u64> =
        (0..count).map(|at| series.iter().map(|(_, _, counts)| counts[at]).sum()).collect();
    let most = totals.iter().copied().max().unwrap_or_default();
    let axis = Linear::up_to(most);
    let width = count.max(1) * STEP;
    html! {
        div.chart {
            div.y aria-hidden="true" {
                @for mark in &axis.marks { span { (amounts::number(*mark)) } }
            }
            svg.ch viewBox={ "0 0 " (width) " " (HEIGHT) } height=(HEIGHT)
                preserveAspectRatio="none" role="img" aria-label=(sentence(of, &series, &totals)) {
                path.g d=(grid(&axis, width)) {}
                @for (index, (_, tone, _)) in series.iter().enumerate() {
                    path class=(tone.area()) d=(path(&series, index, &axis)) {}
                }
                @for mark in &of.marks {
                    @let x = mark / group * STEP;
                    line.mk x1=(x) x2=(x) y1="0" y2=(HEIGHT) {}
                }
            }
            div.x aria-hidden="true" { @for tick in &of.ticks { span { (tick) } } }
        }
    }
}

impl Bars<'_> {
    /// The names of the outcomes that occurred, with their colours.
    pub(crate) fn key(&self) -> Markup {
        let occurred = |counts: &[u64]| counts.iter().any(|count| *count > 0);
        html! {
            span.key {
                @for (name, tone, counts) in &self.series {
                    @if occurred(counts) { span class=(tone.key()) { (name) } }
                }
            }
        }
    }
}

type Named<'a> = (&'a str, Tone, Vec<u64>);

/// Neighbours added up in groups.
fn grouped(counts: &[u64], group: usize, intervals: usize) -> Vec<u64> {
    let mut sums: Vec<u64> = counts.chunks(group).map(|some| some.iter().sum()).collect();
    sums.resize(intervals.div_ceil(group), 0);
    sums
}

/// All bars of one outcome, each on those below it.
fn path(series: &[Named<'_>], index: usize, axis: &Linear) -> String {
    let mut path = String::new();
    for (at, count) in series[index].2.iter().enumerate().filter(|(_, count)| **count > 0) {
        let below: u64 = series[..index].iter().map(|(_, _, counts)| counts[at]).sum();
        let bottom = HEIGHT - axis.height(below, HEIGHT);
        // A count that is not zero can be seen.
        let height = axis.height(*count, HEIGHT).max(0.8);
        let (x, y) = (at * STEP + 1, super::short((bottom - height).max(0.0)));
        let height = super::short(height);
        // Writing to a string cannot fail.
        let _ = write!(path, "M{x} {y}h8v{height}h-8z");
    }
    path
}

fn grid(axis: &Linear, width: usize) -> String {
    let marks = axis.marks.iter().map(|mark| HEIGHT - axis.height(*mark, HEIGHT));
    marks.map(|y| format!("M0 {}h{width}", super::short(y))).collect()
}

/// The chart in words.
fn sentence(of: &Bars<'_>, series: &[Named<'_>], totals: &[u64]) -> String {
    let most = totals.iter().copied().max().unwrap_or_default();
    if most == 0 {
        return format!("{}: none.", of.title);
    }
    let sum = |counts: &[u64]| amounts::number(counts.iter().sum());
    let parts: Vec<_> =
        series.iter().map(|(name, _, counts)| format!("{} {name}", sum(counts))).collect();
    let (highest, last) = (amounts::number(most), totals.last().copied().unwrap_or_default());
    format!(
        "{}: {}; the highest bar is {highest}, the last {}.",
        of.title,
        parts.join(", "),
        amounts::number(last)
    )
}
