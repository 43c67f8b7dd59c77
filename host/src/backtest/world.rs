//! One version of a handler with its state: its runs change the state in the order of the events,
//! as in a hub.
//!
//! Several runs go on at a time, each on the state before them. In the order of the events, each
//! result counts if no earlier one of them wrote what it read; otherwise the event runs again. So
//! the results are those of one run after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_core::delivery::Outcome;
use weir_core::effect::{Effects, StateWrite};
use weir_core::event::Event;
use weir_core::route::Decision;
use weir_core::state::{ReadSet, StateEntry, StateReader, StateUnavailable};
use weir_core::time::Timestamp;

use crate::offline::{EffectRecord, MemoryState, OfflineHandler, OfflineRun, RunInput};

/// The result of a version on one event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ran {
    /// False if the event is not for the version: no subscription matches, or its condition is
    /// false.
    pub(crate) subscribed: bool,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<String>,
    /// Without outward ids, which follow from the rest.
    pub(crate) effects: Vec<EffectRecord>,
    pub(crate) processor_us: u64,
    /// In bytes.
    pub(crate) memory_peak: u64,
}

impl Default for Ran {
    /// Of a version that the event is not for.
    fn default() -> Self {
        Self {
            subscribed: false,
            outcome: Outcome::Ok,
            reason: None,
            effects: Vec::new(),
            processor_us: 0,
            memory_peak: 0,
        }
    }
}

impl Ran {
    pub(crate) fn fails(&self) -> bool {
        self.outcome != Outcome::Ok
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.outcome == Outcome::Timeout
    }
}

/// A version with its state.
pub(crate) struct World {
    handler: OfflineHandler,
    state: Arc<WorldState>,
    runtime: Handle,
}

/// A run, and what earlier runs can invalidate.
struct Finished {
    ran: Ran,
    effects: Effects,
    reads: ReadSet,
}

impl World {
    /// `runtime` is the one that guests run on.
    pub(crate) fn new(handler: OfflineHandler, state: MemoryState, runtime: Handle) -> Self {
        let state = Arc::new(WorldState { stored: state, queued: Mutex::default() });
        Self { handler, state, runtime }
    }

    /// Runs the version on events that follow each other, all at a time. The results are in their
    /// order.
    pub(crate) async fn run(&self, events: &[Arc<Event>]) -> Vec<Ran> {
        let started: Vec<_> = events.iter().map(|event| self.route(event)).collect();
        let mut results = Vec::with_capacity(events.len());
        let mut written = Written::default();
        for (event, started) in events.iter().zip(started) {
            let started = match started {
                Ok(started) => started,
                Err(without_run) => {
                    results.push(without_run);
                    continue;
                }
            };
            let mut finished = started.await.unwrap_or_else(|_| lost());
            if written.conflicts(&finished) {
                finished = self.start(event).await.unwrap_or_else(|_| lost());
            }
            written.add(&finished.effects);
            self.state.apply(&finished.effects, event.received_at);
            results.push(finished.ran);
        }
        results
    }

    /// Starts a run of an event that a hub would route to this version.
    ///
    /// # Errors
    /// The result without a run: the event is not for it, or its condition cannot be evaluated.
    fn route(&self, event: &Arc<Event>) -> Result<JoinHandle<Finished>, Ran> {
        match self.handler.decide(event) {
            Some(Decision::Deliver { .. }) => Ok(self.start(event)),
            Some(Decision::Error { reason }) => Err(Ran {
                subscribed: true,
                outcome: Outcome::ConditionError,
                reason: Some(reason.into()),
                ..Ran::default()
            }),
            Some(Decision::NotMatched { .. }) | None => Err(Ran::default()),
        }
    }

    fn start(&self, event: &Arc<Event>) -> JoinHandle<Finished> {
        let handler = self.handler.clone();
        let now = event.received_at;
        self.state.queued.lock().retain(|_, until| *until > now);
        let input = RunInput {
            event: event.clone(),
            state: self.state.clone(),
            now,
            seed: seed(event),
            attempt: 1,
            id_round: 0,
        };
        self.runtime.spawn(async move { finished(handler.run(input).await, now) })
    }
}

