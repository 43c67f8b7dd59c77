//! What is due, in memory: queues per target, lane and source, the claims on it, and the holds that stop it.
//!
//! Fed by each commit, rebuilt from the table at open. Each queue keeps a bounded window; what is past the window
//! is on disk only, behind a boundary, and is read in when the window runs dry. Nothing here is the truth: what a
//! claim hands out is checked against the stored row when it is read back, and again when it settles.

mod aside;
mod at_once;
mod oldest;
mod suspects;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_core::delivery::Fence;
use weir_core::event::Event;
use weir_core::time::Timestamp;

use super::names::NameId;
use crate::{ClaimedMessage, Lane};
pub(super) use oldest::Oldest;
use suspects::Suspects;
pub(super) use suspects::Turn;

/// How often a waiter is told at once about work that nobody came to claim.
const ANNOUNCED_MAX: u32 = 8;

/// A delivery as far as a claim needs it, handed on without being read back.
#[derive(Debug, Clone)]
pub(super) struct Handoff {
    pub(super) event: Arc<Event>,
    pub(super) message: Option<ClaimedMessage>,
}

impl Handoff {
    fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |m| m.payload.size());
        self.event.payload.size() + message + 256
    }
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) n: i64,
    /// None for fresh work.
    pub(super) due_at: Option<Timestamp>,
    pub(super) fence: Fence,
    pub(super) order_key: Option<Arc<str>>,
    pub(super) handoff: Option<Arc<Handoff>>,
}

impl Entry {
    fn lane(&self) -> Lane {
        if self.due_at.is_none() { Lane::Fresh } else { Lane::Late }
    }
}

/// Where a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) target: NameId,
    pub(super) source: NameId,
}

/// A claim on a delivery.
#[derive(Debug)]
struct ActiveClaim {
    token: u64,
    place: Place,
    entry: Entry,
    event: Option<Arc<Event>>,
}

/// What a claim took.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    pub(super) entry: Entry,
    pub(super) token: u64,
}

/// A part of a queue to read in from disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refill {
    pub(super) place: Place,
    pub(super) from: RefillFrom,
    pub(super) limit: usize,
    /// Rises when something was left on disk: tells whether more came while the refill was read.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum RefillFrom {
    /// Fresh deliveries with numbers above this.
    Fresh(i64),
    /// Deliveries due after this one.
    Late(Timestamp, i64),
}

/// What a refill found.
#[derive(Debug)]
pub(super) struct Refilled {
    pub(super) entries: Vec<Entry>,
    /// Where it stopped looking; none if it looked to the end.
    pub(super) stopped: Option<RefillFrom>,
}

/// One source's deliveries for one target.
#[derive(Debug, Default)]
struct Line {
    fresh: VecDeque<Entry>,
    /// Fresh deliveries above this are on disk only.
    fresh_boundary: Option<i64>,
    late: BTreeMap<(Timestamp, i64), Entry>,
    /// Deliveries due after this are on disk only.
    late_boundary: Option<(Timestamp, i64)>,
    /// While late work is being read in: what came past the boundary meanwhile, which the reading may have missed.
    late_came: Option<Vec<Entry>>,
    left_on_disk: u64,
}

#[derive(Debug)]
struct TargetQueue {
    lines: Vec<(NameId, Line)>,
    by_source: FxHashMap<NameId, usize>,
    /// The line whose turn it is, per lane.
    turn: [usize; 2],
    /// Whether the last claim, per lane, wanted more than there was.
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
    /// A target that nobody has claimed for yet counts as asked for.
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
    fn line(&mut self, source: NameId) -> &mut Line {
        let index = *self.by_source.entry(source).or_insert_with(|| {
            self.lines.push((source, Line::default()));
            self.lines.len() - 1
        });
        &mut self.lines[index].1
    }
}

/// All queues, claims and holds.
#[derive(Debug)]
pub(super) struct Due {
    targets: FxHashMap<NameId, TargetQueue>,
    claims: FxHashMap<i64, ActiveClaim>,
    next_token: u64,
    /// The delivery whose turn it is, by target and order key.
    heads: FxHashMap<(NameId, Arc<str>), i64>,
    held: FxHashMap<Held, u32>,
    suspects: Suspects,
    window: usize,
    handoff_room: usize,
}

/// What a hold stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Held {
    Source(NameId),
    Target(NameId),
}

/// What a claim heeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Holds, and when something is due.
    Everything,
    /// Neither: what waits is given up.
    Nothing,
}

