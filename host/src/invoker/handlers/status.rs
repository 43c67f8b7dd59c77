//! The state of every known handler, in service or not, as the API shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::time::Timestamp;
use weir_engine::{AllowedDestinations, Grants, Version};

use super::settings::EffectiveSettings;
use super::table::{LiveHandler, LiveHandlers};
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
#[derive(Debug, Clone, Serialize)]
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
}

/// The permissions of a handler, for the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandlerGrants {
    pub destinations: Vec<DestinationName>,
    pub emit: bool,
}

/// The limits of a handler, for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HandlerLimits {
    pub memory: usize,
    pub time: Duration,
    pub concurrency: usize,
    pub attempts: u32,
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

/// The states of all known handlers.
#[derive(Debug)]
pub(crate) struct HandlerStates {
    live: Arc<LiveHandlers>,
    states: Mutex<BTreeMap<HandlerName, KnownHandler>>,
    folder_read: watch::Sender<bool>,
}

impl HandlerStates {
    pub(crate) fn new(live: Arc<LiveHandlers>) -> Self {
        Self { live, states: Mutex::default(), folder_read: watch::Sender::new(false) }
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
        let states = self.states.lock();
        states.iter().map(|(name, entry)| status(name, entry, serving.get(name), now)).collect()
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
    now: Timestamp,
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
        about: version.and_then(|v| v.about.clone()),
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
        grants: version.map(|version| grants(&version.settings)),
        limits: version.map(|version| limits(&version.settings)),
    }
}

fn grants(settings: &EffectiveSettings) -> HandlerGrants {
    let Grants { destinations, known, emit } = &*settings.grants;
    let allowed = match destinations {
        AllowedDestinations::All => known,
        AllowedDestinations::These(these) => these,
    };
    HandlerGrants { destinations: allowed.iter().cloned().collect(), emit: *emit }
}

fn limits(settings: &EffectiveSettings) -> HandlerLimits {
    HandlerLimits {
        memory: settings.limits.memory,
        time: settings.limits.time,
        concurrency: settings.concurrency,
        attempts: settings.retry.max_attempts(),
    }
}
