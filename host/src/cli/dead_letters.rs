//! `weir dead-letters`: lists dead letters and their causes, shows, retries and discards them.

use std::num::NonZeroUsize;

use weir_core::event::EventType;
use weir_core::name::{SourceName, Target};

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use super::events::show_delivery;
use crate::api::params::PointInTime;
use crate::api::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCause, DeadLetterCauses, DeadLetterSelection,
    DeadLetterSet, DeadLettersQuery, DeliveryView, RequeueAnswer,
};
use crate::program::output::{Output, or_dash, table};

/// List, show, retry and discard dead letters: deliveries that used up their attempts
#[derive(Debug, Clone, clap::Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    pub act: DeadLettersAct,
}

/// An act on dead letters.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DeadLettersAct {
    List(ListArgs),
    /// Count dead letters by target and cause, the most frequent first
    Causes {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show a dead letter with its attempts
    Show {
        /// Id of the dead letter, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Retry a dead letter; its earlier attempts stay on record
    Requeue {
        /// Id of the dead letter, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Discard dead letters: they stay stored as cancelled and are never sent
    Discard {
        /// Ids of the dead letters, dlv_…
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
}

/// List dead letters, newest first
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Filter by target, such as handler:orders or destination:ops; several are separated by commas
    #[arg(long, value_delimiter = ',')]
    pub target: Vec<Target>,
    /// Filter by the event's source; several are separated by commas
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<SourceName>,
    /// Filter by the event's type; `*` matches any characters; repeat it for several
    #[arg(long = "type", value_name = "TYPE", value_parser = EventType::new)]
    pub kind: Vec<EventType>,
    /// Event received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<PointInTime>,
    /// Event received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub until: Option<PointInTime>,
    /// Most dead letters to print
    #[arg(long, default_value = "50")]
    pub limit: NonZeroUsize,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &DeadLettersArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        DeadLettersAct::List(args) => list(args, output).await?,
        DeadLettersAct::Causes { hub } => causes(hub, output).await?,
        DeadLettersAct::Discard { ids, hub } => discard(ids, hub, output).await?,
        DeadLettersAct::Show { id, hub } => {
            let path = format!("/api/v1/dead-letters/{}", path_id(id)?);
            let dead: DeliveryView = AdminClient::find(hub)?.get(&path).await?;
            output.answer(&dead, |dead| show_delivery(dead).join("\n"));
        }
        DeadLettersAct::Requeue { id, hub } => {
            let path = format!("/api/v1/dead-letters/{}/requeue", path_id(id)?);
            let answer: RequeueAnswer = AdminClient::find(hub)?.post(&path).await?;
            output.answer(&answer, |answer| {
                let ids: Vec<_> = answer.requeued.iter().map(ToString::to_string).collect();
                format!("requeued {}", ids.join(" "))
            });
        }
    }
    Ok(())
}

async fn list(args: &ListArgs, output: Output) -> Result<(), CommandError> {
    let query = |limit, cursor| DeadLettersQuery {
        target: args.target.clone().into(),
        source: args.source.clone().into(),
        kind: args.kind.clone().into(),
        since: args.since,
        until: args.until,
        limit,
        cursor,
    };
    let hub = AdminClient::find(&args.hub)?;
    let dead: Vec<DeliveryView> = hub.list("/api/v1/dead-letters", args.limit.get(), query).await?;
    let headings = ["ID", "EVENT", "TARGET", "ATTEMPTS", "REASON"];
    output.list(&dead, "no dead letters", headings, |dead| {
        let (id, event, target) = (dead.id, dead.event, &dead.target);
        let reason = or_dash(dead.reason.as_ref());
        [id.to_string(), event.to_string(), target.to_string(), dead.attempts.to_string(), reason]
    });
    Ok(())
}

async fn causes(hub: &HubArgs, output: Output) -> Result<(), CommandError> {
    let causes: DeadLetterCauses =
        AdminClient::find(hub)?.get("/api/v1/dead-letters/causes").await?;
    output.answer(&causes, |causes| {
        if causes.items.is_empty() {
            return "no dead letters".to_owned();
        }
        let row = |cause: &DeadLetterCause| {
            vec![cause.count.to_string(), cause.target.to_string(), cause.cause.clone()]
        };
        let rows: Vec<_> = causes.items.iter().map(row).collect();
        let listed = table(&["COUNT", "TARGET", "CAUSE"], &rows);
        if causes.is_whole {
            return listed;
        }
        format!("{listed}\nof the newest {} dead letters", causes.counted)
    });
    Ok(())
}

/// Counts the dead letters first, so that exactly these are discarded.
async fn discard(ids: &[String], hub: &HubArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(hub)?;
    let selection = DeadLetterSelection { ids: ids.to_vec(), ..DeadLetterSelection::default() };
    let counted: DeadLetterSet = hub.post_body("/api/v1/dead-letters/count", &selection).await?;
    let body = DeadLetterActBody { selection, set: counted.set, new_ids: false };
    let answer: DeadLetterActAnswer = hub.post_body("/api/v1/dead-letters/discard", &body).await?;
    output.answer(&answer, |answer| format!("discarded {}", answer.changed));
    Ok(())
}
