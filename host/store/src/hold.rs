//! Holds: each keeps the deliveries in its scope from being claimed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::time::Timestamp;

/// Number of a hold, never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct HoldId(pub u64);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Scope of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HoldScope {
    /// All deliveries of the hub.
    Hub,
    /// All deliveries of this source's events.
    Source(SourceName),
    Handler(HandlerName),
    Destination(DestinationName),
}

impl HoldScope {
    /// True if a delivery is in the scope.
    #[must_use]
    pub fn covers(&self, source: &SourceName, target: &Target) -> bool {
        match (self, target) {
            (Self::Hub, _) => true,
            (Self::Source(held), _) => held == source,
            (Self::Handler(held), Target::Handler(name)) => held == name,
            (Self::Destination(held), Target::Destination(name)) => held == name,
            _ => false,
        }
    }
}

/// The scope of a hold on one target.
impl From<&Target> for HoldScope {
    fn from(target: &Target) -> Self {
        match target {
            Target::Handler(name) => Self::Handler(name.clone()),
            Target::Destination(name) => Self::Destination(name.clone()),
        }
    }
}

/// `hub`, `source:github`, `handler:orders`, `destination:ops`.
impl fmt::Display for HoldScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str(WHOLE_HUB),
            Self::Source(name) => write!(f, "source:{name}"),
            Self::Handler(name) => write!(f, "handler:{name}"),
            Self::Destination(name) => write!(f, "destination:{name}"),
        }
    }
}

/// Text that is not the scope of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown scope `{0}`; use source:NAME, handler:NAME, destination:NAME or hub")]
pub struct InvalidScope(String);

impl FromStr for HoldScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text == WHOLE_HUB {
            return Ok(Self::Hub);
        }
        let source = text.strip_prefix("source:").map(|name| name.parse().map(Self::Source));
        let scope = match (source, text.parse()) {
            (Some(source), _) => source.ok(),
            (None, Ok(Target::Handler(name))) => Some(Self::Handler(name)),
            (None, Ok(Target::Destination(name))) => Some(Self::Destination(name)),
            (None, Err(_)) => None,
        };
        scope.ok_or_else(|| InvalidScope(text.chars().take(80).collect()))
    }
}

/// The text of the scope that has everything.
const WHOLE_HUB: &str = "hub";

/// A hold to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    pub scope: HoldScope,
    /// A fixed word, such as `missing`, `operator`, `breaker`.
    pub reason: Box<str>,
    /// Name of the operator or part of the hub that placed it.
    pub by: Box<str>,
    /// Time at which it ends by itself.
    pub until: Option<Timestamp>,
}

/// The reason of a hold on a target that does not exist at present.
const MISSING: &str = "missing";
/// The one who places holds of the hub's own.
const HUB: &str = "weir";

impl NewHold {
    /// A hold by the hub on a target that is missing. It lasts until the hub ends it.
    #[must_use]
    pub fn missing(scope: HoldScope) -> Self {
        Self { scope, reason: MISSING.into(), by: HUB.into(), until: None }
    }

    /// A hold on the whole hub, placed as it starts. It lasts until an operator ends it.
    #[must_use]
    pub fn paused_hub() -> Self {
        let (reason, by) = ("started with --paused".into(), "operator".into());
        Self { scope: HoldScope::Hub, reason, by, until: None }
    }

    /// True for a hold that [`NewHold::missing`] made.
    #[must_use]
    pub fn is_for_missing_target(&self) -> bool {
        &*self.reason == MISSING && &*self.by == HUB
    }
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub hold: NewHold,
    /// Time at which it was placed.
    pub at: Timestamp,
}
