//! The reasons why files in the plugins folder, or a stored version, cannot serve.

use thiserror::Error;
use weir_core::module_signature::NotSigned;
use weir_engine::{DescribeError, LoadError, Version};
use weir_store::StoreError;

use super::archive::ArchiveError;
use super::folder::FileProblem;
use super::manifest::ManifestError;
use crate::config::ConfigErrors;

/// Files of a handler that cannot serve.
#[derive(Debug, Error)]
pub(crate) enum LoadRefusal {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    File(#[from] FileProblem),
    #[error("invalid sidecar file")]
    Sidecar(#[from] ConfigErrors),
    #[error("the sidecar file is not UTF-8 text")]
    SidecarNotText,
    /// A fixture does not do what it expects, or is none.
    #[error("{0}")]
    Fixture(String),
    #[error("its fixtures ran for more than {0} s; remove some, or shorten what they do")]
    FixturesTime(u64),
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error("the compiler panicked; this is a fault of the hub")]
    Compiler,
    #[error(transparent)]
    CodeLimitExceeded(#[from] CodeLimitExceeded),
}

/// A module whose compiled code does not fit beside that of the other handlers.
#[derive(Debug, Error)]
#[error(
    "its compiled code has {needs} bytes and that of the other handlers {others}, together more \
     than {max}; remove a handler, build a smaller module, or raise plugins.code_max"
)]
pub(crate) struct CodeLimitExceeded {
    pub(super) needs: usize,
    pub(super) others: usize,
    pub(super) max: usize,
}

impl LoadRefusal {
    /// True if the files may only be incomplete, because they are still being written.
    pub(super) fn may_be_incomplete(&self) -> bool {
        match self {
            Self::Load(error) => !matches!(
                error,
                LoadError::TooLarge(_)
                    | LoadError::CompilerLimit(_)
                    | LoadError::CompilerUnavailable(_)
                    | LoadError::Contract(_)
            ),
            Self::Sidecar(_) | Self::SidecarNotText | Self::Fixture(_) | Self::NotSigned(_) => true,
            Self::Describe(_)
            | Self::File(_)
            | Self::Compiler
            | Self::FixturesTime(_)
            | Self::CodeLimitExceeded(_) => false,
        }
    }
}

/// An action on a handler that was not carried out.
#[derive(Debug, Error)]
pub(crate) enum LoadFailure {
    /// The files cannot serve. `content` identifies them. Nothing more happens until they change.
    #[error("refused")]
    Refused { content: Version, refusal: LoadRefusal },
    #[error("files are changing")]
    Changing,
    /// May pass.
    #[error("cannot read the files")]
    Unreadable(#[from] std::io::Error),
    /// May pass.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// May pass.
    #[error("cannot start a process to compile in")]
    CompilerUnavailable(#[source] std::io::Error),
}

impl From<StoreError> for LoadFailure {
    fn from(error: StoreError) -> Self {
        Self::Archive(error.into())
    }
}

/// A stored version that cannot serve.
#[derive(Debug, Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Damaged(#[from] ManifestError),
    #[error("its bytes are not in the registry")]
    Gone,
    #[error(transparent)]
    Refused(LoadRefusal),
}

impl RestoreError {
    /// True if another try may succeed, because nothing is wrong with the version.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Store(_)
            | Self::Refused(LoadRefusal::Load(LoadError::CompilerUnavailable(_))) => true,
            Self::Damaged(_) | Self::Gone | Self::Refused(_) => false,
        }
    }
}
