//! The report of a run as text for people.

use std::fmt::Write as _;

use weir_core::units::format_size;

use crate::offline::{EffectRecord, OfflineHandler, RecordedRun, RunInput};

/// Characters shown of a body or a value.
const SHOWN_CHARS_MAX: usize = 500;

pub(super) fn report(handler: &OfflineHandler, input: &RunInput, record: &RecordedRun) -> String {
    let event = &input.event;
    let mut text = format!(
        "handler   {} {} ({})\nevent     {} {}:{}, attempt {}\n",
        handler.name,
        handler.module.version(),
        handler.module.kind(),
        event.public_id,
        event.source,
        event.kind,
        input.attempt,
    );
    let mut line = |label: &str, what: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<10}{what}");
    };
    if let Some(reason) = super::not_routed(handler, event) {
        line("note", &format!("a hub would not run it: {reason}"));
    }
    let again = if record.retryable { ", to be run again" } else { "" };
    line("outcome", &format!("{}{again}", record.outcome));
    if let Some(reason) = &record.reason {
        line("reason", &reason.replace('\n', "\n          "));
    }
    if let Some(seconds) = record.retry_after {
        line("wait", &format!("at least {seconds} s before the next attempt"));
    }
    let ms = |us: u64| format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10);
    let memory = usize::try_from(record.memory_peak).unwrap_or(usize::MAX);
    line(
        "cost",
        &format!(
            "{} ({} of processor time), memory peak {}",
            ms(record.wall_us),
            ms(record.processor_us),
            format_size(memory)
        ),
    );
    for effect in &record.effects {
        line("effect", &effect_line(effect));
    }
    if record.effects.is_empty() {
        line("effect", "none");
    }
    for read in &record.reads {
        let value = read.value.as_ref().map_or_else(|| "not there".into(), |v| cut(v));
        line("read", &format!("{}: {value}", read.key));
    }
    for listing in &record.listings {
        let keys = cut(&listing.keys.join(" "));
        line("listed", &format!("{}*: {keys}", listing.prefix));
    }
    for entry in &record.log {
        line("log", &format!("{:<6} {}", entry.level, entry.message.replace('\n', "\n          ")));
    }
    if record.log_truncated {
        line("log", "(truncated at its size limit)");
    }
    text.truncate(text.trim_end().len());
    text
}

/// An effect on one line: its name and target, then its fields as JSON.
pub(in crate::cli) fn effect_line(effect: &EffectRecord) -> String {
    let mut fields = serde_json::to_value(effect).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        for said in ["effect", "destination", "type", "id"] {
            fields.remove(said);
        }
    }
    let target = match (&effect.destination, &effect.kind) {
        (Some(destination), _) => format!(" to {destination}"),
        (None, Some(kind)) => format!(" {kind}"),
        (None, None) => String::new(),
    };
    let id = effect.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    cut(&format!("{}{target}{id} {fields}", effect.effect))
}

fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
