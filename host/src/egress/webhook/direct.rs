//! Requests to one endpoint that do not go through the store: for alerts that the store cannot
//! accept. Sent once.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::event::EventType;
use weir_core::hops::HopKey;
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::SourceName;
use weir_core::time::Clock;

use super::{WebhookError, WebhookTransport};
use crate::config::Webhook;
use crate::egress::outgoing::Outgoing;
use crate::egress::styled::StyledAlerts;
use crate::egress::transport::{SendOutcome, Transport as _};

/// Posts documents to one endpoint, without retries.
#[derive(Debug)]
pub struct DirectWebhook {
    transport: WebhookTransport,
    alerts: Option<StyledAlerts>,
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
        console: Option<&str>,
    ) -> Result<Self, WebhookError> {
        let alerts = webhook.alerts.as_ref().map(|style| StyledAlerts::new(style, console));
        Ok(Self { transport: WebhookTransport::new(webhook, 1, hops)?, alerts, clock })
    }

    /// Posts the document of an alert, in the form of the endpoint's service, and logs the outcome.
    pub async fn post(&self, alert: Bytes) {
        let styled = self.alerts.as_ref().and_then(|alerts| alerts.document(&alert));
        let body = styled.unwrap_or(alert);
        let now = self.clock.now();
        let random = rand::random();
        let out = Outgoing {
            id: MessageId::from_parts(now, random),
            delivery: DeliveryId::from_parts(now, random),
            event: EventId::from_parts(now, random),
            source: SourceName::hub(),
            event_type: EventType::of_alert(),
            handler: None,
            content_type: "application/json".into(),
            hops: 1,
            trace: None,
            trace_state: None,
            headers: Vec::new(),
            body,
            path: None,
            order_key: None,
        };
        match self.transport.send(&out, now).await {
            SendOutcome::Accepted { .. } => tracing::info!("alert sent to alert_url directly"),
            outcome => tracing::error!(?outcome, "cannot send alert to alert_url"),
        }
    }
}
