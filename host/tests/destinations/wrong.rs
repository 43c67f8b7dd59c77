//! A server that is wrong: the reason that the destination shows, and the words of `weir check
//! --connect`.

use weir_testing::hub::{RunningHub, TestHub, weir};

use crate::outage;

/// Posts one event, which has to wait without an attempt. Returns the reason.
pub(crate) async fn reason(hub: &RunningHub, n: usize) -> String {
    let accepted = hub.push("push", &format!("reason-{n}"), b"{\"key\":1,\"n\":1}").await;
    let event = accepted.accepted();
    let failing = outage::until_state(hub, "failing").await;
    let held = hub.until_status(&event, "held").await;
    assert_eq!(held["deliveries"][0]["attempts"], 0, "{held}");
    failing["reason"].as_str().unwrap().to_owned()
}

/// Runs `weir check --connect`. Returns true if it found nothing, and its errors.
pub(crate) fn checked(config: &str) -> (bool, String) {
    checked_in(TestHub::new(), config)
}

/// The same in a folder with further files.
pub(crate) fn checked_in(hub: TestHub, config: &str) -> (bool, String) {
    let (folder, _) = hub.github().config(config).written();
    let file = folder.path().join("weir.toml");
    let out = weir().args(["check", "--connect", "--config"]).arg(file).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// The address of a server that answers everything with a line of HTTP.
pub(crate) async fn garbage() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    at
}
