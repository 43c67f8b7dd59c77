//! Refuses a request: charges the sender, counts and logs the refusal, and makes the answer.

use http::header::EXPECT;
use http::request::Parts;
use hyper::body::{Body as _, Incoming};

use super::Pipeline;
use crate::ingress::answer::refused::Refused;
use crate::ingress::answer::{self, Answer, Response, problem};
use crate::ingress::connection::client::Caller;
use crate::ingress::request::body;
use crate::ingress::sources::live_source::LiveSource;
use crate::observe::likely_cause;

impl Pipeline {
    /// The response to a refused request, whose body may be unread.
    pub(super) fn refuse_unread(
        &self,
        caller: Caller<'_>,
        source: Option<&LiveSource>,
        refused: &Refused,
        head: &Parts,
        body: &mut Incoming,
    ) -> Response {
        let answer = self.refuse(caller, source, refused);
        Response { answer, drain_bytes: bytes_to_drain(refused, head, body) }
    }

    /// The answer to a refused request.
    pub(crate) fn refuse(
        &self,
        caller: Caller<'_>,
        source: Option<&LiveSource>,
        refused: &Refused,
    ) -> Answer {
        let name = source.map(LiveSource::name);
        if refused.counts_toward_penalty() {
            self.penalties.charge(caller, name);
        }
        self.count_refused(source, refused);
        let now = self.clock.now();
        let id = self.refusals.next_id(now);
        self.refusals.write(now, &id, name, refused);
        self.refusals.remember((&id, now), name, caller.address, refused);
        match (refused, source) {
            (Refused::Unverified { status, .. }, Some(source))
                if source.config.provider.failure_empty =>
            {
                answer::empty(*status)
            }
            _ => problem::answer(refused, &id, source.map(|source| &source.allow)),
        }
    }

    /// Counts a refusal without a source, and looks for the likely cause if the first requests of a
    /// source are all refused.
    fn count_refused(&self, source: Option<&LiveSource>, refused: &Refused) {
        let Some(source) = source else {
            return match refused {
                Refused::UnknownSource => self.metrics.refused_unknown_source(),
                other => self.metrics.refused(other.code()),
            };
        };
        let Refused::Unverified { refusal, .. } = refused else { return };
        let find_cause = || likely_cause::likely_cause(&source.config, refusal.code());
        if let Some(seen) = source.metrics.signature_refused(find_cause) {
            let source = source.name();
            tracing::warn!(source, %seen, "the first requests were refused and none was accepted");
        }
    }
}

/// The number of body bytes to read and drop after a refusal. `None` if the whole body is here.
fn bytes_to_drain(refused: &Refused, head: &Parts, body: &mut Incoming) -> Option<usize> {
    let most = refused.drain_bytes()?;
    // Reading a body that the sender holds back until it is asked would ask for it.
    let is_held_back = head.headers.contains_key(EXPECT) && !body.is_end_stream();
    (is_held_back || !body::is_here(body)).then_some(most)
}
