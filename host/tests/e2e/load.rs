//! A load of signed requests over several connections, with a record of the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use weir_testing::hub::github_signature;

/// Pushes GitHub events over several connections until it is stopped or the hub is gone.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    connections: JoinSet<Sent>,
}

/// The result of one load.
#[derive(Default, Debug)]
pub(crate) struct Sent {
    /// Delivery ids that were answered with 2xx, each with its event id.
    pub(crate) acked: HashMap<String, String>,
    /// Number of requests without an answer.
    pub(crate) in_flight: Vec<String>,
    /// Answers other than 2xx.
    pub(crate) refused: Vec<String>,
}

impl Load {
    /// Starts a load. Its delivery ids begin with `run`, so that two loads do not collide.
    pub(crate) fn start(to: std::net::SocketAddr, run: &str, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..connections {
            let prefix = format!("{run}-{n}");
            tasks.spawn(connection(to, prefix, stop.clone(), answered.clone()));
        }
        Self { stop, answered, connections: tasks }
    }

    /// Number of answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops the load and returns its result.
    pub(crate) async fn finish(mut self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        while let Some(sent) = self.connections.join_next().await {
            let sent = sent.unwrap();
            all.acked.extend(sent.acked);
            all.in_flight.extend(sent.in_flight);
            all.refused.extend(sent.refused);
        }
        all
    }
}

async fn connection(
    to: std::net::SocketAddr,
    prefix: String,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> Sent {
    let mut sent = Sent::default();
    let Ok(stream) = TcpStream::connect(to).await else { return sent };
    let Ok((mut sender, driver)) = http1::handshake(TokioIo::new(stream)).await else {
        return sent;
    };
    tokio::spawn(driver);
    for n in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let delivery = format!("{prefix}-{n}");
        match one(&mut sender, to, &delivery).await {
            Ok((200, body)) => {
                let event = body["event_id"].as_str().unwrap_or("").to_owned();
                sent.acked.insert(delivery, event);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok((status, body)) => sent.refused.push(format!("{delivery}: {status} {body}")),
            Err(_) => {
                sent.in_flight.push(delivery);
                break;
            }
        }
    }
    sent
}

async fn one(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    to: std::net::SocketAddr,
    delivery: &str,
) -> Result<(u16, Value), hyper::Error> {
    sender.ready().await?;
    let body = format!(r#"{{"delivery":"{delivery}","pad":"{}"}}"#, "x".repeat(500));
    let request = Request::post("/webhook/github")
        .header("host", to.to_string())
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", github_signature(body.as_bytes()))
        .body(Full::from(body))
        .unwrap();
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
