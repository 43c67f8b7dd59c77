//! `weir providers`: who can send, and with which samples.

use serde_json::json;
use weir_core::provider::{Catalog, Provider};

use super::error::CommandError;
use super::output::{Output, table};

/// The providers that this binary knows.
pub(super) fn catalog() -> Result<Catalog, CommandError> {
    Catalog::built_in()
        .map_err(|error| CommandError::Failed(format!("a built-in provider is damaged: {error}")))
}

pub(super) fn run(output: Output) -> Result<(), CommandError> {
    let catalog = catalog()?;
    if output.json {
        for provider in catalog.iter() {
            output.value(&json!({
                "name": *provider.name,
                "about": provider.about,
                "docs": provider.docs,
                "schemes": provider.schemes.iter().map(|scheme| scheme.name.to_string()).collect::<Vec<_>>(),
                "samples": samples(provider),
            }));
        }
        return Ok(());
    }
    let row = |provider: &Provider| {
        vec![provider.name.to_string(), provider.about.clone(), samples(provider).join(", ")]
    };
    let rows: Vec<_> = catalog.iter().map(|provider| row(provider)).collect();
    output.text(&table(&["PROVIDER", "ABOUT", "SAMPLES"], &rows));
    Ok(())
}

fn samples(provider: &Provider) -> Vec<String> {
    provider.samples.iter().map(|sample| sample.name.clone()).collect()
}
