//! What a handler says about itself: one call of `describe`, with one second and nothing granted.

use std::time::Duration;

use thiserror::Error;
use weir_core::bounds::{ABOUT_BYTES_MAX, SUBSCRIPTIONS_MAX};
use weir_core::route::{InvalidPattern, Pattern};

use crate::bindings::HandlerPre;
use crate::guard;
use crate::instance::{Doing, RunState};
use crate::log::cut;
use crate::reason;
use crate::run::RunEnd;

/// Time for `describe`.
const DESCRIBE_TIME: Duration = Duration::from_secs(1);
/// Log kept of it, for the reason should it crash.
const DESCRIBE_LOG_BYTES: usize = 64 * 1024;

/// What a handler says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// One line on what it does. At most 500 bytes.
    pub about: Option<String>,
    /// The events it asks for.
    pub subscriptions: Vec<Pattern>,
}

/// A handler that cannot say what it is.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// It crashed, or did not come to an end.
    #[error("describe failed: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// It asks for more than it may.
    #[error(
        "describe subscribes to more than {SUBSCRIPTIONS_MAX} patterns; use `*` in some of them"
    )]
    TooManyPatterns,
    /// One of its patterns means nothing.
    #[error("describe subscribes to what is no pattern")]
    Pattern(#[source] InvalidPattern),
}

/// What `describe` has said so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    about: Option<String>,
    patterns: Vec<String>,
}

impl Draft {
    pub(crate) fn about(&mut self, text: &str) {
        self.about = Some(cut(text, ABOUT_BYTES_MAX).to_owned());
    }

    /// Keeps one more than there may be, which is enough to refuse them all.
    pub(crate) fn subscribe(&mut self, pattern: String) {
        if self.patterns.len() <= SUBSCRIPTIONS_MAX {
            self.patterns.push(pattern);
        }
    }

    fn finish(self) -> Result<Description, DescribeError> {
        if self.patterns.len() > SUBSCRIPTIONS_MAX {
            return Err(DescribeError::TooManyPatterns);
        }
        let mut subscriptions: Vec<Pattern> = Vec::new();
        for text in &self.patterns {
            let pattern = Pattern::parse(text).map_err(DescribeError::Pattern)?;
            if !subscriptions.contains(&pattern) {
                subscriptions.push(pattern);
            }
        }
        Ok(Description { about: self.about, subscriptions })
    }
}

/// Calls `describe` in an instance of its own.
pub(crate) async fn describe(
    engine: &wasmtime::Engine,
    component: &HandlerPre<RunState>,
    memory_max: usize,
) -> Result<Description, DescribeError> {
    let state = RunState::describing(memory_max, DESCRIBE_LOG_BYTES);
    let mut store = guard::store(engine, state, DESCRIBE_TIME);
    let ended = guard::within(DESCRIBE_TIME, async {
        let instance = component.instantiate_async(&mut store).await?;
        instance.call_describe(&mut store).await
    })
    .await;
    let RunState { guard, log, doing, .. } = store.into_data();
    match (ended, doing) {
        (Ok(()), Doing::Describing(draft)) => draft.finish(),
        (Ok(()), Doing::Handling(_)) => Ok(Description::default()),
        (Err(error), _) => match reason::of_trap(&error, &guard, &log.lock()) {
            RunEnd::Failed { reason, .. } => Err(DescribeError::Failed { reason }),
            RunEnd::Ok => Ok(Description::default()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_pattern_is_named() {
        let mut draft = Draft::default();
        draft.subscribe("github:push".into());
        draft.subscribe("nonsense".into());
        let error = draft.finish().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("`nonsense`"), "{cause}");
    }

    #[test]
    fn a_hundred_patterns_are_enough() {
        let mut draft = Draft::default();
        for n in 0..1_000 {
            draft.subscribe(format!("a:{n}"));
        }
        assert!(matches!(draft.finish(), Err(DescribeError::TooManyPatterns)));
    }
}
