//! The list of all that needs a person, from the health of the hub and its parts. Pure.

use std::time::Duration;

use maud::{Markup, html};
use weir_core::job::JobState;
use weir_core::time::Timestamp;

use super::Facts;
use crate::api::{DestinationView, HandlerView, HealthState, JobView, SourceHealth};
use crate::console::amounts::{counted, number};
use crate::console::foreign::{self, Foreign};
use crate::console::parts::{self, NeededRole, Weight, address, path_part};
use crate::console::reader::PageReader;
use crate::console::words::StateWord;
use crate::observe::source_work::SourceState;

/// Most characters of a reason.
const REASON_CHARS: usize = 160;

/// The time for which a failed job needs a person.
const FAILED_JOB_SHOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that does not get well by itself, or not soon.
pub(super) struct Need {
    pub(super) state: StateWord,
    pub(super) word: &'static str,
    pub(super) text: Markup,
    pub(super) since: Option<Timestamp>,
    pub(super) act: Markup,
    /// Deliveries or requests that it affects.
    affected: u64,
}

/// All needs: those of the hub itself and of its sources, then the one that affects most first.
pub(super) fn needs(facts: &Facts, reader: &PageReader) -> Vec<Need> {
    let mut of_parts = Vec::new();
    of_parts.extend(facts.destinations.iter().filter_map(|one| destination(facts, one, reader)));
    of_parts.extend(facts.health.handlers.iter().filter_map(|one| handler(facts, one, reader)));
    of_parts.extend(dead_letters(facts));
    of_parts.extend(unrouted(facts));
    of_parts.extend(quarantined(facts));
    of_parts.sort_by_key(|need| std::cmp::Reverse(need.affected));
    let mut needs = hub(facts);
    needs.extend(facts.health.sources.iter().filter_map(|(name, health)| source(name, health)));
    needs.extend(facts.jobs.iter().filter_map(|job| failed_job(job, reader)));
    needs.extend(of_parts);
    needs
}

fn link(address: &str, label: &str) -> Markup {
    html! { a.btn.sm href=(address) { (label) } }
}

fn hub(facts: &Facts) -> Vec<Need> {
    let summary = &facts.health.summary;
    let mut needs = Vec::new();
    let mut add = |text: Markup, since: Option<Timestamp>| {
        let (state, word) = (StateWord::Failing, "Failing");
        let act = link("/settings", "See settings");
        needs.push(Need { state, word, text, since, act, affected: u64::MAX });
    };
    if summary.store.status != "ok" {
        add(
            html! {
                b { "The store is " (summary.store.status) "." }
                @if let Some(reason) = &summary.store.reason {
                    " " (foreign::cut(reason, REASON_CHARS))
                }
            },
            summary.store.since,
        );
    }
    for (part, name) in
        [(&summary.retention, "Retention"), (&summary.plugins, "The plugins folder")]
    {
        if part.status != "ok" {
            add(
                html! {
                    b { (name) " is " (part.status) "." }
                    @if let Some(reason) = &part.reason { " " (foreign::cut(reason, REASON_CHARS)) }
                },
                None,
            );
        }
    }
    for file in &summary.providers.files {
        add(
            html! {
                b { "Provider file " (Foreign(&file.file)) " could not be loaded." }
                @if file.serves_on { " Its last good version is in use." }
                @if let Some(problem) = file.problems.first() {
                    " " (foreign::cut(problem, REASON_CHARS))
                }
            },
            None,
        );
    }
    needs
}

fn source(name: &str, health: &SourceHealth) -> Option<Need> {
    let (word, what) = match health.state {
        SourceState::Ok => return None,
        SourceState::Disconnected => ("Disconnected", "brings no messages"),
        SourceState::Silent => ("Silent", "has got no requests for longer than it should"),
        SourceState::Failing => ("Failing", "has events of which too many attempts fail"),
    };
    let page = format!("/sources/{}", path_part(name));
    let last = health.last_error.as_ref().and_then(|error| error.reason.as_deref());
    let last = last.filter(|_| health.state == SourceState::Failing);
    Some(Need {
        state: StateWord::Failing,
        word,
        text: html! {
            b { "Source " a href=(page) { (Foreign(name)) } " " (what) }
            @if let Some(reason) = last { ": " (foreign::cut(reason, REASON_CHARS)) }
            "."
        },
        since: health.last_received_at.filter(|_| health.state == SourceState::Silent),
        act: link(&page, "See why"),
        affected: 0,
    })
}

/// A job that failed a short while ago. Nothing else ever takes it off the list of jobs.
fn failed_job(job: &JobView, reader: &PageReader) -> Option<Need> {
    let ended = job.ended_at.filter(|_| job.state == JobState::Failed)?;
    (ended.after(FAILED_JOB_SHOWN) > reader.times.now).then(|| Need {
        state: StateWord::Failing,
        word: "Failed",
        text: html! {
            b { "Job " (Foreign(&job.name)) " has failed" }
            @if let Some(problem) = &job.problem { ": " (foreign::cut(problem, REASON_CHARS)) }
            "."
        },
        since: Some(ended),
        act: link(&format!("/jobs/{}", path_part(&job.name)), "See why"),
        affected: 0,
    })
}

