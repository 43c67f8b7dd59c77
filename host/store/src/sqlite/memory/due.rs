//! Due queues in memory: waiting deliveries by target, lane and source, their claims, and their
//! holds.
//!
//! Each commit adds to the queues, and they are loaded from the table at open. A queue keeps a
//! bounded window; deliveries beyond its boundary are on disk only and are loaded when the window
//! is empty. The stored rows decide: a claim is compared with its row when it is read back, and
//! again when it settles.

mod aside;
mod at_once;
mod oldest;
mod source_queue;
mod suspects;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_core::delivery::Fence;
use weir_core::event::Event;
use weir_core::time::Timestamp;

use crate::sqlite::format::names::NameId;
use crate::{ClaimedMessage, Lane};
pub(crate) use oldest::Oldest;
use source_queue::SourceQueue;
pub(crate) use suspects::HandlerTurn;
use suspects::Suspects;

/// Number of immediate wake-ups for work that no worker claims.
const ANNOUNCED_MAX: u32 = 8;

/// Event and message of a delivery, given to its claim without reading them back.
#[derive(Debug, Clone)]
pub(crate) struct Handoff {
    pub(crate) event: Arc<Event>,
    pub(crate) message: Option<ClaimedMessage>,
}

impl Handoff {
    fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |m| m.payload.size());
        self.event.payload.size() + message + 256
    }
}

/// A waiting delivery.
#[derive(Debug, Clone)]
pub(crate) struct DueEntry {
    pub(crate) n: i64,
    /// None for fresh work.
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) fence: Fence,
    pub(crate) order_key: Option<Arc<str>>,
    pub(crate) handoff: Option<Arc<Handoff>>,
}

impl DueEntry {
    fn lane(&self) -> Lane {
        if self.due_at.is_none() { Lane::Fresh } else { Lane::Late }
    }
}

/// Key of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QueueKey {
    pub(crate) target: NameId,
    pub(crate) source: NameId,
}

/// A claim on a delivery.
#[derive(Debug)]
struct ActiveClaim {
    token: u64,
    queue_key: QueueKey,
    entry: DueEntry,
    event: Option<Arc<Event>>,
}

/// A delivery that a claim took out of its queue.
#[derive(Debug)]
pub(crate) struct TakenDelivery {
    pub(crate) queue_key: QueueKey,
    pub(crate) entry: DueEntry,
    pub(crate) token: u64,
}

/// A part of a queue to load from disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refill {
    pub(crate) queue_key: QueueKey,
    pub(crate) from: RefillFrom,
    pub(crate) limit: usize,
    /// Counter of deliveries left on disk, which shows whether more were added during the refill.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum RefillFrom {
    /// Fresh deliveries with numbers above this.
    Fresh(i64),
    /// Deliveries due after this one.
    Late(Timestamp, i64),
}

/// Deliveries that a refill found.
#[derive(Debug)]
pub(crate) struct Refilled {
    pub(crate) entries: Vec<DueEntry>,
    /// Position at which it stopped; none if it read to the end.
    pub(crate) stopped: Option<RefillFrom>,
}

#[derive(Debug)]
struct TargetQueue {
    lines: Vec<(NameId, SourceQueue)>,
    by_source: FxHashMap<NameId, usize>,
    /// The source whose turn it is, per lane.
    turn: [usize; 2],
    /// True if the last claim wanted more than there was, per lane.
    hungry: [bool; 2],
    announced: [u32; 2],
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Fresh => 0,
        Lane::Late => 1,
    }
}

impl Default for TargetQueue {
    /// A target without a claim so far counts as wanted.
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            by_source: FxHashMap::default(),
            turn: [0; 2],
            hungry: [true; 2],
            announced: [0; 2],
        }
    }
}

impl TargetQueue {
    fn line(&mut self, source: NameId) -> &mut SourceQueue {
        let index = *self.by_source.entry(source).or_insert_with(|| {
            self.lines.push((source, SourceQueue::default()));
            self.lines.len() - 1
        });
        &mut self.lines[index].1
    }
}

/// All queues, claims and holds of a store.
#[derive(Debug)]
pub(crate) struct Due {
    targets: FxHashMap<NameId, TargetQueue>,
    claims: FxHashMap<i64, ActiveClaim>,
    next_token: u64,
    /// The head of each order key, by target.
    heads: FxHashMap<(NameId, Arc<str>), i64>,
    held: FxHashMap<HeldKey, u32>,
    suspects: Suspects,
    window: usize,
    handoff_room: usize,
}

