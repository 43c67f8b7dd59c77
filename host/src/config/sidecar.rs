//! `NAME.toml` beside `NAME.wasm`: the keys of `[handlers.NAME]`, under those of the configuration.

use std::collections::BTreeSet;

use weir_core::name::HandlerName;

use super::Config;
use super::handler::{self, Bounds, HandlerSettings};
use super::problem::ConfigErrors;
use super::tree::{Report, Section, parse};

impl Config {
    /// What the operator says about a handler, in the configuration and in its sidecar together.
    ///
    /// `sidecar` is the file's name, for errors, and its text. Key by key, the configuration wins; grants in the
    /// sidecar count for nothing if the configuration alone may grant. A sidecar with a problem is an error as a
    /// whole: a handler that runs under half of its rules would be worse than one that keeps its last good ones.
    pub fn settings_for(
        &self,
        handler: &HandlerName,
        sidecar: Option<(&str, &str)>,
    ) -> Result<HandlerSettings, ConfigErrors> {
        let above = self.handlers.get(handler);
        let Some((file, text)) = sidecar else { return Ok(above.cloned().unwrap_or_default()) };
        let report = Report::new(file, text);
        let tree = parse(text, &report);
        let destinations: BTreeSet<_> = self.destinations.keys().cloned().collect();
        let sources: BTreeSet<_> = self.sources.keys().map(ToString::to_string).collect();
        let bounds = Bounds {
            defaults: &self.handler_defaults,
            memory_ceiling: self.runs.memory_ceiling,
            slots: self.runs.slots,
            destinations: &destinations,
            sources: &sources,
            known: &self.sources,
        };
        let root = Section::root(&report, Some(tree.get_ref()), None);
        let settings = handler::read(root, &bounds, above, self.plugins.sidecar_grants);
        report.close().map(|_| settings)
    }
}
