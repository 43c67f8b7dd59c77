//! `weir destinations`: lists the destinations with their states.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::{DestinationView, ListPage};
use crate::program::output::{Output, or_dash};

/// List the destinations with their states
///
/// STATE `ok`: messages are sent. `failing`: paused after failures; its messages are queued until
/// one that is tried at NEXT TRY succeeds. Once the endpoint is fixed, `weir release
/// destination:NAME` tries one at once. `paused`: an operator holds it, or its endpoint asked for a
/// pause until NEXT TRY.
#[derive(Debug, Clone, clap::Args)]
pub struct DestinationsArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn list(args: &DestinationsArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let listed: ListPage<DestinationView> = hub.get("/api/v1/destinations").await?;
    let headings =
        ["NAME", "KIND", "ADDRESS", "STATE", "SINCE", "NEXT TRY", "SENT", "FAILED", "REASON"];
    output.list(&listed.items, "no destinations", headings, |one| {
        [
            one.name.to_string(),
            one.kind.clone(),
            one.address.clone(),
            one.state.as_str().to_owned(),
            or_dash(one.failing_since),
            or_dash(one.next_try),
            one.sent.to_string(),
            one.failed.to_string(),
            or_dash(one.reason.as_ref()),
        ]
    });
    Ok(())
}
