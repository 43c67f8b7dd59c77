//! The sources in force, for all who go by them and are not ingress, which makes more of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_core::name::SourceName;

use super::source::Source;

/// ConfiguredSources by name.
pub type SourcesByName = BTreeMap<SourceName, Arc<Source>>;

/// The sources in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConfiguredSources(Arc<ArcSwap<SourcesByName>>);

impl ConfiguredSources {
    /// These are in force.
    #[must_use]
    pub fn new(sources: SourcesByName) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sources)))
    }

    /// Those that are in force now.
    #[must_use]
    pub fn current(&self) -> Arc<SourcesByName> {
        self.0.load_full()
    }

    /// Puts others in force.
    pub fn replace(&self, sources: SourcesByName) {
        self.0.store(Arc::new(sources));
    }
}
