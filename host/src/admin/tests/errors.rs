//! Invalid requests and the codes that answer them.

use super::*;

#[tokio::test]
async fn every_invalid_request_has_its_status_and_code() {
    let admin = TestAdmin::start().await;
    let event = EventId::from_bits(7);
    let delivery = DeliveryId::from_bits(7);
    for (method, path, status, code) in [
        ("GET", "/".to_owned(), 404, "not_found"),
        ("GET", "/api/v1/events/".to_owned(), 404, "not_found"),
        ("GET", "/api/v2/events".to_owned(), 404, "not_found"),
        ("POST", "/api/v1/events".to_owned(), 405, "method_not_allowed"),
        ("GET", format!("/api/v1/dead-letters/{delivery}/requeue"), 405, "method_not_allowed"),
        ("GET", "/api/v1/events/7".to_owned(), 404, "event_not_found"),
        ("GET", "/api/v1/events/%ff".to_owned(), 400, "invalid_id"),
        ("GET", format!("/api/v1/events/{delivery}"), 404, "event_not_found"),
        ("GET", format!("/api/v1/dead-letters/{event}"), 404, "dead_letter_not_found"),
        ("GET", format!("/api/v1/events/{event}"), 404, "event_not_found"),
        ("GET", format!("/api/v1/events/{event}/body"), 404, "event_not_found"),
        ("GET", format!("/api/v1/dead-letters/{delivery}"), 404, "dead_letter_not_found"),
        ("POST", format!("/api/v1/dead-letters/{delivery}/requeue"), 404, "dead_letter_not_found"),
        ("GET", "/api/v1/events?sorce=github".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/events?limit=501".to_owned(), 400, "invalid_parameter"),
        ("GET", "/api/v1/events?cursor=made-up".to_owned(), 400, "invalid_parameter"),
        ("GET", "/api/v1/handlers?x=1".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/holds?x=1".to_owned(), 400, "unknown_parameter"),
        ("GET", "/api/v1/inbox?x=1".to_owned(), 400, "unknown_parameter"),
    ] {
        assert_eq!(admin.error(method, &path).await, (status, code.to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn the_host_must_name_the_port_that_was_bound() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let admin = TestAdmin::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listening = Admin::new(admin.ctx.clone(), admin.deps.clone());
    let running = tokio::spawn(listening.run(listener));
    for (host, expected) in
        [(address.to_string(), "HTTP/1.1 200"), ("127.0.0.1:1".to_owned(), "HTTP/1.1 421")]
    {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let ask = format!(
            "GET /api/v1/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(expected), "{host}: {answer}");
    }
    admin.drain.stop_claiming();
    running.await.unwrap();
}
