//! `weir health`: asks a hub whether it accepts webhooks, for probes of containers.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::AliveAnswer;
use crate::program::output::Output;

/// Ask whether the hub accepts webhooks; the exit code tells
#[derive(Debug, Clone, clap::Args)]
pub struct HealthArgs {
    /// Ask only whether it works at all: fails if a restart is needed
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &HealthArgs, output: Output) -> Result<(), CommandError> {
    let path = if args.live { "/health/live" } else { "/health/ready" };
    let answer: AliveAnswer = AdminClient::find(&args.hub)?.get(path).await?;
    output.answer(&answer, |answer| answer.status.clone());
    Ok(())
}
