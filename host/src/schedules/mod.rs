//! Schedules: emits the events of `[[schedule]]` when their times come, once each, also across
//! restarts.
//!
//! The time up to which a schedule is done is kept in the store. An event has the schedule and its
//! time as dedup key, so that one whose time could not be written down is not emitted again. Not
//! here: which times are due, which is in `schedule` of the core.

mod progress;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use weir_core::event::{EventFacts, EventType};
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::RouteTable;
use weir_core::time::Timestamp;
use weir_store::{DedupKey, EventIngested, NewEvent, NewRequest, StoreError};

use crate::config::Schedule;
use crate::context::HubContext;
use crate::routing::{self, Routes};
use progress::ScheduleProgress;

/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The scheme in the record of an event's request.
const SCHEME: &str = "schedule";
/// The header that names the time for which an event was emitted.
const TIME_HEADER: &str = "x-schedule-time";

/// The schedules in force, with the latest time of each. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Schedules(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configured: ArcSwap<Vec<Arc<Schedule>>>,
    /// The time up to which each schedule is done.
    done: Mutex<BTreeMap<EventType, Timestamp>>,
    changed: Notify,
}

/// A schedule with its times.
#[derive(Debug, Clone)]
pub(crate) struct ScheduleStatus {
    pub(crate) schedule: Arc<Schedule>,
    /// The time of its next event.
    pub(crate) next: Option<Timestamp>,
}

impl Schedules {
    pub(crate) fn new(configured: Vec<Arc<Schedule>>) -> Self {
        let (done, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { configured: ArcSwap::from_pointee(configured), done, changed }))
    }

    /// Replaces all schedules.
    pub(crate) fn replace(&self, configured: Vec<Arc<Schedule>>) {
        self.0.configured.store(Arc::new(configured));
        self.0.changed.notify_one();
    }

    pub(crate) fn current(&self) -> Arc<Vec<Arc<Schedule>>> {
        self.0.configured.load_full()
    }

    /// Every schedule with its times, as of now.
    pub(crate) fn statuses(&self, now: Timestamp) -> Vec<ScheduleStatus> {
        let done = self.0.done.lock();
        let status = |schedule: &Arc<Schedule>| {
            let from = done.get(&schedule.name).copied().unwrap_or(now);
            let next = schedule.timing.next(from.max(now));
            ScheduleStatus { schedule: schedule.clone(), next }
        };
        self.current().iter().map(status).collect()
    }
}

/// Emits the events of schedules.
#[derive(Debug)]
pub(crate) struct ScheduleWorker {
    ctx: HubContext,
    routes: Arc<Routes>,
    schedules: Schedules,
    /// The last error that was logged; one that repeats is logged once.
    error: Option<String>,
}

impl ScheduleWorker {
    pub(crate) fn new(ctx: HubContext, routes: Arc<Routes>, schedules: Schedules) -> Self {
        Self { ctx, routes, schedules, error: None }
    }

    /// Looks at the clock once a second until claiming stops.
    pub(crate) async fn run(mut self) {
        let drain = self.ctx.drain.clone();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A new process reads what the one before has written down.
        let mut progress = None;
        loop {
            tokio::select! {
                () = drain.claiming_stopped() => return,
                () = self.schedules.0.changed.notified() => progress = None,
                _ = look.tick() => {}
            }
            if self.ctx.store.health().poisoned.is_some() {
                continue;
            }
            match self.look(&mut progress).await {
                Ok(()) => self.error = None,
                Err(error) => {
                    self.report(&error);
                    progress = None;
                }
            }
        }
    }

    fn report(&mut self, error: &StoreError) {
        let said = error.to_string();
        if self.error.as_ref() != Some(&said) {
            tracing::error!(%error, "cannot store events of schedules; they are tried again");
            self.error = Some(said);
        }
    }

    async fn look(&self, progress: &mut Option<ScheduleProgress>) -> Result<(), StoreError> {
        let (store, now) = (&self.ctx.store, self.ctx.clock.now());
        let schedules = self.schedules.current();
        let progress = match progress {
            Some(progress) => progress,
            None => progress.insert(ScheduleProgress::read(&**store, &schedules, now).await?),
        };
        for schedule in schedules.iter() {
            let last = progress.until(&schedule.name).unwrap_or(now);
            let due = schedule.timing.due(schedule.missed, last, now);
            if !due.times.is_empty() {
                self.emit(schedule, &due.times, now).await?;
            }
            if due.until > last {
                progress.advance(&**store, schedule, due.until).await?;
            }
            self.schedules.0.done.lock().insert(schedule.name.clone(), due.until);
        }
        Ok(())
    }

    /// Stores an event for each of these times.
    async fn emit(
        &self,
        schedule: &Schedule,
        times: &[Timestamp],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (table, counts) =
            (self.routes.current(), self.ctx.metrics.source(&SourceName::schedule()));
        let requests = times.iter().map(|time| request(schedule, *time, &table, now)).collect();
        for (time, answer) in times.iter().zip(self.ctx.store.ingest(requests).await) {
            for event in answer?.events {
                let EventIngested::Stored { id, unrouted, .. } = event else { continue };
                counts.stored();
                if unrouted {
                    counts.unrouted();
                }
                let schedule = schedule.name.as_str();
                tracing::info!(schedule, %time, event = %id, "emitted the event of a schedule");
            }
        }
        Ok(())
    }
}

fn request(schedule: &Schedule, time: Timestamp, table: &RouteTable, now: Timestamp) -> NewRequest {
    let source = SourceName::schedule();
    let name = schedule.name.as_str();
    let by_default = || Bytes::from(json!({ "schedule": name, "time": time }).to_string());
    let body = schedule.body.clone().unwrap_or_else(by_default);
    let mut payload = Payload::new("application/json", body);
    payload.headers.push((TIME_HEADER.into(), time.to_string().into()));
    let facts =
        EventFacts { payload: Some(&payload), ..EventFacts::new(&source, &schedule.name, now) };
    let material = Bytes::from(format!("{name}\0{}", time.as_millis()));
    let event = NewEvent {
        routed: routing::routed(table, &facts),
        kind: schedule.name.clone(),
        category: None,
        delivery_id: None,
        dedup: Some(DedupKey { material, body_tag: 0 }),
        part: None,
        keys: Vec::new(),
    };
    NewRequest {
        source,
        scheme: SCHEME.into(),
        secret: SCHEME.into(),
        remote: None,
        payload,
        on_redelivery: OnRedelivery::Duplicate,
        events: vec![event],
    }
}
