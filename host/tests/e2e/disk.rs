//! Disks that are slow, fail or are full: what is answered, and what is stored afterwards.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;

use crate::faults::Faults;
use weir_testing::hub::{Answer, RunningHub, TestHub};
use weir_testing::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn during_a_slow_sync_no_request_is_answered() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let hub = hub.start().await;
    hub.push("push", "before", b"{}").await.accepted();
    disk.does("slow 2000");
    let (synced, started) = (disk.synced(), Instant::now());
    let twin = async |_| {
        let answer = hub.push("push", "twin", b"{}").await;
        (answer, disk.synced() - synced, started.elapsed())
    };
    let answers = join_all((0..64).map(twin)).await;
    disk.is_well();

    for (answer, synced, after) in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(*synced > 0, "answered before a sync was done: {answer:?}");
        assert!(*after >= Duration::from_secs(2), "answered after {after:?}: {answer:?}");
    }
    let first = answers.iter().filter(|(a, ..)| a.body["status"] == "accepted").count();
    let repeats = answers.iter().filter(|(a, ..)| a.body["status"] == "duplicate").count();
    assert_eq!((first, repeats), (1, 63));
    let id = event(&answers[0].0);
    assert!(answers.iter().all(|(answer, ..)| event(answer) == id), "{answers:?}");
}

/// The id of the stored event, whether it is new or a duplicate.
fn event(answer: &Answer) -> &str {
    answer.body["event_id"].as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

/// The body of `/health`. None if the hub does not answer.
async fn health(hub: &RunningHub) -> Option<Value> {
    let uri = format!("http://{}/health", hub.admin);
    let answer = hub.try_exchange(Request::get(uri).body(Full::default()).unwrap()).await?;
    Some(serde_json::from_slice(answer.body()).unwrap())
}

/// True if the answer is 503 with `Retry-After`.
fn assert_unavailable(answer: &Response<Bytes>) {
    assert_eq!(answer.status(), 503, "{answer:?}");
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(problem["code"], "store_unavailable", "{answer:?}");
    let wait: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait > 0, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_the_process_answers_no_2xx() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let mut hub = hub.start().await;
    let before = hub.push("push", "before", b"{}").await.accepted();
    disk.does("fail");
    assert_unavailable(&hub.exchange(hub.push_request("push", "failed", b"{}")).await);

    // The disk works again, but the process accepts neither new events nor duplicates of stored
    // ones.
    let said = health(&hub).await.unwrap();
    assert_eq!(
        (&said["reason"], &said["store"]["status"]),
        (&"store_poisoned".into(), &"poisoned".into())
    );
    let mut refused = 0;
    for n in 0.. {
        for id in ["before", "failed", &n.to_string()] {
            if let Some(answer) = hub.try_exchange(hub.push_request("push", id, b"{}")).await {
                assert_eq!(answer.status(), 503, "{answer:?}");
                refused += 1;
            }
        }
        if health(&hub).await.is_none() {
            break;
        }
    }
    assert!(refused > 3, "senders are told to come back: {refused}");
    assert_eq!(hub.until_stopped().await, 74);

    let hub = hub.kill_and_restart().await;
    let log = hub.log.all();
    let checked = log.find("\"after_failure\":true").unwrap();
    assert!(
        checked < log.find("\"message\":\"ready\"").unwrap(),
        "before anything is accepted: {log}"
    );
    assert_eq!(event(&hub.push("push", "before", b"{}").await), before);
    let again = hub.push("push", "failed", b"{}").await;
    assert_eq!(again.status, 200, "{again:?}");
}

/// A file system that can be full: one of the test's own, or, where the system does not allow that,
/// a fault library that reports a full disk.
enum Room {
    Own { data: PathBuf },
    Simulated(Faults),
}

impl Room {
    /// Size of the file system in bytes: what a hub needs, and a little more.
    const SIZE: &str = "size=12m";

    fn of(hub: TestHub) -> (TestHub, bool) {
        let data = hub.folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mount = format!("mount -t tmpfs -o {} tmpfs \"$0\" && exec \"$@\"", Self::SIZE);
        let data = data.to_str().unwrap();
        // The first works as root, the second for other users where it is allowed.
        for how in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
            let words = [&["unshare"][..], how, &["sh", "-c", &mount, data]].concat();
            let tried = Command::new(words[0]).args(&words[1..]).arg("true").output();
            if tried.is_ok_and(|tried| tried.status.success()) {
                return (hub.under(&words), true);
            }
        }
        (hub, false)
    }

    /// Fills the disk.
    fn fill(&self) {
        match self {
            Self::Simulated(disk) => disk.does("full"),
            Self::Own { data } => {
                let mut filler = std::fs::File::create(data.join("filler")).unwrap();
                let full =
                    (0..).find_map(|_| std::io::Write::write_all(&mut filler, &[1; 4096]).err());
                assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
            }
        }
    }

    fn empty(&self) {
        match self {
            Self::Simulated(disk) => disk.is_well(),
            Self::Own { data } => std::fs::remove_file(data.join("filler")).unwrap(),
        }
    }
}

