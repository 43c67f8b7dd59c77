//! The differences between the runs of two versions on one event. Pure.

use serde::Serialize;
use weir_core::delivery::Outcome;

use super::world::Ran;
use crate::offline::EffectRecord;

/// The difference between two versions on one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunChange {
    /// The same effects, or the same failure.
    Same,
    /// Both succeed with other effects, or both fail in another way.
    Changed,
    /// Only the incumbent succeeds.
    NewlyFailing,
    /// Only the candidate succeeds.
    NewlyWorking,
}

/// An effect of one version or both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum EffectChange {
    Same {
        effect: EffectRecord,
    },
    /// The same kind of effect, with other content.
    Changed {
        incumbent: Box<EffectRecord>,
        candidate: Box<EffectRecord>,
    },
    /// Only of the candidate.
    Added {
        candidate: EffectRecord,
    },
    /// Only of the incumbent.
    Lost {
        incumbent: EffectRecord,
    },
}

impl EffectChange {
    /// The effect that names it.
    pub(crate) fn effect(&self) -> &EffectRecord {
        match self {
            Self::Same { effect } => effect,
            Self::Changed { candidate, .. } => candidate,
            Self::Added { candidate } => candidate,
            Self::Lost { incumbent } => incumbent,
        }
    }

    pub(crate) fn is_same(&self) -> bool {
        matches!(self, Self::Same { .. })
    }
}

/// The runs of both versions on one event, compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub(crate) verdict: RunChange,
    /// Empty if either failed.
    pub(crate) effects: Vec<EffectChange>,
}

/// Compares the runs of both versions on one event. A version that the event is not for
/// succeeds without effects.
pub(crate) fn compare(incumbent: &Ran, candidate: &Ran) -> Compared {
    let works = |ran: &Ran| ran.outcome == Outcome::Ok;
    let (verdict, effects) = match (works(incumbent), works(candidate)) {
        (true, true) => {
            let effects = changes(&incumbent.effects, &candidate.effects);
            let same = effects.iter().all(EffectChange::is_same);
            (if same { RunChange::Same } else { RunChange::Changed }, effects)
        }
        (true, false) => (RunChange::NewlyFailing, Vec::new()),
        (false, true) => (RunChange::NewlyWorking, Vec::new()),
        // Reasons name addresses and line numbers, which differ between builds.
        (false, false) if incumbent.outcome == candidate.outcome => (RunChange::Same, Vec::new()),
        (false, false) => (RunChange::Changed, Vec::new()),
    };
    Compared { verdict, effects }
}

/// Pairs the effects of both versions: equal ones first, then those of the same kind and name, each
/// in order.
fn changes(incumbent: &[EffectRecord], candidate: &[EffectRecord]) -> Vec<EffectChange> {
    let mut of_candidate: Vec<Option<&EffectRecord>> = candidate.iter().map(Some).collect();
    let mut take = |matches: &dyn Fn(&EffectRecord) -> bool| {
        let found = of_candidate.iter_mut().find(|slot| slot.is_some_and(matches));
        found.and_then(Option::take)
    };
    let equal: Vec<bool> =
        incumbent.iter().map(|effect| take(&|other| *other == *effect).is_some()).collect();
    let mut changes = Vec::with_capacity(incumbent.len().max(candidate.len()));
    for (effect, is_equal) in incumbent.iter().zip(equal) {
        changes.push(if is_equal {
            EffectChange::Same { effect: effect.clone() }
        } else {
            let incumbent = effect.clone();
            match take(&|other| names(other) == names(effect)) {
                Some(candidate) => {
                    let (incumbent, candidate) = (incumbent.into(), candidate.clone().into());
                    EffectChange::Changed { incumbent, candidate }
                }
                None => EffectChange::Lost { incumbent },
            }
        });
    }
    let added = of_candidate.into_iter().flatten().cloned();
    changes.extend(added.map(|candidate| EffectChange::Added { candidate }));
    changes
}

/// The parts of an effect that say which one it is.
fn names(effect: &EffectRecord) -> (&str, Option<&str>, Option<&str>, Option<&str>) {
    let EffectRecord { effect, destination, kind, key, .. } = effect;
    // The key of a message may be what has changed; that of a state write is its name.
    let key = key.as_deref().filter(|_| effect.starts_with("state.") || effect == "cancel");
    (effect, destination.as_deref(), kind.as_deref(), key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn effect(value: serde_json::Value) -> EffectRecord {
        serde_json::from_value(value).unwrap()
    }

    fn send(to: &str, body: &str) -> EffectRecord {
        effect(json!({ "effect": "send", "destination": to, "body": body }))
    }

    fn set(key: &str, value: &str) -> EffectRecord {
        effect(json!({ "effect": "state.set", "key": key, "value": value }))
    }

    fn ran(outcome: Outcome, effects: Vec<EffectRecord>) -> Ran {
        Ran { outcome, effects, ..Ran::default() }
    }

    fn ok(effects: &[EffectRecord]) -> Ran {
        ran(Outcome::Ok, effects.to_vec())
    }

    fn words(compared: &Compared) -> Vec<String> {
        let word = |change: &EffectChange| {
            serde_json::to_value(change).unwrap()["change"].as_str().unwrap().to_owned()
        };
        compared.effects.iter().map(word).collect()
    }

    #[test]
    fn each_effect_is_same_changed_added_or_lost() {
        let before = ok(&[send("a", "1"), send("a", "2"), set("n", "1"), send("b", "x")]);
        let after = ok(&[send("a", "2"), send("a", "3"), set("m", "1"), set("n", "2")]);
        let compared = compare(&before, &after);
        assert_eq!(compared.verdict, RunChange::Changed);
        assert_eq!(words(&compared), ["changed", "same", "changed", "lost", "added"]);
    }

    #[test]
    fn the_order_of_equal_effects_does_not_count() {
        let (a, b) = (send("a", "1"), send("b", "2"));
        let compared = compare(&ok(&[a.clone(), b.clone()]), &ok(&[b, a]));
        assert_eq!(compared.verdict, RunChange::Same);
    }

    #[test]
    fn failures_are_new_gone_or_the_same() {
        let failed = |outcome| ran(outcome, Vec::new());
        let (crashed, reject) = (failed(Outcome::Crashed), failed(Outcome::Reject));
        for (before, after, wanted) in [
            (&ok(&[]), &crashed, RunChange::NewlyFailing),
            (&crashed, &ok(&[]), RunChange::NewlyWorking),
            (&crashed, &crashed, RunChange::Same),
            (&crashed, &reject, RunChange::Changed),
        ] {
            assert_eq!(compare(before, after).verdict, wanted);
        }
    }

    proptest! {
        #[test]
        fn no_effect_is_counted_twice_or_left_out(
            before in prop::collection::vec(("[ab]", "[xy]"), 0..6),
            after in prop::collection::vec(("[ab]", "[xy]"), 0..6),
        ) {
            let of = |all: &[(String, String)]| {
                ok(&all.iter().map(|(to, body)| send(to, body)).collect::<Vec<_>>())
            };
            let compared = compare(&of(&before), &of(&after));
            let count = |wanted: &str| words(&compared).iter().filter(|word| *word == wanted).count();
            let both = count("same") + count("changed");
            prop_assert_eq!(both + count("lost"), before.len());
            prop_assert_eq!(both + count("added"), after.len());
            let mut sorted = [before, after];
            sorted.iter_mut().for_each(|all| all.sort());
            let same = sorted[0] == sorted[1];
            prop_assert_eq!(compared.verdict == RunChange::Same, same);
        }
    }
}
