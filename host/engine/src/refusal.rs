//! The refusal of a host function, as a handler gets it.

/// The kind of a refusal, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    NotGranted,
    NotFound,
    Invalid,
    TooLarge,
    TooMany,
    Quota,
    Unavailable,
    Other,
}

impl Code {
    /// True if a retry can help: the operator may grant or create the missing thing, or the store
    /// may have space again. Invalid data stays invalid.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::NotGranted | Self::NotFound | Self::Quota | Self::Unavailable | Self::Other
        )
    }
}

/// A refusal, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(Code::TooLarge, message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(Code::TooMany, message)
    }
}
