//! `weir confirm-time`: confirms the system clock.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::ConfirmTimeAnswer;
use crate::program::output::Output;

/// Confirm the system clock and resume deleting old data
///
/// The hub stops deleting old data when the clock is more than a day from its expected time: it
/// jumped, or the hub was off for days. `curl ADMIN/health` shows that under `retention`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfirmTimeArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &ConfirmTimeArgs, output: Output) -> Result<(), CommandError> {
    let confirmed: ConfirmTimeAnswer =
        AdminClient::find(&args.hub)?.post("/api/v1/time/confirm").await?;
    output.answer(&confirmed, |confirmed| {
        format!("{} is confirmed; old data is deleted again within ten minutes", confirmed.time)
    });
    Ok(())
}
