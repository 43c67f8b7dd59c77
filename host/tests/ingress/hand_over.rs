//! Secrets that a sender hands over: accepted once, while an operator has opened a window.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use weir::ingress::{HandOverStatus, OpenWindowError};
use weir_core::time::Timestamp;
use weir_core::verify::Secret;

use crate::hub::{IngressHub, NOW_MS, Reply, request};

const SECRET: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
/// A published event that is signed with the secret, and its signature.
const BODY: &str =
    r#"{"events":[{"action":"changed","resource":{"gid":"1","resource_type":"task"}}]}"#;
const SIGNATURE: &str = "9d011c08342193ed633bc26618fc8517e1c2176a886ff68a76428e7f27f45b81";

const SOURCES: &str = "[sources.tasks]\nprovider = \"asana\"\n[sources.fixed]\n\
     provider = \"asana\"\n\
                       secrets = [\"known beforehand\"]\n\
                       [sources.github]\nprovider = \"github\"\nsecrets = [\"another one\"]\n";

async fn hand_over(hub: &IngressHub, secret: &str) -> Reply {
    hub.post("/webhook/tasks", &[("x-hook-secret", secret)], "").await
}

async fn event(hub: &IngressHub) -> Reply {
    hub.post("/webhook/tasks", &[("x-hook-signature", SIGNATURE)], BODY).await
}

/// Opens a window for a minute.
async fn open(hub: &IngressHub, source: &str) -> Result<bool, OpenWindowError> {
    hub.ingress.open_window(source, Timestamp::from_millis(NOW_MS + 60_000)).await
}

#[tokio::test]
async fn a_handed_over_secret_verifies_at_once_and_after_a_restart() {
    let hub = IngressHub::of(SOURCES).await;
    assert_eq!(hand_over(&hub, SECRET).await.problem(), (403, "handshake_closed".into()));
    assert_eq!(event(&hub).await.problem().0, 401);

    open(&hub, "tasks").await.unwrap();
    let reply = hand_over(&hub, SECRET).await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains(&format!("x-hook-secret: {SECRET}")), "{}", reply.head);
    assert_eq!(event(&hub).await.status, 200);
    assert_eq!(&*hub.only_request().await.secret, "handed-over");

    let hub = hub.restarted().await;
    assert_eq!(event(&hub).await.json()["duplicates"].as_array().map(Vec::len), Some(1));
    let kept = hub.on_disk();
    let found = kept.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
    assert!(!found, "the secret can be read from the disk");
}

#[tokio::test]
async fn a_second_secret_never_replaces_the_first() {
    let hub = IngressHub::of(SOURCES).await;
    open(&hub, "tasks").await.unwrap();
    assert_eq!(hand_over(&hub, SECRET).await.status, 200);
    assert_eq!(hand_over(&hub, "a stranger's").await.problem().1, "handshake_closed");
    assert!(matches!(open(&hub, "tasks").await, Err(OpenWindowError::Known)));
    assert_eq!(event(&hub).await.status, 200);
    let hub = hub.restarted().await;
    assert!(matches!(open(&hub, "tasks").await, Err(OpenWindowError::Known)));

    let name = hub.config.sources["tasks"].name.clone();
    assert!(hub.ingress.forget_secret(&name).await.unwrap());
    assert!(!hub.ingress.forget_secret(&name).await.unwrap());
    assert_eq!(event(&hub).await.problem().0, 401, "a forgotten secret verifies nothing");
    open(&hub, "tasks").await.unwrap();
    assert_eq!(hand_over(&hub, SECRET).await.status, 200);
}

