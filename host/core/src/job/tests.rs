//! The life of a job, also when it is interrupted at any point.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

fn order(kind: JobKind, rate: Option<&str>) -> JobOrder {
    JobOrder {
        kind,
        filter: JobFilter::default(),
        to: None,
        new_ids: false,
        rate: rate.map(|rate| rate.parse().unwrap()),
        asked: "{}".into(),
    }
}

fn job() -> ReplayJob {
    let progress = JobProgress { total: 3, ..JobProgress::default() };
    ReplayJob::new(order(JobKind::DeadLetters, None), progress, "operator", NOW)
}

fn step(members: &[&str], next: Option<&str>) -> JobStep {
    let members = members.iter().map(|id| (*id).to_owned()).collect();
    JobStep { members, left_out: 0, next: next.map(str::to_owned), is_withdrawn: false }
}

fn due(deliveries: u64) -> StepOutcome {
    StepOutcome { deliveries, skipped: 0 }
}

#[test]
fn acts_fit_the_state_or_are_refused() {
    use JobAct::{Cancel, Pause, Resume};
    use JobState::{Cancelled, Failed, Finished, Paused, Running};
    for (state, act, after) in [
        (Running, Pause, Some(Paused)),
        (Paused, Pause, Some(Paused)),
        (Paused, Resume, Some(Running)),
        (Running, Resume, Some(Running)),
        (Running, Cancel, Some(Cancelled)),
        (Paused, Cancel, Some(Cancelled)),
        (Cancelled, Cancel, Some(Cancelled)),
        (Cancelled, Resume, None),
        (Cancelled, Pause, None),
        (Finished, Cancel, None),
        (Finished, Resume, None),
        (Failed, Pause, None),
    ] {
        assert_eq!(state.after(act).ok(), after, "{state} {act}");
    }
}

#[test]
fn a_job_plans_does_and_finishes() {
    let mut job = job();
    assert_eq!(job.task(), JobTask::Plan);
    job.plan(step(&["a", "b"], Some("n2")));
    assert!(matches!(job.task(), JobTask::Do(step) if step.members == ["a", "b"]));
    let first = job.step_key("mine");
    job.count_step(0, due(2), NOW);
    job.count_step(0, due(2), NOW);
    assert_eq!((job.progress.done, job.progress.deliveries, job.steps), (2, 2, 1), "counted once");
    assert_eq!((job.task(), job.cursor.as_deref()), (JobTask::Plan, Some("n2")));
    job.plan(step(&["c"], None));
    assert_ne!(job.step_key("mine"), first);
    job.count_step(1, due(0), NOW);
    assert_eq!(
        (job.state, job.task(), job.ended_at),
        (JobState::Finished, JobTask::Rest, Some(NOW))
    );
    assert_eq!((job.progress.done, job.progress.deliveries), (3, 2));
}

#[test]
fn a_paused_job_withdraws_its_step_and_goes_on_from_the_same_place() {
    let mut job = job();
    job.plan(step(&["a"], Some("n1")));
    job.act(JobAct::Pause, NOW).unwrap();
    assert_eq!(job.task(), JobTask::Withdraw);
    job.drop_step(0);
    assert_eq!((job.task(), job.progress.done, job.cursor.clone()), (JobTask::Rest, 0, None));
    job.plan(step(&["a"], Some("n1")));
    assert_eq!(job.task(), JobTask::Rest, "a paused job plans nothing");
    job.act(JobAct::Resume, NOW).unwrap();
    assert_eq!((job.task(), job.steps), (JobTask::Plan, 1), "under a new key");
}

#[test]
fn a_resume_does_not_do_a_step_that_was_withdrawn() {
    let mut job = job();
    job.plan(step(&["a"], None));
    job.act(JobAct::Pause, NOW).unwrap();
    job.act(JobAct::Resume, NOW).unwrap();
    // Its key may be used up: the step is planned again.
    assert_eq!(job.task(), JobTask::Withdraw);
    job.drop_step(0);
    assert_eq!((job.task(), job.steps), (JobTask::Plan, 1));
}

#[test]
fn a_step_that_was_done_before_a_cancellation_is_counted() {
    let mut job = job();
    job.plan(step(&["a"], None));
    job.act(JobAct::Cancel, NOW).unwrap();
    job.count_step(0, due(1), NOW);
    assert_eq!((job.state, job.progress.deliveries), (JobState::Cancelled, 1));
}

