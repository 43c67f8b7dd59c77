//! Differences of counters. Pure.

use std::collections::BTreeMap;

use weir_store::rollup::Rollup;

use super::layout;

/// Counters by series.
pub(super) type Counted = BTreeMap<Box<str>, Rollup>;

/// The difference between one reading and a later one. A series in which nothing happened is left
/// out.
pub(super) fn between(before: &Counted, now: &Counted) -> Vec<(Box<str>, Rollup)> {
    let mut changed = Vec::new();
    for (series, now) in now {
        let since = match before.get(series) {
            Some(before) => since(before, now),
            None => now.clone(),
        };
        if since.lists().into_iter().flatten().any(|n| *n > 0) {
            changed.push((series.clone(), since));
        }
    }
    changed
}

/// The difference of two readings of one series. If one number fell, the series has begun again
/// from zero, because its source was removed and added: then all of it is new.
fn since(before: &Rollup, now: &Rollup) -> Rollup {
    let fell = |before: &[u64], now: &[u64]| before.iter().zip(now).any(|(b, n)| n < b);
    if fell(&before.sums, &now.sums) || fell(&before.latency, &now.latency) {
        return now.clone();
    }
    let minus = |now: &[u64], before: &[u64]| {
        let before = before.iter().copied().chain(std::iter::repeat(0));
        now.iter().zip(before).map(|(n, b)| n.saturating_sub(b)).collect()
    };
    Rollup {
        sums: minus(&now.sums, &before.sums),
        peaks: now.peaks.clone(),
        latency: minus(&now.latency, &before.latency),
    }
}

/// Merges the series with the smallest counts into one per kind, if there are more than a limit.
pub(super) fn limit(rows: &mut Vec<(Box<str>, Rollup)>, most: usize) {
    if rows.len() <= most {
        return;
    }
    rows.sort_by_key(|(_, rollup)| std::cmp::Reverse(rollup.sums.iter().sum::<u64>()));
    let mut others: Counted = BTreeMap::new();
    for (series, rollup) in rows.split_off(most.saturating_sub(layout::KINDS)) {
        others.entry(layout::others(&series)).or_default().merge(&rollup);
    }
    for (series, rollup) in others {
        match rows.iter_mut().find(|(known, _)| *known == series) {
            Some((_, known)) => known.merge(&rollup),
            None => rows.push((series, rollup)),
        }
    }
}
