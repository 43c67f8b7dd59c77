//! Answers of destinations that become events (`reply_as`), in the commit that settles the message.
//! Pure.
//!
//! Such an event counts like one that a handler emits: it is one emit further away from the first
//! event than the one that was sent, and is one of the descendants of the first.

use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::{DESCENDANTS_MAX, EMIT_DEPTH_MAX};
use weir_core::delivery::{NextState, Outcome};
use weir_core::effect::answer_event_id;
use weir_core::event::{EventFacts, EventType};
use weir_core::name::{DestinationName, SourceName};
use weir_core::payload::Payload;
use weir_core::route::RouteTable;
use weir_store::{AttemptRecord, Claim, NewEmit, RoutedEffects, Settlement};

use super::outgoing::Outgoing;
use super::transport::SendOutcome;
use crate::routing;

/// The refusal of a message whose answer would be too far from the first event of its line.
pub(super) fn too_deep(claim: &Claim) -> Option<SendOutcome> {
    let depth = claim.event.lineage.map_or(0, |lineage| lineage.depth);
    (depth >= EMIT_DEPTH_MAX).then(|| SendOutcome::NotMade {
        outcome: Outcome::DescendantsExhausted,
        reason: format!(
            "not sent, because its answer would be more than {EMIT_DEPTH_MAX} events away from \
             the first; look for a circle of handlers and answers"
        )
        .into(),
    })
}

/// The event that an answer becomes, with its routes.
pub(super) fn event(
    mut payload: Payload,
    kind: &EventType,
    claim: &Claim,
    message: &Outgoing,
    to: &DestinationName,
    routes: &RouteTable,
) -> RoutedEffects {
    let id = answer_event_id(message.id, to, kind, &payload);
    let handled = &claim.event.payload;
    if handled.hops() > 0 {
        payload.set_hops(handled.hops());
    }
    if let Some(trace) = message.trace {
        payload.join_trace(trace, message.trace_state.as_deref());
    }
    let source = SourceName::answered_by(to);
    let facts = EventFacts { payload: Some(&payload), ..EventFacts::new(&source, kind, claim.now) };
    let routed = routing::routed(routes, &facts);
    let (payload, delay) = (Arc::new(payload), Duration::ZERO);
    let emit = NewEmit { id, kind: kind.clone(), payload, delay, key: None, routed };
    RoutedEffects { emits: vec![emit], ..RoutedEffects::default() }
}

/// The settlement of a message whose answer is one event too many for its line. The message was
/// accepted, and is not sent again by itself.
pub(super) fn exhausted(settlement: &Settlement, descendants: u64) -> Settlement {
    let reason = format!(
        "sent and accepted, but its answer cannot become an event: this line of events has \
         {descendants} of at most {DESCENDANTS_MAX}; look for a circle of handlers and answers"
    );
    let outcome = Outcome::DescendantsExhausted;
    let attempt =
        AttemptRecord { outcome, reason: Some(reason.into()), ..settlement.attempt.clone() };
    let effects = RoutedEffects::default();
    Settlement { attempt, next: NextState::DeadLetter, effects, ..settlement.clone() }
}
