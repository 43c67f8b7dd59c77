//! Lines: durations on a logarithmic axis, and small lines in tables.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::scale::Decades;
use super::{Tone, real, short};
use crate::console::amounts;

/// Most points of a line; of more, the highest of each group is drawn.
const POINTS_MAX: usize = 90;
/// The size of a chart of lines, as width and height.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 112.0;
/// The size of a small line.
const SPARK: (f64, f64) = (88.0, 20.0);

/// A line of a chart: durations in microseconds, none where nothing was measured.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    /// A name such as `p99`.
    pub(crate) name: &'a str,
    pub(crate) micros: Vec<Option<u64>>,
}

/// Durations over time on an axis of decades. The first line is the most important one.
pub(crate) fn latencies(title: &str, lines: &[Line<'_>], ticks: &[String]) -> Markup {
    let lines: Vec<_> = lines.iter().map(|line| (line.name, thinned(&line.micros))).collect();
    let known = lines.iter().flat_map(|(_, points)| points.iter().flatten().copied());
    let axis = Decades::over(known.map(real));
    let class = |index: usize| ["l", "l l2", "l l3"][index.min(2)];
    html! {
        div.chart {
            div.y aria-hidden="true" {
                @for mark in axis.marks() { span { (duration(mark)) } }
            }
            svg.ch viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } height=(HEIGHT)
                preserveAspectRatio="none" role="img" aria-label=(sentence(title, &lines)) {
                path.g d=(grid(axis)) {}
                @for (index, (_, points)) in lines.iter().enumerate() {
                    path class=(class(index)) d=(path(points, (WIDTH, HEIGHT), |point| {
                        axis.y(real(point), HEIGHT)
                    })) {}
                }
            }
            div.x aria-hidden="true" { @for tick in ticks { span { (tick) } } }
        }
    }
}

/// The names of the lines with their last values.
pub(crate) fn latency_key(lines: &[Line<'_>]) -> Markup {
    let class = |index: usize| ["ka", "k3", "ke"][index.min(2)];
    html! {
        span.key {
            @for (index, line) in lines.iter().enumerate() {
                span class=(class(index)) {
                    (line.name)
                    @if let Some(last) = line.micros.iter().rev().flatten().next() {
                        " " (amounts::duration(Duration::from_micros(*last)))
                    }
                }
            }
        }
    }
}

/// A small line without axes, from zero. It is decoration: the numbers stand beside it.
pub(crate) fn spark(counts: &[u64], tone: Tone) -> Markup {
    let points: Vec<_> = counts.iter().copied().map(Some).collect();
    let points = thinned(&points);
    let most = points.iter().flatten().copied().max().unwrap_or_default().max(1);
    let (width, height) = SPARK;
    let y = |count: u64| height - 1.0 - real(count) / real(most) * (height - 2.0);
    html! {
        svg.ch.sp viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none"
            aria-hidden="true" {
            @if !points.is_empty() {
                path class=(tone.line()) d=(path(&points, SPARK, y)) {}
            }
        }
    }
}

/// At most [`POINTS_MAX`] points: peaks stay.
fn thinned(points: &[Option<u64>]) -> Vec<Option<u64>> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    points.chunks(group).map(|some| some.iter().flatten().copied().max()).collect()
}

/// A line that is interrupted where nothing was measured.
fn path(points: &[Option<u64>], (width, _): (f64, f64), y: impl Fn(u64) -> f64) -> String {
    let step = width / real((points.len().max(2) - 1) as u64);
    let mut path = String::new();
    let mut is_drawing = false;
    for (at, point) in points.iter().enumerate() {
        let Some(point) = point else {
            is_drawing = false;
            continue;
        };
        let (x, y) = (real(at as u64) * step, short(y(*point)));
        let is_alone = !is_drawing && points.get(at + 1).copied().flatten().is_none();
        // Writing to a string cannot fail.
        let _ = match (is_drawing, is_alone) {
            // A point alone is a short line.
            (_, true) => write!(path, "M{} {y}h4", short((x - 2.0).clamp(0.0, width - 4.0))),
            (false, _) => write!(path, "M{} {y}", short(x)),
            (true, _) => write!(path, "L{} {y}", short(x)),
        };
        is_drawing = !is_alone;
    }
    path
}

fn grid(axis: Decades) -> String {
    let marks = axis.marks().map(|mark| axis.y(mark, HEIGHT));
    marks.map(|y| format!("M0 {}h{WIDTH}", short(y))).collect()
}

/// The label of a decade.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a decade of microseconds on the axis is between 1 and 10^18"
)]
fn duration(micros: f64) -> String {
    amounts::duration(Duration::from_micros(micros.max(1.0) as u64))
}

/// The chart in words.
fn sentence(title: &str, lines: &[(&str, Vec<Option<u64>>)]) -> String {
    let parts: Vec<_> = lines
        .iter()
        .filter_map(|(name, points)| {
            let most = points.iter().flatten().copied().max()?;
            let last = points.iter().rev().flatten().next()?;
            let said = |micros| amounts::duration(Duration::from_micros(micros));
            Some(format!("{name} at most {}, last {}", said(most), said(*last)))
        })
        .collect();
    if parts.is_empty() {
        return format!("{title}: nothing was measured.");
    }
    format!("{title}: {}.", parts.join("; "))
}
