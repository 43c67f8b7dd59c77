//! Following events.

use super::*;
use crate::api::FollowPage;

/// The ids on a page, and its cursor.
fn of(page: &Value) -> (Vec<String>, String) {
    let items = page["items"].as_array().unwrap().iter();
    let ids = items.map(|item| item["event"]["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_reader_begins_now_or_in_the_past_and_goes_on_after_each_event() {
    let admin = TestAdmin::start().await;
    let old = admin.receive("github", "push", b"0").await.to_string();
    let path = "/api/v1/events/follow?source=github";
    let (none, cursor) = of(&admin.get(path).await);
    assert_eq!(none, Vec::<String>::new());
    let mut all = Vec::new();
    for n in 0..5 {
        admin.receive("stripe", "paid", b"{}").await;
        all.push(admin.receive("github", "push", format!("{n}").as_bytes()).await.to_string());
    }
    let page = admin.get(&format!("{path}&cursor={cursor}&limit=3")).await;
    let (first, next) = of(&page);
    assert_eq!(first, all[..3]);
    assert_eq!(page["items"][1]["event"]["payload"]["body"]["text"], "1");
    assert_eq!(of(&admin.get(&format!("{path}&cursor={next}")).await).0, all[3..]);
    let second = page["items"][1]["cursor"].as_str().unwrap();
    assert_eq!(of(&admin.get(&format!("{path}&cursor={second}")).await).0, all[2..]);
    let (past, _) = of(&admin.get(&format!("{path}&since=1h")).await);
    assert_eq!((past.len(), &past[0]), (6, &old));
    admin.reads_back::<FollowPage>(&format!("{path}&since=1h")).await;
    let unknown = admin.error("GET", "/api/v1/events/follow?source=gitbub").await;
    assert_eq!(unknown, (404, "unknown_name".to_owned()));
    assert_eq!(admin.error("GET", &format!("{path}&cursor=p1")).await.0, 400);
}

#[tokio::test]
async fn a_waiting_reader_gets_the_event_that_comes_and_ends_in_a_drain() {
    let admin = TestAdmin::start().await;
    let (_, cursor) = of(&admin.get("/api/v1/events/follow").await);
    let path = format!("/api/v1/events/follow?wait=true&cursor={cursor}");
    let coming = async {
        // The reader has looked once when this is stored, or sees it at its first look.
        admin.receive("github", "push", b"{}").await.to_string()
    };
    let (page, event) = tokio::join!(admin.get(&path), coming);
    let (ids, next) = of(&page);
    assert_eq!(ids, [event]);
    let path = format!("/api/v1/events/follow?wait=true&cursor={next}");
    let ending = async { admin.drain.stop_claiming() };
    let (page, ()) = tokio::join!(admin.get(&path), ending);
    assert_eq!(of(&page), (Vec::new(), next));
}
