//! Shopify: it lists neither deliveries nor events. The resources that changed in the period are
//! compared with the bodies that the hub has; the latest state of one that is missing is brought as
//! the event of a change. What happened in between cannot be had.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::bring::Missing;
use super::{Comparison, MissingEvent, Task};
use crate::api::ReconcileRequest;
use crate::cli::error::CommandError;

/// The kinds of resources whose webhooks carry the resource, with the topic of a change.
const KINDS: [(&str, &str); 4] = [
    ("orders", "orders/updated"),
    ("products", "products/update"),
    ("customers", "customers/update"),
    ("draft_orders", "draft_orders/update"),
];

pub(super) async fn reconcile(task: &Task<'_>) -> Result<Comparison, CommandError> {
    let api = task.args.account.shopify()?;
    let mut topics = Vec::new();
    for kind in &task.args.kind {
        let known = KINDS.iter().find(|(name, _)| name == kind).ok_or_else(|| {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.0).collect();
            CommandError::Usage(format!("--kind takes {}", known.join(", ")))
        })?;
        topics.push(*known);
    }
    // The latest change of each resource that the hub has seen.
    let mut seen: HashMap<(String, String), i64> = HashMap::new();
    task.each_known(|kind, body| {
        let subject = kind.split('/').next().unwrap_or_default();
        if let (Some(id), Some(at)) = (id_of(body), changed_at(body)) {
            let latest = seen.entry((subject.to_owned(), id)).or_insert(at);
            *latest = at.max(*latest);
        }
    })
    .await?;
    let (mut looked_at, mut missing) = (0, Vec::new());
    for (kind, topic) in topics {
        for resource in api.changed(kind, &task.since.to_string()).await? {
            looked_at += 1;
            let facts: Value = serde_json::from_str(resource.get()).unwrap_or_default();
            let (Some(id), Some(at)) = (id_of(&facts), changed_at(&facts)) else { continue };
            let latest = seen.get(&(kind.to_owned(), id.clone()));
            if latest.is_some_and(|latest| *latest >= at) {
                continue;
            }
            let at = facts["updated_at"].as_str().unwrap_or_default().to_owned();
            // The same change has the same id, so that a second run brings nothing twice.
            let webhook = format!("reconcile-{kind}-{id}-{at}");
            let headers = BTreeMap::from([
                ("x-shopify-topic".to_owned(), topic.to_owned()),
                ("x-shopify-webhook-id".to_owned(), webhook),
                ("x-shopify-api-version".to_owned(), api.version().to_owned()),
            ]);
            let provider_says =
                if latest.is_some() { "changed since" } else { "not seen" }.to_owned();
            let (outcome, reason, kind) = ("missing", None, topic.to_owned());
            missing.push(Missing {
                event: MissingEvent { id, kind, at, provider_says, outcome, reason },
                request: ReconcileRequest { headers, body: resource.get().to_owned() },
            });
        }
    }
    let note = "Shopify lists no deliveries: the latest state of changed resources was compared";
    let missing = task.bring(missing).await?;
    Ok(Comparison { looked_at, missing, notes: vec![note.to_owned()] })
}

/// The id of a resource.
fn id_of(body: &Value) -> Option<String> {
    body["id"].as_u64().map(|id| id.to_string())
}

/// The time of its last change, in seconds.
fn changed_at(body: &Value) -> Option<i64> {
    let at: jiff::Timestamp = body["updated_at"].as_str()?.parse().ok()?;
    Some(at.as_second())
}
