//! Why a command failed, in the words that are printed, and how the process ends.

use thiserror::Error;

use super::client::ClientError;
use crate::config::ConfigErrors;
use crate::http_client::HttpError;
use crate::program::exit::Exit;

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

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        Self::Client(error.into())
    }
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
