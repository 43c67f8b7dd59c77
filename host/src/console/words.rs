//! The words for states, each with its shape and colour: one list for every page.
//!
//! The shape and colour are a class of `weir.css`. The words of the API are in the DTOs; here are
//! those for people.

use maud::{Markup, Render, html};
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::name::SourceName;

use crate::api::{DeliveryView, HealthState, WaitReason};

/// The state of an event, a delivery, a request or a part of the hub, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateWord {
    Ok,
    Processed,
    Running,
    Waiting,
    Retrying,
    Paused,
    Failing,
    DeadLetter,
    Unrouted,
    Quarantined,
    Cancelled,
    /// An alert of the hub that no rule wanted.
    Alert,
}

impl StateWord {
    pub(crate) const fn of_event(status: EventStatus) -> Self {
        match status {
            EventStatus::Processed => Self::Processed,
            EventStatus::Pending => Self::Waiting,
            EventStatus::Processing => Self::Running,
            EventStatus::Held => Self::Paused,
            EventStatus::Retrying => Self::Retrying,
            EventStatus::DeadLetter => Self::DeadLetter,
            EventStatus::Unrouted => Self::Unrouted,
        }
    }

    /// The state of an event from this source. An alert of the hub need not be routed.
    pub(crate) fn of_event_from(source: &SourceName, status: EventStatus) -> Self {
        match status {
            EventStatus::Unrouted if source.is_hub() => Self::Alert,
            status => Self::of_event(status),
        }
    }

    /// A delivery is paused if a hold or its target keeps it waiting.
    pub(crate) fn of_delivery(delivery: &DeliveryView) -> Self {
        let is_kept = delivery.held
            || matches!(
                delivery.waiting,
                Some(
                    WaitReason::Hold { .. }
                        | WaitReason::Failing { .. }
                        | WaitReason::Paused { .. }
                )
            );
        match delivery.state {
            DeliveryState::Pending | DeliveryState::Retrying if is_kept => Self::Paused,
            DeliveryState::Pending => Self::Waiting,
            DeliveryState::Processing => Self::Running,
            DeliveryState::Retrying => Self::Retrying,
            DeliveryState::Processed => Self::Processed,
            DeliveryState::DeadLetter => Self::DeadLetter,
            DeliveryState::Cancelled => Self::Cancelled,
        }
    }

    pub(crate) const fn of_health(health: HealthState) -> Self {
        match health {
            HealthState::Ok => Self::Ok,
            HealthState::Failing => Self::Failing,
            HealthState::Paused => Self::Paused,
        }
    }

    /// The word with a capital, as it stands in a table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Processed => "Processed",
            Self::Running => "Running",
            Self::Waiting => "Waiting",
            Self::Retrying => "Retrying",
            Self::Paused => "Paused",
            Self::Failing => "Failing",
            Self::DeadLetter => "Dead letter",
            Self::Unrouted => "Unrouted",
            Self::Quarantined => "Quarantined",
            Self::Cancelled => "Cancelled",
            Self::Alert => "Alert",
        }
    }

    /// The class of its shape and colour.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Ok | Self::Processed => "ok",
            Self::Running => "run",
            Self::Waiting | Self::Alert => "wait",
            Self::Retrying => "retry",
            Self::Paused => "pause",
            Self::Failing => "fail",
            Self::DeadLetter => "dead",
            Self::Unrouted => "unr",
            Self::Quarantined => "quar",
            Self::Cancelled => "cancel",
        }
    }

    /// True if rows in this state show the shape only: success is quiet.
    pub(crate) const fn is_quiet(self) -> bool {
        matches!(self, Self::Ok | Self::Processed)
    }

    /// The shape with the word, or the shape alone with the word for screen readers if it is quiet.
    pub(crate) fn in_row(self) -> Markup {
        if self.is_quiet() {
            html! { span class={ "st " (self.class()) } { span.vh { (self.word()) } } }
        } else {
            self.render()
        }
    }

    /// The shape of this state with another text, such as `HTTP 503`.
    pub(crate) fn saying(self, text: &str) -> Markup {
        html! { span class={ "st " (self.class()) } { (text) } }
    }
}

impl Render for StateWord {
    fn render(&self) -> Markup {
        html! { span class={ "st " (self.class()) } { (self.word()) } }
    }
}

/// A short phrase for the outcome of an attempt.
pub(crate) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "done",
        Outcome::Retry => "asked for a retry",
        Outcome::Reject => "gave it up",
        Outcome::Refused => "refused by the hub",
        Outcome::Timeout => "took too long",
        Outcome::OutOfMemory => "out of memory",
        Outcome::StackOverflow => "stack overflow",
        Outcome::TooMuchData => "too much data",
        Outcome::Crashed => "crashed",
        Outcome::BadOutput => "bad output",
        Outcome::NotLoaded => "not loaded",
        Outcome::Status => "failing answer",
        Outcome::Network => "no connection",
        Outcome::Blocked => "address blocked",
        Outcome::DescendantsExhausted => "too many events",
        Outcome::ConditionError => "condition failed",
        Outcome::Missing => "target missing",
        Outcome::HostLost => "the hub ended",
        Outcome::Internal => "failed in the hub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_a_shape_with_a_hidden_word() {
        let ok = StateWord::Processed.in_row().into_string();
        assert_eq!(ok, r#"<span class="st ok"><span class="vh">Processed</span></span>"#);
        let bad = StateWord::DeadLetter.in_row().into_string();
        assert_eq!(bad, r#"<span class="st dead">Dead letter</span>"#);
    }

    #[test]
    fn every_status_of_an_event_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> =
            EventStatus::ALL.iter().map(|status| StateWord::of_event(*status).word()).collect();
        assert_eq!(words.len(), EventStatus::ALL.len());
    }
}
