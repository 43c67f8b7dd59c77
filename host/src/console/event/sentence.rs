//! The sentence that answers first: how far an event is, and what it waits for.

use maud::{Markup, html};
use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::name::Target;

use super::path::{self, PathStep};
use crate::api::{EventView, WaitReason};
use crate::console::foreign::Foreign;
use crate::console::parts;
use crate::console::times::Times;

/// Says how many targets are done, and why the worst one is not.
pub(crate) fn state_sentence(event: &EventView, times: &Times) -> Markup {
    let steps = path::steps(event);
    let all = steps.len();
    let is_done = |step: &&PathStep<'_>| {
        matches!(step.delivery.state, DeliveryState::Processed | DeliveryState::Cancelled)
    };
    let done = steps.iter().filter(is_done).count();
    let is_cancelled = |step: &&PathStep<'_>| step.delivery.state == DeliveryState::Cancelled;
    let cancelled = steps.iter().filter(is_cancelled).count();
    let worst = steps.iter().find(|step| step.delivery.state == DeliveryState::DeadLetter);
    let worst = worst.or_else(|| steps.iter().find(|step| !is_done(step)));
    html! {
        @if all == 0 {
            @if event.source.is_hub() {
                b { "An alert of the hub." } " No rule sends it anywhere; a route on weir:* would."
            } @else if event.status == EventStatus::Unrouted {
                b { "No rule wanted it." }
                " It is kept, and a replay routes it by the rules of then."
            } @else {
                b { "It has no deliveries." }
            }
        } @else if done == all && cancelled > 0 {
            b { (all - cancelled) " of " (all) @if all == 1 { " target is" } @else { " targets are" }
                " done, and " (cancelled) @if cancelled == 1 { " was" } @else { " were" }
                " cancelled." }
        } @else if done == all {
            b { @if all == 1 { "Its target is done." } @else { "All " (all) " targets are done." } }
        } @else {
            b { (done) " of " (all) @if all == 1 { " target is done." } @else { " targets are done." } }
            @if let Some(step) = worst { " " (why_not_done(step, times)) }
        }
    }
}

/// A sentence about a delivery that is not done.
fn why_not_done(step: &PathStep<'_>, times: &Times) -> Markup {
    let target = &step.delivery.target;
    html! {
        @match step.delivery.state {
            DeliveryState::DeadLetter => {
                (target_link(target)) " was given up after "
                (crate::console::amounts::counted(step.delivery.attempts.into(), "attempt"))
                @if let Some(reason) = &step.delivery.reason {
                    ": " (crate::console::foreign::cut(reason, 160))
                }
                "."
            }
            DeliveryState::Processing => { "It is being done by " (target_link(target)) " now." }
            _ => (waits(step, times)),
        }
    }
}

/// The reason why a delivery waits, and until when.
pub(super) fn waits(step: &PathStep<'_>, times: &Times) -> Markup {
    let target = target_link(&step.delivery.target);
    html! {
        @match &step.delivery.waiting {
            Some(WaitReason::Hold { hold, by, reason, .. }) => {
                (target) " is on hold " (hold) ", by " (Foreign(by)) ": " (Foreign(reason)) "."
            }
            Some(WaitReason::Failing { reason, .. }) => {
                (target) " is paused after failures" (because(reason.as_deref())) "."
            }
            Some(WaitReason::Paused { reason, .. }) => {
                (target) " asked for a pause" (because(reason.as_deref())) "."
            }
            Some(WaitReason::Retry { .. }) => {
                (target) " failed" (because(step.delivery.reason.as_deref())) "."
            }
            Some(WaitReason::Turn) | None => { (target) " is due, and waits for its turn." }
        }
        @if let Some(next) = step.next_try().filter(|next| *next > times.now) {
            " Next try " (times.clock(next)) ", " (times.relative(next)) "."
        }
    }
}

fn because(reason: Option<&str>) -> Markup {
    html! { @if let Some(reason) = reason { ": " (crate::console::foreign::cut(reason, 160)) } }
}

/// The name of a target, with a link to its page.
pub(crate) fn target_link(target: &Target) -> Markup {
    let (folder, name) = match target {
        Target::Handler(name) => ("/handlers/", name.as_str()),
        Target::Destination(name) => ("/destinations/", name.as_str()),
    };
    html! { a href={ (folder) (parts::path_part(name)) } { (Foreign(name)) } }
}
