//! The `redis` kind of source: entries of a stream, read as a member of a consumer group.
//!
//! A new connection first gets the entries that this member has not acknowledged, then those that
//! another member has left for too long, and then new ones. So nothing is lost if a hub dies, or
//! moves to another machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::message::{add_header, set_content_type};
use super::session::{MessageServer, PullSession, Reason, reason};
use crate::config::RedisPull;
use crate::egress::redis::{answers, connection};
use crate::egress::server::{ConnectionTasks, ServerLink};
use crate::ingress::{MessageId, PulledMessage};
use crate::runtime::tasks::Tasks;
use crate::tls::roots::RootsError;

/// The server waits for an entry this long. Then entries of dead members are looked for.
const BLOCK: Duration = Duration::from_secs(2);
/// The fields that may be the body, unless one is configured.
const BODY_FIELDS: [&str; 2] = ["body", "payload"];

/// A stream of one server.
#[derive(Debug)]
pub(super) struct RedisServer {
    link: ServerLink,
    settings: Arc<RedisPull>,
    prefetch: usize,
    tasks: Tasks,
}

/// A member of the group, connected.
struct RedisSession {
    client: MultiplexedConnection,
    link: ServerLink,
    settings: Arc<RedisPull>,
    prefetch: usize,
    /// The last own entry that was read again; none once all were.
    own: Option<String>,
    /// The time of the last look for entries of dead members, and where it goes on.
    claimed: (Option<Instant>, String),
    /// The entries of the last batch.
    batch: Vec<String>,
    _connection: DropGuard,
}

/// An entry of a stream. One that was deleted meanwhile has no fields.
struct StreamEntry {
    id: String,
    fields: Option<Vec<(Bytes, Bytes)>>,
}

impl RedisServer {
    pub(super) fn new(
        settings: &RedisPull,
        prefetch: usize,
        tasks: Tasks,
    ) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: Arc::new(settings.clone()), prefetch, tasks })
    }

    async fn connect(&self) -> Result<RedisSession, Reason> {
        let tasks = ConnectionTasks::new(self.tasks.clone());
        let ender = tasks.ender();
        let refused =
            |error: &RedisError| answers::outcome(error, &self.link, &shown(&self.settings));
        let opened = connection::open(&self.link, self.settings.database, &tasks, refused).await;
        let client = opened.map_err(reason)?;
        Ok(RedisSession {
            client,
            link: self.link.clone(),
            settings: self.settings.clone(),
            prefetch: self.prefetch,
            own: Some("0".into()),
            claimed: (None, "0".into()),
            batch: Vec::new(),
            _connection: ender,
        })
    }
}

#[async_trait]
impl MessageServer for RedisServer {
    /// Makes the group, and the stream, unless they are there.
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason> {
        let mut session = self.connect().await?;
        let RedisPull { stream, group, from_oldest, .. } = &*self.settings;
        let start = if *from_oldest { "0" } else { "$" };
        let mut make = Cmd::new();
        make.arg("XGROUP").arg("CREATE").arg(stream).arg(group).arg(start).arg("MKSTREAM");
        match session.ask(&make, Duration::ZERO).await? {
            Err(error) if error.code() == Some("BUSYGROUP") => {}
            Err(error) => return Err(session.refused(&error)),
            Ok(_) => {
                let (stream, group) = (stream.as_str(), group.as_str());
                tracing::info!(stream, group, start, "made the group of a source");
            }
        }
        Ok(Box::new(session))
    }

    async fn check(&self) -> Result<(), Reason> {
        let mut session = self.connect().await?;
        let mut kind = Cmd::new();
        kind.arg("TYPE").arg(&self.settings.stream);
        match session.ask(&kind, Duration::ZERO).await? {
            Err(error) => Err(session.refused(&error)),
            Ok(Value::SimpleString(kind)) if kind != "none" && kind != "stream" => {
                let (address, stream) = (self.link.server().address(), &self.settings.stream);
                Err(format!("{address}: {stream} is a {kind}, not a stream: name another key")
                    .into())
            }
            Ok(_) => Ok(()),
        }
    }
}

#[async_trait]
impl PullSession for RedisSession {
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason> {
        if let Some(after) = self.own.take() {
            let entries = self.read(&after, None).await?;
            self.own = entries.last().map(|last| last.id.clone());
            return self.taken(entries).await;
        }
        if self.claimed.0.is_none_or(|at| at.elapsed() >= self.settings.claim_after / 2) {
            let entries = self.claim().await?;
            if !entries.is_empty() {
                return self.taken(entries).await;
            }
        }
        let entries = self.read(">", Some(BLOCK)).await?;
        self.taken(entries).await
    }

