//! The `nats` kind of source: a durable consumer of a stream, which is asked for messages.
//!
//! The server keeps the place of the consumer, and brings what was not acknowledged again. Without
//! JetStream a server keeps nothing, so that what is published while the hub is away would be lost:
//! there is no such source.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::message::{AckKind, Acker, Message};
use async_nats::jetstream::stream::Stream;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use http::HeaderMap;
use tokio::time::timeout;

use super::message::{add_header, set_content_type};
use super::session::{MessageServer, PullSession, Reason, reason};
use crate::config::NatsPull;
use crate::egress::nats::STREAM_ID;
use crate::egress::nats::connection::{self, OpenNats};
use crate::egress::server::{ServerLink, chain};
use crate::ingress::{MessageId, PulledMessage};
use crate::tls::roots::RootsError;

/// The server waits for a message this long.
const WAIT: Duration = Duration::from_secs(2);
/// The header with the subject of a message.
const SUBJECT_HEADER: &[u8] = b"nats-subject";

/// A stream of one server.
#[derive(Debug)]
pub(super) struct NatsServer {
    link: ServerLink,
    settings: NatsPull,
    prefetch: usize,
}

/// The consumer of the stream.
struct NatsSession {
    open: OpenNats,
    link: ServerLink,
    consumer: Consumer<Config>,
    prefetch: usize,
    is_new: bool,
    /// The messages of the last batch.
    batch: Vec<Acker>,
}

impl NatsServer {
    pub(super) fn new(settings: &NatsPull, prefetch: usize) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), prefetch })
    }

    /// Connects, and finds the stream, which is not made.
    async fn connect(&self) -> Result<(OpenNats, Stream), Reason> {
        let open = connection::open(&self.link, self.settings.token.as_ref()).await;
        let (open, name) = (open.map_err(reason)?, &self.settings.stream);
        let found = self.in_time(&open, open.streams.get_stream(name)).await?;
        let stream = found.map_err(|error| {
            let said = told(&open, &chain(&error));
            reason(self.link.unavailable(format!(
                "no stream {name} ({said}); make one, name another one, or enable JetStream"
            )))
        })?;
        Ok((open, stream))
    }

    async fn in_time<T>(
        &self,
        open: &OpenNats,
        asking: impl Future<Output = T>,
    ) -> Result<T, Reason> {
        in_time(&self.link, open, self.link.server().timeout, asking).await
    }

    /// The consumer, made if it is absent.
    async fn consumer(&self, open: &OpenNats, stream: &Stream) -> Result<Consumer<Config>, Reason> {
        let NatsPull { consumer: name, subject, from_oldest, claim_after, .. } = &self.settings;
        let config = Config {
            durable_name: Some(name.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: *claim_after,
            deliver_policy: match from_oldest {
                true => DeliverPolicy::All,
                false => DeliverPolicy::New,
            },
            filter_subject: subject.clone().unwrap_or_default(),
            ..Config::default()
        };
        let made = self.in_time(open, stream.get_or_create_consumer(name, config)).await?;
        let mut consumer = made.map_err(|error| {
            let said = told(open, &chain(&error));
            reason(self.link.unavailable(format!(
                "cannot have the consumer {name} ({said}); permit its user the API of JetStream, or \
                 name another consumer"
            )))
        })?;
        let config = self.in_time(open, consumer.info()).await?.map(|info| info.config.clone());
        let config = config.map_err(|error| reason(self.link.unavailable(chain(&error))))?;
        let is_asked = config.deliver_subject.is_none();
        if config.ack_policy != AckPolicy::Explicit || !is_asked {
            return Err(reason(self.link.unavailable(format!(
                "the consumer {name} is not one that is asked for messages and acknowledges each: \
                 name another one, which the hub makes"
            ))));
        }
        Ok(consumer)
    }
}

#[async_trait]
impl MessageServer for NatsServer {
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason> {
        let (open, stream) = self.connect().await?;
        let consumer = self.consumer(&open, &stream).await?;
        Ok(Box::new(NatsSession {
            open,
            link: self.link.clone(),
            consumer,
            prefetch: self.prefetch,
            is_new: true,
            batch: Vec::new(),
        }))
    }

