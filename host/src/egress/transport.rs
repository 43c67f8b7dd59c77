//! The seam between egress and the kinds of destinations: one trait, and the ways in which a send
//! can end.
//!
//! Not here: anything that only one kind knows, such as HTTP.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use weir_core::delivery::Outcome;
use weir_core::event::EventType;
use weir_core::payload::Payload;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;
use weir_store::ResponseRecord;

use super::outgoing::Outgoing;
use crate::config::DestinationKind;

/// Sends messages to one destination.
#[async_trait]
pub(crate) trait Transport: Send + Sync + fmt::Debug {
    fn kind(&self) -> DestinationKind;

    /// The type of the event that the answer to a message becomes, if it becomes one.
    fn answers_as(&self, _message: &Outgoing) -> Option<&EventType> {
        None
    }

    /// Sends a message once. `at` is the time of the attempt, which signatures contain.
    ///
    /// Dropping the future ends the send, with unknown outcome.
    async fn send(&self, message: &Outgoing, at: Timestamp) -> SendOutcome;

    /// Tries whether messages could be sent at this time, and sends none.
    async fn check(&self, at: Timestamp) -> Result<(), Box<str>>;
}

/// The end of one send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    Accepted {
        /// The response of the destination, if it gives one.
        receipt: Option<ResponseRecord>,
    },
    /// Accepted with an answer that becomes an event.
    Answered { receipt: ResponseRecord, answer: Box<Payload> },
    Rejected {
        about: Subject,
        response: ResponseRecord,
        /// The wait that the destination asked for.
        retry_after: Option<Duration>,
        /// The reason, for people.
        detail: Box<str>,
    },
    /// Refused by a destination whose answers are not those of HTTP.
    Refused { about: Subject, reason: Box<str> },
    /// The destination is absent or cannot take any message. It says nothing about this one, so
    /// that the attempt does not count: the delivery is given back, and the breaker opens.
    Unavailable { reason: Box<str> },
    /// No complete response within the limit.
    TimedOut { limit: Duration },
    /// No connection, or it broke.
    Unreachable { reason: Box<str> },
    /// The guard does not allow the destination's address.
    Blocked { reason: Box<str> },
    /// The message cannot be made or may not be sent, so that nothing was sent.
    NotMade { outcome: Outcome, reason: Box<str> },
}

impl SendOutcome {
    /// The outcome of a check: nothing, or the reason why messages would not be accepted.
    pub(crate) fn for_check(self) -> Result<(), Box<str>> {
        match self {
            Self::Accepted { .. } | Self::Answered { .. } => Ok(()),
            Self::Rejected { detail: reason, .. }
            | Self::Refused { reason, .. }
            | Self::Unavailable { reason }
            | Self::Unreachable { reason }
            | Self::Blocked { reason }
            | Self::NotMade { reason, .. } => Err(reason),
            Self::TimedOut { limit } => {
                Err(format!("no response within {}", format_duration(limit)).into())
            }
        }
    }
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