impl Due {
    pub(super) fn new(window: usize, handoff_bytes: usize) -> Self {
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

    /// Puts a waiting delivery where claims find it, or leaves it on disk if the window is full. Returns whether
    /// somebody may be waiting for it.
    pub(super) fn feed(&mut self, place: Place, mut entry: Entry) -> bool {
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
        let order = entry.order_key.clone().map(|key| ((place.target, key), entry.n));
        let queue = self.targets.entry(place.target).or_default();
        let hungry = queue.hungry[lane];
        let dropped = queue.line(place.source).put(entry, window);
        if let Some((head, n)) = order {
            self.heads.insert(head, n);
        }
        if let Some(dropped) = dropped {
            self.let_go(place.target, &dropped);
        }
        hungry
    }

    /// The delivery of an order key whose turn it is, as far as memory knows.
    pub(super) fn head(&self, target: NameId, key: &Arc<str>) -> Option<i64> {
        self.heads.get(&(target, key.clone())).copied()
    }

    /// An ordered delivery is finished: it is somebody else's turn.
    pub(super) fn end_turn(&mut self, target: NameId, key: &Arc<str>, n: i64) {
        if self.head(target, key) == Some(n) {
            self.heads.remove(&(target, key.clone()));
        }
    }

    fn let_go(&mut self, target: NameId, entry: &Entry) {
        if let Some(key) = &entry.order_key {
            self.end_turn(target, key, entry.n);
        }
        if let Some(handoff) = &entry.handoff {
            self.handoff_room += handoff.bytes();
        }
    }

    /// Puts in what a refill read, unless it is claimed or known by now.
    pub(super) fn refilled(&mut self, refill: Refill, found: Refilled) {
        let target = refill.place.target;
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
        let line = self.targets.entry(target).or_default().line(refill.place.source);
        if line.take_in(refill, fit, found.stopped) {
            self.heads.extend(keys);
        }
    }

    /// A refill could not be read; the next claim asks for it again.
    pub(super) fn refill_failed(&mut self, refill: Refill) {
        let line = self.targets.entry(refill.place.target).or_default().line(refill.place.source);
        line.late_came = None;
    }

    // --- claiming

    /// Takes up to `limit` due deliveries of a target, one source after the other.
    pub(super) fn take(
        &mut self,
        target: NameId,
        lane: Lane,
        limit: usize,
        now: Timestamp,
        heed: Heed,
    ) -> Vec<Taken> {
        let mut taken = Vec::new();
        let heeds = heed == Heed::Everything;
        let due_by = if heeds { now } else { Timestamp::from_millis(u64::MAX) };
        let target_held = heeds && self.held.contains_key(&Held::Target(target));
        let queue = self.targets.entry(target).or_default();
        let lines = queue.lines.len();
        let turn = &mut queue.turn[lane_index(lane)];
        let mut dry = 0;
        while taken.len() < limit && dry < lines && !target_held {
            *turn = (*turn + 1) % lines;
            let (source, line) = &mut queue.lines[*turn];
            let entry = if heeds && self.held.contains_key(&Held::Source(*source)) {
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
                    let place = Place { target, source: *source };
                    taken.push(Taken { place, entry, token: self.next_token });
                    self.next_token += 1;
                }
                None => dry += 1,
            }
        }
        let index = lane_index(lane);
        queue.hungry[index] = taken.len() < limit;
        queue.announced[index] = 0;
        for Taken { place, entry, token } in &taken {
            let event = entry.handoff.as_ref().map(|h| h.event.clone());
            let claim = ActiveClaim { token: *token, place: *place, entry: entry.clone(), event };
            self.claims.insert(entry.n, claim);
        }
        taken
    }

    /// Whether some of a target's lines have nothing in memory and more on disk.
    pub(super) fn waits_on_disk(&self, target: NameId, lane: Lane) -> bool {
        let lines = self.targets.get(&target).map_or(&[][..], |queue| &queue.lines);
        lines.iter().any(|(_, line)| match lane {
            Lane::Fresh => line.fresh.is_empty() && line.fresh_boundary.is_some(),
            Lane::Late => line.late.is_empty() && line.late_boundary.is_some(),
        })
    }

