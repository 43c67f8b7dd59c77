//! Jobs over a real store: names, limits, and a worker that goes through nothing.

use weir_core::job::JobFilter;
use weir_store::sqlite;

use super::*;
use crate::config::{self, Mode};
use crate::context::HubContext;
use crate::routing::Routes;
use crate::runtime::clock::SystemClock;

struct Stage {
    ctx: HubContext,
    jobs: Jobs,
    folder: tempfile::TempDir,
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = sqlite::Options::new(clock.clone());
    let store: Arc<dyn Store> =
        Arc::new(sqlite::open(&folder.path().join("weir.db"), options).unwrap());
    let ctx = HubContext::new(store.clone(), clock.clone());
    Stage { ctx, jobs: Jobs::new(store, clock), folder }
}

fn order(asked: &str) -> JobOrder {
    JobOrder {
        kind: JobKind::DeadLetters,
        filter: JobFilter::default(),
        to: None,
        new_ids: false,
        rate: None,
        asked: asked.into(),
    }
}

#[tokio::test]
async fn the_same_order_under_a_name_is_one_job_and_another_is_refused() {
    let Stage { jobs, folder: _folder, .. } = stage();
    let (first, is_new) = jobs.create("mine", order("a"), "operator").await.unwrap();
    assert!(is_new);
    let (again, is_new) = jobs.create("mine", order("a"), "another").await.unwrap();
    assert!(!is_new && again == first);
    let refused = jobs.create("mine", order("b"), "operator").await;
    assert!(matches!(refused, Err(JobError::Differs(name)) if name == "mine"));
    jobs.act("mine", JobAct::Cancel).await.unwrap();
    let (ended, is_new) = jobs.create("mine", order("a"), "operator").await.unwrap();
    assert!(!is_new && ended.state == JobState::Cancelled, "an ended job is not done again");
    assert!(matches!(jobs.act("mine", JobAct::Resume).await, Err(JobError::Refused(_))));
    assert!(matches!(jobs.act("other", JobAct::Pause).await, Err(JobError::Unknown(_))));
}

#[tokio::test]
async fn unfinished_jobs_have_a_limit_and_the_oldest_ended_one_is_removed() {
    let Stage { jobs, folder: _folder, .. } = stage();
    for number in 0..UNFINISHED_MAX {
        jobs.create(&format!("j{number}"), order("a"), "operator").await.unwrap();
    }
    let refused = jobs.create("more", order("a"), "operator").await;
    assert!(matches!(refused, Err(JobError::TooMany)));
    for number in 0..UNFINISHED_MAX {
        jobs.act(&format!("j{number}"), JobAct::Cancel).await.unwrap();
    }
    for number in UNFINISHED_MAX..KEPT_MAX + 5 {
        let name = format!("j{number}");
        jobs.create(&name, order("a"), "operator").await.unwrap();
        jobs.act(&name, JobAct::Cancel).await.unwrap();
    }
    assert_eq!(jobs.list().await.unwrap().len(), KEPT_MAX);
    assert_eq!(jobs.get("j0").await.unwrap(), None);
    assert!(jobs.get(&format!("j{}", KEPT_MAX + 4)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_worker_finishes_what_it_finds_and_leaves_paused_jobs_alone() {
    let Stage { ctx, jobs, folder } = stage();
    jobs.create("paused", order("a"), "operator").await.unwrap();
    jobs.act("paused", JobAct::Pause).await.unwrap();
    jobs.create("mine", order("a"), "operator").await.unwrap();
    let config = config::load_text("weir.toml", "", folder.path(), Mode::Development).unwrap();
    let routes = Routes::build(ctx.store.clone(), &config.config, Default::default()).await;
    let deps = Deps { routes: Arc::new(routes.unwrap()) };
    let drain = ctx.drain.clone();
    let working = tokio::spawn(JobWorker::new(ctx.clone(), deps).run());
    let mut changes = ctx.store.watch(EntryKind::Job);
    while jobs.get("mine").await.unwrap().unwrap().state != JobState::Finished {
        changes.changed().await.unwrap();
    }
    assert_eq!(jobs.get("paused").await.unwrap().unwrap().state, JobState::Paused);
    drain.stop_claiming();
    working.await.unwrap();
}
