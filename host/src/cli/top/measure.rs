//! A measurement of a hub: two samples of its API, and the rates between them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use weir_core::time::Timestamp;

use crate::api::params::Limit;
use crate::api::{DestinationView, EventView, EventsQuery, HealthReport, ListPage, SourceHealth};
use crate::cli::client::{AdminClient, ClientError};

/// Events that are asked for.
const NEWEST: usize = 50;

/// The answers of the hub at one moment.
#[derive(Debug, Clone)]
pub(super) struct HubSample {
    pub(super) at: Instant,
    pub(super) health: HealthReport,
    pub(super) destinations: Vec<DestinationView>,
    pub(super) events: Vec<EventView>,
}

impl HubSample {
    pub(super) async fn take(hub: &AdminClient) -> Result<Self, ClientError> {
        let health = hub.health().await?;
        let destinations: ListPage<DestinationView> = hub.get("/api/v1/destinations").await?;
        let query = EventsQuery { limit: Some(Limit::clamped(NEWEST)), ..EventsQuery::default() };
        let events: ListPage<EventView> = hub.query("/api/v1/events", &query).await?;
        let (destinations, events) = (destinations.items, events.items);
        Ok(Self { at: Instant::now(), health, destinations, events })
    }
}

/// Numbers of a hub over the time between two samples. Rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Measured {
    /// `ok`, `degraded` or `unavailable`.
    pub(super) status: String,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    /// The reason why there is no newer measurement, or why webhooks are not accepted.
    pub(super) problem: Option<String>,
    pub(super) sources: Vec<SourceRates>,
    pub(super) targets: Vec<TargetRates>,
    pub(super) events: Vec<NewEventRow>,
}

/// A source and its rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SourceRates {
    pub(super) name: String,
    pub(super) received: f64,
    pub(super) stored: f64,
    pub(super) refused: f64,
    pub(super) unrouted_now: u64,
    pub(super) last_received_seconds_ago: Option<u64>,
}

/// A handler or destination, its backlog, and the rates of a destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TargetRates {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) sent: Option<f64>,
    pub(super) failed: Option<f64>,
    pub(super) waiting: u64,
    pub(super) processing: u64,
    pub(super) dead_letters: u64,
}

/// One of the newest events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct NewEventRow {
    pub(super) id: String,
    pub(super) received_at: Timestamp,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

impl Measured {
    /// The sum of a rate over all sources.
    pub(super) fn of_sources(&self, rate: impl Fn(&SourceRates) -> f64) -> f64 {
        self.sources.iter().map(rate).sum()
    }

    /// The sum of a number over all targets.
    pub(super) fn of_targets(&self, number: impl Fn(&TargetRates) -> u64) -> u64 {
        self.targets.iter().map(number).sum()
    }
}

/// The numbers of `now`, with rates since `before`.
pub(super) fn measured(before: &HubSample, now: &HubSample) -> Measured {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
    let summary = &now.health.summary;
    Measured {
        status: summary.status.clone(),
        version: summary.version.clone(),
        uptime_seconds: summary.uptime_seconds,
        problem: summary.reason.clone(),
        sources: sources(before, now, seconds),
        targets: targets(before, now, seconds),
        events: now.events.iter().map(event).collect(),
    }
}

/// A rate, or zero without a time. A counter that went back belongs to a hub that was started anew.
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    let counted = if now < before { now } else { now - before };
    if seconds > 0.0 { counted as f64 / seconds } else { 0.0 }
}

fn sources(before: &HubSample, now: &HubSample, seconds: f64) -> Vec<SourceRates> {
    let of = |(name, is): (&String, &SourceHealth)| {
        let was = before.health.sources.get(name);
        let since = |count: fn(&SourceHealth) -> u64| {
            rate(was.map_or(0, count), count(is), if was.is_some() { seconds } else { 0.0 })
        };
        SourceRates {
            name: name.clone(),
            received: since(|source| source.received),
            stored: since(|source| source.stored),
            refused: since(|source| source.refused),
            unrouted_now: is.unrouted_now,
            last_received_seconds_ago: is.last_received_seconds_ago,
        }
    };
    now.health.sources.iter().map(of).collect()
}

fn targets(before: &HubSample, now: &HubSample, seconds: f64) -> Vec<TargetRates> {
    let empty = BTreeMap::new();
    let queues = now.health.queues.as_ref().unwrap_or(&empty);
    let row = |name: String, state: String, sent: Option<f64>, failed: Option<f64>| {
        let count = |states: &[&str]| -> u64 {
            let of_target = queues.get(&name);
            let counts = of_target.into_iter().flatten();
            counts.filter(|(state, _)| states.contains(&state.as_str())).map(|(_, n)| n).sum()
        };
        let waiting = count(&["pending", "retrying", "held"]);
        let (processing, dead_letters) = (count(&["processing"]), count(&["dead_letter"]));
        TargetRates { name, state, sent, failed, waiting, processing, dead_letters }
    };
    let handlers = now.health.handlers.iter().map(|handler| {
        let state = match handler.state.as_str() {
            "ready" => handler.health.as_str().to_owned(),
            state => state.to_owned(),
        };
        row(format!("handler:{}", handler.name), state, None, None)
    });
    let destinations = now.destinations.iter().map(|is| {
        let was = before.destinations.iter().find(|was| was.name == is.name);
        let since = |count: fn(&DestinationView) -> u64| {
            Some(rate(was.map_or(count(is), count), count(is), seconds))
        };
        let (sent, failed) = (since(|one| one.sent), since(|one| one.failed));
        row(format!("destination:{}", is.name), is.state.as_str().to_owned(), sent, failed)
    });
    handlers.chain(destinations).collect()
}

fn event(event: &EventView) -> NewEventRow {
    NewEventRow {
        id: event.id.to_string(),
        received_at: event.received_at,
        source: event.source.to_string(),
        kind: event.kind.to_string(),
        status: event.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_and_survive_a_restart_of_the_hub() {
        let is = |rate: f64, wanted: f64| assert!((rate - wanted).abs() < 1e-9, "{rate}");
        is(rate(10, 30, 2.0), 10.0);
        is(rate(1_000, 4, 2.0), 2.0);
        is(rate(10, 30, 0.0), 0.0);
    }
}
