//! Stripe: its list of events, each of which is the body that its webhook carries.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_core::time::Timestamp;

use super::bring::Missing;
use super::{Comparison, MissingEvent, Task};
use crate::api::ReconcileRequest;
use crate::cli::error::CommandError;
use crate::provider_api::WebhookApi as _;

pub(super) async fn reconcile(task: &Task<'_>) -> Result<Comparison, CommandError> {
    let api = task.args.account.stripe()?;
    let mut notes = Vec::new();
    let endpoint = match &task.url {
        Some(url) => api.list().await?.into_iter().find(|one| one.url == *url),
        None => None,
    };
    if endpoint.is_none() {
        notes.push(
            "no endpoint of Stripe has the URL of the source, so every type of event counts"
                .to_owned(),
        );
    }
    let is_sent = |kind: &str| match &endpoint {
        Some(endpoint) => endpoint.events.iter().any(|sent| sent == "*" || sent == kind),
        None => true,
    };
    let known = task.known_ids().await?;
    let (mut looked_at, mut missing) = (0, Vec::new());
    for event in api.events(task.since.as_millis() / 1_000).await?.into_iter().rev() {
        let facts: Value = serde_json::from_str(event.get()).unwrap_or_default();
        let text = |field: &str| facts[field].as_str().unwrap_or_default().to_owned();
        let (id, kind) = (text("id"), text("type"));
        if !is_sent(&kind) {
            continue;
        }
        looked_at += 1;
        if known.contains(&id) {
            continue;
        }
        let created = facts["created"].as_u64().unwrap_or(0);
        let at = Timestamp::from_millis(created.saturating_mul(1_000)).to_string();
        let provider_says = match facts["pending_webhooks"].as_u64() {
            Some(0) | None => "given up or delivered".to_owned(),
            Some(_) => "still tries".to_owned(),
        };
        let (outcome, reason) = ("missing", None);
        let body = event.get().to_owned();
        missing.push(Missing {
            event: MissingEvent { id, kind, at, provider_says, outcome, reason },
            request: ReconcileRequest { headers: BTreeMap::new(), body },
        });
    }
    Ok(Comparison { looked_at, missing: task.bring(missing).await?, notes })
}
