//! Counts of a backtest by type of event and by effect, and the cost of both versions. Bounded.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_core::delivery::Outcome;

use super::compare::{Compared, EffectChange, RunChange};
use super::world::Ran;
use crate::offline::EffectRecord;

/// The most rows of each table; further types and effects count together.
const ROWS_MAX: usize = 500;
/// The name of the row for all further ones.
const OTHERS: &str = "(others)";

/// Counts of one type of event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TypeRow {
    /// The source and type.
    #[serde(rename = "type")]
    pub(crate) name: String,
    pub(crate) events: u64,
    pub(crate) same: u64,
    pub(crate) changed: u64,
    pub(crate) newly_failing: u64,
    pub(crate) newly_working: u64,
    /// Events on which both versions fail, also counted as same or changed.
    pub(crate) failing: u64,
}

/// Counts of one kind of effect on one type of event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct EffectRow {
    #[serde(rename = "type")]
    pub(crate) name: String,
    /// The effect with its destination or type.
    pub(crate) effect: String,
    pub(crate) same: u64,
    pub(crate) changed: u64,
    pub(crate) added: u64,
    pub(crate) lost: u64,
}

/// The cost of the runs of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    pub(crate) runs: u64,
    /// Runs that were stopped at their time limit.
    pub(crate) timeouts: u64,
    pub(crate) processor_us: u64,
    /// The processor time of the slowest run.
    pub(crate) slowest_us: u64,
    /// The most linear memory of a run, in bytes.
    pub(crate) memory_peak: u64,
}

/// The counts of a backtest so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Events that are for at least one of the versions.
    pub(crate) events: u64,
    /// Events that are for neither version.
    pub(crate) skipped: u64,
    pub(crate) differing: u64,
    #[serde(skip)]
    types: BTreeMap<String, TypeRow>,
    #[serde(skip)]
    effects: BTreeMap<(String, String), EffectRow>,
    pub(crate) incumbent: Cost,
    pub(crate) candidate: Cost,
}

impl Cost {
    fn add(&mut self, ran: &Ran) {
        // A condition that cannot be evaluated costs no run.
        if !ran.subscribed || ran.outcome == Outcome::ConditionError {
            return;
        }
        self.runs += 1;
        self.timeouts += u64::from(ran.is_timeout());
        self.processor_us += ran.processor_us;
        self.slowest_us = self.slowest_us.max(ran.processor_us);
        self.memory_peak = self.memory_peak.max(ran.memory_peak);
    }
}

impl Tally {
    /// Counts an event. `name` is its source and type.
    pub(crate) fn add(&mut self, name: &str, incumbent: &Ran, candidate: &Ran, by: &Compared) {
        if !incumbent.subscribed && !candidate.subscribed {
            self.skipped += 1;
            return;
        }
        self.incumbent.add(incumbent);
        self.candidate.add(candidate);
        self.events += 1;
        self.differing += u64::from(by.verdict != RunChange::Same);
        let known = self.types.contains_key(name) || self.types.len() < ROWS_MAX;
        let name = if known { name } else { OTHERS };
        let row = self
            .types
            .entry(name.to_owned())
            .or_insert_with(|| TypeRow { name: name.to_owned(), ..TypeRow::default() });
        row.events += 1;
        row.failing += u64::from(incumbent.fails() && candidate.fails());
        *match by.verdict {
            RunChange::Same => &mut row.same,
            RunChange::Changed => &mut row.changed,
            RunChange::NewlyFailing => &mut row.newly_failing,
            RunChange::NewlyWorking => &mut row.newly_working,
        } += 1;
        for change in &by.effects {
            self.add_effect(name, change);
        }
    }

    fn add_effect(&mut self, name: &str, change: &EffectChange) {
        let mut key = (name.to_owned(), label(change.effect()));
        if !self.effects.contains_key(&key) && self.effects.len() >= ROWS_MAX {
            key = (OTHERS.to_owned(), OTHERS.to_owned());
        }
        let row = self.effects.entry(key.clone()).or_insert_with(|| EffectRow {
            name: key.0,
            effect: key.1,
            ..EffectRow::default()
        });
        *match change {
            EffectChange::Same { .. } => &mut row.same,
            EffectChange::Changed { .. } => &mut row.changed,
            EffectChange::Added { .. } => &mut row.added,
            EffectChange::Lost { .. } => &mut row.lost,
        } += 1;
    }

    /// The counts by type.
    pub(crate) fn types(&self) -> Vec<TypeRow> {
        self.types.values().cloned().collect()
    }

    /// The counts by type and effect.
    pub(crate) fn effects(&self) -> Vec<EffectRow> {
        self.effects.values().cloned().collect()
    }
}

/// An effect with its destination or type; keys of state are too many for names of rows.
fn label(effect: &EffectRecord) -> String {
    let EffectRecord { effect, destination, kind, .. } = effect;
    let what = destination.as_deref().or(kind.as_deref());
    what.map_or_else(|| effect.clone(), |what| format!("{effect} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backtest::compare;

    fn ran(outcome: Outcome, to: &str) -> Ran {
        let effect = json!({ "effect": "send", "destination": to, "body": "x" });
        let effects = vec![serde_json::from_value(effect).unwrap()];
        Ran { outcome, effects, subscribed: true, processor_us: 5, ..Ran::default() }
    }

    #[test]
    fn rows_count_events_effects_and_cost() {
        let mut tally = Tally::default();
        let mut add = |before: &Ran, after: &Ran| {
            tally.add("github:push", before, after, &compare(before, after));
        };
        let (a, b, failed) =
            (ran(Outcome::Ok, "a"), ran(Outcome::Ok, "b"), ran(Outcome::Timeout, "a"));
        add(&a, &a);
        add(&a, &b);
        add(&a, &failed);
        add(&failed, &failed);
        add(&Ran::default(), &Ran::default());
        assert_eq!((tally.events, tally.skipped, tally.differing), (4, 1, 2));
        let row = &tally.types()[0];
        assert_eq!((row.same, row.changed, row.newly_failing, row.failing), (2, 1, 1, 1));
        let effects: Vec<_> = tally.effects();
        assert_eq!(
            (effects[0].effect.as_str(), effects[0].same, effects[0].lost),
            ("send a", 1, 1)
        );
        assert_eq!((effects[1].effect.as_str(), effects[1].added), ("send b", 1));
        assert_eq!((tally.candidate.runs, tally.candidate.timeouts), (4, 2));
        assert_eq!(tally.incumbent.processor_us, 20);
    }

    #[test]
    fn rows_are_bounded() {
        let mut tally = Tally::default();
        for n in 0..2 * ROWS_MAX {
            let (before, after) = (ran(Outcome::Ok, "a"), ran(Outcome::Ok, &format!("d{n}")));
            tally.add(&format!("s:{n}"), &before, &after, &compare(&before, &after));
        }
        assert_eq!(tally.types().len(), ROWS_MAX + 1);
        assert!(tally.effects().len() <= ROWS_MAX + 1);
        assert_eq!(tally.types().iter().map(|row| row.events).sum::<u64>(), 2 * ROWS_MAX as u64);
    }
}
