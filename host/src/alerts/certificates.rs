//! Alerts about certificates of listeners that expire soon: once a day, also across restarts.

use std::time::Duration;

use serde_json::Value;
use weir_core::alert::ExpiryReminder;
use weir_core::event::EventType;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;
use weir_store::query::{EventFilter, PageRequest};
use weir_store::{Store, StoreError};

use crate::observe::notice::Notice;
use crate::tls::TlsListener;

/// Stored alerts that are read at the start: there is one a day for each listener.
const ALERTS_LOOKED_AT: usize = 20;

/// The certificates of the listeners, with the last alert about each.
#[derive(Debug)]
pub(super) struct ExpiringCertificates {
    listeners: Vec<(TlsListener, ExpiryReminder)>,
    ahead: Duration,
}

impl ExpiringCertificates {
    /// An alert is due when a certificate expires within `ahead`.
    pub(super) fn new(tls_listeners: Vec<TlsListener>, ahead: Duration) -> Self {
        let listeners = tls_listeners
            .into_iter()
            .map(|tls_listeners| (tls_listeners, ExpiryReminder::default()))
            .collect();
        Self { listeners, ahead }
    }

    pub(super) fn set_ahead(&mut self, ahead: Duration) {
        self.ahead = ahead;
    }

    /// Reads the alerts that were stored before the start.
    pub(super) async fn recall(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Ok(kind) = EventType::new("certificate.expiring") else { return Ok(()) };
        if self.listeners.is_empty() {
            return Ok(());
        }
        let since = Timestamp::from_millis(
            now.as_millis().saturating_sub(weir_core::time::millis(ExpiryReminder::EVERY)),
        );
        let filter = EventFilter {
            sources: vec![SourceName::hub()],
            kinds: vec![kind],
            since: Some(since),
            ..EventFilter::default()
        };
        let page = PageRequest { limit: ALERTS_LOOKED_AT, after: None };
        for told in store.events(filter, page).await?.items {
            let Some(event) = store.event(told.id).await? else { continue };
            let alert = event.payload.map(|payload| serde_json::from_slice::<Value>(&payload.body));
            let Some(Ok(alert)) = alert else { continue };
            for (tls_listeners, expiry) in &mut self.listeners {
                if alert["subject"] == format!("certificate:{}", tls_listeners.listener) {
                    expiry.reminded(now.since(told.received_at), Duration::ZERO);
                }
            }
        }
        Ok(())
    }

    /// The alerts that are due now, `since_start` after the start.
    pub(super) fn look(&mut self, now: Timestamp, since_start: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (TlsListener { listener, tls }, expiry) in &mut self.listeners {
            let Some(not_after) = tls.not_after() else { continue };
            let left = not_after.since(now);
            if expiry.is_due(left, self.ahead, since_start) {
                let file = tls.certificates().display().to_string().into();
                notices.push(Notice::CertificateExpiring { listener, file, not_after, left });
            }
        }
        notices
    }
}
