//! `weir openapi`: prints the OpenAPI document of the admin API.

use super::error::CommandError;
use crate::admin;
use crate::program::output::Output;

/// Print the OpenAPI 3.1 document of the admin API
#[derive(Debug, Clone, clap::Args)]
pub struct OpenapiArgs {}

pub(super) fn run(_: &OpenapiArgs, output: Output) -> Result<(), CommandError> {
    let document = admin::document();
    if output.json {
        output.value(&document);
        return Ok(());
    }
    let text = document.to_pretty_json();
    let text = text.map_err(|error| CommandError::Failed(format!("no document: {error}")))?;
    output.text(&text);
    Ok(())
}
