//! Holds, and the lists that show them.

use super::*;

#[tokio::test]
async fn a_hold_is_placed_shown_and_released() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", b"{}").await;
    let asked = r#"{"scope":"handler:orders","reason":"a bad release","until":"2h"}"#;
    let (status, placed) = admin.post("/api/v1/holds", asked).await;
    assert_eq!((status, &placed["scope"]), (201, &json!("handler:orders")));
    assert_eq!((&placed["reason"], &placed["by"]), (&json!("a bad release"), &json!("operator")));
    assert!(placed["until"].as_str() > placed["at"].as_str(), "{placed}");
    assert_eq!(admin.get("/api/v1/holds").await["items"], json!([placed]));
    let shown = admin.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["event"]["status"], "held");
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Fresh, limit: 1 }];
    assert!(admin.store.claim(&wanted).await.unwrap().is_empty());

    let path = format!("/api/v1/holds/{}", placed["id"]);
    let (status, released) = read(admin.ask("DELETE", &path).await).await;
    assert_eq!((status, released), (StatusCode::OK, placed));
    assert_eq!(admin.error("DELETE", &path).await, (404, "hold_not_found".to_owned()));
    let shown = admin.get(&format!("/api/v1/events/{event}")).await;
    assert_eq!(shown["event"]["status"], "pending");
}

#[tokio::test]
async fn an_invalid_hold_is_refused_with_the_known_names() {
    let admin = TestAdmin::start().await;
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
        let (found, problem) = admin.post("/api/v1/holds", asked).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{asked}: {problem}");
    }
    let (_, problem) = admin.post("/api/v1/holds", r#"{"scope":"handler:ghost"}"#).await;
    assert_eq!(problem["detail"], "there is no handler `ghost`; there are orders");
    assert_eq!(admin.get("/api/v1/holds").await["items"], json!([]));
}

#[tokio::test]
async fn a_hold_of_the_hub_is_not_released_by_an_operator() {
    let admin = TestAdmin::start().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let hold = NewHold { scope, reason: "missing".into(), by: "weir".into(), until: None };
    let id = admin.store.hold(hold).await.unwrap();
    let refused = admin.error("DELETE", &format!("/api/v1/holds/{id}")).await;
    assert_eq!(refused, (409, "held_by_the_hub".to_owned()));
    assert_eq!(admin.store.holds().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_operator_releases_the_hold_of_a_breaker() {
    let admin = TestAdmin::start().await;
    let scope = HoldScope::Destination("ops".parse().unwrap());
    let hold = NewHold { scope, reason: "breaker".into(), by: "weir".into(), until: None };
    let id = admin.store.hold(hold).await.unwrap();
    let released = admin.ask("DELETE", &format!("/api/v1/holds/{id}")).await;
    assert_eq!(released.status(), StatusCode::OK);
    assert!(admin.store.holds().await.unwrap().is_empty());
}

#[tokio::test]
async fn holds_handlers_and_inbox_are_listed_on_one_page() {
    let admin = TestAdmin::start().await;
    let scope = HoldScope::Handler("orders".parse().unwrap());
    let hold = NewHold { scope, reason: "operator".into(), by: "ada".into(), until: None };
    let id = admin.store.hold(hold).await.unwrap();
    let held = admin.get("/api/v1/holds").await;
    assert_eq!(held["items"][0]["id"], json!(id));
    assert_eq!(held["items"][0]["scope"], "handler:orders");
    assert_eq!(held["items"][0]["by"], "ada");
    let handler = admin.get("/api/v1/handlers").await["items"][0].take();
    assert_eq!((&handler["name"], &handler["health"]), (&json!("orders"), &json!("paused")));
    assert_eq!(handler["health_reason"], "hold 1 by ada: operator");
    let destinations = admin.get("/api/v1/destinations").await["items"].take();
    let ops = destinations.as_array().unwrap().iter().find(|one| one["name"] == "ops").unwrap();
    assert_eq!(ops["state"], "ok");
    assert_eq!(admin.get("/api/v1/inbox").await["items"], json!([]));
}
