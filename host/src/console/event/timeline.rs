//! The timeline: one column, oldest first. The first time is absolute, the next ones are offsets
//! while they are below ten seconds.

use std::time::Duration;

use maud::{Markup, html};
use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::name::Target;
use weir_core::time::Timestamp;

use super::path::{self, PathStep};
use super::sentence::{target_link, waits};
use crate::api::{AttemptView, CandidateView, EventDetailView, WhyAnswer};
use crate::console::foreign::{self, Foreign, ForeignLines};
use crate::console::times::Times;
use crate::console::words::{self, StateWord};
use crate::console::{amounts, body};

/// Offsets up to this long are shown as such.
const OFFSET_MAX: Duration = Duration::from_secs(10);
/// Rules that did not match and are not folded.
const REFUSED_SHOWN: usize = 8;
/// Bytes of an endpoint's answer.
const ANSWER_CHARS: usize = 200;

/// The timeline of an event.
pub(super) fn timeline(shown: &EventDetailView, why: &WhyAnswer, times: &Times) -> Markup {
    let event = &shown.event;
    let start = event.received_at;
    let steps = path::steps(event);
    let at = |moment: Timestamp| {
        let offset = moment.since(start);
        html! {
            span.at {
                @if offset <= OFFSET_MAX { "+" (amounts::duration(offset)) }
                @else { (times.exact(moment)) }
            }
        }
    };
    html! {
        ol.tl {
            li { span.at { (times.exact(start)) } div { (received(shown)) } }
            @if let Some(request) = &shown.request {
                li {
                    span.at {}
                    div {
                        h3 { "Verified" }
                        p.why {
                            (request.scheme) " with secret " b { (Foreign(&request.secret)) }
                        }
                    }
                }
            }
            li { span.at {} div { (identified(shown)) } }
            li { span.at {} div { (routed(why)) } }
            @for step in steps.iter().filter(|step| !step.delivery.history.is_empty()) {
                li id=(step.delivery.id) class=[dot(step)] {
                    (at(step.begins()))
                    div { (delivery(step, times)) }
                }
            }
            @for step in steps.iter().filter(|step| step.waits()) {
                li.nx {
                    span.at { @if let Some(next) = step.next_try() { (times.clock(next)) } }
                    div {
                        h3 { (next_title(step, times)) }
                        p.why { (waits(step, times)) }
                    }
                }
            }
        }
    }
}

fn next_title(step: &PathStep<'_>, times: &Times) -> Markup {
    let later = step.next_try().is_some_and(|next| next > times.now);
    html! {
        @if later { "Next: tried again" } @else { "Next: waits" }
        " for " (target_name(&step.delivery.target))
    }
}

fn received(shown: &EventDetailView) -> Markup {
    let event = &shown.event;
    let Some(request) = &shown.request else {
        return html! {
            h3 { "Emitted" }
            p.why {
                @if let Some(parent) = &event.parent {
                    "by a handler, for " a href={ "/events/" (parent) } { (parent) }
                } @else { "by the hub itself" }
            }
        };
    };
    let kind =
        request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-type"));
    html! {
        h3 { "Received" }
        p.why {
            "POST /webhook/" (Foreign(request.source.as_str()))
            @if let Some(remote) = &request.remote { " from " (Foreign(remote)) }
            ", " (amounts::size(request.size as u64))
            @if let Some(kind) = kind {
                " of " (foreign::cut(&String::from_utf8_lossy(&body::bytes_of(&kind.value)), 60))
            }
        }
    }
}

fn identified(shown: &EventDetailView) -> Markup {
    let event = &shown.event;
    html! {
        h3 { "Identified" }
        p.why {
            "type " b { (Foreign(event.kind.as_str())) }
            @if let Some(category) = event.category { " · category " b { (category) } }
            @if let Some(id) = &event.delivery_id {
                " · sender's id " (foreign::cut(id, 80))
                @if event.id_reused { ", used before with another body" }
                @else { ", seen for the first time" }
            }
        }
    }
}

/// Every rule with its verdict, those that matched first.
fn routed(why: &WhyAnswer) -> Markup {
    let Some(all) = &why.considered else {
        return html! {
            h3 { "Stored and routed" }
            p.why { "The rules of that time are no longer stored." }
        };
    };
    let (matched, refused): (Vec<_>, Vec<_>) = all.iter().partition(|rule| rule.matched.is_some());
    let (shown, folded) = refused.split_at(refused.len().min(REFUSED_SHOWN));
    html! {
        h3 {
            "Stored and routed"
            span.end { (matched.len()) " of " (all.len()) " rules matched" }
        }
        @if all.is_empty() {
            p.why { "There were no handlers and no routes when it arrived." }
        } @else {
            ul.box {
                @for rule in matched { (candidate(rule)) }
                @for rule in shown { (candidate(rule)) }
                @if !folded.is_empty() {
                    li {
                        details.x {
                            summary.d { "and " (folded.len()) " that wanted something else" }
                            ul.box { @for rule in folded { (candidate(rule)) } }
                        }
                    }
                }
            }
        }
    }
}

/// A rule with the reason why it matched or did not.
fn candidate(rule: &CandidateView) -> Markup {
    let target = target_name(&rule.target);
    html! {
        li {
            @if let Some(pattern) = &rule.matched {
                (StateWord::Ok.saying("matched"))
                span {
                    b { (target) } " " span.d { (Foreign(pattern)) }
                    @if let Some(condition) = &rule.condition {
                        br; small { "when " code { (Foreign(condition)) } }
                    }
                }
            } @else if let Some(error) = &rule.error {
                (StateWord::Failing.saying("failed"))
                span { b { (target) } " the rule could not be evaluated: " (Foreign(error)) }
            } @else if let Some(condition) = &rule.condition_false {
                (StateWord::Cancelled.saying("no"))
                span.d { b { (target) } " was false: " code { (Foreign(condition)) } }
            } @else {
                (StateWord::Cancelled.saying("no"))
                span.d {
                    b { (target) } " wants " (Foreign(&rule.refused.join(", ")))
                    @for never in &rule.never { br; small { (Foreign(never)) } }
                }
            }
        }
    }
}

