//! Why a request is not taken in: one value per reason, with its status, its stable code, a sentence for the
//! sender and, apart from it, what only the operator may know.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use weir_core::bounds::HOPS_MAX;
use weir_core::handshake::HandshakeError;
use weir_core::identify::IdentifyError;
use weir_core::token::InvalidToken;
use weir_core::verify::VerifyError;
use weir_store::StoreError;

use super::limits::{
    DRAIN_BYTES_MAX, DRAIN_BYTES_MAX_PENALIZED, RETRY_AFTER_BROKEN_S, RETRY_AFTER_BUSY_S,
};
use crate::config::Mismatch;

/// A reason not to take a request in. The codes are part of the released interface, the sentences are not.
#[derive(Debug, Clone)]
pub(super) enum Refused {
    /// Not a request as HTTP or we want it; says what about it.
    Malformed(&'static str),
    /// More headers than are read.
    HeadTooLarge,
    /// Neither a webhook nor a health check.
    UnknownPath,
    /// No source of that name.
    UnknownSource,
    /// A method that the source has no use for.
    Method,
    /// The source takes nothing from this address.
    Address(IpAddr),
    /// The source wants a certificate of the client, who has none.
    ClientCertificate,
    /// The token that the source wants besides is not there, or none of those that are live.
    Token(InvalidToken),
    /// The body did not come in time.
    Timeout,
    /// The body broke off, or is no body by the rules of HTTP.
    BodyIncomplete,
    /// The body is larger than the source takes.
    TooLarge {
        /// Bytes that it takes.
        limit: usize,
    },
    /// The body is compressed.
    Encoding,
    /// Verification refused.
    Unverified {
        /// Why.
        refusal: VerifyError,
        /// The status that the provider wants for it.
        status: StatusCode,
    },
    /// A key that verification needs cannot be had now.
    KeyUnavailable,
    /// A handshake that proves nothing or asks for nothing usable.
    Handshake(HandshakeError),
    /// A handshake that wants more than an answer, while nobody has allowed that.
    HandshakeClosed,
    /// A handshake whose confirmation did not get through.
    HandshakeUnconfirmed,
    /// Verified, but its events cannot be taken in.
    Unusable(IdentifyError),
    /// Verified, but not what the operator says that it must look like.
    Schema(Box<Mismatch>),
    /// It has left this hub and come back too often.
    LoopDetected,
    /// Verified, but the source takes no more for the moment.
    RateLimited {
        /// Until it takes another.
        wait: Duration,
    },
    /// The bodies in memory leave no room.
    Overloaded,
    /// The store did not take it.
    Store(StoreError),
    /// It is not yet known who gets events.
    NotReady,
    /// Too much from this address was refused before.
    Penalized {
        /// Until it may try again.
        wait: Duration,
    },
}

impl Refused {
    /// The stable code.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::UnknownPath => "not_found",
            Self::UnknownSource => "unknown_source",
            Self::Method => "method_not_allowed",
            Self::Address(_) => "address_not_allowed",
            Self::ClientCertificate => "client_cert_missing",
            Self::Token(refusal) => refusal.code(),
            Self::Timeout => "request_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::TooLarge { .. } => "body_too_large",
            Self::Encoding => "content_encoding_unsupported",
            Self::Unverified { refusal, .. } => refusal.code(),
            Self::KeyUnavailable => "key_unavailable",
            Self::Handshake(refusal) => refusal.code(),
            Self::HandshakeClosed => "handshake_closed",
            Self::HandshakeUnconfirmed => "handshake_unconfirmed",
            Self::Unusable(error) => error.code(),
            Self::Schema(_) => "schema_mismatch",
            Self::LoopDetected => "loop_detected",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded | Self::Store(StoreError::Overloaded { .. }) => "overloaded",
            Self::Store(_) => "store_unavailable",
            Self::NotReady => "starting",
            Self::Penalized { .. } => "too_many_refusals",
        }
    }

    /// The status.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::BodyIncomplete
            | Self::Unusable(IdentifyError::HeaderNotText) => StatusCode::BAD_REQUEST,
            Self::UnknownPath | Self::UnknownSource => StatusCode::NOT_FOUND,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unverified { status, .. } => *status,
            Self::Address(_)
            | Self::ClientCertificate
            | Self::Token(_)
            | Self::Handshake(_)
            | Self::HandshakeClosed => StatusCode::FORBIDDEN,
            Self::Unusable(_) | Self::Schema(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::RateLimited { .. } | Self::Penalized { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::KeyUnavailable
            | Self::HandshakeUnconfirmed
            | Self::Overloaded
            | Self::Store(_)
            | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A JSON Pointer to what does not fit, where that is the reason.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Schema(mismatch) => Some(&mismatch.path),
            _ => None,
        }
    }

    /// Seconds after which it may work, where waiting helps.
    pub(super) fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::RateLimited { wait } | Self::Penalized { wait } => {
                Some(u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1))
            }
            Self::Overloaded | Self::NotReady | Self::Store(StoreError::Overloaded { .. }) => {
                Some(RETRY_AFTER_BUSY_S)
            }
            Self::KeyUnavailable | Self::HandshakeUnconfirmed | Self::Store(_) => {
                Some(RETRY_AFTER_BROKEN_S)
            }
            _ => None,
        }
    }

    /// How many bytes of the body to take off the wire after the answer, which goes out with the body unread, so that
    /// the connection cannot be used again. None if the body was read.
    pub(super) const fn drain_bytes(&self) -> Option<usize> {
        match self {
            Self::Unverified { .. }
            | Self::KeyUnavailable
            | Self::Handshake(_)
            | Self::HandshakeClosed
            | Self::HandshakeUnconfirmed
            | Self::Unusable(_)
            | Self::Schema(_)
            | Self::LoopDetected
            | Self::RateLimited { .. }
            | Self::Store(_) => None,
            Self::Penalized { .. } => Some(DRAIN_BYTES_MAX_PENALIZED),
            _ => Some(DRAIN_BYTES_MAX),
        }
    }

    /// Whether the request, for all that is known, came from a stranger, whose address is charged with it. One that
    /// was verified is not, and neither is what went wrong here.
    pub(super) const fn counts_toward_penalty(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::HeadTooLarge
            | Self::UnknownPath
            | Self::UnknownSource
            | Self::Method
            | Self::Address(_)
            | Self::ClientCertificate
            | Self::Token(_)
            | Self::Timeout
            | Self::BodyIncomplete
            | Self::TooLarge { .. }
            | Self::Encoding
            | Self::Unverified { .. }
            | Self::Handshake(_)
            | Self::HandshakeClosed => true,
            Self::KeyUnavailable
            | Self::HandshakeUnconfirmed
            | Self::Unusable(_)
            | Self::Schema(_)
            | Self::LoopDetected
            | Self::RateLimited { .. }
            | Self::Overloaded
            | Self::Store(_)
            | Self::NotReady
            | Self::Penalized { .. } => false,
        }
    }

    /// Whether the hub is to blame, rather than the sender.
    pub(super) const fn is_hub_fault(&self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Store(_) | Self::KeyUnavailable | Self::HandshakeUnconfirmed
        )
    }

    /// A sentence for the sender. Says nothing that only the operator may know.
    pub(super) fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Malformed(what) => what,
            Self::HeadTooLarge => "the request has too many headers",
            Self::UnknownPath => "nothing answers at this path; webhooks go to /webhook/SOURCE",
            Self::UnknownSource => "there is no such source",
            Self::Method => "this source takes no requests of this method",
            Self::Address(_) => "this source takes no requests from your address",
            Self::ClientCertificate => "this source wants a client certificate",
            Self::Token(refusal) => return refusal.to_string().into(),
            Self::Timeout => "the body did not arrive in time",
            Self::BodyIncomplete => "the body broke off or is malformed",
            Self::TooLarge { limit } => {
                return format!("the body is larger than the {limit} bytes that this source takes")
                    .into();
            }
            Self::Encoding => "the body must not be compressed",
            Self::Unverified { refusal, .. } => return refusal.to_string().into(),
            Self::KeyUnavailable => "the key to verify with cannot be had at the moment",
            Self::Handshake(refusal) => return refusal.to_string().into(),
            Self::HandshakeClosed => "this handshake is not accepted at the moment",
            Self::HandshakeUnconfirmed => "the address that confirms this cannot be reached",
            Self::Unusable(error) => return error.to_string().into(),
            Self::Schema(mismatch) => return mismatch.to_string().into(),
            Self::LoopDetected => return format!(
                "this has left this hub {HOPS_MAX} times and come back each time; look for a circle of destinations"
            )
            .into(),
            Self::RateLimited { .. } => "this source takes no more requests for the moment",
            Self::Overloaded => "too much is being received at the moment",
            Self::Store(_) => "the request cannot be stored at the moment",
            Self::NotReady => "the hub is starting",
            Self::Penalized { .. } => "too many requests from this address were refused",
        })
    }
}

