//! `weir unreadable`: the rows of the store that could not be read and were set aside.

use serde_json::Value;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::text;
use crate::program::output::{Output, table};

/// List what the store could not read since the hub was started, and set aside
///
/// All else goes on. What was set aside is tried again at the next start; `weir check --store` looks over the whole
/// store. A damaged store is repaired by putting a backup in its place.
#[derive(Debug, Clone, clap::Args)]
pub struct UnreadableArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn unreadable(args: &UnreadableArgs, output: Output) -> Result<(), CommandError> {
    let listed = AdminClient::find(&args.hub)?.get("/api/v1/unreadable", &[]).await?;
    let items = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("nothing unreadable");
    } else {
        let row = |item: &Value| {
            let (first, last) = (&item["first"], &item["last"]);
            let rows = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let mut row = vec![text(&item["what"]), rows];
            row.extend(["id", "target", "found_at", "reason"].map(|key| text(&item[key])));
            row
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["WHAT", "ROW", "ID", "TARGET", "FOUND", "REASON"], &rows));
    }
    Ok(())
}
