//! `weir destinations`: whether messages go out, and why not.

use serde_json::Value;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::text;
use crate::program::output::{Output, table};

/// List the destinations and how they are doing
///
/// `ok`: messages go out. `failing`: it failed, so its messages wait until one that is tried at NEXT TRY goes well; once
/// it is fixed, `weir release destination:NAME` tries one at once. `paused`: an operator holds it, or it asked to be left
/// alone until NEXT TRY.
#[derive(Debug, Clone, clap::Args)]
pub struct DestinationsArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn list(args: &DestinationsArgs, output: Output) -> Result<(), CommandError> {
    let listed = AdminClient::find(&args.hub)?.get("/api/v1/destinations", &[]).await?;
    let items = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no destinations");
    } else {
        let row = |item: &Value| {
            let keys =
                ["name", "kind", "state", "failing_since", "next_try", "sent", "failed", "reason"];
            keys.map(|key| text(&item[key])).to_vec()
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        let head = ["NAME", "KIND", "STATE", "SINCE", "NEXT TRY", "SENT", "FAILED", "REASON"];
        output.text(&table(&head, &rows));
    }
    Ok(())
}
