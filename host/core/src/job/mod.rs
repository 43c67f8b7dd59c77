//! Jobs: a replay of all that a filter matches, which the hub does a step at a time. Pure.
//!
//! A job is one small value, stored whole after each step. Before a step is done it is recorded
//! with its members, and it is done under a key of its own. So a step that was interrupted is
//! repeated as it was, and its members become due once.

mod rate;

pub use rate::{InvalidJobRate, JobRate};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::business_key::BusinessKey;
use crate::delivery::EventStatus;
use crate::event::{Category, EventType};
use crate::name::{DestinationName, SourceName, Target};
use crate::time::Timestamp;
use crate::word_enum;

/// Most members of one step. The ids of a step are kept in the job's row.
pub const STEP_MEMBERS_MAX: usize = 500;
/// Longest time that a job waits between two steps for its rate.
pub const PAUSE_MAX: Duration = Duration::from_secs(3_600);

word_enum! {
    /// The things that a job goes through.
    JobKind {
        /// Dead letters, which go to their targets again as they were stored.
        DeadLetters = "dead_letters",
        /// Events of any status, which are routed again by the current rules.
        Events = "events",
        /// Unrouted events, which are routed again by the current rules.
        Unrouted = "unrouted",
    }
}

word_enum! {
    /// The state of a job.
    JobState {
        /// Its steps are done as they are due.
        Running = "running",
        /// An operator stopped it for a while.
        Paused = "paused",
        /// It went through all that its filter matched.
        Finished = "finished",
        /// An operator ended it.
        Cancelled = "cancelled",
        /// A step cannot be done, whenever it is tried.
        Failed = "failed",
    }
}

word_enum! {
    /// An act of an operator on a job.
    JobAct {
        Pause = "pause",
        Resume = "resume",
        Cancel = "cancel",
    }
}

/// An act that does not fit the state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the job is {state}: it cannot {act}")]
pub struct JobActRefused {
    pub state: JobState,
    pub act: JobAct,
}

impl JobState {
    /// True for a job of which no step will be done any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }

    /// The state after an act. An act that is done already changes nothing.
    pub const fn after(self, act: JobAct) -> Result<Self, JobActRefused> {
        match (self, act) {
            (Self::Running | Self::Paused, JobAct::Pause) => Ok(Self::Paused),
            (Self::Running | Self::Paused, JobAct::Resume) => Ok(Self::Running),
            (Self::Running | Self::Paused | Self::Cancelled, JobAct::Cancel) => Ok(Self::Cancelled),
            (state, act) => Err(JobActRefused { state, act }),
        }
    }
}

/// Selects the members of a job. An empty list filters nothing; the values of one list are
/// alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    #[serde(default)]
    pub sources: Vec<SourceName>,
    #[serde(default)]
    pub kinds: Vec<EventType>,
    #[serde(default)]
    pub categories: Vec<Category>,
    #[serde(default)]
    pub statuses: Vec<EventStatus>,
    #[serde(default)]
    pub targets: Vec<Target>,
    #[serde(default)]
    pub keys: Vec<BusinessKey>,
    /// Received at or after.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Received before.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl JobFilter {
    /// True if an event of this source is meant. As with patterns, what the hub or a handler emits
    /// is meant only where its source is named.
    #[must_use]
    pub fn means(&self, source: &SourceName) -> bool {
        let is_emitted = source.as_str().starts_with('@') || *source == SourceName::hub();
        !self.sources.is_empty() || !is_emitted
    }
}

/// The part of a job that never changes: an operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOrder {
    pub kind: JobKind,
    pub filter: JobFilter,
    /// The only destination that gets the events, also if no rule brings them there.
    pub to: Option<DestinationName>,
    pub new_ids: bool,
    pub rate: Option<JobRate>,
    /// Stands for the order in the operator's own words, by which a repeat of it is recognised.
    pub asked: Box<str>,
}

impl JobOrder {
    /// Most members of one step: as many as the rate permits in a second.
    #[must_use]
    pub fn step_members(&self) -> usize {
        self.rate.map_or(STEP_MEMBERS_MAX, |rate| rate.in_a_second().clamp(1, STEP_MEMBERS_MAX))
    }
}

/// A step that is recorded and may have been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    /// Ids of deliveries or of events, by the kind of the job.
    pub members: Vec<String>,
    /// Number of those on the page that are not meant.
    pub left_out: u64,
    /// The cursor after it; none at the end.
    pub next: Option<String>,
    /// True if it must not be done any more. Set before its key is used up for that.
    #[serde(default)]
    pub is_withdrawn: bool,
}

