//! `weir handlers state`: reads and changes the state of a handler.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::path;
use super::show::size;
use crate::api::params::{self, Cursor, Limit};
use crate::api::{
    ListPage, StateClearQuery, StateClearedAnswer, StateKeyQuery, StateListQuery, StateSizeView,
    StateValueView, StateWriteBody,
};
use crate::cli::client::{AdminClient, HubArgs};
use crate::cli::error::CommandError;
use crate::cli::values;
use crate::program::output::{Output, or_dash};
use crate::runtime::clock::SystemClock;
use weir_core::bounds::STATE_VALUE_BYTES_MAX;
use weir_core::time::Clock as _;

/// Keys that `list` prints if no number is given.
const LISTED: usize = 100;
/// Characters of a value in a list.
const VALUE_CHARS: usize = 60;
/// Keys and bytes of one request of an import.
const BATCH_KEYS: usize = 500;
const BATCH_BYTES: usize = 192 * 1024;
/// Longest line of an import: the largest value with every byte escaped, and its key.
const LINE_BYTES_MAX: u64 = 512 * 1024;

/// Read and change the state of a handler
///
/// Writes go through the same versions as those of runs: a run that read an older value runs again.
#[derive(Debug, Clone, clap::Args)]
pub struct StateArgs {
    /// Name of the handler
    pub name: String,
    #[command(subcommand)]
    pub act: StateAct,
}

