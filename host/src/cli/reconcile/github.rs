//! GitHub: its list of deliveries, and redelivery. GitHub signs and sends again, so that nothing
//! has to be believed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_core::time::Clock as _;

use super::{Comparison, MissingEvent, Task};
use crate::cli::error::CommandError;
use crate::provider_api::{GitHub, HookDelivery, WebhookApi as _};
use crate::runtime::clock::SystemClock;

/// Between two looks at the hub.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// GitHub lists and redelivers deliveries of this time.
const KEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

pub(super) async fn reconcile(task: &Task<'_>) -> Result<Comparison, CommandError> {
    let api = task.args.account.github()?;
    let hook = hook(task, &api).await?;
    let is_old = |delivery: &HookDelivery| {
        delivery.delivered_at.parse::<jiff::Timestamp>().is_ok_and(|at| {
            u64::try_from(at.as_millisecond()).unwrap_or(0) < task.since.as_millis()
        })
    };
    let deliveries = api.deliveries(&hook, is_old).await?;
    let known = task.known_ids().await?;
    // The newest of each event comes first; it has the last answer.
    let mut by_guid: HashMap<&str, &HookDelivery> = HashMap::new();
    let mut order = Vec::new();
    for delivery in &deliveries {
        by_guid.entry(&delivery.guid).or_insert_with(|| {
            order.push(&*delivery.guid);
            delivery
        });
    }
    let looked_at = order.len();
    let missing: Vec<&HookDelivery> = order
        .iter()
        .rev()
        .filter(|guid| !known.contains(**guid))
        .map(|guid| by_guid[guid])
        .collect();
    let mut events: Vec<_> = missing.iter().map(|delivery| event(delivery)).collect();
    if task.args.apply {
        for (event, delivery) in events.iter_mut().zip(&missing) {
            match api.redeliver(&hook, &delivery.id).await {
                Ok(()) => event.outcome = "requested",
                Err(error) => {
                    (event.outcome, event.reason) = ("refused", Some(error.to_string()));
                }
            }
        }
        arrive(task, &mut events).await?;
    }
    let mut notes = Vec::new();
    if SystemClock.now().since(task.since) > KEPT {
        notes.push("GitHub lists deliveries of the last three days only".to_owned());
    }
    Ok(Comparison { looked_at, missing: events, notes })
}

/// The id of the webhook.
async fn hook(task: &Task<'_>, api: &GitHub) -> Result<String, CommandError> {
    if let Some(hook) = &task.args.hook {
        return Ok(hook.clone());
    }
    let url = task.url.as_deref().ok_or_else(|| {
        CommandError::Usage("the webhook is not known: give --hook ID or --url URL".into())
    })?;
    let found = api.list().await?.into_iter().find(|one| one.url == url);
    found.map(|one| one.id).ok_or_else(|| {
        CommandError::NotFound(format!("GitHub has no webhook for {url}; give --hook ID"))
    })
}

fn event(delivery: &HookDelivery) -> MissingEvent {
    let kind = match &delivery.action {
        Some(action) => format!("{}.{action}", delivery.event),
        None => delivery.event.clone(),
    };
    let provider_says = match delivery.status_code {
        0 => "no answer".to_owned(),
        code => format!("answered {code}"),
    };
    MissingEvent {
        id: delivery.guid.clone(),
        kind,
        at: delivery.delivered_at.clone(),
        provider_says,
        outcome: "missing",
        reason: None,
    }
}

/// Waits until what was sent again has arrived at the hub.
async fn arrive(task: &Task<'_>, events: &mut [MissingEvent]) -> Result<(), CommandError> {
    let started = Instant::now();
    // What is sent again is received now.
    let now = Task {
        args: task.args,
        hub: task.hub.clone(),
        source: task.source.clone(),
        since: SystemClock.now(),
        url: None,
    };
    while events.iter().any(|event| event.outcome == "requested") {
        let known = now.known_ids().await?;
        for event in events.iter_mut().filter(|event| event.outcome == "requested") {
            if known.contains(&event.id) {
                event.outcome = "arrived";
            }
        }
        if started.elapsed() >= task.args.wait {
            break;
        }
        if events.iter().any(|event| event.outcome == "requested") {
            tokio::time::sleep(LOOK_EVERY.min(task.args.wait)).await;
        }
    }
    Ok(())
}