    /// Entries that are not acknowledged stay with this member, which reads them again when it
    /// connects.
    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason> {
        let batch = std::mem::take(&mut self.batch);
        let ids = batch.iter().zip(taken).filter(|(_, taken)| **taken).map(|(id, _)| id);
        self.acknowledge(ids).await
    }
}

impl RedisSession {
    /// Runs a command. The outer error ends the session; `blocks` is the time that the server may
    /// take beside its usual limit.
    async fn ask(
        &mut self,
        command: &Cmd,
        blocks: Duration,
    ) -> Result<Result<Value, RedisError>, Reason> {
        let limit = self.link.server().timeout.saturating_add(blocks);
        match timeout(limit, command.query_async::<Value>(&mut self.client)).await {
            Ok(Err(error)) if !answers::is_of_the_server(&error) => Err(self.refused(&error)),
            Ok(answered) => Ok(answered),
            Err(_) => Err(reason(self.link.silent())),
        }
    }

    fn refused(&self, error: &RedisError) -> Reason {
        reason(answers::outcome(error, &self.link, &shown(&self.settings)))
    }

    /// Reads entries after an id, as the member of the group.
    async fn read(
        &mut self,
        after: &str,
        block: Option<Duration>,
    ) -> Result<Vec<StreamEntry>, Reason> {
        let settings = self.settings.clone();
        let RedisPull { stream, group, consumer, .. } = &*settings;
        let mut read = Cmd::new();
        read.arg("XREADGROUP").arg("GROUP").arg(group).arg(consumer);
        read.arg("COUNT").arg(self.prefetch);
        if let Some(block) = block {
            read.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        read.arg("STREAMS").arg(stream).arg(after);
        match self.ask(&read, block.unwrap_or_default()).await? {
            Err(error) => Err(self.refused(&error)),
            Ok(answer) => Ok(of_one_stream(answer)),
        }
    }

    /// Takes entries that another member has had for too long.
    async fn claim(&mut self) -> Result<Vec<StreamEntry>, Reason> {
        let settings = self.settings.clone();
        let RedisPull { stream, group, consumer, claim_after, .. } = &*settings;
        let mut claim = Cmd::new();
        claim.arg("XAUTOCLAIM").arg(stream).arg(group).arg(consumer);
        claim.arg(u64::try_from(claim_after.as_millis()).unwrap_or(u64::MAX));
        claim.arg(&self.claimed.1).arg("COUNT").arg(self.prefetch);
        let answer = match self.ask(&claim, Duration::ZERO).await? {
            Err(error) => return Err(self.refused(&error)),
            Ok(answer) => answer,
        };
        let mut parts = items(answer).into_iter();
        let next = parts.next().and_then(text).unwrap_or_else(|| "0-0".into());
        let entries = parts.next().map(entries).unwrap_or_default();
        // The whole list was looked at: the next look may wait.
        let is_done = next == "0-0";
        self.claimed = (is_done.then(Instant::now), next);
        if !entries.is_empty() {
            let (stream, count) = (stream.as_str(), entries.len());
            tracing::info!(stream, count, "took entries that another member has left");
        }
        Ok(entries)
    }

    /// The messages of entries. Deleted entries are acknowledged at once.
    async fn taken(&mut self, entries: Vec<StreamEntry>) -> Result<Vec<PulledMessage>, Reason> {
        let (there, deleted): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.fields.is_some());
        self.acknowledge(deleted.iter().map(|entry| &entry.id)).await?;
        self.batch = there.iter().map(|entry| entry.id.clone()).collect();
        let settings = &self.settings;
        let message = |entry: StreamEntry| {
            let RedisPull { database, stream, body_field, .. } = &**settings;
            let material = format!("redis\0{database}\0{stream}\0{}", entry.id);
            let id = Some(MessageId::new(&entry.id, material));
            let (headers, body) = content(entry.fields.unwrap_or_default(), body_field.as_deref());
            PulledMessage { id, headers, body }
        };
        Ok(there.into_iter().map(message).collect())
    }

    async fn acknowledge(&mut self, ids: impl Iterator<Item = &String>) -> Result<(), Reason> {
        let mut acknowledge = Cmd::new();
        acknowledge.arg("XACK").arg(&self.settings.stream).arg(&self.settings.group);
        let mut count = 0_usize;
        for id in ids {
            acknowledge.arg(id);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        match self.ask(&acknowledge, Duration::ZERO).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(&error)),
        }
    }
}

