//! The pages of what events go through: dead letters, targets, routes, quarantine, inbox, settings.

use super::*;
use crate::console;

/// Text that must stay text on every page.
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\u{1b}[2J \"quoted\" 'single'";

impl TestAdmin {
    /// The same with the console.
    async fn with_pages() -> Self {
        let mut admin = Self::start().await;
        admin.deps.console = Some(console::routes());
        admin.router =
            Admin::new(admin.ctx.clone(), admin.deps.clone()).router(HOST.parse().unwrap());
        admin
    }

    /// The text of a page.
    async fn page(&self, path: &str) -> String {
        let (status, page) = self.any_page(path).await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    async fn any_page(&self, path: &str) -> (u16, String) {
        let request = http::Request::builder()
            .uri(path)
            .header("host", HOST)
            .header("accept", "text/html")
            .header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let page = String::from_utf8(bytes(response).await.to_vec()).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>"), "{path}: {page}");
        assert!(!page.contains("<script>") && !page.contains("style="), "{path}: {page}");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'), "{path}: {page}");
        (status, page)
    }

    /// Sends a form. Returns the status, and where it leads or the page.
    async fn submit(&self, path: &str, fields: &str) -> (u16, String) {
        let request = http::Request::builder()
            .method("POST")
            .uri(path)
            .header("host", HOST)
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Body::from(fields.to_owned())).unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let location = response.headers().get("location");
        let location = location.map(|value| value.to_str().unwrap().to_owned());
        let page = String::from_utf8(bytes(response).await.to_vec()).unwrap();
        (status, location.unwrap_or(page))
    }

    /// Makes dead letters for `orders`, each with this reason.
    async fn dead(&self, reasons: &[&str]) -> Vec<DeliveryId> {
        let mut dead = Vec::new();
        for (number, reason) in reasons.iter().enumerate() {
            self.receive("github", "push", format!("{{\"n\":{number}}}").as_bytes()).await;
            dead.push(self.give_up_because(reason).await);
        }
        dead
    }
}

/// The value of a hidden field of a page.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let start = format!("name=\"{name}\" value=\"");
    let at = page.find(&start).unwrap_or_else(|| panic!("no field {name} in {page}"));
    page[at + start.len()..].split('"').next().unwrap()
}

#[tokio::test]
async fn empty_pages_say_what_to_do_next() {
    let admin = TestAdmin::with_pages().await;
    for (path, said) in [
        ("/dead-letters", "No dead letters."),
        ("/quarantine", "Nothing is in quarantine."),
        ("/inbox", "No message yet."),
        ("/sources", "2 ways in."),
        ("/sources/github", "Nothing yet"),
        ("/handlers", "1 handler. All are well."),
        ("/handlers/orders", "No version serves."),
        ("/destinations", "2 ways out. All are well."),
        ("/destinations/ops", "No rule is in force here."),
        ("/routes", "1 rule in force"),
        ("/settings", "every value is a default"),
        ("/dead-letters/preview", "Select dead letters first."),
    ] {
        let page = admin.page(path).await;
        assert!(page.contains(said), "{path}: {page}");
    }
}

