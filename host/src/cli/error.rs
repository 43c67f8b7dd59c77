//! The error of a command: what is printed, and the exit code.

use thiserror::Error;

use super::client::ClientError;
use crate::config::ConfigErrors;
use crate::http_client::HttpError;
use crate::program::exit::Exit;

/// A command that failed.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
    /// The hub did not do what was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another failure, in full.
    #[error("{0}")]
    Failed(String),
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        Self::Client(error.into())
    }
}

impl CommandError {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Client(error) => error.exit(),
            Self::Failed(_) => Exit::Failure,
        }
    }
}
