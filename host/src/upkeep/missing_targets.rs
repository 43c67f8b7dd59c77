//! What waits for a handler or a destination that is gone: held, and given up only after `hold_life`.
//!
//! A hold with the reason `missing` says that it waits, for as long as it does. Handlers are held by the invoker, which
//! knows when a file is gone; held here is what nobody else would: destinations that are no longer configured, and
//! deliveries for a handler that nobody has heard of. What may not live here: ending what a person holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::name::{DestinationName, HandlerName, Target};
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;

use weir_store::hold::{Hold, HoldId, HoldScope, NewHold};
use weir_store::query::{CountRow, CountsFilter};
use weir_store::{AttemptRecord, Claim, RoutedEffects, Settled, Settlement, StoreError};

use crate::context::HubContext;
use crate::delivery::settle::settle;
use crate::invoker::{HandlerState, InvokerHandle};
use crate::observe::notice::Notice;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Deliveries given up in one commit.
const AT_ONCE: usize = 256;

/// The dependencies of [`MissingTargets`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// Which handlers there are.
    pub handlers: InvokerHandle,
    /// The destinations that are configured.
    pub destinations: BTreeSet<DestinationName>,
    /// How long what is gone is waited for.
    pub hold_life: Duration,
}

/// Holds what waits for something gone, and gives it up in the end.
#[derive(Debug)]
pub struct MissingTargets {
    ctx: HubContext,
    deps: Deps,
    /// The holds in force that were told of as old.
    told: BTreeSet<HoldId>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    /// Hold what waits for a target that is gone.
    Hold(Target),
    /// It is back.
    Release(HoldId),
    /// It has been gone for too long.
    GiveUp(HoldId, Target),
    /// It, or what a person holds, has been held for half of that time.
    Tell(HoldId),
}

/// Who there is to work.
#[derive(Debug, Default)]
struct There {
    /// Handlers that are known, with whether they serve.
    handlers: BTreeMap<HandlerName, bool>,
    destinations: BTreeSet<DestinationName>,
}

impl There {
    fn knows(&self, target: &Target) -> bool {
        match target {
            Target::Handler(name) => self.handlers.contains_key(name),
            Target::Destination(name) => self.destinations.contains(name),
        }
    }

    fn serves(&self, target: &Target) -> bool {
        match target {
            Target::Handler(name) => self.handlers.get(name).is_some_and(|serves| *serves),
            Target::Destination(name) => self.destinations.contains(name),
        }
    }
}

/// What to do about what waits, by who is there and what is held already. Pure.
fn decide(
    waiting: &BTreeSet<Target>,
    holds: &[Hold],
    there: &There,
    now: Timestamp,
    life: Duration,
) -> Vec<Act> {
    let ours: Vec<(&Hold, Target)> = holds
        .iter()
        .filter(|held| held.hold.is_for_missing_target())
        .filter_map(|held| Some((held, target_of(&held.hold.scope)?)))
        .collect();
    let unheld = waiting
        .iter()
        .filter(|target| !there.knows(target) && !ours.iter().any(|(_, held)| held == *target))
        .map(|target| Act::Hold(target.clone()));
    let of_held = ours.iter().filter_map(|(held, target)| {
        if there.serves(target) {
            return Some(Act::Release(held.id));
        }
        let over = now.since(held.at) >= life && waiting.contains(target);
        over.then(|| Act::GiveUp(held.id, target.clone()))
    });
    // What a person holds for a time is their business; what is ours is nobody's while nothing waits.
    let is_old = |held: &&Hold| {
        let target = target_of(&held.hold.scope);
        let waits = target.is_some_and(|target| waiting.contains(&target));
        held.hold.until.is_none()
            && (waits || !held.hold.is_for_missing_target())
            && now.since(held.at) >= life / 2
    };
    let old = holds.iter().filter(is_old).map(|held| Act::Tell(held.id));
    unheld.chain(of_held).chain(old).collect()
}

