//! The state of every known handler, in service or not, as the API shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::probation::Strike;
use weir_core::state::StateQuota;
use weir_core::time::Timestamp;
use weir_engine::{AllowedDestinations, Description, Grants, Version};

use super::table::{LiveHandler, LiveHandlers};
use super::trial::Trial;
use crate::config::EffectiveSettings;
use crate::delivery::flow_control::{FlowStatus, TargetHealth};

/// The state of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerState {
    /// It gets events.
    Ready,
    /// Its file is gone. It serves until its grace period ends; then its deliveries are on hold.
    Missing,
    /// No version of it could be loaded.
    Failed,
    /// Its first version is being loaded.
    Loading,
}

/// A handler, for the API.
#[derive(Debug, Clone)]
pub struct HandlerStatus {
    pub name: HandlerName,
    /// The hash of the module that serves, in hex.
    pub version: Option<String>,
    /// `component` or `command`.
    pub kind: Option<&'static str>,
    /// The handler's description of itself.
    pub about: Option<String>,
    pub subscriptions: Vec<String>,
    pub state: HandlerState,
    /// The time from which this version serves, or from which it has this state.
    pub since: Timestamp,
    /// The reason why the files in the plugins folder were refused, if they were. An older version
    /// may be serving.
    pub last_error: Option<String>,
    /// Runs under way.
    pub running: usize,
    /// `ok`: events are handled. `failing`: paused because nearly every event failed; events wait,
    /// and one is tried from time to time. `paused`: it is on hold.
    pub health: TargetHealth,
    /// The reason for any other health than `ok`.
    pub health_reason: Option<Box<str>>,
    /// Time of the next attempt; none if attempts are made at once.
    pub next_try: Option<Timestamp>,
    /// Attempts that failed since it is failing, beside those that caused it.
    pub failed_tries: u32,
    /// The permissions of the version that serves.
    pub grants: Option<HandlerGrants>,
    /// The limits of its runs.
    pub limits: Option<HandlerLimits>,
    /// True if a person pinned the version that serves.
    pub pinned: bool,
    /// The version of the files in the folder, if a pin keeps it from serving.
    pub candidate: Option<String>,
    /// The probation of the version that serves.
    pub probation: Option<ProbationStatus>,
}

/// The probation of a version, for the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbationStatus {
    /// The version that stands in for it, in hex.
    pub old: String,
    pub started_at: Timestamp,
    /// Events that it handled since the last strike, and the number of them that ends it.
    pub done: u32,
    pub runs: u32,
    /// The time at which it ends without another strike.
    pub ends_at: Timestamp,
    pub strikes: Vec<Strike>,
    pub strikes_max: u32,
}

/// The permissions of a handler, for the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandlerGrants {
    pub destinations: Vec<DestinationName>,
    pub emit: bool,
    /// Destinations that it needs and may not send to.
    pub missing: Vec<DestinationName>,
}

/// The limits of a handler, for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerLimits {
    pub memory: usize,
    pub time: Duration,
    pub concurrency: usize,
    pub attempts: u32,
    /// The quota of its state.
    pub state: StateQuota,
}

/// The state of one handler.
#[derive(Debug, Clone)]
struct KnownHandler {
    state: HandlerState,
    since: Timestamp,
    refused: Option<RefusedFiles>,
}

/// Files in the plugins folder that were refused.
#[derive(Debug, Clone)]
struct RefusedFiles {
    content: Version,
    reason: String,
}

/// The pin of a handler, and the version that it keeps from serving.
#[derive(Debug, Clone, Default)]
pub(crate) struct VersionMarks {
    pub(crate) pinned: bool,
    pub(crate) candidate: Option<String>,
}

/// The states of all known handlers.
#[derive(Debug)]
pub(crate) struct HandlerStates {
    live: Arc<LiveHandlers>,
    states: Mutex<BTreeMap<HandlerName, KnownHandler>>,
    marks: Mutex<BTreeMap<HandlerName, VersionMarks>>,
    folder_read: watch::Sender<bool>,
}

impl HandlerStates {
    pub(crate) fn new(live: Arc<LiveHandlers>) -> Self {
        let folder_read = watch::Sender::new(false);
        Self { live, states: Mutex::default(), marks: Mutex::default(), folder_read }
    }

    /// Its first version is being loaded. Does nothing if a version serves.
    pub(crate) fn loading(&self, name: &HandlerName, now: Timestamp) {
        if self.live.version(name).is_none() {
            self.set(name, HandlerState::Loading, now, None);
        }
    }

    /// The version in the folder serves, and its events are routed to it.
    pub(crate) fn ready(&self, name: &HandlerName, now: Timestamp) {
        self.set(name, HandlerState::Ready, now, None);
    }

    /// Its file is gone. It still serves.
    pub(crate) fn missing(&self, name: &HandlerName, now: Timestamp) {
        let refused = self.states.lock().get(name).and_then(|entry| entry.refused.clone());
        self.set(name, HandlerState::Missing, now, refused);
    }

    /// Its file is gone for good, and it was taken out of service.
    pub(crate) fn retired(&self, name: &HandlerName, now: Timestamp) {
        self.set(name, HandlerState::Missing, now, None);
    }

