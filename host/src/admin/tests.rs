//! The admin API as operators meet it: the real router over a real store.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
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
use weir_core::state::ReadSet;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::sqlite;
use weir_store::{
    AttemptRecord, ClaimRequest, EventIngested, Lane, NewDelivery, NewEvent, NewRequest, Routed,
    RoutedEffects, Settled, Settlement,
};

use super::*;
use crate::config;
use crate::egress::fetch::Fetcher;
use crate::ingress;
use crate::keys::Seal;
use crate::routing::Routes;
use crate::runtime::clock::SystemClock;
use crate::runtime::shutdown::Drain;

const TOKEN: &str = "0123456789abcdef";
const HOST: &str = "127.0.0.1:8081";

/// A store with a routing table, and the admin API over it.
struct TestAdmin {
    ctx: HubContext,
    store: Arc<dyn Store>,
    health: Arc<Health>,
    metrics: Metrics,
    drain: Drain,
    table: RouteTable,
    routes: Arc<Routes>,
    router: Router,
    folder: tempfile::TempDir,
}

fn orders() -> Target {
    "handler:orders".parse().unwrap()
}

/// The way in of this configuration, on which nothing listens.
async fn ingress(
    folder: &tempfile::TempDir,
    ctx: &HubContext,
    health: &Arc<Health>,
) -> Arc<Ingress> {
    let text = "[sources.github]\nprovider = \"github\"\nsecrets = [\"hunter2\"]\n\
                [sources.notes]\nprovider = \"notion\"\n";
    let config = config::load_text("weir.toml", text, folder.path(), true).unwrap().config;
    let routes = Routes::build(ctx.store.clone(), &config, [].into()).await.unwrap();
    let deps = ingress::Deps {
        tls: None,
        fetcher: Arc::new(Fetcher::new(&config.fetch).unwrap()),
        routes: Arc::new(routes),
        health: health.clone(),
        responders: None,
        hops: Arc::new(HopKey::new(&[7; 32])),
        seal: Arc::new(Seal::new(&[7; 32])),
        quarantine: None,
    };
    Arc::new(Ingress::new(&config, ctx.clone(), deps))
}

