//! Signals from operators and service managers, and what a running hub does with them.

use std::process::Command;

use weir_testing::hub::TestHub;
use weir_testing::wait::until;

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_hangup_reloads_the_configuration() {
    let mut hub = TestHub::new().github().start().await;
    for n in 1..=3 {
        signal(hub.pid(), "HUP");
        until("the configuration is read again", async || {
            let lines = hub.log.having(&["configuration reloaded"]);
            if lines.len() >= n { Ok(()) } else { Err(hub.log.all()) }
        })
        .await;
    }
    assert!(hub.push("push", "d-1", b"{}").await.status.is_success());
    hub.write("weir.toml", "[server]\nnonsense = 1\n");
    signal(hub.pid(), "HUP");
    until("the mistake is told", async || {
        let lines = hub.log.having(&["nonsense"]);
        if lines.is_empty() { Err(hub.log.all()) } else { Ok(()) }
    })
    .await;
    assert!(hub.push("push", "d-2", b"{}").await.status.is_success());
    signal(hub.pid(), "TERM");
    assert_eq!(hub.until_stopped().await, 0);
}

#[tokio::test]
async fn quit_interrupt_and_terminate_drain() {
    for name in ["QUIT", "INT", "TERM"] {
        let mut hub = TestHub::new().github().start().await;
        signal(hub.pid(), name);
        assert_eq!(hub.until_stopped().await, 0, "{name}");
        assert!(!hub.log.having(&["runs and sends finish"]).is_empty(), "{}", hub.log.all());
        assert!(!hub.log.having(&["stopped"]).is_empty(), "{}", hub.log.all());
    }
}
