//! One lane a target on one axis. The axis has steps and not a scale: a gap of an hour takes the
//! room of a gap of a second, so that milliseconds and days fit on one line.

use std::collections::BTreeSet;

use maud::{Markup, html};
use weir_core::delivery::Outcome;
use weir_core::time::Timestamp;

use super::path::{self, PathStep};
use super::timeline::target_name;
use crate::api::EventView;
use crate::console::amounts;
use crate::console::times::Times;
use crate::console::words::StateWord;

/// Most steps of the axis; of more attempts the last ones are drawn.
const STEPS_MAX: usize = 40;
/// Most lanes.
const LANES_MAX: usize = 12;
/// Labels below the axis.
const LABELS: usize = 5;
const WIDTH: usize = 500;

/// The lanes of an event; nothing if it was never tried.
pub(super) fn lanes(event: &EventView, times: &Times) -> Markup {
    let steps = path::steps(event);
    let moments: BTreeSet<Timestamp> = steps
        .iter()
        .flat_map(|step| &step.delivery.history)
        .map(|attempt| attempt.started_at)
        .collect();
    let moments: Vec<Timestamp> = moments.into_iter().rev().take(STEPS_MAX).collect();
    let moments: Vec<Timestamp> = moments.into_iter().rev().collect();
    if moments.is_empty() {
        return html! {};
    }
    html! {
        div.lanes {
            @for step in steps.iter().take(LANES_MAX) { (lane(step, &moments)) }
            span.x { (axis(event.received_at, &moments, times)) }
        }
    }
}

/// The place of a moment on the axis.
fn place(at: usize, moments: usize) -> usize {
    at * (WIDTH - 8) / moments.max(1)
}

fn lane(step: &PathStep<'_>, moments: &[Timestamp]) -> Markup {
    let history = &step.delivery.history;
    let state = StateWord::of_delivery(step.delivery);
    let end = match history.last().filter(|_| state == StateWord::Processed) {
        Some(last) => {
            state.saying(&amounts::duration(std::time::Duration::from_micros(last.duration_us)))
        }
        None => html! { (state) },
    };
    let kept_from = history
        .last()
        .filter(|_| state == StateWord::Paused)
        .and_then(|last| moments.binary_search(&last.started_at).ok())
        .map(|at| place(at, moments.len()) + 8);
    html! {
        span { (target_name(&step.delivery.target)) }
        svg.ch viewBox={ "0 0 " (WIDTH) " 18" } preserveAspectRatio="none" aria-hidden="true" {
            line.g x1="0" x2=(WIDTH) y1="9" y2="9" {}
            @if let Some(from) = kept_from {
                rect.ht x=(from) y="4" width=(WIDTH.saturating_sub(from)) height="10" rx="1" {}
            }
            @for attempt in history {
                @if let Ok(at) = moments.binary_search(&attempt.started_at) {
                    rect class=(if attempt.outcome == Outcome::Ok { "o" } else { "b" })
                        x=(place(at, moments.len())) y="4" width="6" height="10" rx="1" {}
                }
            }
        }
        span.n { (end) }
    }
}

/// Labels at equal distances: the first and some later moments.
fn axis(start: Timestamp, moments: &[Timestamp], times: &Times) -> Markup {
    let labels = LABELS.min(moments.len());
    html! {
        @for label in 0..labels {
            @let moment = moments[label * moments.len() / labels];
            @let offset = moment.since(start);
            span {
                @if label == 0 { (times.clock(moment)) }
                @else if offset.as_secs() < 60 { "+" (amounts::duration(offset)) }
                @else { (times.clock(moment)) }
            }
        }
        span { "now" }
    }
}
