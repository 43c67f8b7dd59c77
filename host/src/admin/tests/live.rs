//! The live list of events.

use super::*;
use crate::api::LiveFrame;

/// A stream that is being read.
struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    async fn open(admin: &TestAdmin, query: &str, after: Option<&str>) -> Self {
        let answer = Self::ask(admin, query, after).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    async fn ask(admin: &TestAdmin, query: &str, after: Option<&str>) -> Response {
        Self::ask_as(TOKEN, admin, query, after).await
    }

    async fn ask_as(token: &str, admin: &TestAdmin, query: &str, after: Option<&str>) -> Response {
        let mut request = http::Request::get(format!("/api/v1/events/live{query}"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {token}"));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        admin.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// The next frame; none at the end.
    async fn next(&mut self) -> Option<LiveFrame> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let frame = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                match frame {
                    Some(frame) => return Some(frame),
                    None => continue,
                }
            }
            let piece = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

fn ids(frame: &LiveFrame) -> Vec<EventId> {
    frame.rows.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn new_events_are_shown_and_old_ones_are_not() {
    let admin = TestAdmin::start().await;
    admin.receive("github", "push", b"{}").await;
    let mut stream = Stream::open(&admin, "", None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.count, first.rows.len(), first.gap), (0, 0, false));
    let one = admin.receive("github", "push", b"1").await;
    let frame = stream.next().await.unwrap();
    assert_eq!((ids(&frame), frame.count), (vec![one], 1));
    let two = admin.receive("github", "push", b"2").await;
    assert_eq!(ids(&stream.next().await.unwrap()), [two]);
}

#[tokio::test]
async fn the_first_event_of_an_empty_hub_is_shown() {
    let admin = TestAdmin::start().await;
    let mut stream = Stream::open(&admin, "", None).await;
    stream.next().await.unwrap();
    let one = admin.receive("github", "push", b"{}").await;
    assert_eq!(ids(&stream.next().await.unwrap()), [one]);
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_frame() {
    let admin = TestAdmin::start().await;
    let mut stream = Stream::open(&admin, "", None).await;
    let cursor = stream.next().await.unwrap().cursor;
    drop(stream);
    let missed =
        [admin.receive("github", "push", b"1").await, admin.receive("github", "ping", b"2").await];
    let mut stream = Stream::open(&admin, "", Some(&cursor)).await;
    let frame = stream.next().await.unwrap();
    assert_eq!((ids(&frame), frame.count), (vec![missed[1], missed[0]], 2));
    let mut filtered = Stream::open(&admin, "?type=pu*", Some(&cursor)).await;
    assert_eq!(ids(&filtered.next().await.unwrap()), missed[..1]);
    let refused = Stream::ask(&admin, "", Some("n4")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_frame_has_twenty_rows_and_the_exact_count() {
    let admin = TestAdmin::start().await;
    let mut stream = Stream::open(&admin, "", None).await;
    let cursor = stream.next().await.unwrap().cursor;
    let mut last = EventId::from_bits(0);
    for n in 0..700 {
        last = admin.receive("github", "push", format!("{n}").as_bytes()).await;
    }
    let mut again = Stream::open(&admin, "", Some(&cursor)).await;
    let frame = again.next().await.unwrap();
    assert_eq!((frame.count, frame.rows.len(), frame.gap), (700, 20, false));
    assert_eq!(frame.rows[0].id, last);
}

#[tokio::test]
async fn a_reader_that_is_far_behind_is_told_of_the_gap() {
    let admin = TestAdmin::start().await;
    let mut stream = Stream::open(&admin, "", None).await;
    let cursor = stream.next().await.unwrap().cursor;
    for n in 0..2_100 {
        admin.receive("github", "push", format!("{n}").as_bytes()).await;
    }
    let mut again = Stream::open(&admin, "", Some(&cursor)).await;
    let frame = again.next().await.unwrap();
    assert!(frame.gap && frame.count == 2_000, "{}", frame.count);
    let next = admin.receive("github", "push", b"next").await;
    assert_eq!(ids(&again.next().await.unwrap()), [next]);
}

#[tokio::test]
async fn the_number_of_streams_is_limited_and_given_back() {
    let admin = TestAdmin::start().await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(Stream::open(&admin, "", None).await);
    }
    let refused = Stream::ask(&admin, "", None).await;
    assert_eq!(read(refused).await.1["code"], "too_many_streams");
    all.pop();
    Stream::open(&admin, "", None).await;
}

#[tokio::test]
async fn a_stream_ends_in_a_drain() {
    let admin = TestAdmin::start().await;
    let mut stream = Stream::open(&admin, "", None).await;
    stream.next().await.unwrap();
    admin.drain.stop_claiming();
    assert!(stream.next().await.is_none());
}

/// A stream of a new token with the role `read`.
async fn of_new_token(admin: &TestAdmin, more: &str) -> Stream {
    let body = format!(r#"{{"name":"reader","role":"read"{more}}}"#);
    let (_, made) = admin.post("/api/v1/tokens", &body).await;
    let answer = Stream::ask_as(made["token"].as_str().unwrap(), admin, "", None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    Stream { body: answer.into_body(), text: String::new() }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let admin = TestAdmin::start().await;
    let mut other = Stream::open(&admin, "", None).await;
    let mut stream = of_new_token(&admin, "").await;
    assert!(stream.next().await.is_some() && other.next().await.is_some());
    admin.ask("DELETE", "/api/v1/tokens/reader").await;
    admin.receive("github", "push", b"{}").await;
    let ended = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
    assert!(ended.unwrap().is_none(), "nothing is shown after it");
    assert_eq!(other.next().await.unwrap().count, 1, "another token's stream goes on");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let admin = TestAdmin::start().await;
    let mut stream = of_new_token(&admin, r#","expires":"2s""#).await;
    assert!(stream.next().await.is_some());
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
    assert!(ended.unwrap().is_none());
}
