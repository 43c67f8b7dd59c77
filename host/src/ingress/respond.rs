//! Requests whose sender wants the answer in the reply: stored, run at once, and answered with what the handler says.
//!
//! The handler runs elsewhere and is waited for here, within a deadline. Whatever it does, the event is stored first,
//! and goes on as a delivery like any other when the wait is over.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use weir_core::id::EventId;
use weir_core::name::Target;
use weir_store::StoreError;
use weir_store::{EventIngested, Ingested, NewRequest};

use super::Ingress;
use super::answer::{self, Answer};
use super::budget::BudgetShare;
use super::content::IsForm;
use super::receive::{Taken, count};
use super::refused::Refused;
use super::run_to_completion::RunToCompletion;
use super::way::LiveSource;
use crate::config::Responder;
use crate::invoker::{ReplyReceiver, ResponderHandle, RunReply};

/// A handler that answers for a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Respondent<'a> {
    responders: &'a ResponderHandle,
    responder: &'a Responder,
}

/// What there is to tell a sender.
enum Word {
    /// The handler's reply.
    Reply(Answer),
    /// Nothing of the handler's; the result as it is counted.
    Default(&'static str),
}

impl Ingress {
    /// Who answers a request, if it is not the hub itself. A batch has no one event whose reply could be the answer.
    pub(super) fn respondent<'a>(
        &'a self,
        way: &'a LiveSource,
        request: &NewRequest,
        is_batch: bool,
    ) -> Option<Respondent<'a>> {
        let one = !is_batch && request.events.len() == 1;
        let responder = way.source.responder.as_ref().filter(|_| one)?;
        Some(Respondent { responders: self.responders.as_ref()?, responder })
    }

    /// Stores a request and answers it with the reply of its event's run, or of an earlier request's that was the same.
    pub(super) async fn respond(
        &self,
        way: &LiveSource,
        respondent: Respondent<'_>,
        request: NewRequest,
        share: BudgetShare,
    ) -> Result<Taken, Refused> {
        let deadline = Instant::now() + respondent.responder.deadline;
        let form = IsForm::of(&request.payload);
        let (ingested, runs, mut expected) = self.store_and_run(way, respondent, request).await?;
        // From here on the event is the store's and the run's, and others may have the room.
        drop(share);
        let word = match &ingested.events[..] {
            [EventIngested::Duplicate { first, .. }] => {
                self.repeated(*first, &mut expected, deadline).await
            }
            _ if runs => match timeout_at(deadline, expected.recv()).await {
                Ok(said) => word(said),
                Err(_) => Word::Default("late"),
            },
            _ => Word::Default("not_run"),
        };
        let taken = answer::word(&ingested.events);
        let (source, handler) = (way.source.name.as_str(), respondent.responder.handler.as_str());
        let (result, answer) = match word {
            Word::Reply(answer) => ("replied", answer),
            Word::Default(result) => (result, way.default_answer(&ingested.events, form)),
        };
        way.metrics.replied(result);
        tracing::debug!(source, handler, taken, result, "request answered by its responder");
        Ok(Taken { word: taken, answer })
    }

    /// Stores a request and has its event run, to the end even if the sender has gone by then. Says whether it runs.
    async fn store_and_run(
        &self,
        way: &LiveSource,
        Respondent { responders, responder }: Respondent<'_>,
        request: NewRequest,
    ) -> Result<(Ingested, bool, ReplyReceiver), Refused> {
        let dedup = request.events.first().and_then(|event| event.dedup.as_ref());
        let (part, expected) = responders.join(&request.source, dedup);
        let seat = responders.try_acquire(&responder.handler);
        let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&way.metrics));
        let target = Target::Handler(responder.handler.clone());
        let responders = responders.clone();
        let stored = RunToCompletion::new(async move {
            let (stored, run) = match seat {
                Some(seat) => match store.ingest_claiming(request, &target).await {
                    Ok((ingested, claim)) => (Ok(ingested), claim.map(|claim| (seat, claim))),
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
            let runs = run.is_some();
            if let Some((seat, claim)) = run {
                responders.run(seat, claim, part);
            }
            stored.map(|ingested| (ingested, runs))
        });
        let (ingested, runs) = stored.await.map_err(Refused::Store)?;
        Ok((ingested, runs, expected))
    }

    /// What to tell a sender who repeats a request: what the first one was told, if it is being found out or was kept.
    async fn repeated(
        &self,
        first: EventId,
        expected: &mut ReplyReceiver,
        deadline: Instant,
    ) -> Word {
        let told = async {
            if let Some(said) = expected.recv().await {
                return word(Some(said));
            }
            match self.store.reply(first).await {
                Ok(Some(reply)) => Word::Reply(answer::reply(reply.status, &reply.payload)),
                Ok(None) => Word::Default("not_kept"),
                Err(error) => {
                    tracing::warn!(%error, event = %first, "a kept reply cannot be read");
                    Word::Default("not_kept")
                }
            }
        };
        timeout_at(deadline, told).await.unwrap_or(Word::Default("late"))
    }
}

fn word(said: Option<RunReply>) -> Word {
    match said {
        Some(RunReply::Reply { status, payload }) => Word::Reply(answer::reply(status, &payload)),
        Some(RunReply::Nothing) => Word::Default("silent"),
        Some(RunReply::Failed) => Word::Default("failed"),
        None => Word::Default("not_run"),
    }
}