impl TestAdmin {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = sqlite::Options::new(clock.clone());
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(&folder.path().join("weir.db"), options).unwrap());
        let patterns = vec![Pattern::parse("github:*").unwrap()];
        let table = RouteTable::new([Rule::new("handler:orders", orders(), patterns)]);
        let handlers =
            BTreeMap::from([("orders".parse().unwrap(), table.rules()[0].patterns.clone())]);
        let config = crate::config::load_text("weir.toml", "", folder.path(), true).unwrap();
        let routes = Routes::build(store.clone(), &config.config, handlers).await.unwrap();
        let routes = Arc::new(routes);
        let ctx = HubContext::new(store.clone(), clock);
        let (drain, metrics) = (ctx.drain.clone(), ctx.metrics.clone());
        let health = Health::new(store.clone(), drain.clone());
        let deps = Deps {
            allowed_hosts: BTreeSet::new(),
            tls: None,
            token: Token::given(TOKEN.as_bytes()),
            health: health.clone(),
            handlers: Arc::new(|| json!([{ "name": "orders" }])),
            destinations: Arc::new(|| json!([{ "name": "ops" }])),
            inbox: Arc::new(|| json!([])),
            routes: Arc::clone(&routes),
            ways_out: ["ops".parse().unwrap()].into(),
            ingress: ingress(&folder, &ctx, &health).await,
        };
        let admin = Admin::new(ctx.clone(), deps);
        let router = admin.router(HOST.parse().unwrap());
        Self { ctx, store, health, metrics, drain, table, routes, router, folder }
    }

    /// Stores an event for `orders`, as ingress would.
    async fn receive(&self, source: &str, kind: &str, body: &[u8]) -> EventId {
        self.receive_for(&[orders()], source, kind, body).await
    }

    /// The same for others, or for nobody.
    async fn receive_for(
        &self,
        targets: &[Target],
        source: &str,
        kind: &str,
        body: &[u8],
    ) -> EventId {
        self.receive_decided(targets, "", (source, kind), body).await
    }

    /// Stores an event with routing decisions of its own.
    async fn receive_decided(
        &self,
        targets: &[Target],
        decisions: &str,
        (source, kind): (&str, &str),
        body: &[u8],
    ) -> EventId {
        let delivery = |target: &Target| NewDelivery { target: target.clone(), order_key: None };
        let mut payload = Payload::new("application/json", Bytes::copy_from_slice(body));
        payload.headers.push(("x-odd".into(), Bytes::from_static(b"caf\xe9")));
        let event = NewEvent {
            kind: EventType::new(kind).unwrap(),
            category: None,
            delivery_id: None,
            dedup: None,
            part: None,
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
            EventIngested::Duplicate { .. } => panic!("nothing said that it is a duplicate"),
        }
    }

    /// Fails the one delivery that waits for good, as the invoker would.
    async fn give_up(&self) -> DeliveryId {
        let wanted = [ClaimRequest { target: orders(), lane: Lane::Fresh, limit: 1 }];
        let claimed = self.store.claim(&wanted).await.unwrap().remove(0);
        let settlement = Settlement {
            delivery: claimed.delivery,
            fence: claimed.fence,
            attempt: AttemptRecord {
                started_at: claimed.now,
                duration: Duration::from_millis(3),
                outcome: Outcome::Reject,
                reason: Some("no such customer".into()),
                version: Some([7; 32]),
                log: Some("error\tlooked everywhere".into()),
                response: None,
            },
            next: NextState::DeadLetter,
            effects: RoutedEffects::default(),
            reads: ReadSet::default(),
        };
        let settled = self.store.settle(vec![settlement]).await.remove(0).unwrap();
        assert!(matches!(settled, Settled::Applied { .. }));
        claimed.delivery
    }

    async fn ask(&self, method: &str, path: &str) -> Response {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"));
        self.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// Asks with a body.
    async fn tell(&self, path: &str, body: &str) -> (u16, Value) {
        let request = http::Request::builder()
            .method("POST")
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (status, said) = read(self.router.clone().call(request).await.unwrap()).await;
        (status.as_u16(), said)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = read(self.ask("GET", path).await).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// The status and code of a refusal.
    async fn refused(&self, method: &str, path: &str) -> (u16, String) {
        let response = self.ask(method, path).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let (status, problem) = read(response).await;
        assert!(problem["request_id"].is_string() && problem["detail"].is_string(), "{problem}");
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
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

#[tokio::test]
async fn events_are_listed_newest_first_by_filter_and_page_by_page() {
    let desk = TestAdmin::open().await;
    let mut all = Vec::new();
    for n in 0..5 {
        let (source, kind) = if n % 2 == 0 { ("github", "push") } else { ("stripe", "paid") };
        all.insert(0, desk.receive(source, kind, b"{}").await.to_string());
    }
    assert_eq!(ids(&desk.get("/api/v1/events").await), all);
    assert_eq!(ids(&desk.get("/api/v1/events?source=stripe").await), [&*all[1], &all[3]]);
    assert_eq!(ids(&desk.get("/api/v1/events?type=push&limit=1").await), [&*all[0]]);
    assert_eq!(ids(&desk.get("/api/v1/events?status=pending").await).len(), 5);
    assert!(ids(&desk.get("/api/v1/events?status=dead_letter").await).is_empty());
    assert!(ids(&desk.get("/api/v1/events?until=1h").await).is_empty());
    assert_eq!(ids(&desk.get("/api/v1/events?since=1h").await).len(), 5);

    let (mut seen, mut path) = (Vec::new(), "/api/v1/events?limit=2".to_owned());
    loop {
        let page = desk.get(&path).await;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        let cursor: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        path = format!("/api/v1/events?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, all, "every event once");
}

#[tokio::test]
async fn an_event_is_shown_with_its_request_payload_and_attempts() {
    let desk = TestAdmin::open().await;
    let event = desk.receive("github", "push", br#"{"n":1}"#).await;
    desk.give_up().await;
    let shown = desk.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["event"]["id"], event.to_string());
    assert_eq!(shown["event"]["status"], "dead_letter");
    let attempt = &shown["event"]["deliveries"][0]["history"][0];
    assert_eq!(attempt["outcome"], "reject");
    assert_eq!(attempt["reason"], "no such customer");
    assert_eq!(attempt["log"], "error\tlooked everywhere");
    assert_eq!(shown["request"]["scheme"], "github-sha256");
    assert_eq!(shown["request"]["secret"], "current");
    assert_eq!(shown["request"]["remote"], "203.0.113.9");
    let headers = json!([
        { "name": "content-type", "text": "application/json" },
        { "name": "x-odd", "base64": "Y2Fm6Q==" },
    ]);
    assert_eq!(shown["payload"]["headers"], headers);
    let body = json!({ "size": 7, "truncated": false, "text": "{\"n\":1}" });
    assert_eq!(shown["payload"]["body"], body);
}

#[tokio::test]
async fn a_large_body_is_previewed_shown_whole_when_asked_and_saved_byte_for_byte() {
    let desk = TestAdmin::open().await;
    let mut large = b"\x1b]0;owned\x07\"".repeat(20_000);
    large.extend_from_slice(&[0xff, 0x00]);
    let event = desk.receive("github", "push", &large).await;
    let preview = desk.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(preview["payload"]["body"]["truncated"], true);
    assert_eq!(preview["payload"]["body"]["size"], large.len());
    let shown = preview["payload"]["body"]["text"].as_str().unwrap();
    assert_eq!(shown.len(), views::PREVIEW_BYTES);

    let raw = bytes(desk.ask("GET", &format!("/api/v1/events/{event}")).await).await;
    assert!(raw.iter().all(|b| *b >= b' ' || *b == b'\n'), "controls are escaped");

    let whole = desk.get(&format!("/api/v1/events/{event}?full=true")).await;
    assert_eq!(whole["payload"]["body"]["truncated"], false);
    assert!(whole["payload"]["body"]["base64"].is_string());

    let saved = desk.ask("GET", &format!("/api/v1/events/{event}/body")).await;
    let header = |name| saved.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("content-disposition"), format!("attachment; filename=\"{event}.bin\""));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(bytes(saved).await, large);
}

#[tokio::test]
async fn whole_payloads_in_memory_are_few_and_make_room_when_sent() {
    let desk = TestAdmin::open().await;
    let event = desk.receive("github", "push", b"{}").await;
    let path = format!("/api/v1/events/{event}/body");
    let mut unread = Vec::new();
    for _ in 0..WHOLE_PAYLOADS_MAX {
        unread.push(desk.ask("GET", &path).await);
    }
    assert_eq!(desk.refused("GET", &path).await, (503, "busy".to_owned()));
    let full = format!("/api/v1/events/{event}?full=true");
    assert_eq!(desk.refused("GET", &full).await, (503, "busy".to_owned()));
    drop(unread.pop());
    assert_eq!(desk.ask("GET", &path).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_requeued_once() {
    let desk = TestAdmin::open().await;
    desk.receive("github", "push", b"{}").await;
    let dead = desk.give_up().await;
    assert_eq!(ids(&desk.get("/api/v1/dead-letters").await), [dead.to_string()]);
    let other = "/api/v1/dead-letters?target=destination:ops";
    assert!(ids(&desk.get(other).await).is_empty());
    let path = format!("/api/v1/dead-letters/{dead}");
    assert_eq!(desk.get(&path).await["history"][0]["outcome"], "reject");

    let requeue = format!("{path}/requeue");
    assert_eq!(desk.refused("GET", &requeue).await.0, 405);
    let (status, said) = read(desk.ask("POST", &requeue).await).await;
    assert_eq!((status, said), (StatusCode::OK, json!({ "requeued": [dead] })));
    let again = (409, "not_a_dead_letter".to_owned());
    assert_eq!(desk.refused("POST", &requeue).await, again);
    assert_eq!(desk.refused("GET", &path).await, again);
    assert!(ids(&desk.get("/api/v1/dead-letters").await).is_empty());
    let delivery = desk.store.delivery(dead).await.unwrap().unwrap();
    assert!(delivery.generation > 0 && !delivery.state.is_final());
}

#[tokio::test]
async fn two_who_requeue_at_once_do_it_once() {
    let desk = TestAdmin::open().await;
    desk.receive("github", "push", b"{}").await;
    let dead = desk.give_up().await;
    let path = format!("/api/v1/dead-letters/{dead}/requeue");
    let asks = (0..8).map(|_| desk.ask("POST", &path));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().any(|a| a.status() == StatusCode::OK));
    assert!(answers.iter().all(|a| [200, 409].contains(&a.status().as_u16())));
    assert_eq!(desk.store.delivery(dead).await.unwrap().unwrap().generation, 1);
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Late, limit: 10 }];
    assert_eq!(desk.store.claim(&wanted).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replay_counts_first_and_moves_what_is_over_once_by_its_name() {
    let desk = TestAdmin::open().await;
    let event = desk.receive("github", "push", b"{}").await;
    let ask = |more: &str| format!("{{\"event\":\"{event}\"{more}}}");
    let path = "/api/v1/replay";
    assert_eq!(desk.tell(path, &ask("")).await.1["deliveries"], 0, "it waits already");
    let dead = desk.give_up().await;
    for _ in 0..2 {
        let (status, said) = desk.tell(path, &ask(",\"dry_run\":true")).await;
        assert_eq!((status, &said["deliveries"]), (200, &json!(1)), "{said}");
    }
    for _ in 0..2 {
        let (_, said) = desk.tell(path, &ask(",\"request\":\"mine\"")).await;
        assert_eq!((&said["routed"], &said["deliveries"]), (&json!(1), &json!(1)), "{said}");
    }
    let delivery = desk.store.delivery(dead).await.unwrap().unwrap();
    assert_eq!(delivery.generation, 1);
    for bad in
        ["{}", "{\"event\":\"evt_1\"}", &ask(",\"unrouted\":{}"), &ask(",\"request\":\"a b\"")]
    {
        assert_eq!(desk.tell(path, bad).await.0, 400, "{bad}");
    }
    assert_eq!(desk.refused("GET", path).await.0, 405);
}

#[tokio::test]
async fn a_replay_that_was_interrupted_goes_on_under_its_name() {
    let desk = TestAdmin::open().await;
    for _ in 0..5 {
        desk.receive_for(&[], "github", "push", b"{}").await;
    }
    let two = "{\"request\":\"mine\",\"unrouted\":{\"limit\":2}}";
    for moved in [2, 2, 1, 0] {
        let (status, said) = desk.tell("/api/v1/replay", two).await;
        assert_eq!((status, &said["deliveries"]), (200, &json!(moved)), "{said}");
    }
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Late, limit: 10 }];
    assert_eq!(desk.store.claim(&wanted).await.unwrap().len(), 5);
    let other = "{\"unrouted\":{\"source\":\"gitlab\"}}";
    let (status, problem) = desk.tell("/api/v1/replay", other).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_name")), "{problem}");
}

#[tokio::test]
async fn without_the_token_nothing_is_requeued() {
    let desk = TestAdmin::open().await;
    desk.receive("github", "push", b"{}").await;
    let dead = desk.give_up().await;
    let path = format!("/api/v1/dead-letters/{dead}/requeue");
    let request = http::Request::builder().method("POST").uri(path).header("host", HOST);
    let response = desk.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let (status, problem) = read(response).await;
    assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("token_missing")));
    let delivery = desk.store.delivery(dead).await.unwrap().unwrap();
    assert_eq!((delivery.state.as_str(), delivery.generation), ("dead_letter", 0));
}

#[tokio::test]
async fn a_hold_is_placed_shown_on_what_waits_and_released() {
    let desk = TestAdmin::open().await;
    let event = desk.receive("github", "push", b"{}").await;
    let asked = r#"{"scope":"handler:orders","reason":"a bad release","until":"2h"}"#;
    let (status, placed) = desk.tell("/api/v1/holds", asked).await;
    assert_eq!((status, &placed["scope"]), (201, &json!("handler:orders")));
    assert_eq!((&placed["reason"], &placed["by"]), (&json!("a bad release"), &json!("operator")));
    assert!(placed["until"].as_str() > placed["at"].as_str(), "{placed}");
    assert_eq!(desk.get("/api/v1/holds").await["items"], json!([placed]));
    let shown = desk.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["event"]["status"], "held");
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Fresh, limit: 1 }];
    assert!(desk.store.claim(&wanted).await.unwrap().is_empty());

    let path = format!("/api/v1/holds/{}", placed["id"]);
    let (status, released) = read(desk.ask("DELETE", &path).await).await;
    assert_eq!((status, released), (StatusCode::OK, placed));
    assert_eq!(desk.refused("DELETE", &path).await, (404, "hold_not_found".to_owned()));
    let shown = desk.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["event"]["status"], "pending");
}