fn finished(run: OfflineRun, now: Timestamp) -> Finished {
    let OfflineRun { report, processor_time } = run;
    let mut effects = EffectRecord::of_effects(&report.effects, now);
    effects.iter_mut().for_each(|effect| effect.id = None);
    let ran = Ran {
        subscribed: true,
        outcome: report.outcome(),
        reason: report.reason().map(str::to_owned),
        effects,
        processor_us: u64::try_from(processor_time.as_micros()).unwrap_or(u64::MAX),
        memory_peak: report.memory_peak as u64,
    };
    Finished { ran, effects: report.effects, reads: report.reads }
}

/// The result of a run whose task is gone.
fn lost() -> Finished {
    let reason = Some("the run ended without a report; this is a fault of weir".to_owned());
    let ran = Ran { subscribed: true, outcome: Outcome::Internal, reason, ..Ran::default() };
    Finished { ran, effects: Effects::default(), reads: ReadSet::default() }
}

/// The seed of an event's runs, the same in each world.
fn seed(event: &Event) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"weir backtest 1\0");
    hash.update(event.id.bits().to_be_bytes());
    hash.finalize().into()
}

/// The writes of runs that go on at a time, in the order of their events.
#[derive(Default)]
struct Written {
    keys: BTreeSet<Box<str>>,
    /// True if an effect was queued under a key, or cancelled.
    queue: bool,
}

impl Written {
    fn add(&mut self, effects: &Effects) {
        self.keys.extend(effects.state.iter().map(|write| write.key.clone()));
        self.queue |= !effects.cancels.is_empty() || queued(effects).next().is_some();
    }

    /// True if a run read what was written since it began.
    fn conflicts(&self, run: &Finished) -> bool {
        let reads = &run.reads;
        let listed = |key: &str| {
            let covers = |range: &weir_core::state::RangeRead| {
                key.starts_with(&*range.prefix) && *key > *range.after
            };
            reads.ranges.iter().any(covers)
        };
        reads.keys.iter().any(|(key, _)| self.keys.contains(key))
            || self.keys.iter().any(|key| listed(key))
            || (self.queue && !run.effects.cancels.is_empty())
    }
}

/// The keys of delayed effects with their delay in seconds.
fn queued(effects: &Effects) -> impl Iterator<Item = (&str, u32)> {
    let messages = effects.messages.iter().map(|message| &message.timing);
    let emits = effects.emits.iter().map(|emit| &emit.timing);
    messages
        .chain(emits)
        .filter(|timing| timing.delay_seconds > 0)
        .filter_map(|timing| Some((timing.key.as_deref()?, timing.delay_seconds)))
}

/// The state of a world: what runs wrote, and the keys of effects that would still wait.
struct WorldState {
    stored: MemoryState,
    queued: Mutex<BTreeMap<Box<str>, Timestamp>>,
}

impl WorldState {
    /// Commits the effects of a run that began at `now`.
    fn apply(&self, effects: &Effects, now: Timestamp) {
        let writes: &[StateWrite] = &effects.state;
        self.stored.apply(writes);
        let mut waiting = self.queued.lock();
        for cancel in &effects.cancels {
            waiting.remove(&cancel.key);
        }
        for (key, delay) in queued(effects) {
            let until = now.after(std::time::Duration::from_secs(delay.into()));
            waiting.insert(key.into(), until);
        }
    }
}

#[async_trait]
impl StateReader for WorldState {
    async fn get(&self, key: &str) -> Result<Option<StateEntry>, StateUnavailable> {
        self.stored.get(key).await
    }

    async fn keys(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Box<str>>, StateUnavailable> {
        self.stored.keys(prefix, after, limit, now).await
    }

    async fn size(&self) -> Result<u64, StateUnavailable> {
        self.stored.size().await
    }

    async fn has_queued(&self, key: &str) -> Result<bool, StateUnavailable> {
        Ok(self.queued.lock().contains_key(key))
    }
}
