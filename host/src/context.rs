//! [`HubContext`]: the handles that every part of the hub needs, passed as one cloneable value.
//!
//! A subsystem takes the context and a `Deps` struct with what it alone needs.

use std::sync::Arc;

use weir_core::time::Clock;
use weir_store::Store;

use crate::observe::metrics::Metrics;
use crate::observe::notice::Notices;
use crate::observe::shapes::Shapes;
use crate::observe::tracer::Tracer;
use crate::runtime::shutdown::Drain;
use crate::runtime::tasks::Tasks;

/// The store, the clock and the process-wide handles. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HubContext {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Begins and ends the spans of traces.
    pub tracer: Tracer,
    /// The fields of events, as far as they are known.
    pub shapes: Shapes,
    /// The queue of notices that alerts are made of.
    pub notices: Notices,
    /// The phases of the shutdown.
    pub drain: Drain,
    /// The only way to spawn a task.
    pub tasks: Tasks,
}

impl HubContext {
    /// A context with new counters, an empty notice queue and no tasks.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            metrics: Metrics::new(),
            tracer: Tracer::default(),
            shapes: Shapes::default(),
            notices: Notices::new(),
            drain: Drain::new(),
            tasks: Tasks::new(),
        }
    }
}
