//! Health, readiness and metrics.

use super::*;

#[tokio::test]
async fn health_tells_why_retention_stopped() {
    let admin = TestAdmin::start().await;
    admin.health.set_routing_ready();
    admin.health.set_retention(Some("the clock jumped".into()));
    let health = admin.get("/health").await;
    let stopped = json!({ "status": "stopped", "reason": "the clock jumped" });
    assert_eq!(health["retention"], stopped);
    let (status, confirmed) = admin.post("/api/v1/time/confirm", "").await;
    assert!(status == 200 && confirmed["time"].is_string(), "{confirmed}");
    admin.health.set_retention(None);
    assert_eq!(admin.get("/health").await["retention"], json!({ "status": "ok" }));
}

#[tokio::test]
async fn readiness_follows_routing_and_drain() {
    let admin = TestAdmin::start().await;
    assert_eq!(admin.get("/health/live").await["status"], "ok");
    assert_eq!(admin.error("GET", "/health/ready").await, (503, "routing_missing".to_owned()));
    admin.health.set_routing_ready();
    assert_eq!(admin.get("/health/ready").await["status"], "ok");
    admin.drain.stop_accepting();
    assert_eq!(admin.error("GET", "/health/ready").await, (503, "draining".to_owned()));
    let (status, report) = read(admin.ask("GET", "/health").await).await;
    assert_eq!((status.as_u16(), &report["reason"]), (503, &json!("draining")));
    assert_eq!(admin.get("/health/live").await["status"], "ok");
}

#[tokio::test]
async fn health_reports_queues_sources_and_handlers() {
    let admin = TestAdmin::start().await;
    admin.health.set_routing_ready();
    admin.receive("github", "push", b"{}").await;
    admin.receive("github", "push", b"{}").await;
    admin.give_up().await;
    let github = admin.metrics.source(&SourceName::configured("github").unwrap());
    github.answered("accepted", Duration::from_millis(1));
    github.answered("signature_mismatch", Duration::from_millis(1));
    let notes = admin.metrics.source(&SourceName::configured("notes").unwrap());
    (0..3).for_each(|_| drop(notes.signature_refused(|| Some("a pasted space".into()))));
    let report = admin.get("/health").await;
    assert_eq!(report["sources"]["notes"]["seen"], "a pasted space");
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
async fn a_scrape_includes_the_totals_of_the_store() {
    let admin = TestAdmin::start().await;
    admin.receive("github", "push", b"{}").await;
    admin.give_up().await;
    let response = admin.ask("GET", "/metrics").await;
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
async fn a_scrape_works_while_the_store_is_closed() {
    let admin = TestAdmin::start().await;
    let dead = DeliveryId::from_bits(7);
    admin.store.close().await.unwrap();
    let gone = (503, "store_unavailable".to_owned());
    assert_eq!(admin.error("GET", "/api/v1/events").await, gone);
    let requeue = format!("/api/v1/dead-letters/{dead}/requeue");
    assert_eq!(admin.error("POST", &requeue).await, gone);
    assert_eq!(admin.ask("GET", "/metrics").await.status(), StatusCode::OK);
    let (_, report) = read(admin.ask("GET", "/health").await).await;
    assert!(report["sources"].is_object() && report["uptime_seconds"].is_u64(), "{report}");
}
