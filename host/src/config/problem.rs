//! The problems of a configuration: all at once, each with its line and a remedy.

use std::fmt;

use thiserror::Error;

/// A problem or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file as the operator named it.
    pub file: String,
    /// The line, from 1, if known.
    pub line: Option<usize>,
    /// The column, from 1, if the problem is inside an expression.
    pub column: Option<usize>,
    /// The path of the key, such as `sources.github.secrets[0]`; empty for the whole file.
    pub path: String,
    /// The problem and the remedy. Never the value of a secret.
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// An invalid configuration. Prints one problem per line, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", lines(.problems))]
pub struct ConfigErrors {
    /// At least one problem.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigErrors {
    /// One problem of a whole file.
    #[must_use]
    pub fn of_file(file: &str, what: impl Into<String>) -> Self {
        let problem = ConfigProblem {
            file: file.into(),
            line: None,
            column: None,
            path: String::new(),
            what: what.into(),
        };
        Self { problems: vec![problem] }
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}
