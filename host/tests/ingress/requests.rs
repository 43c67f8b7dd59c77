//! Accepted and refused requests of all kinds of sources.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use weir_core::hops::{HOPS_HEADER, HopKey};

use crate::hub::{IngressHub, closed, hop_key, junk, reply};

#[tokio::test]
async fn a_signed_request_is_stored_before_it_is_answered_with_its_id() {
    let hub = IngressHub::start().await;
    let body = r#"{"ref":"refs/heads/main"}"#;
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "d-1"),
        ("authorization", "Basic c2VjcmV0"),
        ("connection", "keep-alive"),
    ];
    let reply = hub.raw(hub.signed("github", &headers, body, 0)).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &"accepted".into()));
    let [event] = &*hub.stored().await else { panic!("not one event") };
    assert_eq!(reply.json()["event_id"], event.id.to_string());
    assert_eq!((event.source.as_str(), event.kind.as_str()), ("github", "push"));
    let request = hub.only_request().await;
    assert_eq!((&*request.scheme, &*request.secret), ("sha256", "current"));
    assert_eq!(&request.payload.body[..], body.as_bytes());
    let kept: Vec<&str> = request.payload.headers.iter().map(|(n, _)| &**n).collect();
    assert_eq!(
        kept,
        ["host", "x-github-event", "x-github-delivery", "authorization", "x-hub-signature-256"]
    );
    assert!(request.payload.header("authorization").unwrap().starts_with(b"fingerprint-"));
}

