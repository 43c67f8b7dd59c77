//! `weir jobs`: lists and shows the replays that the hub does by itself, and pauses, resumes and
//! cancels them. `weir replay` makes them.

mod follow;

pub(super) use follow::follow;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::values;
use crate::api::{JobFilterBody, JobView, ListPage};
use crate::program::output::{Output, or_dash};

/// List, show, pause, resume and cancel jobs: replays by filter that the hub does by itself
#[derive(Debug, Clone, clap::Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    pub act: JobsAct,
}

/// An act on jobs.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum JobsAct {
    /// List jobs: those that are not over first, then the newest
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show a job: its filter, its numbers and its state
    Show {
        #[command(flatten)]
        job: NamedJob,
        /// Follow its progress until it ends
        #[arg(long)]
        follow: bool,
    },
    /// Pause a job; it keeps its place
    Pause(NamedJob),
    /// Resume a job that is paused
    Resume(NamedJob),
    /// Cancel a job; what became due already stays due
    Cancel(NamedJob),
}

/// Chooses one job.
#[derive(Debug, Clone, clap::Args)]
pub struct NamedJob {
    /// Name of the job
    #[arg(value_parser = values::request_key)]
    pub name: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &JobsArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        JobsAct::List { hub } => list(hub, output).await,
        JobsAct::Show { job, follow: false } => {
            let shown: JobView = AdminClient::find(&job.hub)?.get(&path(&job.name)).await?;
            output.answer(&shown, text);
            Ok(())
        }
        JobsAct::Show { job, follow: true } => {
            let ended = follow(&AdminClient::find(&job.hub)?, &job.name, output).await?;
            output.answer(&ended, text);
            Ok(())
        }
        JobsAct::Pause(job) => act(job, "pause", output).await,
        JobsAct::Resume(job) => act(job, "resume", output).await,
        JobsAct::Cancel(job) => act(job, "cancel", output).await,
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/jobs/{name}")
}

async fn list(hub: &HubArgs, output: Output) -> Result<(), CommandError> {
    let listed: ListPage<JobView> = AdminClient::find(hub)?.get("/api/v1/jobs").await?;
    let headings = ["NAME", "STATE", "WHAT", "DONE", "DUE", "RATE", "CREATED", "BY"];
    output.list(&listed.items, "no jobs", headings, |job| {
        [
            job.name.clone(),
            job.state.to_string(),
            job.what.to_string(),
            done(job),
            job.deliveries.to_string(),
            or_dash(job.rate),
            job.created_at.to_string(),
            job.created_by.clone(),
        ]
    });
    Ok(())
}

async fn act(job: &NamedJob, act: &str, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&job.hub)?;
    let now: JobView = hub.post(&format!("{}/{act}", path(&job.name))).await?;
    output.answer(&now, sentence);
    Ok(())
}

/// A job in one sentence.
pub(super) fn sentence(job: &JobView) -> String {
    format!("job {} is {}: {} done, {} due again", job.name, job.state, done(job), job.deliveries)
}

fn done(job: &JobView) -> String {
    let more = if job.more { "+" } else { "" };
    format!("{} of {}{more}", job.done, job.total.max(job.done))
}

fn text(job: &JobView) -> String {
    let mut lines = vec![sentence(job)];
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<9} {value}")));
    };
    let JobFilterBody { source, kind, category, status, target, key, since, until } = &job.filter;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    fact("what", Some(job.what.to_string()));
    fact("source", some(source.to_string()));
    fact("type", some(kind.to_string()));
    fact("category", some(category.to_string()));
    fact("status", some(status.to_string()));
    fact("target", some(target.to_string()));
    fact("key", some(key.to_string()));
    fact("since", since.map(|since| since.to_string()));
    fact("until", until.map(|until| until.to_string()));
    fact("to", job.to.as_ref().map(ToString::to_string));
    fact("ids", job.new_ids.then(|| "new".to_owned()));
    fact("rate", job.rate.map(|rate| rate.to_string()));
    fact("skipped", (job.skipped > 0).then(|| job.skipped.to_string()));
    fact("created", Some(format!("{} by {}", job.created_at, job.created_by)));
    fact("ended", job.ended_at.map(|at| at.to_string()));
    fact("problem", job.problem.clone());
    lines.join("\n")
}