    /// Its files were refused. A version that serves goes on serving.
    pub(crate) fn refused(
        &self,
        name: &HandlerName,
        content: Version,
        reason: String,
        now: Timestamp,
    ) {
        let refused = Some(RefusedFiles { content, reason });
        self.set(name, self.without_new_version(name), now, refused);
    }

    /// True if these files were the last ones that were refused. Its state is then the same as
    /// after that refusal.
    pub(crate) fn was_refused(&self, name: &HandlerName, content: Version, now: Timestamp) -> bool {
        let refused = self.states.lock().get(name).and_then(|entry| entry.refused.clone());
        let Some(refused) = refused.filter(|refused| refused.content == content) else {
            return false;
        };
        self.set(name, self.without_new_version(name), now, Some(refused));
        true
    }

    /// It never served, and its file is gone.
    pub(crate) fn forget(&self, name: &HandlerName) {
        self.states.lock().remove(name);
        self.marks.lock().remove(name);
    }

    /// Its pin and its candidate are these.
    pub(crate) fn mark(&self, name: &HandlerName, marks: VersionMarks) {
        self.marks.lock().insert(name.clone(), marks);
    }

    /// Every handler in the plugins folder has been loaded or refused once.
    pub(crate) fn set_folder_read(&self) {
        self.folder_read.send_replace(true);
    }

    /// Turns true with [`HandlerStates::set_folder_read`].
    pub(crate) fn folder_read(&self) -> watch::Receiver<bool> {
        self.folder_read.subscribe()
    }

    /// All known handlers, by name.
    pub(crate) fn statuses(&self, now: Timestamp) -> Vec<HandlerStatus> {
        let serving = self.live.current();
        let (states, marks) = (self.states.lock().clone(), self.marks.lock().clone());
        let one = |(name, entry): (&HandlerName, &KnownHandler)| {
            let marks = marks.get(name).cloned().unwrap_or_default();
            status(name, entry, serving.get(name), (marks, now))
        };
        states.iter().map(one).collect()
    }

    fn without_new_version(&self, name: &HandlerName) -> HandlerState {
        match self.live.version(name) {
            Some(_) => HandlerState::Ready,
            None => HandlerState::Failed,
        }
    }

    fn set(
        &self,
        name: &HandlerName,
        state: HandlerState,
        now: Timestamp,
        refused: Option<RefusedFiles>,
    ) {
        let mut states = self.states.lock();
        let since = match states.get(name) {
            Some(before) if before.state == state => before.since,
            _ => now,
        };
        states.insert(name.clone(), KnownHandler { state, since, refused });
    }
}

fn status(
    name: &HandlerName,
    entry: &KnownHandler,
    handler: Option<&LiveHandler>,
    (marks, now): (VersionMarks, Timestamp),
) -> HandlerStatus {
    let version = handler.map(|h| &h.version);
    let ready = entry.state == HandlerState::Ready;
    let flow = handler.map(|h| h.runtime.flow.status(now));
    let failed_tries =
        flow.as_ref().and_then(|flow| Some(flow.record.as_ref()?.breaker.failed_probes));
    HandlerStatus {
        name: name.clone(),
        version: version.map(|v| v.version().to_hex()),
        kind: version.map(|v| v.module.kind().as_str()),
        about: version.and_then(|v| v.description.about.clone()),
        subscriptions: version
            .map(|v| v.settings.subscriptions.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        state: entry.state,
        since: version.filter(|_| ready).map_or(entry.since, |v| v.since),
        last_error: entry.refused.as_ref().map(|refused| refused.reason.clone()),
        running: handler.map_or(0, |h| h.runtime.running.count()),
        health: flow.as_ref().map_or(TargetHealth::Ok, FlowStatus::health),
        next_try: flow.as_ref().and_then(FlowStatus::next_try),
        health_reason: flow.as_ref().and_then(FlowStatus::reason),
        failed_tries: failed_tries.unwrap_or(0),
        grants: version.map(|version| grants(&version.settings, &version.description)),
        limits: version.map(|version| limits(&version.settings)),
        pinned: marks.pinned,
        candidate: marks.candidate,
        probation: version.and_then(|version| version.trial.as_deref()).map(probation),
    }
}

fn probation(trial: &Trial) -> ProbationStatus {
    let (course, policy) = (trial.course(), trial.policy);
    ProbationStatus {
        old: trial.old.version().to_hex(),
        started_at: course.started_at,
        done: course.done,
        runs: policy.runs(),
        ends_at: course.ends_at(&policy),
        strikes: course.strikes,
        strikes_max: policy.strikes(),
    }
}

fn grants(settings: &EffectiveSettings, description: &Description) -> HandlerGrants {
    let Grants { destinations, known, emit, .. } = &*settings.grants;
    let missing = settings.grants.missing(&description.needs).map(|(name, _)| name.clone());
    let allowed = match destinations {
        AllowedDestinations::All => known,
        AllowedDestinations::These(these) => these,
    };
    HandlerGrants {
        destinations: allowed.iter().cloned().collect(),
        emit: *emit,
        missing: missing.collect(),
    }
}

fn limits(settings: &EffectiveSettings) -> HandlerLimits {
    HandlerLimits {
        memory: settings.limits.memory,
        time: settings.limits.time,
        concurrency: settings.concurrency,
        attempts: settings.retry.max_attempts(),
        state: settings.state,
    }
}
