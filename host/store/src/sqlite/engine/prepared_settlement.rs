//! Settlements as they are queued for the writer.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::delivery::NextState;

use crate::Settlement;
use crate::error::StoreError;
use crate::sqlite::engine::packed_effects;
use crate::sqlite::engine::packed_effects::PackedEffects;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::ids::{Row, RowKind};
use crate::sqlite::format::payloads;
use crate::sqlite::rows::reads::PackedReads;

/// A settlement as far as it can be prepared without the writer.
pub(crate) struct PreparedSettlement {
    pub(crate) settlement: Arc<Settlement>,
    pub(crate) row: Row,
    pub(crate) log: Option<(Bytes, Option<usize>)>,
    pub(crate) reads: Option<PackedReads>,
    pub(crate) effects: PackedEffects,
}

/// Prepares a settlement: packing, and what can be refused without looking.
pub(crate) fn prepare(
    shared: &Shared,
    settlement: &Arc<Settlement>,
) -> Result<PreparedSettlement, StoreError> {
    let Settlement { delivery, attempt, next, effects, .. } = &**settlement;
    let row = shared
        .ids
        .open(RowKind::Delivery, delivery.bits())
        .ok_or_else(|| StoreError::Invalid(format!("there is no delivery {delivery}")))?;
    if !effects.is_empty() && *next != NextState::Processed {
        return Err(StoreError::Invalid("only a processed delivery can have effects".into()));
    }
    let log = attempt.log.as_deref().map(payloads::pack_text);
    let reads = attempt.reads.as_ref().map(PackedReads::of);
    let effects = packed_effects::pack(shared, effects)?;
    Ok(PreparedSettlement { settlement: settlement.clone(), row, log, reads, effects })
}

impl PreparedSettlement {
    /// Bytes that it will write, for bounding the queue.
    pub(crate) fn bytes(&self) -> usize {
        let log = self.log.as_ref().map_or(0, |(log, _)| log.len());
        let reads = self.reads.as_ref().map_or(0, PackedReads::bytes);
        log + reads + self.effects.bytes(&self.settlement.effects) + 256
    }
}
