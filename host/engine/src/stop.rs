//! Why the host ends a run by itself: the errors that trap a guest on purpose.

use std::time::Duration;

use thiserror::Error;
use weir_core::state::StateUnavailable;

use crate::refusal::Refusal;

/// A trap that the host raised. Told apart by its type when the run has ended, never by its text.
#[derive(Debug, Error)]
pub(crate) enum Stop {
    /// The deadline has passed.
    #[error("ran past its limit of {0:?}")]
    Deadline(Duration),
    /// Linear memory would have grown past its limit.
    #[error(
        "asked for {asked} bytes of memory, and may have {limit}; raise `memory` under [limits], or keep less at once"
    )]
    Memory { asked: usize, limit: usize },
    /// A call without a way to refuse was made too often, or too much was printed.
    #[error("{0}")]
    TooMuch(String),
    /// The store could not be asked.
    #[error(transparent)]
    State(#[from] StateUnavailable),
}

/// How a host call fails: the guest is told, or the run ends.
#[derive(Debug)]
pub(crate) enum HostCallError {
    Refused(Refusal),
    Stop(Stop),
}

impl From<Refusal> for HostCallError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for HostCallError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<StateUnavailable> for HostCallError {
    fn from(error: StateUnavailable) -> Self {
        Self::Stop(Stop::State(error))
    }
}