/// An act on the state of a handler.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum StateAct {
    /// Print the value of a key
    Get {
        /// Key to read
        key: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Set a key
    Set {
        /// Key to write
        key: String,
        /// Value, as text; `-` reads it from standard input
        value: String,
        /// Time at which it is removed by itself: a time from now, such as 2h, or a time
        #[arg(long, value_name = "WHEN", value_parser = values::future_moment)]
        expires: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Remove a key
    Remove {
        /// Key to remove
        key: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// List keys in byte order, with the beginnings of their values
    List {
        /// Only keys that start with this text
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Most keys
        #[arg(long, value_name = "N", default_value_t = LISTED)]
        limit: usize,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Print all keys and values as JSON, one a line
    Export {
        /// Only keys that start with this text
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Set the keys of a file that `export` wrote; other keys stay
    Import {
        /// File of JSON lines; `-` is standard input
        file: PathBuf,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Remove all keys
    Clear {
        /// Only keys that start with this text
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Confirm it: nothing brings the values back
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        hub: HubArgs,
    },
}

impl StateAct {
    const fn hub(&self) -> &HubArgs {
        match self {
            Self::Get { hub, .. }
            | Self::Set { hub, .. }
            | Self::Remove { hub, .. }
            | Self::List { hub, .. }
            | Self::Export { hub, .. }
            | Self::Import { hub, .. }
            | Self::Clear { hub, .. } => hub,
        }
    }
}

pub(super) async fn run(args: &StateArgs, output: Output) -> Result<(), CommandError> {
    let StateArgs { name, act } = args.clone();
    let at = path(&name, "/state")?;
    let hub = AdminClient::find(act.hub())?;
    match act {
        StateAct::Get { key, .. } => {
            let found: StateValueView =
                hub.query(&format!("{at}/value"), &StateKeyQuery { key }).await?;
            output.answer(&found, |found| found.value.clone());
        }
        StateAct::Set { key, value, expires, .. } => {
            let expires_at = expires.map(|text| params::future_moment(&text, SystemClock.now()));
            let expires_at = expires_at.transpose().map_err(|e| usage(e.to_string()))?;
            let value = if value == "-" { standard_input()? } else { value };
            let set = vec![StateValueView { key, value, expires_at }];
            write(&hub, &at, StateWriteBody { set, ..StateWriteBody::default() }, output).await?;
        }
        StateAct::Remove { key, .. } => {
            // A key that is not there is an error for a person.
            let query = StateKeyQuery { key: key.clone() };
            let _: StateValueView = hub.query(&format!("{at}/value"), &query).await?;
            let body = StateWriteBody { remove: vec![key], ..StateWriteBody::default() };
            write(&hub, &at, body, output).await?;
        }
        StateAct::List { prefix, limit, .. } => list(&hub, &at, prefix, limit, output).await?,
        StateAct::Export { prefix, .. } => export(&hub, &at, prefix).await?,
        StateAct::Import { file, .. } => import(&hub, &at, &file, output).await?,
        StateAct::Clear { yes: false, .. } => {
            let what = format!("this removes the state of {name} for good; add --yes to do it");
            return Err(usage(what));
        }
        StateAct::Clear { prefix, yes: true, .. } => {
            let query = StateClearQuery { prefix };
            let query = prefix_query(query.prefix.as_deref());
            let cleared: StateClearedAnswer = hub.delete(&format!("{at}{query}")).await?;
            output.answer(&cleared, |cleared| {
                format!("removed {} keys; it has {}", cleared.removed, size(&cleared.state))
            });
        }
    }
    Ok(())
}

fn usage(what: String) -> CommandError {
    CommandError::Usage(what)
}

fn prefix_query(prefix: Option<&str>) -> String {
    let Some(prefix) = prefix else { return String::new() };
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("?{}", query.append_pair("prefix", prefix).finish())
}

async fn write(
    hub: &AdminClient,
    at: &str,
    body: StateWriteBody,
    output: Output,
) -> Result<(), CommandError> {
    let written: StateSizeView = hub.post_body(at, &body).await?;
    output.answer(&written, |written| format!("done; the state has {}", size(written)));
    Ok(())
}

async fn list(
    hub: &AdminClient,
    at: &str,
    prefix: Option<String>,
    limit: usize,
    output: Output,
) -> Result<(), CommandError> {
    let query = |limit: Option<Limit>, cursor: Option<Cursor>| StateListQuery {
        prefix: prefix.clone(),
        limit,
        cursor,
    };
    let found: Vec<StateValueView> = hub.list(at, limit, query).await?;
    output.list(&found, "no keys", ["KEY", "VALUE", "EXPIRES"], |value| {
        let mut shown: String = value.value.chars().take(VALUE_CHARS).collect();
        if shown.len() < value.value.len() {
            shown.push('…');
        }
        [value.key.clone(), shown, or_dash(value.expires_at)]
    });
    Ok(())
}

/// Prints all. JSON lines are the format, with and without `--json`.
async fn export(hub: &AdminClient, at: &str, prefix: Option<String>) -> Result<(), CommandError> {
    let output = Output { json: true };
    each_value(hub, at, prefix, |value| output.value(&value)).await
}

/// Reads every page of the state at this path. The quota of the state bounds it.
pub(in crate::cli) async fn each_value(
    hub: &AdminClient,
    at: &str,
    prefix: Option<String>,
    mut each: impl FnMut(StateValueView),
) -> Result<(), CommandError> {
    let mut cursor = None;
    loop {
        let limit = Some(Limit::clamped(Limit::MAX));
        let query = StateListQuery { prefix: prefix.clone(), limit, cursor: cursor.take() };
        let page: ListPage<StateValueView> = hub.query(at, &query).await?;
        page.items.into_iter().for_each(&mut each);
        cursor = page.next.and_then(|next| next.parse().ok());
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn import(
    hub: &AdminClient,
    at: &str,
    file: &Path,
    output: Output,
) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::Failed(format!("cannot read {}: {error}", file.display()))
    };
    let reader: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let progress = if output.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let (mut lines, mut number, mut keys) = (BufReader::new(reader), 0_u64, 0_u64);
    let (mut batch, mut bytes) = (StateWriteBody::default(), 0);
    let mut last: Option<StateSizeView> = None;
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let ended = read.map_err(failed)? == 0;
        number += 1;
        if !ended && !line.trim_ascii().is_empty() {
            let value: StateValueView = serde_json::from_slice(&line).map_err(|error| {
                let before = format!("{keys} keys before it are imported");
                CommandError::Failed(format!("line {number}: {error}; {before}"))
            })?;
            bytes += value.key.len() + value.value.len();
            batch.set.push(value);
        }
        let full = batch.set.len() >= BATCH_KEYS || bytes >= BATCH_BYTES;
        if full || (ended && !batch.set.is_empty()) {
            let count = batch.set.len() as u64;
            let body = std::mem::take(&mut batch);
            last = Some(hub.post_body(at, &body).await?);
            (keys, bytes) = (keys + count, 0);
            progress.set_message(format!("{keys} keys"));
            progress.tick();
        }
        if ended {
            break;
        }
    }
    progress.finish_and_clear();
    match last {
        Some(written) => {
            output.answer(&written, |w| format!("imported {keys} keys; it has {}", size(w)));
        }
        None => return Err(CommandError::NotFound("there is nothing to import".to_owned())),
    }
    Ok(())
}

fn standard_input() -> Result<String, CommandError> {
    let mut text = String::new();
    let most = STATE_VALUE_BYTES_MAX as u64 + 1;
    let read = std::io::stdin().take(most).read_to_string(&mut text);
    read.map_err(|error| CommandError::Failed(format!("cannot read the value: {error}")))?;
    Ok(text)
}
