//! `weir logs`: events, runs and sends as lines, also as they happen.
//!
//! The hub is asked twice a second for its newest events, and for the details of those that
//! changed. What changes in older events is not seen.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;
use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::id::{AttemptId, DeliveryId, EventId};
use weir_core::time::Timestamp;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::FilterArgs;
use crate::api::params::PointInTime;
use crate::api::{DeliveryView, EventAnswer, EventView, EventsQuery};
use crate::program::output::{Output, is_output_closed};

/// Between two questions to the hub.
const EVERY: Duration = Duration::from_millis(500);
/// Newest events that are watched.
const WATCHED: usize = 400;
/// Events whose details are read between two pauses. The others follow after the next.
const DETAILS: usize = 100;

/// Print events, runs and sends as lines; with -f as they happen
#[derive(Debug, Clone, clap::Args)]
pub struct LogsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<PointInTime>,
    /// Events to begin with
    #[arg(long, default_value = "10")]
    pub limit: NonZeroUsize,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &LogsArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let mut watch = Watch::default();
    // What is older than the events to begin with counts as printed.
    let newest = list(&hub, args, WATCHED).await?;
    let (shown, skipped) = newest.split_at(args.limit.get().min(newest.len()));
    watch.skip(skipped);
    watch.look(&hub, shown, output).await?;
    let mut is_away = false;
    while args.follow && !is_output_closed() {
        tokio::time::sleep(EVERY).await;
        let looked = async {
            let newest = list(&hub, args, WATCHED).await?;
            watch.look(&hub, &newest, output).await
        };
        match looked.await {
            Ok(()) => is_away = false,
            Err(error) if !std::mem::replace(&mut is_away, true) => {
                output.problem(&format!("{error}; trying again"));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

async fn list(
    hub: &AdminClient,
    args: &LogsArgs,
    limit: usize,
) -> Result<Vec<EventView>, CommandError> {
    let query =
        |limit, cursor| EventsQuery { since: args.since, limit, cursor, ..args.filter.query() };
    hub.list("/api/v1/events", limit, query).await
}

/// The events that were printed, with their states.
#[derive(Debug, Default)]
struct Watch {
    known: HashMap<EventId, Known>,
}

/// The printed state of one event.
#[derive(Debug, Default)]
struct Known {
    /// Its deliveries in the list, by which a change is noticed.
    listed: Vec<(DeliveryId, DeliveryState, u32, u32)>,
    attempts: HashSet<AttemptId>,
    messages: HashMap<DeliveryId, (DeliveryState, u32)>,
}

impl Watch {
    /// Remembers events as if they were printed.
    fn skip(&mut self, events: &[EventView]) {
        for event in events {
            let listed = listed(event);
            self.known.insert(event.id, Known { listed, ..Known::default() });
        }
    }

    /// Prints what is new in the newest events, and forgets all others.
    async fn look(
        &mut self,
        hub: &AdminClient,
        newest: &[EventView],
        output: Output,
    ) -> Result<(), CommandError> {
        let mut details = 0;
        for event in newest.iter().rev() {
            let is_new = !self.known.contains_key(&event.id);
            if !is_new && !self.known[&event.id].is_changed(event) {
                continue;
            }
            details += 1;
            if details > DETAILS {
                break;
            }
            let known = self.known.entry(event.id).or_default();
            if is_new {
                print(&LogLine::stored(event), output);
            }
            let answer: EventAnswer = hub.get(&format!("/api/v1/events/{}", event.id)).await?;
            if let EventAnswer::Event(detail) = answer {
                known.lines(&detail.event).iter().for_each(|line| print(line, output));
                known.listed = listed(event);
            }
        }
        let watched: BTreeSet<EventId> = newest.iter().map(|event| event.id).collect();
        self.known.retain(|id, _| watched.contains(id));
        Ok(())
    }
}

fn listed(event: &EventView) -> Vec<(DeliveryId, DeliveryState, u32, u32)> {
    let state = |one: &DeliveryView| (one.id, one.state, one.generation, one.attempts);
    event.deliveries.iter().map(state).collect()
}

fn is_finished(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Processed | DeliveryState::DeadLetter)
}

impl Known {
    /// True if there may be lines to print: a delivery is in another state, or a message was not
    /// finished when it was last seen.
    fn is_changed(&self, event: &EventView) -> bool {
        let has_open_message = self.messages.values().any(|(state, _)| !is_finished(*state));
        has_open_message || self.listed != listed(event)
    }

    /// The lines for what is new in an event, oldest first.
    fn lines(&mut self, event: &EventView) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for delivery in &event.deliveries {
            for attempt in &delivery.history {
                if self.attempts.insert(attempt.id) {
                    lines.push(LogLine {
                        attempt: Some(attempt.number),
                        duration_us: Some(attempt.duration_us),
                        reason: attempt.reason.clone(),
                        log: attempt.log.clone(),
                        ..LogLine::of(event, attempt.started_at, outcome(attempt.outcome), delivery)
                    });
                }
                for message in &attempt.messages {
                    let state = (message.state, message.attempts);
                    let before = self.messages.insert(message.id, state);
                    // A message that waits for its first attempt is no news.
                    if before != Some(state) && state != (DeliveryState::Pending, 0) {
                        lines.push(LogLine {
                            attempt: Some(message.attempts),
                            reason: message.reason.clone(),
                            next_try: message.due_at,
                            ..LogLine::of(
                                event,
                                attempt.started_at,
                                message.state.as_str(),
                                message,
                            )
                        });
                    }
                }
            }
            if let (Some(last), DeliveryState::Retrying) = (lines.last_mut(), delivery.state) {
                last.next_try = delivery.due_at;
            }
        }
        lines
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Ok { "ok" } else { "failed" }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct LogLine {
    at: Timestamp,
    /// `stored`, the outcome of an attempt (`ok`, `failed`), or the state of a message.
    what: &'static str,
    event: EventId,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl LogLine {
    fn stored(event: &EventView) -> Self {
        Self {
            at: event.received_at,
            what: "stored",
            event: event.id,
            source: event.source.to_string(),
            kind: event.kind.to_string(),
            target: None,
            attempt: None,
            duration_us: None,
            reason: None,
            next_try: None,
            log: None,
        }
    }

    fn of(event: &EventView, at: Timestamp, what: &'static str, delivery: &DeliveryView) -> Self {
        let target = Some(delivery.target.to_string());
        Self { at, what, target, ..Self::stored(event) }
    }

    fn text(&self) -> String {
        let Self { at, what, event, source, kind, .. } = self;
        let mut text = format!("{at}  {what:<11}  {source}:{kind}  {event}");
        if let Some(target) = &self.target {
            text.push_str(&format!("  {target}"));
        }
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt > 1) {
            text.push_str(&format!("  attempt {attempt}"));
        }
        if let Some(us) = self.duration_us {
            text.push_str(&format!("  {}.{:03} ms", us / 1_000, us % 1_000));
        }
        if let Some(reason) = self.reason.as_deref().filter(|reason| !reason.is_empty()) {
            text.push_str(&format!("  {}", reason.replace('\n', " ")));
        }
        if let Some(next) = self.next_try {
            text.push_str(&format!("  next try {next}"));
        }
        for line in self.log.iter().flat_map(|log| log.lines()) {
            text.push_str(&format!("\n    | {line}"));
        }
        text
    }
}

fn print(line: &LogLine, output: Output) {
    output.answer(line, LogLine::text);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(prefix: &str, n: u8) -> String {
        format!("{prefix}{n:026}")
    }

    fn delivery(n: u8, target: &str, state: &str, attempts: u32, more: &Value) -> Value {
        let mut delivery = json!({
            "id": id("dlv_", n), "event": id("evt_", 1), "cause": null, "message": null,
            "target": target, "state": state, "held": false, "generation": 0,
            "attempts": attempts, "due_at": null, "reason": null,
        });
        for (key, value) in more.as_object().unwrap() {
            delivery[key] = value.clone();
        }
        delivery
    }

    fn event(deliveries: &[Value]) -> EventView {
        serde_json::from_value(json!({
            "id": id("evt_", 1), "source": "github", "type": "push", "category": null,
            "delivery_id": null, "received_at": "2025-10-09T08:53:20.007Z",
            "status": "processed", "id_reused": false, "request": null, "parent": null,
            "table": "ab", "size": 2, "deliveries": deliveries,
        }))
        .unwrap()
    }

    fn run(message_state: &str, attempts: u32) -> EventView {
        let message = delivery(2, "destination:ops", message_state, attempts, &json!({}));
        let history = json!([{
            "id": id("att_", 1), "generation": 0, "number": 1,
            "started_at": "2025-10-09T08:53:20.009Z",
            "duration_us": 1_234, "outcome": "ok", "reason": null, "version": null,
            "log": "info: one", "response_status": null, "response_snippet": null,
            "messages": [message], "emitted": [],
        }]);
        event(&[delivery(1, "handler:chat", "processed", 1, &json!({ "history": history }))])
    }

    #[test]
    fn a_run_and_its_message_are_printed_once_each() {
        let mut known = Known::default();
        let texts = |lines: Vec<LogLine>| lines.iter().map(LogLine::text).collect::<Vec<_>>();
        let event_id = id("evt_", 1);
        let ran = format!(
            "2025-10-09T08:53:20.009Z  ok           github:push  {event_id}  handler:chat  \
             1.234 ms\n    | info: one"
        );
        assert_eq!(texts(known.lines(&run("pending", 0))), [ran]);
        assert!(known.is_changed(&run("pending", 0)), "its message is open");
        let sent = texts(known.lines(&run("processed", 1)));
        assert_eq!(sent.len(), 1);
        assert!(
            sent[0].contains("processed    github:push") && sent[0].contains("destination:ops")
        );
        assert!(known.lines(&run("processed", 1)).is_empty());
    }

    #[test]
    fn a_type_with_a_line_break_stays_in_its_line() {
        let mut line = LogLine::stored(&event(&[]));
        line.reason = Some("one\ntwo".into());
        assert_eq!(line.text().lines().count(), 1);
    }
}
