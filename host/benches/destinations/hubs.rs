//! The hub's part: its events wait behind a hold, and then all are sent.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use weir_testing::hub::{RunningHub, TestHub};

use crate::started::Started;
use crate::{Amounts, body};

/// Events that are posted at the same time.
const LANES: usize = 64;
/// Between two looks at the count of messages.
const LOOK: Duration = Duration::from_millis(20);

/// Sends all messages, and returns the time from the end of the hold to the last settlement.
pub(crate) async fn send(started: &Started, amounts: Amounts) -> Duration {
    let config = format!(
        "[destinations.out]\n{}\nallow = [\"@private\"]\nconcurrency = {}\n\
         [[route]]\non = [\"github:*\"]\nto = \"out\"\n",
        started.settings, amounts.concurrency
    );
    // A file has no addresses.
    let config = match started.server {
        Some(_) => config,
        None => config.replace("allow = [\"@private\"]\n", ""),
    };
    let hub = TestHub::new().github().config(&config).start().await;
    hub.cli_ok(&["hold", "destination:out", "--reason", "until all is stored"]);
    let lanes = (0..LANES).map(|lane| {
        let hub = &hub;
        async move {
            for n in (lane..amounts.messages).step_by(LANES) {
                hub.push("push", &format!("delivery-{n}"), &body(n)).await.accepted();
            }
        }
    });
    join_all(lanes).await;
    let watch = Instant::now();
    hub.cli_ok(&["release", "destination:out"]);
    while sent(&hub).await < amounts.messages as f64 {
        tokio::time::sleep(LOOK).await;
    }
    watch.elapsed()
}

async fn sent(hub: &RunningHub) -> f64 {
    let lines = hub.metric_lines(&["weir_attempts_total{", "destination:out", "\"ok\""]).await;
    lines.first().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}
