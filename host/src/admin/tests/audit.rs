//! The audit log.

use super::*;
use crate::api::{ActOutcome, AuditView};

async fn log(admin: &TestAdmin, query: &str) -> Vec<AuditView> {
    let page = admin.get(&format!("/api/v1/audit{query}")).await;
    serde_json::from_value::<ListPage<AuditView>>(page).unwrap().items
}

#[tokio::test]
async fn an_act_is_recorded_with_who_what_and_how_it_ended() {
    let admin = TestAdmin::start().await;
    assert_eq!(log(&admin, "").await, []);
    admin.post("/api/v1/holds", r#"{"scope":"handler:orders"}"#).await;
    admin.post("/api/v1/holds", r#"{"scope":"handler:ghost"}"#).await;
    admin.post("/api/v1/time/confirm", "").await;
    let all = log(&admin, "").await;
    let told: Vec<_> = all.iter().map(|act| (&*act.act, act.outcome)).collect();
    let expected = [
        ("confirm_time", ActOutcome::Done),
        ("hold", ActOutcome::Refused),
        ("hold", ActOutcome::Done),
    ];
    assert_eq!(told, expected);
    let refused = &all[1];
    assert_eq!((&*refused.who, refused.role.as_deref()), ("operator", Some("admin")));
    assert_eq!(refused.subject.as_deref(), Some("handler:ghost"));
    let detail = refused.detail.as_ref().unwrap();
    assert_eq!(detail, &json!({ "how": "local_file", "code": "unknown_name" }));
    let filtered = log(&admin, "?act=hold&outcome=done&who=operator").await;
    assert_eq!(filtered, all[2..]);
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let admin = TestAdmin::start().await;
    for _ in 0..3 {
        admin.post("/api/v1/time/confirm", "").await;
    }
    let first = admin.get("/api/v1/audit?limit=2").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = admin.get(&format!("/api/v1/audit?limit=2&cursor={next}")).await;
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null(), "{second}");
}

#[tokio::test]
async fn every_kind_of_act_is_in_the_log() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", b"{}").await;
    let dead = admin.give_up().await;
    admin.post(&format!("/api/v1/dead-letters/{dead}/requeue"), "").await;
    admin.post("/api/v1/retry", r#"{"handler":"orders"}"#).await;
    admin.post("/api/v1/replay", &format!(r#"{{"event":"{event}"}}"#)).await;
    admin.post("/api/v1/replay", &format!(r#"{{"event":"{event}","dry_run":true}}"#)).await;
    admin.post("/api/v1/cancel", &format!(r#"{{"id":"{event}"}}"#)).await;
    let (_, hold) = admin.post("/api/v1/holds", r#"{"scope":"handler:orders"}"#).await;
    admin.ask("DELETE", &format!("/api/v1/holds/{}", hold["id"])).await;
    admin.post("/api/v1/quarantine/release", "{}").await;
    admin.post("/api/v1/sources/notes/secret-window", r#"{"until":"1h"}"#).await;
    admin.ask("POST", "/api/v1/sources/notes/secret/show").await;
    admin.ask("DELETE", "/api/v1/sources/notes/secret-window").await;
    admin.ask("DELETE", "/api/v1/sources/notes/secret").await;
    admin.post("/api/v1/tokens", r#"{"name":"ci","role":"read"}"#).await;
    admin.ask("DELETE", "/api/v1/tokens/ci").await;
    admin.post("/api/v1/login-codes", "").await;
    let acts: Vec<String> = log(&admin, "").await.into_iter().rev().map(|act| act.act).collect();
    let expected = [
        "requeue",
        "retry",
        "replay",
        "cancel",
        "hold",
        "release",
        "quarantine_release",
        "secret_window_open",
        "secret_show",
        "secret_window_close",
        "secret_forget",
        "token_create",
        "token_revoke",
        "login_code",
    ];
    assert_eq!(acts, expected);
    let told = admin.get("/api/v1/audit").await.to_string();
    assert!(!told.contains("weir_tok_") && !told.contains("/login/"), "no secret: {told}");
}
