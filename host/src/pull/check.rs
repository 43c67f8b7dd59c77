//! Connects to the servers of sources and takes nothing, for `weir check --connect`.

use std::sync::Arc;

use futures_util::future::join_all;
use weir_core::name::SourceName;
use weir_core::time::Clock;

use super::server;
use crate::config::{Config, PullSettings};
use crate::egress::server::chain;
use crate::runtime::clock::SystemClock;
use crate::runtime::tasks::Tasks;

/// The result of connecting to the server of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCheck {
    pub source: SourceName,
    pub kind: &'static str,
    /// Without credentials.
    pub address: String,
    /// The reason why messages could not be taken, and what to do.
    pub problem: Option<String>,
}

/// Connects to the servers of all sources that have one, to all at the same time.
pub async fn check_sources(config: &Config) -> Vec<SourceCheck> {
    let pulled =
        config.sources.values().filter_map(|source| Some((&source.name, source.pull.as_ref()?)));
    join_all(pulled.map(|(name, pull)| check(name, pull))).await
}

async fn check(name: &SourceName, pull: &PullSettings) -> SourceCheck {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let problem = match server(name, pull, &Tasks::new(), &clock, None) {
        Ok(server) => server.check().await.err().map(String::from),
        Err(error) => Some(chain(&error)),
    };
    let (kind, address) = (pull.kind().as_str(), pull.address());
    SourceCheck { source: name.clone(), kind, address, problem }
}