#[test]
fn a_job_that_failed_says_why_and_rests() {
    let mut job = job();
    job.plan(step(&["a"], None));
    job.fail("the cursor is not one that a page gave", NOW);
    assert_eq!((job.state, job.task()), (JobState::Failed, JobTask::Rest));
    assert!(job.problem.is_some() && job.act(JobAct::Resume, NOW).is_err());
}

#[test]
fn emitted_events_are_meant_only_where_their_source_is_named() {
    let named = |name: &str| SourceName::stored(name);
    let all = JobFilter::default();
    assert!(all.means(&named("github")));
    assert!(!all.means(&named("@orders")) && !all.means(&SourceName::hub()));
    let one = JobFilter { sources: vec![named("@orders")], ..JobFilter::default() };
    assert!(one.means(&named("@orders")));
}

#[test]
fn a_step_has_as_many_members_as_the_rate_has_in_a_second() {
    let members = |rate| order(JobKind::Events, rate).step_members();
    assert_eq!(members(None), STEP_MEMBERS_MAX);
    assert_eq!(members(Some("5/s")), 5);
    assert_eq!(members(Some("1/h")), 1);
    assert_eq!(members(Some("1000000/s")), STEP_MEMBERS_MAX);
}

/// A store of dead letters: each has a number and the times that it was requeued.
struct Model {
    requeued: BTreeMap<u32, u32>,
    dead: BTreeSet<u32>,
    /// The outcomes of steps, by key.
    done: BTreeMap<String, u64>,
}

impl Model {
    /// The numbers below a cursor, the highest first.
    fn page(&self, cursor: Option<&str>, limit: usize) -> JobStep {
        let below: u32 = cursor.map_or(u32::MAX, |text| text.parse().unwrap());
        let mut found: Vec<u32> = self.dead.range(..below).rev().copied().take(limit + 1).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(ToString::to_string);
        JobStep {
            members: found.iter().map(ToString::to_string).collect(),
            left_out: 0,
            next,
            is_withdrawn: false,
        }
    }

    fn carry_out(&mut self, key: String, members: &[String]) -> u64 {
        if let Some(before) = self.done.get(&key) {
            return *before;
        }
        let mut count = 0;
        for member in members {
            let number = member.parse().unwrap();
            if self.dead.remove(&number) {
                *self.requeued.entry(number).or_default() += 1;
                count += 1;
            }
        }
        self.done.insert(key, count);
        count
    }
}

/// One thing that happens to a job.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// The next task is done and stored.
    Task,
    /// The next task is done, and the process dies before it is stored.
    Crash,
    /// A dead letter that was requeued dies again.
    DiesAgain(u32),
    Act(JobAct),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Task),
        2 => Just(Happens::Crash),
        2 => (0u32..40).prop_map(Happens::DiesAgain),
        1 => Just(Happens::Act(JobAct::Pause)),
        2 => Just(Happens::Act(JobAct::Resume)),
    ]
}

proptest! {
    #[test]
    fn each_member_becomes_due_once_wherever_a_job_is_interrupted(
        all in prop::collection::btree_set(0u32..40, 0..40),
        limit in 1usize..6,
        story in prop::collection::vec(happens(), 0..200),
    ) {
        let mut model =
            Model { requeued: BTreeMap::new(), dead: all.clone(), done: BTreeMap::new() };
        let mut stored = job();
        let end = [Happens::Act(JobAct::Resume)].into_iter().chain([Happens::Task; 200]);
        for event in story.into_iter().chain(end) {
            let mut job = stored.clone();
            match event {
                // A finished job refuses acts.
                Happens::Act(act) => drop(job.act(act, NOW)),
                Happens::DiesAgain(number) => {
                    if model.requeued.contains_key(&number) {
                        model.dead.insert(number);
                    }
                }
                Happens::Task | Happens::Crash => {
                    let key = job.step_key("mine");
                    match job.task() {
                        JobTask::Plan => job.plan(model.page(job.cursor.as_deref(), limit)),
                        JobTask::Do(step) => {
                            let count = model.carry_out(key, &step.members.clone());
                            job.count_step(job.steps, due(count), NOW);
                        }
                        JobTask::Withdraw => match model.carry_out(key, &[]) {
                            0 => job.drop_step(job.steps),
                            count => job.count_step(job.steps, due(count), NOW),
                        },
                        JobTask::Rest => {}
                    }
                }
            }
            if !matches!(event, Happens::Crash) {
                stored = job;
            }
        }
        prop_assert_eq!(stored.state, JobState::Finished);
        let once: BTreeMap<u32, u32> = all.iter().map(|number| (*number, 1)).collect();
        prop_assert_eq!(model.requeued, once);
        prop_assert_eq!(stored.progress.deliveries, all.len() as u64);
    }
}
