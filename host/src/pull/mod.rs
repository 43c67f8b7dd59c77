//! Sources whose messages the hub takes from a server, instead of getting requests.
//!
//! Each such source has a `puller`: a task that keeps a connection, takes some messages, has
//! ingress store their events, and then acknowledges them. So each message becomes its events at
//! least once, and the dedup keys of events make it once. A `session` is the connection of one
//! kind: `redis`, `rabbitmq`, `nats`, `sqs`, `poll`. `message` makes a request's headers and body
//! of a server's message; `status` is what operators see; `backoff` says when a lost connection is
//! tried again.
//!
//! Not here: identification, routing and the refusal of messages, which are those of ingress.

mod backoff;
mod check;
mod message;
mod nats;
mod poll;
mod puller;
mod rabbitmq;
mod redis;
mod session;
mod sqs;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use weir_core::name::SourceName;
use weir_core::time::Clock;
use weir_store::Store;

pub use check::{SourceCheck, check_sources};
pub(crate) use status::PullStatus;
use status::PullStatuses;

use crate::config::{ConfiguredSources, PullOrigin, PullSettings, pull_fingerprint};
use crate::context::HubContext;
use crate::ingress::Ingress;
use crate::runtime::tasks::{OnFailure, Tasks};
use crate::tls::roots::RootsError;
use nats::NatsServer;
use poll::PollServer;
use puller::Puller;
use rabbitmq::RabbitServer;
use redis::RedisServer;
use session::MessageServer;
use sqs::SqsServer;

/// Between two looks whether every puller still works.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The pullers' handle for other parts of the hub. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulls {
    changed: Arc<Notify>,
    statuses: PullStatuses,
}

impl Pulls {
    /// The sources have changed.
    pub(crate) fn sources_changed(&self) {
        self.changed.notify_one();
    }

    /// The connections of all sources that have one, by name.
    pub(crate) fn statuses(&self) -> BTreeMap<SourceName, PullStatus> {
        self.statuses.all()
    }
}

/// The dependencies of [`PullWorker`] besides the [`HubContext`].
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) sources: ConfiguredSources,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) pulls: Pulls,
}

/// Starts and stops the pullers as the sources say.
#[derive(Debug)]
pub(crate) struct PullWorker {
    ctx: HubContext,
    deps: Deps,
    running: BTreeMap<SourceName, RunningPuller>,
}

#[derive(Debug)]
struct RunningPuller {
    /// The settings that it was started with.
    fingerprint: String,
    stop: CancellationToken,
    /// Cancelled when its task has ended.
    ended: CancellationToken,
}

impl PullWorker {
    pub(crate) fn new(ctx: HubContext, deps: Deps) -> Self {
        Self { ctx, deps, running: BTreeMap::new() }
    }

    /// Keeps one puller for each source that needs one, until the hub stops accepting.
    pub(crate) async fn run(mut self) {
        let (drain, changed) = (self.ctx.drain.clone(), self.deps.pulls.changed.clone());
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = drain.accepting_stopped() => break,
                () = changed.notified() => {}
                _ = look.tick() => {}
            }
            self.apply().await;
        }
        let running = std::mem::take(&mut self.running);
        running.values().for_each(|puller| puller.stop.cancel());
        for puller in running.values() {
            puller.ended.cancelled().await;
        }
    }

    /// Stops the pullers whose settings have changed or that are gone, and starts those that are
    /// missing. A puller finishes the messages that it has taken before another one begins.
    async fn apply(&mut self) {
        let sources = self.deps.sources.current();
        let wanted: BTreeMap<_, _> = sources
            .iter()
            .filter_map(|(name, source)| {
                let pull = source.pull.clone()?;
                Some((name.clone(), (pull_fingerprint(&pull), pull)))
            })
            .collect();
        let is_kept = |name: &SourceName, puller: &RunningPuller| {
            let same = wanted.get(name).is_some_and(|(wanted, _)| *wanted == puller.fingerprint);
            same && !puller.ended.is_cancelled()
        };
        let gone: Vec<_> =
            self.running.extract_if(.., |name, puller| !is_kept(name, puller)).collect();
        gone.iter().for_each(|(_, puller)| puller.stop.cancel());
        for (name, puller) in &gone {
            puller.ended.cancelled().await;
            if !wanted.contains_key(name) {
                self.forget(name);
            }
        }
        for (name, (fingerprint, pull)) in wanted {
            if !self.running.contains_key(&name) {
                let puller = self.start(name.clone(), fingerprint, &pull);
                self.running.insert(name, puller);
            }
        }
    }

    fn forget(&self, name: &SourceName) {
        self.deps.pulls.statuses.remove(name);
        if let Some(metrics) = self.ctx.metrics.known_source(name) {
            metrics.work.set_disconnected(false);
            metrics.pull.set_connected(None);
        }
        tracing::info!(source = name.as_str(), "no messages of this source are taken any more");
    }

    fn start(&self, name: SourceName, fingerprint: String, pull: &PullSettings) -> RunningPuller {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let puller = Puller {
            server: server(&name, pull, &self.ctx.tasks, &self.ctx.clock, Some(&self.ctx.store)),
            ctx: self.ctx.clone(),
            ingress: self.deps.ingress.clone(),
            status: self.deps.pulls.statuses.begin(&self.ctx, name.clone(), pull),
            stop: stop.clone(),
            name,
        };
        let has_ended = ended.clone().drop_guard();
        self.ctx.tasks.spawn("puller", OnFailure::Log, async move {
            let _has_ended = has_ended;
            puller.run().await;
        });
        RunningPuller { fingerprint, stop, ended }
    }
}

/// The server of a source. Without a store it can only be checked.
fn server(
    name: &SourceName,
    pull: &PullSettings,
    tasks: &Tasks,
    clock: &Arc<dyn Clock>,
    store: Option<&Arc<dyn Store>>,
) -> Result<Box<dyn MessageServer>, RootsError> {
    Ok(match &pull.from {
        PullOrigin::Redis(redis) => {
            Box::new(RedisServer::new(redis, pull.prefetch, tasks.clone())?)
        }
        PullOrigin::RabbitMq(rabbit) => Box::new(RabbitServer::new(rabbit, pull.prefetch)?),
        PullOrigin::Nats(nats) => Box::new(NatsServer::new(nats, pull.prefetch)?),
        PullOrigin::Sqs(sqs) => Box::new(SqsServer::new(sqs, pull.prefetch, clock.clone())?),
        PullOrigin::Poll(poll) => {
            Box::new(PollServer::new(name, poll, pull.prefetch, store.cloned())?)
        }
    })
}
