//! Requests to one endpoint that do not go through the store: for alerts that the store cannot
//! accept. Sent once.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::hops::HopKey;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::SourceName;
use weir_core::time::Clock;

use super::{WebhookError, WebhookTransport};
use crate::config::Webhook;
use crate::egress::outgoing::Outgoing;
use crate::egress::transport::{SendOutcome, Transport as _};

/// Posts documents to one endpoint, without retries.
#[derive(Debug)]
pub struct DirectWebhook {
    transport: WebhookTransport,
    clock: Arc<dyn Clock>,
}

impl DirectWebhook {
    /// Sets up a client for an endpoint.
    ///
    /// # Errors
    /// As for a destination with this configuration.
    pub fn new(
        webhook: &Webhook,
        hops: Arc<HopKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WebhookError> {
        Ok(Self { transport: WebhookTransport::new(webhook, 1, hops)?, clock })
    }

    /// Posts a JSON document and logs the outcome.
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
            trace: None,
            trace_state: None,
            headers: Vec::new(),
            body,
        };
        match self.transport.send(&out, now).await {
            SendOutcome::Accepted { .. } => tracing::info!("alert sent to alert_url directly"),
            outcome => tracing::error!(?outcome, "cannot send alert to alert_url"),
        }
    }
}
