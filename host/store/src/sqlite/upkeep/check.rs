//! Checking the whole store while it is used.

use std::sync::Arc;

use rusqlite::Connection;
use weir_core::delivery::DeliveryState;

use crate::error::StoreError;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::upkeep::integrity_checks;
use crate::upkeep::CheckReport;

/// Checks the whole store.
pub(crate) async fn check(shared: &Arc<Shared>) -> Result<CheckReport, StoreError> {
    let settings = shared
        .job("check the store", 0, |writing| {
            let mut problems = durability(writing.conn)?;
            problems.extend(totals(writing.shared, writing.conn)?);
            Ok(problems)
        })
        .await?;
    let mut report = shared
        .blocking("check the store", |shared| {
            shared.readers.with(|conn| integrity_checks::report(conn, &shared.files))
        })
        .await?;
    report.problems.splice(0..0, settings);
    Ok(report)
}

/// Checks the settings that make commits durable.
fn durability(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        problems.push(format!("the journal mode is {mode} instead of wal"));
    }
    let synchronous: i64 = conn.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if synchronous < 2 {
        problems.push("commits are not synced: synchronous is below FULL".into());
    }
    Ok(problems)
}

/// Compares the totals in memory with the table. It runs on the writer, so no commit is under way.
fn totals(shared: &Shared, conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let totals = shared.totals.lock();
    for state in [DeliveryState::Pending, DeliveryState::Retrying, DeliveryState::DeadLetter] {
        let stored: i64 =
            conn.query_row("SELECT count(*) FROM delivery WHERE state = ?1", [state as u8], |r| {
                r.get(0)
            })?;
        let of_state = totals.states.iter().filter(|((_, s), _)| *s == state);
        let counted: i64 = of_state.map(|(_, count)| *count).sum();
        if stored != counted {
            problems.push(format!("{stored} deliveries are {state}, but {counted} are counted"));
        }
    }
    Ok(problems)
}
