//! The sources in force, for all who go by them and are not ingress, which makes more of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_core::name::SourceName;

use crate::config::Source;

/// Sources by name.
pub type ByName = BTreeMap<SourceName, Arc<Source>>;

/// The sources in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sources(Arc<ArcSwap<ByName>>);

impl Sources {
    /// These are in force.
    #[must_use]
    pub fn new(sources: ByName) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sources)))
    }

    /// Those that are in force now.
    #[must_use]
    pub fn current(&self) -> Arc<ByName> {
        self.0.load_full()
    }

    /// Puts others in force.
    pub fn replace(&self, sources: ByName) {
        self.0.store(Arc::new(sources));
    }
}