/// The numbers of a job so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Members that its filter matched when it was created.
    pub total: u64,
    /// True if there were more than are counted.
    pub more: bool,
    /// Members that were looked at.
    pub done: u64,
    /// Members among these for which there was nothing to do: no rule wants the event, or the
    /// delivery was no dead letter any more.
    pub skipped: u64,
    /// Deliveries that became due.
    pub deliveries: u64,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOutcome {
    /// Deliveries that became due.
    pub deliveries: u64,
    /// Members for which there was nothing to do.
    pub skipped: u64,
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayJob {
    pub order: JobOrder,
    pub state: JobState,
    pub created_at: Timestamp,
    pub created_by: Box<str>,
    pub ended_at: Option<Timestamp>,
    pub progress: JobProgress,
    /// The number of the next step.
    pub steps: u64,
    /// The place after the last step that was done; none before the first.
    pub cursor: Option<String>,
    /// The step that is recorded, if any.
    pub step: Option<JobStep>,
    /// The reason that it failed.
    pub problem: Option<Box<str>>,
}

/// The next thing to do for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobTask<'j> {
    /// Read the page after the cursor, and record it as a step.
    Plan,
    /// Do the recorded step.
    Do(&'j JobStep),
    /// Find out whether the recorded step was done, and keep it from being done later.
    Withdraw,
    /// There is nothing to do.
    Rest,
}

impl ReplayJob {
    /// A job that runs from now on.
    #[must_use]
    pub fn new(order: JobOrder, progress: JobProgress, by: &str, now: Timestamp) -> Self {
        Self {
            order,
            state: JobState::Running,
            created_at: now,
            created_by: by.into(),
            ended_at: None,
            progress,
            steps: 0,
            cursor: None,
            step: None,
            problem: None,
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn task(&self) -> JobTask<'_> {
        match (&self.step, self.state) {
            (Some(step), JobState::Running) if !step.is_withdrawn => JobTask::Do(step),
            (Some(_), _) => JobTask::Withdraw,
            (None, JobState::Running) => JobTask::Plan,
            (None, _) => JobTask::Rest,
        }
    }

    /// The idempotency key of the recorded step. A later job of the same name has other keys.
    #[must_use]
    pub fn step_key(&self, name: &str) -> String {
        format!("job:{name}:{}:{}", self.created_at.as_millis(), self.steps)
    }

    /// Records the next step. A job that does not run any more records none.
    pub fn plan(&mut self, step: JobStep) {
        if self.task() == JobTask::Plan {
            self.step = Some(step);
        }
    }

    /// Counts the recorded step, whose number is `steps`. The last one finishes a job that is not
    /// over. Does nothing if the step was counted already.
    pub fn count_step(&mut self, steps: u64, outcome: StepOutcome, now: Timestamp) {
        let Some(step) = self.step.take_if(|_| self.steps == steps) else { return };
        self.steps += 1;
        self.progress.done += step.members.len() as u64 + step.left_out;
        self.progress.skipped += outcome.skipped + step.left_out;
        self.progress.deliveries += outcome.deliveries;
        match step.next {
            Some(next) => self.cursor = Some(next),
            None if !self.state.is_over() => self.end(JobState::Finished, now),
            None => {}
        }
    }

    /// Drops the recorded step, which was not done and cannot be done any more. Its members are
    /// found again after a resume.
    pub fn drop_step(&mut self, steps: u64) {
        if self.steps == steps && self.step.take().is_some() {
            self.steps += 1;
        }
    }

    /// Does an act of an operator.
    pub fn act(&mut self, act: JobAct, now: Timestamp) -> Result<(), JobActRefused> {
        let after = self.state.after(act)?;
        match after {
            JobState::Cancelled if self.state != after => self.end(after, now),
            after => self.state = after,
        }
        if after != JobState::Running {
            self.withdraw();
        }
        Ok(())
    }

    /// Decides that the recorded step must not be done any more, also after a resume.
    pub fn withdraw(&mut self) {
        if let Some(step) = &mut self.step {
            step.is_withdrawn = true;
        }
    }

    /// Ends a job that no further try can continue.
    pub fn fail(&mut self, problem: &str, now: Timestamp) {
        if !self.state.is_over() {
            self.problem = Some(problem.into());
            self.step = None;
            self.end(JobState::Failed, now);
        }
    }

    fn end(&mut self, state: JobState, now: Timestamp) {
        self.state = state;
        self.ended_at = Some(now);
    }
}

#[cfg(test)]
mod tests;
