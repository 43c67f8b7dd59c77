//! Replays.

use super::*;

#[tokio::test]
async fn a_replay_is_done_once_under_its_key() {
    let admin = TestAdmin::start().await;
    let event = admin.receive("github", "push", b"{}").await;
    let ask = |more: &str| format!("{{\"event\":\"{event}\"{more}}}");
    let path = "/api/v1/replay";
    assert_eq!(admin.post(path, &ask("")).await.1["deliveries"], 0, "it waits already");
    let dead = admin.give_up().await;
    for _ in 0..2 {
        let (status, said) = admin.post(path, &ask(",\"dry_run\":true")).await;
        assert_eq!((status, &said["deliveries"]), (200, &json!(1)), "{said}");
    }
    for _ in 0..2 {
        let (_, said) = admin.post(path, &ask(",\"request\":\"mine\"")).await;
        assert_eq!((&said["routed"], &said["deliveries"]), (&json!(1), &json!(1)), "{said}");
    }
    let delivery = admin.store.delivery(dead).await.unwrap().unwrap();
    assert_eq!(delivery.generation, 1);
    for bad in
        ["{}", "{\"event\":\"evt_1\"}", &ask(",\"unrouted\":{}"), &ask(",\"request\":\"a b\"")]
    {
        assert_eq!(admin.post(path, bad).await.0, 400, "{bad}");
    }
    assert_eq!(admin.error("GET", path).await.0, 405);
}

#[tokio::test]
async fn an_interrupted_replay_goes_on_under_its_key() {
    let admin = TestAdmin::start().await;
    for _ in 0..5 {
        admin.receive_for(&[], "github", "push", b"{}").await;
    }
    let two = "{\"request\":\"mine\",\"unrouted\":{\"limit\":2}}";
    for moved in [2, 2, 1, 0] {
        let (status, said) = admin.post("/api/v1/replay", two).await;
        assert_eq!((status, &said["deliveries"]), (200, &json!(moved)), "{said}");
    }
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Late, limit: 10 }];
    assert_eq!(admin.store.claim(&wanted).await.unwrap().len(), 5);
    let other = "{\"unrouted\":{\"source\":\"gitlab\"}}";
    let (status, problem) = admin.post("/api/v1/replay", other).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_name")), "{problem}");
}