#[tokio::test]
async fn a_duplicate_gets_the_id_of_the_first_event() {
    let hub = IngressHub::start().await;
    let push = hub.push("d-1", "{}");
    let mut stream = hub.connect().await;
    stream.write_all(push.as_bytes()).await.unwrap();
    let first = reply(&mut stream).await.json();
    stream.write_all(push.as_bytes()).await.unwrap();
    let second = reply(&mut stream).await.json();
    assert_eq!((&first["status"], &second["status"]), (&"accepted".into(), &"duplicate".into()));
    assert_eq!(first["event_id"], second["event_id"]);
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn an_invalid_signature_is_refused_and_not_stored() {
    let hub = IngressHub::start().await;
    let flipped = hub.push("d-1", "{}").replace("\r\n\r\n{}", "\r\n\r\n[]");
    assert_eq!(hub.raw(flipped).await.problem(), (401, "signature_mismatch".into()));
    let unsigned = hub.post("/webhook/github", &[("x-github-event", "push")], "{}").await;
    assert_eq!(unsigned.problem(), (401, "signature_missing".into()));
    let stale = hub.raw(hub.signed("stripe", &[], r#"{"id":"evt_1","type":"a"}"#, 4000)).await;
    assert_eq!(stale.problem(), (401, "timestamp_stale".into()));
    let elsewhere = hub.post("/webhook/small", &[("x-webhook-signature", "sha256=00")], "{}").await;
    assert_eq!(elsewhere.status, 406, "the provider sets the status");
    assert!(hub.stored().await.is_empty());
    assert_eq!(hub.metrics.source(&hub.config.sources["github"].name).answers(), (0, 2));
}

#[tokio::test]
async fn a_loop_is_refused_after_eight_hops_and_cannot_be_faked() {
    let hub = IngressHub::start().await;
    let push = async |delivery: &str, hops: &str| {
        let headers =
            [("x-github-event", "push"), ("x-github-delivery", delivery), (HOPS_HEADER, hops)];
        hub.raw(hub.signed("github", &headers, "{}", 0)).await
    };
    let refused = push("d-1", &hop_key().sign(8, b"{}")).await;
    assert_eq!(refused.problem(), (508, "loop_detected".into()));
    assert!(hub.stored().await.is_empty());
    let stranger = HopKey::new(&[8; 32]);
    for (n, (hops, counts)) in [
        (hop_key().sign(7, b"{}"), 7),
        (stranger.sign(8, b"{}"), 0),
        (hop_key().sign(8, b"[]"), 0),
        ("8".into(), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = push(&format!("d-2{n}"), &hops).await;
        assert_eq!(reply.status, 200, "{hops}");
        let newest = &hub.stored().await[0];
        let request = hub.store.request(newest.request.unwrap()).await.unwrap().unwrap();
        assert_eq!(request.payload.hops(), counts, "{hops}");
        assert_eq!(request.payload.header(HOPS_HEADER).is_some(), counts > 0, "{hops}");
    }
}

#[tokio::test]
async fn each_event_of_a_batch_has_the_hops_of_the_batch() {
    let hub = IngressHub::start().await;
    let body = r#"{"items":[{"id":"1","type":"a"},{"id":"2","type":"b"}]}"#;
    let hops = hop_key().sign(3, body.as_bytes());
    let reply = hub.raw(hub.signed("batch", &[(HOPS_HEADER, &hops)], body, 0)).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    let stored = hub.stored().await;
    assert_eq!(stored.len(), 2);
    for event in stored.iter() {
        let event = hub.store.event(event.id).await.unwrap().unwrap();
        assert_eq!(event.payload.unwrap().hops(), 3);
    }
}

#[tokio::test]
async fn unknown_paths_and_sources_are_404() {
    let hub = IngressHub::start().await;
    let unknown = hub.post("/webhook/unknown", &[], "{}").await;
    assert_eq!(unknown.problem(), (404, "unknown_source".into()));
    assert_eq!(hub.post("/admin", &[], "").await.problem(), (404, "not_found".into()));
    let get = hub.raw("GET /webhook/github HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(get.problem(), (405, "method_not_allowed".into()));
    assert!(get.head.contains("\nallow: post"), "{}", get.head);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_every_framing() {
    let hub = IngressHub::start().await;
    let long = hub.post("/webhook/small", &[], &"x".repeat(101)).await;
    assert_eq!(long.problem(), (413, "body_too_large".into()));
    let mut unsent = hub.connect().await;
    unsent
        .write_all(b"POST /webhook/small HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(reply(&mut unsent).await.status, 413, "before the body is read");
    let chunk = format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101));
    let head = "POST /webhook/small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(hub.raw(format!("{head}{chunk}")).await.status, 413);
    let huge = hub.post("/webhook/small", &[], &"x".repeat(3_000_000)).await;
    assert_eq!(huge.status, 413, "the answer is not lost to a reset");
}

#[tokio::test]
async fn a_chunked_body_is_accepted() {
    let hub = IngressHub::start().await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (head, _) = push.split_once("Content-Length").unwrap();
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\n\r\n");
    assert_eq!(hub.raw(chunked).await.json()["status"], "accepted");
    assert_eq!(&hub.only_request().await.payload.body[..], b"{\"a\":1}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused_as_malformed() {
    let hub = IngressHub::start().await;
    let malformed = (400, "malformed".to_owned());
    for heads in [
        "Host: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "Host: h\r\nTransfer-Encoding: chunked\r\ncontent-length: 2",
        "Host: h\r\nHost: h\r\nContent-Length: 0",
        "Content-Length: 0",
    ] {
        let text = format!("POST /webhook/github HTTP/1.1\r\n{heads}\r\n\r\n0\r\n\r\n");
        assert_eq!(hub.raw(text).await.problem(), malformed, "{heads}");
    }
    assert_eq!(hub.post("/webhook/github%2Fx", &[], "").await.problem(), malformed);
    let gzip = hub.post("/webhook/github", &[("content-encoding", "gzip")], "x").await;
    assert_eq!(gzip.problem(), (415, "content_encoding_unsupported".into()));
    assert_eq!(hub.raw("nonsense\r\n\r\n").await.status, 400);
    let long = format!("GET /health/live HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(hub.raw(long).await.status, 431);
}

#[tokio::test]
async fn only_a_header_that_is_read_must_be_text() {
    let hub = IngressHub::start().await;
    let with = |header: &[u8], id: &str| {
        let signed = hub.push(id, "{}").into_bytes();
        let end = signed.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
        [&signed[..end], header, b"\r\n", &signed[end..]].concat()
    };
    let taken = hub.raw(with(b"cf-region: S\xe3o Paulo", "a")).await;
    assert_eq!(taken.json()["status"], "accepted");
    let kept = hub.only_request().await;
    let region = kept.payload.header("cf-region").unwrap();
    assert_eq!(&region[..], b"S\xe3o Paulo", "the bytes are as received");

    let request = |name: &str, value: &[u8]| {
        let signed = hub.push("b", "{}");
        let lines: Vec<_> = signed.split("\r\n").collect();
        let lines = lines.iter().map(|line| match line.split_once(": ") {
            Some((n, _)) if n.eq_ignore_ascii_case(name) => [n.as_bytes(), b": ", value].concat(),
            _ => line.as_bytes().to_vec(),
        });
        lines.collect::<Vec<_>>().join(&b"\r\n"[..])
    };
    let malformed = (400, "malformed".to_owned());
    for name in ["x-github-event", "x-github-delivery"] {
        let reply = hub.raw(request(name, b"J\xf6rg")).await;
        assert_eq!(reply.problem(), malformed, "{name}");
    }
    let reply = hub.raw(request("x-hub-signature-256", b"sha256=\xf6")).await;
    assert_eq!(reply.status, 401);
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn a_batch_is_stored_event_by_event_without_its_secrets() {
    let hub = IngressHub::start().await;
    let item = |id: &str| format!(r#"{{"id":"{id}","type":"t.{id}","token":"hunter2"}}"#);
    let body = |a: &str, b: &str| format!(r#"{{"items":[{},{}]}}"#, item(a), item(b));
    let first = hub.raw(hub.signed("batch", &[], &body("a", "b"), 0)).await.json();
    assert_eq!(first["event_ids"].as_array().unwrap().len(), 2);
    let second = hub.raw(hub.signed("batch", &[], &body("b", "c"), 0)).await.json();
    assert_eq!(second["status"], "accepted");
    assert_eq!(second["duplicates"][0], first["event_ids"][1]);
    let events = hub.stored().await;
    let mut kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["t.a", "t.b", "t.c"]);
    for event in &events {
        let detail = hub.store.event(event.id).await.unwrap().unwrap();
        let request = hub.store.request(detail.request.unwrap()).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&request.payload.body).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_slack_command_gets_an_empty_answer_and_an_event_json() {
    let hub = IngressHub::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let command = hub.signed("slack", &form, "command=%2Fweather&trigger_id=t-1", 0);
    let reply = hub.raw(command).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b""[..]));
    let event = r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#;
    let event = hub.signed("slack", &[("content-type", "application/json")], event, 0);
    assert_eq!(hub.raw(event).await.json()["status"], "accepted");
    assert_eq!(hub.stored().await.len(), 2);
}

#[tokio::test]
async fn a_handshake_is_answered_only_under_its_signature() {
    let hub = IngressHub::start().await;
    let body = r#"{"type":"url_verification","challenge":"c-1"}"#;
    let reply =
        hub.raw(hub.signed("slack", &[("content-type", "application/json")], body, 0)).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"c-1"[..]));
    assert!(reply.head.contains("x-content-type-options: nosniff"));
    assert_eq!(hub.post("/webhook/slack", &[], body).await.status, 401);
    assert!(hub.stored().await.is_empty());
}

#[tokio::test]
async fn a_provider_gets_the_acknowledgement_that_it_requires() {
    let hub = IngressHub::start().await;
    let reply = hub.raw(hub.signed("small", &[("x-webhook-event", "a")], "{}", 0)).await;
    assert_eq!((reply.status, &reply.body[..]), (202, &b"[accepted]"[..]));
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn requests_are_refused_until_the_routing_table_is_loaded() {
    let hub = IngressHub::closed("", |_| {}).await;
    let early = hub.raw(hub.push("d-1", "{}")).await;
    assert_eq!(early.problem(), (503, "starting".into()));
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(hub.raw(get("/health/live")).await.status, 200);
    let ready = hub.raw(get("/health/ready")).await;
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &"routing_missing".into()));
    hub.health.set_routing_ready();
    assert_eq!(hub.raw(get("/health/ready")).await.status, 200);
    assert_eq!(hub.raw(hub.push("d-1", "{}")).await.status, 200);
}

#[tokio::test]
async fn draining_finishes_current_requests_and_accepts_no_new_ones() {
    let hub = IngressHub::start().await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (begun, rest) = push.as_bytes().split_at(push.len() - 3);
    let mut busy = hub.connect().await;
    busy.write_all(begun).await.unwrap();
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    while hub.metrics.body_bytes().get() == 0 {
        tokio::task::yield_now().await;
    }
    hub.drain.stop_accepting();
    assert_eq!(closed(&mut idle).await, 0, "an idle connection ends at once");
    busy.write_all(rest).await.unwrap();
    let reply = reply(&mut busy).await;
    assert_eq!(reply.json()["status"], "accepted");
    assert_eq!(closed(&mut busy).await, 0);
    hub.running.await.unwrap();
    assert!(TcpStream::connect(hub.addr).await.is_err(), "the listener is gone");
    assert_eq!(hub.metrics.connections().get(), 0);
}

#[tokio::test]
async fn draining_does_not_wait_forever() {
    let hub = IngressHub::start().await;
    let mut stuck = hub.connect().await;
    let head = b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx";
    stuck.write_all(head).await.unwrap();
    while hub.metrics.body_bytes().get() == 0 {
        tokio::task::yield_now().await;
    }
    hub.drain.stop_accepting();
    hub.drain.stop_waiting();
    hub.running.await.unwrap();
}

#[tokio::test]
async fn an_answer_is_not_lost_to_junk_after_its_request() {
    let hub = IngressHub::start().await;
    let reply = hub.raw(format!("{}junk\r\n\r\n", hub.push("d-1", "{}"))).await;
    assert_eq!(reply.json()["status"], "accepted");
}

#[tokio::test]
async fn the_likely_cause_of_first_refusals_is_logged_until_a_success() {
    let hub = IngressHub::of(
        "[sources.paste]\nprovider = \"github\"\nsecrets = [\"a secret of some length \"]\n",
    )
    .await;
    let name = hub.config.sources["paste"].name.clone();
    let metrics = hub.metrics.source(&name);
    for n in 1..=3 {
        assert_eq!(metrics.seen(), None, "{n}");
        assert_eq!(hub.raw(junk("paste")).await.status, 401);
    }
    let seen = metrics.seen().unwrap();
    assert!(seen.contains("`literal-0` is 24 bytes and ends with a space"), "{seen}");
    let headers = [("x-github-event", "push"), ("x-github-delivery", "1")];
    assert_eq!(hub.raw(hub.signed("paste", &headers, "{}", 0)).await.status, 200);
    assert_eq!(metrics.seen(), None);
}
