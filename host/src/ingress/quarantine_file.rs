//! Opens the quarantine's file, which stands beside the store's and never blocks it.

use std::sync::Arc;

use anyhow::Context as _;
use weir_core::time::Clock;
use weir_store::StoreError;
use weir_store::quarantine::Quarantine;

use crate::config::Config;

/// The quarantine as configured. None if it is disabled, or if the disk is full.
pub fn quarantine_from_config(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Quarantine>> {
    let settings = &config.quarantine;
    if !settings.enabled {
        return Ok(None);
    }
    let file = config.data_dir.join("quarantine.db");
    match Quarantine::open(&file, settings.budgets, settings.life, clock.clone()) {
        Err(error @ StoreError::DiskFull) => {
            tracing::warn!(
                file = %file.display(), %error,
                "the quarantine is disabled until the next start"
            );
            Ok(None)
        }
        opened => opened.map(Some).with_context(|| format!("cannot open {}", file.display())),
    }
}
