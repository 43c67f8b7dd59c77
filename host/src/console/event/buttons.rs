//! The buttons of an event: the act that helps most, a replay, and the acts that keep deliveries
//! from being done. Pure; `acts` does what they ask.

use maud::{Markup, html};
use weir_core::delivery::DeliveryState;
use weir_core::name::Target;

use super::path::{self, PathStep};
use crate::api::{EventDetailView, EventView, WaitReason};
use crate::console::parts::{self, NeededRole, Weight, act, act_link, address};
use crate::console::reader::PageReader;

/// The acts on an event; the first one is the most likely to help.
pub(super) fn buttons(reader: &PageReader, shown: &EventDetailView, curl: Option<&str>) -> Markup {
    let event = &shown.event;
    let id = event.id.to_string();
    let steps = path::steps(event);
    let waiting = steps.iter().find(|step| step.waits());
    let dead = steps.iter().find(|step| step.delivery.state == DeliveryState::DeadLetter);
    let replay = address("/events/replay", &[("event", &id)]);
    let replay_weight =
        if waiting.is_none() && dead.is_none() { Weight::Primary } else { Weight::Plain };
    html! {
        @if let Some(step) = waiting { (try_now(reader, &id, step)) }
        @else if let Some(step) = dead {
            @let label = format!("Requeue for {}", name_of(&step.delivery.target));
            @let delivery = step.delivery.id.to_string();
            (act(reader, NeededRole::Operate, (&label, Weight::Primary),
                &format!("/events/{id}/requeue"), &[("delivery", &delivery)]))
        }
        (act_link(reader, NeededRole::Operate, ("Replay…", replay_weight), &replay))
        (hold_or_cancel(reader, event))
        @if let Some(curl) = curl { (parts::copy(curl, "Copy as curl")) }
    }
}

/// The acts that keep deliveries from being done.
fn hold_or_cancel(reader: &PageReader, event: &EventView) -> Markup {
    let id = event.id.to_string();
    let steps = path::steps(event);
    let unfinished: Vec<_> = steps
        .iter()
        .filter(|step| !step.delivery.state.is_final())
        .map(|step| step.delivery)
        .collect();
    let button = |label: &str, act_name: &str, field: (&str, &str)| {
        let path = format!("/events/{id}/{act_name}");
        act(reader, NeededRole::Operate, (label, Weight::Plain), &path, &[field])
    };
    let mut targets: Vec<&Target> = steps.iter().map(|step| &step.delivery.target).collect();
    targets.sort();
    targets.dedup();
    let hold = html! {
        @let scope = format!("source:{}", event.source);
        (button(&format!("Hold all of {}", event.source), "hold", ("scope", &scope)))
        @for target in targets {
            (button(&format!("Hold {}", name_of(target)), "hold", ("scope", &target.to_string())))
        }
    };
    let cancel = html! {
        @if unfinished.len() > 1 {
            (button(&format!("Cancel all {}", unfinished.len()), "cancel", ("id", &id)))
        }
        @for delivery in &unfinished {
            @let label = format!("Cancel for {}", name_of(&delivery.target));
            (button(&label, "cancel", ("id", &delivery.id.to_string())))
        }
    };
    html! {
        (parts::more_acts("Hold…", "A hold keeps deliveries waiting, also those of other events, \
            until someone releases it.", &hold))
        @if !unfinished.is_empty() {
            (parts::more_acts("Cancel…", "What is cancelled stays stored and is never sent. The \
                result of an attempt that runs now is refused.", &cancel))
        }
    }
}

/// Hurries what waits: a hold is released, a failing target is tried once, a retry is made due.
fn try_now(reader: &PageReader, id: &str, step: &PathStep<'_>) -> Markup {
    let target = &step.delivery.target;
    let delivery = step.delivery.id.to_string();
    match &step.delivery.waiting {
        Some(WaitReason::Hold { hold, .. }) => {
            let label = format!("Release hold {hold}");
            let number = hold.to_string();
            let path = format!("/events/{id}/release");
            act(reader, NeededRole::Operate, (&label, Weight::Primary), &path, &[("hold", &number)])
        }
        Some(WaitReason::Failing { .. } | WaitReason::Paused { .. }) => {
            let label = format!("Try {} now", name_of(target));
            let path = format!("/events/{id}/try");
            let target = target.to_string();
            act(
                reader,
                NeededRole::Operate,
                (&label, Weight::Primary),
                &path,
                &[("target", &target)],
            )
        }
        Some(WaitReason::Retry { .. }) => {
            let label = format!("Try {} now", name_of(target));
            let path = format!("/events/{id}/retry");
            act(
                reader,
                NeededRole::Operate,
                (&label, Weight::Primary),
                &path,
                &[("delivery", &delivery)],
            )
        }
        Some(WaitReason::Turn) | None => html! {},
    }
}

fn name_of(target: &Target) -> &str {
    match target {
        Target::Handler(name) => name.as_str(),
        Target::Destination(name) => name.as_str(),
    }
}
