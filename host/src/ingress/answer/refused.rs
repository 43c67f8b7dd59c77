//! The reasons for which a request is refused: one value each, with its status, its stable code, a
//! sentence for the sender and another for the operator.

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

use crate::config::Mismatch;
use crate::ingress::connection::limits::{
    DRAIN_BYTES_MAX, DRAIN_BYTES_MAX_PENALIZED, RETRY_AFTER_BROKEN_S, RETRY_AFTER_BUSY_S,
};

/// A refusal. The codes are part of the released interface, the sentences are not.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    /// Not a valid request; the text says why.
    Malformed(&'static str),
    /// More headers than are accepted.
    HeadTooLarge,
    /// The path is neither a webhook's nor a health check's.
    UnknownPath,
    /// No source of that name.
    UnknownSource,
    /// The hub takes the source's messages itself, and accepts no requests for it.
    Pulled,
    /// The source does not accept this method.
    Method,
    /// The source does not accept this address.
    Address(IpAddr),
    /// The source requires a client certificate, and the client has shown none.
    ClientCertificate,
    /// The token that the source requires is missing or wrong.
    Token(InvalidToken),
    /// The body did not arrive in time.
    Timeout,
    /// The body ended early, or is not valid HTTP.
    BodyIncomplete,
    /// The body is larger than the source accepts.
    TooLarge { limit: usize },
    /// The body is compressed.
    Encoding,
    /// Verification failed. The status is the provider's.
    Unverified { refusal: VerifyError, status: StatusCode },
    /// A published key that verification needs is not available.
    KeyUnavailable,
    /// The handshake is not valid.
    Handshake(HandshakeError),
    /// The handshake hands over a secret, and the operator has opened no window for it.
    HandshakeClosed,
    /// The address that confirms the handshake could not be reached.
    HandshakeUnconfirmed,
    /// Verified, but its events cannot be identified.
    Unusable(IdentifyError),
    /// Verified, but an event does not match its JSON Schema.
    Schema(Box<Mismatch>),
    /// The request has left this hub and come back too often.
    LoopDetected,
    /// Verified, but the source is over its rate.
    RateLimited { wait: Duration },
    /// The budget for request bodies is spent.
    Overloaded,
    /// The store failed.
    Store(StoreError),
    /// The routing table is not loaded yet.
    NotReady,
    /// Too many requests from this network were refused before.
    Penalized { wait: Duration },
}

impl Refused {
    /// The stable code of the refusal.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::UnknownPath => "not_found",
            Self::UnknownSource => "unknown_source",
            Self::Pulled => "source_pulled",
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

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::BodyIncomplete
            | Self::Unusable(IdentifyError::HeaderNotText) => StatusCode::BAD_REQUEST,
            Self::UnknownPath | Self::UnknownSource | Self::Pulled => StatusCode::NOT_FOUND,
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

    /// A JSON Pointer to the value that does not match the schema.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Schema(mismatch) => Some(&mismatch.path),
            _ => None,
        }
    }

    /// The value of `Retry-After` in seconds, where waiting helps.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
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

    /// The number of bytes to read and drop after the answer, as the body is unread and the
    /// connection cannot be used again. `None` if the body was read.
    pub(crate) const fn drain_bytes(&self) -> Option<usize> {
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

    /// True if the sender is charged with the refusal. The sender of a verified request is not, and
    /// neither is it for a fault of the hub.
    pub(crate) const fn counts_toward_penalty(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::HeadTooLarge
            | Self::UnknownPath
            | Self::UnknownSource
            | Self::Pulled
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

    /// True if the hub is at fault, not the sender.
    pub(crate) const fn is_hub_fault(&self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Store(_) | Self::KeyUnavailable | Self::HandshakeUnconfirmed
        )
    }

    /// A sentence for the sender, without anything that only the operator may know.
    pub(crate) fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Malformed(what) => what,
            Self::HeadTooLarge => "the request has too many headers",
            Self::UnknownPath => "nothing answers at this path; webhooks go to /webhook/SOURCE",
            Self::UnknownSource => "there is no such source",
            Self::Pulled => {
                "this source accepts no requests: the hub takes its messages from a server"
            }
            Self::Method => "this source does not accept this method",
            Self::Address(_) => "this source does not accept requests from your address",
            Self::ClientCertificate => "this source requires a client certificate",
            Self::Token(refusal) => return refusal.to_string().into(),
            Self::Timeout => "the body did not arrive in time",
            Self::BodyIncomplete => "the body ended early or is malformed",
            Self::TooLarge { limit } => {
                return format!(
                    "the body is larger than the {limit} bytes that this source accepts"
                )
                .into();
            }
            Self::Encoding => "the body must not be compressed",
            Self::Unverified { refusal, .. } => return refusal.to_string().into(),
            Self::KeyUnavailable => {
                "the key that verifies this request is not available at the moment"
            }
            Self::Handshake(refusal) => return refusal.to_string().into(),
            Self::HandshakeClosed => "this handshake is not accepted at the moment",
            Self::HandshakeUnconfirmed => "the address that confirms this cannot be reached",
            Self::Unusable(error) => return error.to_string().into(),
            Self::Schema(mismatch) => return mismatch.to_string().into(),
            Self::LoopDetected => {
                return format!(
                    "this request has left this hub {HOPS_MAX} times and come back each time; \
                 look for a loop of destinations"
                )
                .into();
            }
            Self::RateLimited { .. } => "this source is over its rate limit",
            Self::Overloaded => "the hub is overloaded at the moment",
            Self::Store(_) => "the request cannot be stored at the moment",
            Self::NotReady => "the hub is starting",
            Self::Penalized { .. } => "too many requests from this address were refused",
        })
    }
}

/// The sentence for the operator, with the cause.
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
    fn a_disk_error_is_shown_to_the_operator_only() {
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
    fn a_provider_sets_the_status_of_a_refused_signature_not_the_code() {
        let refusal = VerifyError::SignatureMismatch;
        let refused = Refused::Unverified { refusal, status: StatusCode::NOT_ACCEPTABLE };
        assert_eq!((refused.status().as_u16(), refused.code()), (406, "signature_mismatch"));
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_zero() {
        let after = |ms| Refused::Penalized { wait: Duration::from_millis(ms) }.retry_after_s();
        assert_eq!((after(1), after(1_000), after(1_001)), (Some(1), Some(1), Some(2)));
    }

    #[test]
    fn a_stale_timestamp_says_by_how_much_the_clocks_differ() {
        let refusal = VerifyError::TimestampStale { skew_s: 4000 };
        let refused = Refused::Unverified { refusal, status: StatusCode::UNAUTHORIZED };
        assert!(refused.to_string().contains("4000 s"));
    }
}
