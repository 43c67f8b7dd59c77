//! The errors by which a host function ends a run: they trap the guest.

use std::time::Duration;

use thiserror::Error;
use weir_core::state::StateUnavailable;

use crate::refusal::Refusal;

/// A trap that the engine raised. After the run it is recognised by this type, never by its text.
#[derive(Debug, Error)]
pub(crate) enum Stop {
    #[error("ran past its limit of {0:?}")]
    Deadline(Duration),
    #[error(
        "asked for {asked} bytes of memory, and may have {limit}; raise `memory` under [limits], \
         or keep less at once"
    )]
    Memory { asked: usize, limit: usize },
    /// A call that cannot be refused was made too often, or too much was printed.
    #[error("{0}")]
    TooMuch(String),
    /// The store could not be read.
    #[error(transparent)]
    State(#[from] StateUnavailable),
}

/// The failure of a host function: the guest gets a refusal, or the run ends.
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
