//! Runs fixtures and compares what happened with what they expect.

use std::collections::BTreeMap;
use std::sync::Arc;

use similar::TextDiff;
use weir_core::delivery::Outcome;
use weir_core::error::chain;
use weir_core::time::Timestamp;

use super::effect_record::EffectRecord;
use super::fixture::{ExpectedEnd, Fixture, StateValue, TimeField};
use super::fixture_files::FixtureFile;
use super::handler::OfflineHandler;
use super::memory_state::MemoryState;
use super::run_record::RecordedRun;

/// Bytes of a difference that are kept.
const DIFFERENCE_BYTES_MAX: usize = 16 * 1024;

/// The result of one fixture.
#[derive(Debug, Clone)]
pub(crate) struct FixtureResult {
    /// The name of its file.
    pub(crate) name: String,
    pub(crate) end: FixtureEnd,
}

/// The end of one fixture.
#[derive(Debug, Clone)]
pub(crate) enum FixtureEnd {
    Passed(Box<RecordedRun>),
    /// The run did something else than expected: the difference, line by line.
    Differs {
        difference: String,
        record: Box<RecordedRun>,
    },
    /// The file is no fixture, for this reason.
    Unreadable(String),
}

impl FixtureResult {
    pub(crate) fn passed(&self) -> bool {
        matches!(self.end, FixtureEnd::Passed(_))
    }

    /// The reason why it did not pass, for people.
    pub(crate) fn reason(&self) -> Option<String> {
        match &self.end {
            FixtureEnd::Passed(_) => None,
            FixtureEnd::Differs { difference, .. } => {
                Some(format!("fixture {} differs (-expected +got):\n{difference}", self.name))
            }
            FixtureEnd::Unreadable(reason) => Some(format!("fixture {} {reason}", self.name)),
        }
    }
}

/// Runs one fixture.
pub(crate) async fn check_fixture(handler: &OfflineHandler, file: &FixtureFile) -> FixtureResult {
    let name = file.name.clone();
    let end = match parsed(file) {
        Ok(fixture) => check(handler, &fixture).await,
        Err(reason) => FixtureEnd::Unreadable(reason),
    };
    FixtureResult { name, end }
}

fn parsed(file: &FixtureFile) -> Result<Fixture, String> {
    let text = file.text.as_deref().map_err(|reason| (*reason).to_owned())?;
    Fixture::parse(text).map_err(|error| chain(&error))
}

async fn check(handler: &OfflineHandler, fixture: &Fixture) -> FixtureEnd {
    let (record, got) = match run_fixture(handler, fixture).await {
        Ok(ran) => ran,
        Err(reason) => return FixtureEnd::Unreadable(reason),
    };
    let record = Box::new(record);
    let mut expected = fixture.expect.clone().unwrap_or_else(ExpectedEnd::success);
    let effects = expected.effects.map(|all| all.into_iter().map(EffectRecord::normalized));
    expected.effects = effects.map(Iterator::collect);
    let got = got.in_parts_of(&expected);
    match difference(&expected, &got) {
        None => FixtureEnd::Passed(record),
        Some(difference) => FixtureEnd::Differs { difference, record },
    }
}

/// Runs a fixture. Returns the run, and all that a fixture can expect of it.
pub(crate) async fn run_fixture(
    handler: &OfflineHandler,
    fixture: &Fixture,
) -> Result<(RecordedRun, ExpectedEnd), String> {
    let mut handler = handler.clone();
    handler.add_config(fixture.config.iter().map(|(k, v)| (k.clone(), v.clone())));
    let state = Arc::new(fixture.memory_state());
    let input = fixture.input(state.clone()).map_err(|error| chain(&error))?;
    let now = input.now;
    let run = handler.run(input).await;
    state.apply(&run.report.effects.state);
    let record = RecordedRun::of(&run, now);
    let got = ExpectedEnd::of(&record, &state, now);
    Ok((record, got))
}

