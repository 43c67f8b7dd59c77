//! A refusal: what the host would not do, as a handler sees it.

/// What kind of refusal, by what the caller can do about it.
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
    /// Whether running again can help when a handler passes the refusal on: an operator may grant or create what
    /// was missing, the store may have room again. What is wrong with the data stays wrong.
    pub(crate) fn may_pass(self) -> bool {
        matches!(
            self,
            Self::NotGranted | Self::NotFound | Self::Quota | Self::Unavailable | Self::Other
        )
    }
}

/// What the host would not do, in a whole sentence for people.
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
