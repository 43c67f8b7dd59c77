//! The text of a backtest for people.

use similar::TextDiff;

use super::Difference;
use super::versions::ComparedVersions;
use crate::backtest::{Cost, EffectChange, Ran, RunChange, Tally};
use crate::offline::EffectRecord;
use crate::program::output::Output;

/// The most lines that are printed for one event.
const LINES_MAX: usize = 60;

/// The difference of the versions on one event.
pub(super) fn difference(difference: &Difference<'_>) -> String {
    let Difference { event, name, incumbent, candidate, compared } = difference;
    let (id, what) = (event.id, word(compared.verdict));
    let mut text = format!("{id}  {name}  {what}\n");
    match compared.verdict {
        RunChange::Changed if !incumbent.fails() => {
            compared.effects.iter().for_each(|change| text.push_str(&changed(change)));
        }
        _ => {
            text.push_str(&format!("  - {}\n", outcome(incumbent)));
            text.push_str(&format!("  + {}\n", outcome(candidate)));
        }
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let kept: Vec<_> = text.lines().take(LINES_MAX).collect();
        return format!("{}\n  … {} more lines\n", kept.join("\n"), lines - LINES_MAX);
    }
    text
}

fn word(verdict: RunChange) -> &'static str {
    match verdict {
        RunChange::Same => "same",
        RunChange::Changed => "changed",
        RunChange::NewlyFailing => "newly failing",
        RunChange::NewlyWorking => "newly working",
    }
}

fn outcome(ran: &Ran) -> String {
    match &ran.reason {
        Some(reason) => format!("{}: {}", ran.outcome, reason.lines().next().unwrap_or_default()),
        None => ran.outcome.to_string(),
    }
}

/// The lines of an effect that differ.
fn changed(change: &EffectChange) -> String {
    let lines = |effect: &EffectRecord| serde_json::to_string_pretty(effect).unwrap_or_default();
    let (before, after) = match change {
        EffectChange::Same { .. } => return String::new(),
        EffectChange::Changed { incumbent, candidate } => (lines(incumbent), lines(candidate)),
        EffectChange::Added { candidate } => (String::new(), lines(candidate)),
        EffectChange::Lost { incumbent } => (lines(incumbent), String::new()),
    };
    let mut text = String::new();
    for change in TextDiff::from_lines(&before, &after).iter_all_changes() {
        let line = change.value().trim_end_matches('\n');
        text.push_str(&format!("  {}{line}\n", change.tag()));
    }
    text
}

/// The counts, and the cost of both versions.
pub(super) fn summary(
    tally: &Tally,
    names: &ComparedVersions,
    (left_out, unreadable): (usize, u64),
    output: Output,
) {
    if left_out > 0 {
        output.text(&format!("… {left_out} more events differ; --json prints all of them\n"));
    }
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    output.text(&format!(
        "{}: {} against {}, {} events, {} differ",
        names.handler,
        short(&names.candidate),
        short(&names.incumbent),
        tally.events,
        tally.differing
    ));
    if tally.skipped > 0 {
        output.text(&format!("{} events are for neither version", tally.skipped));
    }
    if unreadable > 0 {
        output.text(&format!("{unreadable} events could not be read and were left out"));
    }
    if tally.events == 0 {
        return;
    }
    let rows: Vec<Vec<String>> = tally
        .types()
        .into_iter()
        .map(|row| {
            let counts = [
                row.events,
                row.same,
                row.changed,
                row.newly_failing,
                row.newly_working,
                row.failing,
            ];
            std::iter::once(row.name).chain(counts.map(|n| n.to_string())).collect()
        })
        .collect();
    let headings =
        ["TYPE", "EVENTS", "SAME", "CHANGED", "NEWLY FAILING", "NEWLY WORKING", "BOTH FAIL"];
    output.text("");
    output.table(&headings, &rows);
    let rows: Vec<Vec<String>> = tally
        .effects()
        .into_iter()
        .map(|row| {
            let counts = [row.same, row.changed, row.added, row.lost].map(|n| n.to_string());
            [row.name, row.effect].into_iter().chain(counts).collect()
        })
        .collect();
    if !rows.is_empty() {
        output.text("");
        output.table(&["TYPE", "EFFECT", "SAME", "CHANGED", "ADDED", "LOST"], &rows);
    }
    output.text("");
    let cost = [cost("incumbent", &tally.incumbent), cost("candidate", &tally.candidate)];
    output.table(&["COST", "RUNS", "PROCESSOR", "A RUN", "SLOWEST", "MEMORY"], &cost);
}

fn cost(name: &str, cost: &Cost) -> Vec<String> {
    let ms = |us: u64| format!("{}.{:03} ms", us / 1_000, us % 1_000);
    let mean = cost.processor_us.checked_div(cost.runs).unwrap_or(0);
    vec![
        name.to_owned(),
        cost.runs.to_string(),
        ms(cost.processor_us),
        ms(mean),
        ms(cost.slowest_us),
        format!("{} KiB", cost.memory_peak / 1_024),
    ]
}
