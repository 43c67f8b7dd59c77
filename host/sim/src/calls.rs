//! Carries out an operation: the call, the faults around it, and the meaning of its answers and
//! errors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use weir_core::delivery::Outcome;
use weir_core::name::SourceName;
use weir_core::provider::OnRedelivery;
use weir_core::state::StateQuota;
use weir_store::sqlite::SqliteStore;
use weir_store::upkeep::ReplayRequest;
use weir_store::{
    AttemptRecord, DedupKey, EventIngested, Ingested, NewEmit, NewEvent, NewMessage, NewRequest,
    RoutedEffects, Settled, Settlement,
};
use weir_store::{Dispatch, Ingest, Maintenance, Operations, StoreError};

use crate::cast;
use crate::disk::Death;
use crate::invariants::{self, Holds, broken};
use crate::model::{ItemSpec, Model, RequestSpec, Settles, Stored};
use crate::observe::Names;
use crate::op::{Answer, Answers, Op, Prepared};
use crate::script::{Deed, Script};
use crate::sim::Sim;

/// Limit on the deliveries that one replay makes due.
const REPLAYED_MAX: usize = 1_000;

impl Sim<'_> {
    /// Runs one operation with its faults, and checks all that must hold after it.
    pub(crate) async fn operate(&mut self, op: Op) -> Holds {
        let before = self.model.clone();
        let store = self.store()?;
        let death = self.death();
        let mut faults = self.faults();
        let mut can_poison = false;
        match self.random.random_range(0..100) {
            0..8 => faults.crash_in = Some((self.random.random_range(1..24), death)),
            8..10 if !self.settings.only_crashes => {
                faults.sync_fails_in = Some(self.random.random_range(1..12));
                can_poison = true;
            }
            10..12 if !self.settings.only_crashes => {
                faults.write_fails_in = Some(self.random.random_range(1..20));
                can_poison = true;
            }
            12..13 if !self.settings.only_crashes => {
                faults.read_fails_in = Some(self.random.random_range(1..4));
                can_poison = true;
            }
            _ => {}
        }
        self.note(format!("{} {faults:?}", brief(&op)));
        self.disk.watch(Some(self.settings.moments_one_in));
        self.disk.set_faults(faults);
        let answers = self.call(&store, &op).await;
        let struck = can_poison && !self.disk.fault_is_ahead();
        self.disk.watch(None);
        self.disk.set_faults(self.faults());
        self.adopt(&op, &answers);
        let moments = self.disk.moments();
        for moment in moments {
            self.fork(moment.image, &before, Some(&op)).await.map_err(|mut broken| {
                let at =
                    format!("had the process ended ({:?}) at a {:?}: ", moment.death, moment.act);
                broken.how.insert_str(0, &at);
                broken
            })?;
        }
        let answers: Answers = answers.into_iter().map(|(answer, _)| answer).collect();
        let under_way = Some((&op, Some(&answers)));
        if self.disk.is_dead() {
            drop(store);
            return self.crashed(death, &before, under_way).await;
        }
        if let Some(reason) = store.health().poisoned {
            if !struck {
                return broken("soundness", format!("the store gave up by itself: {reason}"));
            }
            self.stays_poisoned(&store).await?;
            drop(store);
            // After a failed sync the kernel may show data that it never wrote, so only a restart
            // of the machine shows what is durable.
            return self.crashed(Death::PowerLoss, &before, under_way).await;
        }
        self.check_errors(&op, &answers, struck)?;
        self.compare(&store, &before, under_way).await?;
        drop(store);
        if self.random.random_ratio(1, self.settings.moments_one_in.clamp(1, 4)) {
            let image = self.disk.peek(death);
            let model = self.model.clone();
            self.fork(image, &model, None).await?;
        }
        Ok(())
    }

    /// Runs one operation without faults.
    pub(crate) async fn operate_quietly(&mut self, op: Op) -> Holds {
        let before = self.model.clone();
        let store = self.store()?;
        let answers: Answers = self.call(&store, &op).await.into_iter().map(|(a, _)| a).collect();
        self.check_errors(&op, &answers, false)?;
        self.compare(&store, &before, Some((&op, Some(&answers)))).await
    }

    /// Errors that no fault explains.
    fn check_errors(&self, op: &Op, answers: &Answers, struck: bool) -> Holds {
        for error in answers.iter().filter_map(|a| a.as_ref().err()) {
            let explained = match error {
                StoreError::DiskFull => self.full,
                StoreError::Engine { .. } | StoreError::Unavailable { .. } => struck,
                StoreError::Invalid(_) => matches!(op, Op::Prune(_)) && self.may_doubt_clock(),
                _ => false,
            };
            if !explained && !self.full {
                invariants::a_full_disk_passes(op.word(), Some(error))?;
            }
            if !explained {
                return broken("soundness", format!("{}: {error}", op.word()));
            }
        }
        if let (Op::Prune(_), Some(Ok(_))) = (op, answers.first()) {
            let doubted = self.must_doubt_clock();
            invariants::a_doubted_clock_removes_nothing(doubted, true, self.now())?;
        }
        Ok(())
    }

    /// True if the clock is more than a day ahead of the last confirmed time.
    fn must_doubt_clock(&self) -> bool {
        let day = Duration::from_secs(86_400);
        self.doubted_since.is_some_and(|since| self.now().since(since) > day)
    }

    /// True if more than a day may have passed since the store last noted the time.
    fn may_doubt_clock(&self) -> bool {
        self.clock_moved
    }

    /// After a failed write or sync no writing call succeeds, not even one that would change
    /// nothing.
    async fn stays_poisoned(&mut self, store: &SqliteStore) -> Holds {
        let probe = self.new_request(Deed::Rest);
        let answer = self.call_ingest(store, std::slice::from_ref(&probe)).await;
        invariants::poisoned_stays_poisoned("ingest", answer.iter().any(Result::is_ok))?;
        for (source, id, tag) in self.model.known_ids().into_iter().take(1) {
            let probe = self.repeat(&source, &id, tag);
            let answer = self.call_ingest(store, std::slice::from_ref(&probe)).await;
            invariants::poisoned_stays_poisoned("a repeat", answer.iter().any(Result::is_ok))?;
        }
        if let Some(open) = self.open.iter().find_map(|open| open.ready.clone()) {
            let answer = store.settle(&[Arc::new(self.settlement(&open))]).await;
            invariants::poisoned_stays_poisoned("settle", answer.iter().any(Result::is_ok))?;
        }
        let confirmed = store.confirm_time().await;
        invariants::poisoned_stays_poisoned("confirm the time", confirmed.is_ok())
    }

    // --- calling

    async fn call(
        &self,
        store: &SqliteStore,
        op: &Op,
    ) -> Vec<(Result<Answer, StoreError>, Option<Ingested>)> {
        let done = |result: Result<bool, StoreError>| vec![(result.map(Answer::Done), None)];
        match op {
            Op::Ingest(requests) => {
                let answers = self.call_ingest(store, requests).await;
                let mut names = self.names.clone();
                let named = answers.into_iter().zip(requests).map(|(answer, request)| {
                    let ingested = answer.as_ref().ok().cloned();
                    (answer.map(|a| Answer::Ingested(told(&a, request, &mut names))), ingested)
                });
                named.collect()
            }
            Op::Settle(settlements) => {
                let batch: Vec<_> =
                    settlements.iter().map(|p| Arc::new(self.settlement(p))).collect();
                let answers = store.settle(&batch).await.into_iter();
                let named = answers.map(|answer| {
                    answer.map(|settled| {
                        Answer::Settled(match settled {
                            Settled::Applied { .. } => Settles::Applied,
                            Settled::Superseded => Settles::Superseded,
                            // No line of deliveries here comes near the limit: the model finds this
                            // answer impossible.
                            Settled::StateConflict { .. }
                            | Settled::StateFull { .. }
                            | Settled::Exhausted { .. } => Settles::Conflict,
                        })
                    })
                });
                named.map(|answer| (answer, None)).collect()
            }
            Op::Replay { request, what, .. } => {
                let (what, request) = (what.clone(), request.clone());
                let replay = ReplayRequest { what, limit: REPLAYED_MAX, request, new_ids: false };
                let answer = store.replay(replay).await.map(|redriven| {
                    let name = |id| {
                        let known = self.names.deliveries.get(id).cloned();
                        known.unwrap_or_else(|| format!("unknown {id}"))
                    };
                    let names: BTreeSet<String> = redriven.deliveries.iter().map(name).collect();
                    Answer::Replayed(names)
                });
                vec![(answer, None)]
            }
            Op::Hold(hold) => done(store.hold(hold.clone()).await.map(|_| true)),
            Op::Release { id, .. } => done(store.release(*id).await),
            Op::Prune(retention) => {
                done(store.prune(retention).await.map(|pruned| pruned.events > 0))
            }
            Op::Confirm => done(store.confirm_time().await.map(|()| true)),
        }
    }

    async fn call_ingest(
        &self,
        store: &SqliteStore,
        requests: &[RequestSpec],
    ) -> Vec<Result<Ingested, StoreError>> {
        store.ingest(requests.iter().map(|r| self.new_request_of(r)).collect()).await
    }

    fn new_request_of(&self, request: &RequestSpec) -> NewRequest {
        let alone = request.items.len() == 1;
        let event = |item: &ItemSpec| NewEvent {
            kind: cast::event_type(item.kind),
            category: None,
            delivery_id: item.id.as_deref().map(Into::into),
            dedup: item.id.as_ref().map(|id| DedupKey {
                material: Bytes::copy_from_slice(id.as_bytes()),
                body_tag: item.tag,
            }),
            part: (!alone).then(|| item.script.payload()),
            keys: Vec::new(),
            routed: cast::routed(&self.table, request.source, item.kind, item.order_key),
        };
        NewRequest {
            source: SourceName::stored(request.source),
            scheme: "hmac".into(),
            secret: "main".into(),
            remote: Some([192, 0, 2, 7].into()),
            payload: request.items[0].script.payload(),
            on_redelivery: OnRedelivery::Duplicate,
            events: request.items.iter().map(event).collect(),
        }
    }

    pub(crate) fn settlement(&self, prepared: &Prepared) -> Settlement {
        let spec = &prepared.spec;
        let effects = &spec.effects;
        let delay = |seconds: u32| Duration::from_secs(seconds.into());
        let target = self.model.target_of(&spec.delivery);
        let source = target.replace("handler:", "@");
        let messages = effects.messages.iter().map(|message| NewMessage {
            id: message.id,
            destination: message.destination.clone(),
            content: message.content.clone(),
            delay: delay(message.timing.delay_seconds),
            key: message.timing.key.clone(),
            ordered: false,
        });
        let emits = effects.emits.iter().map(|emit| NewEmit {
            id: emit.id,
            kind: emit.kind.clone(),
            payload: emit.payload.clone(),
            delay: delay(emit.timing.delay_seconds),
            key: emit.timing.key.clone(),
            routed: cast::routed(&self.table, &source, emit.kind.as_str(), None),
        });
        Settlement {
            delivery: prepared.id,
            fence: spec.fence,
            attempt: AttemptRecord {
                started_at: spec.started_at,
                duration: Duration::from_millis(3),
                outcome: spec.outcome,
                reason: (spec.outcome != Outcome::Ok).then(|| "not today".into()),
                version: Some([7; 32]),
                other: None,
                log: Some("info\thello".into()),
                response: None,
                reads: None,
            },
            next: spec.next,
            effects: RoutedEffects {
                reply: None,
                cancels: effects.cancels.clone(),
                messages: messages.collect(),
                emits: emits.collect(),
                state: effects.state.clone(),
            },
            reads: prepared.reads.clone(),
            quota: StateQuota::NONE,
        }
    }

    /// Records the ids of what was acknowledged.
    fn adopt(&mut self, op: &Op, answers: &[(Result<Answer, StoreError>, Option<Ingested>)]) {
        let Op::Ingest(requests) = op else { return };
        for ((_, ingested), request) in answers.iter().zip(requests) {
            for (event, item) in ingested.iter().flat_map(|i| &i.events).zip(&request.items) {
                if let EventIngested::Stored { id, .. } = event {
                    self.names.events.insert(*id, item.key());
                }
            }
        }
    }

    // --- requests

    pub(crate) fn new_item(&mut self, source: &str, deed: Deed) -> ItemSpec {
        self.serial += 1;
        let long = self.random.random_bool(0.1);
        let script = Script {
            serial: self.serial,
            deed,
            failures: if self.random.random_bool(0.3) { self.random.random_range(1..3) } else { 0 },
            delay: [0, 30, 600][self.random.random_range(0..3)],
            key: cast::EFFECT_KEYS[self.random.random_range(0..2)].to_owned(),
            filler: if long { "all work and no play ".repeat(400) } else { String::new() },
        };
        let id = self.random.random_bool(0.9).then(|| format!("d{}", self.serial));
        if let Some(id) = &id {
            let place = (source.to_owned(), id.clone(), 1);
            self.dedup.insert(format!("s{}", self.serial), place);
        }
        let order_key = match self.random.random_range(0..10) {
            0 => Some("a"),
            1 => Some("b"),
            _ => None,
        };
        let kind = cast::TYPES[self.random.random_range(0..cast::TYPES.len())];
        ItemSpec { kind, id, tag: 1, script, order_key }
    }

    pub(crate) fn new_request(&mut self, deed: Deed) -> RequestSpec {
        let source = cast::SOURCES[self.random.random_range(0..cast::SOURCES.len())];
        RequestSpec { source, items: vec![self.new_item(source, deed)] }
    }

    /// A request with an event whose id was used before.
    pub(crate) fn repeat(&mut self, source: &str, id: &str, tag: u32) -> RequestSpec {
        let source = cast::SOURCES.into_iter().find(|s| *s == source).unwrap_or("lost");
        let mut item = self.new_item(source, Deed::Note);
        item.id = Some(id.to_owned());
        item.tag = tag;
        self.dedup.insert(item.key(), (source.to_owned(), id.to_owned(), tag));
        RequestSpec { source, items: vec![item] }
    }

    /// Sends one of the known ids again. The answer is a duplicate that names the first event.
    pub(crate) async fn repeat_one(
        &mut self,
        store: &SqliteStore,
        model: &mut Model,
        names: &mut Names,
    ) -> Holds {
        let known = model.known_ids();
        if known.is_empty() {
            return Ok(());
        }
        let newest = known.len() - 1;
        let which =
            if self.random.random() { newest } else { self.random.random_range(0..=newest) };
        let (source, id, tag) = known[which].clone();
        let request = self.repeat(&source, &id, tag);
        let answer = self.call_ingest(store, std::slice::from_ref(&request)).await.remove(0);
        let answer = answer.map_err(|e| self.unanswered("ingest after a start", &e))?;
        let predicted = model.ingest(&request, &self.table, self.now());
        let told = told(&answer, &request, names);
        self.dedup.remove(&request.items[0].key());
        predicted
            .iter()
            .zip(&told)
            .try_for_each(|(p, t)| invariants::a_duplicate_names_the_first(p, t))
    }
}

