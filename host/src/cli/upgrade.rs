//! `weir upgrade --check`: the changes that this version would make, without making them.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_core::error::chain;
use weir_store::sqlite;
use weir_store::upkeep::StoreFormat;

use super::error::CommandError;
use crate::config::{self, ConfigErrors, HubLocation, Mode};
use crate::program::exit::Exit;
use crate::program::output::Output;

/// Say what this version would change in the data of a hub
///
/// Run it with the new program before an upgrade. It changes nothing, and the hub may run. Exit
/// code 0: nothing would change; 5: the first start changes the store; 2: this version does not
/// accept the configuration; 1: it cannot use the store.
#[derive(Debug, Clone, clap::Args)]
pub struct UpgradeArgs {
    /// Only look; an upgrade needs no other command, because the hub changes its store at the start
    #[arg(long, required = true)]
    pub check: bool,
    /// Configuration file of the hub [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file
    #[arg(long)]
    pub dev: bool,
}

pub(super) fn run(args: &UpgradeArgs, output: Output) -> Result<Exit, CommandError> {
    let hub = HubLocation::find(args.config.as_deref())?;
    let path = sqlite::path_of_url(&hub.store_url)
        .map_err(|error| CommandError::Failed(error.to_string()))?
        .display()
        .to_string();
    let format = sqlite::format_of_url(&hub.store_url)
        .map_err(|error| CommandError::Failed(format!("{path}: {}", chain(&error))))?;
    let refused = config_problems(args);
    let pending: &[String] = format.as_ref().map_or(&[], |format| &format.pending);
    if output.json {
        let problems = refused.iter().flat_map(|errors| &errors.problems);
        let said: Vec<_> = problems.map(ToString::to_string).collect();
        output.value(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": path,
            "exists": format.is_some(),
            "format": format.as_ref().map(|format| format.found),
            "known_format": format.as_ref().map(|format| format.known),
            "pending": pending,
            "problems": said,
        }));
    } else {
        output.text(&of_store(&path, format.as_ref()));
    }
    if let Some(errors) = refused {
        return Err(errors.into());
    }
    if !output.json {
        output.text("configuration: OK");
    }
    Ok(if pending.is_empty() { Exit::Success } else { Exit::Changes })
}

/// The mistakes that this version finds in the configuration.
fn config_problems(args: &UpgradeArgs) -> Option<ConfigErrors> {
    // Without a file, loading would create the folder of development mode.
    if args.config.is_none() && !Path::new(config::FILE).exists() {
        return None;
    }
    config::load(args.config.as_deref(), Mode::from_flag(args.dev)).err()
}

fn of_store(path: &str, format: Option<&StoreFormat>) -> String {
    let Some(StoreFormat { found, known, pending }) = format else {
        return format!("{path}: there is no store yet; the first start creates it");
    };
    if pending.is_empty() && found == known {
        return format!("{path}: format {found}, nothing to change");
    }
    let mut lines = vec![format!(
        "{path}: format {found}; the first start of this version makes {} additions. \
         An older version can still use the store",
        pending.len()
    )];
    lines.extend(pending.iter().map(|what| format!("  {what}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_listed_with_their_purpose() {
        let pending = vec!["Totals by minute.".to_owned()];
        let format = StoreFormat { found: 1, known: 1, pending };
        let said = of_store("data/weir.db", Some(&format));
        assert!(
            said.contains("makes 1 additions") && said.ends_with("\n  Totals by minute."),
            "{said}"
        );
        let format = StoreFormat { pending: Vec::new(), ..format };
        assert!(of_store("data/weir.db", Some(&format)).ends_with("nothing to change"));
        assert!(of_store("data/weir.db", None).contains("there is no store yet"));
    }
}
