//! Why a command failed, in the words that are printed, and how the process ends.

use thiserror::Error;

use super::client::ClientError;
use super::exit::Exit;
use crate::config::ConfigErrors;

/// Why a command failed.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The hub did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something else, said in full.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// How the process ends.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Client(error) => error.exit(),
            Self::Failed(_) => Exit::Failure,
        }
    }
}

/// An error with every cause, once, from the outside in.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
