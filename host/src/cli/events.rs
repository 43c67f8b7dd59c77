//! `weir events`: what came in and what became of it, from a running hub.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::client::{Hub, HubArgs, id};
use super::error::CommandError;
use super::output::{Output, table};

/// Most events that one call prints.
const LIMIT_MAX: usize = 10_000;
/// Events asked for at once.
const PAGE: usize = 200;
/// Most pages of one list: a hub may look far and find little, but not for ever.
const PAGES_MAX: usize = 1_000;

/// List events, newest first, or show one with its deliveries and attempts.
#[derive(Debug, Clone, clap::Args)]
pub struct EventsArgs {
    /// Show this event in full
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Only of this source
    #[arg(long, conflicts_with = "id")]
    pub source: Option<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "id")]
    pub kind: Option<String>,
    /// Only with this status: pending, processing, retrying, held, processed, dead_letter, unrouted
    #[arg(long, conflicts_with = "id")]
    pub status: Option<String>,
    /// Only received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, conflicts_with = "id")]
    pub since: Option<String>,
    /// Only received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, conflicts_with = "id")]
    pub until: Option<String>,
    /// At most so many
    #[arg(long, default_value = "20")]
    pub limit: NonZeroUsize,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &EventsArgs, output: Output) -> Result<(), CommandError> {
    let hub = Hub::find(&args.hub)?;
    if let Some(event) = &args.id {
        let detail = hub.get(&format!("/api/v1/events/{}", id(event)?), &[]).await?;
        if output.json {
            output.value(&detail);
        } else {
            output.text(&show(&detail));
        }
        return Ok(());
    }
    let filter = [
        ("source", args.source.as_deref()),
        ("type", args.kind.as_deref()),
        ("status", args.status.as_deref()),
        ("since", args.since.as_deref()),
        ("until", args.until.as_deref()),
    ];
    let limit = args.limit.get().min(LIMIT_MAX);
    let items = pages(&hub, "/api/v1/events", &filter, limit).await?;
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no events");
    } else {
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["ID", "RECEIVED", "SOURCE", "TYPE", "STATUS"], &rows));
    }
    Ok(())
}

/// The first items of a list, over as many pages as it takes.
pub(super) async fn pages(
    hub: &Hub,
    path: &str,
    filter: &[(&str, Option<&str>)],
    limit: usize,
) -> Result<Vec<Value>, CommandError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let wanted = (limit - items.len()).min(PAGE).to_string();
        let mut parameters = filter.to_vec();
        parameters.extend([("limit", Some(wanted.as_str())), ("cursor", cursor.as_deref())]);
        let mut page = hub.get(path, &parameters).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        items.truncate(limit);
        cursor = page["next"].as_str().map(Into::into);
        if cursor.is_none() || items.len() == limit {
            break;
        }
    }
    Ok(items)
}

fn row(event: &Value) -> Vec<String> {
    ["id", "received_at", "source", "type", "status"].map(|key| text(&event[key])).to_vec()
}

/// A field for people: times as people write them, nothing as a dash.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(_) if value.as_u64().is_some_and(|n| n > 1_000_000_000_000) => {
            let ms = value.as_u64().unwrap_or_default();
            weir_core::time::Timestamp::from_millis(ms).to_string()
        }
        other => other.to_string(),
    }
}

fn show(detail: &Value) -> String {
    let event = &detail["event"];
    let mut lines = vec![format!("event      {}", text(&event["id"]))];
    let facts = [
        ("source", "source"),
        ("type", "type"),
        ("category", "category"),
        ("status", "status"),
        ("received", "received_at"),
        ("sender id", "delivery_id"),
        ("request", "request"),
        ("parent", "parent"),
    ];
    for (word, key) in facts {
        if !event[key].is_null() {
            lines.push(format!("{word:<10} {}", text(&event[key])));
        }
    }
    let request = &detail["request"];
    if !request.is_null() {
        let (scheme, secret) = (text(&request["scheme"]), text(&request["secret"]));
        lines.push(format!("verified   by {scheme} with secret {secret}"));
    }
    for delivery in event["deliveries"].as_array().into_iter().flatten() {
        lines.push(String::new());
        lines.extend(show_delivery(delivery));
    }
    if let Some(body) = detail["payload"]["body"]["text"].as_str() {
        lines.push(format!("\n{body}"));
    }
    lines.join("\n")
}

/// A delivery with its attempts, a line each.
pub(super) fn show_delivery(delivery: &Value) -> Vec<String> {
    let mut head = format!(
        "{} -> {}  {}",
        text(&delivery["id"]),
        text(&delivery["target"]),
        text(&delivery["state"])
    );
    if delivery["held"] == Value::Bool(true) {
        head.push_str("  held");
    }
    if !delivery["due_at"].is_null() {
        head.push_str(&format!("  due {}", text(&delivery["due_at"])));
    }
    let mut lines = vec![head];
    for attempt in delivery["history"].as_array().into_iter().flatten() {
        let took = attempt["duration_us"].as_u64().unwrap_or_default();
        let mut line = format!(
            "  attempt {} at {}  {} in {}.{:03} ms",
            text(&attempt["number"]),
            text(&attempt["started_at"]),
            text(&attempt["outcome"]),
            took / 1_000,
            took % 1_000
        );
        if !attempt["reason"].is_null() {
            line.push_str(&format!("  {}", text(&attempt["reason"])));
        }
        lines.push(line);
        if let Some(log) = attempt["log"].as_str() {
            lines.extend(log.lines().map(|line| format!("    | {line}")));
        }
        for message in attempt["messages"].as_array().into_iter().flatten() {
            let (to, state) = (text(&message["target"]), text(&message["state"]));
            lines.push(format!("    sent {} to {to}  {state}", text(&message["id"])));
        }
        for emitted in attempt["emitted"].as_array().into_iter().flatten() {
            lines.push(format!("    emitted {}", text(emitted)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_shows_its_deliveries_attempts_and_effects() {
        let detail = json!({
            "event": {
                "id": "evt_1", "source": "github", "type": "push", "category": null, "status": "processed",
                "received_at": 1_760_000_000_007_u64, "request": "req_1", "parent": null,
                "deliveries": [{
                    "id": "dlv_1", "target": "handler:chat", "state": "processed", "held": false,
                    "due_at": null,
                    "history": [{
                        "number": 1, "started_at": 1_760_000_000_009_u64, "duration_us": 1_234,
                        "outcome": "ok", "reason": null, "log": "info: one\ninfo: two",
                        "messages": [{"id": "dlv_2", "target": "destination:ops", "state": "pending"}],
                        "emitted": ["evt_2"]
                    }]
                }]
            },
            "request": {"scheme": "sha256", "secret": "current"},
            "payload": {"body": {"text": "{}", "size": 2, "truncated": false}}
        });
        assert_eq!(
            show(&detail),
            "\
event      evt_1
source     github
type       push
status     processed
received   2025-10-09T08:53:20.007Z
request    req_1
verified   by sha256 with secret current

dlv_1 -> handler:chat  processed
  attempt 1 at 2025-10-09T08:53:20.009Z  ok in 1.234 ms
    | info: one
    | info: two
    sent dlv_2 to destination:ops  pending
    emitted evt_2

{}"
        );
    }
}