/// The stream with its group, for people.
fn shown(settings: &RedisPull) -> String {
    format!("stream {} group {}", settings.stream, settings.group)
}

/// The headers and the body of an entry: a field is the body, and the others are headers. Without
/// such a field, the body is all of them as JSON.
fn content(fields: Vec<(Bytes, Bytes)>, body_field: Option<&str>) -> (HeaderMap, Bytes) {
    let place = |name: &str| fields.iter().position(|(field, _)| **field == *name.as_bytes());
    let found = match body_field {
        Some(name) => place(name),
        None => BODY_FIELDS.into_iter().find_map(place),
    };
    let mut headers = HeaderMap::new();
    let body = match found {
        Some(at) => {
            for (name, value) in fields.iter().enumerate().filter(|(n, _)| *n != at).map(|f| f.1) {
                add_header(&mut headers, name, value);
            }
            fields[at].1.clone()
        }
        None => {
            let value = |bytes: &Bytes| match std::str::from_utf8(bytes) {
                Ok(text) => json!(text),
                Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
            };
            let named = |(name, bytes): &(Bytes, Bytes)| {
                (String::from_utf8_lossy(name).into_owned(), value(bytes))
            };
            let all: serde_json::Map<_, _> = fields.iter().map(named).collect();
            serde_json::Value::Object(all).to_string().into()
        }
    };
    set_content_type(&mut headers, &body);
    (headers, body)
}

/// The entries in the answer about one stream.
fn of_one_stream(answer: Value) -> Vec<StreamEntry> {
    let of_stream = match answer {
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        streams => items(streams).into_iter().next().and_then(|one| items(one).into_iter().nth(1)),
    };
    of_stream.map(entries).unwrap_or_default()
}

fn entries(list: Value) -> Vec<StreamEntry> {
    let entry = |entry: Value| {
        let mut parts = items(entry).into_iter();
        let id = parts.next().and_then(text)?;
        let fields = match parts.next()? {
            Value::Nil => None,
            fields => Some(pairs(fields)),
        };
        Some(StreamEntry { id, fields })
    };
    items(list).into_iter().filter_map(entry).collect()
}

fn pairs(list: Value) -> Vec<(Bytes, Bytes)> {
    let values: Vec<_> = items(list).into_iter().map(bytes).collect();
    values.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Bytes {
    match value {
        Value::BulkString(bytes) => bytes.into(),
        Value::SimpleString(text) => text.into(),
        Value::Int(number) => number.to_string().into(),
        _ => Bytes::new(),
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value).into()).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &[u8])], body_field: Option<&str>) -> (Vec<String>, String) {
        let fields = fields.iter().map(|(name, value)| {
            (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value))
        });
        let (headers, body) = content(fields.collect(), body_field);
        let shown =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        (shown.collect(), String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn one_field_is_the_body_and_the_others_are_headers() {
        let fields: [(&str, &[u8]); 3] =
            [("type", b"order.created"), ("payload", b"p"), ("body", b"{}")];
        let (headers, body) = of(&fields, None);
        assert_eq!(
            headers,
            ["type: order.created", "payload: p", "content-type: application/json"]
        );
        assert_eq!(body, "{}");
        assert_eq!(of(&fields, Some("payload")).1, "p");
        assert_eq!(of(&fields[..2], None).1, "p");
    }

    #[test]
    fn without_a_body_all_fields_are_json() {
        let (headers, body) = of(&[("type", b"a"), ("raw", b"\xff")], None);
        assert_eq!(headers, ["content-type: application/json"]);
        assert_eq!(body, r#"{"raw":{"base64":"/w=="},"type":"a"}"#);
    }

    #[test]
    fn answers_of_the_server_are_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = Value::Array(vec![text("body"), text("{}")]);
        let list = Value::Array(vec![
            Value::Array(vec![text("1-0"), fields]),
            Value::Array(vec![text("2-0"), Value::Nil]),
        ]);
        let answer = Value::Array(vec![Value::Array(vec![text("orders"), list])]);
        let found = of_one_stream(answer);
        assert_eq!((found.len(), &*found[0].id, &*found[1].id), (2, "1-0", "2-0"));
        assert!(found[0].fields.is_some() && found[1].fields.is_none());
        assert!(of_one_stream(Value::Nil).is_empty());
    }
}