#[tokio::test]
async fn of_many_hand_overs_at_once_one_is_accepted() {
    let hub = std::sync::Arc::new(IngressHub::of(SOURCES).await);
    open(&hub, "tasks").await.unwrap();
    let sending = (0..16).map(|n| {
        let hub = hub.clone();
        tokio::spawn(async move { hand_over(&hub, &format!("secret {n}")).await.status })
    });
    let mut heard = 0;
    for one in sending.collect::<Vec<_>>() {
        heard += u32::from(one.await.unwrap() == 200);
    }
    assert_eq!(heard, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_accepted_even_if_its_sender_hangs_up() {
    let hub = IngressHub::of(SOURCES).await;
    let name = hub.config.sources["tasks"].name.clone();
    let handshake = request("/webhook/tasks", &[("x-hook-secret", SECRET)], "");
    let tasks = || hub.ingress.sources().into_iter().find(|s| s.name == name).unwrap();
    for _ in 0..50 {
        open(&hub, "tasks").await.unwrap();
        while tasks().window_until.is_some() {
            let mut stream = hub.connect().await;
            stream.write_all(handshake.as_bytes()).await.unwrap();
        }
        let in_force = async {
            while tasks().awaits_secret {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), in_force).await.is_ok(), "in vain");
        assert!(hub.ingress.forget_secret(&name).await.unwrap());
    }
}

#[tokio::test]
async fn a_window_closes_by_itself_and_on_request() {
    let hub = IngressHub::of(SOURCES).await;
    open(&hub, "tasks").await.unwrap();
    hub.clock.set(NOW_MS + 60_000);
    assert_eq!(hand_over(&hub, SECRET).await.problem().1, "handshake_closed");
    let later = Timestamp::from_millis(NOW_MS + 120_000);
    hub.ingress.open_window("tasks", later).await.unwrap();
    assert!(hub.ingress.close_window("tasks") && !hub.ingress.close_window("tasks"));
    assert_eq!(hand_over(&hub, SECRET).await.problem().1, "handshake_closed");
}

#[tokio::test]
async fn no_window_opens_where_no_secret_is_handed_over() {
    let hub = IngressHub::of(SOURCES).await;
    for name in ["fixed", "github"] {
        assert!(matches!(open(&hub, name).await, Err(OpenWindowError::Configured)));
    }
    assert!(matches!(open(&hub, "unknown").await, Err(OpenWindowError::UnknownSource)));
    let statuses = hub.ingress.sources();
    let awaiting: Vec<_> =
        statuses.iter().filter(|s| s.awaits_secret).map(|s| s.name.as_str()).collect();
    assert_eq!(awaiting, ["tasks"]);
}

/// Hands a token over to the source `notes`, as Notion does.
async fn hand_token_over(hub: &IngressHub) {
    let body = format!("{{\"verification_token\":\"{SECRET}\"}}");
    assert_eq!(hub.post("/webhook/notes", &[], &body).await.status, 200);
}

#[tokio::test]
async fn a_secret_to_give_back_is_shown_once_until_the_window_ends() {
    let hub = IngressHub::of(
        "[sources.notes]\nprovider = \"notion\"\n[sources.tasks]\nprovider = \"asana\"\n",
    )
    .await;
    let (show, name) =
        (|| hub.ingress.show_secret("notes"), hub.config.sources["notes"].name.clone());
    assert_eq!(show(), HandOverStatus::Nothing);
    assert!(open(&hub, "notes").await.unwrap());
    assert_eq!(show(), HandOverStatus::Waiting(Timestamp::from_millis(NOW_MS + 60_000)));
    hand_token_over(&hub).await;
    assert_eq!(show(), HandOverStatus::Secret(Secret::new(SECRET)));
    assert_eq!(show(), HandOverStatus::Shown);

    assert!(hub.ingress.forget_secret(&name).await.unwrap());
    assert_eq!(show(), HandOverStatus::Nothing);
    open(&hub, "notes").await.unwrap();
    hand_token_over(&hub).await;
    assert!(hub.ingress.forget_secret(&name).await.unwrap(), "before it was shown");
    assert_eq!(show(), HandOverStatus::Nothing);

    open(&hub, "notes").await.unwrap();
    hand_token_over(&hub).await;
    hub.clock.set(NOW_MS + 60_000);
    assert_eq!(show(), HandOverStatus::Nothing);
    hub.clock.set(NOW_MS);
    assert_eq!(show(), HandOverStatus::Nothing, "it is gone, not hidden");

    assert!(!open(&hub, "tasks").await.unwrap());
    assert_eq!(hand_over(&hub, SECRET).await.status, 200);
    assert_eq!(hub.ingress.show_secret("tasks"), HandOverStatus::Nothing);
}