    async fn check(&self) -> Result<(), Reason> {
        self.connect().await.map(|_| ())
    }
}

#[async_trait]
impl PullSession for NatsSession {
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason> {
        if std::mem::take(&mut self.is_new) {
            return Ok(Vec::new());
        }
        let there = self.consumer.fetch().max_messages(self.prefetch);
        let mut found = self.all(there.messages()).await?;
        if found.is_empty() {
            // The rest is there at the next call.
            let one = self.consumer.batch().max_messages(1).expires(WAIT);
            found = self.all(one.messages()).await?;
        }
        let mut messages = Vec::with_capacity(found.len());
        for one in found {
            messages.push(message(&one)?);
            self.batch.push(one.split().1);
        }
        Ok(messages)
    }

    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason> {
        let batch = std::mem::take(&mut self.batch);
        let settling = async {
            for (acker, taken) in batch.iter().zip(taken) {
                let kind = if *taken { AckKind::Ack } else { AckKind::Nak(None) };
                acker.ack_with(kind).await.map_err(|error| error.to_string())?;
            }
            self.open.client.flush().await.map_err(|error| error.to_string())
        };
        let settled = in_time(&self.link, &self.open, self.link.server().timeout, settling).await?;
        settled.map_err(|said| reason(self.link.unavailable(said)))
    }
}

impl NatsSession {
    /// All messages of a request.
    async fn all<E: std::error::Error + 'static>(
        &self,
        asking: impl Future<Output = Result<Batch, E>>,
    ) -> Result<Vec<Message>, Reason> {
        let reading = async {
            let mut batch = asking.await.map_err(|error| chain(&error))?;
            let mut messages = Vec::new();
            while let Some(next) = batch.next().await {
                messages.push(next.map_err(|error| error.to_string())?);
            }
            Ok(messages)
        };
        let limit = self.link.server().timeout.saturating_add(WAIT);
        let read: Result<_, String> = in_time(&self.link, &self.open, limit, reading).await?;
        read.map_err(|said| {
            let said = told(&self.open, &said);
            reason(self.link.unavailable(format!("{said}; is its consumer gone?")))
        })
    }
}

/// Waits for an answer, but not longer than the connection lasts.
async fn in_time<T>(
    link: &ServerLink,
    open: &OpenNats,
    limit: Duration,
    asking: impl Future<Output = T>,
) -> Result<T, Reason> {
    tokio::select! {
        biased;
        answered = timeout(limit, asking) => {
            answered.map_err(|_| match open.take_error() {
                Some(said) => reason(link.unavailable(format_args!("no answer; it said: {said}"))),
                None => reason(link.silent()),
            })
        }
        () = open.broken() => Err(reason(link.unavailable("the connection broke"))),
    }
}

/// The words of a failure, with what the server has told beside it.
fn told(open: &OpenNats, said: &str) -> String {
    match open.take_error() {
        Some(beside) => format!("{said}: {beside}"),
        None => said.to_owned(),
    }
}

fn message(one: &Message) -> Result<PulledMessage, Reason> {
    let info = one.info().map_err(|error| Reason::from(error.to_string()))?;
    let mut headers = HeaderMap::new();
    for (name, values) in one.headers.iter().flat_map(|headers| headers.iter()) {
        let name: &str = name.as_ref();
        values.iter().for_each(|value| {
            add_header(&mut headers, name.as_bytes(), value.as_str().as_bytes());
        });
    }
    add_header(&mut headers, SUBJECT_HEADER, one.subject.as_str().as_bytes());
    set_content_type(&mut headers, &one.payload);
    let (stream, sequence) = (info.stream, info.stream_sequence);
    let given = one.headers.as_ref().and_then(|headers| headers.get(STREAM_ID));
    let id = match given {
        Some(id) => MessageId::new(id.as_str(), format!("nats\0{stream}\0id\0{}", id.as_str())),
        None => {
            // A stream that was made again counts from one again.
            let published = info.published.unix_timestamp_nanos();
            let material = format!("nats\0{stream}\0{sequence}\0{published}");
            MessageId::new(&format!("{stream}:{sequence}"), material)
        }
    };
    Ok(PulledMessage { id: Some(id), headers, body: one.payload.clone() })
}
