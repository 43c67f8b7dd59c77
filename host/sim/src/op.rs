//! Operations that write: what is asked of a store, what it answers, and which models are possible after.

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
    /// Requests.
    Ingest(Vec<RequestSpec>),
    /// Ends of attempts.
    Settle(Vec<Prepared>),
    /// Deliveries made due again.
    Replay {
        /// The name that makes two of them one.
        request: String,
        /// Which, as the store is told.
        what: ReplaySelection,
        /// Which, by name.
        wanted: Vec<Key>,
    },
    /// A hold placed.
    Hold(NewHold),
    /// A hold ended.
    Release {
        /// The store's number of it.
        id: HoldId,
        /// What it is.
        hold: NewHold,
        /// When it was placed.
        at: Timestamp,
    },
    /// Retention.
    Prune(Retention),
    /// A person says that the clock is right.
    Confirm,
}

/// A settlement in the store's terms and in the model's.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The delivery.
    pub id: DeliveryId,
    /// The model's terms.
    pub spec: SettleSpec,
    /// What the run read, in the store's.
    pub reads: ReadSet,
    /// Whether something may have happened to what was read that the model does not know of.
    pub reads_are_old: bool,
}

/// What a store answered to one item of an operation.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To a request.
    Ingested(Vec<Stored>),
    /// To a settlement.
    Settled(Settles),
    /// To a redrive.
    Replayed(BTreeSet<Key>),
    /// To anything else: whether it did something.
    Done(bool),
}

/// Answers to an operation's items; without them, the process ended before it was told.
pub type Answers = Vec<Result<Answer, StoreError>>;

/// Whether an error leaves open what is on disk. Every other error says that nothing of the item is there.
#[must_use]
pub fn leaves_open(error: &StoreError) -> bool {
    matches!(error, StoreError::Poisoned { .. } | StoreError::Closed)
}

impl Op {
    /// A word for it.
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

    /// Items that are whole or not there, each on its own.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Ingest(requests) => requests.len(),
            Self::Settle(settlements) => settlements.len(),
            _ => 1,
        }
    }

    /// Events that may go with it.
    #[must_use]
    pub fn may_go(&self, before: &Model, now: Timestamp) -> BTreeSet<Key> {
        match self {
            Self::Prune(retention) => before.removable(retention, now),
            _ => BTreeSet::new(),
        }
    }

    /// The models that are possible after it, the one with the least of it first. With answers, those that agree
    /// with what was answered.
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
