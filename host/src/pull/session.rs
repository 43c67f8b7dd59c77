//! The seam between pullers and the kinds of servers.

use std::fmt;

use async_trait::async_trait;

use crate::egress::transport::SendOutcome;
use crate::ingress::PulledMessage;

/// The reason why a server gives no messages, and what to do, for people.
pub(super) type Reason = Box<str>;

/// The reason in the outcome of a send.
pub(super) fn reason(outcome: SendOutcome) -> Reason {
    outcome.for_check().err().unwrap_or_default()
}

/// A server, and the place there that messages come from.
#[async_trait]
pub(super) trait MessageServer: Send + Sync + fmt::Debug {
    /// Connects, and makes sure that messages can be taken.
    async fn open(&self) -> Result<Box<dyn PullSession>, Reason>;

    /// Tries whether messages could be taken, and takes and changes nothing.
    async fn check(&self) -> Result<(), Reason>;
}

/// An open connection. An error ends it.
#[async_trait]
pub(super) trait PullSession: Send {
    /// The next messages, at most as many as may be taken at once. Waits for some a while; none
    /// may come. The first call does not wait, so that it shows whether messages can be taken.
    /// Messages that a dropped call has taken come again.
    async fn next(&mut self) -> Result<Vec<PulledMessage>, Reason>;

    /// Acknowledges those of the last messages whose place is true, and gives back the others.
    async fn settle(&mut self, taken: &[bool]) -> Result<(), Reason>;
}
