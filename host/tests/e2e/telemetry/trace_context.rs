//! The trace of a sender is kept and passed on, also while nothing is exported.

use http::HeaderValue;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;

const SENDER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Posts a signed event with these headers. Returns its id.
async fn push_with(hub: &RunningHub, delivery: &str, headers: &[(&'static str, &str)]) -> String {
    let mut request = hub.push_request("push", delivery, b"{\"n\":1}");
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    let (status, body) = hub.send(request).await;
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    answer["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_trace_reaches_destinations_without_an_export() {
    let (direct, told) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .handler("teller", "version-a")
        .sidecar("teller", "on = [\"github:*\"]\n[grant]\ndestinations = [\"sink\"]")
        .destination("sink", &told, "")
        .destination("direct", &direct, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"direct\"")
        .start()
        .await;
    hub.until_ready("teller").await;
    let event =
        push_with(&hub, "one", &[("traceparent", SENDER), ("tracestate", "a=1, b=2")]).await;
    for sink in [&direct, &told] {
        let received = &sink.until_received(1).await[0];
        assert_eq!(received.header("traceparent"), SENDER);
        assert_eq!(received.header("tracestate"), "a=1,b=2");
        assert_eq!(received.headers.get("weir-trace"), None);
    }
    assert_eq!(hub.event(&event).await["trace"], TRACE);
    assert_eq!(hub.api(&format!("/api/v1/events/{event}/why")).await["trace"], TRACE);
    assert!(hub.cli_ok(&["why", &event]).contains(&format!("trace      {TRACE}")));
    assert!(hub.cli_ok(&["events", &event]).contains(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_trace_is_not_passed_on_and_none_is_made() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("direct", &sink, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"direct\"")
        .start()
        .await;
    let forged = [("traceparent", "00-zz"), ("tracestate", "a=1"), ("weir-trace", SENDER)];
    let twice = [("traceparent", SENDER), ("traceparent", SENDER)];
    for (delivery, headers) in [("one", &forged[..]), ("two", &twice[..]), ("three", &[])] {
        let event = push_with(&hub, delivery, headers).await;
        assert!(hub.event(&event).await.get("trace").is_none(), "{delivery}");
    }
    for received in sink.until_received(3).await {
        for name in ["traceparent", "tracestate", "weir-trace"] {
            assert_eq!(received.headers.get(name), None, "{name}");
        }
    }
}
