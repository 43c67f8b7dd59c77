//! What is wrong with a configuration: every problem at once, each with its place and a way out.

use std::fmt;

use thiserror::Error;

/// One thing that is wrong, or that deserves a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file as the operator named it.
    pub file: String,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// The path of the key, such as `sources.github.secrets[0]`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do. Never the value of a secret.
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A configuration that cannot be used. Prints one problem a line, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", lines(.problems))]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigErrors {
    /// One problem with a file as a whole.
    #[must_use]
    pub fn of_file(file: &str, what: impl Into<String>) -> Self {
        let problem =
            ConfigProblem { file: file.into(), line: None, path: String::new(), what: what.into() };
        Self { problems: vec![problem] }
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}