/// The kind and the name of a target, as words.
pub(super) fn target_name(target: &Target) -> Markup {
    html! {
        @match target {
            Target::Handler(name) => { "handler " (Foreign(name.as_str())) }
            Target::Destination(name) => { "destination " (Foreign(name.as_str())) }
        }
    }
}

fn dot(step: &PathStep<'_>) -> Option<&'static str> {
    match StateWord::of_delivery(step.delivery) {
        StateWord::DeadLetter | StateWord::Failing => Some("f"),
        StateWord::Retrying => Some("w"),
        StateWord::Paused => Some("h"),
        _ => None,
    }
}

/// A delivery with its attempts.
fn delivery(step: &PathStep<'_>, times: &Times) -> Markup {
    let delivery = step.delivery;
    let attempts = path::shown(&delivery.history);
    html! {
        h3 {
            @match &delivery.target {
                Target::Handler(_) => "Handler ",
                Target::Destination(_) => "Message to ",
            }
            (target_link(&delivery.target))
            span.end {
                @if let Some(by) = step.sent_by { "by " (target_name(by)) " · " }
                @if let Some(key) = &delivery.order_key { "in the order of " (Foreign(key)) " · " }
                (summary(step))
            }
        }
        ul.box {
            @for attempt in attempts.first { (attempt_row(attempt, delivery.state, times)) }
            @if !attempts.folded.is_empty() {
                li {
                    details.x {
                        summary.d { (attempts.folded.len()) " more attempts" }
                        ul.box {
                            @for attempt in attempts.folded {
                                (attempt_row(attempt, delivery.state, times))
                            }
                        }
                    }
                }
            }
            @for attempt in attempts.last { (attempt_row(attempt, delivery.state, times)) }
        }
    }
}

fn summary(step: &PathStep<'_>) -> String {
    let delivery = step.delivery;
    let failed =
        delivery.history.iter().filter(|attempt| attempt.outcome != Outcome::Ok).count() as u64;
    let replayed = match delivery.generation {
        0 => String::new(),
        times => format!("generation {} · ", times + 1),
    };
    let state = StateWord::of_delivery(delivery).word().to_lowercase();
    match failed {
        0 => format!("{replayed}{state}"),
        _ => format!("{replayed}{state} · {} failed", amounts::counted(failed, "attempt")),
    }
}

fn attempt_row(attempt: &AttemptView, state: DeliveryState, times: &Times) -> Markup {
    let is_ok = attempt.outcome == Outcome::Ok;
    let word = match (is_ok, attempt.response_status) {
        (true, None) => StateWord::Ok.saying("done"),
        (true, Some(status)) => StateWord::Ok.saying(&format!("HTTP {status}")),
        (false, Some(status)) => StateWord::Failing.saying(&format!("HTTP {status}")),
        (false, None) => StateWord::Failing.saying(words::outcome(attempt.outcome)),
    };
    let is_last_failure = !is_ok && state != DeliveryState::Processed;
    html! {
        li id=(attempt.id) {
            (word)
            span {
                span.d {
                    "attempt " (attempt.number)
                    @if attempt.generation > 0 { " of generation " (attempt.generation + 1) }
                    " · " (amounts::duration(Duration::from_micros(attempt.duration_us)))
                    @if let Some(version) = &attempt.version {
                        " · version " span.m { (version.get(..7).unwrap_or(version)) }
                    }
                }
                @if let Some(reason) = attempt.reason.as_ref().filter(|_| !is_ok) {
                    br; (Foreign(reason))
                }
                @if let Some(answer) = &attempt.response_snippet {
                    @if !answer.is_empty() { br; code { (foreign::cut(answer, ANSWER_CHARS)) } }
                }
                @if let Some(other) = &attempt.other {
                    br; "version " span.m { (other.version.get(..7).unwrap_or(&other.version)) }
                    " failed in the same attempt: " (words::outcome(other.outcome))
                    @if let Some(reason) = &other.reason { ", " (Foreign(reason)) }
                }
                (effects(attempt))
            }
            span.end { (times.clock(attempt.started_at)) }
        }
        @if let Some(log) = attempt.log.as_ref().filter(|log| !log.is_empty()) {
            li {
                details.x open[is_last_failure] {
                    summary.d { (amounts::counted(log.lines().count() as u64, "log line")) }
                    pre.log tabindex="0" role="region" aria-label="Log of the attempt" {
                        (ForeignLines(log))
                    }
                }
            }
        }
    }
}

/// The messages and events of a run, which were committed with its outcome.
fn effects(attempt: &AttemptView) -> Markup {
    let AttemptView { messages, emitted, .. } = attempt;
    html! {
        @if !messages.is_empty() || !emitted.is_empty() {
            br;
            @if !messages.is_empty() {
                (amounts::counted(messages.len() as u64, "message")) " to "
                @for (at, message) in messages.iter().enumerate() {
                    @if at > 0 { ", " }
                    (target_link(&message.target))
                }
            }
            @if !messages.is_empty() && !emitted.is_empty() { " · " }
            @if !emitted.is_empty() {
                "emitted "
                @for (at, event) in emitted.iter().enumerate() {
                    @if at > 0 { ", " }
                    a.m href={ "/events/" (event) } { (event) }
                }
            }
        }
    }
}
