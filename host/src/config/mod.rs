//! Configuration: the valid settings that the rest of the program uses, and how they are loaded.
//!
//! `tree` is the file as written, with the line of every key. Each section has a file with its
//! valid type and its reader; `assemble` puts them together; `load` finds the file and reports all
//! problems at once. Other modules only see valid values.

mod access;
mod admin;
mod alert_style;
mod alerts;
mod assemble;
mod breaker;
mod context;
mod destination;
mod development;
mod effective;
pub(crate) mod effective_handler;
mod expression;
mod fetch;
mod handler;
mod hints;
mod in_force;
mod key_index;
mod last_good;
mod load;
mod location;
mod log;
#[cfg(test)]
mod outward_tests;
mod plugins;
mod probation;
mod problem;
mod providers;
#[cfg(test)]
mod providers_tests;
mod pull;
mod quarantine;
mod responder;
mod restart;
mod retry;
mod route;
mod schedule;
mod schema;
mod secret;
mod secret_strength;
mod server;
pub(crate) mod shown;
mod sidecar;
mod source;
mod source_place;
mod sources;
mod store;
mod telemetry;
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
pub use admin::AdminSettings;
pub use alert_style::AlertStyle;
pub use alerts::AlertSettings;
pub use destination::{
    AcceptedStatuses, Authorization, AwsAccount, BrokerServer, Destination, DestinationKind,
    FileSettings, FileSync, KafkaSettings, MessageFact, MqttSettings, NamePattern, NatsSettings,
    OAuthClient, PostgresSettings, PubSubSettings, RabbitSettings, RedisKey, RedisSettings,
    SaslMechanism, ServiceAccount, Signing, SnsSettings, SqsSettings, TransportSettings, Webhook,
    WebhookAuth,
};
pub use development::{DEVELOPMENT_SECRETS_FILE, development};
pub use effective::{EffectiveSetting, SettingsFile};
pub(crate) use effective_handler::{EffectiveSettings, Requested};
pub use fetch::FetchSettings;
pub use handler::{Grant, HandlerDefaults, HandlerSettings, Limits};
pub use in_force::{
    ConfiguredAlerts, ConfiguredRetention, ConfiguredRoutes, ConfiguredSources, InForce,
};
pub use last_good::save_last_good;
pub use load::{FILE, Loaded, Origin, known_providers, load, load_text};
pub use location::HubLocation;
pub use plugins::{PluginSettings, RunSettings};
pub use probation::ProbationSetting;
pub use problem::{ConfigErrors, ConfigProblem};
pub use providers::{ProviderFile, Providers, provider_file};
pub use pull::{
    NatsPull, PollSettings, PullOrigin, PullSettings, RabbitPull, RedisPull, SourceKind, SqsPull,
};
pub use quarantine::QuarantineSettings;
pub use responder::{Responder, ResponderSettings};
pub use restart::{RestartSettings, fingerprint, pull_fingerprint};
pub use route::Route;
pub(crate) use route::unmatched;
pub use schedule::Schedule;
pub use schema::{Mismatch, Schemas};
pub use server::ServerSettings;
pub use source::Source;
pub(crate) use source::needs_no_secret;
pub use source_place::{SecretPlace, SourcePlace};
pub use sources::SourcesByName;
pub use telemetry::{OtlpSettings, OtlpTarget};

use crate::runtime::telemetry::LogSettings;

/// The commented file with every default. It is the documentation too.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The mode of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Secrets are references to variables and files.
    Production,
    /// Secrets may be written in the file, there is an inbox, and the log has a line per event.
    Development,
}

impl Mode {
    /// The mode that the flag `--dev` selects.
    #[must_use]
    pub fn from_flag(dev: bool) -> Self {
        if dev { Self::Development } else { Self::Production }
    }

    #[must_use]
    pub fn is_development(self) -> bool {
        self == Self::Development
    }
}

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: ServerSettings,
    pub admin: AdminSettings,
    /// The store's URL, its path absolute or relative to the working directory.
    pub store_url: String,
    /// The folder of the store's file, also for keys, caches and tokens.
    pub data_dir: PathBuf,
    pub plugins: PluginSettings,
    pub runs: RunSettings,
    pub responders: ResponderSettings,
    pub handler_defaults: HandlerDefaults,
    pub retention: Retention,
    /// The time until deliveries of missing targets are given up.
    pub hold_life: Duration,
    pub alerts: Arc<AlertSettings>,
    /// The time to finish runs and sends after a signal to stop.
    pub shutdown_grace: Duration,
    pub log: LogSettings,
    /// The export of traces, metrics and logs.
    pub otlp: Arc<OtlpSettings>,
    /// The hub's own requests.
    pub fetch: FetchSettings,
    /// The limits of the quarantine.
    pub quarantine: QuarantineSettings,
    /// The operator's provider files and their problems.
    pub providers: Vec<ProviderFile>,
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    pub destinations: BTreeMap<DestinationName, Arc<Destination>>,
    pub routes: Vec<Route>,
    /// Events that the hub emits at times.
    pub schedules: Vec<Arc<Schedule>>,
    /// The settings of handlers without their sidecars; with a sidecar use
    /// [`Config::settings_for`].
    pub handlers: BTreeMap<HandlerName, HandlerSettings>,
    pub mode: Mode,
    /// A hold is placed on the whole hub as it starts; from the command line.
    pub starts_paused: bool,
    /// None in development mode without a file.
    pub origin: Option<Origin>,
}
