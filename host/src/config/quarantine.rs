//! `[quarantine]`: the limits of the quarantine.

use std::time::Duration;

use weir_store::quarantine::Budgets;

use super::tree::Section;
use super::value::Size;

/// The limits of the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineSettings {
    pub enabled: bool,
    pub life: Duration,
    pub budgets: Budgets,
}

pub(super) fn read(mut section: Section<'_>) -> Option<QuarantineSettings> {
    let enabled = section.must("enabled");
    let life = section.must("life");
    let per_address = section.must("per_address");
    let per_address_bytes = section.must::<Size>("per_address_bytes");
    let per_source = section.must("per_source");
    let per_source_bytes = section.must::<Size>("per_source_bytes");
    let bytes = section.must::<Size>("bytes");
    section.finish();
    Some(QuarantineSettings {
        enabled: enabled?,
        life: life?,
        budgets: Budgets {
            address_items: per_address?,
            address_bytes: per_address_bytes?.0,
            source_items: per_source?,
            source_bytes: per_source_bytes?.0,
            bytes: bytes?.0,
        },
    })
}
