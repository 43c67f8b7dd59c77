//! Jobs: making, counting, listing and acting. No worker runs here.

use super::*;
use crate::api::{JobCount, JobView};

#[tokio::test]
async fn a_job_is_made_once_listed_and_acted_on() {
    let admin = TestAdmin::start().await;
    let body = json!({ "name": "mine", "what": "dead_letters", "rate": "50/s",
        "filter": { "source": "github", "since": "1h" } });
    let (status, made) = admin.post("/api/v1/jobs", &body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    let made: JobView = serde_json::from_value(made).unwrap();
    assert_eq!((made.state.as_str(), made.created_by.as_str()), ("running", "operator"));
    let (status, _) = admin.post("/api/v1/jobs", &body.to_string()).await;
    assert_eq!(status, 200, "the same again");
    let other = json!({ "name": "mine", "what": "dead_letters" });
    let (status, refused) = admin.post("/api/v1/jobs", &other.to_string()).await;
    assert_eq!((status, &refused["code"]), (409, &json!("job_differs")));
    for (act, state) in [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")] {
        let (status, job) = admin.post(&format!("/api/v1/jobs/mine/{act}"), "").await;
        assert_eq!((status, &job["state"]), (200, &json!(state)), "{act}");
    }
    let (status, over) = admin.post("/api/v1/jobs/mine/resume", "").await;
    assert_eq!((status, &over["code"]), (409, &json!("job_over")));
    admin.reads_back::<ListPage<JobView>>("/api/v1/jobs").await;
    assert_eq!(admin.get("/api/v1/jobs/mine").await["name"], "mine");
    let none = admin.error("GET", "/api/v1/jobs/other").await;
    assert_eq!(none, (404, "job_not_found".to_owned()));
    let audit = admin.get("/api/v1/audit?act=job_create&outcome=done").await;
    assert_eq!(audit["items"][0]["subject"], "mine");
    assert_eq!(audit["items"][0]["detail"]["what"], "dead_letters");
}

#[tokio::test]
async fn a_count_applies_the_rules_of_now() {
    let admin = TestAdmin::start().await;
    let count = async |body: Value| {
        let (status, counted) = admin.post("/api/v1/jobs/count", &body.to_string()).await;
        assert_eq!(status, 200, "{counted}");
        serde_json::from_value::<JobCount>(counted).unwrap()
    };
    admin.receive("github", "push", b"{}").await;
    admin.receive_for(&[], "github", "ping", b"{}").await;
    let counted = |count, tried, routed, deliveries| JobCount {
        count,
        more: false,
        tried,
        routed,
        deliveries,
    };
    let events = json!({ "what": "events" });
    assert_eq!(count(events.clone()).await, counted(2, 2, 2, 1), "one waits already");
    admin.give_up().await;
    assert_eq!(count(events).await, counted(2, 2, 2, 2));
    let of_push = json!({ "what": "events", "filter": { "type": "pu*" } });
    assert_eq!(count(of_push).await, counted(1, 1, 1, 1));
    assert_eq!(count(json!({ "what": "unrouted" })).await, counted(1, 1, 1, 1));
    let dead = |target: &str| json!({ "what": "dead_letters", "filter": { "target": target } });
    assert_eq!(count(dead("handler:orders")).await, counted(1, 1, 1, 1));
    assert_eq!(count(dead("destination:ops")).await, JobCount::default());
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused() {
    let admin = TestAdmin::start().await;
    let unrouted = |filter: Value| json!({ "name": "a", "what": "unrouted", "filter": filter });
    let of_events = |filter: Value| json!({ "name": "a", "what": "events", "filter": filter });
    for (body, status, code) in [
        (json!({ "name": "a b", "what": "events" }), 400, "invalid_job_name"),
        (json!({ "name": "a", "what": "everything" }), 400, "malformed"),
        (json!({ "name": "a", "what": "events", "rate": "fast" }), 400, "malformed"),
        (json!({ "name": "a", "what": "dead_letters", "to": "ops" }), 400, "malformed"),
        (unrouted(json!({ "target": "handler:orders" })), 400, "malformed"),
        (unrouted(json!({ "status": "processed" })), 400, "malformed"),
        (of_events(json!({ "sorce": "x" })), 400, "malformed"),
        (of_events(json!({ "source": "nope" })), 404, "unknown_name"),
        (json!({ "name": "a", "what": "events", "to": "nope" }), 404, "unknown_name"),
    ] {
        let (got, refused) = admin.post("/api/v1/jobs", &body.to_string()).await;
        assert_eq!((got, &refused["code"]), (status, &json!(code)), "{body}: {refused}");
    }
}
