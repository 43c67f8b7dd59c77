//! `weir events`: lists events, and shows what an id leads to.

mod filter;
mod follow;
mod save;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use weir_core::delivery::{EventStatus, Outcome};
use weir_core::event::EventType;
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;
use weir_core::verify::Verified;

use crate::api::params::PointInTime;
use crate::api::{
    AttemptView, BytesView, DeliveryView, EventAnswer, EventDetailView, EventSummary, EventView,
    EventsQuery, OtherRunView, PayloadView, RefusalView, WaitReason,
};
use crate::cli::client::{AdminClient, HubArgs, path_id};
use crate::cli::error::CommandError;
use crate::program::output::{Output, or_dash, table};
pub(in crate::cli) use filter::FilterArgs;
pub(in crate::cli) use follow::line;

/// Columns of a list of events.
const HEADINGS: [&str; 5] = ["ID", "RECEIVED", "SOURCE", "TYPE", "STATUS"];

/// List events, newest first, or show one with its deliveries, messages and attempts
#[derive(Debug, Clone, clap::Args)]
pub struct EventsArgs {
    /// Show in full: the id of an event, delivery, message, attempt or request, the sender's own
    /// id, or the request_id of a refused request
    #[arg(
        value_name = "ID",
        conflicts_with_all = ["source", "kind", "category", "handler", "destination", "status", "key"]
    )]
    pub id: Option<String>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with = "id")]
    pub since: Option<PointInTime>,
    /// Received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with = "id")]
    pub until: Option<PointInTime>,
    /// Most events to print
    #[arg(long, default_value = "20", conflicts_with = "id")]
    pub limit: NonZeroUsize,
    /// Print new events as they are stored, until it is interrupted
    #[arg(long, short, conflicts_with_all = ["id", "since", "until", "limit"])]
    pub follow: bool,
    /// Write the event into this file as a fixture for `weir test`, without credentials, such as
    /// plugins/orders.fixtures/one.json
    #[arg(long, value_name = "FILE", requires = "id")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &EventsArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    if let (Some(id), Some(file)) = (&args.id, &args.save) {
        let path = format!("/api/v1/events/{}?full=true", path_id(id)?);
        let answer: EventAnswer = hub.get(&path).await?;
        let EventAnswer::Event(detail) = answer else {
            return Err(CommandError::Usage(format!("`{id}` is not one event; see `weir events`")));
        };
        return save::save(&hub, &detail, file, output).await;
    }
    if let Some(id) = &args.id {
        let answer: EventAnswer = hub.get(&format!("/api/v1/events/{}", path_id(id)?)).await?;
        output.answer(&answer, show);
        return Ok(());
    }
    if args.follow {
        return follow::run(&hub, args, output).await;
    }
    let query = |limit, cursor| EventsQuery {
        since: args.since,
        until: args.until,
        limit,
        cursor,
        ..args.filter.query()
    };
    let events: Vec<EventView> = hub.list("/api/v1/events", args.limit.get(), query).await?;
    output.list(&events, "no events", HEADINGS, |event| {
        row(event.id, event.received_at, &event.source, &event.kind, event.status)
    });
    Ok(())
}

fn row(
    id: impl ToString,
    received_at: Timestamp,
    source: &SourceName,
    kind: &EventType,
    status: EventStatus,
) -> [String; 5] {
    let (source, kind) = (source.to_string(), kind.to_string());
    [id.to_string(), received_at.to_string(), source, kind, status.to_string()]
}

/// The thing with an id, for people.
fn show(answer: &EventAnswer) -> String {
    match answer {
        EventAnswer::Event(detail) => show_event(detail),
        EventAnswer::Events { events } => {
            let row = |e: &EventSummary| row(e.id, e.received_at, &e.source, &e.kind, e.status);
            let rows: Vec<_> = events.iter().map(|event| row(event).to_vec()).collect();
            table(&HEADINGS, &rows)
        }
        EventAnswer::Refusal { refusal } => show_refusal(refusal),
        EventAnswer::Quarantined { quarantined } => {
            let request = &quarantined.request;
            format!(
                "quarantined request {id} for {} at {}: {}; `weir quarantine show {id}` shows all \
                 of it",
                request.source,
                request.received_at,
                request.code,
                id = request.id,
            )
        }
    }
}

fn show_event(detail: &EventDetailView) -> String {
    let EventDetailView { event, delivery, message, request, payload } = detail;
    let mut lines = Vec::new();
    if let Some(delivery) = delivery {
        lines.extend(show_one_delivery(delivery));
        lines.extend(message.as_ref().and_then(body));
        lines.push(String::new());
    }
    lines.extend(facts(event));
    if let Some(request) = request {
        lines.push(fact("verified", verified(&request.scheme, &request.secret)));
    }
    if delivery.is_some() {
        return lines.join("\n");
    }
    for delivery in &event.deliveries {
        lines.push(String::new());
        lines.extend(show_delivery(delivery));
    }
    lines.extend(payload.as_ref().and_then(body));
    lines.join("\n")
}

