//! Handlers and their versions as text. Pure.

use weir_core::units::format_size;

use crate::api::{
    HandlerDetailView, ProbationView, StateSizeView, VersionChangeView, VersionDiffView,
    VersionView,
};
use crate::program::output::{or_dash, table};

/// Characters of a hash.
const SHORT: usize = 12;

/// The beginning of a version's hash.
pub(super) fn short(version: &str) -> &str {
    version.get(..SHORT).unwrap_or(version)
}

/// The state of a probation in a few words.
pub(super) fn probation_in_short(probation: &ProbationView) -> String {
    let ProbationView { strikes, strikes_max, done, runs, .. } = probation;
    format!("probation: {} of {strikes_max} strikes, {done} of {runs} events", strikes.len())
}

/// A size and its quota.
pub(super) fn size(state: &StateSizeView) -> String {
    let bytes = |number: u64| format_size(usize::try_from(number).unwrap_or(usize::MAX));
    let StateSizeView { bytes: used, keys, bytes_max, keys_max } = state;
    if *bytes_max == u64::MAX {
        return format!("{} in {keys} keys", bytes(*used));
    }
    format!("{} of {} in {keys} of {keys_max} keys", bytes(*used), bytes(*bytes_max))
}

/// A handler with its versions.
pub(super) fn detail(shown: &HandlerDetailView) -> String {
    let HandlerDetailView { handler, versions, pin, state } = shown;
    let fact = |name: &str, value: String| format!("{name:<14} {value}");
    let mut lines = vec![
        fact("handler", handler.name.to_string()),
        fact("state", format!("{}, {}", handler.state, handler.health.as_str())),
        fact("version", or_dash(handler.version.as_ref())),
        fact("since", handler.since.to_string()),
        fact("subscriptions", handler.subscriptions.join(", ")),
        fact("state size", size(state)),
    ];
    lines.extend(handler.about.iter().map(|about| fact("about", about.clone())));
    lines.extend(handler.health_reason.iter().map(|reason| fact("reason", reason.clone())));
    lines.extend(handler.last_error.iter().map(|error| fact("file refused", error.clone())));
    if let Some(pin) = pin {
        let why = pin.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        lines.push(fact("pinned", format!("by {} at {}{why}", pin.by, pin.at)));
    }
    lines.extend(handler.candidate.iter().map(|waits| {
        fact("candidate", format!("{}, which waits until it is unpinned", short(waits)))
    }));
    if let Some(probation) = &handler.probation {
        let ProbationView { old, ends_at, strikes, .. } = probation;
        lines.push(fact("probation", probation_in_short(probation)));
        lines.push(fact("", format!("{} stands in; ends at {ends_at}", short(old))));
        for strike in strikes {
            let (at, delivery, reason) = (strike.at, strike.delivery, &strike.reason);
            lines.push(fact("", format!("strike at {at} by {delivery}: {reason}")));
        }
    }
    let rows: Vec<_> = versions.iter().map(row).collect();
    let headings = ["VERSION", "ROLE", "KIND", "SIZE", "STATE VERSION", "LOADED", "SERVED"];
    lines.push(String::new());
    lines.push(table(&headings, &rows));
    lines.join("\n")
}

fn row(version: &VersionView) -> Vec<String> {
    vec![
        short(&version.version).to_owned(),
        version.role.clone(),
        version.kind.clone(),
        format_size(usize::try_from(version.size).unwrap_or(usize::MAX)),
        version.state_version.to_string(),
        version.loaded_at.to_string(),
        or_dash(version.served_at),
    ]
}

/// The differences of two versions.
pub(super) fn changes(compared: &VersionDiffView) -> String {
    let VersionDiffView { from, to, changes, sidecar } = compared;
    let mut lines = vec![format!("{} -> {}", short(from), short(to))];
    for VersionChangeView { what, before, after } in changes {
        let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        lines.push(format!("{what:<14} {} -> {}", shown(before), shown(after)));
    }
    match sidecar.is_empty() {
        true => lines.push("the sidecars are the same".to_owned()),
        false => lines.push(sidecar.trim_end().to_owned()),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_by_fact_and_by_line() {
        let compared = VersionDiffView {
            from: "a".repeat(64),
            to: "b".repeat(64),
            changes: vec![VersionChangeView {
                what: "destinations".into(),
                before: String::new(),
                after: "ops".into(),
            }],
            sidecar: "--- sidecar before\n+++ sidecar after\n@@ -0,0 +1 @@\n+[grant]\n".into(),
        };
        let said = changes(&compared);
        assert!(said.starts_with("aaaaaaaaaaaa -> bbbbbbbbbbbb\ndestinations   - -> ops\n"));
        assert!(said.ends_with("+[grant]"), "{said}");
    }

    #[test]
    fn a_state_is_shown_beside_its_quota() {
        let state = StateSizeView { bytes: 1024, keys: 2, bytes_max: 2048, keys_max: 10 };
        assert_eq!(size(&state), "1KiB of 2KiB in 2 of 10 keys");
        let endless = StateSizeView { bytes_max: u64::MAX, ..state };
        assert_eq!(size(&endless), "1KiB in 2 keys");
    }
}
