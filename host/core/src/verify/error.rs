//! The errors of verification: a stable code for machines, a sentence for people, and never the
//! signature that was expected.

use thiserror::Error;

use crate::request::{ReadError, SIGNED_HEADER_BYTES_MAX};

/// Why a request is not verified. The code is part of the released interface; the sentence may
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no signature where the scheme has it.
    #[error("request carries no signature")]
    SignatureMissing,
    /// A content type that the sender may use and the hub does not support.
    #[error("requests of this content type are not supported; set another one at the sender")]
    ContentTypeUnsupported,
    /// A header that the signature depends on occurs more than once.
    #[error("a header of the signature occurs more than once")]
    HeaderDuplicated,
    /// A field that the signature depends on occurs more than once: another reader could take the
    /// other value.
    #[error("a field that the signature covers occurs more than once")]
    FieldDuplicated,
    /// A header that the signature depends on is too long.
    #[error("a header of the signature is longer than {SIGNED_HEADER_BYTES_MAX} bytes")]
    HeaderTooLong,
    /// A header or field that must have a certain value has another value.
    #[error("a field that the scheme requires has another value")]
    HeaderUnexpected,
    /// There are more signatures than are tried.
    #[error("request carries more than {max} signatures", max = super::CANDIDATES_MAX)]
    TooManySignatures,
    /// There are more form fields or signed headers than are read.
    #[error("request has more fields than are read for a signature")]
    TooManyFields,
    /// There are signatures, but none of a version that the scheme accepts.
    #[error("request carries no signature of an accepted version")]
    SignatureUnsupported,
    /// The signature does not have the form that the scheme prescribes.
    #[error("signature is malformed")]
    SignatureMalformed,
    /// A signed field is not in the request.
    #[error("a field that the signature covers is missing")]
    SignedFieldMissing,
    /// The scheme signs a time, and the request has none.
    #[error("timestamp is missing")]
    TimestampMissing,
    /// The time does not have the form that the scheme prescribes.
    #[error("timestamp is malformed")]
    TimestampMalformed,
    /// Neither the signature nor a signed digest covers the body.
    #[error("body is not covered by the signature")]
    BodyNotSigned,
    /// The payload is the query, and the signature covers only bodies.
    #[error("the signature covers only bodies, and the request has none")]
    QueryNotSigned,
    /// The digest of the body differs from the signed digest.
    #[error("body does not match its signed digest")]
    BodyDigestMismatch,
    /// The key that the request refers to is not trusted: its address, its name or its time is
    /// wrong, or there is no such key.
    #[error("the key that the request refers to is not trusted")]
    KeyUntrusted,
    /// A claim of the JSON Web Token has a wrong value.
    #[error("a claim of the token has a wrong value")]
    ClaimMismatch,
    /// The key is wrong, or bytes were changed.
    #[error("signature does not match")]
    SignatureMismatch,
    /// The signature is valid, but its time is too far from the hub's clock.
    #[error("signed time differs from the hub's clock by {skew_s} s")]
    TimestampStale {
        /// The hub's clock minus the signed time, in seconds; negative if the signed time is ahead.
        skew_s: i64,
    },
}

impl VerifyError {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::ContentTypeUnsupported => "content_type_unsupported",
            Self::HeaderDuplicated => "header_duplicated",
            Self::FieldDuplicated => "field_duplicated",
            Self::HeaderTooLong => "header_too_long",
            Self::HeaderUnexpected => "header_unexpected",
            Self::TooManySignatures => "too_many_signatures",
            Self::TooManyFields => "too_many_fields",
            Self::SignatureUnsupported => "signature_unsupported",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignedFieldMissing => "signed_field_missing",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::BodyNotSigned => "body_not_signed",
            Self::QueryNotSigned => "query_not_signed",
            Self::BodyDigestMismatch => "body_digest_mismatch",
            Self::KeyUntrusted => "key_untrusted",
            Self::ClaimMismatch => "claim_mismatch",
            Self::SignatureMismatch => "signature_mismatch",
            Self::TimestampStale { .. } => "timestamp_stale",
        }
    }

    /// True if the request lacks what the scheme reads, so that another scheme may apply.
    pub(super) const fn is_absence(self) -> bool {
        matches!(self, Self::SignatureMissing | Self::SignatureUnsupported | Self::HeaderUnexpected)
    }

    /// The progress of verification: of several schemes, the error that got furthest is reported.
    pub(super) const fn progress(self) -> u8 {
        match self {
            Self::SignatureMissing => 0,
            Self::SignatureUnsupported => 1,
            Self::HeaderDuplicated
            | Self::HeaderTooLong
            | Self::HeaderUnexpected
            | Self::ContentTypeUnsupported => 2,
            Self::TooManySignatures | Self::TooManyFields | Self::SignatureMalformed => 3,
            Self::FieldDuplicated
            | Self::SignedFieldMissing
            | Self::TimestampMissing
            | Self::TimestampMalformed => 4,
            Self::KeyUntrusted => 5,
            Self::SignatureMismatch => 6,
            Self::BodyNotSigned
            | Self::QueryNotSigned
            | Self::BodyDigestMismatch
            | Self::ClaimMismatch => 7,
            Self::TimestampStale { .. } => 8,
        }
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::HeaderDuplicated => Self::HeaderDuplicated,
            ReadError::HeaderTooLong => Self::HeaderTooLong,
            ReadError::FieldDuplicated => Self::FieldDuplicated,
            ReadError::TooManyFields => Self::TooManyFields,
        }
    }
}