/// Scope of a hold as names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HeldKey {
    Hub,
    Source(NameId),
    Target(NameId),
}

/// Selection of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimMode {
    /// Due deliveries that are not on hold.
    Due,
    /// All waiting deliveries, which will be given up.
    Abandoned,
}

impl Due {
    pub(crate) fn new(window: usize, handoff_bytes: usize) -> Self {
        Self {
            targets: FxHashMap::default(),
            claims: FxHashMap::default(),
            next_token: 1,
            heads: FxHashMap::default(),
            held: FxHashMap::default(),
            suspects: Suspects::new(),
            window: window.max(1),
            handoff_room: handoff_bytes,
        }
    }

    // --- filling

    /// Adds a waiting delivery to its queue, or leaves it on disk if the window is full. True if a
    /// worker may be waiting for it.
    pub(crate) fn feed(&mut self, queue_key: QueueKey, mut entry: DueEntry) -> bool {
        if self.claims.contains_key(&entry.n) {
            return false;
        }
        if let Some(handoff) = &entry.handoff {
            let bytes = handoff.bytes();
            match self.handoff_room.checked_sub(bytes) {
                Some(left) => self.handoff_room = left,
                None => entry.handoff = None,
            }
        }
        let window = self.window;
        let lane = lane_index(entry.lane());
        let order = entry.order_key.clone().map(|key| ((queue_key.target, key), entry.n));
        let queue = self.targets.entry(queue_key.target).or_default();
        let hungry = queue.hungry[lane];
        let dropped = queue.line(queue_key.source).put(entry, window);
        if let Some((head, n)) = order {
            self.heads.insert(head, n);
        }
        if let Some(dropped) = dropped {
            self.let_go(queue_key.target, &dropped);
        }
        hungry
    }

    /// The head of an order key, if it is in memory.
    pub(crate) fn head(&self, target: NameId, key: &Arc<str>) -> Option<i64> {
        self.heads.get(&(target, key.clone())).copied()
    }

    /// Removes a finished delivery as the head of its order key.
    pub(crate) fn end_turn(&mut self, target: NameId, key: &Arc<str>, n: i64) {
        if self.head(target, key) == Some(n) {
            self.heads.remove(&(target, key.clone()));
        }
    }

    fn let_go(&mut self, target: NameId, entry: &DueEntry) {
        if let Some(key) = &entry.order_key {
            self.end_turn(target, key, entry.n);
        }
        if let Some(handoff) = &entry.handoff {
            self.handoff_room += handoff.bytes();
        }
    }

    /// Adds the deliveries of a refill, except those that are claimed or known by now.
    pub(crate) fn refilled(&mut self, refill: Refill, found: Refilled) {
        let target = refill.queue_key.target;
        let mut fit = Vec::with_capacity(found.entries.len());
        for entry in found.entries {
            let waits_for_another = entry
                .order_key
                .as_ref()
                .is_some_and(|key| self.head(target, key).is_some_and(|head| head != entry.n));
            if !self.claims.contains_key(&entry.n) && !waits_for_another {
                fit.push(entry);
            }
        }
        let keys: Vec<_> = fit
            .iter()
            .filter_map(|e| e.order_key.clone().map(|key| ((target, key), e.n)))
            .collect();
        let line = self.targets.entry(target).or_default().line(refill.queue_key.source);
        if line.take_in(refill, fit, found.stopped) {
            self.heads.extend(keys);
        }
    }

    /// Notes that a refill failed. The next claim asks for it again.
    pub(crate) fn refill_failed(&mut self, refill: Refill) {
        let line =
            self.targets.entry(refill.queue_key.target).or_default().line(refill.queue_key.source);
        line.late_came = None;
    }

    // --- claiming

