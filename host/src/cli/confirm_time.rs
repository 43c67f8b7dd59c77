//! `weir confirm-time`: a person's word for the clock.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::text;
use crate::program::output::Output;

/// Confirm the system clock and resume deleting old data
///
/// The hub deletes nothing old while its clock is more than a day from where it should be: it jumped, or the hub
/// was off for days. `curl ADMIN/health` shows that, as `retention`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfirmTimeArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &ConfirmTimeArgs, output: Output) -> Result<(), CommandError> {
    let confirmed = AdminClient::find(&args.hub)?.post("/api/v1/time/confirm").await?;
    if output.json {
        output.value(&confirmed);
    } else {
        output.text(&format!(
            "{} is right; retention goes on within ten minutes",
            text(&confirmed["time"])
        ));
    }
    Ok(())
}