fn target_of(scope: &HoldScope) -> Option<Target> {
    match scope {
        HoldScope::Source(_) => None,
        HoldScope::Handler(name) => Some(Target::Handler(name.clone())),
        HoldScope::Destination(name) => Some(Target::Destination(name.clone())),
    }
}

fn scope_of(target: &Target) -> HoldScope {
    match target {
        Target::Handler(name) => HoldScope::Handler(name.clone()),
        Target::Destination(name) => HoldScope::Destination(name.clone()),
    }
}

/// The targets that have work which is not over.
fn waiting(rows: &[CountRow]) -> BTreeSet<Target> {
    let over = |row: &&CountRow| {
        DeliveryState::ALL.iter().any(|state| state.is_final() && state.as_str() == row.what)
    };
    rows.iter().filter(|row| !over(row)).filter_map(|row| row.of.parse().ok()).collect()
}

impl MissingTargets {
    /// Takes its parts.
    #[must_use]
    pub fn new(ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, deps, told: BTreeSet::new() }
    }

    /// Looks now and then, until claims stop.
    pub async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        tokio::select! {
            () = drain.claiming_stopped() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        // Before the folder has been looked at, handlers are not gone but not there yet.
        self.deps.handlers.folder_read().await;
        let mut look = interval(EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot look after what waits for something gone, trying again");
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let HubContext { store, notices, .. } = &self.ctx;
        let Deps { handlers, destinations, hold_life } = &self.deps;
        let waiting = waiting(&store.counts(CountsFilter::Deliveries).await?);
        let holds = store.holds().await?;
        let there = There {
            handlers: handlers
                .handlers()
                .into_iter()
                .map(|handler| (handler.name, handler.state == HandlerState::Ready))
                .collect(),
            destinations: destinations.clone(),
        };
        self.told.retain(|told| holds.iter().any(|held| held.id == *told));
        let now = self.ctx.clock.now();
        for act in decide(&waiting, &holds, &there, now, *hold_life) {
            match act {
                Act::Hold(target) => self.hold(&target).await?,
                Act::Release(hold) => {
                    store.release(hold).await?;
                    tracing::info!(%hold, "what was missing is back, its deliveries go on");
                }
                Act::GiveUp(hold, target) => self.give_up(hold, &target).await?,
                Act::Tell(id) => {
                    let hold = holds.iter().find(|held| held.id == id);
                    if let Some(hold) = hold.filter(|_| self.told.insert(id)) {
                        let until =
                            hold.hold.is_for_missing_target().then(|| hold.at.after(*hold_life));
                        notices.tell(Notice::HoldOld { hold: hold.clone(), until });
                    }
                }
            }
        }
        Ok(())
    }

    async fn hold(&self, target: &Target) -> Result<(), StoreError> {
        self.ctx.store.hold(NewHold::missing(scope_of(target))).await?;
        let life = format_duration(self.deps.hold_life);
        tracing::warn!(%target, %life, "there is no such target, its deliveries wait until it comes back");
        Ok(())
    }

    /// A piece at a time, as long as it is still gone.
    async fn give_up(&self, hold: HoldId, target: &Target) -> Result<(), StoreError> {
        let HubContext { store, drain, metrics, notices, .. } = &self.ctx;
        let life = format_duration(self.deps.hold_life);
        let reason = format!("{target} has been gone for {life}; when it is back, replay this");
        let counted = metrics.target(target);
        let mut given_up = 0;
        while store.holds().await?.iter().any(|held| held.id == hold) {
            let claims = store.claim_abandoned(target, AT_ONCE).await?;
            if claims.is_empty() {
                break;
            }
            let batch: Vec<_> = claims.iter().map(|claim| settlement(claim, &reason)).collect();
            for (claim, settled) in claims.iter().zip(settle(&**store, drain, &batch).await) {
                if let Settled::Applied { .. } = settled? {
                    counted.attempt(Outcome::Missing, Duration::ZERO);
                    counted.dead_letter();
                    notices.tell(Notice::dead_letter(claim, Outcome::Missing, Some(&reason)));
                    given_up += 1;
                }
            }
        }
        tracing::error!(%target, given_up, %life, "it has been gone for too long, what waited for it is given up");
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
            log: None,
            response: None,
        },
        next: NextState::DeadLetter,
        effects: RoutedEffects::default(),
        reads: ReadSet::default(),
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

    fn there() -> There {
        There {
            handlers: [("orders".parse().unwrap(), true), ("late".parse().unwrap(), false)].into(),
            destinations: ["ops".parse().unwrap()].into(),
        }
    }

    fn held(id: u64, target: &str, reason: &str, at: u64) -> Hold {
        let scope = scope_of(&target.parse().unwrap());
        let hold = match reason {
            MISSING => NewHold::missing(scope),
            _ => NewHold { scope, reason: reason.into(), by: "operator".into(), until: None },
        };
        Hold { id: HoldId(id), hold, at: Timestamp::from_millis(at * 1_000) }
    }

    fn decided(waiting: &[&str], holds: &[Hold], now: u64) -> Vec<Act> {
        let now = Timestamp::from_millis(now * 1_000);
        decide(&targets(waiting), holds, &there(), now, LIFE)
    }

    #[test]
    fn what_waits_for_something_gone_is_held_once_and_what_is_there_is_left_alone() {
        let waiting = ["handler:orders", "destination:ops", "handler:gone", "destination:gone"];
        let gone = |text: &str| Act::Hold(text.parse().unwrap());
        let both = [gone("handler:gone"), gone("destination:gone")];
        assert_eq!(decided(&waiting, &[], 0), both);
        let holds = [held(1, "handler:gone", MISSING, 0), held(2, "destination:gone", MISSING, 0)];
        assert_eq!(decided(&waiting, &holds, 49), []);
        assert_eq!(decided(&[], &[], 0), [], "with nothing waiting there is nothing to hold");
    }

    #[test]
    fn it_is_given_up_when_its_time_is_over_and_not_before() {
        let holds = [held(1, "handler:gone", MISSING, 0)];
        let gone = "handler:gone".parse().unwrap();
        let old = Act::Tell(HoldId(1));
        assert_eq!(decided(&["handler:gone"], &holds, 49), []);
        assert_eq!(decided(&["handler:gone"], &holds, 50), std::slice::from_ref(&old));
        assert_eq!(decided(&["handler:gone"], &holds, 100), [Act::GiveUp(HoldId(1), gone), old]);
        assert_eq!(decided(&[], &holds, 1_000), [], "nothing waits");
    }

    #[test]
    fn what_is_back_is_released_and_a_persons_hold_is_nobodys_business() {
        let holds = [
            held(1, "destination:ops", MISSING, 0),
            held(2, "destination:ops", "a bad day", 0),
            held(3, "destination:gone", "a bad day", 0),
            held(4, "handler:orders", MISSING, 0),
            held(5, "handler:late", MISSING, 0),
        ];
        let waiting = ["destination:ops", "destination:gone", "handler:late"];
        let gone = "destination:gone".parse().unwrap();
        let [ops, orders] = [1, 4].map(|id| Act::Release(HoldId(id)));
        assert_eq!(decided(&waiting, &holds, 40), [Act::Hold(gone), ops, orders]);
    }

    #[test]
    fn what_a_person_holds_without_an_end_is_told_of_and_what_ends_by_itself_is_not() {
        let holds = [held(1, "destination:ops", "a bad day", 0)];
        assert_eq!(decided(&[], &holds, 49), []);
        assert_eq!(decided(&[], &holds, 50), [Act::Tell(HoldId(1))]);
        let mut ends = held(1, "destination:ops", "a bad day", 0);
        ends.hold.until = Some(Timestamp::from_millis(1_000_000));
        assert_eq!(decided(&[], &[ends], 50), []);
        assert_eq!(decided(&[], &[held(1, "handler:gone", MISSING, 0)], 50), []);
    }

    #[test]
    fn what_is_over_does_not_wait() {
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
