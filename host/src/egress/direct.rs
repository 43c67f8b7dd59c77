//! Posting past the store: for what is said when the store cannot take it. Through the guard like everything else,
//! once, and nobody tries again.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::hops::HopKey;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::SourceName;
use weir_core::time::Clock;

use super::decide::SendOutcome;
use super::outgoing::Outgoing;
use super::webhook::{Endpoint, EndpointError};
use crate::config::Webhook;

/// Posts to one endpoint.
#[derive(Debug)]
pub struct DirectWebhook {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl DirectWebhook {
    /// Sets up a client for an endpoint.
    ///
    /// # Errors
    /// As for a destination that is configured like this.
    pub fn new(
        webhook: &Webhook,
        hops: Arc<HopKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        Ok(Self { endpoint: Endpoint::new(webhook, 1, hops)?, clock })
    }

    /// Posts a JSON document. What was taken is only logged, like what was not: there is nobody else to tell.
    pub async fn post(&self, body: Bytes) {
        let now = self.clock.now();
        let random = rand::random();
        let out = Outgoing {
            id: MessageId::from_parts(now, random),
            delivery: DeliveryId::from_parts(now, random),
            event: EventId::from_parts(now, random),
            source: SourceName::hub(),
            handler: None,
            content_type: "application/json".into(),
            hops: 1,
            headers: Vec::new(),
            body,
        };
        match self.endpoint.send(&out, now).await {
            SendOutcome::Status { status, .. } if status.is_success() => {
                tracing::info!("told alert_url, past the store");
            }
            SendOutcome::Accepted => {}
            answer => tracing::error!(?answer, "cannot tell alert_url"),
        }
    }
}
