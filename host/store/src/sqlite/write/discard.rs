//! Discarding dead letters: they stay stored as cancelled until retention removes them.

use rusqlite::params;
use weir_core::delivery::DeliveryState;
use weir_core::id::DeliveryId;

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::rows::delivery::Delivery;

/// Discards the dead letters among these deliveries. Returns them.
pub(crate) fn discard(
    writing: &mut Writing<'_>,
    ids: &[DeliveryId],
) -> Result<Vec<DeliveryId>, WriteError> {
    let mut discarded = Vec::new();
    for id in ids {
        let Some(row) = writing.shared.ids.open(RowKind::Delivery, id.bits()) else { continue };
        let found = Delivery::read(writing.conn, row.n)?.filter(|found| found.event_at == row.at);
        let Some(delivery) = found else { continue };
        if delivery.state != Some(DeliveryState::DeadLetter) {
            continue;
        }
        end(writing, &delivery)?;
        discarded.push(*id);
    }
    Ok(discarded)
}

/// Cancels a dead letter.
pub(crate) fn end(writing: &mut Writing<'_>, dead: &Delivery) -> rusqlite::Result<()> {
    writing
        .conn
        .prepare_cached("UPDATE delivery SET state = ?2, due_at = NULL WHERE n = ?1")?
        .execute(params![dead.n, DeliveryState::Cancelled as u8])?;
    let (from, to) = (dead.state, Some(DeliveryState::Cancelled));
    writing.post_commit.moved((dead.queue_key, dead.n), from, to);
    Ok(())
}