/// The difference of two ends, or none if they are the same.
fn difference(expected: &ExpectedEnd, got: &ExpectedEnd) -> Option<String> {
    let text = |end: &ExpectedEnd| {
        let value = serde_json::to_value(end).unwrap_or_default();
        serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
    };
    let (expected, got) = (text(expected), text(got));
    if expected == got {
        return None;
    }
    let diff = TextDiff::from_lines(&expected, &got);
    let mut shown = diff.unified_diff().context_radius(2).to_string();
    if shown.len() > DIFFERENCE_BYTES_MAX {
        shown.truncate(shown.floor_char_boundary(DIFFERENCE_BYTES_MAX));
        shown.push_str("\n… (cut)");
    }
    Some(shown.trim_end().to_owned())
}

impl ExpectedEnd {
    /// A run that succeeds, with any effects.
    fn success() -> Self {
        Self::of_outcome(Outcome::Ok)
    }

    /// A run with this outcome, whatever else it does.
    pub(crate) fn of_outcome(outcome: Outcome) -> Self {
        Self { outcome, reason: None, retry_after: None, effects: None, state: None }
    }

    /// All that can be expected of a run.
    fn of(record: &RecordedRun, state: &MemoryState, now: Timestamp) -> Self {
        let of_state = |effect: &str| effect.starts_with("state.");
        let effects = record.effects.iter().filter(|effect| !of_state(&effect.effect));
        let effects = effects.map(|effect| effect.clone().normalized());
        let value = |entry: &weir_core::state::StateEntry| match entry.expires_at {
            None => StateValue::Text(entry.value.to_string()),
            Some(at) => StateValue::Expiring {
                value: entry.value.to_string(),
                expires_at: TimeField::Text(at),
            },
        };
        let state: BTreeMap<_, _> =
            state.entries(now).iter().map(|(key, entry)| (key.to_string(), value(entry))).collect();
        Self {
            outcome: record.outcome,
            reason: record.reason.clone(),
            retry_after: record.retry_after,
            effects: Some(effects.collect()),
            state: Some(state),
        }
    }

    /// Without the parts that `expected` leaves open.
    fn in_parts_of(mut self, expected: &Self) -> Self {
        if expected.reason.is_none() && self.outcome == expected.outcome {
            self.reason = None;
        }
        self.retry_after = self.retry_after.filter(|_| expected.retry_after.is_some());
        self.effects = self.effects.filter(|_| expected.effects.is_some());
        self.state = self.state.filter(|_| expected.state.is_some());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(text: &str) -> ExpectedEnd {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_expected_parts_are_compared() {
        let got = ended(
            r#"{"outcome": "ok", "effects": [{"effect": "cancel", "key": "a"}], "state": {"n": "1"}}"#,
        );
        let same = |expected: &str| {
            let expected = ended(expected);
            difference(&expected, &got.clone().in_parts_of(&expected)).is_none()
        };
        assert!(same(r#"{"outcome": "ok"}"#));
        assert!(same(r#"{"outcome": "ok", "state": {"n": "1"}}"#));
        assert!(same(r#"{"outcome": "ok", "effects": [{"effect": "cancel", "key": "a"}]}"#));
        assert!(!same(r#"{"outcome": "ok", "effects": []}"#));
        assert!(!same(r#"{"outcome": "ok", "state": {"n": "2"}}"#));
        assert!(!same(r#"{"outcome": "retry"}"#));
    }

    #[test]
    fn a_reason_is_shown_where_the_outcome_differs() {
        let got = ended(r#"{"outcome": "crashed", "reason": "half way"}"#);
        let expected = ExpectedEnd::success();
        let shown = difference(&expected, &got.clone().in_parts_of(&expected)).unwrap();
        assert!(shown.contains("-  \"outcome\": \"ok\"") && shown.contains("half way"), "{shown}");
        let expected = ExpectedEnd { outcome: Outcome::Crashed, ..ExpectedEnd::success() };
        assert_eq!(difference(&expected, &got.in_parts_of(&expected)), None);
    }
}