    /// Takes up to `limit` due deliveries of a target, its sources in turn.
    pub(crate) fn take(
        &mut self,
        target: NameId,
        lane: Lane,
        limit: usize,
        now: Timestamp,
        mode: ClaimMode,
    ) -> Vec<TakenDelivery> {
        let mut taken = Vec::new();
        let regular = mode == ClaimMode::Due;
        let due_by = if regular { now } else { Timestamp::from_millis(u64::MAX) };
        let target_held = regular && is_target_held(&self.held, target);
        let queue = self.targets.entry(target).or_default();
        let lines = queue.lines.len();
        let turn = &mut queue.turn[lane_index(lane)];
        let mut dry = 0;
        while taken.len() < limit && dry < lines && !target_held {
            *turn = (*turn + 1) % lines;
            let (source, line) = &mut queue.lines[*turn];
            let entry = if regular && self.held.contains_key(&HeldKey::Source(*source)) {
                None
            } else {
                line.pop(lane, due_by)
            };
            match entry {
                Some(entry) if self.claims.contains_key(&entry.n) => {
                    self.handoff_room += entry.handoff.as_ref().map_or(0, |h| h.bytes());
                }
                Some(entry) => {
                    dry = 0;
                    let queue_key = QueueKey { target, source: *source };
                    taken.push(TakenDelivery { queue_key, entry, token: self.next_token });
                    self.next_token += 1;
                }
                None => dry += 1,
            }
        }
        let index = lane_index(lane);
        queue.hungry[index] = taken.len() < limit;
        queue.announced[index] = 0;
        for TakenDelivery { queue_key, entry, token } in &taken {
            let event = entry.handoff.as_ref().map(|h| h.event.clone());
            let claim =
                ActiveClaim { token: *token, queue_key: *queue_key, entry: entry.clone(), event };
            self.claims.insert(entry.n, claim);
        }
        taken
    }

    /// True if a queue of the target is empty in memory and has more on disk.
    pub(crate) fn waits_on_disk(&self, target: NameId, lane: Lane) -> bool {
        let lines = self.targets.get(&target).map_or(&[][..], |queue| &queue.lines);
        lines.iter().any(|(_, line)| match lane {
            Lane::Fresh => line.fresh.is_empty() && line.fresh_boundary.is_some(),
            Lane::Late => line.late.is_empty() && line.late_boundary.is_some(),
        })
    }

    /// Refills for the empty windows of a target. Each must end with [`Due::refilled`] or
    /// [`Due::refill_failed`].
    pub(crate) fn refills(&mut self, target: NameId, lane: Lane, mode: ClaimMode) -> Vec<Refill> {
        let Some(queue) = self.targets.get_mut(&target) else { return Vec::new() };
        let regular = mode == ClaimMode::Due;
        if regular && is_target_held(&self.held, target) {
            return Vec::new();
        }
        let mut refills = Vec::new();
        for (source, line) in &mut queue.lines {
            if !regular || !self.held.contains_key(&HeldKey::Source(*source)) {
                let queue_key = QueueKey { target, source: *source };
                refills.extend(line.refill(queue_key, lane, self.window));
            }
        }
        refills
    }

    /// Stores the event of a claim that was read back, for its effects.
    pub(crate) fn note_event(&mut self, n: i64, token: u64, event: &Arc<Event>) {
        if let Some(claim) = self.claims.get_mut(&n).filter(|c| c.token == token) {
            claim.event = Some(event.clone());
        }
    }

    /// The event of a claimed delivery.
    pub(crate) fn claimed_event(&self, n: i64) -> Option<Arc<Event>> {
        self.claims.get(&n).and_then(|c| c.event.clone())
    }

    pub(crate) fn holds_claim(&self, n: i64, token: u64) -> bool {
        self.claims.get(&n).is_some_and(|c| c.token == token)
    }

