//! Handlers and destinations with their states. A hold of an operator shows as `paused`.

use std::collections::BTreeMap;

use weir_core::name::Target;
use weir_core::probation::Strike;
use weir_core::time::{Timestamp, millis};
use weir_store::hold::{Hold, HoldScope};

use super::AdminService;
use super::views::text;
use crate::api::{
    DestinationView, GrantsView, HandlerView, HealthState, InboxMessageView, LimitsView, ListPage,
    ProbationView, StrikeView,
};
use crate::delivery::breakers::is_breaker_hold;
use crate::delivery::flow_control::TargetHealth;
use crate::egress::DestinationStatus;
use crate::invoker::{HandlerState, HandlerStatus, ProbationStatus};

/// The state of a target, as its breaker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetState {
    pub(super) health: HealthState,
    pub(super) reason: Option<String>,
    pub(super) next_try: Option<Timestamp>,
}

impl AdminService {
    /// Handlers with their versions and states.
    pub(crate) async fn handlers(&self) -> Vec<HandlerView> {
        let holds = self.lasting_holds().await;
        let mut handlers: Vec<_> = self.handlers.handlers().into_iter().map(handler).collect();
        for view in &mut handlers {
            let Some(held) = on(&holds, &Target::Handler(view.name.clone())) else { continue };
            view.health = HealthState::Paused;
            view.health_reason = Some(reason(held));
            view.next_try = held.hold.until;
        }
        handlers
    }

    /// Destinations with their states.
    pub(crate) async fn destinations(&self) -> Vec<DestinationView> {
        let holds = self.lasting_holds().await;
        let mut all: Vec<_> = self.egress.destinations().into_iter().map(destination).collect();
        for view in &mut all {
            let Some(held) = on(&holds, &Target::Destination(view.name.clone())) else { continue };
            view.state = HealthState::Paused;
            view.reason = Some(reason(held));
            view.next_try = held.hold.until;
        }
        all
    }

    /// The state of every target in one word, for the metrics.
    pub(crate) async fn target_states(&self) -> Vec<(String, String)> {
        let handlers = self.handlers().await.into_iter();
        let handlers = handlers.map(|view| (Target::Handler(view.name), view.health));
        let destinations = self.destinations().await.into_iter();
        let destinations = destinations.map(|view| (Target::Destination(view.name), view.state));
        let words = |(target, health): (Target, HealthState)| {
            (target.to_string(), health.as_str().to_owned())
        };
        handlers.chain(destinations).map(words).collect()
    }

    /// The messages that inboxes received.
    pub(crate) fn inbox_messages(&self) -> ListPage<InboxMessageView> {
        ListPage::whole(self.inbox.messages().into_iter().map(super::views::inbox_message))
    }

    /// The state of every target without the holds of operators.
    pub(super) fn breaker_states(&self) -> BTreeMap<Target, TargetState> {
        let handlers = self.handlers.handlers().into_iter().map(handler).map(|view| {
            let HandlerView { health, health_reason: reason, next_try, .. } = view;
            (Target::Handler(view.name), TargetState { health, reason, next_try })
        });
        let destinations = self.egress.destinations().into_iter().map(destination).map(|view| {
            let DestinationView { state: health, reason, next_try, .. } = view;
            (Target::Destination(view.name), TargetState { health, reason, next_try })
        });
        handlers.chain(destinations).collect()
    }

    /// The holds that pause a target: those of operators, and the hub's on targets that are gone.
    async fn lasting_holds(&self) -> Vec<Hold> {
        let holds = self.store.holds().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "holds cannot be read");
            Vec::new()
        });
        holds.into_iter().filter(|held| !is_breaker_hold(&held.hold)).collect()
    }
}

fn on<'a>(holds: &'a [Hold], target: &Target) -> Option<&'a Hold> {
    let scope = HoldScope::from(target);
    let covers = |held: &&Hold| [&scope, &HoldScope::Hub].contains(&&held.hold.scope);
    holds.iter().find(covers)
}

pub(super) fn reason(held: &Hold) -> String {
    format!("hold {} by {}: {}", held.id, held.hold.by, held.hold.reason)
}

fn health(health: TargetHealth) -> HealthState {
    match health {
        TargetHealth::Ok => HealthState::Ok,
        TargetHealth::Failing => HealthState::Failing,
        TargetHealth::Paused => HealthState::Paused,
    }
}

fn handler(status: HandlerStatus) -> HandlerView {
    let state = match status.state {
        HandlerState::Ready => "ready",
        HandlerState::Missing => "missing",
        HandlerState::Failed => "failed",
        HandlerState::Loading => "loading",
    };
    HandlerView {
        name: status.name,
        version: status.version,
        kind: status.kind.map(Into::into),
        about: status.about,
        subscriptions: status.subscriptions,
        state: state.to_owned(),
        since: status.since,
        last_error: status.last_error,
        running: status.running,
        health: health(status.health),
        health_reason: text(&status.health_reason),
        next_try: status.next_try,
        failed_tries: status.failed_tries,
        grants: status.grants.map(|grants| GrantsView {
            destinations: grants.destinations.iter().map(ToString::to_string).collect(),
            emit: grants.emit,
            missing: grants.missing.iter().map(ToString::to_string).collect(),
        }),
        limits: status.limits.map(|limits| LimitsView {
            memory_bytes: limits.memory as u64,
            time_ms: millis(limits.time),
            concurrency: limits.concurrency,
            attempts: limits.attempts,
            state_bytes: limits.state.bytes,
            state_keys: limits.state.keys,
        }),
        pinned: status.pinned,
        candidate: status.candidate,
        probation: status.probation.map(probation),
    }
}

fn probation(status: ProbationStatus) -> ProbationView {
    let ProbationStatus { old, started_at, done, runs, ends_at, strikes, strikes_max } = status;
    let strike =
        |Strike { delivery, at, reason }| StrikeView { delivery, at, reason: String::from(reason) };
    let strikes = strikes.into_iter().map(strike).collect();
    ProbationView { old, started_at, done, runs, ends_at, strikes, strikes_max }
}

fn destination(status: DestinationStatus) -> DestinationView {
    DestinationView {
        name: status.name,
        kind: status.kind.to_owned(),
        address: status.address,
        ordered: status.ordered,
        rate: status.rate,
        format: status.format.map(str::to_owned),
        reply_as: status.reply_as,
        state: health(status.state),
        failing_since: status.failing_since,
        reason: text(&status.reason),
        next_try: status.next_try,
        failed_tries: status.failed_tries,
        times_failing: status.times_failing,
        sending: status.sending,
        concurrency: status.concurrency,
        places: status.places,
        paused_until: status.paused_until,
        sent: status.sent,
        failed: status.failed,
    }
}
