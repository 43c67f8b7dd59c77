//! `weir why`: where an event was routed by the rules of that time, and what it waits for.

use serde_json::Value;

use super::client::{AdminClient, HubArgs, id};
use super::error::CommandError;
use super::events::{show_message, text, waiting};
use crate::program::output::Output;

/// Explain where an event was routed, and what it is waiting for
#[derive(Debug, Clone, clap::Args)]
pub struct WhyArgs {
    /// Its id, or that of one of its deliveries, messages or attempts, or the sender's own
    pub id: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &WhyArgs, output: Output) -> Result<(), CommandError> {
    let path = format!("/api/v1/events/{}/why", id(&args.id)?);
    let why = AdminClient::find(&args.hub)?.get(&path, &[]).await?;
    if output.json {
        output.value(&why);
    } else {
        output.text(&show(&why));
    }
    Ok(())
}

fn show(why: &Value) -> String {
    let category = match &why["category"] {
        Value::Null => String::new(),
        category => format!(", category {}", text(category)),
    };
    let mut lines = vec![
        format!(
            "{}  {}:{}{category}",
            text(&why["event"]),
            text(&why["source"]),
            text(&why["type"])
        ),
        format!("status     {}", text(&why["status"])),
        format!("table      {}", text(&why["table"])),
    ];
    match why["considered"].as_array() {
        None => lines.push("the routing table of that time is no longer kept".into()),
        Some(all) if all.is_empty() => {
            lines.push("there were no handlers or routes when this event arrived".into());
        }
        Some(all) => lines.extend(all.iter().map(considered)),
    }
    for delivery in why["deliveries"].as_array().into_iter().flatten() {
        let (id, target) = (text(&delivery["id"]), text(&delivery["target"]));
        lines.push(format!("{id} -> {target}  {}", text(&delivery["state"])));
        lines.extend(last_error(delivery));
        lines.extend(waiting(delivery).map(|waiting| format!("  {waiting}")));
        for message in delivery["messages"].as_array().into_iter().flatten() {
            lines.extend(show_message(message).iter().map(|line| format!("  {line}")));
        }
    }
    lines.join("\n")
}

/// The failure of the last attempt, if it failed.
fn last_error(delivery: &Value) -> Option<String> {
    let last = &delivery["last_attempt"];
    if last.is_null() || last["outcome"] == "ok" {
        return None;
    }
    let (number, at, outcome) =
        (text(&last["number"]), text(&last["started_at"]), text(&last["outcome"]));
    let reason = last["reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
    Some(format!("  last error: attempt {number} at {at}, {outcome}{reason}"))
}

fn considered(one: &Value) -> String {
    let target = text(&one["target"]);
    match one["matched"].as_str() {
        Some(pattern) => format!("  matched:     {target} by {pattern}"),
        None if one["condition_false"].is_string() => {
            format!("  not matched: {target} wants {}", text(&one["condition_false"]))
        }
        None if one["error"].is_string() => {
            format!("  failed:      {target}: {}", text(&one["error"]))
        }
        None => {
            let all = |key: &str| one[key].as_array().into_iter().flatten().map(text);
            let refused: Vec<_> = all("refused").collect();
            let mut lines = vec![format!("  not matched: {target} wants {}", refused.join(", "))];
            lines.extend(all("never").map(|never| format!("    {never}")));
            lines.join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_says_who_matched_and_what_waits() {
        let why = json!({
            "event": "evt_1", "source": "github", "type": "push", "category": "created",
            "status": "held", "table": "ab12",
            "considered": [
                { "target": "handler:chat", "matched": "github:*", "refused": ["stripe:*"] },
                { "target": "destination:ops", "matched": null, "refused": ["stripe:*", "a:b"],
                  "never": ["`a:b` matches no event: a has no such type"] },
            ],
            "deliveries": [{
                "id": "dlv_1", "target": "handler:chat", "state": "pending",
                "due_at": null,
                "last_attempt": {
                    "number": 2, "started_at": "2026-11-23T15:00:00Z", "outcome": "crashed", "reason": "boom",
                },
                "messages": [{ "id": "dlv_2", "target": "destination:ops", "state": "processed" }],
                "waiting": {
                    "for": "hold", "hold": 3, "scope": "handler:chat", "by": "operator", "reason": "a bad release",
                },
            }],
        });
        assert_eq!(
            show(&why),
            "\
evt_1  github:push, category created
status     held
table      ab12
  matched:     handler:chat by github:*
  not matched: destination:ops wants stripe:*, a:b
    `a:b` matches no event: a has no such type
dlv_1 -> handler:chat  pending
  last error: attempt 2 at 2026-11-23T15:00:00Z, crashed: boom
  waiting: hold 3 on handler:chat by operator: a bad release
  sent dlv_2 to destination:ops  processed"
        );
    }
}
