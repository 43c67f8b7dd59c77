//! The admin API over HTTP requests: the real router and service over a real store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower_service::Service as _;
use weir_core::delivery::{NextState, Outcome};
use weir_core::event::EventType;
use weir_core::hops::HopKey;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{Pattern, RouteTable, Rule};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::Clock;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::{
    AttemptRecord, ClaimRequest, EventIngested, Lane, NewDelivery, NewEvent, NewRequest, Routed,
    RoutedEffects, Settled, Settlement,
};
use weir_store::{Store, sqlite};

use super::*;
use crate::api::{
    ConfirmTimeAnswer, DeliveryView, DestinationView, EventAnswer, EventView, HandlerView,
    HealthReport, HoldView, ListPage, SourceView, WhyAnswer,
};
use crate::config::{self, ConfiguredRoutes, ConfiguredSources};
use crate::egress::fetch::Fetcher;
use crate::egress::{self, Egress};
use crate::ingress;
use crate::keys::Seal;
use crate::observe::metrics::Metrics;
use crate::runtime::clock::SystemClock;
use crate::runtime::shutdown::Drain;
use crate::upkeep::rollups::Unsaved;

mod access;
mod audit;
mod dead_letters;
mod document;
mod errors;
mod events;
mod follow;
mod health;
mod holds;
mod jobs;
mod live;
mod pages;
mod replay;
mod stats;

const TOKEN: &str = "0123456789abcdef";
const HOST: &str = "127.0.0.1:8081";

/// The configuration of the hub whose API is tested.
const CONFIG: &str = r#"
[sources.github]
provider = "github"
secrets = ["hunter2"]
[sources.notes]
provider = "notion"
[destinations.ops]
kind = "inbox"
"#;

/// The admin API over a store with a routing table, a handler `orders` and a destination `ops` that
/// never run.
struct TestAdmin {
    store: Arc<dyn Store>,
    health: Arc<Health>,
    metrics: Metrics,
    drain: Drain,
    table: RouteTable,
    ctx: HubContext,
    deps: Deps,
    router: Router,
    _folder: tempfile::TempDir,
}

fn orders() -> Target {
    "handler:orders".parse().unwrap()
}

/// The dependencies of an admin listener, with its context.
async fn deps(folder: &Path, table: &RouteTable) -> (HubContext, Deps) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = sqlite::Options::new(clock.clone());
    let store: Arc<dyn Store> = Arc::new(sqlite::open(&folder.join("weir.db"), options).unwrap());
    let ctx = HubContext::new(store, clock);
    let config = config::load_text("weir.toml", CONFIG, folder, crate::config::Mode::Development)
        .unwrap()
        .config;
    let patterns = table.rules()[0].patterns.clone();
    let subscriptions = BTreeMap::from([("orders".parse().unwrap(), patterns.into())]);
    let routes = Routes::build(ctx.store.clone(), &config, subscriptions).await.unwrap();
    let routes = Arc::new(routes);
    let health = Health::new(ctx.store.clone(), ctx.drain.clone());
    let hops = Arc::new(HopKey::new(&[7; 32]));
    let of_ingress = ingress::Deps {
        tls: None,
        fetcher: Arc::new(Fetcher::new(&config.fetch).unwrap()),
        routes: routes.clone(),
        health: health.clone(),
        responders: None,
        hops: hops.clone(),
        seal: Arc::new(Seal::new(&[7; 32])),
        quarantine: None,
    };
    let sources = ConfiguredSources::new(config.sources.clone());
    let configured_routes = ConfiguredRoutes::new(config.routes.clone());
    let of_egress = egress::Deps { sources, configured_routes, hops, routes: routes.clone() };
    let egress = Egress::new(&config, ctx.clone(), of_egress).unwrap();
    let deps = Deps {
        allowed_hosts: BTreeSet::new(),
        tls: None,
        token: Token::given(TOKEN.as_bytes()),
        open_reads: false,
        rate: None,
        health,
        handlers: InvokerHandle::with_ready(&["orders"], &ctx),
        inbox: egress.inbox(),
        egress: egress.handle(),
        routes,
        ingress: Arc::new(Ingress::new(&config, ctx.clone(), of_ingress)),
        schedules: Schedules::new(config.schedules.clone()),
        pulls: Pulls::default(),
        webhooks_at: "http://127.0.0.1:8080".into(),
        settings: config::SettingsFile::of(&config),
        console: None,
        unsaved: Unsaved::new(ctx.metrics.clone(), ctx.clock.now()),
    };
    (ctx, deps)
}

