//! `weir unreadable`: lists the rows of the store that could not be read and were set aside.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::{ListPage, UnreadableView};
use crate::program::output::{Output, or_dash};

/// List rows of the store that could not be read since the hub was started
///
/// They are set aside and everything else goes on. They are read again at the next start; `weir
/// check --store` checks the whole store. To repair a damaged store, stop the hub and restore a
/// backup.
#[derive(Debug, Clone, clap::Args)]
pub struct UnreadableArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn unreadable(args: &UnreadableArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let listed: ListPage<UnreadableView> = hub.get("/api/v1/unreadable").await?;
    let headings = ["WHAT", "ROW", "ID", "TARGET", "FOUND", "REASON"];
    output.list(&listed.items, "no unreadable rows", headings, |rows| {
        let UnreadableView { what, first, last, id, target, reason, found_at } = rows;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let (id, target) = (or_dash(id.as_ref()), or_dash(target.as_ref()));
        [what.clone(), range, id, target, found_at.to_string(), reason.clone()]
    });
    Ok(())
}
