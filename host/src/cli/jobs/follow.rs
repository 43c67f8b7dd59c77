//! Follows a job to its end, with a progress bar or a line of JSON for each step. The job does not
//! need its followers.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weir_core::job::JobState;

use super::{path, sentence};
use crate::api::JobView;
use crate::cli::client::AdminClient;
use crate::cli::error::CommandError;
use crate::program::output::Output;

/// The time before a broken stream is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// Times in a row that a stream is opened again without a frame: a hub restarts in less time.
const TRIES_MAX: u32 = 30;

/// Progress of a job, as JSON.
#[derive(Debug, Serialize)]
struct JobStepLine {
    done: u64,
    of: u64,
    deliveries: u64,
}

/// Follows a job until it has ended. A job that did not finish is an error.
pub(crate) async fn follow(
    hub: &AdminClient,
    name: &str,
    output: Output,
) -> Result<JobView, CommandError> {
    let bar = bar(output);
    let mut last: Option<JobView> = None;
    let mut tries = 0;
    loop {
        match hub.stream(&format!("{}/live", path(name)), &(), None).await {
            Ok(mut stream) => {
                while let Some(job) = stream.next::<JobView>().await {
                    tries = 0;
                    show(&job, last.as_ref(), &bar, output);
                    last = Some(job);
                }
            }
            // A hub that was never reached, or that refuses, is not waited for.
            Err(error) if last.is_none() || !error.may_be_gone_soon() => return Err(error.into()),
            Err(error) if tries >= TRIES_MAX => return Err(error.into()),
            Err(_) => {}
        }
        if let Some(job) = last.as_ref().filter(|job| job.state.is_over()) {
            bar.finish_and_clear();
            return ended(job);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn ended(job: &JobView) -> Result<JobView, CommandError> {
    match (job.state, &job.problem) {
        (JobState::Finished, _) => Ok(job.clone()),
        (_, Some(problem)) => Err(CommandError::Failed(format!("{}: {problem}", sentence(job)))),
        (_, None) => Err(CommandError::Failed(sentence(job))),
    }
}

fn show(job: &JobView, before: Option<&JobView>, bar: &ProgressBar, output: Output) {
    bar.set_length(job.total.max(job.done));
    bar.set_position(job.done);
    bar.set_message(if job.state == JobState::Paused { "paused" } else { "" });
    let has_moved = before.is_none_or(|before| before.done != job.done);
    if output.json && has_moved && job.done > 0 {
        let of = job.total.max(job.done);
        output.value(&JobStepLine { done: job.done, of, deliveries: job.deliveries });
    }
}

fn bar(output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    // It hides itself if standard error is not a terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} left {msg}") {
        bar.set_style(style);
    }
    bar
}
