//! Dead letters.

use super::*;

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_requeued_once() {
    let admin = TestAdmin::start().await;
    admin.receive("github", "push", b"{}").await;
    let dead = admin.give_up().await;
    assert_eq!(ids(&admin.get("/api/v1/dead-letters").await), [dead.to_string()]);
    let other = "/api/v1/dead-letters?target=destination:ops";
    assert!(ids(&admin.get(other).await).is_empty());
    let path = format!("/api/v1/dead-letters/{dead}");
    assert_eq!(admin.get(&path).await["history"][0]["outcome"], "reject");

    let requeue = format!("{path}/requeue");
    assert_eq!(admin.error("GET", &requeue).await.0, 405);
    let (status, said) = read(admin.ask("POST", &requeue).await).await;
    assert_eq!((status, said), (StatusCode::OK, json!({ "requeued": [dead] })));
    let again = (409, "not_a_dead_letter".to_owned());
    assert_eq!(admin.error("POST", &requeue).await, again);
    assert_eq!(admin.error("GET", &path).await, again);
    assert!(ids(&admin.get("/api/v1/dead-letters").await).is_empty());
    let delivery = admin.store.delivery(dead).await.unwrap().unwrap();
    assert!(delivery.generation > 0 && !delivery.state.is_final());
}

#[tokio::test]
async fn concurrent_requeues_count_once() {
    let admin = TestAdmin::start().await;
    admin.receive("github", "push", b"{}").await;
    let dead = admin.give_up().await;
    let path = format!("/api/v1/dead-letters/{dead}/requeue");
    let asks = (0..8).map(|_| admin.ask("POST", &path));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().any(|a| a.status() == StatusCode::OK));
    assert!(answers.iter().all(|a| [200, 409].contains(&a.status().as_u16())));
    assert_eq!(admin.store.delivery(dead).await.unwrap().unwrap().generation, 1);
    let wanted = [ClaimRequest { target: orders(), lane: Lane::Late, limit: 10 }];
    assert_eq!(admin.store.claim(&wanted).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_requeue_without_the_token_is_refused() {
    let admin = TestAdmin::start().await;
    admin.receive("github", "push", b"{}").await;
    let dead = admin.give_up().await;
    let path = format!("/api/v1/dead-letters/{dead}/requeue");
    let request = http::Request::builder().method("POST").uri(path).header("host", HOST);
    let response = admin.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let (status, problem) = read(response).await;
    assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("token_missing")));
    let delivery = admin.store.delivery(dead).await.unwrap().unwrap();
    assert_eq!((delivery.state.as_str(), delivery.generation), ("dead_letter", 0));
}
