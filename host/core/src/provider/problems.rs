//! The problems of a provider file, and their collector.

use std::fmt::Display;

use thiserror::Error;

use crate::error::chain;

/// A problem in a provider file or in a source's overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderProblem {
    /// The path, such as `schemes.v1.timestamp`.
    pub path: String,
    pub message: String,
}

/// Why a provider file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Not a provider file: invalid TOML, an unknown key, or a missing key.
    #[error("not a provider file: {message}")]
    Format {
        /// The message of the parser, with line and column.
        message: String,
    },
    /// All problems of a file that was read.
    #[error("{}", list(.0))]
    Invalid(Vec<ProviderProblem>),
}

fn list(problems: &[ProviderProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    lines.join("; ")
}

/// Collects problems, so that one reading reports all of them.
#[derive(Default)]
pub(super) struct ProblemCollector {
    problems: Vec<ProviderProblem>,
}

impl ProblemCollector {
    pub(super) fn problem(&mut self, path: impl Display, message: impl Display) {
        self.problems
            .push(ProviderProblem { path: path.to_string(), message: message.to_string() });
    }

    /// The value, or a problem with the whole chain of causes.
    pub(super) fn ok<T, E: std::error::Error>(
        &mut self,
        path: impl Display,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.problem(path, chain(&error))).ok()
    }

    /// Adds a problem unless `holds`.
    pub(super) fn require(&mut self, holds: bool, path: impl Display, message: impl Display) {
        if !holds {
            self.problem(path, message);
        }
    }

    /// All problems, if there is one.
    pub(super) fn finish(self) -> Result<(), ProviderError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ProviderError::Invalid(self.problems)) }
    }
}
