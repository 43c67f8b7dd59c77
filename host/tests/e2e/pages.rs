//! The console's pages over a real hub: sources, quarantine, inbox and settings.

use http::{Request, StatusCode};
use http_body_util::Full;
use weir_testing::hub::{RunningHub, SECRET, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// The token of the hub, as its folder has it.
fn token(hub: &RunningHub) -> String {
    let token = std::fs::read_to_string(hub.folder.path().join("data/admin-token")).unwrap();
    token.trim().to_owned()
}

async fn page(hub: &RunningHub, path: &str) -> String {
    let request = Request::get(format!("http://{}{path}", hub.admin))
        .header("accept", "text/html")
        .header("authorization", format!("Bearer {}", token(hub)));
    let (status, body) = hub.send(request.body(Full::default()).unwrap()).await;
    let page = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(status, StatusCode::OK, "{path}: {page}");
    assert!(!page.contains("<script>"), "{path}: {page}");
    page
}

/// Sends a form. Returns where it leads.
async fn submit(hub: &RunningHub, path: &str, fields: &str) -> String {
    let request = Request::post(format!("http://{}{path}", hub.admin))
        .header("accept", "text/html")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Bearer {}", token(hub)));
    let answer = hub.exchange(request.body(Full::from(fields.to_owned())).unwrap()).await;
    let (head, body) = answer.into_parts();
    assert_eq!(head.status, StatusCode::SEE_OTHER, "{path}: {}", String::from_utf8_lossy(&body));
    head.headers["location"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_names_a_source_that_brings_nothing() {
    let feed = "[sources.feed]\nkind = \"poll\"\nurl = \"http://127.0.0.1:1/\"\nitem_id = \"/id\"\n\
                interval = \"1s\"\nallow = [\"@private\"]\n";
    let hub = TestHub::new().github().config(feed).start().await;
    hub.push("push", "one", b"{}").await.accepted();
    until("the overview to name the source", async || {
        let page = page(&hub, "/").await;
        let is_named = page.contains("/sources/feed") && page.contains("brings no messages");
        if is_named { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_released_from_the_page_once_the_secret_is_right() {
    let hub = TestHub::new().source("github", "github", "not the one").start().await;
    let body = br#"{"note":"</script><script>alert(1)</script>"}"#;
    assert_eq!(hub.push("push", "a", body).await.refused().1, "signature_mismatch");
    let source = page(&hub, "/sources/github").await;
    assert!(source.contains("Refuses all") && source.contains("signature_mismatch"), "{source}");
    let list = until("the request to be kept", async || {
        let list = page(&hub, "/quarantine").await;
        if list.contains("1 quarantined request") { Ok(list) } else { Err(list) }
    })
    .await;
    assert!(list.contains("Put the secret that signed them"), "{list}");
    let id = list.split("/quarantine/qrt_").nth(1).unwrap().split('"').next().unwrap();
    let shown = page(&hub, &format!("/quarantine/qrt_{id}")).await;
    assert!(shown.contains("Body as JSON") && shown.contains("alert(1)"), "{shown}");
    page(&hub, &format!("/quarantine/qrt_{id}?view=headers")).await;
    hub.write("github.secret", SECRET);
    until("the request to be valid", async || {
        let list = page(&hub, "/quarantine").await;
        if list.contains("Release 1") { Ok(()) } else { Err(list) }
    })
    .await;
    let to = submit(&hub, "/quarantine/release", "source=github").await;
    assert_eq!(to, "/quarantine?source=github&released=1&refused=0");
    assert!(page(&hub, &to).await.contains("<b>Released 1.</b>"));
    assert_eq!(hub.api("/api/v1/events").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_from_the_page_arrives_in_the_inbox() {
    let hub = TestHub::new()
        .github()
        .config("[destinations.letters]\nkind = \"inbox\"\n[[route]]\non = [\"github:*\"]\nto = \"letters\"")
        .start()
        .await;
    let routes = page(&hub, "/routes").await;
    assert!(
        routes.contains("<b><bdi>letters</bdi></b>") && routes.contains("github:*"),
        "{routes}"
    );
    let to = submit(&hub, "/sources/github/sample", "sample=").await;
    assert!(to.starts_with("/sources/github?sample=evt_"), "{to}");
    assert!(page(&hub, &to).await.contains("signed and accepted"));
    until("the message to arrive", async || {
        let list = page(&hub, "/inbox").await;
        if list.contains("/inbox/1\"") { Ok(()) } else { Err(list) }
    })
    .await;
    let message = page(&hub, "/inbox/1").await;
    assert!(message.contains("Body as JSON"), "{message}");
    assert!(page(&hub, "/inbox/1?view=raw").await.contains("Body as text"));
    let destination = page(&hub, "/destinations/letters").await;
    assert!(destination.contains("route:1"), "{destination}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_where_each_value_comes_from() {
    const LIVES: &str = "[retention]\npayload_life = \"9d\"\nhold_life = \"20d\"";
    let hub = TestHub::new().github().config(LIVES).start().await;
    let settings = page(&hub, "/settings").await;
    assert!(settings.contains("retention.payload_life") && settings.contains("9d"), "{settings}");
    assert!(settings.contains("{ file = &quot;github.secret&quot; }"), "{settings}");
    hub.write("weir.toml", &hub.configured().replace("9d", "8d"));
    assert!(!page(&hub, "/settings").await.contains("after a restart"));
    hub.write("weir.toml", &hub.configured().replace("20d", "21d"));
    assert!(page(&hub, "/settings").await.contains("after a restart"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_by_cause_and_discarded_by_command() {
    let sink = Sink::answering([(422, vec![])]).await;
    let hub = TestHub::new()
        .github()
        .destination("gone", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"gone\"")
        .start()
        .await;
    hub.push("push", "a", b"{}").await.accepted();
    let id = until("a dead letter", async || {
        let dead = hub.api("/api/v1/dead-letters").await;
        dead["items"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| dead.to_string())
    })
    .await;
    let causes = hub.cli_ok(&["dead-letters", "causes"]);
    assert!(causes.contains("destination:gone"), "{causes}");
    assert_eq!(hub.cli_ok(&["dead-letters", "discard", &id]).trim(), "discarded 1");
    assert_eq!(hub.cli_err(&["dead-letters", "discard", &id]).0, 1);
    assert_eq!(hub.cli_ok(&["dead-letters", "causes"]).trim(), "no dead letters");
}
