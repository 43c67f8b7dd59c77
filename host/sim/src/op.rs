//! Operations that write: the call, its answer, and the models that are possible after it.

use std::collections::BTreeSet;

use weir_core::id::DeliveryId;
use weir_core::route::RouteTable;
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;
use weir_store::StoreError;
use weir_store::hold::{HoldId, NewHold};
use weir_store::upkeep::{ReplaySelection, Retention};

use crate::invariants::{self, Broken, broken};
use crate::model::{Model, RequestSpec, SettleSpec, Settles, Stored};
use crate::observe;
use crate::world::{Key, World};

/// One call of the store.
#[derive(Debug, Clone)]
pub enum Op {
    /// Requests to store.
    Ingest(Vec<RequestSpec>),
    /// Settlements of attempts.
    Settle(Vec<Prepared>),
    /// A replay of deliveries.
    Replay {
        /// The idempotency key.
        request: String,
        /// The selection, in the store's terms.
        what: ReplaySelection,
        /// The selection, by name.
        wanted: Vec<Key>,
    },
    /// A new hold.
    Hold(NewHold),
    /// The end of a hold.
    Release {
        /// The store's id of the hold.
        id: HoldId,
        hold: NewHold,
        /// The time at which it was placed.
        at: Timestamp,
    },
    /// One run of retention.
    Prune(Retention),
    /// An operator's confirmation of the clock.
    Confirm,
}

/// A settlement in the store's terms and in the model's.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub id: DeliveryId,
    /// The settlement in the model's terms.
    pub spec: SettleSpec,
    /// The reads of the run, in the store's terms.
    pub reads: ReadSet,
    /// True if the values that were read may have changed in a way that the model does not know.
    pub reads_are_old: bool,
}

/// The store's answer to one item of an operation.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To a request.
    Ingested(Vec<Stored>),
    /// To a settlement.
    Settled(Settles),
    /// To a replay.
    Replayed(BTreeSet<Key>),
    /// To any other operation: true if it changed something.
    Done(bool),
}

/// Answers to an operation's items. None if the process ended before it got them.
pub type Answers = Vec<Result<Answer, StoreError>>;

/// True if an error leaves open what is stored. Every other error means that nothing of the item is
/// stored.
#[must_use]
pub fn leaves_open(error: &StoreError) -> bool {
    matches!(error, StoreError::Poisoned { .. } | StoreError::Unknown { .. } | StoreError::Closed)
}

impl Op {
    /// The name of the operation.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest",
            Self::Settle(_) => "settle",
            Self::Replay { .. } => "redrive",
            Self::Hold(_) => "hold",
            Self::Release { .. } => "release",
            Self::Prune(_) => "prune",
            Self::Confirm => "confirm the time",
        }
    }

    /// Items that are stored whole or not at all, each on its own.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Ingest(requests) => requests.len(),
            Self::Settle(settlements) => settlements.len(),
            _ => 1,
        }
    }

    /// Events that may be removed with it.
    #[must_use]
    pub fn may_go(&self, before: &Model, now: Timestamp) -> BTreeSet<Key> {
        match self {
            Self::Prune(retention) => before.removable(retention, now),
            _ => BTreeSet::new(),
        }
    }

    /// The models that are possible after the operation, the smallest first. With answers, only
    /// those that agree with the answers.
    ///
    /// # Errors
    /// [`Broken`] if no model agrees with the answers.
    pub fn after(
        &self,
        before: &Model,
        answers: Option<&Answers>,
        seen: &World,
        table: &RouteTable,
        now: Timestamp,
    ) -> Result<Vec<Model>, Broken> {
        let mut models = vec![before.clone()];
        if let Self::Prune(retention) = self {
            models[0].forget_keys(retention, now);
        }
        for item in 0..self.items() {
            let answer = answers.map(|answers| &answers[item]);
            let (may_not, may) = match answer {
                None => (true, true),
                Some(Ok(_)) => (false, true),
                Some(Err(e)) => (true, leaves_open(e)),
            };
            let mut next = Vec::new();
            let mut disagrees = None;
            for model in &models {
                if may_not {
                    next.push(model.clone());
                }
                if may {
                    let mut with = model.clone();
                    let said = answer.and_then(|a| a.as_ref().ok());
                    match self.apply(item, &mut with, said, seen, table, now) {
                        Ok(()) => next.push(with),
                        Err(broken) => disagrees = Some(broken),
                    }
                }
            }
            models = next;
            if let Some(broken) = disagrees.filter(|_| models.is_empty()) {
                return Err(broken);
            }
        }
        Ok(models)
    }

    fn apply(
        &self,
        item: usize,
        model: &mut Model,
        said: Option<&Answer>,
        seen: &World,
        table: &RouteTable,
        now: Timestamp,
    ) -> Result<(), Broken> {
        match self {
            Self::Ingest(requests) => {
                let predicted = model.ingest(&requests[item], table, now);
                if let Some(Answer::Ingested(said)) = said {
                    for (predicted, said) in predicted.iter().zip(said) {
                        invariants::a_duplicate_names_the_first(predicted, said)?;
                    }
                }
            }
            Self::Settle(settlements) => {
                let Prepared { spec, reads_are_old, .. } = &settlements[item];
                if *reads_are_old && matches!(said, Some(Answer::Settled(Settles::Conflict))) {
                    return Ok(());
                }
                let predicted = model.settle(spec, table, now);
                if let Some(Answer::Settled(said)) = said {
                    invariants::fenced(&spec.delivery, predicted, *said)?;
                }
            }
            Self::Replay { request, wanted, .. } => {
                let predicted: BTreeSet<Key> =
                    model.replay(request, wanted, now).into_iter().collect();
                if let Some(Answer::Replayed(said)) = said
                    && predicted != *said
                {
                    let how = format!("redrive {request} made {said:?} due, not {predicted:?}");
                    return broken("INV-4", how);
                }
            }
            Self::Hold(hold) => model.hold(hold, now),
            Self::Release { hold, at, .. } => model.release(&hold.scope, *at, hold.until),
            Self::Prune(retention) => {
                let gone = observe::missing(&model.world, seen);
                let may_go = model.removable(retention, now);
                model.pruned(&gone.intersection(&may_go).cloned().collect(), retention, now);
            }
            Self::Confirm => {}
        }
        Ok(())
    }
}
