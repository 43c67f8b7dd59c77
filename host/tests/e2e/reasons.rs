//! Reasons that say what to do: a missing grant names the file and the line to add, and a file name
//! that no handler can have is answered with the right one.

use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until_true;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_names_the_file_and_the_line_to_add() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", "on = [\"github:push\"]\n[grant]\ndestinations = []\n")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let wanted = "add it to plugins/teller.toml: [grant] destinations = [\"sink\"]";
    let delivery = hub.event(&event).await["deliveries"][0].take();
    let reason = delivery["history"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(wanted), "{delivery}");
    assert!(hub.cli_ok(&["events", &event]).contains(wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_the_configuration_is_to_be_added_there() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .replace("[plugins]", "[plugins]\ngrants = \"config\"")
        .handler("teller", "version-a")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let wanted = "add it to weir.toml: [handlers.teller.grant] destinations = [\"sink\"]";
    assert!(hub.cli_ok(&["events", &event]).contains(wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_name_of_no_handler_is_answered_with_the_right_one() {
    let hub = TestHub::new().github().handler("My_Rule", "noop").start().await;
    let says = || !hub.log.having(&["rename the file to my-rule.wasm"]).is_empty();
    until_true("the log to say it", says).await;
}