    /// What to read in for a target whose windows ran dry. Each must end with [`Due::refilled`] or
    /// [`Due::refill_failed`].
    pub(super) fn refills(&mut self, target: NameId, lane: Lane, heed: Heed) -> Vec<Refill> {
        let Some(queue) = self.targets.get_mut(&target) else { return Vec::new() };
        let heeds = heed == Heed::Everything;
        if heeds && self.held.contains_key(&Held::Target(target)) {
            return Vec::new();
        }
        let mut refills = Vec::new();
        for (source, line) in &mut queue.lines {
            if !heeds || !self.held.contains_key(&Held::Source(*source)) {
                let place = Place { target, source: *source };
                refills.extend(line.refill(place, lane, self.window));
            }
        }
        refills
    }

    /// Notes the event of a claim that was read back, for what settling it will make.
    pub(super) fn note_event(&mut self, n: i64, token: u64, event: &Arc<Event>) {
        if let Some(claim) = self.claims.get_mut(&n).filter(|c| c.token == token) {
            claim.event = Some(event.clone());
        }
    }

    /// The event of a claimed delivery.
    pub(super) fn claimed_event(&self, n: i64) -> Option<Arc<Event>> {
        self.claims.get(&n).and_then(|c| c.event.clone())
    }

    pub(super) fn holds_claim(&self, n: i64, token: u64) -> bool {
        self.claims.get(&n).is_some_and(|c| c.token == token)
    }

    /// Whether a delivery is claimed for that attempt.
    pub(super) fn is_claimed_for(&self, n: i64, fence: Fence) -> bool {
        self.claims.get(&n).is_some_and(|c| c.entry.fence == fence)
    }

    /// The claimed deliveries, by where they waited, with whether it is a first attempt.
    pub(super) fn claimed(&self) -> impl Iterator<Item = (Place, bool)> {
        self.claims.values().map(|c| (c.place, c.entry.fence.attempt == 1))
    }

    pub(super) fn is_claimed(&self, n: i64) -> bool {
        self.claims.contains_key(&n)
    }

    /// Ends a claim whose delivery goes back to where it was. False if the claim has ended already.
    pub(super) fn give_back(&mut self, n: i64, token: u64) -> bool {
        if !self.holds_claim(n, token) {
            return false;
        }
        let Some(claim) = self.claims.remove(&n) else { return false };
        let window = self.window;
        let queue = self.targets.entry(claim.place.target).or_default();
        queue.announced = [0; 2];
        let dropped = queue.line(claim.place.source).put_back(claim.entry, window);
        if let Some(dropped) = dropped {
            self.let_go(claim.place.target, &dropped);
        }
        // A suspect may have waited for it to end.
        if !self.suspects.is_empty() {
            self.announce_again();
        }
        true
    }

