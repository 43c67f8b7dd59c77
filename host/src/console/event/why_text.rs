//! The explanation of an event as plain text, in the lines of `weir why`, to copy into a report.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::api::{CandidateView, WhyAnswer};
use crate::console::foreign::ForeignLines;
use crate::console::parts;

pub(super) fn show(why: &WhyAnswer) -> Markup {
    let text = text(why);
    html! {
        div.pad {
            pre.code tabindex="0" role="region" aria-label="Explanation" { (ForeignLines(&text)) }
        }
        div.more {
            (parts::copy(&text, "Copy"))
            span { "The command that says the same: " span.m { "weir why " (why.event) } }
        }
    }
}

fn text(why: &WhyAnswer) -> String {
    let mut text =
        format!("{}  {}:{}\nstatus     {}\n", why.event, why.source, why.kind, why.status);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "table      {}", why.table);
    match why.considered.as_deref() {
        None => text.push_str("the routing table of that time is no longer stored\n"),
        Some([]) => text.push_str("there were no handlers or routes when this event arrived\n"),
        Some(all) => all.iter().for_each(|rule| candidate(&mut text, rule)),
    }
    for delivery in &why.deliveries {
        let _ = writeln!(text, "{} -> {}  {}", delivery.id, delivery.target, delivery.state);
        if let Some(last) = &delivery.last_attempt {
            let reason = last.reason.as_deref().unwrap_or_default();
            let (number, at, outcome) = (last.number, last.started_at, last.outcome);
            let _ = writeln!(text, "  attempt {number} at {at}: {outcome} {reason}");
        }
        if let Some(due) = delivery.due_at {
            let _ = writeln!(text, "  next attempt at {due}");
        }
        for hold in &delivery.holds {
            let _ = writeln!(text, "  hold {} on {}: {}", hold.id, hold.scope, hold.reason);
        }
        for message in &delivery.messages {
            let _ =
                writeln!(text, "  sent {} to {}  {}", message.id, message.target, message.state);
        }
    }
    text
}

fn candidate(text: &mut String, rule: &CandidateView) {
    let target = &rule.target;
    let _ = match (&rule.error, &rule.condition_false, &rule.matched) {
        (Some(error), ..) => writeln!(text, "  not matched: {target}: the rule failed: {error}"),
        (None, Some(condition), _) => {
            writeln!(text, "  not matched: {target}: `{condition}` was false")
        }
        (None, None, Some(pattern)) => writeln!(text, "  matched:     {target} by {pattern}"),
        (None, None, None) => {
            writeln!(text, "  not matched: {target} wants {}", rule.refused.join(", "))
        }
    };
}