/// Fills the disk twice under a hub that receives webhooks. Returns the requests that were answered
/// with 2xx.
async fn fill_twice(hub: &RunningHub, room: &Room) -> Vec<(String, String)> {
    let mut accepted = Vec::new();
    let mut post = async |id: String| {
        let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(20_000));
        let answer = hub.exchange(hub.push_request("push", &id, body.as_bytes())).await;
        if answer.status() == 200 {
            let body: Value = serde_json::from_slice(answer.body()).unwrap();
            accepted.push((id, body["event_id"].as_str().unwrap().to_owned()));
        } else {
            assert_unavailable(&answer);
        }
        answer.status().as_u16()
    };
    for round in 0..2 {
        assert_eq!(post(format!("{round} before")).await, 200);
        room.fill();
        let mut refused = 0;
        // The store first uses up the space that it had allocated before.
        for n in 0..2_000 {
            refused += usize::from(post(format!("{round} full {n}")).await == 503);
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "the disk was never full");
        room.empty();
        // The next request is accepted without any action.
        assert_eq!(post(format!("{round} after")).await, 200);
    }
    accepted
}

async fn assert_kept(hub: &RunningHub, accepted: &[(String, String)]) {
    for (id, event) in accepted {
        assert_eq!(hub.event(event).await["delivery_id"], id.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_answers_503_with_retry_after_and_recovers_by_itself() {
    let (hub, is_own) = Room::of(TestHub::new().github());
    let (hub, room) = match is_own {
        true => (hub.start().await, None),
        false => {
            let (hub, disk) = Faults::of(hub);
            (hub.start().await, Some(Room::Simulated(disk)))
        }
    };
    // A mount in the process's own namespace is visible only through the process.
    let seen = format!("/proc/{}/root{}/data", hub.pid(), hub.folder.path().display());
    let room = room.unwrap_or(Room::Own { data: seen.into() });
    let accepted = fill_twice(&hub, &room).await;
    assert_kept(&hub, &accepted).await;
    assert_eq!(hub.metric("weir_store_poisoned").await, 0.0);
    assert_eq!(hub.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_accepted_on_a_full_disk_survive_a_kill() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let hub = hub.start().await;
    let room = Room::Simulated(disk);
    let accepted = fill_twice(&hub, &room).await;
    room.fill();
    let hub_is_full = hub.push("push", "last", b"{}").await;
    assert_eq!(hub_is_full.status, 503);
    room.empty();
    let hub = hub.kill_and_restart().await;
    assert_kept(&hub, &accepted).await;
    let (id, first) = &accepted[0];
    let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(20_000));
    assert_eq!(event(&hub.push("push", id, body.as_bytes()).await), first);
    until("health", async || {
        let said = health(&hub).await.unwrap();
        if said["status"] == "ok" { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_checked_while_the_hub_runs_and_health_shows_it() {
    let hub = TestHub::new().github().start().await;
    hub.push("push", "one", b"{}").await.accepted();
    let hub = hub.kill_and_restart().await;
    let said = health(&hub).await.unwrap();
    assert_eq!(said["store"]["integrity"]["status"], "done", "it is small: {said}");
    let checked = hub.cli(&["check", "--store", "--json"]);
    let said: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(checked.status.success() && said["ok"] == true, "{checked:?}");
}