/// The proof of a request, in words.
fn verified(scheme: &str, secret: &str) -> String {
    match scheme {
        Verified::API_SCHEME => {
            format!("by no signature: {secret} brought it from the provider's API")
        }
        scheme => format!("by {scheme} with secret {secret}"),
    }
}

fn fact(name: &str, value: impl ToString) -> String {
    format!("{name:<10} {}", value.to_string())
}

fn facts(event: &EventView) -> Vec<String> {
    let optional = [
        ("sender id", event.delivery_id.clone()),
        ("erased", event.erased_at.map(|at| at.to_string())),
        ("keys", keys(event)),
        ("request", event.request.map(|id| id.to_string())),
        ("parent", event.parent.map(|id| id.to_string())),
        ("trace", event.trace.clone()),
    ];
    let mut lines =
        vec![fact("event", event.id), fact("source", &event.source), fact("type", &event.kind)];
    lines.extend(event.category.map(|category| fact("category", category)));
    lines.push(fact("status", event.status));
    lines.push(fact("received", event.received_at));
    lines.extend(optional.into_iter().filter_map(|(name, value)| Some(fact(name, value?))));
    lines
}

/// The business keys of an event, if it has any.
fn keys(event: &EventView) -> Option<String> {
    let keys: Vec<_> = event.keys.iter().map(ToString::to_string).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// A body after an empty line, if it is text.
fn body(payload: &PayloadView) -> Option<String> {
    match &payload.body.shown {
        BytesView::Text(text) => Some(format!("\n{text}")),
        BytesView::Base64(_) => None,
    }
}

/// The delivery that was asked for.
fn show_one_delivery(delivery: &DeliveryView) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(delivery.message.map(|id| fact("message", id)));
    lines.push(fact("attempts", delivery.attempts));
    lines.extend(delivery.due_at.map(|due| fact("due", due)));
    lines.extend(show_delivery(delivery));
    lines
}

fn show_refusal(refusal: &RefusalView) -> String {
    let lines = [
        fact("refused", &refusal.request_id),
        fact("at", refusal.at),
        fact("source", or_dash(refusal.source.as_ref())),
        fact("from", &refusal.address),
        fact("status", refusal.status),
        fact("code", &refusal.code),
        fact("reason", &refusal.reason),
    ];
    lines.join("\n")
}

/// A delivery with what it waits for and its attempts, a line each.
pub(super) fn show_delivery(delivery: &DeliveryView) -> Vec<String> {
    let DeliveryView { id, target, state, due_at, waiting: reason, history, .. } = delivery;
    let mut lines = vec![format!("{id} -> {target}  {state}")];
    lines.extend(waiting(target, reason.as_ref(), *due_at).map(|line| format!("  {line}")));
    for attempt in history {
        lines.push(format!("  {}", show_attempt(attempt)));
        if let Some(snippet) = attempt.response_snippet.as_deref().filter(|s| !s.is_empty()) {
            lines.extend(snippet.lines().map(|line| format!("    response: {line}")));
        }
        if let Some(log) = &attempt.log {
            lines.extend(log.lines().map(|line| format!("    | {line}")));
        }
        for message in &attempt.messages {
            lines.extend(show_message(message).iter().map(|line| format!("    {line}")));
        }
        lines.extend(attempt.emitted.iter().map(|event| format!("    emitted {event}")));
    }
    lines
}

/// A message that a run sent, with its state.
pub(super) fn show_message(message: &DeliveryView) -> Vec<String> {
    let DeliveryView { id, target, state, reason, .. } = message;
    let mut lines = vec![format!("sent {id} to {target}  {state}")];
    lines.extend(reason.as_ref().map(|reason| format!("  last error: {reason}")));
    let wait = waiting(target, message.waiting.as_ref(), message.due_at);
    lines.extend(wait.map(|line| format!("  {line}")));
    lines
}

fn show_attempt(attempt: &AttemptView) -> String {
    let AttemptView { number, started_at, duration_us, outcome, reason, .. } = attempt;
    let took = format!("{}.{:03} ms", duration_us / 1_000, duration_us % 1_000);
    let result = match outcome {
        Outcome::Ok => format!("ok after {took}"),
        outcome => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("failed ({outcome}) after {took}{reason}")
        }
    };
    let other = match (&attempt.version, &attempt.other) {
        (Some(version), Some(other)) => format!("\n    {}", other_version(version, other)),
        _ => String::new(),
    };
    format!("attempt {number} at {started_at}  {result}{other}")
}

/// The version that settled an attempt, and the one that failed in it too.
pub(super) fn other_version(version: &str, other: &OtherRunView) -> String {
    let short = |version: &str| version.get(..12).unwrap_or(version).to_owned();
    let reason = other.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let (ran, failed, outcome) = (short(version), short(&other.version), other.outcome);
    format!("run under version {ran}; version {failed} failed ({outcome}){reason}")
}