/// An answer to a request, with names instead of ids.
fn told(answer: &Ingested, request: &RequestSpec, names: &mut Names) -> Vec<Stored> {
    let name = |(event, item): (&EventIngested, &ItemSpec)| match event {
        EventIngested::Stored { id, id_reused, unrouted, .. } => {
            names.events.insert(*id, item.key());
            Stored::As { key: item.key(), id_reused: *id_reused, unrouted: *unrouted }
        }
        EventIngested::Duplicate { first, .. } => {
            let known = names.events.get(first).cloned();
            Stored::DuplicateOf(known.unwrap_or_else(|| first.to_string()))
        }
    };
    answer.events.iter().zip(&request.items).map(name).collect()
}

fn brief(op: &Op) -> String {
    match op {
        Op::Ingest(requests) => {
            let items = requests.iter().flat_map(|r| r.items.iter().map(move |i| (r.source, i)));
            let items = items.map(|(source, i)| {
                format!(
                    "{}:{} {} {:?} {:?}/{}",
                    source,
                    i.kind,
                    i.key(),
                    i.script.deed,
                    i.id,
                    i.tag
                )
            });
            format!("ingest [{}]", items.collect::<Vec<_>>().join(", "))
        }
        Op::Settle(all) => {
            let all = all
                .iter()
                .map(|p| format!("{} {:?} {:?}", p.spec.delivery, p.spec.fence, p.spec.next));
            format!("settle [{}]", all.collect::<Vec<_>>().join(", "))
        }
        Op::Replay { request, what, wanted } => {
            format!("redrive {request} {what:?} {wanted:?}")
        }
        other => format!("{other:?}"),
    }
}
