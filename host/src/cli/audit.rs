//! `weir audit`: lists who did what through the API and the console.

use std::num::NonZeroUsize;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::values;
use crate::api::params::PointInTime;
use crate::api::{ActOutcome, AuditQuery, AuditView};
use crate::program::output::{Output, or_dash};

/// List who did what through the API and the console, newest first
#[derive(Debug, Clone, clap::Args)]
pub struct AuditArgs {
    /// Filter by the name of a client
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Filter by act, such as hold, replay or sign_in
    #[arg(long)]
    pub act: Option<String>,
    /// Filter by the id or name of what it was done to
    #[arg(long)]
    pub subject: Option<String>,
    /// Filter by outcome: done, refused, failed
    #[arg(long, value_parser = values::act_outcome)]
    pub outcome: Option<ActOutcome>,
    /// Recorded since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<PointInTime>,
    /// Recorded before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub until: Option<PointInTime>,
    /// Most acts to print
    #[arg(long, default_value = "20")]
    pub limit: NonZeroUsize,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &AuditArgs, output: Output) -> Result<(), CommandError> {
    let query = |limit, cursor| AuditQuery {
        who: args.who.clone(),
        act: args.act.clone(),
        subject: args.subject.clone(),
        outcome: args.outcome,
        since: args.since,
        until: args.until,
        limit,
        cursor,
    };
    let hub = AdminClient::find(&args.hub)?;
    let acts: Vec<AuditView> = hub.list("/api/v1/audit", args.limit.get(), query).await?;
    let headings = ["AT", "WHO", "ROLE", "ACT", "SUBJECT", "OUTCOME", "CODE"];
    output.list(&acts, "no acts", headings, |act| {
        let AuditView { at, who, role, act, subject, outcome, detail, .. } = act.clone();
        let code = detail.and_then(|detail| detail["code"].as_str().map(str::to_owned));
        let (at, outcome) = (at.to_string(), outcome.as_str().to_owned());
        [at, who, or_dash(role), act, or_dash(subject), outcome, or_dash(code)]
    });
    Ok(())
}
