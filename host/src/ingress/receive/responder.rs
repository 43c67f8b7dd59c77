//! Requests whose answer is a handler's reply: stored, run at once, and answered with the reply.
//!
//! The run goes on elsewhere and is waited for until a deadline. The event is stored first; after
//! the deadline it goes on as an ordinary delivery.

use tokio::time::{Instant, timeout_at};
use weir_core::id::EventId;
use weir_core::name::Target;
use weir_store::StoreError;
use weir_store::{EventIngested, Ingested, NewRequest};

use super::received::Received;
use super::store::count;
use super::{Pipeline, RoutedRequest};
use crate::config::Responder;
use crate::ingress::answer::refused::Refused;
use crate::ingress::answer::{self, Accepted, Answer, IngressOutcome, RequestShape};
use crate::ingress::connection::run_to_completion::RunToCompletion;
use crate::ingress::request::budget::BudgetShare;
use crate::ingress::request::content::BodyFormat;
use crate::ingress::sources::live_source::LiveSource;
use crate::invoker::{ReplyReceiver, ResponderHandle, RunReply};

/// The responder of a source, and the handle that runs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceResponder<'a> {
    handle: &'a ResponderHandle,
    config: &'a Responder,
}

/// The result of waiting for a reply.
enum ReplyOutcome {
    Replied(Answer),
    /// The handler ran and set no reply.
    Silent,
    Failed,
    /// The deadline has passed.
    Late,
    /// The handler is busy or paused.
    NotRun,
    /// A duplicate came after the first reply was deleted.
    NotKept,
}

/// A stored request whose event may be running.
struct StoredRun {
    ingested: Ingested,
    is_running: bool,
    reply: ReplyReceiver,
}

impl ReplyOutcome {
    fn of(reply: Option<RunReply>) -> Self {
        match reply {
            Some(RunReply::Reply { status, payload }) => {
                Self::Replied(answer::reply(status, &payload))
            }
            Some(RunReply::Nothing) => Self::Silent,
            Some(RunReply::Failed) => Self::Failed,
            None => Self::NotRun,
        }
    }

    /// The word in metrics and logs.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Replied(_) => "replied",
            Self::Silent => "silent",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::NotRun => "not_run",
            Self::NotKept => "not_kept",
        }
    }
}

impl Pipeline {
    /// The responder that answers a request. A batch has none, as it has no single event to reply
    /// to.
    pub(super) fn responder_of<'a>(
        &'a self,
        source: &'a LiveSource,
        routed: &RoutedRequest,
    ) -> Option<SourceResponder<'a>> {
        let is_one = routed.shape == RequestShape::Single && routed.request.events.len() == 1;
        let config = source.config.responder.as_ref().filter(|_| is_one)?;
        Some(SourceResponder { handle: self.responders.as_ref()?, config })
    }

    /// Stores a request and waits for the reply of its event's run. A duplicate gets the first
    /// reply.
    pub(super) async fn store_and_wait(
        &self,
        received: &Received<'_>,
        responder: SourceResponder<'_>,
        request: NewRequest,
        share: BudgetShare,
    ) -> Result<Accepted, Refused> {
        let source = received.source;
        let deadline = Instant::now() + responder.config.deadline;
        let format = BodyFormat::of(&request.payload);
        let mut stored = self.store_and_run(source, responder, request).await?;
        // The event is in the store now, so its bytes no longer count to the budget.
        drop(share);
        let events = &stored.ingested.events;
        received.record_event(events);
        let reply = match &events[..] {
            [EventIngested::Duplicate { first, .. }] => {
                self.first_reply(*first, &mut stored.reply, deadline).await
            }
            _ if stored.is_running => match timeout_at(deadline, stored.reply.recv()).await {
                Ok(reply) => ReplyOutcome::of(reply),
                Err(_) => ReplyOutcome::Late,
            },
            _ => ReplyOutcome::NotRun,
        };
        let (outcome, result) = (IngressOutcome::of(events), reply.as_str());
        source.metrics.replied(result);
        let (handler, taken) = (responder.config.handler.as_str(), outcome.as_str());
        tracing::debug!(
            source = source.name(),
            handler,
            taken,
            result,
            "request answered by its responder"
        );
        let answer = match reply {
            ReplyOutcome::Replied(answer) => answer,
            _ => source.default_answer(events, format),
        };
        Ok(Accepted { outcome, answer })
    }

    /// Stores a request and starts the run of its event, even if the sender has gone by then.
    async fn store_and_run(
        &self,
        source: &LiveSource,
        SourceResponder { handle, config }: SourceResponder<'_>,
        request: NewRequest,
    ) -> Result<StoredRun, Refused> {
        let dedup = request.events.first().and_then(|event| event.dedup.as_ref());
        let (sender, reply) = handle.join(&request.source, dedup);
        let permit = handle.try_acquire(&config.handler);
        let (store, metrics) = (self.store.clone(), source.metrics.clone());
        let target = Target::Handler(config.handler.clone());
        let handle = handle.clone();
        let stored = RunToCompletion::new(&self.tasks, async move {
            let (stored, run) = match permit {
                Some(permit) => match store.ingest_claiming(request, &target).await {
                    Ok((ingested, claim)) => (Ok(ingested), claim.map(|claim| (permit, claim))),
                    Err(error) => (Err(error), None),
                },
                None => {
                    let stored = store.ingest(vec![request]).await.pop();
                    (stored.unwrap_or(Err(StoreError::Closed)), None)
                }
            };
            for event in stored.iter().flat_map(|ingested| &ingested.events) {
                count(&metrics, event);
            }
            let is_running = run.is_some();
            if let Some((permit, claim)) = run {
                handle.run(permit, claim, sender);
            }
            stored.map(|ingested| (ingested, is_running))
        });
        let (ingested, is_running) = stored.await.map_err(Refused::Store)?;
        Ok(StoredRun { ingested, is_running, reply })
    }

    /// The reply to the first request of a duplicate: the one that is awaited, or the stored one.
    async fn first_reply(
        &self,
        first: EventId,
        awaited: &mut ReplyReceiver,
        deadline: Instant,
    ) -> ReplyOutcome {
        let reply = async {
            if let Some(reply) = awaited.recv().await {
                return ReplyOutcome::of(Some(reply));
            }
            match self.store.reply(first).await {
                Ok(Some(reply)) => {
                    ReplyOutcome::Replied(answer::reply(reply.status, &reply.payload))
                }
                Ok(None) => ReplyOutcome::NotKept,
                Err(error) => {
                    tracing::warn!(%error, event = %first, "cannot read a stored reply");
                    ReplyOutcome::NotKept
                }
            }
        };
        timeout_at(deadline, reply).await.unwrap_or(ReplyOutcome::Late)
    }
}
