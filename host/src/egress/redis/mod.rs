//! The `redis` kind of destination: adds messages to a stream or a list, or publishes them. One
//! connection carries all sends; `connection` opens it, `answers` says what an error of the server
//! means. Both also serve the sources of this kind.

pub(crate) mod answers;
pub(crate) mod connection;

use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::facts;
use super::outgoing::Outgoing;
use super::server::{ConnectionTasks, Kept, ServerLink};
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, RedisKey, RedisSettings};
use crate::tls::roots::RootsError;

/// Adds the messages of one destination.
#[derive(Debug)]
pub(super) struct RedisTransport {
    link: ServerLink,
    database: u16,
    into: RedisKey,
    hops: Arc<HopKey>,
    tasks: ConnectionTasks,
    kept: Kept<OpenRedis>,
}

/// An open connection. Clones of the client share it.
struct OpenRedis(MultiplexedConnection);

impl std::fmt::Debug for OpenRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenRedis")
    }
}

impl RedisTransport {
    pub(super) fn new(
        settings: &RedisSettings,
        hops: Arc<HopKey>,
        tasks: ConnectionTasks,
    ) -> Result<Self, RootsError> {
        let RedisSettings { server, database, into } = settings;
        let (link, into) = (ServerLink::new(server)?, into.clone());
        Ok(Self { link, database: *database, into, hops, tasks, kept: Kept::default() })
    }

    async fn connect(&self) -> Result<OpenRedis, SendOutcome> {
        let refused = |error: &RedisError| self.refused(error);
        connection::open(&self.link, self.database, &self.tasks, refused).await.map(OpenRedis)
    }

    fn refused(&self, error: &RedisError) -> SendOutcome {
        answers::outcome(error, &self.link, &self.into.shown())
    }

    fn command(&self, out: &Outgoing, at: Timestamp) -> Cmd {
        let (source, kind) = (out.source.as_str(), out.event_type.as_str());
        let mut command = Cmd::new();
        match &self.into {
            RedisKey::Stream { key, max_len } => {
                command.arg("XADD").arg(key.of(source, kind, &[]));
                if let Some(max_len) = max_len {
                    // Trims whole nodes only, which costs almost nothing.
                    command.arg("MAXLEN").arg("~").arg(*max_len);
                }
                command.arg("*");
                for (name, value) in facts::facts(out, &self.hops) {
                    command.arg(name).arg(value);
                }
                command.arg("body").arg(&out.body[..]);
            }
            RedisKey::List { key } => {
                command.arg("RPUSH").arg(key.of(source, kind, &[])).arg(self.line(out, at));
            }
            RedisKey::Channel { name } => {
                command.arg("PUBLISH").arg(name.of(source, kind, &[])).arg(self.line(out, at));
            }
        }
        command
    }

    /// The message with its facts, for entries that are one value.
    fn line(&self, out: &Outgoing, at: Timestamp) -> Vec<u8> {
        let mut line = facts::line(out, &self.hops, at);
        line.pop();
        line
    }

    async fn run(&self, command: &Cmd) -> SendOutcome {
        let send = |open: Arc<OpenRedis>| async move {
            let mut client = open.0.clone();
            let running = command.query_async::<redis::Value>(&mut client);
            match timeout(self.link.server().timeout, running).await {
                Ok(Ok(_)) => Ok(SendOutcome::Accepted { receipt: None }),
                Ok(Err(error)) if answers::is_of_the_server(&error) => Ok(self.refused(&error)),
                Ok(Err(error)) => Err(self.refused(&error)),
                Err(_) => Err(self.link.silent()),
            }
        };
        self.kept.send(|_| true, self.connect(), send).await
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Redis
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        self.run(&self.command(out, at)).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        let mut command = Cmd::new();
        match &self.into {
            RedisKey::Stream { key, .. } | RedisKey::List { key } if key.is_fixed() => {
                command.arg("TYPE").arg(key.text());
            }
            _ => {
                command.arg("PING");
            }
        }
        self.run(&command).await.for_check()
    }
}
