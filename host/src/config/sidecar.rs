//! Sidecars: `NAME.toml` beside `NAME.wasm`, with the keys of `[handlers.NAME]`, which override it.

use std::collections::BTreeSet;

use weir_core::name::HandlerName;

use super::Config;
use super::handler::{self, Bounds, HandlerSettings};
use super::problem::ConfigErrors;
use super::tree::{Report, Section, parse};

impl Config {
    /// The settings of a handler from the configuration and its sidecar.
    ///
    /// `sidecar` is the file's name, for errors, and its text. The configuration overrides it key
    /// by key; its grants are ignored if only the configuration may grant. A sidecar with a problem
    /// is refused as a whole: the handler keeps its last good settings.
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
