//! The puller of one source: keeps its connection, and moves messages from the server into the
//! store, a batch at a time.
//!
//! The next batch is taken only after the events of the last one are durable, so a store that is
//! slow or full slows the server down. A message is acknowledged after its commit. If the hub dies
//! in between, it comes again and is recognised.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weir_core::name::SourceName;

use super::backoff;
use super::session::{MessageServer, PullSession, Reason};
use super::status::ConnectionReporter;
use crate::context::HubContext;
use crate::egress::server::chain;
use crate::ingress::{Ingress, NotTaken, PulledMessage};
use crate::tls::roots::RootsError;

/// Waits between tries to store a batch, before it is given back: a write queue that is full is
/// free again soon.
const STORE_WAITS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];
/// Between two looks whether a full store has space again.
const FULL_LOOK_EVERY: Duration = Duration::from_millis(500);

/// Takes the messages of one source.
#[derive(Debug)]
pub(super) struct Puller {
    pub(super) name: SourceName,
    /// The server, or the reason why there can be none.
    pub(super) server: Result<Box<dyn MessageServer>, RootsError>,
    pub(super) ctx: HubContext,
    pub(super) ingress: Arc<Ingress>,
    pub(super) status: ConnectionReporter,
    pub(super) stop: CancellationToken,
}

/// The reason why a session has ended.
enum Ended {
    Stopped,
    /// The server cannot be reached, refused something, or the connection broke.
    Broken(Reason),
    /// The store could not keep the messages.
    Store(Reason),
}

impl Puller {
    /// Takes messages until it is stopped.
    pub(super) async fn run(self) {
        let server = match &self.server {
            Ok(server) => server,
            Err(error) => {
                self.status.disconnected(&format!("cannot set up TLS: {}", chain(error)));
                return self.stop.cancelled().await;
            }
        };
        let mut failures = 0;
        loop {
            let ended = self.session(&**server, &mut failures).await;
            failures += 1;
            match ended {
                Ended::Stopped => return,
                Ended::Broken(reason) => self.status.disconnected(&reason),
                Ended::Store(reason) => self.status.waiting(&reason),
            }
            let wait = backoff::wait(failures, rand::random());
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = async {
                    sleep(wait).await;
                    self.until_store_writes().await;
                } => {}
            }
        }
    }

    /// Connects, and takes messages until something ends it. `failures` is set back once messages
    /// could be asked for.
    async fn session(&self, server: &dyn MessageServer, failures: &mut u32) -> Ended {
        let opened = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ended::Stopped,
            opened = server.open() => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(reason) => return Ended::Broken(reason),
        };
        loop {
            let messages = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::Stopped,
                messages = session.next() => messages,
            };
            let messages = match messages {
                Ok(messages) => messages,
                Err(reason) => return Ended::Broken(reason),
            };
            self.status.connected();
            *failures = 0;
            if messages.is_empty() {
                continue;
            }
            if let Err(ended) = self.store(&mut *session, &messages).await {
                return ended;
            }
        }
    }

    /// Stores messages and acknowledges them. Those that could not be stored are given back.
    async fn store(
        &self,
        session: &mut dyn PullSession,
        messages: &[PulledMessage],
    ) -> Result<(), Ended> {
        let mut taken = vec![false; messages.len()];
        let mut waits = STORE_WAITS.iter();
        let failed = loop {
            let left: Vec<usize> = (0..messages.len()).filter(|at| !taken[*at]).collect();
            let waiting: Vec<_> = left.iter().map(|at| messages[*at].clone()).collect();
            let results = self.ingress.accept_pulled(self.name.as_str(), &waiting).await;
            let mut failed = None;
            for (at, result) in left.into_iter().zip(results) {
                match result {
                    Ok(()) => taken[at] = true,
                    Err(error) => failed = Some(error),
                }
            }
            match (failed, waits.next()) {
                (Some(NotTaken::Store(_)), Some(wait)) if !self.stop.is_cancelled() => {
                    sleep(*wait).await;
                }
                (failed, _) => break failed,
            }
        };
        session.settle(&taken).await.map_err(Ended::Broken)?;
        match failed {
            None => Ok(()),
            Some(NotTaken::NoSource) => {
                // The source was removed a moment ago, and this puller is about to be stopped.
                self.stop.cancelled().await;
                Err(Ended::Stopped)
            }
            Some(NotTaken::Store(error)) => Err(Ended::Store(error.to_string().into())),
        }
    }

    async fn until_store_writes(&self) {
        loop {
            let health = self.ctx.store.health();
            if health.poisoned.is_none() && health.full_since.is_none() {
                return;
            }
            sleep(FULL_LOOK_EVERY).await;
        }
    }
}
