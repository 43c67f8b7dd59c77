//! Why a request was not believed: a stable code for machines, a sentence for people, never the signature
//! that was expected.

use thiserror::Error;

/// A refusal. The code is part of the released interface; the sentence may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No signature where the scheme has it.
    #[error("request carries no signature")]
    SignatureMissing,
    /// A content type that the sender may use and that is not read here.
    #[error("requests of this content type are not read here; have the sender use another")]
    ContentTypeUnsupported,
    /// A header that the signature depends on occurs twice.
    #[error("a header of the signature occurs more than once")]
    HeaderDuplicated,
    /// A field of the body that the signature depends on occurs twice: another reader could take the other one.
    #[error("a field that the signature covers occurs more than once")]
    FieldDuplicated,
    /// A header that the signature depends on is too long.
    #[error("a header of the signature is longer than {max} bytes", max = super::SIGNED_HEADER_BYTES_MAX)]
    HeaderTooLong,
    /// A header or field that must have one exact value has another.
    #[error("a field that the scheme requires has another value")]
    HeaderUnexpected,
    /// More signatures than are tried.
    #[error("request carries more than {max} signatures", max = super::CANDIDATES_MAX)]
    TooManySignatures,
    /// More form fields or signed headers than are looked at.
    #[error("request has more fields than are looked at for a signature")]
    TooManyFields,
    /// Signatures, but none of a version that the scheme accepts.
    #[error("request carries no signature of an accepted version")]
    SignatureUnsupported,
    /// Not of the form that the scheme prescribes.
    #[error("signature is malformed")]
    SignatureMalformed,
    /// A part of what is signed is not in the request.
    #[error("a field that the signature covers is missing")]
    SignedFieldMissing,
    /// The scheme signs a time and there is none.
    #[error("timestamp is missing")]
    TimestampMissing,
    /// A time that is not written as the scheme prescribes.
    #[error("timestamp is malformed")]
    TimestampMalformed,
    /// The signature does not cover the body and nothing else does.
    #[error("body is not covered by the signature")]
    BodyNotSigned,
    /// What the request says stands in its query, and its signature covers nothing but bodies.
    #[error("the signature covers nothing of a request without a body")]
    QueryNotSigned,
    /// The digest of the body is not the signed one.
    #[error("body does not match its signed digest")]
    BodyDigestMismatch,
    /// A key that the request refers to is not to be believed: its place, its name or its time is wrong, or the
    /// place has no such key.
    #[error("the key that the request refers to is not to be trusted")]
    KeyUntrusted,
    /// A token that says something else than it must.
    #[error("a claim of the token is not what it must be")]
    ClaimMismatch,
    /// Wrong key, or changed bytes.
    #[error("signature does not match")]
    SignatureMismatch,
    /// Rightly signed, but too long ago, or too far ahead.
    #[error("signed time and our clock are {skew_s} s apart")]
    TimestampStale {
        /// Our clock minus the signed time, in seconds; negative if the signed time lies ahead.
        skew_s: i64,
    },
}

impl VerifyError {
    /// The stable code.
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

    /// True if the request does not carry what the scheme looks for, so that another scheme may be meant.
    pub(super) const fn is_absence(self) -> bool {
        matches!(self, Self::SignatureMissing | Self::SignatureUnsupported | Self::HeaderUnexpected)
    }

    /// How far verification came, so that of several schemes the most telling refusal is reported.
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
