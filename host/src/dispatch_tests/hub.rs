//! A hub without its network side: a real store and engine, the invoker and egress, in a temporary
//! folder.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use weir_core::event::{EventFacts, EventType};
use weir_core::hops::HopKey;
use weir_core::id::EventId;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::time::Timestamp;
use weir_engine::{Engine, Options};
use weir_store::Store;
use weir_store::query::{DeliveryDetail, EventDetail};
use weir_store::sqlite;
use weir_store::{Claim, ClaimRequest, EventIngested, Lane, NewEvent, NewRequest};

use crate::config::{self, Config, ConfiguredRoutes, ConfiguredSources};
use crate::context::HubContext;
use crate::egress::{self, Egress, EgressHandle, Inbox};
use crate::invoker::{self, HandlerState, HandlerStatus, Invoker, InvokerHandle};
use crate::observe::health::PluginsFolder;
use crate::observe::notice::Notices;
use crate::routing::{self, Routes};
use crate::runtime::clock::SystemClock;
use crate::runtime::shutdown::Drain;
use crate::runtime::tasks::{OnFailure, Tasks};

/// The time after which a test that waits has failed.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The module of a test handler in the repository.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}

/// The folder of a hub. It outlives the hub.
pub(crate) struct HubFolder {
    root: TempDir,
    config: String,
}

impl HubFolder {
    /// A folder with this at the end of its configuration, and short settle and grace times.
    pub(crate) fn new(config: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("plugins")).unwrap();
        let config = format!(
            "[plugins]\nsettle = \"20ms\"\nrescan = \"100ms\"\ngrace = \"300ms\"\n\
             [defaults.retry]\nfirst = \"1ms\"\nmax = \"20ms\"\nmax_attempts = 4\n\
             [defaults.destination.retry]\nschedule = [\"1ms\"]\nmax_attempts = 4\n\
             [defaults.destination.breaker]\npause = \"1ms\"\nmax_pause = \"2ms\"\n{config}"
        );
        Self { root, config }
    }

    /// Sets `plugins.code_max`.
    pub(crate) fn with_code_max(mut self, size: &str) -> Self {
        self.config = self.config.replacen("settle", &format!("code_max = {size:?}\nsettle"), 1);
        self
    }

    /// Sets `plugins.settle`.
    pub(crate) fn settling(mut self, time: &str) -> Self {
        self.config = self.config.replacen("\"20ms\"", &format!("{time:?}"), 1);
        self
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    /// Puts a file into the plugins folder in one step.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let partial = self.plugins().join(format!(".{name}"));
        std::fs::write(&partial, bytes).unwrap();
        std::fs::rename(partial, self.plugins().join(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.plugins().join(name)).unwrap();
    }

    /// Starts a hub in the folder.
    pub(crate) async fn start(&self) -> DispatchHub {
        let clock = Arc::new(SystemClock);
        let config = config::load_text(
            "weir.toml",
            &self.config,
            self.root.path(),
            crate::config::Mode::Development,
        );
        let config: Arc<Config> = Arc::new(config.unwrap().config);
        let file = self.root.path().join("weir.db");
        let places = config.runs.places();
        let options = sqlite::Options { run_slots: places, ..sqlite::Options::new(clock.clone()) };
        let store: Arc<dyn Store> = Arc::new(sqlite::open(&file, options).unwrap());
        let handlers = invoker::stored_subscriptions(&*store, &config).await.unwrap();
        let routes = Routes::build(store.clone(), &config, handlers).await.unwrap();
        let routes = Arc::new(routes);
        let cache_dir = Some(self.root.path().join("cache"));
        let options = Options { cache_dir, slots: places, ..Options::default() };
        let ctx = HubContext::new(store.clone(), clock);
        let folder = PluginsFolder::default();
        let deps = invoker::Deps {
            sources: ConfiguredSources::new(config.sources.clone()),
            engine: Engine::new(options).unwrap(),
            routes: routes.clone(),
            folder: folder.clone(),
            guests: Handle::current(),
        };
        let invoker = Invoker::new(config.clone(), ctx.clone(), deps);
        let deps = egress::Deps {
            sources: ConfiguredSources::new(config.sources.clone()),
            configured_routes: ConfiguredRoutes::new(config.routes.clone()),
            hops: Arc::new(HopKey::new(&[7; 32])),
            routes: routes.clone(),
        };
        let egress = Egress::new(&config, ctx.clone(), deps);
        let egress = egress.unwrap();
        let (handle, inbox, destinations) = (invoker.handle(), egress.inbox(), egress.handle());
        let HubContext { notices, drain, tasks, .. } = ctx;
        tasks.spawn("invoker", OnFailure::Stop, invoker.run());
        tasks.spawn("egress", OnFailure::Stop, egress.run());
        DispatchHub { store, routes, handle, inbox, destinations, notices, folder, drain, tasks }
    }
}

