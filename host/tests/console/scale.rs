//! A hub with many events: its pages are there at once, and the live list keeps up without growing.
//!
//! `WEIR_CONSOLE_EVENTS` is the number of stored events, `WEIR_CONSOLE_PAINT_MS` the limit of the
//! first paint, `WEIR_CONSOLE_RATE` and `WEIR_CONSOLE_SECONDS` the load of the live list.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::json;
use weir_core::delivery::{NextState, Outcome};
use weir_core::event::EventType;
use weir_core::name::{HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{RouteTable, Rule};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::{Clock, Timestamp};
use weir_store::sqlite::{self, Options};
use weir_store::{
    AttemptRecord, Claim, ClaimRequest, Dispatch as _, EventIngested, Ingest as _, Lane,
    Maintenance as _, NewDelivery, NewEvent, NewRequest, Routed, RoutedEffects, Settlement,
};
use weir_testing::browser::Browser;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use crate::hub::sign_in;

/// Events of one call of the store.
const BATCH: usize = 500;
/// Most rows of the live list.
const ROWS_MAX: u64 = 300;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
    }
}

fn orders() -> Target {
    Target::Handler(HandlerName::new("orders").unwrap())
}

fn request(n: usize, table: &RouteTable) -> NewRequest {
    let target = NewDelivery { target: orders(), order_key: None, error: None };
    let body = json!({ "id": n, "order": { "number": format!("{n:07}"), "total": 4990 } });
    NewRequest {
        source: SourceName::stored(&format!("shop{}", n % 5)),
        scheme: "hmac".into(),
        secret: "main".into(),
        remote: None,
        payload: Payload::new("application/json", Bytes::from(body.to_string())),
        on_redelivery: OnRedelivery::Duplicate,
        events: vec![NewEvent {
            kind: EventType::new(&format!("order.{}", n % 7)).unwrap(),
            category: None,
            delivery_id: Some(format!("delivery-{n}").into()),
            dedup: None,
            part: None,
            keys: Vec::new(),
            routed: Routed {
                table: table.hash(),
                decisions: "".into(),
                deliveries: if n % 500 == 17 { Vec::new() } else { vec![target] },
            },
        }],
    }
}

/// One in a thousand is given up.
fn settlement(claim: &Claim) -> Arc<Settlement> {
    let is_dead = claim.event.delivery_id.as_ref().is_some_and(|id| id.ends_with("123"));
    let (outcome, next) = match is_dead {
        true => (Outcome::Reject, NextState::DeadLetter),
        false => (Outcome::Ok, NextState::Processed),
    };
    Arc::new(Settlement {
        delivery: claim.delivery,
        fence: claim.fence,
        attempt: AttemptRecord {
            started_at: claim.now,
            duration: Duration::from_micros(40),
            outcome,
            reason: is_dead.then(|| "no such customer".into()),
            version: None,
            other: None,
            log: None,
            response: None,
            reads: None,
        },
        next,
        effects: RoutedEffects::default(),
        reads: ReadSet::default(),
        quota: StateQuota::NONE,
    })
}

/// Stores events as a hub would have. Returns the id of the last one.
async fn fill(file: &Path, events: usize) -> String {
    let store = sqlite::open(file, Options::new(Arc::new(WallClock))).unwrap();
    let table = RouteTable::new([Rule::new("handler:orders", orders(), Vec::new())]);
    store.keep_table(&table).await.unwrap();
    let mut last = String::new();
    for first in (0..events).step_by(BATCH) {
        let batch = (first..events.min(first + BATCH)).map(|n| request(n, &table)).collect();
        for stored in store.ingest(batch).await {
            if let EventIngested::Stored { id, .. } = stored.unwrap().events[0] {
                last = id.to_string();
            }
        }
        let wish = ClaimRequest { target: orders(), lane: Lane::Fresh, limit: BATCH };
        let claims = store.claim(&[wish]).await.unwrap();
        let settlements: Vec<_> = claims.iter().map(settlement).collect();
        for settled in store.settle(&settlements).await {
            settled.unwrap();
        }
    }
    store.close().await.unwrap();
    last
}

