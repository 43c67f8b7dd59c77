//! The description of a handler: its purpose, the events it subscribes to, the destinations it
//! needs, and the version of its state.

use thiserror::Error;
use weir_core::bounds::{ABOUT_BYTES_MAX, NEEDED_DESTINATIONS_MAX, SUBSCRIPTIONS_MAX};
use weir_core::name::{DestinationName, InvalidName};
use weir_core::route::{InvalidPattern, Pattern};

use crate::log::cut;

/// The description of a handler, from its `describe`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// One line on what it does. At most 500 bytes.
    pub about: Option<String>,
    pub subscriptions: Vec<Pattern>,
    /// The version of the form of its state; 0 if it says none.
    pub state_version: u32,
    /// The destinations that it says it sends to, each once.
    pub needs: Vec<DestinationName>,
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
    #[error("describe needs more than {NEEDED_DESTINATIONS_MAX} destinations")]
    TooManyDestinations,
    #[error("describe needs a destination with an invalid name")]
    Destination(#[source] InvalidName),
}

/// The description while `describe` runs.
#[derive(Debug, Default)]
pub(crate) struct DescriptionDraft {
    about: Option<String>,
    patterns: Vec<String>,
    state_version: u32,
    needs: Vec<String>,
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

    pub(crate) fn state_version(&mut self, version: u32) {
        self.state_version = version;
    }

    /// Keeps one more than the limit, which is enough to refuse the description.
    pub(crate) fn needs_destination(&mut self, name: String) {
        if self.needs.len() <= NEEDED_DESTINATIONS_MAX && !self.needs.contains(&name) {
            self.needs.push(name);
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
        if self.needs.len() > NEEDED_DESTINATIONS_MAX {
            return Err(DescribeError::TooManyDestinations);
        }
        let needs = self.needs.iter().map(|name| DestinationName::new(name));
        let needs = needs.collect::<Result<_, _>>().map_err(DescribeError::Destination)?;
        let state_version = self.state_version;
        Ok(Description { about: self.about, subscriptions, state_version, needs })
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
    fn a_needed_destination_is_listed_once_and_checked() {
        let described = |names: &[&str]| {
            let mut draft = DescriptionDraft::default();
            names.iter().for_each(|name| draft.needs_destination((*name).to_owned()));
            draft.state_version(3);
            draft.finish()
        };
        let got = described(&["ops", "ledger", "ops"]).unwrap();
        assert_eq!(
            got.needs.iter().map(DestinationName::as_str).collect::<Vec<_>>(),
            ["ops", "ledger"]
        );
        assert_eq!(got.state_version, 3);
        assert!(matches!(described(&["No Name"]), Err(DescribeError::Destination(_))));
        let many: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(described(&many), Err(DescribeError::TooManyDestinations)));
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
