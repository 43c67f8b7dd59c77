//! The description of a handler: its purpose and the events it subscribes to.

use thiserror::Error;
use weir_core::bounds::{ABOUT_BYTES_MAX, SUBSCRIPTIONS_MAX};
use weir_core::route::{InvalidPattern, Pattern};

use crate::log::cut;

/// The description of a handler, from its `describe`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// One line on what it does. At most 500 bytes.
    pub about: Option<String>,
    pub subscriptions: Vec<Pattern>,
}

/// The reason that a handler has no valid description.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// It crashed, or exceeded its time limit.
    #[error("describe failed: {reason}")]
    Failed { reason: String },
    #[error(
        "describe subscribes to more than {SUBSCRIPTIONS_MAX} patterns; use `*` in some of them"
    )]
    TooManyPatterns,
    #[error("describe has an invalid subscription pattern")]
    Pattern(#[source] InvalidPattern),
}

/// The description while `describe` runs.
#[derive(Debug, Default)]
pub(crate) struct DescriptionDraft {
    about: Option<String>,
    patterns: Vec<String>,
}

impl DescriptionDraft {
    pub(crate) fn about(&mut self, text: &str) {
        self.about = Some(cut(text, ABOUT_BYTES_MAX).to_owned());
    }

    /// Keeps one more than the limit, which is enough to refuse the description.
    pub(crate) fn subscribe(&mut self, pattern: String) {
        if self.patterns.len() <= SUBSCRIPTIONS_MAX {
            self.patterns.push(pattern);
        }
    }

    pub(crate) fn finish(self) -> Result<Description, DescribeError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_pattern_is_named() {
        let mut draft = DescriptionDraft::default();
        draft.subscribe("github:push".into());
        draft.subscribe("nonsense".into());
        let error = draft.finish().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("`nonsense`"), "{cause}");
    }

    #[test]
    fn more_than_a_hundred_patterns_are_refused() {
        let mut draft = DescriptionDraft::default();
        for n in 0..1_000 {
            draft.subscribe(format!("a:{n}"));
        }
        assert!(matches!(draft.finish(), Err(DescribeError::TooManyPatterns)));
    }
}