impl TestAdmin {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let patterns = vec![Pattern::parse("github:*").unwrap()];
        let table = RouteTable::new([Rule::new("handler:orders", orders(), patterns)]);
        let (ctx, deps) = deps(folder.path(), &table).await;
        Self {
            store: ctx.store.clone(),
            health: deps.health.clone(),
            metrics: ctx.metrics.clone(),
            drain: ctx.drain.clone(),
            table,
            router: Admin::new(ctx.clone(), deps.clone()).router(HOST.parse().unwrap()),
            ctx,
            deps,
            _folder: folder,
        }
    }

    /// Stores an event for `orders`, as ingress would.
    async fn receive(&self, source: &str, kind: &str, body: &[u8]) -> EventId {
        self.receive_for(&[orders()], source, kind, body).await
    }

    /// Stores an event for these targets, or an unrouted one.
    async fn receive_for(
        &self,
        targets: &[Target],
        source: &str,
        kind: &str,
        body: &[u8],
    ) -> EventId {
        self.receive_decided(targets, "", (source, kind), body).await
    }

    /// Stores an event with these routing decisions.
    async fn receive_decided(
        &self,
        targets: &[Target],
        decisions: &str,
        (source, kind): (&str, &str),
        body: &[u8],
    ) -> EventId {
        let delivery =
            |target: &Target| NewDelivery { target: target.clone(), order_key: None, error: None };
        let mut payload = Payload::new("application/json", Bytes::copy_from_slice(body));
        payload.headers.push(("x-odd".into(), Bytes::from_static(b"caf\xe9")));
        let event = NewEvent {
            kind: EventType::new(kind).unwrap(),
            category: None,
            delivery_id: None,
            dedup: None,
            part: None,
            keys: Vec::new(),
            routed: Routed {
                table: self.table.hash(),
                decisions: decisions.into(),
                deliveries: targets.iter().map(delivery).collect(),
            },
        };
        let request = NewRequest {
            source: SourceName::configured(source).unwrap(),
            scheme: "github-sha256".into(),
            secret: "current".into(),
            remote: Some("203.0.113.9".parse().unwrap()),
            payload,
            on_redelivery: OnRedelivery::Duplicate,
            events: vec![event],
        };
        let ingested = self.store.ingest(vec![request]).await.remove(0).unwrap();
        match ingested.events[0] {
            EventIngested::Stored { id, .. } => id,
            EventIngested::Duplicate { .. } => panic!("a new event counts as a duplicate"),
        }
    }

    /// Makes the one waiting delivery a dead letter, as the invoker would.
    async fn give_up(&self) -> DeliveryId {
        self.give_up_because("no such customer").await
    }

    /// The same with a reason.
    async fn give_up_because(&self, reason: &str) -> DeliveryId {
        let wanted = [ClaimRequest { target: orders(), lane: Lane::Fresh, limit: 1 }];
        let claimed = self.store.claim(&wanted).await.unwrap().remove(0);
        let settlement = Settlement {
            delivery: claimed.delivery,
            fence: claimed.fence,
            attempt: AttemptRecord {
                started_at: claimed.now,
                duration: Duration::from_millis(3),
                outcome: Outcome::Reject,
                reason: Some(reason.into()),
                version: Some([7; 32]),
                other: None,
                log: Some("error\tlooked everywhere".into()),
                response: None,
                reads: None,
            },
            next: NextState::DeadLetter,
            effects: RoutedEffects::default(),
            reads: ReadSet::default(),
            quota: StateQuota::NONE,
        };
        let settled = self.store.settle(&[Arc::new(settlement)]).await.remove(0).unwrap();
        assert!(matches!(settled, Settled::Applied { .. }));
        claimed.delivery
    }

    async fn ask(&self, method: &str, path: &str) -> Response {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"));
        let answer = self.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        documented(method, path, answer).await
    }

    /// Posts a body.
    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = http::Request::builder()
            .method("POST")
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().call(request).await.unwrap();
        let (status, said) = read(documented("POST", path, answer).await).await;
        (status.as_u16(), said)
    }

    /// Reads an answer as its type, which must write the same JSON again.
    async fn reads_back<T: Serialize + DeserializeOwned>(&self, path: &str) {
        let json = self.get(path).await;
        let typed: T = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), json, "{path}");
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = read(self.ask("GET", path).await).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// The status and code of an error.
    async fn error(&self, method: &str, path: &str) -> (u16, String) {
        let response = self.ask(method, path).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let (status, problem) = read(response).await;
        assert!(problem["request_id"].is_string() && problem["detail"].is_string(), "{problem}");
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
}

/// The same answer, once it is found to be as the document says.
async fn documented(method: &str, path: &str, answer: Response) -> Response {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = Response::from_parts(head, Body::from(body.clone()));
    document::assert_documented(method, path, &answer, &body);
    answer
}

async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    (status, serde_json::from_slice(&bytes(response).await).unwrap())
}

fn ids(page: &Value) -> Vec<String> {
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(id).collect()
}
