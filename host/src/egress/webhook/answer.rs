//! The whole answer of an endpoint, for the event that it becomes.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderName, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use weir_core::bounds::MIB;
use weir_core::id::MessageId;
use weir_core::payload::Payload;
use weir_store::ResponseRecord;

use super::mask::SecretMask;
use super::oauth::AccessToken;
use crate::egress::transport::{SendOutcome, Subject};

/// Bytes of an answer that becomes an event: as many as those of a default request.
const ANSWER_BYTES_MAX: usize = MIB;
/// Longer answers are masked on a thread of their own, because it takes milliseconds.
const MASKED_HERE_MAX: usize = 64 * 1024;
/// Bytes of a header that are kept.
const HEADER_BYTES_MAX: usize = 2 * 1024;
/// The headers that say something about the answer, beside its content type.
const KEPT: [HeaderName; 3] = [ETAG, LINK, LOCATION];
/// The status of the answer.
const STATUS_HEADER: &str = "weir-answer-status";
/// The outward id of the message that was answered.
const MESSAGE_HEADER: &str = "weir-answer-to";

/// Reads an answer until `deadline`. Credentials of the endpoint that it repeats are masked.
pub(super) async fn read(
    response: Response<Incoming>,
    message: MessageId,
    deadline: Instant,
    mask: &Arc<SecretMask>,
    token: Option<&Arc<AccessToken>>,
) -> Result<Payload, SendOutcome> {
    let (head, body) = response.into_parts();
    let status = head.status;
    let read = timeout_at(deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(SendOutcome::Rejected {
                about: Subject::Message,
                response: ResponseRecord { status: status.as_u16(), snippet: "".into() },
                retry_after: None,
                detail: "sent and accepted, but the answer has more than 1 MiB, so that it cannot \
                         become an event"
                    .into(),
            });
        }
        // The message was accepted, but what the answer says is lost: it is asked for again, under
        // the same id.
        Ok(Err(error)) => {
            let reason = format!("HTTP {status}, and then the answer broke off: {error}");
            return Err(SendOutcome::Unreachable { reason: mask.covered(&reason).into() });
        }
        Err(_) => {
            let reason = format!("HTTP {status}, but the whole answer did not arrive in time");
            return Err(SendOutcome::Unreachable { reason: reason.into() });
        }
    };
    let body = masked(body, mask.clone(), token.cloned()).await;
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut payload = Payload::new(content_type.unwrap_or_default(), body);
    let mut put = |name: &str, value: &[u8]| {
        payload.headers.push((name.into(), Bytes::copy_from_slice(value)));
    };
    put(STATUS_HEADER, status.as_str().as_bytes());
    put(MESSAGE_HEADER, message.to_string().as_bytes());
    for name in KEPT {
        let value = head.headers.get(&name).map(|value| value.as_bytes().to_vec());
        let Some(mut value) = value.filter(|value| value.len() <= HEADER_BYTES_MAX) else {
            continue;
        };
        cover(&mut value, mask, token);
        put(name.as_str(), &value);
    }
    Ok(payload)
}

async fn masked(body: Bytes, mask: Arc<SecretMask>, token: Option<Arc<AccessToken>>) -> Bytes {
    let is_short = body.len() <= MASKED_HERE_MAX;
    let covering = move || {
        let mut body = Vec::from(body);
        cover(&mut body, &mask, token.as_ref());
        Bytes::from(body)
    };
    if is_short {
        return covering();
    }
    // The process is ending if the task was cancelled, and then nothing is settled.
    tokio::task::spawn_blocking(covering).await.unwrap_or_default()
}

fn cover(text: &mut [u8], mask: &SecretMask, token: Option<&Arc<AccessToken>>) {
    mask.cover_whole(text);
    if let Some(token) = token {
        token.mask.cover_whole(text);
    }
}
