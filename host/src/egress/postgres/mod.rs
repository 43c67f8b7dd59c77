//! The `postgres` kind of destination: runs the operator's statement for each message, with the
//! facts of the message as bound parameters. `answers` says what an error of the server means.

mod answers;
mod parameters;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Statement};
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::outgoing::Outgoing;
use super::server::{ConnectionTasks, Kept, ServerLink};
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, PostgresSettings};
use crate::tls::roots::RootsError;
use parameters::BoundFact;

/// Runs the statement of one destination.
#[derive(Debug)]
pub(super) struct PostgresTransport {
    link: ServerLink,
    settings: PostgresSettings,
    hops: Arc<HopKey>,
    tasks: ConnectionTasks,
    kept: Kept<OpenPostgres>,
}

/// An open connection with its prepared statement.
struct OpenPostgres {
    client: Client,
    statement: Statement,
}

impl std::fmt::Debug for OpenPostgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenPostgres")
    }
}

impl PostgresTransport {
    pub(super) fn new(
        settings: &PostgresSettings,
        hops: Arc<HopKey>,
        tasks: ConnectionTasks,
    ) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), hops, tasks, kept: Kept::default() })
    }

    async fn connect(&self) -> Result<OpenPostgres, SendOutcome> {
        let stream = self.link.tcp().await.map_err(|error| self.link.unreached(&error))?;
        let server = &self.settings.server;
        let mut config = Config::new();
        config.dbname(&self.settings.database).application_name("weir");
        config.user(server.user.as_deref().unwrap_or("postgres"));
        if let Some(password) = &server.password {
            config.password(password.expose());
        }
        let opening = async {
            let client = tls::open(&config, &self.link, stream, &self.tasks).await?;
            let statement = client.prepare(&self.settings.statement).await?;
            Ok::<_, tokio_postgres::Error>(OpenPostgres { client, statement })
        };
        match timeout(server.timeout, opening).await {
            Err(_) => Err(self.link.silent()),
            Ok(Err(error)) => Err(answers::not_opened(&error, &self.link)),
            Ok(Ok(open)) => Ok(open),
        }
    }

    async fn run(&self, open: &OpenPostgres, out: &Outgoing) -> Result<SendOutcome, SendOutcome> {
        let facts: Vec<BoundFact> = self
            .settings
            .parameters
            .iter()
            .map(|fact| BoundFact::of(*fact, out, &self.hops))
            .collect();
        let facts: Vec<&(dyn ToSql + Sync)> =
            facts.iter().map(|fact| fact as &(dyn ToSql + Sync)).collect();
        let running = open.client.execute(&open.statement, &facts);
        match timeout(self.settings.server.timeout, running).await {
            Err(_) => Err(self.link.silent()),
            Ok(Ok(_)) => Ok(SendOutcome::Accepted { receipt: None }),
            Ok(Err(error)) => answers::outcome(&error, &self.link),
        }
    }
}

#[async_trait]
impl Transport for PostgresTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Postgres
    }

    async fn send(&self, out: &Outgoing, _: Timestamp) -> SendOutcome {
        let works = |open: &OpenPostgres| !open.client.is_closed();
        let send = |open: Arc<_>| async move { self.run(&open, out).await };
        self.kept.send(works, self.connect(), send).await
    }

    /// Also prepares the statement, so that a missing table or column is found.
    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        match self.connect().await {
            Ok(_) => Ok(()),
            Err(outcome) => outcome.for_check(),
        }
    }
}
