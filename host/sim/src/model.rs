//! The expected contents of a store: every operation as a plain function on a [`World`] and the few
//! facts that a world does not show. Written from the promises, without regard to the store's code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::delivery::{DeliveryState, Fence, NextState};
use weir_core::effect::{Effects, Timing};
use weir_core::name::SourceName;
use weir_core::route::RouteTable;
use weir_core::time::Timestamp;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::upkeep::Retention;

use crate::cast;
use crate::world::{AttemptRow, DeliveryRow, EventRow, Key, World};

mod keys;
mod spec;

use spec::Value;
pub use spec::{ItemSpec, Reads, RequestSpec, SettleSpec, Settles, Stored};

/// An effect that waits under a handler's key.
#[derive(Debug, Clone)]
struct Keyed {
    id: u64,
    deliveries: Vec<Key>,
    until: Option<Timestamp>,
}

/// The facts about a delivery that a world does not show.
#[derive(Debug, Clone)]
struct Hidden {
    /// Its position among all order-key lines: when it was stored or last requeued.
    n: u64,
    event: Key,
    source: String,
    order_key: Option<String>,
    keyed: Option<(String, String, u64)>,
}

/// The first event of a dedup key.
#[derive(Debug, Clone)]
pub(crate) struct First {
    pub(crate) tag: u32,
    pub(crate) event: Key,
    pub(crate) at: Timestamp,
}

/// The expected contents of a store.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The expected rows, apart from claims, expiry and what waits under keys: see
    /// [`Model::shows`].
    pub(crate) world: World,
    hidden: BTreeMap<Key, Hidden>,
    state: BTreeMap<(String, String), Value>,
    keyed: BTreeMap<(String, String), Keyed>,
    holds: Vec<(NewHold, Timestamp)>,
    /// Events by source and the sender's id.
    pub(crate) firsts: BTreeMap<(String, String), First>,
    /// Events by id, for ids that were used with several bodies.
    pub(crate) tagged: BTreeMap<(String, String, u32), First>,
    /// Ids whose keys may be forgotten.
    forgotten: BTreeSet<(String, String)>,
    /// Replays by name, with what each made due and when.
    redrives: BTreeMap<String, (Vec<Key>, Timestamp)>,
    claims: BTreeMap<Key, Fence>,
    next: u64,
    /// Lead of the due-time line over the wall clock.
    pub(crate) ahead: Duration,
}

impl Model {
    fn take(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The rows that the store must show at this time, with this lead of its due-time line.
    #[must_use]
    pub fn shows(&self, now: Timestamp, ahead: Duration) -> World {
        let mut world = self.world.clone();
        for row in world.deliveries.values_mut() {
            row.due_at = row.due_at.map(|at| at.before(ahead));
        }
        for key in self.claims.keys().filter(|key| self.world.waits(key)) {
            if let Some(row) = world.deliveries.get_mut(key) {
                row.state = DeliveryState::Processing;
            }
        }
        let live = self.state.iter().filter(|(_, value)| value.is_live(now));
        world.state = live.map(|(key, value)| (key.clone(), value.text.clone())).collect();
        let waiting = self.keyed.iter().filter(|(_, keyed)| {
            keyed.deliveries.iter().any(|d| self.is_untried(d) && !self.claims.contains_key(d))
        });
        world.waiting = waiting.map(|(key, _)| key.clone()).collect();
        let holds = self.holds_at(now).map(|(h, at)| (h.scope.to_string(), h.until, *at));
        world.holds = holds.collect();
        world.holds.sort();
        world
    }

    /// The state that a start finds: nothing is claimed.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self { claims: BTreeMap::new(), ..self.clone() }
    }

    /// The claim of a delivery's next attempt.
    #[must_use]
    pub fn fence(&self, delivery: &str) -> Option<Fence> {
        let row = self.world.deliveries.get(delivery).filter(|_| self.world.waits(delivery))?;
        Some(Fence { generation: row.generation, attempt: row.attempts + 1 })
    }

    /// The target of a delivery.
    #[must_use]
    pub fn target_of(&self, delivery: &str) -> String {
        self.world.deliveries.get(delivery).map(|row| row.target.clone()).unwrap_or_default()
    }

    /// The event of a delivery.
    #[must_use]
    pub fn event_of(&self, delivery: &str) -> Option<&EventRow> {
        self.world.events.get(&self.hidden.get(delivery)?.event)
    }

