//! A handler in a large language at work does not slow down a small one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_testing::guests;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

use crate::neighbours::{NOISE, ROUNDS, WAKE_UPS, lateness, p99};

/// Events per second for the large handler: it is busy all the time on one core.
const EVENTS_PER_SECOND: u32 = 150;

/// The example in Python, where `.ci/guests languages` has built it. Else a command that costs as
/// much: it writes 6 MiB of its memory and computes for some milliseconds.
fn large(folder: &Path) -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests/wasm/python.wasm");
    if python.exists() {
        return python;
    }
    let body = "(local $n i32)
        (drop (memory.grow (i32.const 96)))
        (loop $pages
            (i32.store (local.get $n) (i32.const 1))
            (br_if $pages (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 512)))
                (i32.const 6291456))))
        (local.set $n (i32.const 4000000))
        (loop $count (br_if $count (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
    guests::write(folder, "large", &guests::command(body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_handler_does_not_double_the_p99_of_another() {
    let _alone = crate::ALONE.lock().await;
    crate::in_memory();
    let folder = tempfile::tempdir().unwrap();
    let module = large(folder.path());
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let (sink, other) = (Sink::start().await, Sink::start().await);
        let hub = Arc::new(
            TestHub::new()
                .github()
                .destination("sink", &sink, "")
                .destination("other", &other, "")
                .handler("small", "version-a")
                .sidecar("small", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n")
                .module("large", &module)
                .sidecar(
                    "large",
                    "on = [\"github:large\"]\n[config]\ndestination = \"other\"\n\
                     [grant]\ndestinations = [\"other\"]\n",
                )
                .start()
                .await,
        );
        hub.until_ready("small").await;
        hub.until_ready("large").await;
        p99(&hub, &sink, "to warm up").await;
        let quiet = p99(&hub, &sink, "quiet").await;

        let over = Arc::new(AtomicBool::new(false));
        let posting = tokio::spawn(post_large_ones(hub.clone(), over.clone()));
        until("runs of the large handler", async || {
            let ended = hub.metric_lines(&["weir_attempts_total", "large", "ok"]).await;
            let ended = ended.first().and_then(|line| line.rsplit(' ').next()?.parse().ok());
            if ended.unwrap_or(0.0) >= 50.0 { Ok(()) } else { Err(format!("{ended:?}")) }
        })
        .await;
        let late = tokio::spawn(lateness(over.clone()));
        let beside = p99(&hub, &sink, "beside").await;
        over.store(true, Ordering::Relaxed);
        let (posted, late) = (posting.await.unwrap(), late.await.unwrap());
        eprintln!(
            "round {round}: p99 from event to effect {quiet:?}, beside {posted} events of a large \
             handler {beside:?}; timers are {late:?} late"
        );
        if beside <= (2 * quiet).max(NOISE).max(WAKE_UPS * late) {
            return;
        }
        seen.push((quiet, beside, late));
    }
    panic!("quiet, beside a large handler, and how late the machine is: {seen:?}");
}

/// Posts events for the large handler until `over` is set. Returns their number.
async fn post_large_ones(hub: Arc<RunningHub>, over: Arc<AtomicBool>) -> usize {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / EVENTS_PER_SECOND);
    let mut posted = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        hub.push("large", &format!("large-{posted}"), b"{}").await.accepted();
        posted += 1;
    }
    posted
}
