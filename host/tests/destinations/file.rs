//! `file` and `stdout`: JSON lines.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use weir_testing::hub::{Log, TestHub, weir};
use weir_testing::wait::until;

use crate::outage::{self, Arrived};

fn arrived(files: &[&Path]) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            arrived.push(Arrived::new(line["id"].as_str().unwrap(), &line["body"]));
        }
    }
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gets_every_line_in_order_and_is_rotated() {
    let more = format!(
        "[destinations.out]\nkind = \"file\"\npath = \"out/events.jsonl\"\nmax_bytes = \"2MiB\"\n\
         keep = 10\n{}\n{}",
        outage::BREAKER,
        outage::ROUTE
    );
    let hub = TestHub::new().github().config(&more);
    let folder = hub.folder.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let hub = hub.start().await;
    // Its folder is gone, as when a disk is not mounted. The file that the hub has open is not the
    // one at the path any more.
    let away = folder.with_file_name("away");
    let gone = async || std::fs::rename(&folder, &away).unwrap();
    let back = async || std::fs::rename(&away, &folder).unwrap();
    outage::run(&hub, gone, back).await;
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() > 2, "it was rotated: {files:?}");
    assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 2 * 1024 * 1024));
    // The oldest has the highest number, and the current one has none.
    let number = |path: &Path| path.extension().unwrap().to_str().unwrap().parse().unwrap_or(0_u32);
    files.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    outage::judge(&hub, "file", &arrived(&files)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_holds_messages() {
    let more = format!(
        "[destinations.out]\nkind = \"file\"\npath = \"no/such/folder/x\"\n{}\n{}",
        outage::BREAKER,
        outage::ROUTE
    );
    let hub = TestHub::new().github().config(&more).start().await;
    let event = hub.push("push", "one", b"{\"key\":1,\"n\":1}").await.accepted();
    let failing = outage::until_state(&hub, "failing").await;
    assert!(failing["reason"].as_str().unwrap().contains("make its folder"), "{failing}");
    assert!(failing["address"].as_str().unwrap().ends_with("no/such/folder/x"), "{failing}");
    std::fs::create_dir_all(hub.folder.path().join("no/such/folder")).unwrap();
    hub.until_status(&event, "processed").await;
    let listed = hub.cli_ok(&["destinations"]);
    assert!(listed.contains("no/such/folder/x") && listed.contains("file"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_output_gets_a_line_for_each_message() {
    let hub = TestHub::new().github().config(
        "[destinations.out]\nkind = \"stdout\"\n[[route]]\non = [\"github:*\"]\nto = \"out\"",
    );
    let (folder, _) = hub.written();
    let mut process = weir()
        .args(["serve", "--config"])
        .arg(folder.path().join("weir.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (log, lines) = (Log::default(), Log::default());
    log.follow(process.stderr.take().unwrap());
    lines.follow(process.stdout.take().unwrap());
    let ready = until("the hub to be ready", async || {
        log.having(&["\"message\":\"ready\""]).pop().ok_or_else(|| log.all())
    })
    .await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let url = format!("http://{}/webhook/github", ready["ingress"].as_str().unwrap());
    let sent = weir()
        .args(["send", "github", "push", "--url", &url, "--config"])
        .arg(folder.path().join("weir.toml"))
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let line = until("a line", async || {
        lines.having(&["\"source\":\"github\""]).pop().ok_or_else(|| lines.all())
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(line["body"].is_object() && line["id"].is_string(), "{line}");
    process.kill().unwrap();
    process.wait().unwrap();
}