/// The time of the first paint of a page, in milliseconds.
async fn first_paint(browser: &Browser, address: &str) -> f64 {
    browser.go(address).await;
    let script =
        "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1";
    until("a paint", async || {
        let paint = browser.run(script, json!([])).await.as_f64().unwrap_or(-1.0);
        if paint >= 0.0 { Ok(paint) } else { Err(paint.to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_many_events_are_painted_soon() {
    let Some(browser) = Browser::start().await else { return };
    let events = usize::try_from(setting("WEIR_CONSOLE_EVENTS", 5_000)).unwrap();
    let limit = Duration::from_millis(setting("WEIR_CONSOLE_PAINT_MS", 3_000));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let begun = Instant::now();
    let event = fill(&folder.path().join("data/weir.db"), events).await;
    eprintln!("{events} events stored in {:.0} s", begun.elapsed().as_secs_f64());
    let hub = TestHub::new().in_folder(folder).github().start().await;
    sign_in(&browser, &hub).await;
    let mut late = Vec::new();
    for (name, path) in [
        ("overview", "/".to_owned()),
        ("events", "/events".to_owned()),
        ("events of a status", "/events?status=dead_letter,unrouted&source=shop3".to_owned()),
        ("no events", "/events?type=no+such*&status=retrying".to_owned()),
        ("event", format!("/events/{event}")),
        ("dead letters", "/dead-letters".to_owned()),
    ] {
        let address = format!("http://{}{path}", hub.admin);
        let first = first_paint(&browser, &address).await;
        let mut again = Vec::new();
        for _ in 0..5 {
            again.push(first_paint(&browser, &address).await);
        }
        again.sort_by(f64::total_cmp);
        eprintln!("{name}: first paint after {first:.0} ms, then {:.0} ms (median of 5)", again[2]);
        if Duration::from_secs_f64(again[2] / 1e3) > limit {
            late.push(format!("{name}: {:.0} ms", again[2]));
        }
    }
    assert!(late.is_empty(), "later than {limit:?} with {events} events: {late:?}");
}

/// Posts events at a rate, over several connections. Returns the number that was accepted.
async fn post(hub: &RunningHub, rate: u64, seconds: u64) -> u64 {
    const TICK: Duration = Duration::from_millis(20);
    let a_tick = rate * 20 / 1_000;
    let mut ticks = tokio::time::interval(TICK);
    let mut accepted = 0;
    let mut under_way = tokio::task::JoinSet::new();
    for tick in 0..seconds * 50 {
        ticks.tick().await;
        for n in 0..a_tick.max(1) {
            let request =
                hub.push_request("push", &format!("tail-{tick}-{n}"), b"{\"ref\":\"main\"}");
            under_way.spawn(hub.exchanging(request));
        }
        while let Some(answer) = under_way.try_join_next() {
            accepted += u64::from(answer.unwrap().status().is_success());
        }
    }
    while let Some(answer) = under_way.join_next().await {
        accepted += u64::from(answer.unwrap().status().is_success());
    }
    accepted
}

/// Bytes of the page's objects that are in use.
async fn heap(browser: &Browser) -> f64 {
    browser.devtools("HeapProfiler.collectGarbage", json!({})).await;
    let usage = browser.devtools("Runtime.getHeapUsage", json!({})).await;
    usage["usedSize"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_list_keeps_up_with_a_load_and_does_not_grow() {
    let Some(browser) = Browser::start().await else { return };
    let (rate, seconds) = (setting("WEIR_CONSOLE_RATE", 100), setting("WEIR_CONSOLE_SECONDS", 5));
    let hub = TestHub::new()
        .github()
        .config("[destinations.inbox]\nkind = \"inbox\"\n[[route]]\non = [\"github:*\"]\nto = \"inbox\"")
        .start()
        .await;
    hub.push("push", "before", b"{}").await.accepted();
    sign_in(&browser, &hub).await;
    browser.go(&format!("http://{}/events", hub.admin)).await;
    browser.point_away().await;
    browser.until_text("[data-live-said]", "waiting for events").await;
    // The longest time in which the page did nothing else than draw.
    let watch = "window.gap = 0; let last = performance.now();\
        setInterval(() => { const now = performance.now(); window.gap = Math.max(window.gap, now - last);\
        last = now; }, 20)";
    browser.run(watch, json!([])).await;
    let before = heap(&browser).await;
    let begun = Instant::now();
    let accepted = post(&hub, rate, seconds).await;
    let took = begun.elapsed().as_secs_f64();
    let newest = hub.push("push", "the-last-one", b"{}").await.accepted();
    until("the newest event at the top", async || {
        let top = browser.run("return document.querySelector('tbody tr').id", json!([])).await;
        if top == newest.as_str() { Ok(()) } else { Err(top.to_string()) }
    })
    .await;
    let rows = browser.count("table.ev tbody tr").await;
    let gap = browser.run("return window.gap", json!([])).await.as_f64().unwrap();
    let after = heap(&browser).await;
    eprintln!(
        "{accepted} events in {took:.1} s ({:.0} a second): {rows} rows, heap {:.1} MB before and \
         {:.1} MB after, longest pause of the page {gap:.0} ms",
        accepted as f64 / took,
        before / 1e6,
        after / 1e6,
    );
    assert_eq!(accepted, rate.max(50) * 20 / 1_000 * seconds * 50);
    assert!(rows <= ROWS_MAX, "{rows} rows");
    assert!(after < before + 8e6, "from {before} to {after} bytes");
    assert!(gap < 1_000.0, "the page stood still for {gap:.0} ms");
    let said = browser.text("[data-live-state]").await;
    assert_eq!(said, "Live");
}
