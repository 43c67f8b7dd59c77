//! `weir events`: what came in and what became of it, from a running hub.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::client::{AdminClient, HubArgs, id};
use super::error::CommandError;
use super::words;
use crate::program::output::{Output, table};

/// Most events that one call prints.
const LIMIT_MAX: usize = 10_000;
/// Events asked for at once.
const PAGE: usize = 200;
/// Most pages of one list: a hub may look far and find little, but not for ever.
const PAGES_MAX: usize = 1_000;

/// List events, newest first, or show one with its deliveries, messages and attempts.
#[derive(Debug, Clone, clap::Args)]
pub struct EventsArgs {
    /// Show in full what has this id: of an event, delivery, message, attempt or request, the sender's own, or the
    /// request_id of a refusal
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Filter by source
    #[arg(long, conflicts_with = "id", value_parser = words::source)]
    pub source: Option<String>,
    /// Filter by type; `*` stands for any run of characters, as in 'issues*'
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "id", value_parser = words::kind)]
    pub kind: Option<String>,
    /// Filter by status: pending, processing, retrying, held, processed, dead_letter, unrouted
    #[arg(long, conflicts_with = "id", value_parser = words::status)]
    pub status: Option<String>,
    /// Received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with = "id", value_parser = words::moment)]
    pub since: Option<String>,
    /// Received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with = "id", value_parser = words::moment)]
    pub until: Option<String>,
    /// Limit
    #[arg(long, default_value = "20", conflicts_with = "id")]
    pub limit: NonZeroUsize,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &EventsArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
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
    hub: &AdminClient,
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

/// The answer to an id, for people.
fn show(detail: &Value) -> String {
    if let Some(events) = detail["events"].as_array() {
        let rows: Vec<_> = events.iter().map(row).collect();
        return table(&["ID", "RECEIVED", "SOURCE", "TYPE", "STATUS"], &rows);
    }
    if detail["refusal"].is_object() {
        return show_refusal(&detail["refusal"]);
    }
    if detail["quarantined"].is_object() {
        let kept = &detail["quarantined"];
        let (id, code) = (text(&kept["id"]), text(&kept["code"]));
        let (source, at) = (text(&kept["source"]), text(&kept["received_at"]));
        return format!(
            "quarantined request {id} for {source} at {at}: {code}; `weir quarantine show {id}` shows all of it"
        );
    }
    let event = &detail["event"];
    let mut lines = Vec::new();
    if detail["delivery"].is_object() {
        lines.extend(show_one(&detail["delivery"]));
        lines.extend(body(&detail["message"]));
        lines.push(String::new());
    }
    lines.extend(facts(event));
    let request = &detail["request"];
    if !request.is_null() {
        let (scheme, secret) = (text(&request["scheme"]), text(&request["secret"]));
        lines.push(format!("verified   by {scheme} with secret {secret}"));
    }
    if detail["delivery"].is_object() {
        return lines.join("\n");
    }
    for delivery in event["deliveries"].as_array().into_iter().flatten() {
        lines.push(String::new());
        lines.extend(show_delivery(delivery));
    }
    lines.extend(body(&detail["payload"]));
    lines.join("\n")
}

fn facts(event: &Value) -> Vec<String> {
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
    lines
}

/// A body after an empty line, if there is one that is text.
fn body(payload: &Value) -> Option<String> {
    payload["body"]["text"].as_str().map(|body| format!("\n{body}"))
}

/// The delivery that was asked for.
fn show_one(delivery: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if !delivery["message"].is_null() {
        lines.push(format!("message    {}", text(&delivery["message"])));
    }
    lines.push(format!("attempts   {}", text(&delivery["attempts"])));
    if !delivery["due_at"].is_null() {
        lines.push(format!("due        {}", text(&delivery["due_at"])));
    }
    lines.extend(show_delivery(delivery));
    lines
}

fn show_refusal(refusal: &Value) -> String {
    let facts = [
        ("refused", "request_id"),
        ("at", "at"),
        ("source", "source"),
        ("from", "address"),
        ("status", "status"),
        ("code", "code"),
        ("reason", "reason"),
    ];
    let lines = facts.map(|(word, key)| format!("{word:<10} {}", text(&refusal[key])));
    lines.join("\n")
}

