//! Reading roll-ups, merged into steps.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::params;
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::rollup::{
    HOUR, MINUTE, MINUTES_KEPT, ROLLUP_STEPS_MAX, Rollup, RollupQuery, Rollups, step_start,
};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::{num, packed_rollup};

/// The step that is used for a query: hours where minutes are not kept.
pub(crate) fn step_of(query: &RollupQuery, now: Timestamp) -> Result<Duration, StoreError> {
    let whole = |unit: Duration| {
        query.step >= unit && query.step.as_millis().is_multiple_of(unit.as_millis())
    };
    if !whole(MINUTE) || (query.step > HOUR && !whole(HOUR)) {
        return Err(StoreError::Invalid(
            "a step is whole minutes up to an hour, or whole hours".into(),
        ));
    }
    let step =
        if query.from < now.before(MINUTES_KEPT) { query.step.max(HOUR) } else { query.step };
    let steps = query.to.since(query.from).as_millis() / step.as_millis();
    if steps > u128::from(ROLLUP_STEPS_MAX) {
        return Err(StoreError::Invalid(format!(
            "the answer would have {steps} steps, more than {ROLLUP_STEPS_MAX}: ask for a longer step"
        )));
    }
    Ok(step)
}

pub(crate) fn list(
    shared: &Shared,
    query: &RollupQuery,
    step: Duration,
) -> rusqlite::Result<Rollups> {
    let mut answer = Rollups { step, rows: Vec::new() };
    let series = match &query.series {
        Some(name) => match shared.names.find(name) {
            Some(series) => Some(series),
            None => return Ok(answer),
        },
        None => None,
    };
    let span = if step >= HOUR { HOUR } else { MINUTE };
    let from = num::stored_time(step_start(query.from, span));
    let mut merged: BTreeMap<(Timestamp, NameId), Rollup> = BTreeMap::new();
    shared.readers.with(|conn| {
        let mut statement = conn.prepare_cached(
            "SELECT at, series, data FROM rollup WHERE span = ?1 AND at >= ?2 AND at < ?3
               AND (?4 IS NULL OR series = ?4) ORDER BY at",
        )?;
        let to = num::stored_time(query.to);
        let mut rows = statement.query(params![num::seconds(span), from, to, series])?;
        while let Some(row) = rows.next()? {
            let data = row.get_ref(2)?.as_blob().ok().and_then(packed_rollup::unpack);
            let Some(data) = data else { continue };
            let at = step_start(num::time(row.get(0)?), step);
            merged.entry((at, row.get(1)?)).or_default().merge(&data);
        }
        Ok(())
    })?;
    let named = |((at, series), rollup)| (at, Box::from(&*shared.names.text(series)), rollup);
    answer.rows = merged.into_iter().map(named).collect();
    answer.rows.sort_by(|a: &(_, Box<str>, _), b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Ok(answer)
}
