//! Looking the store over, and copying it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use weir_core::delivery::DeliveryState;

use super::{Shared, engine, soundness};
use crate::error::StoreError;
use crate::private;
use crate::upkeep::CheckReport;

/// Looks the whole store over.
pub(super) async fn check(shared: &Arc<Shared>) -> Result<CheckReport, StoreError> {
    let settings = shared
        .job("check the store", 0, |writing| {
            let mut problems = durability(writing.conn)?;
            problems.extend(totals(writing.shared, writing.conn)?);
            Ok(problems)
        })
        .await?;
    let mut report = shared
        .blocking("check the store", |shared| {
            shared.readers.with(|conn| soundness::report(conn, &shared.place))
        })
        .await?;
    report.problems.splice(0..0, settings);
    Ok(report)
}

/// What makes `Ok` mean durable.
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

/// Whether what is counted in memory is what is stored. Asked on the writer, so nothing is on its way.
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

/// Copies the store as of now into a new file, for its owner's eyes only.
pub(super) async fn backup(shared: &Arc<Shared>, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Invalid(format!("{} exists already", to.display())));
    }
    let Some(target) = to.to_str().map(str::to_owned) else {
        return Err(StoreError::Invalid("the name of a backup must be UTF-8".into()));
    };
    let io =
        |e: std::io::Error| StoreError::Engine { doing: "write the backup", cause: e.to_string() };
    // Made before SQLite would make it with a wider mode.
    private::file(to).map_err(io)?;
    let path: PathBuf = to.into();
    let place = shared.place.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let conn = place.writer(1024).map_err(engine("copy the store"))?;
        conn.execute("VACUUM INTO ?1", [&target]).map_err(engine("copy the store"))?;
        std::fs::File::open(&target).and_then(|file| file.sync_all()).map_err(io)
    })
    .await;
    match copied {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => {
            let _left_behind = std::fs::remove_file(path);
            Err(e)
        }
        Err(e) => Err(StoreError::Engine { doing: "copy the store", cause: e.to_string() }),
    }
}
