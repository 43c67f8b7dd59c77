//! `weir backup` and `weir restore`: copies of the store. They work on its files, so a backup needs
//! no hub, and a restore permits none.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use weir_core::error::chain;
use weir_core::time::{Clock as _, Timestamp};
use weir_store::StoreError;
use weir_store::sqlite;
use weir_store::upkeep::{CheckReport, CopyProgress};

use super::error::CommandError;
use crate::config::HubLocation;
use crate::program::output::Output;
use crate::runtime::clock::SystemClock;

/// Files of the data folder that are not part of a backup, with what is lost without each.
const LEFT_OUT: [(&str, &str); 5] = [
    ("sealing.key", "unseals secrets that senders handed over, and the quarantine"),
    ("quarantine.db", "requests with an invalid signature"),
    ("hops.key", "recognises messages of this hub that come back to it"),
    ("admin-token", "made anew if it is missing"),
    ("compiled", "made anew if it is missing"),
];

/// Copy the store into a new file, also while the hub runs
///
/// The copy holds everything that was accepted before the command began. It is checked before it
/// gets its name, and replaces no file. Run it as the user that runs the hub.
#[derive(Debug, Clone, clap::Args)]
pub struct BackupArgs {
    /// The new file, or a folder in which the file gets a name with the time
    #[arg(value_name = "FILE|FOLDER")]
    pub to: PathBuf,
    /// Configuration file of the hub [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Copy a backup into an empty data folder; the hub must not run
///
/// Deliveries that were waiting at the time of the backup are due again, so what was delivered
/// since then is delivered again, under the same ids.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// Configuration file of the hub [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

pub(super) fn backup(args: &BackupArgs, output: Output) -> Result<(), CommandError> {
    let hub = HubLocation::find(args.config.as_deref())?;
    let to = match args.to.is_dir() {
        true => args.to.join(file_name(SystemClock.now())),
        false => args.to.clone(),
    };
    let bar = bar(output);
    let copied = sqlite::back_up_url(&hub.store_url, &to, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let CheckReport { deliveries, bytes, .. } = copied.map_err(failed("no backup was made"))?;
    let left_out = left_out(&hub.data_dir);
    if output.json {
        output.value(&json!({
            "file": to.display().to_string(), "bytes": bytes, "deliveries": deliveries,
            "checked": true, "left_out": left_out,
        }));
        return Ok(());
    }
    output.text(&format!(
        "{}: {bytes} bytes, {deliveries} deliveries, checked\n\
         not in it: the configuration, modules, secret files, and of the data folder\n{}",
        to.display(),
        lines(&left_out)
    ));
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs, output: Output) -> Result<(), CommandError> {
    let hub = HubLocation::find(args.config.as_deref())?;
    let bar = bar(output);
    let copied =
        sqlite::restore_url(&hub.store_url, &args.from, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let CheckReport { deliveries, bytes, .. } = copied.map_err(failed("nothing was restored"))?;
    let store = sqlite::path_of_url(&hub.store_url).map_err(failed("the backup is restored"))?;
    give_to_owner(store, &hub.data_dir)?;
    let missing: Vec<_> =
        LEFT_OUT.iter().filter(|(name, _)| !hub.data_dir.join(name).exists()).collect();
    if output.json {
        let missing: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        output.value(&json!({
            "store": store.display().to_string(), "bytes": bytes, "deliveries": deliveries,
            "checked": true, "missing": missing,
        }));
        return Ok(());
    }
    let mut text = format!(
        "{}: restored and checked, {bytes} bytes, {deliveries} deliveries\n\
         what was delivered after the backup is delivered again, under the same ids",
        store.display()
    );
    if !missing.is_empty() {
        let missing: Vec<_> =
            missing.iter().map(|(name, what)| format!("{name}: {what}")).collect();
        text.push_str("\na backup does not hold these files; copy back those that you kept\n");
        text.push_str(&lines(&missing));
    }
    output.text(&text);
    Ok(())
}

/// The name of a backup that was made at this time; names sort by time.
fn file_name(at: Timestamp) -> String {
    let at = at.to_string();
    let to_seconds = at.split('.').next().unwrap_or_default();
    format!("weir-{}Z.db", to_seconds.replace(':', ""))
}

/// The files of the data folder that exist and are not in a backup.
fn left_out(data: &Path) -> Vec<String> {
    let exists = |(name, _): &&(&str, &str)| data.join(name).exists();
    LEFT_OUT.iter().filter(exists).map(|(name, what)| format!("{name}: {what}")).collect()
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}

/// Gives the store to the owner of its folder: root restores it, and the hub has a user of its own.
fn give_to_owner(store: &Path, folder: &Path) -> Result<(), CommandError> {
    let owner = |path: &Path| path.metadata().map(|data| (data.uid(), data.gid()));
    let given = owner(folder).and_then(|wanted| {
        let mut lock = store.as_os_str().to_owned();
        lock.push(".lock");
        for file in [store, Path::new(&lock)] {
            if owner(file)? != wanted {
                chown(file, Some(wanted.0), Some(wanted.1))?;
            }
        }
        Ok(())
    });
    given.map_err(|error: std::io::Error| {
        CommandError::Failed(format!(
            "{} is restored, but cannot be given to the owner of its folder: {error}; do it with \
             chown",
            store.display()
        ))
    })
}

fn failed(what: &str) -> impl Fn(StoreError) -> CommandError {
    move |error| match error {
        StoreError::InUse { path } => CommandError::Failed(format!(
            "{what}: a hub uses {path}; stop it first, for example with `systemctl stop weir`"
        )),
        error => CommandError::Failed(format!("{what}: {}", chain(&error))),
    }
}

/// The bar of a copy. It hides itself if standard error is not a terminal.
fn bar(output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}, {eta} left {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, CopyProgress { done, all }: CopyProgress) {
    bar.set_length(all);
    bar.set_position(done);
    if done == all {
        bar.set_message("checks the copy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backups_sort_by_time_and_fit_every_file_system() {
        let name = |ms| file_name(Timestamp::from_millis(ms));
        assert_eq!(name(1_760_000_000_009), "weir-2025-10-09T085320Z.db");
        assert!(name(1_760_000_000_000) < name(1_760_000_001_000));
    }
}