    /// True if an active hold ends at a set time.
    #[must_use]
    pub fn has_ending_holds(&self) -> bool {
        self.holds.iter().any(|(hold, _)| hold.until.is_some())
    }

    /// Deliveries in a state, by name.
    #[must_use]
    pub fn in_state(&self, of: impl Fn(DeliveryState) -> bool) -> Vec<Key> {
        let rows = self.world.deliveries.iter().filter(|(_, row)| of(row.state));
        rows.map(|(key, _)| key.clone()).collect()
    }

    /// The dedup key of an event of a request, if it has one.
    #[must_use]
    pub fn known_ids(&self) -> Vec<(String, String, u32)> {
        let firsts = self.firsts.iter();
        firsts.map(|((source, id), first)| (source.clone(), id.clone(), first.tag)).collect()
    }

    // --- ingest

    /// Stores a request with its new events.
    pub fn ingest(
        &mut self,
        request: &RequestSpec,
        table: &RouteTable,
        now: Timestamp,
    ) -> Vec<Stored> {
        let mut answers = Vec::new();
        for item in &request.items {
            let key = item.key();
            let mut id_reused = false;
            if let Some(id) = &item.id {
                let place = (request.source.to_owned(), id.clone());
                let tagged = (place.0.clone(), place.1.clone(), item.tag);
                let first = First { tag: item.tag, event: key.clone(), at: now };
                match (self.firsts.get(&place), self.tagged.get(&tagged)) {
                    (Some(known), _) if known.tag == item.tag => {
                        answers.push(Stored::DuplicateOf(known.event.clone()));
                        continue;
                    }
                    (Some(_), Some(known)) => {
                        answers.push(Stored::DuplicateOf(known.event.clone()));
                        continue;
                    }
                    (Some(_), None) => {
                        id_reused = true;
                        self.tagged.insert(tagged, first);
                    }
                    (None, _) => {
                        self.firsts.insert(place, first);
                    }
                }
            }
            let routed = cast::routed(table, request.source, item.kind, item.order_key);
            let row = EventRow {
                source: request.source.to_owned(),
                kind: item.kind.to_owned(),
                at: now,
                delivery_id: item.id.clone(),
                id_reused,
                outward: None,
                parent: None,
                body: item.script.text(),
                deliveries: Vec::new(),
            };
            let unrouted = routed.deliveries.is_empty();
            self.world.events.insert(key.clone(), row);
            for delivery in routed.deliveries {
                let order_key = delivery.order_key.map(String::from);
                let target = delivery.target.to_string();
                self.add_delivery(&key, request.source, &target, None, order_key);
            }
            answers.push(Stored::As { key, id_reused, unrouted });
        }
        answers
    }

