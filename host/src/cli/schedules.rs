//! `weir schedules`: lists the schedules with their next times.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::{ListPage, ScheduleView};
use crate::program::output::{Output, or_dash};

/// List the schedules with their next times
///
/// A schedule emits an event of the source `schedule`, whose type is its name, at its times.
#[derive(Debug, Clone, clap::Args)]
pub struct SchedulesArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn list(args: &SchedulesArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let listed: ListPage<ScheduleView> = hub.get("/api/v1/schedules").await?;
    output.list(&listed.items, "no schedules", ["NAME", "TIMES", "MISSED", "NEXT"], |one| {
        [one.name.clone(), one.timing.clone(), one.missed.clone(), or_dash(one.next)]
    });
    Ok(())
}
