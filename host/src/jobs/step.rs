//! One step of a job: the page of the store that it takes, and what is done with its members.

use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::job::{JobFilter, JobKind, JobOrder, JobStep, StepOutcome};
use weir_core::name::Target;
use weir_core::route::RouteTable;
use weir_store::query::{DeliveryFilter, EventFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent};
use weir_store::{Store, StoreError};

use crate::routing;

/// Most deliveries of one step; the store makes as many due in one commit.
const DELIVERIES_MAX: usize = 10_000;
/// Most events of one step: each is read whole.
const EVENTS_MAX: usize = 200;

/// A recorded step cannot be done in one commit by the rules of now.
pub(super) struct TooLarge;

/// The filter of a job's dead letters.
pub(super) fn deliveries(order: &JobOrder) -> DeliveryFilter {
    let of = EventFilter { statuses: Vec::new(), ..of_events(&order.filter) };
    DeliveryFilter {
        states: vec![DeliveryState::DeadLetter],
        targets: order.filter.targets.clone(),
        of,
    }
}

/// The filter of a job's events.
pub(crate) fn events(order: &JobOrder) -> EventFilter {
    let mut filter = of_events(&order.filter);
    if order.kind == JobKind::Unrouted {
        filter.statuses = vec![EventStatus::Unrouted];
    }
    for target in &order.filter.targets {
        match target {
            Target::Handler(name) => filter.handlers.push(name.clone()),
            Target::Destination(name) => filter.destinations.push(name.clone()),
        }
    }
    filter
}

fn of_events(filter: &JobFilter) -> EventFilter {
    let JobFilter { sources, kinds, categories, statuses, keys, since, until, .. } = filter.clone();
    EventFilter {
        sources,
        kinds,
        categories,
        statuses,
        keys,
        since,
        until,
        ..EventFilter::default()
    }
}

/// The step after a cursor.
pub(super) async fn plan(
    store: &dyn Store,
    order: &JobOrder,
    cursor: Option<String>,
    table: &RouteTable,
) -> Result<JobStep, StoreError> {
    let page = |limit| PageRequest { limit, after: cursor.clone() };
    if order.kind == JobKind::DeadLetters {
        let found = store.deliveries(deliveries(order), page(order.step_members())).await?;
        let members = found.items.iter().map(|dead| dead.id.to_string()).collect();
        return Ok(JobStep { members, left_out: 0, next: found.next, is_withdrawn: false });
    }
    // So few that their deliveries can be made in one commit.
    let of_each = if order.to.is_some() { 1 } else { table.rules().len().max(1) };
    let most = (DELIVERIES_MAX / of_each).clamp(1, EVENTS_MAX);
    let found = store.events(events(order), page(order.step_members().min(most))).await?;
    let meant = found.items.iter().filter(|event| order.filter.means(&event.source));
    let members: Vec<_> = meant.map(|event| event.id.to_string()).collect();
    let left_out = (found.items.len() - members.len()) as u64;
    Ok(JobStep { members, left_out, next: found.next, is_withdrawn: false })
}

/// Does a step under its key. A step that was done before is not done again, and has the same
/// outcome.
pub(super) async fn carry_out(
    store: &dyn Store,
    order: &JobOrder,
    step: &JobStep,
    key: String,
    table: &RouteTable,
) -> Result<Result<StepOutcome, TooLarge>, StoreError> {
    let all = step.members.len() as u64;
    let (what, skipped) = match order.kind {
        JobKind::DeadLetters => {
            let ids = step.members.iter().filter_map(|id| id.parse().ok()).collect();
            (ReplaySelection::DeadOf(ids), None)
        }
        JobKind::Events | JobKind::Unrouted => {
            let rerouted = reroute(store, order, step, table).await?;
            let due: usize = rerouted.iter().map(|event| event.routed.deliveries.len()).sum();
            if due > DELIVERIES_MAX && rerouted.len() > 1 {
                return Ok(Err(TooLarge));
            }
            let skipped = all - rerouted.len() as u64;
            let what = match order.kind {
                JobKind::Unrouted => ReplaySelection::Unrouted(rerouted),
                _ => ReplaySelection::Events(rerouted),
            };
            (what, Some(skipped))
        }
    };
    let replay =
        ReplayRequest { what, limit: DELIVERIES_MAX, request: key, new_ids: order.new_ids };
    let deliveries = store.replay(replay).await?.deliveries.len() as u64;
    let skipped = skipped.unwrap_or(all.saturating_sub(deliveries));
    Ok(Ok(StepOutcome { deliveries, skipped }))
}

/// Keeps a step that was not done from being done later. Returns the number of deliveries that
/// became due, if it was done before.
pub(super) async fn withdraw(store: &dyn Store, key: String) -> Result<u64, StoreError> {
    let what = ReplaySelection::DeadOf(Vec::new());
    let replay = ReplayRequest { what, limit: 1, request: key, new_ids: false };
    Ok(store.replay(replay).await?.deliveries.len() as u64)
}

/// The members of a step with their deliveries by the rules of now: without those that retention
/// has removed, and those that no rule wants.
async fn reroute(
    store: &dyn Store,
    order: &JobOrder,
    step: &JobStep,
    table: &RouteTable,
) -> Result<Vec<ReroutedEvent>, StoreError> {
    let mut rerouted = Vec::with_capacity(step.members.len());
    for id in step.members.iter().filter_map(|id| id.parse().ok()) {
        let Some(event) = store.event(id).await? else { continue };
        if event.erased_at.is_some() {
            continue;
        }
        let mut event = routing::reroute(store, &event, table).await?;
        if let Some(to) = &order.to {
            event.routed = routing::only_to(to, event.routed);
        }
        if !event.routed.deliveries.is_empty() {
            rerouted.push(event);
        }
    }
    Ok(rerouted)
}
