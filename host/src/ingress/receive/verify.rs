//! The step "verify": checks who has sent a request, with a key that the sender publishes if its
//! scheme needs one.

use http::StatusCode;
use weir_core::error::chain;
use weir_core::verify::{KeyRef, Unverified, Verified, VerifyError};

use super::Pipeline;
use super::received::Received;
use crate::ingress::answer::refused::Refused;

impl Pipeline {
    pub(super) async fn verify(&self, received: &Received<'_>) -> Result<Verified, Refused> {
        let source = received.source;
        let mut is_key_fetched = false;
        loop {
            let view = received.view();
            let key = match source.verifier.verify_with(&view, received.at, &source.keys.ring()) {
                Ok(verified) if source.has_events_by(view.method) => return Ok(verified),
                // A valid signature does not make an event of a request by a handshake's method.
                Ok(_) => return Err(Refused::Method),
                Err(Unverified::Refused(refusal)) => {
                    let status = match refusal {
                        VerifyError::ContentTypeUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        _ => source.failure_status,
                    };
                    return Err(Refused::Unverified { refusal, status });
                }
                Err(Unverified::NeedKey(_)) if is_key_fetched => {
                    return Err(Refused::KeyUnavailable);
                }
                Err(Unverified::NeedKey(key)) => key,
            };
            Box::pin(self.fetch_key(received, &key)).await?;
            is_key_fetched = true;
        }
    }

    async fn fetch_key(&self, received: &Received<'_>, key: &KeyRef) -> Result<(), Refused> {
        let source = received.source;
        let fetched = source.keys.fetch(key, received.caller.network, &*self.clock).await;
        fetched.map_err(|error| {
            let (source, error) = (source.name(), chain(&error));
            tracing::warn!(source, error, "a published key is not available");
            Refused::KeyUnavailable
        })
    }
}
