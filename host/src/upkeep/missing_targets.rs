//! Deliveries to missing targets: they are held, and given up only after `hold_life`.
//!
//! A hold with the reason `missing` lasts while its target is missing. The invoker holds handlers
//! whose file is gone. This module holds the rest: destinations that are no longer configured, and
//! handlers that the hub does not know. It never ends a hold of an operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::name::{DestinationName, HandlerName, Target};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::Timestamp;
use weir_core::units::format_duration;
use weir_store::hold::{Hold, HoldId, HoldScope, NewHold};
use weir_store::query::{CountRow, CountsFilter};
use weir_store::{AttemptRecord, Claim, RoutedEffects, Settled, Settlement, StoreError};

use crate::context::HubContext;
use crate::delivery::settle::settle;
use crate::egress::EgressHandle;
use crate::invoker::{HandlerState, InvokerHandle};
use crate::observe::notice::Notice;

/// Time between two checks.
const EVERY: Duration = Duration::from_secs(1);
/// Deliveries given up in one commit.
const AT_ONCE: usize = 256;

/// The dependencies of [`MissingTargets`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    pub handlers: InvokerHandle,
    /// Knows the destinations in force.
    pub egress: EgressHandle,
    /// Deliveries to a missing target are given up after this time.
    pub hold_life: Duration,
}

/// Holds deliveries to missing targets, and gives them up in the end.
#[derive(Debug)]
pub struct MissingTargets {
    ctx: HubContext,
    deps: Deps,
    /// The holds in force that were reported as old.
    reported: BTreeSet<HoldId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HoldAction {
    /// The target is missing.
    Hold(Target),
    /// The target is available again.
    Release(HoldId),
    /// The target was missing for too long.
    GiveUp(HoldId, Target),
    /// A hold, of the hub or of an operator, has lasted for half of that time.
    Report(HoldId),
}

/// The targets that exist.
#[derive(Debug, Default)]
struct KnownTargets {
    /// True for a handler that is ready.
    handlers: BTreeMap<HandlerName, bool>,
    destinations: BTreeSet<DestinationName>,
}

impl KnownTargets {
    fn contains(&self, target: &Target) -> bool {
        match target {
            Target::Handler(name) => self.handlers.contains_key(name),
            Target::Destination(name) => self.destinations.contains(name),
        }
    }