/// The sentence for the operator: with the cause.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => fmt::Display::fmt(error, f),
            Self::Address(address) => write!(f, "{address} is not in the source's allow_ips"),
            Self::Unusable(error) => match std::error::Error::source(error) {
                Some(cause) => write!(f, "{error}: {cause}"),
                None => fmt::Display::fmt(error, f),
            },
            other => f.write_str(&other.detail()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_says_is_for_the_operator_only() {
        let reason = "fdatasync /srv/weir.db: input/output error".to_owned();
        let refused = Refused::Store(StoreError::Poisoned { reason });
        assert!(refused.to_string().contains("/srv/weir.db"));
        assert!(!refused.detail().contains("/srv"));
        assert_eq!(
            (refused.status(), refused.code(), refused.retry_after_s()),
            (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", Some(RETRY_AFTER_BROKEN_S))
        );
    }

    #[test]
    fn a_provider_chooses_the_status_of_a_refused_signature_but_not_its_code() {
        let refusal = VerifyError::SignatureMismatch;
        let refused = Refused::Unverified { refusal, status: StatusCode::NOT_ACCEPTABLE };
        assert_eq!((refused.status().as_u16(), refused.code()), (406, "signature_mismatch"));
    }

    #[test]
    fn who_is_told_to_wait_is_told_whole_seconds_and_never_none() {
        let after = |ms| Refused::Penalized { wait: Duration::from_millis(ms) }.retry_after_s();
        assert_eq!((after(1), after(1_000), after(1_001)), (Some(1), Some(1), Some(2)));
    }

    #[test]
    fn a_stale_timestamp_says_how_far_the_clocks_are_apart() {
        let refusal = VerifyError::TimestampStale { skew_s: 4000 };
        let refused = Refused::Unverified { refusal, status: StatusCode::UNAUTHORIZED };
        assert!(refused.to_string().contains("4000 s"));
    }
}
