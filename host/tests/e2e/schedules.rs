//! Schedules: events that the hub emits at times.

use serde_json::{Value, json};

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const EACH_SECOND: &str = "[[schedule]]\nname = \"beat\"\nevery = \"1s\"\nmissed = \"all\"\n\
    [[route]]\non = [\"schedule:beat\"]\nto = \"sink\"\n";

/// The times for which events of a schedule are stored, in order.
async fn times(hub: &RunningHub) -> Vec<String> {
    let page = hub.api("/api/v1/events/export?source=schedule&limit=500").await;
    let time = |event: &Value| {
        let headers = event["payload"]["headers"].as_array().unwrap();
        let header = headers.iter().find(|header| header["name"] == "x-schedule-time").unwrap();
        header["text"].as_str().unwrap().to_owned()
    };
    page["items"].as_array().unwrap().iter().map(time).collect()
}

async fn until_stored(hub: &RunningHub, wanted: usize) {
    until("events of the schedule", async || {
        let page = hub.api("/api/v1/events?source=schedule&limit=500").await;
        let stored = page["items"].as_array().unwrap().len();
        if stored >= wanted { Ok(()) } else { Err(format!("{stored} of {wanted}")) }
    })
    .await;
}

/// Each time is a second after the one before.
fn without_gaps(times: &[String]) -> bool {
    let seconds = |text: &String| text.parse::<jiff::Timestamp>().unwrap().as_second();
    times.windows(2).all(|pair| seconds(&pair[1]) == seconds(&pair[0]) + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_is_one_event_also_across_kills() {
    let sink = Sink::start().await;
    let mut hub = TestHub::new().destination("sink", &sink, "").config(EACH_SECOND).start().await;
    for round in 1..=3 {
        until_stored(&hub, 2 * round).await;
        hub = hub.kill_and_restart().await;
    }
    until_stored(&hub, 8).await;
    let times = times(&hub).await;
    assert!(without_gaps(&times), "{times:?}");
    sink.until_received(8).await;
    let body: Value = serde_json::from_slice(&sink.received()[0].body).unwrap();
    assert_eq!(body["schedule"], "beat");
    assert_eq!(body["time"], times[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_reloaded_and_listed_with_their_next_times() {
    let sink = Sink::start().await;
    let hub = TestHub::new().destination("sink", &sink, "").config(EACH_SECOND).start().await;
    until_stored(&hub, 1).await;
    let cron = "cron = \"0 3 1 1 * Europe/Berlin\"\nbody = '{\"a\": 1}'";
    hub.write("weir.toml", &hub.configured().replace("every = \"1s\"", cron));
    until("the changed schedule", async || {
        let listed = hub.api("/api/v1/schedules").await["items"].clone();
        let next = listed[0]["next"].as_str().unwrap_or_default();
        if next.ends_with("-01-01T02:00:00.000Z") { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
    let listed = hub.cli(&["--json", "schedules"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&listed["name"], &listed["timing"], &listed["missed"]),
        (&json!("beat"), &json!("0 3 1 1 * Europe/Berlin"), &json!("all"))
    );
}

#[test]
fn mistakes_in_schedules_are_named() {
    let text = "[[schedule]]\nname = \"a\"\n[[schedule]]\nname = \"a\"\nevery = \"1ms\"\n\
        [[schedule]]\nname = \"b\"\ncron = \"0 0 30 2 *\"\nmissed = \"never\"\nbody = \"{\"\n";
    let (code, said) = TestHub::new().config(text).refused();
    assert_eq!(code, 2, "{said}");
    for wanted in [
        "schedule[0]: says no time",
        "schedule[1].name: `a` is there twice",
        "schedule[1].every: must be between 1s and 366d",
        "schedule[2].cron: never comes",
        "schedule[2].missed: is none of once, all, skip",
        "schedule[2].body: is not JSON",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
