//! The fixed parts of a simulation: sources, handlers, destinations, the routes between them, and
//! the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_core::event::{EventFacts, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::route::{self, Pattern, RouteTable, Rule};
use weir_core::time::{Clock, Timestamp};
use weir_store::{NewDelivery, Routed};

/// Sources. No target subscribes to `lost`.
pub const SOURCES: [&str; 3] = ["github", "stripe", "lost"];
pub const TYPES: [&str; 2] = ["push", "order.paid"];
pub const HANDLERS: [&str; 2] = ["orders", "billing"];
pub const DESTINATIONS: [&str; 2] = ["ops", "ledger"];
/// Order keys of effects.
pub const EFFECT_KEYS: [&str; 2] = ["alarm", "reminder"];

/// The routes. What `orders` emits goes to `billing`, and what that emits to a destination, so
/// chains end.
const ROUTES: [(&str, &str); 7] = [
    ("handler:orders", "github:*"),
    ("handler:orders", "stripe:order.*"),
    ("handler:billing", "stripe:*"),
    ("handler:billing", "@orders:*"),
    ("destination:ops", "github:push"),
    ("destination:ops", "@billing:*"),
    ("destination:ledger", "@billing:*"),
];

const START_MS: u64 = 1_760_000_000_000;

/// A clock that only the simulation moves.
#[derive(Debug)]
pub struct SimClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl SimClock {
    /// A day in 2025.
    #[must_use]
    pub fn new() -> Self {
        Self { wall: AtomicU64::new(START_MS), monotonic: AtomicU64::new(0) }
    }

    /// Sets the wall clock without any time passing.
    pub fn set(&self, to: Timestamp) {
        self.wall.store(to.as_millis(), Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn forward(&self, by: Duration) {
        self.set(self.now().after(by));
        self.monotonic.fetch_add(weir_core::time::millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock back.
    pub fn set_back(&self, by: Duration) {
        self.set(self.now().before(by));
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}

/// The handler with this index.
#[must_use]
pub fn handler(name: &str) -> HandlerName {
    #[expect(clippy::expect_used, reason = "the names of this file are valid")]
    HandlerName::new(name).expect("a handler's name")
}

/// The destination with this index.
#[must_use]
pub fn destination(name: &str) -> DestinationName {
    #[expect(clippy::expect_used, reason = "the names of this file are valid")]
    DestinationName::new(name).expect("a destination's name")
}

/// The event type with this index.
#[must_use]
pub fn event_type(name: &str) -> EventType {
    #[expect(clippy::expect_used, reason = "the types of the simulator are valid")]
    EventType::new(name).expect("a type")
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    let handlers = HANDLERS.iter().map(|name| Target::Handler(handler(name)));
    let destinations = DESTINATIONS.iter().map(|name| Target::Destination(destination(name)));
    handlers.chain(destinations).collect()
}

/// The routing table.
#[must_use]
pub fn table() -> RouteTable {
    #[expect(clippy::expect_used, reason = "the routes of this file are valid")]
    let rule = |(number, (target, pattern)): (usize, &(&str, &str))| {
        let patterns = vec![Pattern::parse(pattern).expect("a pattern")];
        Rule::new(format!("route:{number}"), target.parse().expect("a target"), patterns)
    };
    RouteTable::new(ROUTES.iter().enumerate().map(rule))
}

/// Targets of an event of this source and type. Deliveries to handlers are in the order of
/// `order_key`.
#[must_use]
pub fn routed(table: &RouteTable, source: &str, kind: &str, order_key: Option<&str>) -> Routed {
    let (source, kind) = (SourceName::stored(source), event_type(kind));
    let facts = EventFacts::new(&source, &kind, Timestamp::from_millis(0));
    let delivery = |target: &Target| NewDelivery {
        target: target.clone(),
        order_key: order_key.filter(|_| matches!(target, Target::Handler(_))).map(Into::into),
        error: None,
    };
    let targets = route::deliveries(table.route(&facts)).map(|to| to.target);
    let deliveries = targets.map(delivery).collect();
    Routed { table: table.hash(), decisions: "".into(), deliveries }
}