/// The reason why a delivery waits, as a sentence. None once it is done or while it is tried.
pub(super) fn waiting(
    target: &Target,
    reason: Option<&WaitReason>,
    due_at: Option<Timestamp>,
) -> Option<String> {
    let because =
        |reason: Option<&String>| reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let due = or_dash(due_at);
    Some(match reason? {
        WaitReason::Hold { hold, scope, by, reason, until } => {
            let until = until.map_or_else(String::new, |until| format!(", until {until}"));
            format!("waiting: hold {hold} on {scope} by {by}: {reason}{until}")
        }
        WaitReason::Failing { hold, reason, .. } => {
            let hold = hold.map_or_else(String::new, |hold| format!(" (hold {hold})"));
            let because = because(reason.as_ref());
            format!("waiting: {target} is paused after failures{hold}, next try {due}{because}")
        }
        WaitReason::Paused { .. } => format!("waiting: {target} asked for a pause, next try {due}"),
        WaitReason::Retry { .. } => format!("waiting: next attempt at {due}"),
        WaitReason::Turn => "waiting: due now".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An id of this kind.
    fn id(prefix: &str, n: u8) -> String {
        format!("{prefix}{n:026}")
    }

    fn delivery(id: &str, target: &str, more: &Value) -> Value {
        let mut delivery = json!({
            "id": id, "event": self::id("evt_", 1), "cause": null, "message": null,
            "target": target, "state": "pending", "held": false, "generation": 0, "attempts": 0,
            "due_at": null, "reason": null,
        });
        for (key, value) in more.as_object().unwrap() {
            delivery[key] = value.clone();
        }
        delivery
    }

    #[test]
    fn an_event_is_shown_with_deliveries_attempts_and_effects() {
        let message = delivery(&id("dlv_", 2), "destination:ops", &json!({}));
        let history = json!([{
            "id": id("att_", 1), "generation": 0, "number": 1,
            "started_at": "2025-10-09T08:53:20.009Z",
            "duration_us": 1_234, "outcome": "ok", "reason": null, "version": null,
            "log": "info: one\ninfo: two", "response_status": null, "response_snippet": null,
            "messages": [message], "emitted": [id("evt_", 2)],
        }]);
        let more = json!({ "state": "processed", "history": history });
        let detail = json!({
            "event": {
                "id": id("evt_", 1), "source": "github", "type": "push", "category": null,
                "delivery_id": null, "received_at": "2025-10-09T08:53:20.007Z",
                "status": "processed", "id_reused": false, "request": id("req_", 1),
                "parent": null, "table": "ab", "size": 2,
                "deliveries": [delivery(&id("dlv_", 1), "handler:chat", &more)],
            },
            "request": {
                "id": id("req_", 1), "source": "github", "received_at": "2025-10-09T08:53:20.007Z",
                "scheme": "sha256", "secret": "current", "remote": null, "headers": [], "size": 2,
            },
            "payload": { "headers": [], "body": { "text": "{}", "size": 2, "truncated": false } },
        });
        let answer: EventAnswer = serde_json::from_value(detail).unwrap();
        assert_eq!(
            show(&answer),
            "\
event      evt_00000000000000000000000001
source     github
type       push
status     processed
received   2025-10-09T08:53:20.007Z
request    req_00000000000000000000000001
verified   by sha256 with secret current

dlv_00000000000000000000000001 -> handler:chat  processed
  attempt 1 at 2025-10-09T08:53:20.009Z  ok after 1.234 ms
    | info: one
    | info: two
    sent dlv_00000000000000000000000002 to destination:ops  pending
    emitted evt_00000000000000000000000002

{}"
        );
    }

    #[test]
    fn every_reason_to_wait_is_a_sentence() {
        let due: Timestamp = serde_json::from_value(json!("2026-11-23T15:00:00.000Z")).unwrap();
        let target = "destination:ops".parse().unwrap();
        let sentence = |reason| waiting(&target, Some(&reason), Some(due)).unwrap();
        let (hold, reason) = (Some(1), Some("answered 500".to_owned()));
        assert_eq!(
            sentence(WaitReason::Failing { hold, reason, until: None }),
            "waiting: destination:ops is paused after failures (hold 1), next try \
             2026-11-23T15:00:00.000Z: answered 500"
        );
        assert_eq!(
            sentence(WaitReason::Paused { hold: None, reason: None, until: None }),
            "waiting: destination:ops asked for a pause, next try 2026-11-23T15:00:00.000Z"
        );
        assert_eq!(
            sentence(WaitReason::Retry { until: due }),
            "waiting: next attempt at 2026-11-23T15:00:00.000Z"
        );
        assert_eq!(sentence(WaitReason::Turn), "waiting: due now");
        assert_eq!(waiting(&target, None, None), None);
    }
}