#[tokio::test]
async fn pages_of_what_does_not_exist_are_not_found() {
    let admin = TestAdmin::with_pages().await;
    for path in [
        "/sources/nowhere",
        "/handlers/nowhere",
        "/destinations/%3Cscript%3E",
        "/inbox/7",
        "/quarantine/qrt_0000000000000000000000000",
    ] {
        let (status, _) = admin.any_page(path).await;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn dead_letters_of_one_cause_are_requeued_together() {
    let admin = TestAdmin::with_pages().await;
    let dead = admin.dead(&["order #4823 is empty", "order #4824 is empty", "no such key"]).await;
    let page = admin.page("/dead-letters").await;
    assert!(page.contains("3 dead letters") && page.contains("order #… is empty"), "{page}");
    let preview = "/dead-letters/preview?target=handler%3Aorders&cause=order+%23%E2%80%A6+is+empty";
    let page = admin.page(preview).await;
    assert!(page.contains("Requeue 2") && page.contains("are tried at once"), "{page}");
    let set = field(&page, "set").to_owned();
    let fields =
        format!("target=handler%3Aorders&cause=order+%23%E2%80%A6+is+empty&set={set}&ids=same");
    let (status, to) = admin.submit("/dead-letters/requeue", &fields).await;
    assert_eq!((status, &*to), (303, "/dead-letters?did=requeued&count=2&skipped=0"));
    assert!(admin.page(&to).await.contains("<b>Requeued 2.</b>"));
    let state = async |id: DeliveryId| admin.store.delivery(id).await.unwrap().unwrap().state;
    assert_eq!(state(dead[2]).await.as_str(), "dead_letter");
    assert!(!state(dead[0]).await.is_final() && !state(dead[1]).await.is_final());
    // The set is gone: a second press changes nothing.
    let (status, page) = admin.submit("/dead-letters/requeue", &fields).await;
    assert!(status == 409 && page.contains("None is left."), "{status} {page}");
}

#[tokio::test]
async fn an_act_on_a_set_that_has_changed_is_refused() {
    let admin = TestAdmin::with_pages().await;
    let dead = admin.dead(&["a", "a"]).await;
    let preview = "/dead-letters/preview?target=handler%3Aorders";
    let set = field(&admin.page(preview).await, "set").to_owned();
    admin.dead(&["a"]).await;
    let fields = format!("target=handler%3Aorders&set={set}");
    let (status, page) = admin.submit("/dead-letters/requeue", &fields).await;
    assert!(status == 409 && page.contains("it has 3 dead letters now"), "{page}");
    let (status, _) = admin.submit("/dead-letters/requeue", "set=&target=").await;
    assert_eq!(status, 400, "without a choice nothing is meant");
    let delivery = admin.store.delivery(dead[0]).await.unwrap().unwrap();
    assert_eq!(delivery.state.as_str(), "dead_letter");
}

#[tokio::test]
async fn selected_dead_letters_are_discarded_once_their_number_is_typed() {
    let admin = TestAdmin::with_pages().await;
    let dead = admin.dead(&["a", "b", "c"]).await;
    let chosen = format!("id={}&id={}", dead[0], dead[1]);
    let page = admin.page(&format!("/dead-letters/preview?{chosen}")).await;
    assert!(page.contains("Discard 2") && page.contains("Those that you selected."), "{page}");
    let fields = format!("{chosen}&set={}", field(&page, "set"));
    let (status, page) = admin.submit("/dead-letters/discard", &format!("{fields}&typed=3")).await;
    assert!(status == 409 && page.contains("the number does not match"), "{page}");
    let (status, to) = admin.submit("/dead-letters/discard", &format!("{fields}&typed=2")).await;
    assert_eq!((status, &*to), (303, "/dead-letters?did=discarded&count=2&skipped=0"));
    let state = async |id: DeliveryId| admin.store.delivery(id).await.unwrap().unwrap().state;
    assert_eq!(state(dead[0]).await.as_str(), "cancelled");
    assert_eq!(state(dead[2]).await.as_str(), "dead_letter");
    assert!(admin.page("/dead-letters").await.contains("1 dead letter"));
}

#[tokio::test]
async fn a_target_is_paused_and_resumed() {
    let admin = TestAdmin::with_pages().await;
    for (target, page) in
        [("handler:orders", "/handlers/orders"), ("destination:ops", "/destinations/ops")]
    {
        let (status, to) = admin.submit(&format!("{page}/pause"), "").await;
        assert_eq!((status, to), (303, format!("{page}?did=paused")));
        let held = admin.page(page).await;
        assert!(held.contains("Resume") && held.contains("paused in the console"), "{held}");
        let holds = admin.store.holds().await.unwrap();
        assert_eq!(holds[0].hold.scope.to_string(), target);
        let fields = format!("hold={}", field(&held, "hold"));
        let (status, to) = admin.submit(&format!("{page}/resume"), &fields).await;
        assert_eq!((status, to), (303, format!("{page}?did=resumed")));
        assert!(admin.store.holds().await.unwrap().is_empty());
    }
    let (status, to) = admin.submit("/destinations/ops/try", "").await;
    assert_eq!((status, &*to), (303, "/destinations/ops?did=tried"));
}

#[tokio::test]
async fn what_strangers_wrote_stays_text() {
    let admin = TestAdmin::with_pages().await;
    admin.dead(&[HOSTILE, HOSTILE]).await;
    let page = admin.page("/dead-letters").await;
    assert!(page.contains("&lt;script&gt;alert") && page.contains("U+202E"), "{page}");
    admin.page("/dead-letters/preview?cause=%3Cscript%3E&target=handler%3Aorders").await;
    for query in ["source=%3Cscript%3E", "cursor=%22%3E%3Cscript%3E", "target=%3Cscript%3E"] {
        admin.any_page(&format!("/dead-letters?{query}")).await;
    }
    admin.any_page("/sources/github?sample=%3Cscript%3E,evt_1").await;
    admin.any_page("/inbox?destination=%3Cscript%3E").await;
}

#[tokio::test]
async fn a_reader_without_the_role_sees_disabled_buttons() {
    let admin = TestAdmin::with_pages().await;
    admin.dead(&["a"]).await;
    let (_, made) = admin.post("/api/v1/tokens", r#"{"name":"reader","role":"read"}"#).await;
    let token = made["token"].as_str().unwrap();
    for (path, hidden) in [
        ("/destinations/ops", "/destinations/ops/pause"),
        ("/handlers/orders", "/handlers/orders/pause"),
    ] {
        let request = http::Request::builder().uri(path).header("host", HOST);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = admin.router.clone().call(request).await.unwrap();
        let page = String::from_utf8(bytes(response).await.to_vec()).unwrap();
        assert!(page.contains("disabled") && page.contains("role operate"), "{page}");
        assert!(!page.contains(hidden), "{page}");
    }
    let post = http::Request::builder().method("POST").uri("/destinations/ops/pause");
    let post = post.header("host", HOST).header("authorization", format!("Bearer {token}"));
    let response = admin.router.clone().call(post.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn acts_are_in_the_audit_log_with_who_did_them() {
    let admin = TestAdmin::with_pages().await;
    assert!(admin.page("/audit").await.contains("No act yet."));
    admin.submit("/destinations/ops/pause", "").await;
    admin.submit("/destinations/ops/resume", "hold=999").await;
    let page = admin.page("/audit").await;
    assert!(page.contains("destination:ops") && page.contains(">done<"), "{page}");
    assert!(page.contains(">refused<"), "{page}");
    let refused = admin.page("/audit?outcome=refused").await;
    assert!(!refused.contains("destination:ops"), "{refused}");
    assert!(admin.page("/audit?act=replay").await.contains("No act matches"));
    assert_eq!(admin.any_page("/audit?outcome=%3Cscript%3E").await.0, 400);
}
