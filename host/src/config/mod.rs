//! Configuration: the valid form that the rest of the program sees, and how it is come by.
//!
//! `raw` is the file as written, `validate` turns it into [`Config`] in one pass that reports every problem with
//! its place. Nothing outside this module sees a value that is not already right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_core::name::{DestinationName, HandlerName, SourceName};
use weir_core::retry::RetryPolicy;
use weir_core::route::Pattern;
use weir_store::upkeep::Retention;

/// The commented file that states every default; it is compiled in and is the documentation.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A configuration that is right.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where webhooks come in.
    pub server: Server,
    /// Where operators look.
    pub admin: Admin,
    /// The store's URL.
    pub store_url: String,
    /// The folder of the store's file: keys, caches and tokens are kept there too.
    pub data_dir: PathBuf,
    /// The watched folder.
    pub plugins: Plugins,
    /// How runs are bounded.
    pub runs: Runs,
    /// What a handler gets that says nothing else.
    pub handler_defaults: HandlerDefaults,
    /// How long things are kept.
    pub retention: Retention,
    /// How long to finish when asked to stop.
    pub shutdown_grace: Duration,
    /// How to log.
    pub log: Log,
    /// Ways in.
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// Ways out.
    pub destinations: BTreeMap<DestinationName, Arc<Destination>>,
    /// Straight ways from one to the other.
    pub routes: Vec<Route>,
    /// What the operator says about handlers.
    pub handlers: BTreeMap<HandlerName, HandlerSettings>,
    /// Generated secrets, the inbox, everything on loopback.
    pub development: bool,
}

/// Where webhooks come in.
#[derive(Debug, Clone)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address that senders use, with no slash at its end.
    pub public_url: Option<String>,
    /// Connections at once.
    pub max_connections: usize,
    /// To send the head of a request.
    pub header_timeout: Duration,
    /// To send its body.
    pub body_timeout: Duration,
    /// Between requests on a kept connection.
    pub idle_timeout: Duration,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of its head.
    pub max_header_bytes: usize,
    /// Bytes of bodies in memory at once.
    pub body_budget: usize,
}

/// Where operators look.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The token for writes, if the operator gave one.
    pub token: Option<Secret>,
    /// Host names that are accepted besides loopback and the address.
    pub allowed_hosts: BTreeSet<String>,
}

/// The watched folder.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The folder.
    pub dir: PathBuf,
    /// Whether a sidecar file may grant.
    pub sidecar_grants: bool,
    /// A changed file is read once it has not changed for so long.
    pub settle: Duration,
    /// Look again after this long.
    pub rescan: Duration,
    /// A handler whose file is gone keeps running for so long.
    pub grace: Duration,
}

/// How runs are bounded.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Runs at once.
    pub slots: usize,
    /// The most memory that any handler may be given, in bytes.
    pub memory_ceiling: usize,
}

/// What a handler gets that says nothing else.
#[derive(Debug, Clone)]
pub struct HandlerDefaults {
    /// Bounds of a run.
    pub limits: Limits,
    /// When to try again.
    pub retry: RetryPolicy,
}

/// Bounds of one handler's runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Guest memory in bytes.
    pub memory: usize,
    /// Wall-clock time of a run.
    pub time: Duration,
    /// Runs at once.
    pub concurrency: usize,
}

/// What the operator says about one handler, in `[handlers.NAME]` or `NAME.toml`. None: nothing said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HandlerSettings {
    /// Replaces what the module asks for.
    pub on: Option<Vec<Pattern>>,
    /// What the module reads.
    pub config: Option<BTreeMap<String, String>>,
    /// What it may do.
    pub grant: Option<Grant>,
    /// Bounds, complete with defaults.
    pub limits: Option<Limits>,
    /// When to try again, complete with defaults.
    pub retry: Option<RetryPolicy>,
}

/// What a handler may do. Nothing unless granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Destinations it may send to.
    pub destinations: BTreeSet<DestinationName>,
    /// Whether it may emit events.
    pub emit: bool,
}

/// How to log.
#[derive(Debug, Clone)]
pub struct Log {
    /// A level or a filter.
    pub filter: String,
    /// One JSON object a line.
    pub json: bool,
}

/// A way in.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// The provider with the source's overrides applied, and its secrets ready to verify with.
    pub receiver: Receiver,
    /// Bytes of a body.
    pub body_limit: usize,
    /// The URL that senders use, if URL-bound schemes need another than `server.public_url` and the path.
    pub public_url: Option<String>,
}

/// A way out.
#[derive(Debug)]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// How it is reached.
    pub kind: DestinationKind,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Requests at once.
    pub concurrency: usize,
}

/// How a destination is reached.
#[derive(Debug)]
pub enum DestinationKind {
    /// An HTTP endpoint.
    Webhook(Box<Webhook>),
    /// Kept here, for development.
    Inbox,
}

/// An HTTP endpoint.
#[derive(Debug)]
pub struct Webhook {
    /// Where.
    pub url: http::Uri,
    /// How messages are signed; with no secrets they are not.
    pub signing: Signing,
    /// Current first; all of them sign, so that a receiver can rotate.
    pub secrets: Vec<Secret>,
    /// Added to every message.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// For the whole answer.
    pub timeout: Duration,
    /// Whether the address may be a private one.
    pub allow_private: bool,
}

/// How messages to an endpoint are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`, by the Standard Webhooks specification.
    Standard,
    /// `X-Webhook-Signature: sha256=` and the hex HMAC of the body, beside `webhook-id` and `webhook-timestamp`.
    Sha256Header,
}

/// A straight way from sources to a destination.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which events.
    pub on: Vec<Pattern>,
    /// Where to.
    pub to: DestinationName,
}
