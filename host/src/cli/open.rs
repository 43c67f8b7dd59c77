//! `weir open`: opens the console in a browser, signed in.

use std::io::{IsTerminal as _, stdout};
use std::process::{Command, Stdio};

use serde_json::json;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::LoginCode;
use crate::program::output::Output;

/// Programs that open an address, in the order in which they are tried.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

/// Open the console in a browser, signed in
///
/// The address contains a code that works once, within a minute, and no token. Without a terminal
/// it is printed.
#[derive(Debug, Clone, clap::Args)]
pub struct OpenArgs {
    /// Print the address instead of opening it
    #[arg(long)]
    pub print: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &OpenArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let code: LoginCode = hub.post("/api/v1/login-codes").await?;
    let address = hub.address_of(&code.path);
    if output.json {
        output.value(&json!({ "url": address, "expires_at": code.expires_at }));
        return Ok(());
    }
    let is_asked = args.print || !stdout().is_terminal();
    if is_asked || !is_opened(&address) {
        output.text(&address);
        if !is_asked {
            let advice = "No browser could be opened here. Open the address above within a minute.";
            output.problem(advice);
        }
    }
    Ok(())
}

/// True if a program took the address.
fn is_opened(address: &str) -> bool {
    OPENERS.iter().any(|opener| {
        let mut command = Command::new(opener);
        command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
