//! Handlers that misbehave: their own attempt fails with the right reason, and nobody else notices.

use crate::hub::TestHub;
use crate::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn each_crime_fails_its_own_attempt_with_the_right_outcome() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("guilty", "probe")
        .sidecar(
            "guilty",
            "[limits]\nmemory = \"16MiB\"\ntime = \"500ms\"\n[retry]\nmax_attempts = 1\n[grant]\ndestinations = [\"sink\"]\n",
        )
        .handler("neighbour", "noop")
        .start()
        .await;
    hub.until_ready("guilty").await;
    hub.until_ready("neighbour").await;
    let crimes = [
        (r#"{"op":"loop"}"#, "timeout", ""),
        (r#"{"op":"flood"}"#, "timeout", ""),
        (r#"{"op":"grow"}"#, "out_of_memory", ""),
        (r#"{"op":"recurse"}"#, "stack_overflow", ""),
        (r#"{"op":"panic","message":"on purpose"}"#, "crashed", "on purpose"),
        (
            r#"{"op":"send","destination":"sink","size":10,"times":300000,"must":true}"#,
            "refused",
            "1000",
        ),
        (
            r#"{"op":"send","destination":"elsewhere","body":"x","must":true}"#,
            "refused",
            "elsewhere",
        ),
        (r#"{"op":"emit","type":"x","body":"x","must":true}"#, "refused", "emit"),
    ];
    for (n, (step, outcome, reason)) in crimes.into_iter().enumerate() {
        let body = format!(r#"{{"steps":[{step}]}}"#);
        let event = hub.push("push", &format!("crime-{n}"), body.as_bytes()).await.accepted();
        let stored = hub.until_status(&event, "dead_letter").await;
        let deliveries = stored["deliveries"].as_array().unwrap();
        let of = |name: &str| {
            deliveries.iter().find(|d| d["target"] == format!("handler:{name}")).unwrap()
        };
        let attempt = &of("guilty")["history"][0];
        assert_eq!(attempt["outcome"], outcome, "{step}: {stored}");
        let said = attempt["reason"].as_str().unwrap_or("").replace(',', "");
        assert!(said.contains(reason), "{step}: {said}");
        assert_eq!(of("neighbour")["state"], "processed", "{step}: {stored}");
    }
    assert!(sink.received().is_empty(), "nothing of a failed run may leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_has_memory_that_nobody_used_before() {
    let hub = TestHub::new().github().handler("fresh", "fresh").start().await;
    hub.until_ready("fresh").await;
    let load = crate::load::Load::start(hub.ingress, "fresh", 4);
    crate::hub::until("500 answers", async || {
        let answered = load.answered();
        if answered >= 500 { Ok(()) } else { Err(answered.to_string()) }
    })
    .await;
    let sent = load.finish().await;
    for event in sent.acked.values() {
        hub.until_status(event, "processed").await;
    }
}