    /// Ends a claim whose delivery does not go back, if it is for that very attempt.
    pub(super) fn end_claim(&mut self, n: i64, fence: Option<Fence>) {
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

    /// Takes a waiting delivery away for the writer, so that nobody can claim it until the writer has committed
    /// what it does with it. None if it is claimed. End it with [`Due::end_claim`] or [`Due::give_back`].
    pub(super) fn seize(&mut self, place: Place, n: i64, due_at: Option<Timestamp>) -> Option<u64> {
        if self.claims.contains_key(&n) {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        let line = self.targets.entry(place.target).or_default().line(place.source);
        let waiting = match due_at {
            Some(at) => line.late.remove(&(at, n)),
            None => {
                let at = line.fresh.iter().position(|e| e.n == n);
                at.and_then(|at| line.fresh.remove(at))
            }
        };
        // What is only on disk is seized too: a refill that is being read must not bring it in.
        let fence = Fence { generation: 0, attempt: 0 };
        let entry = waiting.unwrap_or(Entry { n, due_at, fence, order_key: None, handoff: None });
        self.claims.insert(n, ActiveClaim { token, place, entry, event: None });
        Some(token)
    }

    // --- holds

    /// Stops claims. Holds add up.
    pub(super) fn hold(&mut self, what: Held) {
        *self.held.entry(what).or_insert(0) += 1;
    }

    /// Takes one hold away.
    pub(super) fn release(&mut self, what: Held) {
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

    pub(super) fn is_held(&self, place: Place) -> bool {
        self.held.contains_key(&Held::Target(place.target))
            || self.held.contains_key(&Held::Source(place.source))
    }

    // --- waiting

    /// When something may be claimed that a claim lately wanted and did not get: `Some(now)` for at once.
    pub(super) fn next_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let held = &self.held;
        let mut next: Option<Timestamp> = None;
        for (target, queue) in &mut self.targets {
            if held.contains_key(&Held::Target(*target)) {
                continue;
            }
            let lines = || {
                let free = |source: &NameId| !held.contains_key(&Held::Source(*source));
                queue.lines.iter().filter(move |(source, _)| free(source)).map(|(_, line)| line)
            };
            let fresh = queue.hungry[0] && lines().any(Line::has_fresh);
            let late = lines().filter(|_| queue.hungry[1]).filter_map(Line::next_late).min();
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

impl Line {
    /// Adds a delivery, unless it belongs past the boundary. Returns one that had to leave the window.
    fn put(&mut self, entry: Entry, window: usize) -> Option<Entry> {
        match entry.due_at {
            None => {
                if self.fresh_boundary.is_none() && self.fresh.len() >= window {
                    self.fresh_boundary = self.fresh.iter().map(|e| e.n).max();
                }
                // What lies before the boundary is looked for nowhere else, so it always gets in.
                if self.fresh_boundary.is_some_and(|boundary| entry.n > boundary) {
                    self.left_on_disk += 1;
                    return Some(entry);
                }
                self.fresh.push_back(entry);
                None
            }
            Some(at) => {
                if self.late_boundary.is_some_and(|boundary| (at, entry.n) > boundary) {
                    if let Some(came) = &mut self.late_came {
                        came.push(Entry { handoff: None, ..entry.clone() });
                    }
                    self.left_on_disk += 1;
                    return Some(entry);
                }
                self.late.insert((at, entry.n), entry);
                if self.late.len() <= window {
                    return None;
                }
                let dropped = self.late.pop_last().map(|(_, entry)| entry);
                self.late_boundary = self.late.last_key_value().map(|(key, _)| *key);
                self.left_on_disk += 1;
                dropped
            }
        }
    }

    /// Puts back what was claimed; it has its room still, so fresh work is never turned away here.
    fn put_back(&mut self, entry: Entry, window: usize) -> Option<Entry> {
        if entry.due_at.is_some() {
            return self.put(entry, window);
        }
        self.fresh.push_front(entry);
        None
    }

    fn pop(&mut self, lane: Lane, now: Timestamp) -> Option<Entry> {
        match lane {
            Lane::Fresh => self.fresh.pop_front(),
            Lane::Late => {
                let first = self.late.first_entry()?;
                (first.key().0 <= now).then(|| first.remove())
            }
        }
    }

    fn refill(&mut self, place: Place, lane: Lane, window: usize) -> Option<Refill> {
        let from = match lane {
            Lane::Fresh if self.fresh.is_empty() => RefillFrom::Fresh(self.fresh_boundary?),
            Lane::Late if self.late.is_empty() && self.late_came.is_none() => {
                let (at, n) = self.late_boundary?;
                self.late_came = Some(Vec::new());
                RefillFrom::Late(at, n)
            }
            _ => return None,
        };
        Some(Refill { place, from, limit: window, seen: self.left_on_disk })
    }

    /// Takes in what a refill read. False if another refill came first: this one is dropped.
    fn take_in(
        &mut self,
        refill: Refill,
        entries: Vec<Entry>,
        stopped: Option<RefillFrom>,
    ) -> bool {
        // More was left on disk while the refill was read, so its end may not be the end.
        let more_came = self.left_on_disk != refill.seen;
        match refill.from {
            RefillFrom::Fresh(after) => {
                if self.fresh_boundary != Some(after) {
                    return false;
                }
                let reached = entries.last().map_or(after, |e| e.n);
                self.fresh.extend(entries);
                self.fresh_boundary = match stopped {
                    Some(RefillFrom::Fresh(at)) => Some(at),
                    _ if more_came => Some(reached),
                    _ => None,
                };
            }
            RefillFrom::Late(at, n) => {
                if self.late_boundary != Some((at, n)) {
                    self.late_came = None;
                    return false;
                }
                let boundary = match stopped {
                    Some(RefillFrom::Late(at, n)) => Some((at, n)),
                    _ => None,
                };
                let came = self.late_came.take().unwrap_or_default();
                for entry in entries.into_iter().chain(came) {
                    let Some(at) = entry.due_at else { continue };
                    if boundary.is_none_or(|boundary| (at, entry.n) <= boundary) {
                        self.late.insert((at, entry.n), entry);
                    }
                }
                self.late_boundary = boundary;
            }
        }
        true
    }

    fn has_fresh(&self) -> bool {
        !self.fresh.is_empty() || self.fresh_boundary.is_some()
    }

    fn next_late(&self) -> Option<Timestamp> {
        let first = self.late.first_key_value().map(|((at, _), _)| *at);
        first.or(self.late_boundary.map(|(at, _)| at))
    }
}

#[cfg(test)]
mod tests;
