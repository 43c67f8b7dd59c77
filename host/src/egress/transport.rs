//! The seam between egress and the kinds of destinations: one trait, and the ways in which a send
//! can end.
//!
//! Not here: anything that only one kind knows, such as HTTP.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use weir_core::time::Timestamp;
use weir_store::ResponseRecord;

use super::outgoing::Outgoing;
use crate::config::DestinationKind;

/// Sends messages to one destination.
#[async_trait]
pub(crate) trait Transport: Send + Sync + fmt::Debug {
    fn kind(&self) -> DestinationKind;

    /// Sends a message once. `at` is the time of the attempt, which signatures contain.
    ///
    /// Dropping the future ends the send, with unknown outcome.
    async fn send(&self, message: &Outgoing, at: Timestamp) -> SendOutcome;
}

/// The end of one send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    Accepted {
        /// The response of the destination, if it gives one.
        receipt: Option<ResponseRecord>,
    },
    Rejected {
        about: Subject,
        response: ResponseRecord,
        /// The wait that the destination asked for.
        retry_after: Option<Duration>,
        /// The reason, for people.
        detail: Box<str>,
    },
    /// No complete response within the limit.
    TimedOut { limit: Duration },
    /// No connection, or it broke.
    Unreachable { reason: Box<str> },
    /// The guard does not allow the destination's address.
    Blocked { reason: Box<str> },
}

/// The subject of a rejection. It decides whether another try can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// This message. It would be rejected again.
    Message,
    /// The destination, for every message alike, until its owner or the operator changes something.
    Endpoint,
    /// The rate of messages. The destination works and asks for fewer.
    Load,
    /// A failure that may pass and that fewer messages at a time may prevent.
    Overload,
    /// Any other failure that may pass.
    Failure,
}