    fn is_ready(&self, target: &Target) -> bool {
        match target {
            Target::Handler(name) => self.handlers.get(name).is_some_and(|ready| *ready),
            Target::Destination(name) => self.destinations.contains(name),
        }
    }
}

/// Decides on the targets with waiting deliveries and on the holds in force. Pure.
fn decide(
    waiting: &BTreeSet<Target>,
    holds: &[Hold],
    known: &KnownTargets,
    now: Timestamp,
    life: Duration,
) -> Vec<HoldAction> {
    let ours: Vec<(&Hold, Target)> = holds
        .iter()
        .filter(|held| held.hold.is_for_missing_target())
        .filter_map(|held| Some((held, target_of(&held.hold.scope)?)))
        .collect();
    let unheld = waiting
        .iter()
        .filter(|target| !known.contains(target) && !ours.iter().any(|(_, held)| held == *target))
        .map(|target| HoldAction::Hold(target.clone()));
    let of_held = ours.iter().filter_map(|(held, target)| {
        if known.is_ready(target) {
            return Some(HoldAction::Release(held.id));
        }
        let over = now.since(held.at) >= life && waiting.contains(target);
        over.then(|| HoldAction::GiveUp(held.id, target.clone()))
    });
    // A hold with an end is not reported, nor is a hold of the hub while no delivery waits.
    let is_old = |held: &&Hold| {
        let target = target_of(&held.hold.scope);
        let waits = target.is_some_and(|target| waiting.contains(&target));
        held.hold.until.is_none()
            && (waits || !held.hold.is_for_missing_target())
            && now.since(held.at) >= life / 2
    };
    let old = holds.iter().filter(is_old).map(|held| HoldAction::Report(held.id));
    unheld.chain(of_held).chain(old).collect()
}

fn target_of(scope: &HoldScope) -> Option<Target> {
    match scope {
        HoldScope::Hub | HoldScope::Source(_) => None,
        HoldScope::Handler(name) => Some(Target::Handler(name.clone())),
        HoldScope::Destination(name) => Some(Target::Destination(name.clone())),
    }
}

/// The targets with deliveries that are not final.
fn waiting(rows: &[CountRow]) -> BTreeSet<Target> {
    let is_final = |row: &&CountRow| {
        DeliveryState::ALL.iter().any(|state| state.is_final() && state.as_str() == row.what)
    };
    rows.iter().filter(|row| !is_final(row)).filter_map(|row| row.of.parse().ok()).collect()
}

impl MissingTargets {
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, deps, reported: BTreeSet::new() }
    }

    /// Checks periodically, until claiming stops.
    pub async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        tokio::select! {
            () = drain.claiming_stopped() => {}
            () = self.check_forever() => {}
        }
    }

    async fn check_forever(&mut self) {
        // Before the folder was read for the first time, handlers are not missing but unknown.
        self.deps.handlers.folder_read().await;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.check().await {
                tracing::warn!(%error, "cannot check for missing targets; trying again");
            }
        }
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        let HubContext { store, notices, .. } = &self.ctx;
        let Deps { handlers, egress, hold_life } = &self.deps;
        let waiting = waiting(&store.counts(CountsFilter::Deliveries).await?);
        let holds = store.holds().await?;
        let known = KnownTargets {
            handlers: handlers
                .handlers()
                .into_iter()
                .map(|handler| (handler.name, handler.state == HandlerState::Ready))
                .collect(),
            destinations: egress.names(),
        };
        self.reported.retain(|id| holds.iter().any(|held| held.id == *id));
        let now = self.ctx.clock.now();
        for act in decide(&waiting, &holds, &known, now, *hold_life) {
            match act {
                HoldAction::Hold(target) => self.hold(&target).await?,
                HoldAction::Release(hold) => {
                    store.release(hold).await?;
                    tracing::info!(%hold, "a missing target is back; its deliveries continue");
                }
                HoldAction::GiveUp(hold, target) => self.give_up(hold, &target).await?,
                HoldAction::Report(id) => {
                    let hold = holds.iter().find(|held| held.id == id);
                    if let Some(hold) = hold.filter(|_| self.reported.insert(id)) {
                        let until =
                            hold.hold.is_for_missing_target().then(|| hold.at.after(*hold_life));
                        notices.post(Notice::HoldOld { hold: hold.clone(), until });
                    }
                }
            }
        }
        Ok(())
    }

    async fn hold(&self, target: &Target) -> Result<(), StoreError> {
        self.ctx.store.hold(NewHold::missing(target.into())).await?;
        let life = format_duration(self.deps.hold_life);
        tracing::warn!(%target, %life, "the target is missing; its deliveries wait until it is back");
        Ok(())
    }

    /// Gives up a batch at a time, while the target stays missing.
    async fn give_up(&self, hold: HoldId, target: &Target) -> Result<(), StoreError> {
        let HubContext { store, drain, metrics, notices, .. } = &self.ctx;
        let life = format_duration(self.deps.hold_life);
        let reason = format!("{target} has been missing for {life}; when it is back, replay this");
        let counted = metrics.target(target);
        let mut given_up = 0;
        while store.holds().await?.iter().any(|held| held.id == hold) {
            let claims = store.claim_abandoned(target, AT_ONCE).await?;
            if claims.is_empty() {
                break;
            }
            let batch: Vec<_> =
                claims.iter().map(|claim| Arc::new(settlement(claim, &reason))).collect();
            for (claim, settled) in claims.iter().zip(settle(&**store, drain, &batch).await) {
                if let Settled::Applied { .. } = settled? {
                    counted.attempt(Outcome::Missing, Duration::ZERO);
                    counted.dead_letter();
                    notices.post(Notice::dead_letter(claim, Outcome::Missing, Some(&reason)));
                    given_up += 1;
                }
            }
        }
        tracing::error!(%target, given_up, %life, "the target was missing for too long; its deliveries were given up");
        Ok(())
    }
}