#[tokio::test]
async fn a_hold_that_makes_no_sense_is_refused_with_what_exists() {
    let desk = TestAdmin::open().await;
    let long = format!(r#"{{"scope":"source:github","reason":"{}"}}"#, "a".repeat(501));
    for (asked, status, code) in [
        ("", 400, "malformed"),
        ("{}", 400, "malformed"),
        (r#"{"scope":"source:github","untli":"2h"}"#, 400, "malformed"),
        (r#"{"scope":"github"}"#, 400, "invalid_scope"),
        (r#"{"scope":"source:gitlab"}"#, 404, "unknown_name"),
        (r#"{"scope":"source:github","until":"1960-01-01T00:00:00Z"}"#, 400, "invalid_until"),
        (r#"{"scope":"source:github","reason":"a\nb"}"#, 400, "invalid_reason"),
        (&long, 400, "invalid_reason"),
        (&"x".repeat(guard::BODY_BYTES_MAX + 1), 413, "body_too_large"),
    ] {
        let (found, problem) = desk.tell("/api/v1/holds", asked).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{asked}: {problem}");
    }
    let (_, problem) = desk.tell("/api/v1/holds", r#"{"scope":"handler:ghost"}"#).await;
    assert_eq!(problem["detail"], "there is no handler `ghost`; there are orders");
    assert_eq!(desk.get("/api/v1/holds").await["items"], json!([]));
}

#[tokio::test]
async fn what_the_hub_holds_is_not_released_by_hand() {
    let desk = TestAdmin::open().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let hold = NewHold { scope, reason: "missing".into(), by: "weir".into(), until: None };
    let id = desk.store.hold(hold).await.unwrap();
    let refused = desk.refused("DELETE", &format!("/api/v1/holds/{id}")).await;
    assert_eq!(refused, (409, "held_by_the_hub".to_owned()));
    assert_eq!(desk.store.holds().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_persons_release_ends_the_hold_of_an_open_breaker() {
    let desk = TestAdmin::open().await;
    let scope = HoldScope::Destination("ops".parse().unwrap());
    let hold = NewHold { scope, reason: "breaker".into(), by: "weir".into(), until: None };
    let id = desk.store.hold(hold).await.unwrap();
    let released = desk.ask("DELETE", &format!("/api/v1/holds/{id}")).await;
    assert_eq!(released.status(), StatusCode::OK);
    assert!(desk.store.holds().await.unwrap().is_empty());
}

#[tokio::test]
async fn why_tells_what_held_when_an_event_came_and_what_holds_it() {
    let desk = TestAdmin::open().await;
    let event = desk.receive("github", "push", b"{}").await;
    let patterns = vec![Pattern::parse("stripe:*").unwrap()];
    let later = RouteTable::new([Rule::new("handler:orders", orders(), patterns)]);
    desk.store.keep_table(&later).await.unwrap();
    desk.tell("/api/v1/holds", r#"{"scope":"source:github","reason":"flood"}"#).await;
    let why = desk.get(&format!("/api/v1/events/{event}/why")).await;
    let matched = json!({
        "rule": "handler:orders", "target": "handler:orders", "matched": "github:*", "refused": [],
    });
    assert_eq!(why["considered"], json!([matched]));
    assert_eq!(why["table"], desk.table.hash().to_string());
    assert_eq!(why["deliveries"][0]["holds"][0]["reason"], "flood");
    assert_eq!(why["status"], "held");
    let nobody = EventId::from_bits(7);
    let refused = desk.refused("GET", &format!("/api/v1/events/{nobody}/why")).await;
    assert_eq!(refused, (404, "event_not_found".to_owned()));
}

#[tokio::test]
async fn why_shows_a_condition_as_it_was_decided_then() {
    let desk = TestAdmin::open().await;
    let decisions = r#"[{"rule":"handler:orders","not_matched":"amount > 5"}]"#;
    let event = desk.receive_decided(&[], decisions, ("github", "push"), b"{}").await;
    let why = desk.get(&format!("/api/v1/events/{event}/why")).await;
    let expected = json!({
        "rule": "handler:orders", "target": "handler:orders", "matched": null, "refused": [],
        "condition_false": "amount > 5",
    });
    assert_eq!(why["considered"], json!([expected]));
    assert_eq!(why["status"], "unrouted");
}

#[tokio::test]
async fn a_person_says_that_the_clock_is_right_and_health_tells_why_retention_stopped() {
    let desk = TestAdmin::open().await;
    desk.health.set_routing_ready();
    desk.health.set_retention(Some("the clock jumped".into()));
    let health = desk.get("/health").await;
    let stopped = json!({ "status": "stopped", "reason": "the clock jumped" });
    assert_eq!(health["retention"], stopped);
    let (status, confirmed) = desk.tell("/api/v1/time/confirm", "").await;
    assert!(status == 200 && confirmed["time"].is_string(), "{confirmed}");
    desk.health.set_retention(None);
    assert_eq!(desk.get("/health").await["retention"], json!({ "status": "ok" }));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_code() {
    let desk = TestAdmin::open().await;
    let event = EventId::from_bits(7);
    let delivery = DeliveryId::from_bits(7);
    for (method, path, status, code) in [
        ("GET", "/".to_owned(), 404, "not_found"),
        ("GET", "/api/v1/events/".to_owned(), 404, "not_found"),
        ("GET", "/api/v2/events".to_owned(), 404, "not_found"),
        ("POST", "/api/v1/events".to_owned(), 405, "method_not_allowed"),
        ("GET", format!("/api/v1/dead-letters/{delivery}/requeue"), 405, "method_not_allowed"),
        ("GET", "/api/v1/events/7".to_owned(), 404, "event_not_found"),
        ("GET", "/api/v1/events/%ff".to_owned(), 400, "invalid_id"),
        ("GET", format!("/api/v1/events/{delivery}"), 404, "event_not_found"),
        ("GET", format!("/api/v1/dead-letters/{event}"), 404, "dead_letter_not_found"),
        ("GET", format!("/api/v1/events/{event}"), 404, "event_not_found"),
        ("GET", format!("/api/v1/events/{event}/body"), 404, "event_not_found"),
        ("GET", format!("/api/v1/dead-letters/{delivery}"), 404, "dead_letter_not_found"),
        ("POST", format!("/api/v1/dead-letters/{delivery}/requeue"), 404, "dead_letter_not_found"),
        ("GET", "/api/v1/events?sorce=github".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/events?limit=501".to_owned(), 400, "invalid_parameter"),
        ("GET", "/api/v1/events?cursor=made-up".to_owned(), 400, "invalid_parameter"),
        ("GET", "/api/v1/handlers?x=1".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/holds?x=1".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/inbox?x=1".to_owned(), 400, "unknown_parameter"),
    ] {
        assert_eq!(desk.refused(method, &path).await, (status, code.to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn readiness_follows_routing_and_drain() {
    let desk = TestAdmin::open().await;
    assert_eq!(desk.get("/health/live").await["status"], "ok");
    assert_eq!(desk.refused("GET", "/health/ready").await, (503, "routing_missing".to_owned()));
    desk.health.set_routing_ready();
    assert_eq!(desk.get("/health/ready").await["status"], "ok");
    desk.drain.stop_accepting();
    assert_eq!(desk.refused("GET", "/health/ready").await, (503, "draining".to_owned()));
    let (status, report) = read(desk.ask("GET", "/health").await).await;
    assert_eq!((status.as_u16(), &report["reason"]), (503, &json!("draining")));
    assert_eq!(desk.get("/health/live").await["status"], "ok");
}

#[tokio::test]
async fn health_tells_queues_sources_and_handlers() {
    let desk = TestAdmin::open().await;
    desk.health.set_routing_ready();
    desk.receive("github", "push", b"{}").await;
    desk.receive("github", "push", b"{}").await;
    desk.give_up().await;
    let github = desk.metrics.source(&SourceName::configured("github").unwrap());
    github.answered("accepted", Duration::from_millis(1));
    github.answered("signature_mismatch", Duration::from_millis(1));
    let report = desk.get("/health").await;
    assert_eq!(report["store"]["status"], "ok");
    assert_eq!(report["queues"]["handler:orders"]["pending"], 1);
    assert_eq!(report["queues"]["handler:orders"]["dead_letter"], 1);
    assert_eq!(report["sources"]["github"]["received"], 1);
    assert_eq!(report["sources"]["github"]["refused"], 1);
    assert!(report["sources"]["github"]["last_received_seconds_ago"].is_u64());
    assert_eq!(report["handlers"][0]["name"], "orders");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_scrape_has_what_the_store_knows() {
    let desk = TestAdmin::open().await;
    desk.receive("github", "push", b"{}").await;
    desk.give_up().await;
    let response = desk.ask("GET", "/metrics").await;
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(bytes(response).await.to_vec()).unwrap();
    for line in [
        "weir_deliveries{target=\"handler:orders\",state=\"dead_letter\"} 1",
        "weir_store_events_total{source=\"github\",what=\"stored\"} 1",
        "weir_ready 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn holds_handlers_and_inbox_are_listed_whole() {
    let desk = TestAdmin::open().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let hold = NewHold { scope, reason: "operator".into(), by: "ada".into(), until: None };
    let id = desk.store.hold(hold).await.unwrap();
    let held = desk.get("/api/v1/holds").await;
    assert_eq!(held["items"][0]["id"], json!(id));
    assert_eq!(held["items"][0]["scope"], "handler:orders");
    assert_eq!(held["items"][0]["by"], "ada");
    let handler = desk.get("/api/v1/handlers").await["items"][0].take();
    assert_eq!((&handler["name"], &handler["health"]), (&json!("orders"), &json!("paused")));
    assert_eq!(handler["health_reason"], "hold 1 by ada: operator");
    assert_eq!(desk.get("/api/v1/destinations").await["items"], json!([{ "name": "ops" }]));
    assert_eq!(desk.get("/api/v1/inbox").await["items"], json!([]));
}

#[tokio::test]
async fn a_store_that_is_gone_is_said_and_the_scrape_goes_on() {
    let desk = TestAdmin::open().await;
    let dead = DeliveryId::from_bits(7);
    desk.store.close().await.unwrap();
    let gone = (503, "store_unavailable".to_owned());
    assert_eq!(desk.refused("GET", "/api/v1/events").await, gone);
    let requeue = format!("/api/v1/dead-letters/{dead}/requeue");
    assert_eq!(desk.refused("POST", &requeue).await, gone);
    assert_eq!(desk.ask("GET", "/metrics").await.status(), StatusCode::OK);
    let (_, report) = read(desk.ask("GET", "/health").await).await;
    assert!(report["sources"].is_object() && report["uptime_seconds"].is_u64(), "{report}");
}

#[tokio::test]
async fn over_a_socket_the_port_that_was_bound_is_the_one_that_counts() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let desk = TestAdmin::open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let deps = Deps {
        allowed_hosts: BTreeSet::new(),
        tls: None,
        token: Token::given(TOKEN.as_bytes()),
        health: desk.health.clone(),
        handlers: Arc::new(|| json!([])),
        destinations: Arc::new(|| json!([])),
        inbox: Arc::new(|| json!([])),
        routes: desk.routes.clone(),
        ways_out: BTreeSet::new(),
        ingress: ingress(&desk.folder, &desk.ctx, &desk.health).await,
    };
    let admin = Admin::new(desk.ctx.clone(), deps);
    let running = tokio::spawn(admin.run(listener));
    for (host, expected) in
        [(address.to_string(), "HTTP/1.1 200"), ("127.0.0.1:1".to_owned(), "HTTP/1.1 421")]
    {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let ask =
            format!("GET /api/v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(expected), "{host}: {answer}");
    }
    desk.drain.stop_claiming();
    running.await.unwrap();
}
