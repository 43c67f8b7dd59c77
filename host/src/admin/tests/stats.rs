//! Statistics.

use super::*;
use crate::api::StatsAnswer;

#[tokio::test]
async fn statistics_show_what_was_counted_in_this_minute() {
    let admin = TestAdmin::start().await;
    let github = admin.metrics.source(&SourceName::configured("github").unwrap());
    github.answered("accepted", Duration::from_millis(2));
    github.answered("signature_mismatch", Duration::from_millis(1));
    github.stored();
    admin.metrics.target(&orders()).attempt(Outcome::Ok, Duration::from_millis(20));

    let stats = admin.get("/api/v1/stats").await;
    assert_eq!(stats["step_seconds"], 60);
    let source = &stats["sources"][0];
    assert_eq!(
        (&source["name"], source["steps"].as_array().unwrap().len()),
        (&json!("github"), 61)
    );
    let total = &source["total"];
    assert_eq!([&total["received"], &total["accepted"], &total["refused"]], [2, 1, 1]);
    assert_eq!(total["stored"], 1);
    assert!(total["acknowledged"]["p99_ms"].as_f64().unwrap() <= 2.5, "{total}");
    assert_eq!(stats["targets"][0]["name"], "handler:orders");
    assert_eq!(stats["targets"][0]["total"]["succeeded"], 1);
    admin.reads_back::<StatsAnswer>("/api/v1/stats?since=24h&step=1h").await;

    let one = admin.get("/api/v1/stats?target=handler:orders").await;
    assert_eq!((&one["sources"], one["targets"].as_array().unwrap().len()), (&json!([]), 1));
}

#[tokio::test]
async fn a_step_that_does_not_fit_is_refused() {
    let admin = TestAdmin::start().await;
    for query in ["step=90s", "since=20h&step=1m", "since=0s", "source=github&since=x"] {
        let refused = admin.error("GET", &format!("/api/v1/stats?{query}")).await;
        assert_eq!(refused, (400, "invalid_parameter".to_owned()), "{query}");
    }
}