fn settlement(claim: &Claim, reason: &str) -> Settlement {
    Settlement {
        delivery: claim.delivery,
        fence: claim.fence,
        attempt: AttemptRecord {
            started_at: claim.now,
            duration: Duration::ZERO,
            outcome: Outcome::Missing,
            reason: Some(reason.into()),
            version: None,
            other: None,
            log: None,
            response: None,
            reads: None,
        },
        next: NextState::DeadLetter,
        effects: RoutedEffects::default(),
        reads: ReadSet::default(),
        quota: StateQuota::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(100);
    const MISSING: &str = "missing";

    fn targets(texts: &[&str]) -> BTreeSet<Target> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn known() -> KnownTargets {
        KnownTargets {
            handlers: [("orders".parse().unwrap(), true), ("late".parse().unwrap(), false)].into(),
            destinations: ["ops".parse().unwrap()].into(),
        }
    }

    fn held(id: u64, target: &str, reason: &str, at: u64) -> Hold {
        let scope = HoldScope::from(&target.parse::<Target>().unwrap());
        let hold = match reason {
            MISSING => NewHold::missing(scope),
            _ => NewHold { scope, reason: reason.into(), by: "operator".into(), until: None },
        };
        Hold { id: HoldId(id), hold, at: Timestamp::from_millis(at * 1_000) }
    }

    fn decided(waiting: &[&str], holds: &[Hold], now: u64) -> Vec<HoldAction> {
        let now = Timestamp::from_millis(now * 1_000);
        decide(&targets(waiting), holds, &known(), now, LIFE)
    }

    #[test]
    fn missing_target_is_held_once_and_others_are_not() {
        let waiting = ["handler:orders", "destination:ops", "handler:gone", "destination:gone"];
        let gone = |text: &str| HoldAction::Hold(text.parse().unwrap());
        let both = [gone("handler:gone"), gone("destination:gone")];
        assert_eq!(decided(&waiting, &[], 0), both);
        let holds = [held(1, "handler:gone", MISSING, 0), held(2, "destination:gone", MISSING, 0)];
        assert_eq!(decided(&waiting, &holds, 49), []);
        assert_eq!(decided(&[], &[], 0), [], "nothing waits");
    }

    #[test]
    fn missing_target_is_given_up_after_hold_life() {
        let holds = [held(1, "handler:gone", MISSING, 0)];
        let gone = "handler:gone".parse().unwrap();
        let old = HoldAction::Report(HoldId(1));
        assert_eq!(decided(&["handler:gone"], &holds, 49), []);
        assert_eq!(decided(&["handler:gone"], &holds, 50), std::slice::from_ref(&old));
        assert_eq!(
            decided(&["handler:gone"], &holds, 100),
            [HoldAction::GiveUp(HoldId(1), gone), old]
        );
        assert_eq!(decided(&[], &holds, 1_000), [], "nothing waits");
    }

    #[test]
    fn target_that_is_back_is_released_unless_an_operator_holds_it() {
        let holds = [
            held(1, "destination:ops", MISSING, 0),
            held(2, "destination:ops", "a bad day", 0),
            held(3, "destination:gone", "a bad day", 0),
            held(4, "handler:orders", MISSING, 0),
            held(5, "handler:late", MISSING, 0),
        ];
        let waiting = ["destination:ops", "destination:gone", "handler:late"];
        let gone = "destination:gone".parse().unwrap();
        let [ops, orders] = [1, 4].map(|id| HoldAction::Release(HoldId(id)));
        assert_eq!(decided(&waiting, &holds, 40), [HoldAction::Hold(gone), ops, orders]);
    }

    #[test]
    fn old_hold_without_an_end_is_reported() {
        let holds = [held(1, "destination:ops", "a bad day", 0)];
        assert_eq!(decided(&[], &holds, 49), []);
        assert_eq!(decided(&[], &holds, 50), [HoldAction::Report(HoldId(1))]);
        let mut ends = held(1, "destination:ops", "a bad day", 0);
        ends.hold.until = Some(Timestamp::from_millis(1_000_000));
        assert_eq!(decided(&[], &[ends], 50), []);
        assert_eq!(decided(&[], &[held(1, "handler:gone", MISSING, 0)], 50), []);
    }

    #[test]
    fn final_deliveries_do_not_wait() {
        let row = |of: &str, what| CountRow { of: of.into(), what, count: 1 };
        let rows = [
            row("handler:a", "dead_letter"),
            row("handler:b", "held"),
            row("destination:c", "retrying"),
            row("destination:c", "processed"),
        ];
        assert_eq!(waiting(&rows), targets(&["handler:b", "destination:c"]));
    }
}
