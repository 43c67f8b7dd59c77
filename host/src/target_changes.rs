//! Retries after a change of the configuration: deliveries waiting for a retry become due if their
//! handler or destination is configured differently than at the last start.
//!
//! Changes while the hub runs are handled where they take effect.

use std::collections::BTreeMap;

use weir_core::name::Target;
use weir_store::registry::{CasOutcome, EntryKind};
use weir_store::upkeep::RetryNow;
use weir_store::{Store, StoreError};

use crate::config::{Config, fingerprint};
use crate::delivery::breakers;

/// The registry entry with the configuration of targets at the last start.
const ENTRY: &str = "targets";

type Targets = BTreeMap<String, String>;

/// Compares the configuration with that of the last start, and retries deliveries for changed
/// targets.
pub(crate) async fn retry_changed_targets(
    store: &dyn Store,
    config: &Config,
) -> Result<(), StoreError> {
    let known = store.get(EntryKind::Setting, ENTRY).await?;
    let version = known.as_ref().map(|entry| entry.version);
    let before: Option<Targets> =
        known.and_then(|entry| serde_json::from_slice(&entry.value?).ok());
    let now = targets(config);
    if before.as_ref() == Some(&now) {
        return Ok(());
    }
    if let Some(before) = &before {
        for target in changed(before, &now) {
            let Ok(target) = target.parse::<Target>() else { continue };
            breakers::reset(store, &target).await?;
            retry(store, &target).await?;
        }
    }
    // Plain data always serialises.
    let value = serde_json::to_vec(&now).ok();
    if let CasOutcome::Conflict { .. } =
        store.cas(EntryKind::Setting, ENTRY, version, value).await?
    {
        tracing::warn!("another process changed the record of configured targets");
    }
    Ok(())
}

/// Makes all deliveries of a target due that wait for a retry. Returns their number.
pub(crate) async fn retry(store: &dyn Store, target: &Target) -> Result<usize, StoreError> {
    let mut all = 0;
    loop {
        let some = store.retry_now(RetryNow::Target(target.clone())).await?;
        all += some.deliveries.len();
        if !some.more || some.deliveries.is_empty() {
            break;
        }
    }
    if all > 0 {
        tracing::info!(%target, deliveries = all, "target configuration changed: retrying its \
            waiting deliveries now");
    }
    Ok(all)
}

fn targets(config: &Config) -> Targets {
    let destination = |name: &dyn std::fmt::Display| format!("destination:{name}");
    let destinations =
        config.destinations.iter().map(|(name, known)| (destination(name), fingerprint(known)));
    let handlers = config
        .handlers
        .iter()
        .map(|(name, known)| (format!("handler:{name}"), format!("{known:?}")));
    destinations.chain(handlers).collect()
}

/// The changed targets, without destinations that were removed: their deliveries are held.
fn changed<'a>(before: &'a Targets, now: &'a Targets) -> Vec<&'a str> {
    let all = before.keys().chain(now.keys().filter(|target| !before.contains_key(*target)));
    let is_there = |target: &&String| now.contains_key(*target) || target.starts_with("handler:");
    let differs = |target: &&String| before.get(*target) != now.get(*target);
    all.filter(differs).filter(is_there).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_targets_are_found_by_their_fingerprints() {
        let of = |pairs: &[(&str, &str)]| -> Targets {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let before = of(&[
            ("destination:a", "1"),
            ("destination:b", "1"),
            ("destination:gone", "1"),
            ("handler:c", "1"),
        ]);
        let now = of(&[("destination:a", "1"), ("destination:b", "2"), ("handler:d", "1")]);
        assert_eq!(changed(&before, &now), ["destination:b", "handler:c", "handler:d"]);
        assert!(changed(&now, &now).is_empty());
    }
}
