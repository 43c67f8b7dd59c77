//! `[store]` and `[retention]`: the location of the store, and how long data is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_core::bounds::MIB;
use weir_core::units::format_size;
use weir_store::upkeep::Retention;

use super::context::LoadContext;
use super::tree::Section;
use super::value::Size;

/// Least `max_bytes`: an empty store with its indexes is not much smaller than a few MiB.
const MAX_BYTES_MIN: usize = 16 * MIB;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreLocation {
    pub(super) url: String,
    pub(super) folder: PathBuf,
}

pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<StoreLocation> {
    let url = section.must::<String>("url");
    let place = url.and_then(|url| match place(&url, context) {
        Ok(place) => Some(place),
        Err(what) => {
            section.problem("url", what);
            None
        }
    });
    section.finish();
    place
}

fn place(url: &str, context: &LoadContext<'_>) -> Result<StoreLocation, String> {
    let file = match url.split_once(':') {
        Some(("sqlite", file)) if !file.is_empty() && !file.ends_with('/') => file,
        Some(("postgres" | "postgresql", _)) => {
            return Err(
                "this version keeps its data in SQLite only; write \"sqlite:data/weir.db\"".into(),
            );
        }
        _ => return Err("is not a store; write one such as \"sqlite:data/weir.db\"".into()),
    };
    let file = context.resolve(Path::new(file));
    let folder = file.parent().unwrap_or(context.folder).to_owned();
    let file = file.to_str().ok_or("the path is not UTF-8")?;
    Ok(StoreLocation { url: format!("sqlite:{file}"), folder })
}

/// Retention times of stored data.
pub(super) struct RetentionSettings {
    pub(super) retention: Retention,
    /// Deliveries of a missing target.
    pub(super) hold_life: Duration,
}

pub(super) fn retention(mut section: Section<'_>) -> Option<RetentionSettings> {
    let payload_life = section.must("payload_life");
    let max_bytes = section.maybe::<Size>("max_bytes");
    if max_bytes.is_some_and(|max| max.0 < MAX_BYTES_MIN) {
        section.problem("max_bytes", format!("must be at least {}", format_size(MAX_BYTES_MIN)));
    }
    let attempt_life = section.must("attempt_life");
    let dedup_life = section.must("dedup_life");
    let audit_life = section.must("audit_life");
    let audit_rows = section.must::<u32>("audit_rows");
    let hold_life = section.must("hold_life");
    section.finish();
    let retention = Retention {
        payload_life: payload_life?,
        source_lives: BTreeMap::new(),
        max_bytes: max_bytes.map(|max| max.0 as u64),
        attempt_life: attempt_life?,
        dedup_life: dedup_life?,
        audit_life: audit_life?,
        audit_rows: audit_rows?.into(),
    };
    Some(RetentionSettings { retention, hold_life: hold_life? })
}
