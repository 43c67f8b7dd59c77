//! Configuration: the valid form that the rest of the program sees, and how it is come by.
//!
//! `tree` is the file as written, with the place of every key. One file for each kind of element holds its valid
//! type and how it is read and judged; `load` puts them together in one pass that reports every problem with its
//! place. Nothing outside this module sees a value that is not already right.

mod access;
mod admin;
mod alerts;
mod breaker;
mod context;
mod destination;
mod development;
mod fetch;
mod handler;
mod hints;
mod last_good;
mod load;
mod location;
mod log;
#[cfg(test)]
mod outward_tests;
mod plugins;
mod problem;
mod providers;
#[cfg(test)]
mod providers_tests;
mod quarantine;
mod responder;
mod restart;
mod retry;
mod route;
mod schema;
mod secret;
mod secret_strength;
mod server;
pub(crate) mod shown;
mod sidecar;
mod source;
mod sources;
mod store;
mod tls;
mod tree;
mod trust;
mod url;
mod value;

#[cfg(test)]
mod mistakes_tests;
#[cfg(test)]
mod secret_strength_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod units_tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_core::name::{DestinationName, HandlerName, SourceName};
pub use weir_core::verify::{NamedSecret, Secret};
use weir_store::upkeep::Retention;

pub use access::AccessPolicy;
pub use admin::Admin;
pub use alerts::Alerts;
pub use destination::{Destination, DestinationKind, Signing, TransportSettings, Webhook};
pub use development::{DEVELOPMENT_SECRETS_FILE, development};
pub use fetch::Fetch;
pub use handler::{Grant, HandlerDefaults, HandlerSettings, Limits};
pub use last_good::save_last_good;
pub use load::{FILE, Loaded, Origin, known_providers, load, load_text};
pub use location::HubLocation;
pub use log::Log;
pub use plugins::{Plugins, Runs};
pub use problem::{ConfigErrors, ConfigProblem};
pub use providers::{ProviderFile, Providers, provider_file};
pub use quarantine::Quarantine;
pub use responder::{Responder, Responders};
pub use restart::{RestartSettings, fingerprint};
pub use route::Route;
pub(crate) use route::unmatched;
pub use schema::{Mismatch, Schemas};
pub use server::Server;
pub use source::Source;
pub use sources::{ConfiguredSources, SourcesByName};

/// The commented file that states every default; it is compiled in and is the documentation.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A configuration that is right.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where webhooks come in.
    pub server: Server,
    /// Where operators look.
    pub admin: Admin,
    /// The store's URL, its path absolute or relative to the process's folder.
    pub store_url: String,
    /// The folder of the store's file: keys, caches and tokens are kept there too.
    pub data_dir: PathBuf,
    /// The watched folder.
    pub plugins: Plugins,
    /// How runs are bounded.
    pub runs: Runs,
    /// Handlers whose reply is the answer to the sender.
    pub responders: Responders,
    /// What a handler gets that says nothing else.
    pub handler_defaults: HandlerDefaults,
    /// How long things are kept.
    pub retention: Retention,
    /// How long what waits for a handler or destination that is gone is kept waiting.
    pub hold_life: Duration,
    /// When the hub tells of itself.
    pub alerts: Arc<Alerts>,
    /// How long to finish when asked to stop.
    pub shutdown_grace: Duration,
    /// How to log.
    pub log: Log,
    /// What the hub gets by itself.
    pub fetch: Fetch,
    /// What is kept of requests that were not believed.
    pub quarantine: Quarantine,
    /// Provider files of the operator's own, and what is made of each.
    pub providers: Vec<ProviderFile>,
    /// Ways in.
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// Ways out.
    pub destinations: BTreeMap<DestinationName, Arc<Destination>>,
    /// Straight ways from one to the other.
    pub routes: Vec<Route>,
    /// What the operator says about handlers. Where there is a sidecar, ask [`Config::settings_for`].
    pub handlers: BTreeMap<HandlerName, HandlerSettings>,
    /// Secrets may stand in the file, and there is an inbox.
    pub development: bool,
    /// Where it was read; none if there is no file.
    pub origin: Option<Origin>,
}