/// A delivery with the reason why it waits and its attempts, a line each.
pub(super) fn show_delivery(delivery: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "{} -> {}  {}",
        text(&delivery["id"]),
        text(&delivery["target"]),
        text(&delivery["state"])
    )];
    lines.extend(waiting(delivery).map(|waiting| format!("  {waiting}")));
    for attempt in delivery["history"].as_array().into_iter().flatten() {
        lines.push(format!("  {}", show_attempt(attempt)));
        if let Some(snippet) = attempt["response_snippet"].as_str().filter(|s| !s.is_empty()) {
            lines.extend(snippet.lines().map(|line| format!("    response: {line}")));
        }
        if let Some(log) = attempt["log"].as_str() {
            lines.extend(log.lines().map(|line| format!("    | {line}")));
        }
        for message in attempt["messages"].as_array().into_iter().flatten() {
            lines.extend(show_message(message).iter().map(|line| format!("    {line}")));
        }
        for emitted in attempt["emitted"].as_array().into_iter().flatten() {
            lines.push(format!("    emitted {}", text(emitted)));
        }
    }
    lines
}

/// A message that a run sent, with its state.
pub(super) fn show_message(message: &Value) -> Vec<String> {
    let (id, to) = (text(&message["id"]), text(&message["target"]));
    let mut lines = vec![format!("sent {id} to {to}  {}", text(&message["state"]))];
    if let Some(reason) = message["reason"].as_str() {
        lines.push(format!("  last error: {reason}"));
    }
    lines.extend(waiting(message).map(|waiting| format!("  {waiting}")));
    lines
}

fn show_attempt(attempt: &Value) -> String {
    let took = attempt["duration_us"].as_u64().unwrap_or_default();
    let took = format!("{}.{:03} ms", took / 1_000, took % 1_000);
    let (number, at) = (text(&attempt["number"]), text(&attempt["started_at"]));
    let how = match (attempt["outcome"].as_str(), attempt["reason"].as_str()) {
        (Some("ok"), _) => format!("ok after {took}"),
        (outcome, reason) => {
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            format!("failed ({}) after {took}{reason}", outcome.unwrap_or("-"))
        }
    };
    format!("attempt {number} at {at}  {how}")
}

/// The reason why a delivery waits, and the time of its next try, as a sentence. None once it is over or under way.
pub(super) fn waiting(delivery: &Value) -> Option<String> {
    let waiting = &delivery["waiting"];
    let target = text(&delivery["target"]);
    let until = |word: &str| match waiting["until"].is_null() {
        true => String::new(),
        false => format!(", {word} {}", text(&waiting["until"])),
    };
    let because = match waiting["reason"].as_str() {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    let hold = match waiting["hold"].is_null() {
        true => String::new(),
        false => format!(" (hold {})", text(&waiting["hold"])),
    };
    let due = text(&delivery["due_at"]);
    Some(match waiting["for"].as_str()? {
        "hold" => {
            let (scope, by) = (text(&waiting["scope"]), text(&waiting["by"]));
            let id = text(&waiting["hold"]);
            format!("waiting: hold {id} on {scope} by {by}{because}{}", until("until"))
        }
        "failing" => {
            format!("waiting: {target} is paused after failures{hold}, next try {due}{because}")
        }
        "paused" => format!("waiting: {target} asked to be left alone, next try {due}"),
        "retry" => format!("waiting: next attempt at {due}"),
        _ => "waiting: due now".to_owned(),
    })
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
  attempt 1 at 2025-10-09T08:53:20.009Z  ok after 1.234 ms
    | info: one
    | info: two
    sent dlv_2 to destination:ops  pending
    emitted evt_2

{}"
        );
    }

    #[test]
    fn what_a_delivery_waits_for_is_a_sentence() {
        let told = |waiting: Value| {
            let due = "2026-11-23T15:00:00Z";
            let delivery =
                json!({ "target": "destination:ops", "due_at": due, "waiting": waiting });
            super::waiting(&delivery).unwrap()
        };
        assert_eq!(
            told(json!({ "for": "failing", "hold": 1, "reason": "answered 500", "until": "x" })),
            "waiting: destination:ops is paused after failures (hold 1), next try 2026-11-23T15:00:00Z: answered 500"
        );
        assert_eq!(
            told(json!({ "for": "paused", "hold": null, "until": "x" })),
            "waiting: destination:ops asked to be left alone, next try 2026-11-23T15:00:00Z"
        );
        assert_eq!(
            told(json!({ "for": "retry" })),
            "waiting: next attempt at 2026-11-23T15:00:00Z"
        );
        assert_eq!(told(json!({ "for": "turn" })), "waiting: due now");
        assert_eq!(super::waiting(&json!({ "state": "processed" })), None);
    }
}