/// A running hub.
pub(crate) struct DispatchHub {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) handle: InvokerHandle,
    pub(crate) inbox: Inbox,
    pub(crate) destinations: EgressHandle,
    pub(crate) notices: Notices,
    pub(crate) folder: PluginsFolder,
    pub(crate) drain: Drain,
    tasks: Tasks,
}

impl DispatchHub {
    /// Stores an event as ingress does, routed by the table in force.
    pub(crate) async fn post(&self, source: &str, kind: &str, body: &Value) -> EventId {
        let request = self.request(source, kind, body);
        let mut ingested = self.store.ingest(vec![request]).await;
        match ingested.pop().unwrap().unwrap().events[0] {
            EventIngested::Stored { id, .. } => id,
            EventIngested::Duplicate { .. } => panic!("nothing here deduplicates"),
        }
    }

    /// Stores an event with steps for the probe handler.
    pub(crate) async fn steps(&self, steps: Value) -> EventId {
        self.post("github", "push", &json!({ "steps": steps })).await
    }

    fn request(&self, source: &str, kind: &str, body: &Value) -> NewRequest {
        let (source, kind) = (SourceName::stored(source), EventType::new(kind).unwrap());
        let table = self.routes.current();
        let facts = EventFacts::new(&source, &kind, Timestamp::from_millis(0));
        let routed = routing::routed(&table, &facts);
        let event = NewEvent {
            kind,
            category: None,
            delivery_id: None,
            dedup: None,
            part: None,
            keys: Vec::new(),
            routed,
        };
        NewRequest {
            source,
            scheme: "test".into(),
            secret: "test".into(),
            remote: None,
            payload: Payload::new("application/json", Bytes::from(body.to_string())),
            on_redelivery: OnRedelivery::Duplicate,
            events: vec![event],
        }
    }

    pub(crate) async fn event(&self, id: EventId) -> EventDetail {
        self.store.event(id).await.unwrap().unwrap()
    }

    /// Waits until the deliveries of an event, and of the messages that they sent, are final.
    pub(crate) async fn finished(&self, id: EventId) -> Vec<DeliveryDetail> {
        let all_final = |deliveries: &[DeliveryDetail]| {
            let sent = deliveries.iter().flat_map(|d| &d.history).flat_map(|a| &a.messages);
            deliveries.iter().chain(sent).all(|d| d.state.is_final())
        };
        let found = async || {
            let deliveries = self.event(id).await.deliveries;
            (!deliveries.is_empty() && all_final(&deliveries)).then_some(deliveries)
        };
        until(&format!("{id} is finished"), found).await
    }

    /// Waits until the only delivery of an event is final.
    pub(crate) async fn settled(&self, id: EventId) -> DeliveryDetail {
        let mut deliveries = self.finished(id).await;
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries.remove(0)
    }

    /// Claims a delivery of a target, once other claims of it have ended.
    pub(crate) async fn claimed(&self, target: &str) -> Claim {
        let target = target.parse().unwrap();
        let wanted = [ClaimRequest { target, lane: Lane::Fresh, limit: 1 }];
        let claim = async || self.store.claim(&wanted).await.unwrap().pop();
        until("there is something to claim", claim).await
    }

    pub(crate) fn handler(&self, name: &str) -> Option<HandlerStatus> {
        self.handle.handlers().into_iter().find(|h| h.name.as_str() == name)
    }

    /// Waits until a handler's status is as wanted.
    pub(crate) async fn handler_is(
        &self,
        name: &str,
        wanted: impl Fn(&HandlerStatus) -> bool,
    ) -> HandlerStatus {
        let found = async || self.handler(name).filter(&wanted);
        until(&format!("{name} is as wanted"), found).await
    }

    pub(crate) async fn ready(&self, name: &str) -> HandlerStatus {
        self.handler_is(name, |h| h.state == HandlerState::Ready && h.last_error.is_none()).await
    }

    /// Stops like the process does.
    pub(crate) async fn stop(self) {
        self.drain.stop_accepting();
        self.drain.stop_claiming();
        self.tasks.finished().await;
        self.store.close().await.unwrap();
    }
}

/// Polls until there is an answer.
pub(crate) async fn until<T, F>(what: &str, mut found: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = found().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(WAIT_MAX, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("timed out waiting until {what}"),
    }
}
