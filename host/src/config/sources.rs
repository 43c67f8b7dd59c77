//! The sources in force, for all parts of the hub but ingress, which has its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_core::name::SourceName;

use super::source::Source;

pub type SourcesByName = BTreeMap<SourceName, Arc<Source>>;

/// The sources in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConfiguredSources(Arc<ArcSwap<SourcesByName>>);

impl ConfiguredSources {
    #[must_use]
    pub fn new(sources: SourcesByName) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sources)))
    }

    /// The current sources.
    #[must_use]
    pub fn current(&self) -> Arc<SourcesByName> {
        self.0.load_full()
    }

    /// Replaces all sources.
    pub fn replace(&self, sources: SourcesByName) {
        self.0.store(Arc::new(sources));
    }
}