    fn add_delivery(
        &mut self,
        event: &str,
        source: &str,
        target: &str,
        due_at: Option<Timestamp>,
        order_key: Option<String>,
    ) -> Key {
        let key = format!("{event}>{target}");
        self.put_delivery(&key, event, source, target, due_at, order_key, None);
        if let Some(event) = self.world.events.get_mut(event) {
            event.deliveries.push(key.clone());
        }
        key
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    fn put_delivery(
        &mut self,
        key: &str,
        event: &str,
        source: &str,
        target: &str,
        due_at: Option<Timestamp>,
        order_key: Option<String>,
        message: Option<u128>,
    ) {
        let n = self.take();
        let (event, source) = (event.to_owned(), source.to_owned());
        self.hidden.insert(key.to_owned(), Hidden { n, event, source, order_key, keyed: None });
        let row = DeliveryRow {
            target: target.to_owned(),
            state: DeliveryState::Pending,
            generation: 0,
            attempts: 0,
            due_at,
            message,
        };
        self.world.deliveries.insert(key.to_owned(), row);
    }

    // --- claims

    /// Deliveries that may be claimed: of a target, new or due retries.
    #[must_use]
    pub fn claimable(&self, target: &str, late: bool, now: Timestamp) -> BTreeSet<Key> {
        let held = |hidden: &Hidden| {
            let source = SourceName::stored(&hidden.source);
            self.holds_at(now)
                .any(|(h, _)| target.parse().is_ok_and(|target| h.scope.covers(&source, &target)))
        };
        let rows = self.world.deliveries.iter().filter(|(key, row)| {
            row.target == target
                && self.world.waits(key)
                && !self.claims.contains_key(*key)
                && row.due_at.is_some() == late
                && row.due_at.is_none_or(|at| at <= now.after(self.ahead))
                && self.hidden.get(*key).is_some_and(|hidden| !held(hidden))
                && self.is_head(key)
        });
        rows.map(|(key, _)| key.clone()).collect()
    }

    /// True if no delivery of the same order key and target is before it.
    #[must_use]
    pub fn is_head(&self, delivery: &str) -> bool {
        let Some(hidden) = self.hidden.get(delivery) else { return false };
        let Some(order_key) = &hidden.order_key else { return true };
        let target = self.world.deliveries.get(delivery).map(|row| &row.target);
        !self.hidden.iter().any(|(other, theirs)| {
            theirs.n < hidden.n
                && theirs.order_key.as_ref() == Some(order_key)
                && self.world.waits(other)
                && self.world.deliveries.get(other).map(|row| &row.target) == target
        })
    }

    /// True if it has an order key that others share.
    #[must_use]
    pub fn is_ordered(&self, delivery: &str) -> bool {
        self.hidden.get(delivery).is_some_and(|hidden| hidden.order_key.is_some())
    }

    /// Records a claim.
    pub fn claimed(&mut self, delivery: &str, fence: Fence) {
        self.claims.insert(delivery.to_owned(), fence);
    }

    /// Records that a claim was returned.
    pub fn given_back(&mut self, delivery: &str) {
        self.claims.remove(delivery);
    }

    /// Claimed deliveries.
    #[must_use]
    pub fn claims(&self) -> Vec<Key> {
        self.claims.keys().cloned().collect()
    }

    /// True if a delivery is claimed.
    #[must_use]
    pub fn is_claimed(&self, delivery: &str) -> bool {
        self.claims.contains_key(delivery)
    }

    /// True if a delivery is claimed for this attempt.
    #[must_use]
    pub fn is_claimed_for(&self, delivery: &str, fence: Fence) -> bool {
        self.claims.get(delivery) == Some(&fence)
    }

    /// True if the dedup key of a sender's id may be forgotten.
    #[must_use]
    pub fn has_forgotten(&self, source: &str, id: &str) -> bool {
        self.forgotten.contains(&(source.to_owned(), id.to_owned()))
    }

    // --- settle

    /// The model's version of the reads of a run at `now`.
    #[must_use]
    pub fn version(
        &self,
        handler: &str,
        key: &str,
        now: Timestamp,
    ) -> (Option<u64>, Option<String>) {
        let value = self.state.get(&(handler.to_owned(), key.to_owned()));
        let value = value.filter(|value| value.is_live(now));
        (value.map(|v| v.version), value.map(|v| v.text.clone()))
    }

    fn listed(&self, handler: &str, prefix: &str, limit: usize, now: Timestamp) -> Vec<String> {
        let live = self.state.iter().filter(|((of, key), value)| {
            of == handler && key.starts_with(prefix) && value.is_live(now)
        });
        live.map(|((_, key), _)| key.clone()).take(limit).collect()
    }

    fn changed(&self, handler: &str, reads: &Reads) -> bool {
        let key_changed = |(key, seen): &(String, Option<u64>)| {
            let value = self.state.get(&(handler.to_owned(), key.clone()));
            match (seen, value) {
                (None, Some(value)) => value.is_live(reads.at),
                (Some(seen), Some(value)) => value.version != *seen,
                (Some(_), None) => true,
                (None, None) => false,
            }
        };
        reads.keys.iter().any(key_changed)
            || reads.ranges.iter().any(|(prefix, limit, keys)| {
                self.listed(handler, prefix, *limit, reads.at) != *keys
            })
    }

    /// Settles an attempt.
    pub fn settle(&mut self, spec: &SettleSpec, table: &RouteTable, now: Timestamp) -> Settles {
        if self.fence(&spec.delivery) != Some(spec.fence) {
            if self.claims.get(&spec.delivery) == Some(&spec.fence) {
                self.claims.remove(&spec.delivery);
            }
            return Settles::Superseded;
        }
        let target = self.world.deliveries[&spec.delivery].target.clone();
        let handler = target.strip_prefix("handler:").unwrap_or_default().to_owned();
        if self.changed(&handler, &spec.reads) {
            return Settles::Conflict;
        }
        let Fence { generation, attempt } = spec.fence;
        let name = format!("{}#{generation}.{attempt}", spec.delivery);
        let (messages, emitted) =
            self.effects(&handler, &spec.delivery, &name, &spec.effects, table, now);
        let (started_at, outcome) = (spec.started_at, spec.outcome);
        let row = AttemptRow { started_at, outcome, messages, emitted };
        self.world.attempts.insert(name, row);
        if let Some(row) = self.world.deliveries.get_mut(&spec.delivery) {
            row.attempts += 1;
            (row.state, row.due_at) = match spec.next {
                NextState::Processed => (DeliveryState::Processed, None),
                NextState::DeadLetter => (DeliveryState::DeadLetter, None),
                NextState::Retry { delay } => {
                    (DeliveryState::Retrying, Some(now.after(self.ahead + delay)))
                }
            };
        }
        self.claims.remove(&spec.delivery);
        if let Some((handler, key, id)) = self.hidden[&spec.delivery].keyed.clone()
            && self.keyed.get(&(handler.clone(), key.clone())).is_some_and(|k| k.id == id)
        {
            self.tidy(&handler, &key);
        }
        Settles::Applied
    }

    fn effects(
        &mut self,
        handler: &str,
        delivery: &str,
        attempt: &str,
        effects: &Effects,
        table: &RouteTable,
        now: Timestamp,
    ) -> (Vec<Key>, Vec<Key>) {
        let source = format!("@{handler}");
        let event = self.hidden[delivery].event.clone();
        for cancel in &effects.cancels {
            self.cancel(handler, &cancel.key, cancel.ahead_seconds, now);
        }
        let line = now.after(self.ahead);
        let due = |timing: &Timing| {
            let delay = Duration::from_secs(timing.delay_seconds.into());
            (timing.delay_seconds > 0).then(|| line.after(delay))
        };
        let mut messages = Vec::new();
        for (n, message) in effects.messages.iter().enumerate() {
            let key = format!("{attempt}+m{n}");
            let under = self.take_key(handler, message.timing.key.as_deref(), now);
            let target = format!("destination:{}", message.destination);
            let due_at = due(&message.timing);
            let id = Some(message.id.bits());
            self.put_delivery(&key, &event, &source, &target, due_at, None, id);
            self.put_under(&under, std::slice::from_ref(&key));
            messages.push(key);
        }
        let mut emitted = Vec::new();
        for (n, emit) in effects.emits.iter().enumerate() {
            let key = format!("{attempt}+e{n}");
            let routed = cast::routed(table, &source, emit.kind.as_str(), None);
            let named = emit.timing.key.as_deref().filter(|_| !routed.deliveries.is_empty());
            let under = self.take_key(handler, named, now);
            let row = EventRow {
                source: source.clone(),
                kind: emit.kind.to_string(),
                at: now,
                delivery_id: None,
                id_reused: false,
                outward: Some(emit.id.bits()),
                parent: Some(event.clone()),
                body: String::from_utf8_lossy(&emit.payload.body).into_owned(),
                deliveries: Vec::new(),
            };
            self.world.events.insert(key.clone(), row);
            let mut made = Vec::new();
            for delivery in routed.deliveries {
                let target = delivery.target.to_string();
                made.push(self.add_delivery(&key, &source, &target, due(&emit.timing), None));
            }
            self.put_under(&under, &made);
            emitted.push(key);
        }
        for write in &effects.state {
            let place = (handler.to_owned(), String::from(write.key.clone()));
            match &write.value {
                Some(text) => {
                    let (text, version) = (text.to_string(), self.take());
                    let expires_at = write.expires_at;
                    self.state.insert(place, Value { text, version, expires_at });
                }
                None => {
                    self.state.remove(&place);
                }
            }
        }
        (messages, emitted)
    }

    // --- acts

    /// Makes deliveries due again, each at the end of its line.
    pub fn replay(&mut self, request: &str, wanted: &[Key], now: Timestamp) -> Vec<Key> {
        if let Some((done, _)) = self.redrives.get(request) {
            // Rows that retention has removed since are not named again.
            let there = done.iter().filter(|key| self.world.deliveries.contains_key(*key));
            return there.cloned().collect();
        }
        let mut in_line = wanted.to_vec();
        in_line.sort_by_key(|key| self.hidden.get(key).map(|hidden| hidden.n));
        for key in &in_line {
            if let Some(row) = self.world.deliveries.get_mut(key) {
                row.state = DeliveryState::Pending;
                row.generation += 1;
                row.attempts = 0;
                row.due_at = Some(now.after(self.ahead));
            }
            let n = self.take();
            if let Some(hidden) = self.hidden.get_mut(key) {
                hidden.n = n;
            }
        }
        self.redrives.insert(request.to_owned(), (wanted.to_vec(), now));
        wanted.to_vec()
    }

    /// Names of the replays that were done.
    #[must_use]
    pub fn redrives(&self) -> Vec<String> {
        self.redrives.keys().cloned().collect()
    }

    /// An event's deliveries, with the messages of their attempts.
    #[must_use]
    pub fn family(&self, event: &str) -> Vec<Key> {
        let of = self.hidden.iter().filter(|(_, hidden)| hidden.event == event);
        of.map(|(key, _)| key.clone()).collect()
    }

    /// Places a hold.
    pub fn hold(&mut self, hold: &NewHold, now: Timestamp) {
        self.holds.push((hold.clone(), now));
    }

    /// Ends a hold.
    pub fn release(&mut self, scope: &HoldScope, placed_at: Timestamp, until: Option<Timestamp>) {
        let same = |(hold, at): &(NewHold, Timestamp)| {
            hold.scope == *scope && *at == placed_at && hold.until == until
        };
        if let Some(at) = self.holds.iter().position(same) {
            self.holds.remove(at);
        }
    }

    fn holds_at(&self, now: Timestamp) -> impl Iterator<Item = &(NewHold, Timestamp)> {
        self.holds.iter().filter(move |(hold, _)| hold.until.is_none_or(|until| until > now))
    }

    /// Forgets holds that have ended: they do not return when the clock is set back.
    pub fn end_holds(&mut self, now: Timestamp) {
        self.holds.retain(|(hold, _)| hold.until.is_none_or(|until| until > now));
    }

    // --- upkeep

    /// Events that retention may remove now: old, and finished with all that they caused.
    #[must_use]
    pub fn removable(&self, retention: &Retention, now: Timestamp) -> BTreeSet<Key> {
        let old = |at: Timestamp| now.since(at) > retention.payload_life;
        let over = |event: &str| {
            let family = self.family(event);
            family.iter().all(|d| self.world.deliveries.get(d).is_none_or(|r| r.state.is_final()))
        };
        let events = self.world.events.iter().filter(|(key, row)| old(row.at) && over(key));
        events.map(|(key, _)| key.clone()).collect()
    }

    /// Removes these events, and the rows that expire with time.
    pub fn pruned(&mut self, gone: &BTreeSet<Key>, retention: &Retention, now: Timestamp) {
        for event in gone {
            for delivery in self.family(event) {
                self.world.deliveries.remove(&delivery);
                self.hidden.remove(&delivery);
                let of = format!("{delivery}#");
                self.world
                    .attempts
                    .retain(|name, _| name.strip_prefix(&of).is_none_or(|rest| rest.contains('+')));
            }
            self.world.events.remove(event);
        }
        for attempt in self.world.attempts.values_mut() {
            attempt.emitted.retain(|event| !gone.contains(event));
        }
        let expired = |value: &Value| {
            let hour = Duration::from_secs(3600);
            value.expires_at.is_some_and(|at| now.since(at) > hour)
        };
        self.state.retain(|_, value| !expired(value));
        let waiting: BTreeSet<Key> =
            self.world.deliveries.keys().filter(|d| self.is_untried(d)).cloned().collect();
        self.keyed.retain(|_, keyed| {
            keyed.until = keyed.until.filter(|until| *until > now);
            keyed.until.is_some() || keyed.deliveries.iter().any(|d| waiting.contains(d))
        });
        self.forget_keys(retention, now);
    }

    /// Dedup keys and replay names past their life may be known or not, so the simulation does not
    /// use them any more.
    pub fn forget_keys(&mut self, retention: &Retention, now: Timestamp) {
        let over = self.firsts.iter().filter(|(_, f)| now.since(f.at) > retention.dedup_life);
        let over: BTreeSet<_> = over.map(|(place, _)| place.clone()).collect();
        self.firsts.retain(|place, _| !over.contains(place));
        self.tagged.retain(|(source, id, _), _| !over.contains(&(source.clone(), id.clone())));
        self.forgotten.extend(over);
        self.redrives.retain(|_, (_, at)| now.since(*at) <= retention.dedup_life);
    }
}