    /// The queues of claimed deliveries, with true for a first attempt.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = (QueueKey, bool)> {
        self.claims.values().map(|c| (c.queue_key, c.entry.fence.attempt == 1))
    }

    /// The numbers of claimed deliveries.
    pub(crate) fn claimed_numbers(&self) -> impl Iterator<Item = i64> {
        self.claims.keys().copied()
    }

    /// True if a delivery is claimed for that attempt.
    pub(crate) fn is_claimed_for(&self, n: i64, fence: Fence) -> bool {
        self.claims.get(&n).is_some_and(|c| c.entry.fence == fence)
    }

    pub(crate) fn is_claimed(&self, n: i64) -> bool {
        self.claims.contains_key(&n)
    }

    /// Ends a claim and puts its delivery back into its queue. False if the claim has ended
    /// already.
    pub(crate) fn give_back(&mut self, n: i64, token: u64) -> bool {
        if !self.holds_claim(n, token) {
            return false;
        }
        let Some(claim) = self.claims.remove(&n) else { return false };
        let window = self.window;
        let queue = self.targets.entry(claim.queue_key.target).or_default();
        queue.announced = [0; 2];
        let dropped = queue.line(claim.queue_key.source).put_back(claim.entry, window);
        if let Some(dropped) = dropped {
            self.let_go(claim.queue_key.target, &dropped);
        }
        // A suspect may wait for it to end.
        if !self.suspects.is_empty() {
            self.announce_again();
        }
        true
    }

    /// Ends a claim without putting its delivery back, if the fence is the same.
    pub(crate) fn end_claim(&mut self, n: i64, fence: Option<Fence>) {
        let same = |claim: &ActiveClaim| fence.is_none_or(|fence| claim.entry.fence == fence);
        if self.claims.get(&n).is_some_and(same)
            && let Some(claim) = self.claims.remove(&n)
        {
            self.handoff_room += claim.entry.handoff.as_ref().map_or(0, |h| h.bytes());
            if !self.suspects.is_empty() {
                self.announce_again();
            }
        }
    }

    /// Takes a waiting delivery out of its queue for the writer, so that no worker claims it before
    /// the commit. None if it is claimed. End it with [`Due::end_claim`] or [`Due::give_back`].
    pub(crate) fn seize(
        &mut self,
        queue_key: QueueKey,
        n: i64,
        due_at: Option<Timestamp>,
    ) -> Option<u64> {
        if self.claims.contains_key(&n) {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        let line = self.targets.entry(queue_key.target).or_default().line(queue_key.source);
        let waiting = match due_at {
            Some(at) => line.late.remove(&(at, n)),
            None => {
                let at = line.fresh.iter().position(|e| e.n == n);
                at.and_then(|at| line.fresh.remove(at))
            }
        };
        // A delivery on disk is seized too, so that a refill under way does not add it.
        let fence = Fence { generation: 0, attempt: 0 };
        let entry =
            waiting.unwrap_or(DueEntry { n, due_at, fence, order_key: None, handoff: None });
        self.claims.insert(n, ActiveClaim { token, queue_key, entry, event: None });
        Some(token)
    }

    // --- holds

    /// Adds a hold. Several holds may cover the same scope.
    pub(crate) fn hold(&mut self, what: HeldKey) {
        *self.held.entry(what).or_insert(0) += 1;
    }

    /// Removes one hold.
    pub(crate) fn release(&mut self, what: HeldKey) {
        if let Some(count) = self.held.get_mut(&what) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&what);
            }
        }
        for queue in self.targets.values_mut() {
            queue.announced = [0; 2];
        }
    }

    pub(crate) fn is_held(&self, queue_key: QueueKey) -> bool {
        is_target_held(&self.held, queue_key.target)
            || self.held.contains_key(&HeldKey::Source(queue_key.source))
    }

    // --- waiting

    /// Time at which work is due that a claim wanted and did not get: `Some(now)` for at once.
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let held = &self.held;
        let mut next: Option<Timestamp> = None;
        for (target, queue) in &mut self.targets {
            if is_target_held(held, *target) {
                continue;
            }
            let lines = || {
                let free = |source: &NameId| !held.contains_key(&HeldKey::Source(*source));
                queue.lines.iter().filter(move |(source, _)| free(source)).map(|(_, line)| line)
            };
            let fresh = queue.hungry[0] && lines().any(SourceQueue::has_fresh);
            let late = lines().filter(|_| queue.hungry[1]).filter_map(SourceQueue::next_late).min();
            let late_now = late.is_some_and(|at| at <= now);
            for (index, ready) in [(0, fresh), (1, late_now)] {
                if ready && queue.announced[index] < ANNOUNCED_MAX {
                    queue.announced[index] += 1;
                    return Some(now);
                }
            }
            if let Some(at) = late.filter(|at| *at > now) {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
        }
        next
    }
}

/// True if a hold covers every delivery of a target.
fn is_target_held(held: &FxHashMap<HeldKey, u32>, target: NameId) -> bool {
    held.contains_key(&HeldKey::Hub) || held.contains_key(&HeldKey::Target(target))
}

#[cfg(test)]
mod tests;
