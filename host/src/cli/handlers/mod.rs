//! `weir handlers`: lists handlers, and shows, compares, rolls back, pins, pauses and renames them.

mod show;
mod state;

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use super::values;
use crate::api::{
    DiffQuery, HandlerDetailView, HandlerView, HoldView, HoldsQuery, ListPage, PlaceHoldBody,
    RenameAnswer, RenameBody, VersionActBody, VersionDiffView, VersionEventView,
};
use crate::program::output::{Output, or_dash};
use show::{changes, detail, probation_in_short, short};

pub(super) use state::each_value;

/// The name under which the hub places holds.
const HUB: &str = "weir";

/// List handlers, and look at and change their versions and state
#[derive(Debug, Clone, clap::Args)]
pub struct HandlersArgs {
    #[command(subcommand)]
    pub act: HandlersAct,
}

/// An act on handlers.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum HandlersAct {
    /// List handlers with the version of each that serves
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show one handler: its state, probation, pin, versions, and the size of its state
    Show {
        /// Name of the handler
        name: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// List the changes of its versions, newest first
    History {
        /// Name of the handler
        name: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Compare two versions: subscriptions, grants, limits, sidecar, size, state version
    Diff {
        /// Name of the handler
        name: String,
        /// Beginning of the older version's hash [default: the one that served before]
        from: Option<String>,
        /// Beginning of the newer version's hash [default: a candidate, or the one in service]
        to: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Put an older version into service
    ///
    /// The file in the plugins folder stays as it is, and is not loaded again until it changes: not
    /// at the next scan, and not after a restart. The version that you choose has no probation.
    Rollback {
        /// Name of the handler
        name: String,
        /// Beginning of the version's hash [default: the one that served before]
        version: Option<String>,
        /// Reason, for other operators
        #[arg(long, value_name = "TEXT", value_parser = values::reason)]
        reason: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Keep the version in service: a new file is loaded and reported, and does not run
    Pin {
        /// Name of the handler
        name: String,
        /// Beginning of the hash of a version to roll back to and pin
        version: Option<String>,
        /// Reason, for other operators
        #[arg(long, value_name = "TEXT", value_parser = values::reason)]
        reason: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Remove the pin; a file that waited for that is put into service
    Unpin {
        /// Name of the handler
        name: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Pause a handler: its events wait and lose no attempts
    Pause {
        /// Name of the handler
        name: String,
        /// Reason, for other operators
        #[arg(long, value_name = "TEXT", value_parser = values::reason)]
        reason: Option<String>,
        /// End of the pause: a time from now, such as 2h, or a time such as 2026-11-23T15:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = values::future_moment)]
        until: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// End the pauses of a handler
    Resume {
        /// Name of the handler
        name: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Rename a handler: its files, state, breaker and history
    Rename {
        /// Name of the handler
        old: String,
        /// Name that it gets, which no handler has had
        new: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Read and change the state of a handler
    State(state::StateArgs),
}

pub(super) async fn run(args: &HandlersArgs, output: Output) -> Result<(), CommandError> {
    match args.act.clone() {
        HandlersAct::List { hub } => list(&AdminClient::find(&hub)?, output).await,
        HandlersAct::Show { name, hub } => {
            let shown: HandlerDetailView = AdminClient::find(&hub)?.get(&path(&name, "")?).await?;
            output.answer(&shown, detail);
            Ok(())
        }
        HandlersAct::History { name, hub } => {
            let path = path(&name, "/history")?;
            let listed: ListPage<VersionEventView> = AdminClient::find(&hub)?.get(&path).await?;
            let headings = ["AT", "ACT", "VERSION", "BEFORE", "BY", "REASON"];
            output.list(&listed.items, "no changes", headings, |event| {
                let VersionEventView { at, act, version, before, by, reason } = event.clone();
                let before = or_dash(before.as_deref().map(short));
                let version = short(&version).to_owned();
                [at.to_string(), act, version, before, by, or_dash(reason)]
            });
            Ok(())
        }
        HandlersAct::Diff { name, from, to, hub } => {
            let hub = AdminClient::find(&hub)?;
            let compared: VersionDiffView =
                hub.query(&path(&name, "/diff")?, &DiffQuery { from, to }).await?;
            output.answer(&compared, changes);
            Ok(())
        }
        HandlersAct::Rollback { name, version, reason, hub } => {
            let body = VersionActBody { version, reason };
            let done: HandlerDetailView =
                AdminClient::find(&hub)?.post_body(&path(&name, "/rollback")?, &body).await?;
            output.answer(&done, |done| format!("{name} runs version {}", serving(done)));
            Ok(())
        }
        HandlersAct::Pin { name, version, reason, hub } => {
            let body = VersionActBody { version, reason };
            let done: HandlerDetailView =
                AdminClient::find(&hub)?.post_body(&path(&name, "/pin")?, &body).await?;
            output.answer(&done, |done| {
                format!("{name} keeps version {} until it is unpinned", serving(done))
            });
            Ok(())
        }
        HandlersAct::Unpin { name, hub } => {
            let done: HandlerDetailView =
                AdminClient::find(&hub)?.delete(&path(&name, "/pin")?).await?;
            output.answer(&done, |done| {
                format!("{name} is unpinned and runs version {}", serving(done))
            });
            Ok(())
        }
        HandlersAct::Pause { name, reason, until, hub } => {
            let body = PlaceHoldBody { scope: format!("handler:{name}"), reason, until };
            let placed: HoldView =
                AdminClient::find(&hub)?.post_body("/api/v1/holds", &body).await?;
            output.answer(&placed, |placed| match placed.until {
                Some(until) => format!("{name} is paused until {until} (hold {})", placed.id),
                None => format!("{name} is paused until it is resumed (hold {})", placed.id),
            });
            Ok(())
        }
        HandlersAct::Resume { name, hub } => resume(&AdminClient::find(&hub)?, &name, output).await,
        HandlersAct::Rename { old, new, hub } => {
            let path = path(&old, "/rename")?;
            let body = RenameBody { to: new };
            let renamed: RenameAnswer = AdminClient::find(&hub)?.post_body(&path, &body).await?;
            output.answer(&renamed, |renamed| {
                format!("{} is {} now, with its state and history", renamed.from, renamed.to)
            });
            Ok(())
        }
        HandlersAct::State(args) => state::run(&args, output).await,
    }
}

/// The path of a handler in the API.
fn path(name: &str, below: &str) -> Result<String, CommandError> {
    Ok(format!("/api/v1/handlers/{}{below}", path_id(name)?))
}

fn serving(done: &HandlerDetailView) -> String {
    done.handler.version.as_deref().map_or("-", short).to_owned()
}

async fn list(hub: &AdminClient, output: Output) -> Result<(), CommandError> {
    let listed: ListPage<HandlerView> = hub.get("/api/v1/handlers").await?;
    let headings = ["NAME", "STATE", "HEALTH", "VERSION", "SINCE", "NOTES"];
    output.list(&listed.items, "no handlers", headings, |view| {
        let mut notes = Vec::new();
        notes.extend(view.pinned.then(|| "pinned".to_owned()));
        let candidate = view.candidate.as_deref();
        notes.extend(candidate.map(|waits| format!("candidate {}", short(waits))));
        notes.extend(view.probation.as_ref().map(probation_in_short));
        notes.extend(view.last_error.as_ref().map(|error| format!("refused: {error}")));
        [
            view.name.to_string(),
            view.state.clone(),
            view.health.as_str().to_owned(),
            or_dash(view.version.as_deref().map(short)),
            view.since.to_string(),
            notes.join("; "),
        ]
    });
    Ok(())
}

/// Ends the holds of operators on a handler.
async fn resume(hub: &AdminClient, name: &str, output: Output) -> Result<(), CommandError> {
    let query = HoldsQuery { scope: Some(format!("handler:{name}")) };
    let listed: ListPage<HoldView> = hub.query("/api/v1/holds", &query).await?;
    let paused: Vec<_> = listed.items.into_iter().filter(|held| held.by != HUB).collect();
    if paused.is_empty() {
        return Err(CommandError::NotFound(format!("{name} is not paused")));
    }
    for held in paused {
        let ended: HoldView = hub.delete(&format!("/api/v1/holds/{}", held.id)).await?;
        output.answer(&ended, |ended| format!("{name} goes on (hold {} ended)", ended.id));
    }
    Ok(())
}
