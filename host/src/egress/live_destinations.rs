//! The destinations in force: set up at the start, and replaced one by one when the configuration
//! changes.
//!
//! A send that is under way ends with the settings that it began with. Not here: sending.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_core::name::Target;

use super::runtime::DestinationRuntime;
use super::{EgressError, TransportParts, transport};
use crate::config::{Config, Destination, fingerprint};
use crate::delivery::worker::Worker;

/// The destinations by target.
pub(super) type DestinationsByTarget = BTreeMap<Target, Arc<DestinationRuntime>>;

/// The destinations in force.
#[derive(Debug)]
pub(super) struct LiveDestinations {
    current: ArcSwap<DestinationsByTarget>,
    parts: TransportParts,
    /// The address of the console, for links in alerts.
    console: Option<String>,
}

/// The result of a change of the configuration.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    pub(super) added: Vec<Target>,
    /// Those with other settings than before.
    pub(super) changed: Vec<Target>,
    pub(super) removed: Vec<Target>,
    /// Those that cannot be set up: what was in force under the name stays.
    pub(super) failed: Vec<EgressError>,
}

impl LiveDestinations {
    /// Sets up every destination. Nothing is sent yet.
    pub(super) fn new(
        config: &Config,
        worker: &Worker,
        parts: TransportParts,
    ) -> Result<Self, EgressError> {
        let console = config.admin.public_url.clone();
        let live = Self { current: ArcSwap::default(), parts, console };
        let mut all = DestinationsByTarget::new();
        for destination in config.destinations.values() {
            let runtime = live.set_up(destination, worker, None)?;
            all.insert(runtime.flow.target.clone(), runtime);
        }
        live.current.store(Arc::new(all));
        Ok(live)
    }

    pub(super) fn current(&self) -> Arc<DestinationsByTarget> {
        self.current.load_full()
    }

    /// Puts the destinations of a configuration into force. Those with the same settings stay as
    /// they are.
    pub(super) fn replace(&self, config: &Config, worker: &Worker) -> Replaced {
        let before = self.current();
        let mut all = DestinationsByTarget::new();
        let mut replaced = Replaced::default();
        for destination in config.destinations.values() {
            let target = Target::Destination(destination.name.clone());
            let known = before.get(&target);
            if let Some(same) = known.filter(|known| known.fingerprint == fingerprint(destination))
            {
                all.insert(target, same.clone());
                continue;
            }
            match self.set_up(destination, worker, known) {
                Ok(runtime) => {
                    let to =
                        if known.is_some() { &mut replaced.changed } else { &mut replaced.added };
                    to.push(target.clone());
                    all.insert(target, runtime);
                }
                Err(error) => {
                    replaced.failed.push(error);
                    all.extend(known.map(|known| (target, known.clone())));
                }
            }
        }
        let removed = before.keys().filter(|target| !all.contains_key(target));
        replaced.removed = removed.cloned().collect();
        replaced.removed.iter().for_each(|target| worker.breakers.forget(target));
        self.current.store(Arc::new(all));
        replaced
    }

    /// Sets up a destination, in place of what was in force under its name.
    fn set_up(
        &self,
        destination: &Arc<Destination>,
        worker: &Worker,
        before: Option<&Arc<DestinationRuntime>>,
    ) -> Result<Arc<DestinationRuntime>, EgressError> {
        let transport = transport(destination, &self.parts)
            .map_err(|cause| EgressError { destination: destination.name.clone(), cause })?;
        let console = self.console.as_deref();
        Ok(Arc::new(match before {
            Some(before) => before.with(destination, transport, console),
            None => DestinationRuntime::new(destination, transport, worker, console),
        }))
    }
}
