//! Events: lists, one in full, bodies, and why.

use super::*;

#[tokio::test]
async fn events_are_listed_newest_first_by_filter_and_page() {
    let admin = TestAdmin::start().await;
    let mut all = Vec::new();
    for n in 0..5 {
        let (source, kind) = if n % 2 == 0 { ("github", "push") } else { ("stripe", "paid") };
        all.insert(0, admin.receive(source, kind, b"{}").await.to_string());
    }
    assert_eq!(ids(&admin.get("/api/v1/events").await), all);
    assert_eq!(ids(&admin.get("/api/v1/events?source=stripe").await), [&*all[1], &all[3]]);
    assert_eq!(ids(&admin.get("/api/v1/events?type=push&limit=1").await), [&*all[0]]);
    assert_eq!(ids(&admin.get("/api/v1/events?status=pending").await).len(), 5);
    let either = ids(&admin.get("/api/v1/events?type=push,paid&status=pending,retrying").await);
    assert_eq!(either, all);
    let either = admin.get("/api/v1/events/count?source=stripe,github&type=pa*,issues").await;
    assert_eq!(either["count"], 2);
    let unknown = admin.error("GET", "/api/v1/events?source=github,gitbub").await;
    assert_eq!(unknown, (404, "unknown_name".to_owned()));
    assert!(ids(&admin.get("/api/v1/events?status=dead_letter").await).is_empty());
    assert!(ids(&admin.get("/api/v1/events?until=1h").await).is_empty());
    assert_eq!(ids(&admin.get("/api/v1/events?since=1h").await).len(), 5);

    let (mut seen, mut path) = (Vec::new(), "/api/v1/events?limit=2".to_owned());
    loop {
        let page = admin.get(&path).await;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        let cursor: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        path = format!("/api/v1/events?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, all, "every event once");
}

#[tokio::test]
async fn pages_go_back_and_events_are_counted_by_target() {
    let admin = TestAdmin::start().await;
    let ops: Target = "destination:ops".parse().unwrap();
    let mut all = Vec::new();
    for n in 0..4 {
        let targets = if n == 1 { vec![orders(), ops.clone()] } else { vec![orders()] };
        let id = admin.receive_for(&targets, "github", "push", b"{}").await;
        all.insert(0, id.to_string());
    }
    let first = admin.get("/api/v1/events?limit=2").await;
    assert!(first.get("previous").is_none(), "{first}");
    let page = async |page: &Value, towards: &str| {
        let cursor = page[towards].as_str().unwrap();
        admin.get(&format!("/api/v1/events?limit=2&cursor={cursor}")).await
    };
    let second = page(&first, "next").await;
    assert_eq!(ids(&second), all[2..]);
    assert_eq!(ids(&page(&second, "previous").await), all[..2]);
    assert_eq!(ids(&admin.get("/api/v1/events?destination=ops").await), [&*all[2]]);
    let count = async |query: &str| admin.get(&format!("/api/v1/events/count?{query}")).await;
    assert_eq!(count("handler=orders&status=pending").await, json!({ "count": 4, "more": false }));
    assert_eq!(count("destination=ops").await["count"], 1);
    assert_eq!(count("category=payment.received").await["count"], 0);
}

#[tokio::test]
async fn an_event_is_shown_with_its_request_payload_and_attempts() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", br#"{"n":1}"#).await;
    admin.give_up().await;
    let shown = admin.get(&format!("/api/v1/events/{event}")).await;
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
async fn a_large_body_is_previewed_shown_whole_and_saved() {
    let admin = TestAdmin::start().await;
    let mut large = b"\x1b]0;owned\x07\"".repeat(20_000);
    large.extend_from_slice(&[0xff, 0x00]);
    let event = admin.receive("github", "push", &large).await;
    let preview = admin.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(preview["payload"]["body"]["truncated"], true);
    assert_eq!(preview["payload"]["body"]["size"], large.len());
    let shown = preview["payload"]["body"]["text"].as_str().unwrap();
    assert_eq!(shown.len(), service::views::PREVIEW_BYTES);

    let raw = bytes(admin.ask("GET", &format!("/api/v1/events/{event}")).await).await;
    assert!(raw.iter().all(|b| *b >= b' ' || *b == b'\n'), "controls are escaped");

    let whole = admin.get(&format!("/api/v1/events/{event}?full=true")).await;
    assert_eq!(whole["payload"]["body"]["truncated"], false);
    assert!(whole["payload"]["body"]["base64"].is_string());

    let saved = admin.ask("GET", &format!("/api/v1/events/{event}/body")).await;
    let header = |name| saved.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("content-disposition"), format!("attachment; filename=\"{event}.bin\""));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(bytes(saved).await, large);
}

#[tokio::test]
async fn whole_payloads_in_memory_are_limited() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", b"{}").await;
    let path = format!("/api/v1/events/{event}/body");
    let mut unread = Vec::new();
    for _ in 0..service::WHOLE_PAYLOADS_MAX {
        unread.push(admin.ask("GET", &path).await);
    }
    assert_eq!(admin.error("GET", &path).await, (503, "busy".to_owned()));
    let full = format!("/api/v1/events/{event}?full=true");
    assert_eq!(admin.error("GET", &full).await, (503, "busy".to_owned()));
    drop(unread.pop());
    assert_eq!(admin.ask("GET", &path).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn why_shows_the_rules_of_that_time_and_present_holds() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", b"{}").await;
    let patterns = vec![Pattern::parse("stripe:*").unwrap()];
    let later = RouteTable::new([Rule::new("handler:orders", orders(), patterns)]);
    admin.store.keep_table(&later).await.unwrap();
    admin.post("/api/v1/holds", r#"{"scope":"source:github","reason":"flood"}"#).await;
    let why = admin.get(&format!("/api/v1/events/{event}/why")).await;
    let matched = json!({
        "rule": "handler:orders", "target": "handler:orders", "matched": "github:*", "refused": [],
    });
    assert_eq!(why["considered"], json!([matched]));
    assert_eq!(why["table"], admin.table.hash().to_string());
    assert_eq!(why["deliveries"][0]["holds"][0]["reason"], "flood");
    assert_eq!(why["status"], "held");
    let unknown = EventId::from_bits(7);
    let refused = admin.error("GET", &format!("/api/v1/events/{unknown}/why")).await;
    assert_eq!(refused, (404, "event_not_found".to_owned()));
}

#[tokio::test]
async fn why_shows_a_condition_as_it_was_decided_then() {
    let admin = TestAdmin::start().await;
    let decisions = r#"[{"rule":"handler:orders","not_matched":"amount > 5"}]"#;
    let event = admin.receive_decided(&[], decisions, ("github", "push"), b"{}").await;
    let why = admin.get(&format!("/api/v1/events/{event}/why")).await;
    let expected = json!({
        "rule": "handler:orders", "target": "handler:orders", "matched": null, "refused": [],
        "condition_false": "amount > 5",
    });
    assert_eq!(why["considered"], json!([expected]));
    assert_eq!(why["status"], "unrouted");
}

#[tokio::test]
async fn every_answer_reads_back_as_its_type() {
    let admin = TestAdmin::start().await;
    admin.health.set_routing_ready();
    let event = admin.receive("github", "push", br#"{"n":1}"#).await;
    let dead = admin.give_up().await;
    admin.post("/api/v1/holds", r#"{"scope":"handler:orders","until":"2h"}"#).await;
    admin.receive("github", "push", b"{}").await;
    admin.reads_back::<ListPage<EventView>>("/api/v1/events").await;
    admin.reads_back::<EventAnswer>(&format!("/api/v1/events/{event}")).await;
    admin.reads_back::<EventAnswer>(&format!("/api/v1/events/{dead}")).await;
    admin.reads_back::<WhyAnswer>(&format!("/api/v1/events/{event}/why")).await;
    admin.reads_back::<ListPage<DeliveryView>>("/api/v1/dead-letters").await;
    admin.reads_back::<ListPage<HandlerView>>("/api/v1/handlers").await;
    admin.reads_back::<ListPage<DestinationView>>("/api/v1/destinations").await;
    admin.reads_back::<ListPage<HoldView>>("/api/v1/holds").await;
    admin.reads_back::<ListPage<SourceView>>("/api/v1/sources").await;
    admin.reads_back::<HealthReport>("/health").await;
    let (_, confirmed) = admin.post("/api/v1/time/confirm", "").await;
    serde_json::from_value::<ConfirmTimeAnswer>(confirmed).unwrap();
}
