//! The input of a past attempt: its event and what it was told of the handler's state.

use rusqlite::OptionalExtension;
use weir_core::id::AttemptId;

use crate::query::AttemptInput;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::num;
use crate::sqlite::read::in_order;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::history::is_erased;
use crate::sqlite::rows::reads;

/// Reads the input of an attempt. None if it, or its event, is not stored.
pub(crate) fn attempt_input(
    shared: &Shared,
    id: AttemptId,
) -> rusqlite::Result<Option<AttemptInput>> {
    let Some(row) = shared.ids.open(RowKind::Attempt, id.bits()) else { return Ok(None) };
    shared.readers.with(|conn| {
        let delivery: Option<i64> = conn
            .prepare_cached("SELECT delivery FROM attempt WHERE n = ?1 AND started_at = ?2")?
            .query_row([row.n, num::stored_time(row.at)], |row| row.get(0))
            .optional()?;
        let Some(delivery) = delivery else { return Ok(None) };
        let Some(delivery) = Delivery::read(conn, delivery)? else { return Ok(None) };
        if is_erased(conn, delivery.event)? {
            return Ok(None);
        }
        let Some(event) = in_order::one(shared, conn, delivery.event)? else { return Ok(None) };
        Ok(Some(AttemptInput {
            delivery: shared.ids.delivery(delivery.event_at, delivery.n),
            event: event.into(),
            id_round: delivery.id_round,
            reads: reads::read(conn, row.n)?,
        }))
    })
}