fn destination(facts: &Facts, view: &DestinationView, reader: &PageReader) -> Option<Need> {
    let (name, target) = (view.name.as_str(), format!("destination:{}", view.name));
    let (state, next) = (view.state, view.next_try);
    of_target(facts, state, (&target, "Destination", name), view.reason.as_deref(), reader).map(
        |need| Need {
            since: view.failing_since,
            text: html! {
                (need.text)
                @if let Some(next) = next.filter(|next| *next > reader.times.now) {
                    " Next try " (reader.times.clock(next)) "."
                }
            },
            ..need
        },
    )
}

fn handler(facts: &Facts, view: &HandlerView, reader: &PageReader) -> Option<Need> {
    let (name, target) = (view.name.as_str(), format!("handler:{}", view.name));
    if matches!(&*view.state, "failed" | "missing") {
        let waiting = facts.waiting(Some(&target));
        return Some(Need {
            state: StateWord::Failing,
            word: "Failing",
            text: html! {
                b { "Handler " (Foreign(name)) }
                @if view.state == "missing" { " has no file any more." }
                @else { " could not be loaded." }
                @if let Some(error) = &view.last_error { " " (foreign::cut(error, REASON_CHARS)) }
                @if waiting > 0 { " " (super::deliveries_wait(waiting)) }
            },
            since: Some(view.since),
            act: link(&format!("/handlers/{}", path_part(name)), "See why"),
            affected: waiting,
        });
    }
    let reason = view.health_reason.as_deref();
    of_target(facts, view.health, (&target, "Handler", name), reason, reader)
}

fn of_target(
    facts: &Facts,
    state: HealthState,
    (target, kind, name): (&str, &str, &str),
    reason: Option<&str>,
    reader: &PageReader,
) -> Option<Need> {
    let word = StateWord::of_health(state);
    if state == HealthState::Ok {
        return None;
    }
    let waiting = facts.waiting(Some(target));
    let folder = format!("{}s", kind.to_lowercase());
    let page = format!("/{folder}/{}", path_part(name));
    Some(Need {
        state: word,
        word: word.word(),
        text: html! {
            b { (kind) " " a href=(page) { (Foreign(name)) } } " "
            @if state == HealthState::Failing { "is paused after failures" }
            @else { "is on hold, or asked for a pause" }
            @if let Some(reason) = reason { ": " (foreign::cut(reason, REASON_CHARS)) }
            "."
            @if waiting > 0 { " " (super::deliveries_wait(waiting)) }
        },
        since: None,
        act: match state {
            HealthState::Failing => parts::act(
                reader,
                NeededRole::Operate,
                ("Try one now", Weight::Small),
                &format!("{page}/try"),
                &[],
            ),
            HealthState::Paused | HealthState::Ok => link(&page, "See why"),
        },
        affected: waiting,
    })
}

fn dead_letters(facts: &Facts) -> Option<Need> {
    let dead = facts.deliveries(None, &["dead_letter"]);
    let mut targets: Vec<_> = facts
        .health
        .queues
        .iter()
        .flatten()
        .filter_map(|(target, counts)| Some((target, *counts.get("dead_letter")?)))
        .collect();
    targets.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    (dead > 0).then(|| Need {
        state: StateWord::DeadLetter,
        word: "Dead letters",
        text: html! {
            b { (counted(dead, "dead letter")) } ": "
            @for (at, (target, count)) in targets.iter().take(3).enumerate() {
                @if at > 0 { ", " }
                (number(*count)) " for "
                a href=(address("/dead-letters", &[("target", target)])) {
                    (Foreign(&target.replace(':', " ")))
                }
            }
            @if targets.len() > 3 { " and others" }
            "."
        },
        since: None,
        act: link("/dead-letters", &format!("Review {}", number(dead))),
        affected: dead,
    })
}

fn unrouted(facts: &Facts) -> Option<Need> {
    let sources: Vec<_> = facts
        .health
        .sources
        .iter()
        .filter(|(name, source)| source.unrouted_now > 0 && *name != "weir")
        .map(|(name, source)| (name, source.unrouted_now))
        .collect();
    let count: u64 = sources.iter().map(|(_, count)| count).sum();
    (count > 0).then(|| Need {
        state: StateWord::Unrouted,
        word: "Unrouted",
        text: html! {
            b { (counted(count, "event")) " matched no rule" } ": "
            @for (at, (name, count)) in sources.iter().take(3).enumerate() {
                @if at > 0 { ", " }
                (number(*count)) " of " (Foreign(name))
            }
            @if sources.len() > 3 { " and others" }
            "."
        },
        since: None,
        act: link("/events?status=unrouted", "See them"),
        affected: count,
    })
}

fn quarantined(facts: &Facts) -> Option<Need> {
    let count = facts.quarantined;
    (count > 0).then(|| Need {
        state: StateWord::Quarantined,
        word: "Quarantine",
        text: html! {
            b {
                @if count > 99 { "More than 99 requests" } @else { (counted(count, "request")) }
                " could not be verified"
            }
            ". They are kept, and accepted once a right secret is configured."
        },
        since: None,
        act: link("/quarantine", "Review them"),
        affected: count,
    })
}
