//! Settings in force, for the parts of a hub that follow changes of the configuration.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_store::upkeep::Retention;

use super::alerts::AlertSettings;
use super::route::Route;
use super::sources::SourcesByName;

/// Settings that a reload replaces. Cheap to clone.
#[derive(Debug)]
pub struct InForce<T>(Arc<ArcSwap<T>>);

/// The sources in force, for all parts of the hub but ingress, which has its own.
pub type ConfiguredSources = InForce<SourcesByName>;
/// The routes in force, as egress needs them: it makes messages of forwarded events.
pub type ConfiguredRoutes = InForce<Vec<Route>>;
/// The thresholds and limits of alerts in force.
pub type ConfiguredAlerts = InForce<Arc<AlertSettings>>;
/// The lives of stored data in force, without those of sources.
pub type ConfiguredRetention = InForce<Retention>;

impl<T> InForce<T> {
    #[must_use]
    pub fn new(settings: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub fn replace(&self, settings: T) {
        self.0.store(Arc::new(settings));
    }
}

impl<T> Clone for InForce<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
