//! The steps of a life: the choice of the next step, and each step.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use weir_core::delivery::{DeliveryState, NextState, Outcome, Verdict, decide};
use weir_core::effect::{Effects, MessageContent};
use weir_core::name::{SourceName, Target};
use weir_core::retry::{Backoff, RetryPolicy};
use weir_core::state::ReadSet;
use weir_core::time::Timestamp;
use weir_store::hold::{HoldId, HoldScope, NewHold};
use weir_store::upkeep::{ReplaySelection, Retention};
use weir_store::{Claim, ClaimRequest, Dispatch, Lane, Operations};

use crate::cast;
use crate::disk::Death;
use crate::invariants::{self, Broken, Holds, broken};
use crate::model::{Reads, SettleSpec};
use crate::op::{Op, Prepared};
use crate::script::{self, Deed};
use crate::sim::{Open, Sim};
use crate::world::Key;

const DAY: Duration = Duration::from_secs(86_400);
/// Deliveries that one run works on.
const OPEN_MAX: usize = 6;

impl Sim<'_> {
    /// Runs a whole life.
    pub(crate) async fn live(&mut self) -> Holds {
        self.begin().await?;
        for _ in 0..self.settings.steps {
            self.tally.steps += 1;
            self.step().await?;
            if let Some(sql) = self.settings.tamper {
                self.tamper(sql);
            }
        }
        self.finish().await
    }

    async fn step(&mut self) -> Holds {
        match self.random.random_range(0..100) {
            0..22 => self.ingest().await,
            22..40 => self.claim().await,
            40..50 => self.run_one().await,
            50..70 => self.settle().await,
            70..73 => self.settle_again().await,
            73..75 => self.let_go().await,
            75..79 => self.replay().await,
            79..82 => self.hold().await,
            82..84 => self.release().await,
            84..86 => self.prune().await,
            86..92 => self.move_clock().await,
            92..94 => self.checkpoint(),
            94..95 => self.fill_disk().await,
            95..97 => self.restart_step().await,
            _ => self.crash().await,
        }
    }

    async fn ingest(&mut self) -> Holds {
        let requests = match self.random.random_range(0..4) {
            0 => self.random.random_range(2..4),
            _ => 1,
        };
        let mut batch = Vec::new();
        for _ in 0..requests {
            let known = self.model.known_ids();
            let again = known.choose(&mut self.random).cloned();
            let request = match (self.random.random_range(0..8), again) {
                (0..2, Some((source, id, tag))) => self.repeat(&source, &id, tag),
                (2, Some((source, id, tag))) => self.repeat(&source, &id, tag + 1),
                _ => {
                    let deed = self.deed();
                    let mut request = self.new_request(deed);
                    while request.items.len() < 3 && self.random.random_bool(0.2) {
                        let deed = self.deed();
                        request.items.push(self.new_item(request.source, deed));
                    }
                    request
                }
            };
            batch.push(request);
        }
        if self.random.random_bool(0.1) {
            // The same id twice in one batch.
            let first = batch[0].items[0].clone();
            if let Some(id) = &first.id {
                let (source, id) = (batch[0].source, id.clone());
                batch.truncate(2);
                batch.push(self.repeat(source, &id, first.tag));
            }
        }
        self.operate(Op::Ingest(batch)).await
    }

    fn deed(&mut self) -> Deed {
        Deed::EVERY[self.random.random_range(0..Deed::EVERY.len())]
    }

    // --- runs

    async fn claim(&mut self) -> Holds {
        if self.open.len() >= OPEN_MAX {
            return self.settle().await;
        }
        let targets = cast::targets();
        let target = targets[self.random.random_range(0..targets.len())].clone();
        let lane = if self.random.random_bool(0.6) { Lane::Fresh } else { Lane::Late };
        let limit = self.random.random_range(1..4);
        self.claim_some(&target, lane, limit).await
    }

    async fn claim_some(&mut self, target: &Target, lane: Lane, limit: usize) -> Holds {
        let now = self.now();
        self.model.end_holds(now);
        let wanted = self.model.claimable(&target.to_string(), lane == Lane::Late, now);
        let store = self.store()?;
        let wish = ClaimRequest { target: target.clone(), lane, limit };
        let claimed = store.claim(&[wish]).await.map_err(|e| self.unanswered("claim", &e))?;
        self.note(format!(
            "claim {target} {lane:?} {limit}: {} of {}",
            claimed.len(),
            wanted.len()
        ));
        let complete = if self.window_is_large() { wanted.len() } else { 0 };
        let mut keys = BTreeSet::new();
        for claimed in claimed {
            keys.insert(self.take_in(claimed, &wanted)?);
        }
        if keys.len() < limit.min(complete) {
            invariants::what_waits_is_handed_out(&wanted, &keys)?;
        }
        Ok(())
    }

    fn take_in(&mut self, claimed: Claim, wanted: &BTreeSet<Key>) -> Result<Key, Broken> {
        let key = self.names.deliveries.get(&claimed.delivery).cloned();
        let key = key.unwrap_or_else(|| format!("unknown {}", claimed.delivery));
        if !wanted.contains(&key) || self.model.is_claimed(&key) {
            broken("INV-2", format!("delivery {key} is handed out and should not be"))?;
        }
        if self.model.fence(&key) != Some(claimed.fence) {
            let how = format!("{key} is claimed for {:?}", claimed.fence);
            broken("INV-4", how)?;
        }
        if let Some(message) = &claimed.message {
            let given = self.said.get(&key).map_or((0, &b""[..]), |(id, body)| (*id, &body[..]));
            let carried = (message.id.bits(), &message.payload.body[..]);
            invariants::a_message_keeps_its_id(&key, given, carried)?;
        } else {
            let event = self.model.event_of(&key);
            let body = event.map(|row| row.body.as_bytes());
            if body != Some(&claimed.event.payload.body) {
                broken("INV-1", format!("{key} is claimed with another body"))?;
            }
        }
        self.model.claimed(&key, claimed.fence);
        self.open.push(Open { key: key.clone(), claimed, ready: None });
        Ok(key)
    }

    /// Runs one claimed delivery. It settles later, when its reads may have changed.
    async fn run_one(&mut self) -> Holds {
        let idle = self.open.iter().position(|open| open.ready.is_none());
        match idle {
            Some(at) => self.run(at).await,
            None => self.claim().await,
        }
    }

    async fn run(&mut self, at: usize) -> Holds {
        let store = self.store()?;
        let Open { key, claimed, .. } = &self.open[at];
        let (key, fence, now) = (key.clone(), claimed.fence, claimed.now);
        let (id, event) = (claimed.delivery, claimed.event.clone());
        let (verdict, outcome, effects, reads, seen) = match claimed.target.clone() {
            Target::Handler(handler) => {
                let state = store.state(&handler);
                let run = script::run(&handler, &event, fence, now, &*state).await;
                let run = run.map_err(|e| Broken { promise: "soundness", how: e.to_string() })?;
                let reads = self.reads(&handler.to_string(), &run.reads, &run.seen)?;
                self.note_effects(&key, &event, handler.as_str(), fence, &run.effects)?;
                (run.verdict, run.outcome, run.effects, run.reads, reads)
            }
            Target::Destination(_) => {
                let reads = ReadSet { at: now, ..ReadSet::default() };
                let (verdict, outcome) = match self.random.random_range(0..6) {
                    0 => (Verdict::TryAgain { at_least: None }, Outcome::Status),
                    1 => (Verdict::GiveUp, Outcome::Status),
                    _ => (Verdict::Done, Outcome::Ok),
                };
                let none = Reads { at: now, ..Reads::default() };
                (verdict, outcome, Effects::default(), reads, none)
            }
        };
        let next = self.decide(verdict, fence.attempt)?;
        let effects = if next == NextState::Processed { effects } else { Effects::default() };
        let spec = SettleSpec {
            delivery: key,
            fence,
            started_at: now,
            outcome,
            next,
            effects,
            reads: seen,
        };
        self.open[at].ready = Some(Prepared { id, spec, reads, reads_are_old: false });
        Ok(())
    }

    fn decide(&mut self, verdict: Verdict, attempt: u32) -> Result<NextState, Broken> {
        let list = [0, 10, 60].map(Duration::from_secs).to_vec();
        let policy = RetryPolicy::try_new(Backoff::List(list), 4, 0.5);
        let policy = policy.map_err(|e| Broken { promise: "simulator", how: e.to_string() })?;
        Ok(decide(verdict, attempt, &policy, policy.longest(), &mut self.random))
    }

    /// The reads of a run, in the model's terms: each must be the last committed value.
    fn reads(
        &self,
        handler: &str,
        reads: &ReadSet,
        seen: &[(String, Option<String>)],
    ) -> Result<Reads, Broken> {
        let mut keys = Vec::new();
        for (key, value) in seen {
            let (version, expected) = self.model.version(handler, key, reads.at);
            if expected != *value {
                let how = format!("{handler} read {key} as {value:?} instead of {expected:?}");
                broken("INV-3", how)?;
            }
            keys.push((key.clone(), version));
        }
        let ranges = reads.ranges.iter().map(|range| {
            let keys = range.keys.iter().map(|key| String::from(key.clone())).collect();
            (String::from(range.prefix.clone()), range.limit as usize, keys)
        });
        Ok(Reads { at: reads.at, keys, ranges: ranges.collect() })
    }

    /// Records the content of each outward id before it is stored.
    fn note_effects(
        &mut self,
        delivery: &str,
        event: &weir_core::event::Event,
        handler: &str,
        fence: weir_core::delivery::Fence,
        effects: &Effects,
    ) -> Holds {
        let attempt = format!("{delivery}#{}.{}", fence.generation, fence.attempt);
        let mut twins: Vec<(String, String, Vec<u8>)> = Vec::new();
        let mut note = |to: String, content_type: String, body: &[u8], id: u128| {
            let same = (to, content_type, body.to_vec());
            let twin = twins.iter().filter(|other| **other == same).count();
            twins.push(same.clone());
            let (to, content_type, body) = same;
            let handler = handler.to_owned();
            let saying = (event.public_id.bits(), handler, to, content_type, body, twin);
            self.ledger.note(saying, id)
        };
        for (n, message) in effects.messages.iter().enumerate() {
            let payload = match &message.content {
                MessageContent::Own(payload) => payload.clone(),
                MessageContent::Forward { .. } => event.payload.clone(),
            };
            let id = message.id.bits();
            let to = format!("destination:{}", message.destination);
            note(to, payload.content_type().to_owned(), &payload.body, id)?;
            self.said.insert(format!("{attempt}+m{n}"), (id, payload.body.to_vec()));
        }
        for emit in &effects.emits {
            let content_type = emit.payload.content_type().to_owned();
            note(format!("event:{}", emit.kind), content_type, &emit.payload.body, emit.id.bits())?;
        }
        Ok(())
    }

    // --- settling

    async fn settle(&mut self) -> Holds {
        let most = self.random.random_range(1..4);
        let mut batch = Vec::new();
        for at in 0..self.open.len() {
            if batch.len() < most {
                if self.open[at].ready.is_none() && self.random.random_bool(0.7) {
                    self.run(at).await?;
                }
                batch.extend(self.open[at].ready.clone());
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.settle_batch(batch).await
    }

    async fn settle_batch(&mut self, batch: Vec<Prepared>) -> Holds {
        self.operate(Op::Settle(batch.clone())).await?;
        for settled in batch {
            let spec = &settled.spec;
            let mine = |open: &Open| open.key == spec.delivery && open.claimed.fence == spec.fence;
            if let Some(at) = self.open.iter().position(mine) {
                if self.model.is_claimed_for(&spec.delivery, spec.fence) {
                    // The settlement was refused by a conflict or a full disk, so the delivery runs
                    // again at once.
                    self.open[at].ready = None;
                } else {
                    self.open.remove(at);
                }
            }
            self.past.push(settled);
        }
        Ok(())
    }

    /// Settles again what was settled before, or what a crash may have lost.
    async fn settle_again(&mut self) -> Holds {
        let Some(stale) = self.past.choose(&mut self.random).cloned() else { return Ok(()) };
        self.settle_batch(vec![stale]).await
    }

    /// Returns a claim without using an attempt.
    async fn let_go(&mut self) -> Holds {
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.open.len());
        let open = self.open.remove(at);
        let held = self.model.is_claimed_for(&open.key, open.claimed.fence);
        let store = self.store()?;
        let holds = store.is_claimed(&open.claimed);
        if holds != held {
            broken("INV-4", format!("the claim on {} holds: {holds}", open.key))?;
        }
        self.note(format!("let go of {}", open.key));
        if held {
            self.model.given_back(&open.key);
        }
        drop(open);
        let model = self.model.clone();
        self.compare(&store, &model, None).await
    }

    // --- acts

    async fn replay(&mut self) -> Holds {
        let done = self.model.redrives();
        let again = done.choose(&mut self.random).filter(|_| self.random.random_bool(0.2));
        let request = match again {
            Some(request) => request.clone(),
            None => {
                self.serial += 1;
                format!("r{}", self.serial)
            }
        };
        let dead = self.model.in_state(|state| state == DeliveryState::DeadLetter);
        let over = self.model.in_state(DeliveryState::is_final);
        let (what, wanted) = match self.random.random_range(0..4) {
            0 => (ReplaySelection::DeadLetters(None), dead),
            1 if !dead.is_empty() => {
                let one = &dead[self.random.random_range(0..dead.len())];
                let target = self.model.target_of(one);
                let of_target = |key: &Key| self.model.target_of(key) == target;
                let wanted = dead.iter().filter(|key| of_target(key)).cloned().collect();
                (ReplaySelection::DeadLetters(target.parse().ok()), wanted)
            }
            2 if !self.model.world.events.is_empty() => {
                let events: Vec<&Key> = self.model.world.events.keys().collect();
                let event = events[self.random.random_range(0..events.len())].clone();
                let Some(id) = self.names.event(&event) else { return Ok(()) };
                let family = self.model.family(&event);
                let wanted = family.into_iter().filter(|key| dead.contains(key)).collect();
                (ReplaySelection::Event(id), wanted)
            }
            _ => {
                let Some(one) = over.choose(&mut self.random).cloned() else { return Ok(()) };
                let Some(id) = self.names.delivery(&one) else { return Ok(()) };
                (ReplaySelection::Delivery(id), vec![one])
            }
        };
        self.operate(Op::Replay { request, what, wanted }).await
    }

    async fn hold(&mut self) -> Holds {
        let scope = match self.random.random_range(0..3) {
            0 => HoldScope::Source(SourceName::stored(cast::SOURCES[0])),
            1 => HoldScope::Handler(cast::handler(cast::HANDLERS[self.random.random_range(0..2)])),
            _ => {
                let name = cast::DESTINATIONS[self.random.random_range(0..2)];
                HoldScope::Destination(cast::destination(name))
            }
        };
        let until = self.random.random_bool(0.5).then(|| self.now().after(Duration::from_secs(90)));
        let hold = NewHold { scope, reason: "operator".into(), by: "sim".into(), until };
        self.operate(Op::Hold(hold)).await
    }

    async fn release(&mut self) -> Holds {
        self.model.end_holds(self.now());
        let store = self.store()?;
        let holds = store.holds().await.map_err(|e| self.unanswered("list holds", &e))?;
        drop(store);
        let Some(one) = holds.choose(&mut self.random).cloned() else { return Ok(()) };
        self.operate(Op::Release { id: one.id, hold: one.hold, at: one.at }).await
    }

    async fn prune(&mut self) -> Holds {
        if self.random.random_bool(0.5) {
            self.operate(Op::Confirm).await?;
            self.doubted_since = None;
        }
        let life = Duration::from_secs([60, 3600, 86_400][self.random.random_range(0..3)]);
        let dedup_life = life * self.random.random_range(1..4);
        // A settlement that is repeated after this could refer to removed rows.
        for prepared in &mut self.past {
            prepared.reads_are_old = true;
        }
        let retention = Retention {
            payload_life: life,
            attempt_life: life,
            dedup_life,
            ..Retention::default()
        };
        self.operate(Op::Prune(retention)).await
    }

    async fn move_clock(&mut self) -> Holds {
        let ms = |n: u64| Duration::from_millis(n);
        let by = match self.random.random_range(0..10) {
            0..5 => ms(self.random.random_range(1..20_000)),
            5..8 => Duration::from_secs(self.random.random_range(30..7_200)),
            8 => {
                let now = self.now();
                let by = DAY * self.random.random_range(2..5);
                self.doubted_since.get_or_insert(now);
                self.note(format!("clock set ahead {by:?}"));
                return self.set_clock(now.after(by)).await;
            }
            _ => {
                let back = ms(self.random.random_range(1..5_000));
                if self.model.has_ending_holds() {
                    return Ok(());
                }
                self.note(format!("clock set back {back:?}"));
                return self.set_clock(self.now().before(back)).await;
            }
        };
        self.note(format!("clock on {by:?}"));
        self.clock.forward(by);
        self.clock_moved = true;
        self.model.end_holds(self.now());
        Ok(())
    }

    /// The wall clock is changed; waits are not longer than they should be.
    async fn set_clock(&mut self, to: Timestamp) -> Holds {
        let before = self.now().after(self.model.ahead);
        self.clock.set(to);
        self.clock_moved = true;
        self.model.end_holds(to);
        let store = self.store()?;
        // Reads the time and stores it while no other call runs.
        let looked = store.release(HoldId(u64::MAX)).await;
        if let Err(e) = looked
            && !self.full
        {
            return Err(self.unanswered("look at the time", &e));
        }
        self.model.ahead = store.stats().set_back;
        invariants::no_wait_is_longer(before, to.after(self.model.ahead))
    }

    fn checkpoint(&mut self) -> Holds {
        let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][self.random.random_range(0..4)];
        self.note(format!("checkpoint {mode}"));
        self.move_log(mode)
    }

    /// The disk is full for a while.
    async fn fill_disk(&mut self) -> Holds {
        if self.settings.only_crashes {
            return Ok(());
        }
        self.note("the disk is full".into());
        self.full = true;
        self.disk.set_faults(self.faults());
        for _ in 0..self.random.random_range(1..5) {
            match self.random.random_range(0..3) {
                0 => self.settle().await?,
                1 => self.claim().await?,
                _ => self.ingest().await?,
            }
        }
        self.note("there is room".into());
        self.full = false;
        self.disk.set_faults(self.faults());
        let deed = self.deed();
        let request = self.new_request(deed);
        self.operate(Op::Ingest(vec![request])).await
    }

    async fn restart_step(&mut self) -> Holds {
        self.full = false;
        self.restart().await
    }

    // --- the end

    /// All waiting deliveries are finished; then none waits.
    async fn finish(&mut self) -> Holds {
        self.note("finish".into());
        let store = self.store()?;
        let holds = store.holds().await.map_err(|e| self.unanswered("list holds", &e))?;
        drop(store);
        self.model.end_holds(self.now());
        for hold in holds {
            let (id, at) = (hold.id, hold.at);
            // No fault strikes here: a release that a crash undid would leave deliveries that
            // cannot finish.
            self.operate_quietly(Op::Release { id, hold: hold.hold, at }).await?;
        }
        for _ in 0..400 {
            let waits = |s: DeliveryState| !s.is_final();
            if self.model.in_state(waits).is_empty() {
                break;
            }
            self.open.clear();
            for key in self.model.claims() {
                self.model.given_back(&key);
            }
            self.clock.forward(Duration::from_secs(600));
            for target in cast::targets() {
                for lane in [Lane::Fresh, Lane::Late] {
                    self.claim_some(&target, lane, 20).await?;
                }
            }
            let done: Vec<Prepared> = self.open.iter().map(done).collect();
            for batch in done.chunks(8) {
                self.operate_quietly(Op::Settle(batch.to_vec())).await?;
            }
        }
        let left = self.model.in_state(|s| !s.is_final());
        if let Some(key) = left.first() {
            return broken("INV-1", format!("delivery {key} never came to an end"));
        }
        let image = self.end(Death::PowerLoss);
        let model = self.model.clone();
        self.fork(image, &model, None).await
    }
}

/// A settlement that only ends a delivery.
fn done(open: &Open) -> Prepared {
    let at = open.claimed.now;
    Prepared {
        id: open.claimed.delivery,
        spec: SettleSpec {
            delivery: open.key.clone(),
            fence: open.claimed.fence,
            started_at: at,
            outcome: Outcome::Ok,
            next: NextState::Processed,
            effects: Effects::default(),
            reads: Reads { at, ..Reads::default() },
        },
        reads: ReadSet { at, ..ReadSet::default() },
        reads_are_old: false,
    }
}
